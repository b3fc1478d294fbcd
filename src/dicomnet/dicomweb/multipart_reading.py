"""A reader of multipart bodies (RFC 2046 section 5.1) that are fed to it as they come, in constant memory.

It knows bytes only: no request, no file and no DICOM.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import lru_cache
from typing import Final

from ..values import Buffer, frozen

# The longest head of a part, and the most blanks behind a boundary, in bytes.
HEAD_LIMIT = 16 << 10
BLANKS_LIMIT = 256
# RFC 2046 allows 70 characters; some clients take more.
_BOUNDARY_LIMIT = 200

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# A parameter of a media type: quoted, or, more than RFC 9110 allows without quotes, whatever ends none.
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;"]*))\s*')
_QUOTED = re.compile(r"\\(.)")
_BOUNDARY = re.compile(r"[\x20-\x7e]{0,199}[\x21-\x7e]")
_BLANK_LINE = re.compile(rb"\n\r?\n")
_LINE_END = re.compile(rb"\r?\n")
_BEHIND_BOUNDARY = re.compile(rb"--|[ \t]{0,%d}\r?\n" % BLANKS_LIMIT)
_MAY_GO_ON = re.compile(rb"-|[ \t]{0,%d}\r?" % BLANKS_LIMIT)


class MultipartUnreadable(Exception):
    """A multipart body, or the head that describes it, breaks its own form.

    Parameters
    ----------
    cause
        What is wrong with it.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@frozen
class MediaType:
    """A media type with its parameters (RFC 9110 section 8.3.1).

    Parameters
    ----------
    name
        Type and subtype, in lower case.
    parameters
        The values by their names, which are in lower case.
    """

    name: str
    parameters: Mapping[str, str]

    @classmethod
    @lru_cache(maxsize=64)
    def parse(cls, text: str) -> MediaType:
        """Read a Content-Type; values may be quoted or not, also where they would have to be.

        Raises
        ------
        MultipartUnreadable
            If it is none.
        """
        name, mark, rest = text.partition(";")
        name = name.strip()
        if not _TYPE.fullmatch(name):
            raise MultipartUnreadable("the Content-Type is not a media type")
        parameters: dict[str, str] = {}
        rest = mark + rest
        at = 0
        while rest[at:].strip(" \t;"):
            found = _PARAMETER.match(rest, at)
            if found is None:
                raise MultipartUnreadable("the parameters of the Content-Type cannot be read")
            key, quoted, plain = found.groups()
            value = plain.strip() if quoted is None else _QUOTED.sub(r"\1", quoted)
            if parameters.setdefault(key.lower(), value) != value:
                raise MultipartUnreadable("the Content-Type has a parameter twice")
            at = found.end()
        return cls(name.lower(), parameters)

    @property
    def boundary(self) -> bytes:
        """The boundary of a multipart body.

        Raises
        ------
        MultipartUnreadable
            If there is none, or it cannot be one.
        """
        text = self.parameters.get("boundary", "")
        if not _BOUNDARY.fullmatch(text):
            raise MultipartUnreadable(
                f"a multipart body needs a boundary of 1 to {_BOUNDARY_LIMIT} printable ASCII characters"
            )
        return text.encode("ascii")


@frozen
class PartBegins:
    """A part begins.

    Parameters
    ----------
    headers
        Its header fields, by names in lower case.
    """

    headers: Mapping[str, str]


class PartEnds(Enum):
    """A part has ended, and came whole."""

    WHOLE = "whole"


PART_ENDS: Final = PartEnds.WHOLE
Event = PartBegins | memoryview | PartEnds


class _State(Enum):
    PREAMBLE = 1
    HEAD = 2
    CONTENT = 3
    EPILOGUE = 4


