"""Accepting associations for an application entity, as pynetdicom's users know it."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import copy_context
from functools import partial
from socket import socket as Socket  # noqa: N812
from typing import TYPE_CHECKING, Any, Protocol

from .. import _config
from ..drivers.blocking.server import Server
from ..drivers.blocking.workers import Worker, WorkerProcesses
from ..drivers.reception import Reception
from ..drivers.transport import listen
from ..upper_layer.negotiation import Agreement
from ..wire.pdu import AssociateAC, AssociateRJ, AssociateRQ
from . import events as evt
from .association import Association
from .events import Bindings, EventHandlerType
from .hooks import AssociationHooks, OpenUserSink
from .negotiation import AcceptorSettings, Supported, answer_request, supported_by
from .pdu_primitives import AddressInformation
from .presentation import PresentationContext

if TYPE_CHECKING:
    import ssl


class HasAcceptorSettings(Protocol):
    """An application entity, as its servers use it."""

    def acceptor_settings(self) -> AcceptorSettings:
        """The settings by which it accepts associations, as they are now."""
        ...


class AssociationServer:
    """Accepts associations for an application entity on one address (PS3.8 section 7.1).

    Parameters
    ----------
    ae
        The application entity.
    address
        Host and port.
    ae_title
        The AE title of this server.
    contexts
        The supported presentation contexts.
    ssl_context
        A server's TLS context.
    evt_handlers
        Handlers for events, given to each association.
    open_sink
        Gives the object that takes the data set of a C-STORE request as it arrives.
    workers
        How many processes accept. With more than one, associations and handlers are in those processes, and what is
        changed here after `start` does not reach them.

    Raises
    ------
    ValueError
        If ``workers`` is less than 1.
    OSError
        If the address cannot be bound.
    RuntimeError
        If there are to be several workers, and this platform cannot fork.
    """

    _server: Server | WorkerProcesses

    def __init__(
        self,
        ae: HasAcceptorSettings,
        address: tuple[str, int],
        ae_title: str,
        contexts: list[PresentationContext],
        ssl_context: ssl.SSLContext | None = None,
        evt_handlers: Iterable[EventHandlerType] | None = None,
        *,
        open_sink: OpenUserSink | None = None,
        workers: int = 1,
    ) -> None:
        self.ae: Any = ae
        self._settings = ae.acceptor_settings
        self.ae_title = ae_title
        self.ssl_context = ssl_context
        self._open_sink = open_sink
        self._bindings = Bindings(evt_handlers or ())
        self._associations: dict[Association, None] = {}
        self.contexts = contexts
        # Where handlers run with _config.PASS_CONTEXTVARS.
        self._context = copy_context() if _config.PASS_CONTEXTVARS else None
        self._server = (
            Server(listen(address), self._receive, tls=ssl_context)
            if workers == 1
            else WorkerProcesses(address, workers, self._work)
        )

    @property
    def contexts(self) -> list[PresentationContext]:
        """The supported contexts; setting them changes associations to come."""
        return self._contexts

    @contexts.setter
    def contexts(self, contexts: list[PresentationContext]) -> None:
        self._contexts, self._supported = contexts, supported_by(contexts)

    @property
    def server_address(self) -> tuple[str, int]:
        """The host and port it listens on."""
        return self._server.address

    @property
    def address_info(self) -> AddressInformation:
        """The address it listens on."""
        return AddressInformation(*self.server_address)

    @property
    def socket(self) -> Socket:
        """The socket that it accepts connections on, to ask for its name or set options."""
        return self._server.listener

    @property
    def active_associations(self) -> list[Association]:
        """The open associations of this process."""
        return [assoc for assoc in list(self._associations) if assoc.is_alive()]

    def start(self) -> None:
        """Begin to accept, without waiting."""
        self._server.start()

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serve until `shutdown`.

        Parameters
        ----------
        poll_interval
            Accepted for compatibility; the server does not poll.
        """
        self._server.serve_forever()

    def shutdown(self) -> None:
        """Stop accepting, and abort the associations (PS3.8 section 7.3)."""
        self._server.shutdown()

    server_close = shutdown

    def bind(self, event: evt.EventType, handler: evt.Handler, args: list[Any] | None = None) -> None:
        """Call a handler for an event, on present and future associations."""
        self._bindings.bind(event, handler, args)
        for assoc in self.active_associations:
            assoc.bind(event, handler, args)

    def unbind(self, event: evt.EventType, handler: evt.Handler) -> None:
        """Stop calling a handler for an event."""
        self._bindings.unbind(event, handler)
        for assoc in self.active_associations:
            assoc.unbind(event, handler)

    def get_events(self) -> list[evt.EventType]:
        """The events that have a handler."""
        return self._bindings.events()

    def get_handlers(self, event: evt.EventType) -> Any:
        """The handlers of an event with their arguments."""
        return self._bindings.handlers(event)

    def _work(self, worker: Worker) -> bool:
        self._server = Server(worker.listener, self._receive, tls=self.ssl_context, share=worker.share)
        worker.serve(self._server)
        return True

    def _receive(self, peer: tuple[str, int]) -> Reception:
        settings = self._settings()
        assoc = self._new_association(peer, settings)
        hooks = AssociationHooks(
            assoc,
            settings.destinations,
            negotiate=partial(self._negotiate, assoc),
            open_sink=self._open_sink,
        )
        self._associations[assoc] = None
        return Reception(
            hooks,
            assoc.state.timeouts,
            settings.maximum_pdu_size,
            observer=hooks,
            opened=assoc.state.attach,
            closed=partial(self._associations.pop, assoc, None),
        )

    def _new_association(self, peer: tuple[str, int], settings: AcceptorSettings) -> Association:
        assoc = Association(self.ae, "acceptor", self._bindings.copy(), settings.timeouts, settings.transcode)
        if self._context is not None:
            assoc.state.context = self._context.copy()
        assoc.acceptor.address_info = AddressInformation(*self.server_address)
        assoc.acceptor.ae_title = self.ae_title
        # A handler may change them for this association; without a handler they need no copy.
        contexts = [context.copy() for context in self.contexts] if self._bindings.names else self.contexts
        assoc.acceptor.supported_contexts = contexts
        assoc.requestor.address_info = AddressInformation(*peer)
        return assoc

    def _negotiate(
        self, assoc: Association, request: AssociateRQ
    ) -> tuple[AssociateAC, Agreement] | AssociateRJ:
        # The settings of now: the program may have changed them since the connection was opened.
        return answer_request(assoc, request, self._settings(), self.ae_title, self._supported_by)

    def _supported_by(self, contexts: list[PresentationContext]) -> Supported:
        return self._supported if contexts == self.contexts else supported_by(contexts)


ThreadedAssociationServer = AssociationServer
