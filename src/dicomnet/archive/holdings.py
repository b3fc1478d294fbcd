"""What an archive has: the files, their index, the ledger, the intake that adds to them, and their upkeep."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Self

from ..dimse.datasets import OUT_OF_RESOURCES
from ..errors import DatabaseFailure, ServiceRefusal
from ..plurals import counted
from .audit import AuditEvent, AuditPolicy, EventAction, EventKind
from .auditing import AuditTrail, keys_of
from .clock import Date
from .conflicts import OtherContent
from .filing import Progress
from .intake import Intake
from .local import LocalFolder
from .reporting.delivery import Reporting, received_by_all
from .retention import RetentionPolicy
from .storage.folder import FolderStorage
from .storage.store import Storage
from .upkeep import INDEX_NAME, Upkeep, open_index
from .uses import Uses

if TYPE_CHECKING:
    from .catalogue.index import Index
    from .deleting import Deleting
    from .entries import Quarantined, Version
    from .ledger.ledger import Ledger
    from .retaining import Retention
    from .trash import Trash

_log = logging.getLogger(__name__)

# How long a query waits for an index that is being made, and how often it looks, in seconds.
_PATIENCE, _LOOK = 5.0, 0.02
# How often it is looked whether something in the trash is to go, in seconds.
_TIDY = 30.0


class Holdings:
    """The holdings of one archive, open in this process and, after a fork, in others.

    What processes that ended had acknowledged is filed at once; the rest of the upkeep begins with `begin_upkeep`.

    Parameters
    ----------
    folder
        The store; created if it does not exist.
    database
        URL or path of the database for the index, and for the ledger if it is a server's; None for files in the folder.
    has_index
        Whether there is an index, and a ledger; without, there is no database at all.
    keys
        The attributes that the index keeps besides those that it always keeps, as for `Node`; None for those that it
        kept up to now.
    sync, is_strict, other_content
        As of `LocalFolder` and `Intake`.
    processes
        How many processes will share them, this one included.

    Attributes
    ----------
    local, storage, index, ledger, intake
        The parts; there may be neither index nor ledger.
    retention
        The rules by which the upkeep removes studies; may be replaced at any time.
    audit
        The audit trail of this process.
    reporting
        Tells others of the audit trail; None where another process does.
    uses
        When objects were last given out.
    date
        The date that trash and rules of retention go by.
    is_kept_up
        Whether this process or another one has the upkeep.

    Raises
    ------
    OSError
        If the folder cannot be used.
    StoreInUse, LedgerUnusable, DatabaseFailure
        If another process has the store, or a database cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        *,
        database: str | Path | None = None,
        has_index: bool = True,
        keys: Sequence[str] | None = None,
        sync: bool = True,
        is_strict: bool = False,
        other_content: OtherContent = OtherContent.KEEP_FIRST,
        processes: int = 1,
    ) -> None:
        self.local = LocalFolder(folder, sync=sync)
        self.index: Index | None = None
        self.ledger: LedgerAtNeed | None = None
        self.audit = AuditTrail(None)
        self._upkeep: Upkeep | None = None
        self.is_kept_up = False
        self.retention = RetentionPolicy()
        self.uses = Uses()
        self.date = Date()
        self.reporting: Reporting | None = None
        self._retaining: Retention | None = None
        self._tidied_at = 0.0
        # The last deletion that was heeded by what was derived from files.
        self._forgotten = 0
        self._is_strict, self._other_content = is_strict, other_content
        # Without other processes, nobody else has to see how far this one is.
        self._progress = None if processes == 1 else Progress(processes)
        try:
            self.storage: Storage = FolderStorage.of(self.local)
            if has_index:
                self.ledger = LedgerAtNeed(folder, database)
                self.index = open_index(database or folder / INDEX_NAME, keys)
                if self.local.needs_recovery:
                    self.index.doubt()
            self.audit = self._new_audit(0)
            self.intake = self._new_intake(0)
            ledger = None if self.ledger is None else self.ledger.if_there()
            if ledger is not None:
                self.intake.will_delete(ledger.deletions.last())
                # Nobody else has the archive.
                ledger.audits.end_left()
                self.audit.policy = AuditPolicy(enabled=ledger.audits.is_recording)
            self.recover()
        except BaseException:
            self._close_databases()
            self.local.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin_upkeep(self, ae_title: str = "") -> None:
        """Keep the index in line with the files from now on, in a thread. One process of an archive does this.

        Parameters
        ----------
        ae_title
            As whom others are told of the audit trail.
        """
        self.is_kept_up = True
        self._begin_reporting(ae_title)
        if self.index is not None:
            self._upkeep = Upkeep(self.intake, self.index, (self._tidy, self._retain))
            self._upkeep.start()

    def prepare_fork(self) -> None:
        """Let go of what must not be carried through a fork: databases are opened anew where they are needed.

        Another process will have the upkeep.
        """
        self.is_kept_up = True
        self._close_databases()

    def be_process(self, number: int) -> None:
        """Be another process of this archive, after a fork. What one before it with this number left is filed."""
        self.local.staging.process = number
        self.audit = self._new_audit(number)
        if self.audit.is_on and self.ledger is not None:
            self.ledger.opened.audits.end_left(keys_of(number))
        self.intake = self._new_intake(number)
        self.recover()

    def index_to_search(self) -> Index:
        """The index, with all that was acknowledged before.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if it cannot be read, is being made anew from the files, or lacks what another process
            has acknowledged: what it lacks would be taken for what is not there.
        """
        index = self.index
        if index is None:
            raise ServiceRefusal(OUT_OF_RESOURCES, "there is no index")
        if not self.intake.wait_for_all() and not self.intake.is_in_trouble:
            raise ServiceRefusal(OUT_OF_RESOURCES, "what was received before cannot be found yet; try later")
        end = monotonic() + _PATIENCE
        while not index.is_complete:
            if monotonic() >= end:
                raise ServiceRefusal(OUT_OF_RESOURCES, "the index is being made from the files; try later")
            sleep(_LOOK)
        return index

    def recover(self) -> None:
        """File what processes that ended had acknowledged, and end what they had begun to delete.

        What cannot be filed now is tried again.
        """
        try:
            self.end_deletions()
        except (OSError, ServiceRefusal, DatabaseFailure) as error:
            _log.error("a deletion that was interrupted cannot be ended now, and is tried again: %s", error)
        count = self.intake.recover()
        if count:
            _log.warning("%s filed now; the last stop was not clean", counted(count, "acknowledged object"))

    def deleting(self) -> Deleting:
        """The one that deletes objects; there must be an index."""
        from .deleting import Deleting

        assert self.index is not None
        assert self.ledger is not None
        return Deleting(self.intake, self.storage, self.index, self.ledger.opened, self.audit)

    def end_deletions(self) -> None:
        """Find out what became of deletions that were interrupted, see `Deleting.end_interrupted`."""
        ledger = None if self.ledger is None else self.ledger.if_there()
        if ledger is not None and (left := ledger.deletions.to_end()):
            self.deleting().end_interrupted(left)

    @property
    def other_content(self) -> OtherContent:
        """What becomes of an object whose SOP Instance UID a stored object with other content has."""
        return self._other_content

    @other_content.setter
    def other_content(self, value: OtherContent) -> None:
        self._other_content = self.intake.other_content = value

    def leave(self) -> bool:
        """Close them in a process that shares them with others; whether all that it acknowledged is filed."""
        if self._upkeep is not None:
            self._upkeep.stop()
        is_filed = self.intake.close()
        self.audit.close()
        if self.reporting is not None:
            self.reporting.close()
        self._close_databases()
        return is_filed

    def close(self) -> None:
        """Close them, and the store for all processes."""
        self.leave()
        self.local.close()

    def trash(self) -> Trash:
        """What was deleted and is kept for a while."""
        from .trash import Trash

        assert self.ledger is not None
        return Trash(self.intake, self.storage, self.ledger.opened, self.audit)

    def _tidy(self, is_stopped: Callable[[], bool]) -> None:
        """Now and then, end what was interrupted, empty the trash, and forget sessions that are over."""
        if self.ledger is not None and self.ledger.if_there() is not None and monotonic() >= self._tidied_at:
            self._tidied_at = monotonic() + _TIDY
            self.end_deletions()
            self._forget_headers()
            if self.date.is_reliable:
                self.trash().empty(datetime.now(UTC), is_stopped)
                self.ledger.opened.sessions.drop_over(datetime.now(UTC))
                upto = received_by_all(self.ledger.opened.audits, self.audit.policy)
                self.audit.drop_old(datetime.now(UTC), upto)

    def _forget_headers(self) -> None:
        """After a deletion, let nothing stay that was derived from the files for the web."""
        from .kept_headers import NAME, KeptHeaders

        ledger = None if self.ledger is None else self.ledger.if_there()
        last = 0 if ledger is None else ledger.deletions.last()
        if self.index is not None and last != self._forgotten and (self.local.root / NAME).exists():
            with contextlib.closing(KeptHeaders(self.local.root)) as kept:
                if kept.drop_others(self.index):
                    self._forgotten = last

    def _retain(self, is_stopped: Callable[[], bool]) -> None:
        """Remove studies by the rules, when it is time for it."""
        if self._retaining is None and self.retention.rules:
            from .retaining import Retention

            assert self.index is not None
            assert self.ledger is not None
            folder = self.local.root / "objects"
            self._retaining = Retention(
                folder if folder.exists() else self.local.root,
                self.index,
                self.ledger.opened,
                self.deleting(),
                self.uses,
            )
        if self._retaining is not None and self.date.is_reliable:
            self._retaining.run(self.retention, is_stopped)

    def _new_intake(self, process: int) -> Intake:
        return Intake(
            self.local,
            self.storage,
            self.index,
            is_strict=self._is_strict,
            other_content=self._other_content,
            ledger=self.ledger,
            progress=self._progress,
            process=process,
        )

    def adopt_audit(self, policy: AuditPolicy) -> None:
        """Record, and tell others, by another policy from now on."""
        self.audit.policy = policy
        if self.reporting is not None:
            self.reporting.adopt(policy)

    def _begin_reporting(self, ae_title: str) -> None:
        ledger = self.ledger
        if ledger is not None:
            self.reporting = Reporting(lambda: ledger.opened.audits, ae_title)
            self.reporting.adopt(self.audit.policy)

    def tell_recording(self) -> None:
        """Have the ledger say whether the audit trail is on."""
        if self.ledger is not None and (self.audit.is_on or self.ledger.if_there() is not None):
            self.audit.tell_recording()

    def _new_audit(self, process: int) -> AuditTrail:
        ledger = self.ledger
        trail = AuditTrail(
            None if ledger is None else lambda: ledger.opened.audits, self._patient_of, process=process
        )
        trail.policy = self.audit.policy
        if ledger is not None:
            ledger.on_replaced = lambda version: trail.record_together(
                AuditEvent(
                    EventKind.INSTANCES_ACCESSED,
                    EventAction.REPLACED,
                    ae_title=version.source.ae_title,
                    address=version.source.address,
                    way=version.source.way,
                    study=version.study,
                    detail="another object with the same SOP Instance UID took the place",
                )
            )
        return trail

    def _patient_of(self, study: str) -> str:
        """The Patient ID of a study; empty if it is not known."""
        from .catalogue.inspection import Inspection
        from .deleting import Patients

        row = None if self.index is None else Inspection(self.index).study(study)
        ids = () if row is None else Patients.of(row).ids
        return ids[0] if ids else ""

    def _close_databases(self) -> None:
        if self.index is not None:
            self.index.close()
        if self.ledger is not None:
            self.ledger.close()


