"""Where a data set comes from when it is sent, and where it goes while it arrives."""

from __future__ import annotations

import os
from typing import Protocol

from ..errors import ServiceRefusal
from ..values import frozen

OUT_OF_RESOURCES = 0xA700


class Sink(Protocol):
    """Takes a data set while it arrives. Its owner reads it, or keeps it, once the message is complete."""

    def write(self, data: memoryview) -> None:
        """Take the next bytes, which are valid only during the call.

        Raises
        ------
        ServiceRefusal
            If the rest is not wanted; the response carries its status.
        """
        ...

    def abort(self) -> None:
        """Forget everything: the data set will not be completed or is not wanted."""
        ...


def discard(data: object) -> None:
    """Forget the data set of a message that nobody will perform: what a sink has of it; there may be none."""
    # To ask a protocol whether it is one costs more than the rest of a small message.
    abort = getattr(data, "abort", None)
    if abort is not None:
        abort()


class MemorySink:
    """Keeps a data set in memory.

    Parameters
    ----------
    limit
        The most bytes that are kept; a longer data set is refused with status 0xA700.
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
            # Most data sets arrive in one piece, and bytes of the right size cost one copy.
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
    """Stands for a data set that was read off the wire and dropped."""

    refusal: ServiceRefusal


@frozen
class FileRange:
    """An encoded data set inside a file, to be sent as it is.

    Parameters
    ----------
    path
        The file.
    offset, length
        Where the data set lies, in bytes.
    padding
        Zero bytes that are sent behind it: one behind a deflated data set of odd length (PS3.5 section A.5).
    stamp
        What tells that the file is still the one that was looked at, see `dicomnet.drivers.files.stamp_of`; None where
        that does not matter. One that was changed may hold another object by now, and is not sent.
    """

    path: str | os.PathLike[str]
    offset: int
    length: int
    padding: int = 0
    stamp: tuple[int, ...] | None = None


Source = bytes | bytearray | memoryview | FileRange
