"""Bodies of responses that are read while they are sent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from .threads import in_thread


async def read_ahead(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks of an iterator that blocks; while one is sent, the next is read in a thread."""
    end: Any = object()
    loop = asyncio.get_running_loop()
    pending = loop.run_in_executor(None, next, chunks, end)
    try:
        while (chunk := await pending) is not end:
            pending = loop.run_in_executor(None, next, chunks, end)
            yield chunk
    finally:
        # It cannot be closed while it is read.
        with contextlib.suppress(Exception):
            await pending
        close = getattr(chunks, "close", None)
        if close is not None:
            await in_thread(close)


def streamed(
    request: Request, chunks: Iterator[bytes], headers: Mapping[str, str], status: int = 200
) -> Response:
    """A response whose body is read while it is sent, or only its head where the request is a HEAD."""
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return StreamingResponse(read_ahead(chunks), status, headers)
