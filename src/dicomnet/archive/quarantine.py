"""The quarantine of a store: its files with what the ledger says about them, and how one is released or dropped.

Files without an entry in the ledger were put there by an older version, which kept no ledger.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from ..dimse.datasets import OUT_OF_RESOURCES
from ..drivers.scanning import scan_stream
from ..encoding.scan import HeaderScanner
from ..errors import IndexUnusable, ServiceRefusal
from .conflicts import OtherContent
from .entries import IDENTIFYING, Outcome, Quarantined, Source, object_name
from .holdings import Holdings, storage_beside
from .intake import Intake, Session
from .ledger.ledger import Ledger, ledger_url
from .storage.comparison import read_file_header
from .storage.store import ObjectName, SetAside, Storage
from .upkeep import INDEX_NAME, bring_in_line

_BLOCK = 1 << 20
_IDENTIFYING = HeaderScanner(IDENTIFYING)


class Quarantine:
    """What a store has in quarantine. Other processes may use the store meanwhile.

    Parameters
    ----------
    folder
        The folder of the store.
    database
        URL of the database that has index and ledger; None for files in the folder.

    Attributes
    ----------
    storage
        The store, which has the files.

    Raises
    ------
    FileNotFoundError
        If there is no store.
    LedgerUnusable, DatabaseFailure
        If the ledger cannot be used.
    """

    def __init__(self, folder: Path, database: str | None = None) -> None:
        self.folder = folder
        self._database = database
        self.storage = storage_beside(folder)
        self._ledger = Ledger(ledger_url(folder, database))

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    def objects(self, instance: str = "") -> list[Quarantined]:
        """The objects in quarantine, the newest first; only those of a SOP Instance UID, if one is given."""
        return quarantined_objects(self.storage, self._ledger, instance)

    def kept(self, found: Quarantined) -> ObjectName | None:
        """The name of the object that is stored under its SOP Instance UID, as far as the index or its file says it."""
        index = self._index
        if index is not None:
            from .catalogue.index import Index

            with contextlib.suppress(IndexUnusable), Index(index) as opened:
                indexed = opened.names_of([found.instance]).get(found.instance)
                if indexed is not None:
                    return indexed
        with self.storage.open_aside(found.location) as file:
            name = _name(file)
        return name if self.storage.has(name) else None

    def drop(self, found: Quarantined) -> None:
        """Delete an object's file, and record that. If it is interrupted, it can be done again.

        Raises
        ------
        OSError, DatabaseFailure
            If the file cannot be deleted, or this cannot be recorded.
        """
        self.storage.drop_aside(found.location)
        _record(self._ledger, found, Outcome.DROPPED)

    def release(self, found: Quarantined) -> None:
        """Store an object by the intake; the one that is stored under its SOP Instance UID is kept as a version.

        The node must not run. If this is interrupted, no file is lost, and it can be done again.

        Raises
        ------
        StoreInUse
            If a node has the store.
        UnusableObject, ServiceRefusal
            If its file is damaged, or the intake refuses it. The other one is then stored as before.
        OSError, DatabaseFailure
            If something cannot be read or written.
        """
        with Holdings(self.folder, database=self._index, has_index=self._index is not None) as holdings:
            if holdings.index is not None:
                bring_in_line(holdings.index, holdings.intake)
            release(found, self.storage, holdings.intake, self._ledger)

    @property
    def _index(self) -> Path | str | None:
        """Where the index is; None if there is none."""
        path = self.folder / INDEX_NAME
        return self._database or (path if path.exists() else None)


def release(found: Quarantined, storage: Storage, intake: Intake, ledger: Ledger) -> None:
    """Store an object in quarantine by an intake; the one that has its SOP Instance UID is kept as a version.

    If this is interrupted, no file is lost, and it can be done again.

    Parameters
    ----------
    found
        The object.
    storage, intake, ledger
        Of the archive.

    Raises
    ------
    UnusableObject, ServiceRefusal
        If its file is damaged, or the intake refuses it. The other one is then stored as before.
    OSError, DatabaseFailure
        If something cannot be read or written; FileNotFoundError if it is not in quarantine any more.
    """
    with storage.open_aside(found.location) as file:
        session = _filled(intake, file, found.source)
    session.other_content = OtherContent.REPLACE
    try:
        session.commit()
    finally:
        session.abort()
    # Before it has its file and its row, the file in quarantine is the only one that people find.
    if not intake.wait_for_all():
        raise ServiceRefusal(OUT_OF_RESOURCES, "it is in the intake journal, and cannot be filed now")
    _record(ledger, found, Outcome.RELEASED)
    storage.drop_aside(found.location)


def _record(ledger: Ledger, found: Quarantined, outcome: Outcome) -> None:
    if not ledger.ended(found.location, outcome):
        ledger.quarantined(found)
        ledger.ended(found.location, outcome)


def quarantined_objects(storage: Storage, ledger: Ledger | None, instance: str = "") -> list[Quarantined]:
    """The objects in quarantine, as of `Quarantine.objects`; there may be no ledger yet."""
    recorded = [] if ledger is None else list(ledger.quarantine(instance))
    known = {each.location for each in recorded}
    files = map(_quarantined, storage.quarantined(instance))
    found = recorded + [each for each in files if each.location not in known]
    oldest = datetime.min.replace(tzinfo=UTC)
    return sorted(found, key=lambda each: each.arrived_at or oldest, reverse=True)


def _quarantined(file: SetAside) -> Quarantined:
    """What is known of a file without an entry in the ledger."""
    arrived_at = datetime.fromtimestamp(file.written_at, UTC)
    return Quarantined(file.instance, file.location, file.digest, file.size, arrived_at=arrived_at)


def _name(file: BinaryIO) -> ObjectName:
    """The name of the object in a file."""
    header = read_file_header(file)
    return object_name(scan_stream(_IDENTIFYING, file, header.offset, header.transfer_syntax_uid))


def _filled(intake: Intake, file: BinaryIO, source: Source) -> Session:
    header = read_file_header(file)
    session = intake.open(header.sop_class_uid, header.sop_instance_uid, header.transfer_syntax_uid, source)
    try:
        file.seek(header.offset)
        while block := file.read(_BLOCK):
            session.write(memoryview(block))
    except BaseException:
        session.abort()
        raise
    return session
