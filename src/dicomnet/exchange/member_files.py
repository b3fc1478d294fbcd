"""Members of zip and tar files as files that can be opened later, whichever they are and in any order.

A zip's members are reached by its directory, those of a tar by where they begin. A compressed tar can only be read
forward: a few streams go on from where they are, for all who read of it.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from io import BufferedReader, FileIO, RawIOBase
from typing import IO, TYPE_CHECKING, Any, Protocol

from ..values import frozen

if TYPE_CHECKING:
    import zipfile

# How much is read at once of what is passed over, in bytes.
_STEP = 1 << 20
# How many streams of a compressed file are kept that nobody uses.
_KEPT = 2


class Container(Protocol):
    """A file with members."""

    def open(self, member: Member) -> Stream:
        """A member, from its beginning."""
        ...


class Stream(Protocol):
    """An open member, which is read forward."""

    def read(self, size: int, /) -> bytes:
        """Further bytes, none at its end; raises anything where the file is damaged."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


@frozen
class Member:
    """A member of a zip or tar file, see `dicomnet.dimse.datasets.Readable`.

    Parameters
    ----------
    path
        The zip or tar file.
    name
        Its name in there; it is shown, and never used as a path.
    offset
        Where it begins, in bytes of the file, or of what a compressed one decompresses to.
    length
        Its bytes.
    stamp
        Size and time of the last change of the file that it is in.
    container
        Opens it.
    entry
        What the container knows it by.
    """

    path: str
    name: str
    offset: int
    length: int
    stamp: tuple[int, int, int]
    container: Container
    entry: Any = None

    def __str__(self) -> str:
        return f"{self.path}: {self.name}"

    def open(self) -> BufferedReader:
        """The whole member, for reading from any place in it; to go back in it is to begin anew."""
        return BufferedReader(_Raw(self), _STEP)

    def read(self, length: int) -> bytes | None:
        """The whole member if it is of this length; raises OSError."""
        if length != self.length:
            return None
        with self.open() as stream:
            content = stream.read()
        return content if len(content) == length else None


class _Raw(RawIOBase):
    """An open member of which any place can be read."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._stream: Stream | None = None
        # Where the stream is, and where is to be read next.
        self._at = self._wanted = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        base = (0, self._wanted, self._member.length)[whence]
        self._wanted = max(0, base + offset)
        return self._wanted

    def tell(self) -> int:
        return self._wanted

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        size = min(len(view), self._member.length - self._wanted)
        if size <= 0:
            return 0
        try:
            content = self._forward().read(size)
        except OSError:
            raise
        except Exception as error:
            # What a damaged file makes Python's modules for these formats raise is not known.
            raise OSError(errno.EIO, f"it is damaged: {error}") from error
        if not content:
            raise OSError(errno.EIO, "it is cut off")
        view[: len(content)] = content
        self._at += len(content)
        self._wanted = self._at
        return len(content)

    def _forward(self) -> Stream:
        if self._stream is not None and self._wanted < self._at:
            self._stream.close()
            self._stream = None
        if self._stream is None:
            self._stream, self._at = self._member.container.open(self._member), 0
        while self._at < self._wanted:
            passed = self._stream.read(min(_STEP, self._wanted - self._at))
            if not passed:
                raise OSError(errno.EIO, "it is cut off")
            self._at += len(passed)
        return self._stream

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        super().close()


class ZipContainer:
    """A zip file, whose directory is kept in memory.

    Parameters
    ----------
    opened
        The file.
    """

    def __init__(self, opened: zipfile.ZipFile) -> None:
        self._opened = opened

    def open(self, member: Member) -> Stream:
        """A member, from its beginning."""
        return self._opened.open(member.entry)


class TarContainer:
    """A tar file that is not compressed.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def open(self, member: Member) -> Stream:
        """A member, from its beginning."""
        file = FileIO(self._path)
        file.seek(member.offset)
        return file


@frozen
class _Place:
    """A stream of what a compressed file decompresses to, and where it is, in bytes."""

    stream: IO[bytes]
    at: int


class CompressedContainer:
    """A compressed tar file.

    Parameters
    ----------
    opener
        Opens what it decompresses to, from the beginning.
    """

    def __init__(self, opener: Callable[[], IO[bytes]]) -> None:
        self._opener = opener
        self._idle: list[_Place] = []
        self._lock = threading.Lock()

    def open(self, member: Member) -> Stream:
        """A member, from its beginning."""
        with self._lock:
            before = [each for each in self._idle if each.at <= member.offset]
            nearest = max(before, key=lambda each: each.at, default=None)
            if nearest is not None:
                self._idle.remove(nearest)
        place = _Place(self._opener(), 0) if nearest is None else nearest
        stream, left = place.stream, member.offset - place.at
        while left and (passed := stream.read(min(left, _STEP))):
            left -= len(passed)
        return _Lent(self, stream, member.offset)

    def give_back(self, stream: IO[bytes], at: int) -> None:
        """Nobody uses a stream any more, which is at this place."""
        with self._lock:
            self._idle.append(_Place(stream, at))
            surplus = sorted(self._idle, key=lambda each: each.at)[:-_KEPT]
            for each in surplus:
                self._idle.remove(each)
        for each in surplus:
            each.stream.close()


class _Lent:
    """A stream of a compressed file while a member is read of it."""

    def __init__(self, container: CompressedContainer, stream: IO[bytes], at: int) -> None:
        self._container = container
        self._stream = stream
        self._at = at

    def read(self, size: int, /) -> bytes:
        content = self._stream.read(size)
        self._at += len(content)
        return content

    def close(self) -> None:
        self._container.give_back(self._stream, self._at)
