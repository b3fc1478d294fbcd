"""Export of stored objects: byte for byte, into a folder or a zip file, named by their UIDs or as a File-set."""

from __future__ import annotations

import contextlib
import errno
import os
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from io import BufferedReader
from pathlib import Path
from typing import IO

from ..datasets.file_sets import Directory, Placed, read_for_directory
from ..drivers.medium import flush_file, flush_file_system
from ..errors import UnusableObject
from .storage.staging import naming
from .storage.store import ObjectName, Storage

_BLOCK = 1 << 20
_PART = ".part"
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_DIRECTORY_NAME = ("DICOMDIR",)
# Fast, and enough for pixels that are not compressed.
_COMPRESSION = 1


class Written(Enum):
    """What became of a file that was to be written."""

    WRITTEN = "exported"
    SAME = "already_there"
    IN_THE_WAY = "in_the_way"


class Target(ABC):
    """Where files are exported to. What is not complete has another name; `close` it in the end.

    All operations raise OSError where it cannot be written.
    """

    @abstractmethod
    def write(self, name: Sequence[str], content: Iterable[bytes], length: int) -> Written:
        """Write a file, unless there is one.

        Parameters
        ----------
        name
            The components of its name.
        content, length
            What is in it, in parts, and how much that is in bytes; it can be had more than once. If it raises
            `UnusableObject`, there is no file.
        """

    @abstractmethod
    def where(self, name: Sequence[str]) -> str:
        """How people find a file."""

    @abstractmethod
    def finish(self) -> None:
        """Return when all that was written is complete, and on the medium."""

    @abstractmethod
    def close(self) -> None:
        """Remove what is not complete."""


class FolderTarget(Target):
    """A folder.

    Parameters
    ----------
    root
        The folder; made with those above it when the first file is written.
    replaces
        Whether files that are there are replaced.
    """

    def __init__(self, root: Path, *, replaces: bool) -> None:
        self._root = root
        self._replaces = replaces
        self._made = ""

    def write(self, name: Sequence[str], content: Iterable[bytes], length: int) -> Written:
        path = self.where(name)
        if not self._replaces and os.path.lexists(path):
            return Written.SAME if _has_content(path, content, length) else Written.IN_THE_WAY
        with naming(path):
            self._write(path, content)
        return Written.WRITTEN

    def _write(self, path: str, content: Iterable[bytes]) -> None:
        folder = os.path.dirname(path)
        if folder != self._made:
            os.makedirs(folder, exist_ok=True)
            self._made = folder
        part = path + _PART
        with contextlib.suppress(FileNotFoundError):
            # One that an interrupted export has left.
            os.unlink(part)
        try:
            with open(os.open(part, _NEW_FILE, 0o666), "wb", buffering=0) as file:
                for block in content:
                    _write_all(file, block)
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)
            raise

    def where(self, name: Sequence[str]) -> str:
        return os.path.join(self._root, *name)

    def finish(self) -> None:
        if self._root.exists():
            flush_file_system(str(self._root))

    def close(self) -> None:
        """Nothing is left: a file that is not complete is removed where it fails."""


class ZipTarget(Target):
    """A zip file, which has its name when it is complete.

    Parameters
    ----------
    path
        The file.
    replaces
        Whether it is replaced if it is there.

    Raises
    ------
    FileExistsError
        If it is there, and not to be replaced.
    OSError
        If it cannot be made.
    """

    def __init__(self, path: Path, *, replaces: bool) -> None:
        if not replaces and os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        self._path = str(path)
        self._part = self._path + _PART
        self._is_finished = False
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._part)
        self._file = os.fdopen(os.open(self._part, _NEW_FILE, 0o666), "wb")
        self._zip = zipfile.ZipFile(
            self._file, "w", compression=zipfile.ZIP_DEFLATED, compresslevel=_COMPRESSION
        )

    def write(self, name: Sequence[str], content: Iterable[bytes], length: int) -> Written:
        for _ in content:
            # What cannot be read to its end is found before a part of it is there, which could not be taken back.
            pass
        try:
            with (
                naming(self._path),
                self._zip.open("/".join(name), "w", force_zip64=length >= zipfile.ZIP64_LIMIT) as member,
            ):
                for block in content:
                    member.write(block)
        except UnusableObject as error:
            raise OSError(errno.EIO, error.cause, self._part) from error
        return Written.WRITTEN

    def where(self, name: Sequence[str]) -> str:
        return f"{self._path}!{'/'.join(name)}"

    def finish(self) -> None:
        with naming(self._path):
            self._zip.close()
            self._file.close()
        flush_file(self._part)
        os.replace(self._part, self._path)
        self._is_finished = True
        flush_file_system(os.path.dirname(self._path) or os.curdir)

    def close(self) -> None:
        if not self._is_finished:
            with contextlib.suppress(OSError, ValueError):
                self._zip.close()
            with contextlib.suppress(OSError):
                self._file.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._part)


