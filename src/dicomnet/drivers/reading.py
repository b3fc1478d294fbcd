"""Files as the drivers send them: opened, told apart from a changed one, and read into the buffer of a PDU."""

from __future__ import annotations

import os
import zlib
from io import BufferedReader, FileIO
from stat import S_ISDIR, S_ISREG

from ..dimse.datasets import AnyFile
from ..errors import UnusableObject

_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)


# Opening a pipe does not wait for its writer.
_READ_AT_ONCE = _READ | getattr(os, "O_NONBLOCK", 0)


class NotDICOM(UnusableObject):
    """What cannot be sent because it is no DICOM file at all, damaged or not. Parameters as of `UnusableObject`."""


def open_file(path: str | os.PathLike[str]) -> int:
    """A descriptor to read a file with; it is the caller's to close.

    Raises
    ------
    NotDICOM
        If it cannot be opened because it is not a file: a socket, for instance.
    OSError
        If it cannot be opened.
    """
    try:
        return os.open(path, _READ_AT_ONCE)
    except OSError:
        check_kind(os.stat(path))
        # It fails again, or waits for a program that is to give up its lease on the file.
        return os.open(path, _READ)


def stamp_of(status: os.stat_result) -> tuple[int, ...]:
    """What differs as soon as a file is changed or another one has taken its place."""
    return status.st_size, status.st_mtime_ns, status.st_ino


def state_of(status: os.stat_result) -> tuple[int, int, int]:
    """Size, and times of the last change of content and of anything in ns: what is noted of a file that was sent."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def stamp_of_stream(stream: BufferedReader, offset: int) -> tuple[int, ...]:
    """As `stamp_of`, for a file without a path: what differs where it is another object, or of another length.

    Parameters
    ----------
    offset
        Where its data set begins, in bytes.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    return size, zlib.crc32(stream.read(offset))


def open_stream(file: AnyFile) -> BufferedReader:
    """A file, for reading from any place in it; raises OSError."""
    return BufferedReader(FileIO(file)) if isinstance(file, str | os.PathLike) else file.open()


class _OpenPath:
    """A file while it is sent. Parameters as of `open_file`."""

    __slots__ = ("_descriptor",)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._descriptor = open_file(path)

    def stamp(self, offset: int) -> tuple[int, ...]:
        """What `FileRange.stamp` is compared to."""
        return stamp_of(os.fstat(self._descriptor))

    def fill(self, view: memoryview, offset: int) -> bool:
        """As `fill`."""
        return fill(view, self._descriptor, offset)

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


class _OpenStream:
    """A file without a path while it is sent. It is read forward."""

    __slots__ = ("_stream",)

    def __init__(self, stream: BufferedReader) -> None:
        self._stream = stream

    def stamp(self, offset: int) -> tuple[int, ...]:
        """What `FileRange.stamp` is compared to."""
        return stamp_of_stream(self._stream, offset)

    def fill(self, view: memoryview, offset: int) -> bool:
        """As `fill`."""
        if self._stream.tell() != offset:
            self._stream.seek(offset)
        filled = 0
        while filled < len(view):
            count = self._stream.readinto(view[filled:])
            if not count:
                return False
            filled += count
        return True

    def close(self) -> None:
        """Close it."""
        self._stream.close()


def open_to_send(file: AnyFile) -> _OpenPath | _OpenStream:
    """A file that is to be sent, open; it is the caller's to close.

    Raises
    ------
    NotDICOM
        As of `open_file`.
    OSError
        If it cannot be opened.
    """
    return _OpenPath(file) if isinstance(file, str | os.PathLike) else _OpenStream(file.open())


def check_kind(status: os.stat_result) -> None:
    # A folder is let through: reading it fails with the reason.
    if not (S_ISREG(status.st_mode) or S_ISDIR(status.st_mode)):
        raise NotDICOM("not a file")


def fill(view: memoryview, descriptor: int, offset: int) -> bool:
    """Read as much of a file as a view has room for.

    Parameters
    ----------
    view
        What to read into.
    descriptor
        The file.
    offset
        Where to begin in it, in bytes.

    Returns
    -------
    bool
        False where the file ends before.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    filled = 0
    while filled < len(view):
        count = _read_at(descriptor, (view[filled:],), offset + filled)
        if not count:
            return False
        filled += count
    return True


def _move_and_read(descriptor: int, views: tuple[memoryview], offset: int) -> int:
    """`os.preadv` for systems without it."""
    os.lseek(descriptor, offset, os.SEEK_SET)
    content = os.read(descriptor, len(views[0]))
    views[0][: len(content)] = content
    return len(content)


_read_at = getattr(os, "preadv", _move_and_read)
