"""Requests of HTTP in the blocking driver."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING

from ..deadline import Deadline, Timeouts
from ..http import Head, Request, failure, head_of, load, made, transport_options
from ..transport import Address

if TYPE_CHECKING:
    import httpx


class Client:
    """Connections to one host, over which requests are sent. May be shared between threads.

    Parameters
    ----------
    place
        The host.
    tls
        A client's context, None for plain TCP.
    timeouts
        One deadline a stage.
    connections
        How many there may be.

    Raises
    ------
    HTTPMissing
        If httpx is not installed.
    """

    def __init__(
        self, place: Address, tls: ssl.SSLContext | None, timeouts: Timeouts, connections: int
    ) -> None:
        self._place = place
        self._timeouts = timeouts
        self._is_secure = tls is not None
        self._is_answered = False
        self._transport: httpx.HTTPTransport = load().HTTPTransport(
            **transport_options(place, tls, connections)
        )

    def send(self, request: Request) -> Response:
        """Send a request, and wait for the head of its response.

        Raises
        ------
        NetworkError
            If that does not come.
        ProtocolError
            If it is none.
        """
        asked = made(request, self._timeouts, None if request.body is None else request.body.chunks())
        try:
            answered = self._transport.handle_request(asked)
        except (load().HTTPError, OSError) as error:
            is_first = self._is_secure and not self._is_answered and request.body is None
            raise failure(error, self._place, self._timeouts, is_first=is_first) from error
        self._is_answered = True
        answered.request = asked
        return Response(answered, self._place, self._timeouts)

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()


class Response:
    """A response whose body is read piece by piece; made by `Client.send`.

    Attributes
    ----------
    head
        What came before the body.
    """

    def __init__(self, response: httpx.Response, place: Address, timeouts: Timeouts) -> None:
        self.head: Head = head_of(response)
        self._response = response
        self._place = place
        self._timeouts = timeouts
        self._deadline = Deadline("message", timeouts.message, timeouts.progress)
        # When something was read last.
        self._read_at = monotonic()
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
            raise failure(error, self._place, self._timeouts) from error
        self._deadline.moved(len(chunk))
        self._read_at = monotonic()
        return chunk

    def close(self) -> None:
        """Want no more of it."""
        self._response.close()
