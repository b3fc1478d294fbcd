"""Telling others of the audit trail as the ledger has it: in order, each entry at least once, whoever ends meanwhile.

How far somebody is stands in the ledger. A server that is down, slow or comes back holds up nobody but its own thread.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

from ...errors import DatabaseFailure, LedgerUnusable
from ...values import frozen
from ..audit import AuditPolicy

if TYPE_CHECKING:
    from ..ledger.audits import Audits
    from .sinks import Sink

_log = logging.getLogger(__name__)

# How often it is looked for entries, and how often somebody is tried again at first and at last, in seconds.
_PACE, _FIRST, _LAST = 0.5, 1.0, 60.0
# How many entries are sent at once.
_BATCH = 200
# How long the end may take, in seconds.
_FAREWELL = 3.0

FILE, SYSLOG = "file", "syslog"


class Delivery:
    """Tells one of the entries.

    Parameters
    ----------
    name
        What the ledger calls him.
    audits
        Gives the table in the ledger; it may block and raise DatabaseFailure or LedgerUnusable.
    sink
        He.
    """

    def __init__(self, name: str, audits: Callable[[], Audits], sink: Sink) -> None:
        self.name = name
        self._audits = audits
        self._sink = sink
        # What the ledger says that he has, and what he was sent.
        self._received: int | None = None
        self._sent = 0
        self._late: int | None = None
        self._is_stopping = threading.Event()
        # From Python 3.13 on, one that was made before a fork cannot be started behind it.
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; one of whom the ledger knows nothing is told what comes from now on."""
        try:
            self._begin()
        except (DatabaseFailure, LedgerUnusable, OSError) as error:
            _log.error(
                "it is not known what of the audit trail %s has, which is tried again: %s", self.name, error
            )
        self._thread = threading.Thread(target=self._run, name=f"dicomnet-audit-{self.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Tell him what is left, if he listens, and end."""
        self._is_stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _begin(self) -> None:
        audits = self._audits()
        found = audits.mark(self.name)
        if found is None:
            found = audits.last()
            audits.set_mark(self.name, found)
        self._received = self._sent = found

    def _run(self) -> None:
        wait, end = 0.0, 0.0
        retry = _FIRST
        while True:
            is_stopping = self._is_stopping.wait(wait)
            if is_stopping and not end:
                end = monotonic() + _FAREWELL
            try:
                more = self._step()
            except (DatabaseFailure, LedgerUnusable, OSError, ValueError) as error:
                # A ValueError is that of a host name that none can be.
                self._failed(error)
                if is_stopping:
                    break
                wait, retry = retry, min(2 * retry, _LAST)
                continue
            if is_stopping and (not more or monotonic() > end):
                break
            wait, retry = (0.0 if more else _PACE), _FIRST
        self._end()

    def _step(self) -> bool:
        """Tell him some entries; whether there may be more."""
        if self._received is None:
            self._begin()
        audits = self._audits()
        found = audits.after(self._sent, _BATCH)
        if found:
            self._sink.send(found)
            self._sent = found[-1][0]
        self._note(audits, self._sink.received())
        if found and self._late is not None:
            _log.warning("the audit trail goes to %s again", self.name)
            self._late = None
        return len(found) == _BATCH

    def _note(self, audits: Audits, received: int) -> None:
        if self._received is None or received > self._received:
            audits.set_mark(self.name, received)
            self._received = received

    def _failed(self, error: Exception) -> None:
        self._sink.close()
        # What he has perhaps not received comes again.
        self._sent = self._received or 0
        if self._late is None:
            self._late = self._sent
            _log.error(
                "the audit trail cannot go to %s; nothing is lost, and it is tried again: %s",
                self.name,
                (error.strerror if isinstance(error, OSError) else None) or str(error),
            )

    def _end(self) -> None:
        try:
            received = self._sink.end()
            self._note(self._audits(), received)
        except (DatabaseFailure, LedgerUnusable, OSError) as error:
            _log.warning("what %s has of the audit trail is perhaps sent again: %s", self.name, error)


class Reporting:
    """All who are told of the audit trail by a process.

    Parameters
    ----------
    audits
        As of `Delivery`.
    ae_title
        The AE title of the node.
    """

    def __init__(self, audits: Callable[[], Audits], ae_title: str) -> None:
        self._audits = audits
        self._ae_title = ae_title
        self._open: dict[str, tuple[object, Delivery]] = {}

    def adopt(self, policy: AuditPolicy) -> None:
        """Tell others from now on."""
        wanted = targets_of(policy)
        for name, (target, delivery) in list(self._open.items()):
            if wanted.get(name) != target:
                delivery.close()
                del self._open[name]
        for name, target in wanted.items():
            if name not in self._open:
                delivery = Delivery(name, self._audits, self._sink(name, policy))
                delivery.start()
                self._open[name] = target, delivery

    def close(self) -> None:
        """Tell them what is left, and end."""
        self.adopt(AuditPolicy())

    def _sink(self, name: str, policy: AuditPolicy) -> Sink:
        # What it takes of TLS is loaded where somebody is told.
        from .messages import Origin
        from .sinks import FileSink, syslog_sink

        origin = Origin(self._ae_title, socket.gethostname(), os.getpid())
        if name == FILE:
            return FileSink(policy.file, origin)
        assert policy.syslog is not None
        return syslog_sink(policy.syslog, origin)


def targets_of(policy: AuditPolicy) -> Mapping[str, object]:
    """Who is told, by what the ledger calls them."""
    return {name: target for name, target in ((FILE, policy.file), (SYSLOG, policy.syslog)) if target}


@frozen
class Lag:
    """How far somebody is behind.

    Parameters
    ----------
    count
        How many entries he has not received.
    seconds
        For how long the oldest of them waits.
    """

    count: int
    seconds: float


def lags(audits: Audits, policy: AuditPolicy) -> dict[str, Lag]:
    """How far each is behind who is to be told, by what the ledger calls them; raises DatabaseFailure."""
    found = {}
    last = audits.last()
    for name in targets_of(policy):
        mark = audits.mark(name)
        oldest = [] if mark is None else audits.after(mark, 1)
        seconds = 0.0
        if oldest:
            seconds = max(0.0, (datetime.now(UTC) - oldest[0][1].last_at).total_seconds())
        found[name] = Lag(0 if mark is None else max(0, last - mark), seconds)
    return found


def received_by_all(audits: Audits, policy: AuditPolicy) -> int | None:
    """The number up to which all were told who are to be; None if nobody is. Raises DatabaseFailure."""
    marks = [audits.mark(name) for name in targets_of(policy)]
    return min((each or 0 for each in marks), default=None)
