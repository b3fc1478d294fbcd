"""Responses of several parts, multipart/related (PS3.18 section 8.6.1.2), written as a stream in constant memory."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from secrets import token_hex

from ....errors import UnusableObject
from ....values import frozen
from .file_parts import CHUNK, FilePart
from .problems import CutOff

_log = logging.getLogger(__name__)


@frozen
class Part:
    """A part of a response.

    Parameters
    ----------
    name
        What it is, for the log.
    headers
        Its header fields.
    length
        How many bytes it has; None where that shows when it is read.
    open
        Begins to read it: gives its bytes some at a time. Raises UnusableObject or OSError where it cannot be read.
    """

    name: str
    headers: Sequence[tuple[str, str]]
    length: int | None
    open: Callable[[], Iterator[bytes | FilePart]]


def boundary_of(tag: str | None) -> str:
    """What separates parts: 32 random digits, or the same ones for the same ETag, as that is of all bytes.

    An ETag is made from digests of what is in the parts, so that none of these can contain it but by chance.
    """
    return token_hex(16) if tag is None else hashlib.sha256(tag.encode()).hexdigest()[:32]


RELATED, BYTE_RANGES = "multipart/related", "multipart/byteranges"
"""What parts are: representations that belong together, or some bytes of one."""


def content_type(kind: str, boundary: str, of: str = RELATED) -> str:
    """The Content-Type of a response whose parts are of a media type."""
    return f"{of}; boundary={boundary}" if of == BYTE_RANGES else f'{of}; type="{kind}"; boundary={boundary}'


def length_of(parts: Iterable[Part], boundary: str) -> int | None:
    """How long a response is in bytes; None where a part does not tell it."""
    length = len(_end(boundary))
    for part in parts:
        if part.length is None:
            return None
        length += len(_head(part, boundary)) + part.length
    return length


def written(parts: Iterable[Part], boundary: str) -> Iterator[bytes | FilePart]:
    """The body of a response, some bytes at a time.

    A part that cannot be read is left out, and what follows is written all the same; the end is not, see `CutOff`.

    Parameters
    ----------
    parts
        What it consists of.
    boundary
        What separates them, which is in none of them.

    Raises
    ------
    CutOff
        In place of the end, if a part was left out; at once, if one cannot be read to its end.
    """
    pieces: list[bytes] = []
    size = missing = 0
    for part in parts:
        try:
            chunks = part.open()
            chunk = next(chunks, b"")
        except (UnusableObject, OSError) as error:
            missing += 1
            _log.warning("%s is left out of a response: %s", part.name, error)
            continue
        pieces.append(_head(part, boundary))
        length = 0
        while chunk:
            length += len(chunk)
            if isinstance(chunk, FilePart):
                chunk.before = b"".join(pieces)
                yield chunk
                pieces, size = [], 0
            else:
                pieces.append(chunk)
                size += len(chunk)
            if size >= CHUNK // 2:
                yield b"".join(pieces)
                pieces, size = [], 0
            try:
                chunk = next(chunks, b"")
            except (UnusableObject, OSError) as error:
                raise CutOff(f"{part.name} cannot be read to its end: {error}") from error
        if part.length is not None and length != part.length:
            raise CutOff(f"{part.name} has {length} bytes instead of {part.length}")
    if missing:
        if pieces:
            yield b"".join(pieces)
        raise CutOff(f"{missing} of the parts are missing")
    pieces.append(_end(boundary))
    yield b"".join(pieces)


def _head(part: Part, boundary: str) -> bytes:
    lines = [f"\r\n--{boundary}", *(f"{name}: {value}" for name, value in part.headers)]
    if part.length is not None:
        lines.append(f"Content-Length: {part.length}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _end(boundary: str) -> bytes:
    return f"\r\n--{boundary}--\r\n".encode("ascii")