class MultipartReader:
    """The reader of one body. It must not be shared between threads.

    Where the first line with a boundary ends with LF alone, that stands before the boundaries, too; where it ends with
    CRLF, a boundary behind LF alone belongs to the content of a part. So nothing that a sender wrote is lost.

    Parameters
    ----------
    boundary
        As of `MediaType.boundary`.

    Attributes
    ----------
    is_closed
        Whether the closing boundary has come. Without it the body was cut off, and what of a part has come is not all.
    has_begun
        Whether a boundary has come at all.
    """

    __slots__ = ("_left", "_needle", "_overlap", "_searched", "_state", "has_begun", "is_closed")

    def __init__(self, boundary: bytes) -> None:
        self._needle = b"\n--" + boundary
        self._state = _State.PREAMBLE
        # What is looked at again when more has come. A boundary may be the first line of all.
        self._left = b"\n"
        # How much of a head was searched for its end; how many bytes in front of a content belong to the line before.
        self._searched = 0
        self._overlap = 0
        self.is_closed = self.has_begun = False

    def feed(self, data: Buffer) -> Iterator[Event]:
        """What follows from further bytes of the body; to be consumed before the next call.

        Parameters
        ----------
        data
            The bytes; views into them are given, and valid as long as they are.

        Returns
        -------
        iterator
            Each part as `PartBegins`, then its content as views, none of them empty, then `PART_ENDS`.

        Raises
        ------
        MultipartUnreadable
            If a head is too long, or is none. The body cannot be read any further.
        """
        if self._state is _State.EPILOGUE or not len(data):
            return
        whole: bytes = b"".join((self._left, data)) if self._left else bytes(data)
        view = memoryview(whole)
        at = self._overlap
        while True:
            if self._state is _State.HEAD:
                end = self._end_of_head(whole, at)
                if end < 0:
                    break
                yield PartBegins(_fields(whole[at:end]))
                at = self._begin_content(whole, at, end)
            # In front of the first part the same is looked for, and what is there is dropped.
            is_content = self._state is _State.CONTENT
            found = self._find(whole, at - self._overlap)
            if is_content and found.start > at:
                yield view[at : found.start]
            if found.behind < 0:
                self._overlap = max(0, at - found.start)
                at = found.start
                break
            self._overlap = 0
            if is_content:
                yield PART_ENDS
            at = found.behind
            if self._pass(whole, at):
                return
        self._left = whole[at:]

    def _pass(self, whole: bytes, behind: int) -> bool:
        """Pass a boundary, and the rest of its line; whether it was the last one."""
        if not self.has_begun:
            self.has_begun = True
            if whole[behind - 2 : behind] == b"\r\n":
                self._needle = b"\r" + self._needle
        if whole[behind - 2 : behind] == b"--":
            self.is_closed = True
            self._state, self._left = _State.EPILOGUE, b""
            return True
        self._state = _State.HEAD
        self._searched = 0
        return False

    def _end_of_head(self, whole: bytes, at: int) -> int:
        """Where the fields of a head end, up to the blank line; -1 if that has not come."""
        blank = _LINE_END.match(whole, at)
        if blank is not None:
            return at
        # Of what was searched, a line end may have been at the end.
        found = _BLANK_LINE.search(whole, at + max(0, self._searched - 2))
        length = (len(whole) if found is None else found.start()) - at
        if length > HEAD_LIMIT:
            raise MultipartUnreadable(f"the head of a part has more than {HEAD_LIMIT} bytes")
        if found is None:
            self._searched = length
            return -1
        return found.start() + 1

    def _begin_content(self, whole: bytes, at: int, end: int) -> int:
        """Where a content begins, behind the blank line at ``end``, whose end may be that in front of a boundary."""
        blank = _LINE_END.match(whole, end)
        assert blank is not None
        self._state = _State.CONTENT
        line_end = self._needle[: self._needle.index(b"--")]
        self._overlap = len(line_end) if whole.endswith(line_end, at, blank.end()) else 0
        return blank.end()

    def _find(self, whole: bytes, at: int) -> _Found:
        """The next boundary in a body from a place on."""
        needle = self._needle
        while (start := whole.find(needle, at)) >= 0:
            line = start + len(needle)
            behind = _BEHIND_BOUNDARY.match(whole, line)
            if behind is not None:
                return _Found(start, behind.end())
            if _MAY_GO_ON.fullmatch(whole, line) is not None:
                return _Found(start, -1)
            at = start + 1
        # The beginning of one may be at the end.
        start = max(at, len(whole) - len(needle) + 1)
        while (start := whole.find(needle[0], start)) >= 0:
            if needle.startswith(whole[start:]):
                return _Found(start, -1)
            start += 1
        return _Found(len(whole), -1)


@frozen
class _Found:
    """Where a boundary begins with the line end before it, and what is behind it; -1 if it may be none, or go on."""

    start: int
    behind: int


@lru_cache(maxsize=64)
def _fields(head: bytes) -> Mapping[str, str]:
    """The fields of a head, whose lines may be folded; raises MultipartUnreadable."""
    fields: dict[str, str] = {}
    name = ""
    for line in head.decode("latin-1").replace("\r\n", "\n").split("\n"):
        if line[:1] in (" ", "\t") and name:
            fields[name] += " " + line.strip()
        elif line:
            name, colon, value = line.partition(":")
            name = name.lower()
            if not colon or not _NAME.fullmatch(name):
                raise MultipartUnreadable("the head of a part has a line that is no header field")
            if name in fields:
                raise MultipartUnreadable(f"the head of a part has the field {name} twice")
            fields[name] = value.strip()
    return fields
