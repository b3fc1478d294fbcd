"""Files as the drivers send them: opened, told apart from a changed one, and read into the buffer of a PDU."""

from __future__ import annotations

import os
from stat import S_ISDIR, S_ISREG

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
        _check_kind(os.stat(path))
        # It fails again, or waits for a program that is to give up its lease on the file.
        return os.open(path, _READ)


def stamp_of(status: os.stat_result) -> tuple[int, ...]:
    """What differs as soon as a file is changed or another one has taken its place."""
    return status.st_size, status.st_mtime_ns, status.st_ino


def _check_kind(status: os.stat_result) -> None:
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
