"""`serve`: a server that accepts associations in the running event loop."""

from __future__ import annotations

import importlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .._version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from ..drivers.aio.server import Server
from ..drivers.deadline import Timeouts
from ..drivers.hooks import Phase
from ..drivers.reception import Reception
from ..drivers.transport import FOR_PROGRESS, listen
from ..encoding.transfer_syntaxes import TRANSFER_SYNTAXES
from ..exchange.addresses import MAXIMUM_LENGTH
from ..exchange.admission import Acceptance, AssociationRequest, extended_items, identity_item, rejection_of
from ..exchange.contexts import Contexts, Roles, contexts_of
from ..upper_layer.negotiation import (
    Acceptor,
    Agreement,
    SupportedContext,
    accept,
    identification_items,
    refuse_names,
)
from ..wire.items import SOPClassExtendedNegotiation
from ..wire.pdu import LOCAL_LIMIT_EXCEEDED, AssociateAC, AssociateRJ, AssociateRQ
from .handlers import Handler, HandlerHooks, OpenSink, call

# What requests need and a program that only connects does not. When the first one comes, there may be no free file
# descriptor to import it with.
_FOR_REQUESTS = ("concurrent.futures.thread", "encodings.idna", "dicomnet.aio.retrieval", *FOR_PROGRESS)

# Says whether an association is accepted, see `serve`.
Admit = Callable[[AssociationRequest], Acceptance | Awaitable[Acceptance | None] | None]


async def serve(
    address: tuple[str, int],
    contexts: Contexts,
    handlers: Mapping[str, Handler] | None = None,
    *,
    ae_title: str = "DICOMNET",
    require_called: bool = False,
    tls: ssl.SSLContext | None = None,
    timeouts: Timeouts | None = None,
    maximum_associations: int = 256,
    window: int = 16,
    open_sink: OpenSink | None = None,
    roles: Roles | None = None,
    admit: Admit | None = None,
) -> AssociationServer:
    """Accept associations in the running event loop.

    Parameters
    ----------
    address
        Host and port; port 0 is any free one.
    contexts
        Abstract syntax UIDs to accept with any known transfer syntax, or a mapping of them to transfer syntax UIDs.
    handlers
        By DIMSE service: ``C-ECHO``, ``C-STORE``, ``C-FIND``, ``C-GET``, ``N-ACTION`` and so on. C-ECHO needs
        none.
    ae_title
        Our AE title.
    require_called
        Whether associations must call it.
    tls
        A server's TLS context.
    timeouts
        One deadline a stage, in seconds.
    maximum_associations
        How many may be open at once.
    window
        How many requests a peer may have outstanding.
    open_sink
        Gives the object that takes the data set of a C-STORE request as it arrives, instead of memory.
    roles
        The roles that a requestor may have if it asks (PS3.7 Annex D.3.3.4); without it, that of SCU alone. A C-GET
        needs both of the storage SOP classes.
    admit
        Says whether an association is accepted; a coroutine function, or a plain function, which runs in a thread. It
        is called with the `AssociationRequest` after AE titles and ``maximum_associations`` were checked. It returns
        None, or an `Acceptance` that answers user identity or extended negotiation; it raises
        `AssociationRejected` with result, source and reason (PS3.8 Table 9-21) to reject. Where it raises anything
        else, the association is rejected with no reason given.

    Raises
    ------
    OSError
        If the address cannot be bound.
    """
    server = AssociationServer(
        address,
        {
            uid: SupportedContext(syntaxes, *(roles or {}).get(uid, (None, None)))
            for uid, syntaxes in contexts_of(contexts, tuple(TRANSFER_SYNTAXES))
        },
        dict(handlers or {}),
        ae_title=ae_title,
        require_called=require_called,
        tls=tls,
        timeouts=timeouts or Timeouts(),
        maximum_associations=maximum_associations,
        window=window,
        open_sink=open_sink,
        admit=admit,
    )
    server.start()
    return server


class AssociationServer:
    """A server that accepts associations, made by `serve`. Use it as an async context manager, or call `shutdown`."""

    def __init__(
        self,
        address: tuple[str, int],
        supported: Mapping[str, SupportedContext],
        handlers: dict[str, Handler],
        *,
        ae_title: str,
        require_called: bool,
        tls: ssl.SSLContext | None,
        timeouts: Timeouts,
        maximum_associations: int,
        window: int,
        open_sink: OpenSink | None,
        admit: Admit | None,
    ) -> None:
        for name in _FOR_REQUESTS:
            importlib.import_module(name)
        self.admit = admit
        self.handlers = handlers
        self.ae_title = ae_title
        self.called = (ae_title,) if require_called else ()
        self.maximum_associations = maximum_associations
        self.open_sink = open_sink
        self.acceptor = Acceptor(
            supported,
            identification_items(MAXIMUM_LENGTH, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME),
            performed_window=window,
        )
        self._timeouts = timeouts
        self._server = Server(listen(address), self._receive, tls=tls)

    def __repr__(self) -> str:
        host, port = self.address
        return f"<AssociationServer {self.ae_title} on {host}:{port}>"

    @property
    def address(self) -> tuple[str, int]:
        """The host and port it listens on."""
        return self._server.address

    @property
    def established(self) -> int:
        """How many associations are open."""
        return sum(link.phase is Phase.ESTABLISHED for link in self._server.links)

    def refuse_more(self) -> AssociateRJ | None:
        """The rejection of a further association, None as long as there may be one."""
        return LOCAL_LIMIT_EXCEEDED if self.established >= self.maximum_associations else None

    def start(self) -> None:
        """Begin to accept."""
        self._server.start()

    async def shutdown(self, drain: float = 0.0) -> None:
        """Stop accepting, let associations go on for up to ``drain`` seconds, then abort them."""
        await self._server.shutdown(drain)

    async def __aenter__(self) -> AssociationServer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    def _receive(self, peer: tuple[str, int]) -> Reception:
        hooks = _AcceptorHooks(self, peer)
        return Reception(hooks, self._timeouts, MAXIMUM_LENGTH, opened=hooks.attach)


class _AcceptorHooks(HandlerHooks):
    """The handlers of an association that a server accepts."""

    def __init__(self, server: AssociationServer, peer: tuple[str, int]) -> None:
        super().__init__(server.handlers, server.open_sink, server.ae_title, "", "")
        self._server = server
        self._peer = peer

    def negotiate(self, request: AssociateRQ) -> Any:
        """Answer a request, after the user's handler has seen it; awaitable."""
        return self._negotiate(request)

    async def _negotiate(self, request: AssociateRQ) -> tuple[AssociateAC, Agreement] | AssociateRJ:
        server, acceptance = self._server, Acceptance()
        extended: tuple[SOPClassExtendedNegotiation, ...] = ()
        refused = refuse_names(request, called=server.called) or server.refuse_more()
        if refused is not None:
            return refused
        if server.admit is not None:
            try:
                asked = AssociationRequest(self._peer, request)
                acceptance = await call(server.admit, asked) or acceptance
                extended = extended_items(request, acceptance.extended)
            except Exception as error:  # noqa: BLE001
                return rejection_of(error)
            # Others may have been accepted meanwhile.
            if (refused := server.refuse_more()) is not None:
                return refused
        self._calling, self._called = request.calling_ae_title, request.called_ae_title
        identity = identity_item(request, acceptance.identity)
        return accept(request, server.acceptor, extended=extended, identity=identity)

    def phase_changed(self, phase: Phase) -> None:
        """Do nothing."""
