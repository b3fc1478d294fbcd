"""The audit trail of a process: events are taken at once, and a thread of its own writes them to the ledger.

Nobody who stores or answers waits for the ledger. Entries that it does not take are kept, up to a limit, and tried
again; what is lost beyond that is counted, and log, metrics and trail say so.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from time import monotonic
from typing import TYPE_CHECKING

from ..errors import DatabaseFailure, LedgerUnusable, ServiceRefusal
from ..plurals import counted
from ..values import replace
from .audit import AuditEntry, AuditEvent, AuditPolicy, EventAction, EventKind, EventOutcome

if TYPE_CHECKING:
    from .ledger.audits import Audits

_log = logging.getLogger(__name__)

# How many entries may wait, and how many are written in one transaction.
_LIMIT, _BATCH = 5000, 500
# How often entries are written, and how often that is tried again, in seconds.
_PACE, _RETRY = 1.0, 5.0
# For how long events that are alike are one entry, in seconds, and how many of such entries are known.
_TOGETHER, _KNOWN = 60.0, 1000
# For how long an entry goes on at most, in seconds: nobody else is told of it before it is over.
_LONGEST = 600.0


# Finds out more of an event, in the thread that writes: fields of it.
Describe = Callable[[], Mapping[str, str]]


class Entry:
    """An event that goes on; made by `AuditTrail.begin`.

    Attributes
    ----------
    event
        It.
    count, begun_at, last_at, is_over
        As of `AuditEntry`.
    """

    __slots__ = (
        "begun_at",
        "count",
        "describe",
        "event",
        "is_over",
        "is_waiting",
        "key",
        "last_at",
        "until",
        "written",
    )

    def __init__(
        self, key: str, event: AuditEvent, count: int, describe: Describe | None, until: float
    ) -> None:
        self.describe = describe
        self.key, self.event, self.count, self.until = key, event, count, until
        self.begun_at = self.last_at = datetime.now(UTC)
        self.is_waiting = self.is_over = False
        # What the ledger has of it.
        self.written: AuditEntry | None = None

    def now(self) -> AuditEntry:
        """It as it is now."""
        return AuditEntry(self.key, self.event, self.count, self.begun_at, self.last_at, self.is_over)


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
    process
        The number of this process among those that share the ledger.

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
        process: int = 0,
    ) -> None:
        self._patient_of = patient_of
        self._patients: OrderedDict[str, str] = OrderedDict()
        self._audits = audits
        self._limit = limit
        self.policy = AuditPolicy()
        self.lost = 0
        self._told_lost = self._admitted = 0
        self._lock = threading.Lock()
        self._waiting: list[Entry] = []
        self._alike: OrderedDict[AuditEvent, Entry] = OrderedDict()
        self._open: dict[str, Entry] = {}
        self._begun = f"{keys_of(process)}{token_hex(8)}-"
        self._number = 0
        self._is_stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_on(self) -> bool:
        """Whether anything is recorded."""
        return self.policy.enabled and self._audits is not None

    @property
    def waiting(self) -> int:
        """How many entries wait to be written."""
        return len(self._waiting)

    def record(self, event: AuditEvent, count: int = 1, *, describe: Describe | None = None) -> None:
        """Record an event, which is over. It does not wait for anything."""
        if self.is_on:
            with self._lock:
                entry = self._new(event, count, describe, 0.0)
                entry.is_over = True
                self._put(entry)

    def begin(self, event: AuditEvent, count: int = 1, *, describe: Describe | None = None) -> Entry:
        """Record an event that goes on, until `end` is told so; `again` takes what this gives."""
        with self._lock:
            return self._begin(event, count, describe, _LONGEST)

    def again(self, entry: Entry, count: int = 1, *, outcome: EventOutcome | None = None) -> Entry:
        """An event happened so many times more; its outcome is another one, if one is given.

        Gives what goes on from now: an entry that goes on for long is over some time, and another one begins.
        """
        with self._lock:
            event = entry.event if outcome is None else replace(entry.event, outcome=outcome)
            if entry.is_over:
                return self._begin(event, count, None, _LONGEST)
            entry.count += count
            entry.last_at = datetime.now(UTC)
            entry.event = event
            self._put(entry)
        return entry

    def end(self, entry: Entry) -> None:
        """An event is over."""
        with self._lock:
            self._end(entry)

    def record_together(self, event: AuditEvent, count: int = 1) -> None:
        """Record an event, in one entry with those of the minute before that are alike."""
        if not self.is_on:
            return
        with self._lock:
            found = self._alike.get(event)
            if found is not None and not found.is_over and monotonic() < found.until:
                found.count += count
                found.last_at = datetime.now(UTC)
                self._put(found)
                return
            if found is not None:
                self._end(found)
                del self._alike[event]
            self._alike[event] = self._begin(event, count, None, _TOGETHER)
            while len(self._alike) > _KNOWN:
                self._end(self._alike.popitem(last=False)[1])

    def tell_recording(self) -> None:
        """Have the ledger say that the trail is on, or off, if that is news; there must be one.

        Commands that use the archive while no node has it go by that.
        """
        is_on = self.policy.enabled
        assert self._audits is not None
        try:
            is_news = self._audits().set_recording(is_on=is_on)
        except (DatabaseFailure, LedgerUnusable, OSError) as error:
            _log.error("the ledger cannot be told that the audit trail is on or off: %s", error)
            return
        if is_news:
            action = EventAction.RECORDING_STARTED if is_on else EventAction.RECORDING_STOPPED
            event = AuditEvent(EventKind.SECURITY_ALERT, action, detail="audit.enabled of the configuration")
            with self._lock:
                entry = self._new(event, 1, None, 0.0)
                entry.is_over = True
                self._put(entry, by_force=True)

    def close(self) -> None:
        """Write what waits, and end; nothing may be recorded any more."""
        self._is_stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._lock:
            for entry in list(self._open.values()):
                self._end(entry)
        self._write()
        if self._waiting:
            with self._lock:
                self.lost += len(self._waiting)
                self._waiting = []
            self._tell_lost()

    def drop_old(self, now: datetime, upto: int | None = None) -> None:
        """Remove what was kept long enough; of what others are to be told, only up to a number, if one is given."""
        if self.is_on and self._audits is not None:
            self._audits().drop_before(now - timedelta(seconds=self.policy.keep), upto)

    def _new(self, event: AuditEvent, count: int, describe: Describe | None, seconds: float) -> Entry:
        self._number += 1
        if event.study and event.patient:
            # Entries before this one may wait for it: a study that was deleted meanwhile is not in the index.
            self._patients[event.study] = event.patient
            if len(self._patients) > _KNOWN:
                self._patients.popitem(last=False)
        return Entry(f"{self._begun}{self._number}", event, count, describe, monotonic() + seconds)

    def _begin(self, event: AuditEvent, count: int, describe: Describe | None, seconds: float) -> Entry:
        entry = self._new(event, count, describe, seconds)
        if self.is_on:
            self._open[entry.key] = entry
        self._put(entry)
        return entry

    def _end(self, entry: Entry) -> None:
        if not entry.is_over:
            entry.is_over = True
            self._open.pop(entry.key, None)
            self._put(entry)

    def _put(self, entry: Entry, *, by_force: bool = False) -> None:
        """Have an entry written; with the lock."""
        if entry.is_waiting or not (self.is_on or by_force or entry.written is not None):
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
            now = monotonic()
            with self._lock:
                for entry in [each for each in self._open.values() if each.until <= now]:
                    self._end(entry)
            if self._write():
                pause = _PACE
                self._admit_gap()
            else:
                pause = _RETRY
            self._tell_lost()

    def _write(self) -> bool:
        """Write what waits; whether that could be done."""
        while self._audits is not None:
            with self._lock:
                batch = self._waiting[:_BATCH]
            for each in batch:
                self._describe(each)
            with self._lock:
                entries = [each.now() for each in batch]
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
                    each.written = written
                    # What went on meanwhile is written the next time.
                    if (each.count, each.event, each.is_over) != (
                        written.count,
                        written.event,
                        written.is_over,
                    ):
                        each.is_waiting = True
                        self._waiting.append(each)
            if len(batch) < _BATCH:
                # What has come meanwhile waits for the next time: a transaction for each entry takes ten times as long.
                break
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
                found["patient"] = self._patient_of(study) or self._patients.get(study, "")
            except (DatabaseFailure, ServiceRefusal) as error:
                _log.warning("an entry of the audit trail lacks its patient: %s", error)
        if found:
            with self._lock:
                entry.event = replace(entry.event, **found)

    def _tell_lost(self) -> None:
        lost = self.lost - self._told_lost
        if lost:
            _log.error("%s missing in the audit trail: the ledger did not take them", counted(lost, "event"))
            self._told_lost += lost

    def _admit_gap(self) -> None:
        """Let who reads the trail see what is missing in it; the ledger takes entries."""
        lost = self.lost - self._admitted
        if lost:
            self._admitted += lost
            words = f"{counted(lost, 'event')} missing before this one: the ledger did not take them"
            alert = AuditEvent(
                EventKind.SECURITY_ALERT,
                EventAction.RECORDING_STOPPED,
                EventOutcome.SERIOUS_FAILURE,
                detail=words,
            )
            self.record(alert, lost)


def record_beside(folder: Path, database: str | None, events: Iterable[tuple[AuditEvent, int]]) -> None:
    """Record events of a process that has no archive open, if the node has said that the trail is on.

    Parameters
    ----------
    folder
        The folder of the archive.
    database
        As of `ledger_url`.
    events
        They, each with how often it happened.

    Raises
    ------
    DatabaseFailure, LedgerUnusable
        If that cannot be done.
    """
    from .database import is_file_url
    from .ledger.ledger import Ledger, ledger_url

    url = ledger_url(folder, database)
    if is_file_url(url) and not Path(url.database or "").exists():
        return
    with Ledger(url) as ledger:
        if not ledger.audits.is_recording:
            return
        now, begun = datetime.now(UTC), token_hex(8)
        entries = [
            AuditEntry(f"beside-{begun}-{number}", event, count, now, now)
            for number, (event, count) in enumerate(events)
        ]
        for at in range(0, len(entries), _BATCH):
            ledger.audits.write(entries[at : at + _BATCH])


def keys_of(process: int) -> str:
    """What the keys of the entries of a process begin with, by its number."""
    return f"{process}-"


def outcome_of(status: int) -> EventOutcome:
    """The outcome that a status of HTTP says."""
    if status < 400:
        return EventOutcome.SUCCESS
    return EventOutcome.MINOR_FAILURE if status < 500 else EventOutcome.SERIOUS_FAILURE
