"""Bodies of responses that are read while they are sent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from itertools import chain
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from ....errors import UnusableObject
from .file_parts import EXTENSION, FilePart, in_bytes
from .problems import CutOff, Problem
from .threads import ended, reading

_log = logging.getLogger(__name__)

# How many bytes are read at once in a thread.
_AT_ONCE = 1 << 19
# How many bytes of all responses of a process may be in memory because they are read so. Where there are more, as
# clients stop, each further response has no more in memory than what is sent at once.
_TOGETHER = 64 << 20


class _Held:
    """How many bytes are in memory, or about to be, because they are read ahead. Used by the loop only."""

    size = 0


async def read_ahead(chunks: Iterator[bytes | FilePart]) -> AsyncGenerator[bytes | FilePart, None]:
    """The chunks of an iterator that blocks; while some are sent, the next are read in a thread.

    The iterator is closed behind the last one, or when this is closed, for which nobody has to wait.
    """
    reserved = 0

    def begin() -> asyncio.Future[tuple[list[bytes | FilePart], Exception | None]]:
        nonlocal reserved
        at_once = _AT_ONCE if _Held.size < _TOGETHER else 1
        reserved += at_once
        _Held.size += at_once
        return reading(_some, chunks, at_once)

    pending = begin()
    try:
        error = None
        while error is None:
            some, error = await asyncio.shield(pending)
            now = sum(map(_in_memory, some))
            _Held.size += now - reserved
            reserved = now
            taken = pending
            for number in range(len(some)):
                # Not sooner, so that little is in memory for a client that stops.
                if error is None and number == len(some) // 2 and _Held.size < _TOGETHER:
                    pending = begin()
                chunk, some[number] = some[number], b""
                reserved -= _in_memory(chunk)
                _Held.size -= _in_memory(chunk)
                yield chunk
            if error is None and pending is taken:
                pending = begin()
        if isinstance(error, CutOff):
            _log.warning("a response is cut off: %s", error)
        if not isinstance(error, StopIteration):
            raise error
    finally:
        _Held.size -= reserved
        pending.add_done_callback(_close_parts)
        await ended(pending, chunks)


def _close_parts(pending: asyncio.Future[tuple[list[bytes | FilePart], Exception | None]]) -> None:
    """Close those that were read and not taken: what raised an error may be remembered with all that it had."""
    if not pending.cancelled():
        for chunk in pending.result()[0]:
            if isinstance(chunk, FilePart):
                chunk.close()


def _some(
    chunks: Iterator[bytes | FilePart], at_once: int
) -> tuple[list[bytes | FilePart], Exception | None]:
    """The next chunks, so many bytes or a few more, and what was raised behind them."""
    some: list[bytes | FilePart] = []
    size = 0
    try:
        while size < at_once:
            some.append(chunk := next(chunks))
            # A part of a file takes a descriptor, and no memory.
            size += max(len(chunk) // 16, _AT_ONCE // 8) if isinstance(chunk, FilePart) else len(chunk)
    except Exception as error:  # noqa: BLE001
        # It is raised when what came before it was sent.
        return some, error
    return some, None


def _in_memory(chunk: bytes | FilePart) -> int:
    return 0 if isinstance(chunk, FilePart) else len(chunk)


class _Streamed(StreamingResponse):
    """A response whose body may have `FilePart`s in it.

    Parameters
    ----------
    chunks
        The body; it is closed when nobody wants it any more.
    status, headers
        What comes before it.
    """

    def __init__(self, chunks: Iterator[bytes | FilePart], status: int, headers: Mapping[str, str]) -> None:
        super().__init__((), status, headers)
        self._chunks = chunks

    async def stream_response(self, send: Send) -> None:
        """Send all of it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with contextlib.aclosing(read_ahead(self._chunks)) as body:
            async for chunk in body:
                try:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                except BaseException:
                    if isinstance(chunk, FilePart):
                        chunk.close()
                    raise
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def begun(request: Request, chunks: Iterator[bytes | FilePart]) -> Iterator[bytes | FilePart]:
    """The chunks of a body, the first of which is read at once; it blocks.

    So what cannot be read at all is answered with an error, and not with a response that is cut off.

    Parameters
    ----------
    request
        What is asked; where it is a HEAD, nothing is read.
    chunks
        The body.

    Raises
    ------
    Problem
        With status 404 if its file is gone; 500 if it is damaged, or cannot be read.
    """
    if request.method == "HEAD":
        return chunks
    try:
        first = next(chunks, b"")
    except FileNotFoundError:
        raise Problem(404, "the file of this instance is not there any more") from None
    except (CutOff, UnusableObject, OSError) as error:
        _log.warning("%s cannot be given out: %s", request.scope["path"], error)
        reason = error.cause if isinstance(error, UnusableObject) else "the log of the archive says why"
        raise Problem(500, f"what is stored here cannot be given out: {reason}") from error
    return _Begun(first, chunks)


class _Begun(Iterator[bytes | FilePart]):
    """An iterator with its first item in front of it again."""

    def __init__(self, first: bytes | FilePart, rest: Iterator[bytes | FilePart]) -> None:
        self._items = chain((first,), rest)
        self._rest: Any = rest

    def __next__(self) -> bytes | FilePart:
        return next(self._items)

    def close(self) -> None:
        """Close the iterator."""
        close = getattr(self._rest, "close", None)
        if close is not None:
            close()


def streamed(
    request: Request, chunks: Iterator[bytes | FilePart], headers: Mapping[str, str], status: int = 200
) -> Response:
    """A response whose body is read while it is sent, or only its head where the request is a HEAD."""
    if request.method == "HEAD":
        return head_of(headers, status)
    # Where its length is not known, the server puts something of its own between the chunks.
    if EXTENSION not in request.scope.get("extensions", {}) or "content-length" not in headers:
        chunks = in_bytes(chunks)
    return _Streamed(chunks, status, headers)


def head_of(headers: Mapping[str, str], status: int = 200) -> Response:
    """The response to a HEAD: it tells a length only where that is known, as another one would be wrong."""
    return StreamingResponse(_nothing(), status, headers)


async def _nothing() -> AsyncIterator[bytes]:
    empty: tuple[bytes, ...] = ()
    for each in empty:
        yield each
