"""Bodies of responses that are read while they are sent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Mapping

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from .multipart import CutOff
from .threads import in_thread

_log = logging.getLogger(__name__)

# How many bytes are read at once in a thread.
_AT_ONCE = 1 << 19


async def read_ahead(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks of an iterator that blocks; while some are sent, the next are read in a thread."""
    loop = asyncio.get_running_loop()
    pending = loop.run_in_executor(None, _some, chunks)
    try:
        error = None
        while error is None:
            some, error = await pending
            for number, chunk in enumerate(some):
                # Not sooner, so that little is in memory for a client that stops.
                if error is None and number == len(some) // 2:
                    pending = loop.run_in_executor(None, _some, chunks)
                yield chunk
        if isinstance(error, CutOff):
            _log.warning("a response is cut off: %s", error)
        if not isinstance(error, StopIteration):
            raise error
    finally:
        # It cannot be closed while it is read.
        with contextlib.suppress(Exception):
            await pending
        close = getattr(chunks, "close", None)
        if close is not None:
            await in_thread(close)


def _some(chunks: Iterator[bytes]) -> tuple[list[bytes], Exception | None]:
    """The next chunks, `_AT_ONCE` bytes or a few more, and what was raised behind them."""
    some: list[bytes] = []
    size = 0
    try:
        while size < _AT_ONCE:
            some.append(chunk := next(chunks))
            size += len(chunk)
    except Exception as error:  # noqa: BLE001
        # It is raised when what came before it was sent.
        return some, error
    return some, None


def streamed(
    request: Request, chunks: Iterator[bytes], headers: Mapping[str, str], status: int = 200
) -> Response:
    """A response whose body is read while it is sent, or only its head where the request is a HEAD."""
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return StreamingResponse(read_ahead(chunks), status, headers)
