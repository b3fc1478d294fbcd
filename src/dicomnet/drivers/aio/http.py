"""Requests of HTTP in the asyncio driver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import TYPE_CHECKING

from ..http import Body, Connections, Incoming, Request, load, made

if TYPE_CHECKING:
    import httpx


class Client(Connections):
    """Connections to one host, over which requests are sent; see `Connections`."""

    TRANSPORT = "AsyncHTTPTransport"

    async def send(self, request: Request) -> Response:
        """Send a request, and wait for the head of its response. Raises as that of the blocking driver."""
        asked = made(request, self.timeouts, None if request.body is None else _chunks(request.body))
        try:
            answer = await self._transport.handle_async_request(asked)
        except (load().HTTPError, OSError) as error:
            raise self.unanswered(error, request) from error
        return Response(self._answered(asked, answer), self)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


async def _chunks(body: Body) -> AsyncIterator[bytes]:
    chunks = body.chunks()
    # They wait for the disk.
    while chunk := await asyncio.to_thread(next, chunks, b""):
        yield chunk


class Response(Incoming):
    """A response whose body is read piece by piece; made by `Client.send`."""

    def __init__(self, response: httpx.Response, connections: Connections) -> None:
        super().__init__(response, connections)
        self._chunks: AsyncIterator[bytes] = response.aiter_bytes()

    async def read(self) -> bytes:
        """What comes next of the body; empty at its end. Raises as `Client.send`."""
        # Whoever reads slowly on purpose does so in his own time.
        self._deadline.waited(monotonic() - self._read_at)
        self._deadline.remaining()
        try:
            chunk = await anext(self._chunks, b"")
        except (load().HTTPError, OSError) as error:
            await self.close()
            raise self._connections.failure(error) from error
        self._deadline.moved(len(chunk))
        self._read_at = monotonic()
        return chunk

    async def close(self) -> None:
        """Want no more of it."""
        await self._response.aclose()
