"""The rows of a journal that its database has not got yet: each lies in a file before whoever notes it goes on.

A process that is killed loses nothing of what it has written to a file, so rows can go to the database many at a time.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from zlib import crc32

from ..drivers.medium import flush_folder

# Before each row: the length of what follows in bytes, the CRC-32 of that, begun with the number, and the number of the
# row, which only grows.
_HEADER = struct.Struct("<IIQ")
# What stands for a value that there is not.
_NOTHING = str(None)
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
_sync = getattr(os, "fdatasync", os.fsync)

# The columns of a row, but for `committed`.
Row = tuple[
    str | bytes,
    str | bytes,
    int | None,
    int | None,
    str | None,
    str,
    int | None,
    str | None,
    float,
    str | None,
    int | None,
]


def encode(number: int, row: Row) -> bytes:
    """A row as it lies in a file."""
    path, member, size, mtime, uid, outcome, status, comment, moment, class_uid, ctime = row
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if isinstance(member, bytes):
        member = os.fsdecode(member)
    # NUL is in no name of a file, and a comment, in which it may be, is the last.
    content = (
        f"{path}\0{member}\0{size}\0{mtime}\0{uid}\0{outcome}\0{status}\0{int(moment * 1e6)}\0{class_uid}\0{ctime}"
        f"\0{comment}"
    ).encode("utf-8", "surrogatepass")
    return _HEADER.pack(len(content), crc32(content, number & 0xFFFFFFFF), number) + content


def decode(data: bytes) -> Iterator[tuple[int, Row]]:
    """The rows in a file with their numbers, up to its end or one that did not become whole."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, checksum, number = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        content = data[at : at + length]
        if not content or len(content) < length or crc32(content, number & 0xFFFFFFFF) != checksum:
            return
        at += length
        yield number, _row(content.decode("utf-8", "surrogatepass"))


def _row(text: str) -> Row:
    path, member, size, mtime, uid, outcome, status, moment, class_uid, ctime, comment = text.split("\0", 10)
    return (
        name_of(path),
        name_of(member),
        _number(size),
        _number(mtime),
        _text(uid),
        outcome,
        _number(status),
        _text(comment),
        int(moment) / 1e6,
        _text(class_uid),
        _number(ctime),
    )


def _number(text: str) -> int | None:
    return None if text == _NOTHING else int(text)


def _text(text: str) -> str | None:
    return None if text == _NOTHING else text


def name_of(name: str) -> str | bytes:
    """A name as a journal keeps it: text where it is one, else its bytes."""
    if name.isascii():
        return name
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def notes_of(journal: str) -> list[str]:
    """The paths of the notes of a journal."""
    return [f"{journal}-notes{number}" for number in (1, 2)]


class Notes:
    """Two files beside a journal, of which one is written, and the other is emptied when the database has its rows.

    Parameters
    ----------
    journal
        The path of the journal. Whoever has that locked has these, too.

    Raises
    ------
    OSError
        If they cannot be opened.
    """

    def __init__(self, journal: str) -> None:
        self._paths = notes_of(journal)
        self._descriptors: list[int] = []
        try:
            for path in self._paths:
                self._descriptors.append(os.open(path, _FLAGS, 0o666))
            # Some shares cannot do that, as SQLite knows, too.
            with suppress(OSError):
                flush_folder(os.path.dirname(os.path.abspath(journal)))
        except BaseException:
            self._close()
            raise
        self._written = self._descriptors[0]

    def read(self, after: int) -> list[tuple[int, Row]]:
        """The rows with a greater number, in the order of these."""
        found: list[tuple[int, Row]] = []
        for path in self._paths:
            with open(path, "rb") as file:
                found += (each for each in decode(file.read()) if each[0] > after)
        return sorted(found, key=lambda each: each[0])

    def add(self, number: int, row: Row) -> None:
        """Write a row behind those that are there; raises OSError if it cannot be written."""
        data = encode(number, row)
        if os.write(self._written, data) < len(data):
            # There was room for a part of it: for the next byte there is none, which says why.
            os.write(self._written, b"\0")

    def sync(self) -> None:
        """Bring what was written to the medium; raises OSError if that fails."""
        _sync(self._written)

    def swap(self) -> int:
        """From now on write the other file; returns what `empty` takes when the database has all rows of this one."""
        before = self._written
        first, second = self._descriptors
        self._written = second if before == first else first
        return before

    def empty(self, descriptor: int | None = None) -> None:
        """Remove the rows from one file, or from both."""
        for each in self._descriptors if descriptor is None else (descriptor,):
            os.ftruncate(each, 0)

    def close(self, *, is_empty: bool) -> None:
        """Let go of the files, and remove them where nothing is in them that the database has not got."""
        self._close()
        if is_empty:
            for path in self._paths:
                with suppress(OSError):
                    os.unlink(path)

    def _close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())
