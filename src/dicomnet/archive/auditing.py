"""The audit trail of a process: events are taken at once, and a thread of its own writes them to the ledger.

Nobody who stores or answers waits for the ledger. Entries that it does not take are kept, up to a limit, and tried
again; what is lost beyond that is counted, and the log says so.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from time import monotonic
from typing import TYPE_CHECKING

from ..errors import DatabaseFailure, LedgerUnusable, ServiceRefusal
from ..plurals import counted
from ..values import replace
from .audit import AuditEntry, AuditEvent, AuditPolicy, EventOutcome

if TYPE_CHECKING:
    from .ledger.audits import Audits

_log = logging.getLogger(__name__)

# How many entries may wait, and how many are written in one transaction.
_LIMIT, _BATCH = 5000, 500
# How often entries are written, and how often that is tried again, in seconds.
_PACE, _RETRY = 1.0, 5.0
# For how long events that are alike are one entry, in seconds, and how many of such entries are known.
_TOGETHER, _KNOWN = 60.0, 1000


# Finds out more of an event, in the thread that writes: fields of it.
Describe = Callable[[], Mapping[str, str]]


class Entry:
    """An event that is being told of; made by `AuditTrail.record`.

    Attributes
    ----------
    event
        It.
    count, begun_at, last_at
        As of `AuditEntry`.
    """

    __slots__ = ("begun_at", "count", "describe", "event", "is_waiting", "key", "last_at")

    def __init__(self, key: str, event: AuditEvent, count: int, describe: Describe | None) -> None:
        self.describe = describe
        self.key, self.event, self.count = key, event, count
        self.begun_at = self.last_at = datetime.now(UTC)
        self.is_waiting = False

    def written(self) -> AuditEntry:
        """It as it is now."""
        return AuditEntry(self.key, self.event, self.count, self.begun_at, self.last_at)


class AuditTrail:
    """The audit trail of one process; it may be shared between threads.

    Parameters
    ----------
    audits
        Gives the table in the ledger, which may take its time, and raise DatabaseFailure or LedgerUnusable. None where
        there is no ledger, and nothing is recorded.
    patient_of
        Gives the Patient ID of a study, empty if it is not known; None if nobody knows any.
    limit
        How many entries may wait.

    Attributes
    ----------
    policy
        What is recorded; may be replaced at any time.
    lost
        How many events could not be recorded.
    """

    def __init__(
        self,
        audits: Callable[[], Audits] | None,
        patient_of: Callable[[str], str] | None = None,
        limit: int = _LIMIT,
    ) -> None:
        self._patient_of = patient_of
        self._audits = audits
        self._limit = limit
        self.policy = AuditPolicy()
        self.lost = 0
        self._told_lost = 0
        self._lock = threading.Lock()
        self._waiting: list[Entry] = []
        self._alike: OrderedDict[AuditEvent, tuple[float, Entry]] = OrderedDict()
        self._begun = f"{token_hex(8)}-"
        self._number = 0
        self._is_stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_on(self) -> bool:
        """Whether anything is recorded."""
        return self.policy.enabled and self._audits is not None

    def record(self, event: AuditEvent, count: int = 1, *, describe: Describe | None = None) -> Entry:
        """Record an event; gives what `again` takes where it goes on. It does not wait for anything."""
        with self._lock:
            self._number += 1
            entry = Entry(f"{self._begun}{self._number}", event, count, describe)
            self._put(entry)
        return entry

    def again(self, entry: Entry, count: int = 1, *, outcome: EventOutcome | None = None) -> None:
        """An event happened so many times more; its outcome is another one, if one is given."""
        with self._lock:
            entry.count += count
            entry.last_at = datetime.now(UTC)
            if outcome is not None:
                entry.event = replace(entry.event, outcome=outcome)
            self._put(entry)

    def record_together(self, event: AuditEvent, count: int = 1) -> None:
        """Record an event, in one entry with those of the minute before that are alike."""
        if not self.is_on:
            return
        now = monotonic()
        with self._lock:
            found = self._alike.get(event)
        if found is not None and now < found[0]:
            self.again(found[1], count)
            return
        entry = self.record(event, count)
        with self._lock:
            self._alike.pop(event, None)
            self._alike[event] = now + _TOGETHER, entry
            while len(self._alike) > _KNOWN:
                self._alike.popitem(last=False)

    def close(self) -> None:
        """Write what waits, and end; nothing may be recorded any more."""
        self._is_stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._write()
        if self._waiting:
            with self._lock:
                self.lost += len(self._waiting)
                self._waiting = []
            self._tell_lost()

    def drop_old(self, now: datetime) -> None:
        """Remove what was kept long enough."""
        if self.is_on and self._audits is not None:
            self._audits().drop_before(now - timedelta(seconds=self.policy.keep))

    def _put(self, entry: Entry) -> None:
        """Have an entry written; with the lock."""
        if not self.is_on or entry.is_waiting:
            return
        if len(self._waiting) >= self._limit:
            self.lost += 1
            return
        entry.is_waiting = True
        self._waiting.append(entry)
        if self._thread is None and not self._is_stopping.is_set():
            self._thread = threading.Thread(target=self._run, name="dicomnet-audit", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        pause = _PACE
        while not self._is_stopping.wait(pause):
            pause = _PACE if self._write() else _RETRY
            self._tell_lost()

    def _write(self) -> bool:
        """Write what waits; whether that could be done."""
        while self._audits is not None:
            with self._lock:
                batch = self._waiting[:_BATCH]
            for each in batch:
                self._describe(each)
            with self._lock:
                entries = [each.written() for each in batch]
            if not batch:
                break
            try:
                self._audits().write(entries)
            except (DatabaseFailure, LedgerUnusable, OSError) as error:
                _log.error(
                    "%s of the audit trail not in the ledger yet: %s",
                    counted(len(self._waiting), "entry", "entries"),
                    error,
                )
                return False
            with self._lock:
                del self._waiting[: len(batch)]
                for each, written in zip(batch, entries, strict=True):
                    each.is_waiting = False
                    # What went on meanwhile is written the next time.
                    if (each.count, each.event) != (written.count, written.event):
                        each.is_waiting = True
                        self._waiting.append(each)
        return True

    def _describe(self, entry: Entry) -> None:
        """Find out what is not known of an entry yet."""
        found: dict[str, str] = {}
        if entry.describe is not None:
            try:
                found.update(entry.describe())
            except Exception:  # noqa: BLE001
                # It is recorded with what is known.
                _log.exception("an entry of the audit trail lacks its details")
            entry.describe = None
        event = entry.event
        study, patient = found.get("study", event.study), found.get("patient", event.patient)
        if study and not patient and self._patient_of is not None:
            try:
                found["patient"] = self._patient_of(study)
            except (DatabaseFailure, ServiceRefusal) as error:
                _log.warning("an entry of the audit trail lacks its patient: %s", error)
        if found:
            with self._lock:
                entry.event = replace(entry.event, **found)

    def _tell_lost(self) -> None:
        lost = self.lost
        if lost != self._told_lost:
            _log.error(
                "%d events are missing in the audit trail: the ledger did not take them",
                lost - self._told_lost,
            )
            self._told_lost = lost


def outcome_of(status: int) -> EventOutcome:
    """The outcome that a status of HTTP says."""
    if status < 400:
        return EventOutcome.SUCCESS
    return EventOutcome.MINOR_FAILURE if status < 500 else EventOutcome.SERIOUS_FAILURE
