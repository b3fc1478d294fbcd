"""The pages `/health` and `/metrics`, on a port of their own, in a thread of their own.

They can only be read. A connection has one request, which has to come in a moment; where there are too many, the oldest
goes, so that none who is slow keeps others out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from ...drivers.transport import ListeningAddress, listen
from .counts import Counts
from .exposition import Metrics
from .probing import Probe, Probes, Result, is_ready, level_of

_log = logging.getLogger(__name__)

# How long a connection may last, in seconds, and how many there may be.
_LIFETIME = 10.0
_CONNECTIONS = 64
# The longest head of a request, in bytes.
_HEAD = 8 << 10
# How often the time in responses is brought up to date, in seconds.
_TICK = 1.0
# How long the thread may take to end, in seconds.
_END = 2.0
_HEADERS = [("cache-control", "no-store"), ("x-content-type-options", "nosniff"), ("connection", "close")]


class Pages:
    """What is shown.

    Parameters
    ----------
    counts
        What the node counts.
    probes
        Its checks.
    """

    def __init__(self, counts: Counts, probes: Sequence[Probe]) -> None:
        self._metrics = Metrics(counts)
        self.probes = Probes(probes)
        application = Starlette(
            routes=[
                Route("/health", self._ready),
                Route("/health/ready", self._ready),
                Route("/health/live", self._live),
                Route("/metrics", self._show_metrics),
            ],
        )
        application.router.redirect_slashes = False
        self.application = _without_bodies(application)

    async def _live(self, request: Request) -> Response:
        """The process answers, whatever else is the matter."""
        return JSONResponse({"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        results = await self.probes.results()
        ready = is_ready(results)
        content = {
            "status": level_of(results).word,
            "ready": ready,
            "checks": {each.name: _shown(each) for each in results},
        }
        return JSONResponse(content, 200 if ready else 503)

    async def _show_metrics(self, request: Request) -> Response:
        results = await self.probes.results()
        content, kind = self._metrics.page(results, request.headers.get("accept", ""))
        return Response(content, headers={"content-type": kind})


def _without_bodies(application: ASGIApp) -> ASGIApp:
    """An application to which nothing can be sent but the heads of requests."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
            await PlainTextResponse("a request has no body here", 413)(scope, receive, send)
        else:
            await application(scope, receive, send)

    return answer


def _shown(result: Result) -> dict[str, Any]:
    age = None if result.age is None else round(result.age, 3)
    return {"status": result.finding.level.word, "message": result.finding.message, "age_seconds": age}


class Web:
    """The port and its thread.

    Parameters
    ----------
    address
        Host and port to listen on; port 0 chooses a free one.
    pages
        What is shown.

    Raises
    ------
    OSError
        If the address cannot be bound; it is named as a file would be.
    """

    def __init__(self, address: ListeningAddress, pages: Pages) -> None:
        config = Config(
            pages.application,
            http=_Connection,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            headers=_HEADERS,
            h11_max_incomplete_event_size=_HEAD,
        )
        # What requests need is imported now, and not when no descriptor may be free.
        config.load()
        self._listener = _listener(address)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._server = _Server(config)
        # From Python 3.13 on, one that was made before a fork cannot be started behind it.
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to answer."""
        self._thread = threading.Thread(target=self._serve, name="dicomnet-watch", daemon=True)
        self._thread.start()

    def forget(self) -> None:
        """Let go of the port in another process, after a fork."""
        self._listener.close()

    def close(self) -> None:
        """End it; whoever is connected is cut off."""
        self._server.end()
        if self._thread is not None:
            self._thread.join(_END)
        self._listener.close()

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        except Exception:  # noqa: BLE001
            _log.exception("health and metrics cannot be served any more")


def _listener(address: ListeningAddress) -> socket.socket:
    try:
        return listen(address)
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{address[0]}:{address[1]}") from error


class _Server(Server):
    """A server that ends at once, whoever is connected."""

    _wake: Callable[[], object] | None = None

    def end(self) -> None:
        """End it, from another thread."""
        self.should_exit = True
        if self._wake is not None:
            with contextlib.suppress(RuntimeError):
                # Its loop may have ended by itself.
                self._wake()

    async def main_loop(self) -> None:
        woken = asyncio.Event()
        self._wake = partial(asyncio.get_running_loop().call_soon_threadsafe, woken.set)
        # Each of these writes the header Date anew.
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), _TICK)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for each in self.servers:
            each.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()


class _Connection(H11Protocol):
    """A connection with a client, for one request."""

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        # What strangers send that is not HTTP is nothing to warn of.
        self.logger = _quiet
        # With a handler at the root of all logs, it would be on in spite of the configuration.
        self.access_log = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(_LIFETIME, transport.abort)
        if len(self.connections) > _CONNECTIONS:
            others = (each for each in self.connections if isinstance(each, _Connection))
            min(others, key=_Connection.ends_at).transport.abort()

    def ends_at(self) -> float:
        """When it is cut off, on the clock of the loop."""
        return 0.0 if self._deadline is None else self._deadline.when()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)


_quiet = logging.getLogger(f"{__name__}.http")
_quiet.setLevel(logging.ERROR)