def storage_beside(folder: Path) -> Storage:
    """The store of an archive that another process may have open.

    Parameters
    ----------
    folder
        The folder of the archive.

    Raises
    ------
    FileNotFoundError
        If there is no archive.
    """
    return FolderStorage.beside(folder)


class LedgerAtNeed:
    """The ledger in the folder of a store, which is opened, or made, when something is to be recorded in it.

    Parameters
    ----------
    folder
        The folder of the store.
    database
        As of `ledger_url`.

    Attributes
    ----------
    on_replaced
        Told of each object that another one replaces; None for nobody.

    Raises
    ------
    LedgerUnusable, DatabaseFailure
        If there is one, and it cannot be used.
    """

    def __init__(self, folder: Path, database: str | Path | None) -> None:
        from .database import is_file_url
        from .ledger.ledger import ledger_url

        self._url = ledger_url(folder, database)
        self._lock = threading.Lock()
        self._opened: Ledger | None = None
        self.on_replaced: Callable[[Version], None] | None = None
        self._is_server = not is_file_url(self._url)
        self.if_there()

    @property
    def opened(self) -> Ledger:
        """The ledger, open; it is made if there is none."""
        from .ledger.ledger import Ledger

        with self._lock:
            if self._opened is None:
                self._opened = Ledger(self._url)
            return self._opened

    def if_there(self) -> Ledger | None:
        """The ledger, open; None if nothing was ever recorded in one."""
        if self._opened is not None or self._is_server or Path(self._url.database or "").exists():
            return self.opened
        return None

    def quarantined(self, found: Quarantined) -> None:
        """Record an object in quarantine, as `Ledger.quarantined` does."""
        self.opened.quarantined(found)

    def kept_version(self, version: Version) -> None:
        """Record an object that another one replaces, as `Ledger.kept_version` does."""
        self.opened.kept_version(version)
        if self.on_replaced is not None:
            self.on_replaced(version)

    def was_deleted(self, instance: str, after: int) -> bool:
        """Whether an object was deleted, as `Ledger.was_deleted` says."""
        ledger = self.if_there()
        return ledger is not None and ledger.was_deleted(instance, after)

    def close(self) -> None:
        """Close it; it is opened anew when needed."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None
