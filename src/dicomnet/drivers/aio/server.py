"""The asyncio driver's server: accepts connections in the running event loop."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from ..hooks import Phase
from ..transport import listen, tune
from .link import LAST_WORDS, TLS_NEVER, Link

_log = logging.getLogger(__name__)

# How many connections may wait for their association request at once; the next ones wait in the kernel's queue.
PENDING_LIMIT = 8192
_ACCEPT_PAUSE = 0.1

# Makes the link of an accepted connection: socket, address of the peer, what to call at its end.
OpenLink = Callable[[socket.socket, tuple[str, int], Callable[[Link], None]], Link]


class Server:
    """Listens on one address.

    Parameters
    ----------
    address
        Host and port; port 0 is any free one.
    open_link
        Makes the link of an accepted connection.
    tls
        The TLS context of a server, or None for plain TCP.
    handshake_seconds
        How long a TLS handshake may take.

    Raises
    ------
    OSError
        If the address cannot be bound.
    """

    def __init__(
        self,
        address: tuple[str, int],
        open_link: OpenLink,
        *,
        tls: ssl.SSLContext | None = None,
        handshake_seconds: float | None = 30.0,
    ) -> None:
        self._open_link = open_link
        self._tls = tls
        self._handshake_seconds = handshake_seconds
        self._listener = listen(address)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._links: set[Link] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    @property
    def links(self) -> list[Link]:
        """The connections of this moment."""
        return list(self._links)

    def start(self) -> None:
        """Begin to accept."""
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    async def shutdown(self, drain: float = 0.0) -> None:
        """Stop accepting, and end the associations.

        Parameters
        ----------
        drain
            How long associations may go on before they are aborted, in seconds.
        """
        accepting, self._accepting = self._accepting, None
        ending = [task for task in (accepting, *self._opening) if task is not None]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        self._listener.close()
        await self._wait_for(lambda: not any(link.connection.is_established for link in self._links), drain)
        for link in self.links:
            link.abort()
        # Peers close when they have read the A-ABORT, and handlers end when they notice.
        await self._wait_for(lambda: not self._links, LAST_WORDS)
        for link in self.links:
            link.close()
            link.cancel_serving()
        await self._wait_for(lambda: not self._links, LAST_WORDS)

    async def _wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            _log.debug("associations are still open after %g s", seconds)

    def _pending(self) -> int:
        if len(self._links) < PENDING_LIMIT:
            return 0
        return sum(link.phase is Phase.NEW for link in self._links)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while self._pending() >= PENDING_LIMIT:
                self._changed.clear()
                await self._changed.wait()
            try:
                sock, peer = await loop.sock_accept(self._listener)
            except OSError as error:
                _log.error("a connection could not be accepted: %s", error)
                # No descriptor is free until a connection ends; trying again at once would only spin.
                await asyncio.sleep(_ACCEPT_PAUSE)
                continue
            self._accepted(sock, peer[:2])
            del sock

    def _accepted(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        link = self._open_link(sock, peer, self._forget)
        self._links.add(link)
        # A handshake takes its time, and the next connection need not wait for it.
        task = asyncio.get_running_loop().create_task(self._open(sock, link))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, sock: socket.socket, link: Link) -> None:
        try:
            tune(sock)
            async with asyncio.timeout(self._handshake_seconds):
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: link,
                    sock,
                    ssl=self._tls,
                    ssl_handshake_timeout=TLS_NEVER if self._tls else None,
                    ssl_shutdown_timeout=LAST_WORDS if self._tls else None,
                )
        except BaseException as error:
            sock.close()
            self._forget(link)
            if not isinstance(error, OSError):
                raise
            _log.info("a connection ended before it was served: %s", error)

    def _forget(self, link: Link) -> None:
        self._links.discard(link)
        self._changed.set()
