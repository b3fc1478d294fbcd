"""Data sets of messages as bytes: the sinks that received ones are written to, and the sources of those to send."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from ..errors import ServiceRefusal
from ..values import frozen

if TYPE_CHECKING:
    from io import BufferedReader

OUT_OF_RESOURCES = 0xA700


class Sink(Protocol):
    """A receiver of one data set while it arrives. Its owner uses the content once the message is complete."""

    def write(self, data: memoryview) -> None:
        """Append bytes, which are valid only during the call.

        Raises
        ------
        ServiceRefusal
            If the data set is refused; the rest of it is then dropped, and the response carries the status.
        """
        ...

    def abort(self) -> None:
        """Drop the content: the data set will not be completed, or is not wanted."""
        ...


def discard(data: object) -> None:
    """Abort the sink that holds the data set of a message that will not be performed; does nothing for other data."""
    # An isinstance check against a Protocol costs more than the rest of a small message.
    abort = getattr(data, "abort", None)
    if abort is not None:
        abort()


class MemorySink:
    """A sink that keeps the data set in memory.

    Parameters
    ----------
    limit
        The longest data set that is kept, in bytes; a longer one is refused with status 0xA700.
    """

    __slots__ = ("_content", "limit")

    def __init__(self, limit: int) -> None:
        self._content: bytes | bytearray = b""
        self.limit = limit

    def write(self, data: memoryview) -> None:
        if len(self._content) + len(data) > self.limit:
            self._content = b""
            raise ServiceRefusal(OUT_OF_RESOURCES, "the data set is larger than the limit")
        if not self._content:
            # Most data sets arrive in one piece: bytes of the right size cost one copy, a bytearray more.
            self._content = bytes(data)
        else:
            if isinstance(self._content, bytes):
                self._content = bytearray(self._content)
            self._content += data

    def abort(self) -> None:
        self._content = b""

    @property
    def content(self) -> bytes | bytearray:
        """The encoded data set."""
        return self._content


@frozen
class Refused:
    """Takes the place of a data set that was received but refused, and so was dropped."""

    refusal: ServiceRefusal


@frozen
class Malformed:
    """Takes the place of the data set of a request that cannot be performed, because its command set is malformed.

    Parameters
    ----------
    keyword
        The element of the command set that is wrong or not there.
    comment
        The fault in words.
    """

    keyword: str
    comment: str


class Readable(Protocol):
    """A file that is not reached by a path, such as an object of a store. `str` gives the name that people know."""

    def open(self) -> BufferedReader:
        """The whole file, for reading from any place in it.

        Raises
        ------
        OSError
            If it cannot be opened.
        """
        ...

    def read(self, length: int) -> bytes | None:
        """The whole file if it is of this length, in bytes; None if it is of another.

        Raises
        ------
        OSError
            If it cannot be read.
        """
        ...


AnyFile = str | os.PathLike[str] | Readable
"""A file: its path, or what opens it."""


def name_of(file: AnyFile) -> str:
    """The path of a file, or the name by which people know it."""
    return os.fspath(file) if isinstance(file, str | os.PathLike) else str(file)


@frozen
class FileRange:
    """An encoded data set inside a file, to be sent byte for byte.

    Parameters
    ----------
    file
        The file.
    offset, length
        Position and length of the data set in the file, in bytes.
    padding
        Number of zero bytes to send after it: 1 after a deflated data set of odd length (PS3.5 section A.5).
    stamp
        Identifies the state of the file whose header was read, see `dicomnet.drivers.reading.stamp_of`. A file that has
        changed since may hold another object, and is not sent. None skips this check.
    """

    file: AnyFile
    offset: int
    length: int
    padding: int = 0
    stamp: tuple[int, ...] | None = None


Source = bytes | bytearray | memoryview | FileRange
