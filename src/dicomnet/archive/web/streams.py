"""Bodies of responses that are read while they are sent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Iterator, Mapping

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from .file_parts import EXTENSION, FilePart, in_bytes
from .multipart import CutOff

_log = logging.getLogger(__name__)

# How many bytes are read at once in a thread.
_AT_ONCE = 1 << 19


async def read_ahead(chunks: Iterator[bytes | FilePart]) -> AsyncGenerator[bytes | FilePart, None]:
    """The chunks of an iterator that blocks; while some are sent, the next are read in a thread.

    The iterator is closed behind the last one, or when this is closed, for which nobody has to wait.
    """
    loop = asyncio.get_running_loop()
    pending = loop.run_in_executor(None, _some, chunks)
    try:
        error = None
        while error is None:
            # Who is cancelled while it waits cannot stop the thread.
            some, error = await asyncio.shield(pending)
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
        pending.add_done_callback(lambda _: _close(loop, chunks))


def _close(loop: asyncio.AbstractEventLoop, chunks: Iterator[bytes | FilePart]) -> None:
    close = getattr(chunks, "close", None)
    # There are no threads any more where all ends.
    with contextlib.suppress(RuntimeError):
        if close is not None:
            loop.run_in_executor(None, close)


def _some(chunks: Iterator[bytes | FilePart]) -> tuple[list[bytes | FilePart], Exception | None]:
    """The next chunks, `_AT_ONCE` bytes or a few more, and what was raised behind them."""
    some: list[bytes | FilePart] = []
    size = 0
    try:
        while size < _AT_ONCE:
            some.append(chunk := next(chunks))
            # A part of a file takes a descriptor, and no memory.
            size += max(len(chunk) // 16, _AT_ONCE // 8) if isinstance(chunk, FilePart) else len(chunk)
    except Exception as error:  # noqa: BLE001
        # It is raised when what came before it was sent.
        return some, error
    return some, None


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
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def streamed(
    request: Request, chunks: Iterator[bytes | FilePart], headers: Mapping[str, str], status: int = 200
) -> Response:
    """A response whose body is read while it is sent, or only its head where the request is a HEAD."""
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    # Where its length is not known, the server puts something of its own between the chunks.
    if EXTENSION not in request.scope.get("extensions", {}) or "content-length" not in headers:
        chunks = in_bytes(chunks)
    return _Streamed(chunks, status, headers)
