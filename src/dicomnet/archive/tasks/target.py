"""The folder of a backup while it is written: copies get their names when they are complete and on the medium."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Self

from ...drivers.medium import flush_file_system
from ...values import frozen, mutable
from ..local import lock_at_once
from .manifest import FOLDERS, LEDGER, Earlier, Line, Manifest, for_patients_data, has_any, key_of, lines
from .manifest import NAME as MANIFEST
from .reading import Pace
from .task import TaskRefused

_LOCK, _COPIES = "backup.lock", "copies"
# What tells the folder of an archive.
_OF_AN_ARCHIVE = ("lock", "index.sqlite", "journal")
# How many copies, and how many bytes of them, are made durable together.
_BATCH, _BATCH_LENGTH = 256, 64 << 20


@frozen
class Copy:
    """A copy without a name.

    Parameters
    ----------
    path
        The file.
    size, sha256
        What was copied: its length in bytes, and its digest as hexadecimal digits.
    """

    path: Path
    size: int
    sha256: str


@mutable
class _Waiting:
    """A file that is to be in the manifest, and its copy, if it is not there already."""

    line: Line
    copy: Path | None
    replaced: str | None


class Target:
    """The folder of a backup, locked for one run.

    Parameters
    ----------
    folder
        The folder; created if it does not exist.
    archive
        The folder of the archive, with which it must not overlap.
    pace
        Of the reading.

    Raises
    ------
    TaskRefused
        If it cannot be the folder of a backup, or another run writes it.
    OSError
        If it cannot be used.
    """

    def __init__(self, folder: Path, archive: Path, pace: Pace) -> None:
        self.folder = folder
        self._pace = pace
        self._number = 0
        self._waiting: list[_Waiting] = []
        self._length = 0
        _refuse_unfit(folder, archive)
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o640)
        try:
            try:
                lock_at_once(self._lock)
            except OSError:
                raise TaskRefused(f"another backup into {folder} is under way") from None
            # What a run before has left without a name.
            shutil.rmtree(folder / _COPIES, ignore_errors=True)
            (folder / _COPIES).mkdir(mode=0o750)
            self._manifest = Manifest(folder)
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._manifest.__exit__()
        os.close(self._lock)

    def has(self, line: Line, *, is_verified: bool) -> bool:
        """Whether a file of an earlier run is still there.

        Parameters
        ----------
        line
            The file.
        is_verified
            Whether it is read, and its digest compared.
        """
        path = self.folder / line.path
        try:
            if path.stat().st_size != line.size:
                return False
            if not is_verified:
                return True
            with path.open("rb") as file:
                return self._digest(file) == line.sha256
        except FileNotFoundError:
            return False

    def copy(self, file: BinaryIO, written_at: float) -> Copy:
        """Copy a file.

        Parameters
        ----------
        file
            The file, which is closed then.
        written_at
            When it was written, in seconds since 1970; 0 if that is not known.

        Raises
        ------
        CannotRead
            If the file cannot be read.
        OSError
            If the copy cannot be written.
        """
        path = self._next()
        digest, size = hashlib.sha256(), 0
        with file, open(path, "xb", buffering=0, opener=for_patients_data) as copy:
            for block in self._pace.blocks(file):
                digest.update(block)
                size += len(block)
                _write(copy, block)
        if written_at:
            os.utime(path, (written_at, written_at))
        return Copy(path, size, digest.hexdigest())

    def write(self, text: Iterable[str]) -> Copy:
        """Write lines into a file."""
        path = self._next()
        digest, size = hashlib.sha256(), 0
        with open(path, "xb", opener=for_patients_data) as file:
            for line in text:
                data = line.encode()
                digest.update(data)
                size += len(data)
                file.write(data)
                self._pace.tick()
        return Copy(path, size, digest.hexdigest())

    def drop(self, copy: Copy) -> None:
        """Remove a copy that is not wanted."""
        copy.path.unlink()

    def add(self, line: Line, copy: Copy | None = None, *, replaced: Line | None = None) -> None:
        """Add a file to the backup.

        Parameters
        ----------
        line
            The file.
        copy
            Its copy; None if it is there already.
        replaced
            The file of an earlier run that it replaces.
        """
        where = None
        if replaced is not None and replaced.sha256 != line.sha256 and replaced.name is not None:
            # It is a version of the object, and an earlier manifest may yet be needed.
            where = f"versions/{replaced.name.instance}/{replaced.sha256}.dcm"
        self._waiting.append(_Waiting(line, None if copy is None else copy.path, where))
        self._length += 0 if copy is None else copy.size
        if len(self._waiting) >= _BATCH or self._length >= _BATCH_LENGTH:
            self.flush()

    def flush(self) -> None:
        """Give the copies their names, once they are on the medium, and enter them in the manifest."""
        waiting, self._waiting, self._length = self._waiting, [], 0
        if any(each.copy is not None for each in waiting):
            flush_file_system(str(self.folder))
        for each in waiting:
            if each.copy is not None:
                path = self.folder / each.line.path
                path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
                if each.replaced is not None and path.exists():
                    self._put_aside(path, self.folder / each.replaced)
                each.copy.replace(path)
            self._manifest.add(each.line)
            self._pace.tick()
        self._manifest.flush()

    def finish(self, ledger: Line) -> None:
        """Complete the backup.

        Parameters
        ----------
        ledger
            The file with the entries of the ledger; those of earlier runs are removed.
        """
        self.flush()
        flush_file_system(str(self.folder))
        self._manifest.finish()
        flush_file_system(str(self.folder))
        for path in (self.folder / LEDGER).iterdir():
            if path != self.folder / ledger.path:
                path.unlink()
        shutil.rmtree(self.folder / _COPIES)

    def earlier(self) -> Earlier:
        """What earlier runs have left."""
        return Earlier(self.folder, self._manifest.path)

    @property
    def totals(self) -> tuple[int, int]:
        """How many files the manifest has by now, and their length together in bytes."""
        return self._manifest.files, self._manifest.size

    def left_over(self) -> Iterator[Path]:
        """The files that lie there and are not in the manifest, which is complete."""
        known = lines(self.folder / MANIFEST)
        line = next(known, None)
        for path in _files(self.folder):
            key = key_of(path.relative_to(self.folder).as_posix())
            while line is not None and line.key < key:
                line = next(known, None)
            self._pace.tick()
            if line is None or line.key != key:
                yield path

    def _next(self) -> Path:
        self._number += 1
        return self.folder / _COPIES / str(self._number)

    def _put_aside(self, path: Path, version: Path) -> None:
        version.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        if not version.exists():
            path.rename(version)

    def _digest(self, file: BinaryIO) -> str:
        digest = hashlib.sha256()
        for block in self._pace.blocks(file):
            digest.update(block)
        return digest.hexdigest()


def _write(file: BinaryIO, block: bytes) -> None:
    left = memoryview(block)
    while left:
        left = left[file.write(left) :]


def _files(folder: Path) -> Iterator[Path]:
    """The files of a backup, in the order of its manifest."""
    for name in FOLDERS:
        if (folder / name).is_dir():
            yield from _below(folder / name)


def _below(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name.removesuffix(".dcm"))
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry.path))
        else:
            yield Path(entry.path)


def _refuse_unfit(folder: Path, archive: Path) -> None:
    there, ours = folder.resolve(), archive.resolve()
    if there == ours or there in ours.parents or ours in there.parents:
        raise TaskRefused(
            f"a backup of {archive} cannot be in the same folder: it must survive the loss of that one"
        )
    if not folder.exists():
        return
    if any((folder / name).exists() for name in _OF_AN_ARCHIVE):
        raise TaskRefused(f"{folder} is the folder of an archive; give the backup a folder of its own")
    if not has_any(folder) and any(path.name != _LOCK for path in folder.iterdir()):
        raise TaskRefused(f"{folder} is neither empty nor a backup; give the backup a folder of its own")
