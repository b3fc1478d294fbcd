"""What lies at paths: what may be an object, or why something is none."""

from __future__ import annotations

import errno
import os
from enum import Enum
from typing import IO

from ..dimse.datasets import Readable
from ..values import frozen

# How much of what may be an object is read at once, in bytes; a smaller one is then known as a whole.
START_LENGTH = 1 << 16


class Outcome(Enum):
    """What became of something that was found."""

    STORED = "stored"
    ALREADY_THERE = "already_there"
    QUARANTINED = "quarantined"
    REFUSED = "refused"
    SKIPPED = "skipped"
    MISSING = "missing"
    UNREADABLE = "unreadable"


@frozen
class Place:
    """Where something lies.

    Parameters
    ----------
    path
        The file.
    member
        Its name in there, if the file is a zip or tar; it is shown, and never used as a path.
    """

    path: str
    member: str = ""


@frozen
class Finding:
    """Something that is not an object, or cannot be read.

    Parameters
    ----------
    place
        Where it lies.
    outcome, reason
        What is said of it, and why.
    """

    place: Place
    outcome: Outcome
    reason: str


class Unreadable(Exception):
    """A candidate cannot be read to its end.

    Parameters
    ----------
    reason
        Why, in words.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@frozen
class Candidate:
    """Something that may be an object. It can be read until the next one is asked for.

    Parameters
    ----------
    place
        Where it lies.
    start
        Its first bytes: `START_LENGTH`, or all that there are.
    stream
        Where the others are read.
    length
        How many there are in all, as far as is said.
    file
        Its descriptor, if it is a file by itself; -1 if it is a member of one.
    can_reread
        Whether it can be read more than once.
    member
        What opens it later, if it is a member of a file.
    """

    place: Place
    start: bytes
    stream: IO[bytes]
    length: int
    file: int = -1
    can_reread: bool = False
    member: Readable | None = None

    @property
    def is_whole(self) -> bool:
        """Whether ``start`` is all of it."""
        return len(self.start) < START_LENGTH

    def read(self, size: int, /) -> bytes:
        """Further bytes behind the start; raises Unreadable."""
        try:
            return self.stream.read(size)
        except Exception as error:
            # What a damaged zip or tar file leads to is not known.
            raise Unreadable(f"it cannot be read: {in_words(error)}") from error

    def go_back(self, at: int) -> None:
        """Read on from a place in it, in bytes; raises Unreadable."""
        try:
            self.stream.seek(at)
        except Exception as error:
            # As with `read`.
            raise Unreadable(f"it cannot be read again: {in_words(error)}") from error


Found = Candidate | Finding


def read_start(stream: IO[bytes]) -> bytes:
    """The first bytes of a stream, `START_LENGTH` of them or all; raises whatever reading it raises."""
    parts = []
    left = START_LENGTH
    while left and (part := stream.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def in_words(error: Exception) -> str:
    """What was wrong."""
    if isinstance(error, OSError) and error.strerror is not None:
        return error.strerror
    return str(error) or type(error).__name__


def cannot_read(error: OSError) -> str:
    """Why something cannot be read, in words: by which user, as a node has one of its own."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"the user {_user()} may not read it"
    return f"it cannot be read: {in_words(error)}"


def _user() -> str:
    try:
        import pwd
    except ImportError:
        return "of this process"
    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