class Export:
    """An export of objects from a store.

    Parameters
    ----------
    storage
        The store.
    target
        Where they are copied to.
    is_file_set
        Whether they become a File-set with a DICOMDIR; else each has the name of its UIDs.
    """

    def __init__(self, storage: Storage, target: Target, *, is_file_set: bool = False) -> None:
        self._storage = storage
        self._target = target
        self._directory = Directory() if is_file_set else None
        self._is_empty = True

    def copy(self, name: ObjectName, size: int | None) -> tuple[Written, str, int]:
        """Copy an object.

        Parameters
        ----------
        name
            Its name in the store.
        size
            The length that its file had when it was received, in bytes; None if that is not known.

        Returns
        -------
        tuple
            What became of it, where it is now, and its length.

        Raises
        ------
        UnusableObject
            If it is gone, cannot be read, is not of that length, or cannot be in a DICOMDIR.
        OSError
            If it cannot be written.
        """
        content = _Content(self._opened(name))
        with content.file:
            length = content.length()
            if size is not None and length != size:
                raise UnusableObject(f"its file has {length} bytes instead of {size}")
            placed = self._placed(content.file)
            path = (name.study, name.series, f"{name.instance}.dcm") if placed is None else placed.file_id
            outcome = self._target.write(path, content, length)
        if placed is not None and self._directory is not None:
            self._directory.add(placed)
        self._is_empty = False
        return outcome, self._target.where(path), length

    def finish(self) -> None:
        """Write the DICOMDIR, if there is to be one, and return when all is on the medium.

        Raises
        ------
        UnusableObject
            If there are more objects than a DICOMDIR can have.
        OSError
            If it cannot be written.
        """
        if self._directory is not None and not self._is_empty:
            content = list(self._directory.encoded())
            self._target.write(_DIRECTORY_NAME, content, sum(map(len, content)))
        self._target.finish()

    def _opened(self, name: ObjectName) -> BufferedReader:
        try:
            return self._storage.open(name)
        except FileNotFoundError:
            raise UnusableObject("it has been removed meanwhile, or its file is missing") from None
        except OSError as error:
            raise _cannot_be_read(error) from error

    def _placed(self, file: BufferedReader) -> Placed | None:
        """An object in the File-set; None if there is none."""
        if self._directory is None:
            return None
        try:
            return self._directory.place(*read_for_directory(file))
        except OSError as error:
            raise _cannot_be_read(error) from error


class _Content:
    """The content of a file of the store, in parts, as often as it is wanted."""

    def __init__(self, file: BufferedReader) -> None:
        self.file = file

    def length(self) -> int:
        """Its length in bytes; it is then read from its beginning."""
        length = self.file.seek(0, os.SEEK_END)
        self.file.seek(0)
        return length

    def __iter__(self) -> Iterator[bytes]:
        self.file.seek(0)
        while block := self._read():
            yield block

    def _read(self) -> bytes:
        try:
            return self.file.read(_BLOCK)
        except OSError as error:
            raise _cannot_be_read(error) from error


def _cannot_be_read(error: OSError) -> UnusableObject:
    return UnusableObject(f"its file cannot be read: {error.strerror or error}")


def _write_all(file: IO[bytes], block: bytes) -> None:
    left = memoryview(block)
    while left:
        left = left[file.write(left) :]


def _has_content(path: str, content: Iterable[bytes], length: int) -> bool:
    """Whether there is a file with this content."""
    if not os.path.isfile(path) or os.path.getsize(path) != length:
        return False
    with open(path, "rb") as file:
        return all(file.read(len(block)) == block for block in content)
