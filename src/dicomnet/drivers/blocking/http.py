"""Requests of HTTP in the blocking driver."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING

from ..http import Connections, Incoming, Request, load, made

if TYPE_CHECKING:
    import httpx


class Client(Connections):
    """Connections to one host, over which requests are sent; see `Connections`. May be shared between threads."""

    TRANSPORT = "HTTPTransport"

    def send(self, request: Request) -> Response:
        """Send a request, and wait for the head of its response.

        Raises
        ------
        NetworkError
            If that does not come.
        ProtocolError
            If it is none.
        """
        asked = made(request, self.timeouts, None if request.body is None else request.body.chunks())
        try:
            answer = self._transport.handle_request(asked)
        except (load().HTTPError, OSError) as error:
            raise self.unanswered(error, request) from error
        return Response(self._answered(asked, answer), self)

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()


class Response(Incoming):
    """A response whose body is read piece by piece; made by `Client.send`."""

    def __init__(self, response: httpx.Response, connections: Connections) -> None:
        super().__init__(response, connections)
        self._chunks: Iterator[bytes] = response.iter_bytes()

    def read(self) -> bytes:
        """What comes next of the body; empty at its end. Raises as `Client.send`."""
        # Whoever reads slowly on purpose does so in his own time.
        self._deadline.waited(monotonic() - self._read_at)
        self._deadline.remaining()
        try:
            chunk = next(self._chunks, b"")
        except (load().HTTPError, OSError) as error:
            self.close()
            raise self._connections.failure(error) from error
        self._deadline.moved(len(chunk))
        self._read_at = monotonic()
        return chunk

    def close(self) -> None:
        """Want no more of it."""
        self._response.close()
