"""Requests of HTTP in the asyncio driver."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from time import monotonic
from typing import TYPE_CHECKING

from ..deadline import Deadline, Timeouts
from ..http import Body, Head, Request, failure, head_of, load, made, transport_options
from ..transport import Address

if TYPE_CHECKING:
    import httpx


class Client:
    """Connections to one host, over which requests are sent; as the `Client` of the blocking driver."""

    def __init__(
        self, place: Address, tls: ssl.SSLContext | None, timeouts: Timeouts, connections: int
    ) -> None:
        self._place = place
        self._timeouts = timeouts
        self._is_secure = tls is not None
        self._is_answered = False
        self._transport: httpx.AsyncHTTPTransport = load().AsyncHTTPTransport(
            **transport_options(place, tls, connections)
        )

    async def send(self, request: Request) -> Response:
        """Send a request, and wait for the head of its response. Raises as that of the blocking driver."""
        asked = made(request, self._timeouts, None if request.body is None else _chunks(request.body))
        try:
            answered = await self._transport.handle_async_request(asked)
        except (load().HTTPError, OSError) as error:
            is_first = self._is_secure and not self._is_answered and request.body is None
            raise failure(error, self._place, self._timeouts, is_first=is_first) from error
        self._is_answered = True
        answered.request = asked
        return Response(answered, self._place, self._timeouts)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


async def _chunks(body: Body) -> AsyncIterator[bytes]:
    chunks = body.chunks()
    # They wait for the disk.
    while chunk := await asyncio.to_thread(next, chunks, b""):
        yield chunk


class Response:
    """A response whose body is read piece by piece; as the `Response` of the blocking driver."""

    def __init__(self, response: httpx.Response, place: Address, timeouts: Timeouts) -> None:
        self.head: Head = head_of(response)
        self._response = response
        self._place = place
        self._timeouts = timeouts
        self._deadline = Deadline("message", timeouts.message, timeouts.progress)
        # When something was read last.
        self._read_at = monotonic()
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
            raise failure(error, self._place, self._timeouts) from error
        self._deadline.moved(len(chunk))
        self._read_at = monotonic()
        return chunk

    async def close(self) -> None:
        """Want no more of it."""
        await self._response.aclose()
