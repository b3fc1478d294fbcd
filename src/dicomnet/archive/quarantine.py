"""The quarantine of a store: its files with what the ledger says about them, and how one is released or dropped.

Files without an entry in the ledger were put there by an older version, which kept no ledger.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..drivers.scanning import scan_file
from ..encoding.identity import is_uid
from ..encoding.scan import HeaderScanner
from ..errors import IndexUnusable, UnusableObject
from .intake import IDENTIFYING, Intake, Session, object_name
from .ledger.ledger import Ledger, Outcome, Quarantined, Version, ledger_url
from .node import open_index
from .storage.files import ObjectName, Storage, object_path, read_file_header

if TYPE_CHECKING:
    from .catalogue.index import Index

FOLDER, VERSIONS, INDEX = "quarantine", "versions", "index.sqlite"
_SUFFIX = ".dcm"
_BLOCK = 1 << 20
_IDENTIFYING = HeaderScanner(IDENTIFYING)


class Quarantine:
    """What a store has in quarantine. Other processes may use the store meanwhile.

    Parameters
    ----------
    folder
        The folder of the store.

    Raises
    ------
    FileNotFoundError
        If there is no store.
    LedgerUnusable, DatabaseFailure
        If the ledger cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # A store without this folder is none, or was never opened.
        os.stat(folder / FOLDER)
        self._ledger = Ledger(ledger_url(folder))

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
        index = self.folder / INDEX
        if index.exists():
            from .catalogue.index import Index

            with contextlib.suppress(IndexUnusable), Index(index) as opened:
                return opened.find(found.instance)
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
        with Storage(self.folder) as storage, contextlib.ExitStack() as stack:
            index: Index | None = None
            if (self.folder / INDEX).exists():
                index = stack.enter_context(open_index(self.folder / INDEX, storage))
            else:
                # A node that indexes this store later has to compare all files with its index.
                storage.needs_recovery = True
            path = self.path(found)
            name = _name(path)
            other = index.find(name.instance) if index else None
            if other is None and os.path.exists(storage.path(name)):
                other = name
            session = _filled(Intake(storage, index), path, found.source.ae_title)
            try:
                if other is None or (other == name and _same_data(path, storage.path(other))):
                    session.commit()
                else:
                    self._replace(storage, index, other, session)
            finally:
                session.abort()
            self._record(found, Outcome.RELEASED)
        self._remove_file(found)

    def _replace(self, storage: Storage, index: Index | None, other: ObjectName, session: Session) -> None:
        """Store an object in the place of another one, which becomes a version; or put that one back."""
        path = storage.path(other)
        digest, target = self._keep(path, other)
        stored_at = datetime.fromtimestamp(os.stat(path).st_mtime, UTC)
        location, size = target.relative_to(self.folder).as_posix(), target.stat().st_size
        self._ledger.kept_version(
            Version(other.instance, other.study, other.series, location, digest, size, stored_at=stored_at)
        )
        # From here until the commit, the index and the files may differ after a crash.
        storage.needs_recovery, before = True, storage.needs_recovery
        os.unlink(path)
        _flush_folder(Path(path).parent)
        try:
            if index:
                index.forget(other)
            session.commit()
        except BaseException:
            os.link(target, path)
            _flush_folder(Path(path).parent)
            raise
        storage.needs_recovery = before

    def _keep(self, path: str, name: ObjectName) -> tuple[str, Path]:
        """Give the file of a stored object a second name among the versions; its digest and that name."""
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        target = self.folder / VERSIONS / name.instance / (digest + _SUFFIX)
        target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.link(path, target)
        for folder in (target.parent, target.parent.parent, self.folder):
            _flush_folder(folder)
        return digest, target

    def _record(self, found: Quarantined, outcome: Outcome) -> None:
        if not self._ledger.ended(found.location, outcome):
            self._ledger.quarantined(found)
            self._ledger.ended(found.location, outcome)

    def _remove_file(self, found: Quarantined) -> None:
        path = self.path(found)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            # Another one may be there, or the node may be about to put one there, which makes the folder anew.
            _flush_folder(path.parent)

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


def _filled(intake: Intake, path: Path, ae_title: str) -> Session:
    header = read_file_header(path)
    session = intake.open(
        header.sop_class_uid, header.sop_instance_uid, header.transfer_syntax_uid, calling_ae=ae_title
    )
    try:
        with open(path, "rb") as file:
            file.seek(header.offset)
            while block := file.read(_BLOCK):
                session.write(memoryview(block))
    except BaseException:
        session.abort()
        raise
    return session


def _same_data(one: Path, other: str) -> bool:
    """Whether two files have the same data set in the same transfer syntax, to the byte."""
    try:
        headers = read_file_header(one), read_file_header(other)
    except UnusableObject:
        return False
    if headers[0].transfer_syntax_uid != headers[1].transfer_syntax_uid:
        return False
    with open(one, "rb") as left, open(other, "rb") as right:
        left.seek(headers[0].offset)
        right.seek(headers[1].offset)
        while True:
            block = left.read(_BLOCK)
            if block != right.read(_BLOCK):
                return False
            if not block:
                return True


def _flush_folder(folder: Path) -> None:
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
