"""The quarantine of a store: its files with what the ledger says about them, and how one is released or dropped.

Files without an entry in the ledger were put there by an older version, which kept no ledger.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..dimse.datasets import OUT_OF_RESOURCES
from ..drivers.scanning import scan_file
from ..encoding.identity import is_uid
from ..encoding.scan import HeaderScanner
from ..errors import IndexUnusable, ServiceRefusal
from .conflicts import OtherContent
from .entries import IDENTIFYING, Outcome, Quarantined, Source, object_name
from .holdings import Holdings
from .intake import Intake, Session
from .ledger.ledger import Ledger, ledger_url
from .medium import flush_folder
from .storage.comparison import read_file_header
from .storage.folder import object_path
from .storage.store import ObjectName
from .upkeep import INDEX_NAME, bring_in_line

if TYPE_CHECKING:
    pass

FOLDER = "quarantine"
_SUFFIX = ".dcm"
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
        # A store without this folder is none, or was never opened.
        os.stat(folder / FOLDER)
        self._ledger = Ledger(ledger_url(folder, database))

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    def path(self, found: Quarantined) -> Path:
        """The path of its file."""
        return self.folder / found.location

    def objects(self, instance: str = "") -> list[Quarantined]:
        """The objects in quarantine, the newest first; only those of a SOP Instance UID, if one is given."""
        recorded = list(self._ledger.quarantine(instance))
        known = {each.location for each in recorded}
        found = recorded + [each for each in self._files(instance) if each.location not in known]
        oldest = datetime.min.replace(tzinfo=UTC)
        return sorted(found, key=lambda each: each.arrived_at or oldest, reverse=True)

    def kept(self, found: Quarantined) -> ObjectName | None:
        """The name of the object that is stored under its SOP Instance UID, as far as the index or its file says it."""
        index = self._index
        if index is not None:
            from .catalogue.index import Index

            with contextlib.suppress(IndexUnusable), Index(index) as opened:
                indexed = opened.names_of([found.instance]).get(found.instance)
                if indexed is not None:
                    return indexed
        name = _name(self.path(found))
        return name if os.path.exists(object_path(self.folder, name)) else None

    def drop(self, found: Quarantined) -> None:
        """Delete an object's file, and record that. If it is interrupted, it can be done again.

        Raises
        ------
        OSError, DatabaseFailure
            If the file cannot be deleted, or this cannot be recorded.
        """
        self._remove_file(found)
        self._record(found, Outcome.DROPPED)

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
        path = self.path(found)
        holdings = Holdings(
            self.folder,
            database=self._index,
            has_index=self._index is not None,
            other_content=OtherContent.REPLACE,
        )
        with holdings:
            if holdings.index is not None:
                bring_in_line(holdings.index, holdings.storage, holdings.intake.conflicts)
            session = _filled(holdings.intake, path, found.source)
            try:
                session.commit()
            finally:
                session.abort()
            if not holdings.leave():
                raise ServiceRefusal(OUT_OF_RESOURCES, "it is in the intake journal, and cannot be filed now")
            self._record(found, Outcome.RELEASED)
        self._remove_file(found)

    @property
    def _index(self) -> Path | str | None:
        """Where the index is; None if there is none."""
        path = self.folder / INDEX_NAME
        return self._database or (path if path.exists() else None)

    def _record(self, found: Quarantined, outcome: Outcome) -> None:
        if not self._ledger.ended(found.location, outcome):
            self._ledger.quarantined(found)
            self._ledger.ended(found.location, outcome)

    def _remove_file(self, found: Quarantined) -> None:
        path = self.path(found)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            # Another one may be there, or the node may be about to put one there, which makes the folder anew.
            flush_folder(str(path.parent))

    def _files(self, instance: str) -> Iterator[Quarantined]:
        for folder in (self.folder / FOLDER).iterdir():
            if not is_uid(folder.name) or (instance and folder.name != instance) or not folder.is_dir():
                continue
            for path in folder.glob(f"*{_SUFFIX}"):
                with contextlib.suppress(FileNotFoundError):
                    state = path.stat()
                    location = path.relative_to(self.folder).as_posix()
                    arrived_at = datetime.fromtimestamp(state.st_mtime, UTC)
                    yield Quarantined(folder.name, location, path.stem, state.st_size, arrived_at=arrived_at)


def _name(path: Path) -> ObjectName:
    """The name of the object in a file."""
    header = read_file_header(path)
    with open(path, "rb", buffering=0) as file:
        return object_name(scan_file(_IDENTIFYING, file.fileno(), header.offset, header.transfer_syntax_uid))


def _filled(intake: Intake, path: Path, source: Source) -> Session:
    header = read_file_header(path)
    session = intake.open(header.sop_class_uid, header.sop_instance_uid, header.transfer_syntax_uid, source)
    try:
        with open(path, "rb") as file:
            file.seek(header.offset)
            while block := file.read(_BLOCK):
                session.write(memoryview(block))
    except BaseException:
        session.abort()
        raise
    return session
