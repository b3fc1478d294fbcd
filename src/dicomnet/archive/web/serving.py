"""The port for HTTP in one process: a thread of its own with an asyncio loop, and limits on clients that are slow."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic

from uvicorn import Config, Server

from ...drivers.blocking.server import Server as AssociationServer
from ...drivers.tls import ServerCertificate
from ..terms import Terms
from .application import Application
from .http.connections import HANDSHAKE_SECONDS, LONGEST_HEAD, Connection
from .http.threads import have_threads

_log = logging.getLogger(__name__)

# How often connections are looked at, and the time in responses is brought up to date, in seconds.
_TICK = 1.0
# How long the thread may take to begin or to end, in seconds.
_PATIENCE = 2.0


class WebServer:
    """The port and its thread. It is made before worker processes are forked, and started in those that answer.

    Parameters
    ----------
    listener
        Accepts connections; other processes may accept on it, too.
    application
        What answers requests.
    tls
        What is shown in TLS handshakes; None for plain HTTP.

    Attributes
    ----------
    address
        Host and port.
    has_pages
        Whether there are pages for people, too.
    """

    def __init__(
        self, listener: socket.socket, application: Application, tls: ServerCertificate | None = None
    ) -> None:
        config = Config(
            application,
            http=Connection,
            h11_max_incomplete_event_size=LONGEST_HEAD,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        # What requests need is imported now, and not when no descriptor may be free.
        config.load()
        # What is shown by TLS may change meanwhile; the server keeps the context that it begins with.
        self._tls: ssl.SSLContext | None = None
        if tls is not None:
            self._tls = config.ssl = tls.context()
            config.ssl.sni_callback = self._show
        self.address: tuple[str, int] = listener.getsockname()[:2]
        self._listener = listener
        self._application = application
        self.has_pages = application.has_pages
        self._server = _Server(config)
        # From Python 3.13 on, one that was made before a fork cannot be started behind it.
        self._thread: threading.Thread | None = None

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on."""
        tls = terms.web.tls
        if tls is not None and self._tls is not None:
            self._tls = tls.context()
        self._application.adopt(terms)

    def _show(
        self, handshake: ssl.SSLObject | ssl.SSLSocket, name: str | None, first: ssl.SSLContext
    ) -> None:
        """Have a TLS handshake show what is to be shown now."""
        if self._tls is not None:
            handshake.context = self._tls

    def start(self) -> None:
        """Begin to answer."""
        self._thread = threading.Thread(target=self._serve, name="dicomnet-web", daemon=True)
        self._thread.start()

    def forget(self) -> None:
        """Let go of the port in a process that does not answer."""
        self._listener.close()

    def stop(self) -> None:
        """Accept no more connections, and close those that wait for a request; what is under way goes on."""
        self._server.tell(self._server.stop)

    def close(self, drain: float = 0.0) -> None:
        """End it; what is under way may go on for some seconds."""
        if self._thread is not None:
            self.stop()
            self._server.is_idle.wait(drain)
            self._server.tell(self._server.end)
            self._thread.join(_PATIENCE)
            self._application.end()
        self._listener.close()

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        except Exception:  # noqa: BLE001
            _log.exception("no request by HTTP can be answered any more")
        finally:
            self._server.has_begun.set()
            self._server.is_idle.set()


class _Server(Server):
    """A server that ends when it is told to.

    Attributes
    ----------
    has_begun
        Set when it answers, or cannot.
    is_idle
        Set when it has stopped and no connection is left.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.has_begun, self.is_idle = threading.Event(), threading.Event()
        self._is_stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def tell(self, what: Callable[[], object]) -> None:
        """Have something done in its loop, from another thread."""
        self.has_begun.wait(_PATIENCE)
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                # It may have ended by itself.
                self._loop.call_soon_threadsafe(what)

    def stop(self) -> None:
        """Accept no more connections; in its loop."""
        self._is_stopping = True
        for each in self.servers:
            each.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        self._woken.set()

    def end(self) -> None:
        """End it; in its loop."""
        self.should_exit = True
        self._woken.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept: what uvicorn does, but for the time that a TLS handshake may take."""
        protocol = partial(Connection, self.config, self.server_state, {})
        seconds = None if self.config.ssl is None else HANDSHAKE_SECONDS
        self.servers = [
            await asyncio.get_running_loop().create_server(
                protocol,
                sock=each,
                ssl=self.config.ssl,
                backlog=self.config.backlog,
                ssl_handshake_timeout=seconds,
            )
            for each in sockets or []
        ]
        self.started = True

    async def main_loop(self) -> None:
        self._woken = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        have_threads()
        self.has_begun.set()
        # Each of these writes the header Date anew.
        while not await self.on_tick(0):
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.check(now)
            if self._is_stopping and not self.server_state.connections:
                self.is_idle.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), _TICK / 10 if self._is_stopping else _TICK)
            self._woken.clear()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for each in self.servers:
            each.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        # They notice that before what they were doing is cancelled.
        await asyncio.sleep(0)


class BothPorts:
    """What accepts in one process: associations, and requests by HTTP.

    Parameters
    ----------
    associations, web
        The servers for them.
    """

    def __init__(self, associations: AssociationServer, web: WebServer) -> None:
        self._associations = associations
        self._web = web
        self._is_closed = threading.Event()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port for associations."""
        return self._associations.address

    def start(self) -> None:
        """Begin to accept."""
        self._associations.start()
        self._web.start()

    def serve_forever(self) -> None:
        """Wait until they are shut down."""
        self._associations.serve_forever()
        self._is_closed.wait()

    def shutdown(self, drain: float = 0.0) -> None:
        """Stop accepting, and end after ``drain`` seconds at the most what is open."""
        end = monotonic() + drain
        self._web.stop()
        self._associations.shutdown(drain)
        self._web.close(max(0.0, end - monotonic()))
        self._is_closed.set()
