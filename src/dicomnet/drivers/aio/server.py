"""The asyncio driver's server: accepts connections in the running event loop."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from functools import partial

from ..deadline import LAST_WORDS
from ..reception import ACCEPT_PAUSE, Receive, Reception, ServerBase
from ..tls import tls_error
from ..transport import tune
from .link import TLS_NEVER, Link

_log = logging.getLogger(__name__)


class Server(ServerBase[Link]):
    """Listens on one address. Parameters as of `ServerBase`."""

    def __init__(
        self,
        listener: socket.socket,
        receive: Receive,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(listener, receive, tls=tls)
        self._opening: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

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
        await self._wait_for(lambda: not self._links.any_established, drain)
        self._abort_links()
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

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while self._links.are_too_many:
                self._changed.clear()
                await self._changed.wait()
            try:
                sock, peer = await loop.sock_accept(self._listener)
            except OSError as error:
                _log.error("a connection could not be accepted: %s", error)
                # No descriptor is free until a connection ends; trying again at once would only spin.
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            self._accepted(sock, peer[:2])
            del sock

    def _accepted(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        reception = self._receive(peer)
        link = Link(sock, *reception.parts(), partial(self._closed, reception))
        link.connection.trace.opened(peer)
        reception.opened(link)
        self._links.add(link)
        # A handshake takes its time, and the next connection need not wait for it.
        task = asyncio.get_running_loop().create_task(self._open(sock, link, reception))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, sock: socket.socket, link: Link, reception: Reception) -> None:
        try:
            tune(sock)
            async with asyncio.timeout(reception.timeouts.association):
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: link,
                    sock,
                    ssl=self.tls,
                    ssl_handshake_timeout=TLS_NEVER if self.tls else None,
                    ssl_shutdown_timeout=LAST_WORDS if self.tls else None,
                )
        except BaseException as error:
            sock.close()
            self._closed(reception, link)
            if not isinstance(error, OSError):
                raise
            why = error if self.tls is None or not isinstance(error, ssl.SSLError) else tls_error(error)
            link.connection.trace.say(logging.INFO, "it ended before it was served: %s", why)

    def _forget(self, link: Link) -> None:
        self._links.discard(link)
        self._changed.set()
