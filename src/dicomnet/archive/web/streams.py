"""Bodies of responses that are read while they are sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import chain
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ...errors import UnusableObject
from .multipart import CutOff
from .problems import Problem
from .threads import ended

_log = logging.getLogger(__name__)

# How many bytes are read at once in a thread.
_AT_ONCE = 1 << 19
# How many bytes of all responses of a process may be in memory because they are read so. Where there are more, as
# clients stop, each further response has no more in memory than what is sent at once.
_TOGETHER = 64 << 20


class _Held:
    """How many bytes are in memory, or about to be, because they are read ahead. Used by the loop only."""

    size = 0


async def read_ahead(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks of an iterator that blocks; while some are sent, the next are read in a thread."""
    loop = asyncio.get_running_loop()
    reserved = 0

    def begin() -> asyncio.Future[tuple[list[bytes], Exception | None]]:
        nonlocal reserved
        at_once = _AT_ONCE if _Held.size < _TOGETHER else 1
        reserved += at_once
        _Held.size += at_once
        return loop.run_in_executor(None, _some, chunks, at_once)

    pending = begin()
    try:
        error = None
        while error is None:
            some, error = await asyncio.shield(pending)
            now = sum(map(len, some))
            _Held.size += now - reserved
            reserved = now
            taken = pending
            for number in range(len(some)):
                # Not sooner, so that little is in memory for a client that stops.
                if error is None and number == len(some) // 2 and _Held.size < _TOGETHER:
                    pending = begin()
                chunk, some[number] = some[number], b""
                reserved -= len(chunk)
                _Held.size -= len(chunk)
                yield chunk
            if error is None and pending is taken:
                pending = begin()
        if isinstance(error, CutOff):
            _log.warning("a response is cut off: %s", error)
        if not isinstance(error, StopIteration):
            raise error
    finally:
        _Held.size -= reserved
        await ended(pending, chunks)


def _some(chunks: Iterator[bytes], at_once: int) -> tuple[list[bytes], Exception | None]:
    """The next chunks, so many bytes or a few more, and what was raised behind them."""
    some: list[bytes] = []
    size = 0
    try:
        while size < at_once:
            some.append(chunk := next(chunks))
            size += len(chunk)
    except Exception as error:  # noqa: BLE001
        # It is raised when what came before it was sent.
        return some, error
    return some, None


def begun(request: Request, chunks: Iterator[bytes]) -> Iterator[bytes]:
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


class _Begun(Iterator[bytes]):
    """An iterator with its first item in front of it again."""

    def __init__(self, first: bytes, rest: Iterator[bytes]) -> None:
        self._items = chain((first,), rest)
        self._rest: Any = rest

    def __next__(self) -> bytes:
        return next(self._items)

    def close(self) -> None:
        """Close the iterator."""
        close = getattr(self._rest, "close", None)
        if close is not None:
            close()


def streamed(
    request: Request, chunks: Iterator[bytes], headers: Mapping[str, str], status: int = 200
) -> Response:
    """A response whose body is read while it is sent, or only its head where the request is a HEAD."""
    if request.method == "HEAD":
        return head_of(headers, status)
    return StreamingResponse(read_ahead(chunks), status, headers)


def head_of(headers: Mapping[str, str], status: int = 200) -> Response:
    """The response to a HEAD: it tells a length only where that is known, as another one would be wrong."""
    return StreamingResponse(_nothing(), status, headers)


async def _nothing() -> AsyncIterator[bytes]:
    empty: tuple[bytes, ...] = ()
    for each in empty:
        yield each
