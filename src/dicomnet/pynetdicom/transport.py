"""Accepting associations for an application entity, as pynetdicom's users know it."""

from __future__ import annotations

import logging
import select
from collections.abc import Iterable
from contextvars import copy_context
from functools import partial
from socket import socket as Socket  # noqa: N812
from typing import TYPE_CHECKING, Any, Protocol, Self

from .. import _config
from ..drivers.blocking.server import Server
from ..drivers.blocking.workers import Worker, WorkerProcesses
from ..drivers.reception import Reception
from ..drivers.transport import BACKLOG, ListeningAddress, new_listener
from ..upper_layer.negotiation import Agreement
from ..wire.pdu import AssociateAC, AssociateRJ, AssociateRQ
from . import events as evt
from .association import Association
from .events import Bindings, EventHandlerType
from .hooks import AssociationHooks, OpenUserSink
from .negotiation import AcceptorSettings, answer_request
from .pdu_primitives import AddressInformation
from .presentation import PresentationContext, Supported, supported_by

if TYPE_CHECKING:
    import ssl

_log = logging.getLogger(__name__)


class HasAcceptorSettings(Protocol):
    """An application entity, as its servers use it."""

    def acceptor_settings(self) -> AcceptorSettings:
        """The settings by which it accepts associations, as they are now."""
        ...


class RequestHandler:
    """Serves one connection of an `AssociationServer`; a subclass may do something before or after `handle`.

    `handle` returns at once: the association goes on in the background.

    Parameters
    ----------
    request
        The socket.
    client_address
        The peer's address as `socket` has it.
    server
        The server.
    """

    def __init__(self, request: Socket, client_address: Any, server: AssociationServer) -> None:
        self.request = request
        self.client_address = client_address
        self.server = server
        self.setup()
        try:
            self.handle()
        finally:
            self.finish()

    @property
    def ae(self) -> Any:
        """The application entity of the server."""
        return self.server.ae

    @property
    def local(self) -> AddressInformation:
        """The address of the server."""
        return self.server.address_info

    @property
    def remote(self) -> AddressInformation:
        """The address of the peer."""
        return AddressInformation.from_tuple(self.client_address)

    def setup(self) -> None:
        """Prepare."""

    def handle(self) -> None:
        """Begin to serve the connection."""
        self.server.serve_connection(self.request, self.client_address)

    def finish(self) -> None:
        """Clean up."""


class AssociationServer:
    """Accepts associations for an application entity on one address (PS3.8 section 7.1).

    Parameters
    ----------
    ae
        The application entity.
    address
        Host and port; of IPv6 perhaps with flow info and scope ID.
    ae_title
        The AE title of this server.
    contexts
        The supported presentation contexts.
    ssl_context
        A server's TLS context.
    evt_handlers
        Handlers for events, given to each association.
    request_handler
        Serves each connection.
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

    request_queue_size = BACKLOG
    """How many connections may wait to be accepted; a subclass may say otherwise."""
    timeout: float | None = None
    """How long `handle_request` waits, in seconds."""
    daemon_threads = True
    allow_reuse_address = True
    trouble_level = logging.INFO
    """At which level of `logging` rejections, aborts and refused requests are logged; a subclass may say otherwise."""
    _server: Server | WorkerProcesses
    _socket: Socket

    def __init__(
        self,
        ae: HasAcceptorSettings,
        address: ListeningAddress,
        ae_title: str,
        contexts: list[PresentationContext],
        ssl_context: ssl.SSLContext | None = None,
        evt_handlers: Iterable[EventHandlerType] | None = None,
        request_handler: type[RequestHandler] | None = None,
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
        self.RequestHandlerClass = request_handler or RequestHandler
        self.server_address: ListeningAddress = address
        self._is_started = False
        if workers == 1:
            self._socket = self._listen(address[0])
            self._server = Server(self._socket, self._receive, tls=ssl_context, admit=self._admit)
        else:
            self._server = WorkerProcesses(address, workers, self._work)
            self._socket = self._server.listener
        # As `socket` has it: of IPv6 with flow info and scope ID.
        self.server_address = self._socket.getsockname()
        self.address_family = self._socket.family

    @property
    def contexts(self) -> list[PresentationContext]:
        """The supported contexts; setting them changes associations to come."""
        return self._contexts

    @contexts.setter
    def contexts(self, contexts: list[PresentationContext]) -> None:
        self._contexts, self._supported = contexts, supported_by(contexts)

    def _listen(self, host: str) -> Socket:
        self._socket = new_listener(host)
        try:
            self.server_bind()
            self.server_activate()
        except BaseException:
            self._socket.close()
            raise
        self._socket.setblocking(False)
        return self._socket

    @property
    def address_info(self) -> AddressInformation:
        """The address it listens on."""
        return AddressInformation(*self.server_address)

    @property
    def socket(self) -> Socket:
        """The socket that it accepts connections on, to ask for its name or set options."""
        return self._socket

    @property
    def active_associations(self) -> list[Association]:
        """The open associations of this process."""
        return [assoc for assoc in list(self._associations) if assoc.is_alive()]

    def start(self) -> None:
        """Begin to accept, without waiting."""
        self._is_started = True
        self._server.start()

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serve until `shutdown`; begins to accept unless `start` did.

        Parameters
        ----------
        poll_interval
            Accepted for compatibility; the server does not poll.
        """
        if not self._is_started:
            self.start()
        self._server.serve_forever()

    def shutdown(self) -> None:
        """Stop accepting, and abort the associations (PS3.8 section 7.3)."""
        self._server.shutdown()

    def server_close(self) -> None:
        """Stop accepting, and abort the associations, as `shutdown` does."""
        self.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.server_close()

    def fileno(self) -> int:
        """The descriptor of the socket that it accepts connections on."""
        return self._socket.fileno()

    def server_bind(self) -> None:
        """Bind `socket` to the address that the server was given, as `server_address` has it until then."""
        self._socket.bind(self.server_address)
        self.server_address = self._socket.getsockname()

    def server_activate(self) -> None:
        """Listen, with room for `request_queue_size` connections that are not accepted yet."""
        self._socket.listen(self.request_queue_size)

    def handle_request(self) -> None:
        """Accept one connection, waiting for it up to `timeout` seconds; its association goes on in the background."""
        if not select.select([self._socket], [], [], self.timeout)[0]:
            self.handle_timeout()
            return
        try:
            request, client_address = self._socket.accept()
        except OSError as error:
            _log.info("a connection was gone before it was accepted: %s", error)
            return
        self._admit(request, client_address)

    def handle_timeout(self) -> None:
        """No connection came in time for `handle_request`."""

    def verify_request(self, request: Socket, client_address: Any) -> bool:
        """Whether to serve a connection that was accepted; called in the thread that accepts.

        Parameters
        ----------
        request
            The socket, before any handshake of TLS.
        client_address
            The peer's address as `socket` has it.
        """
        return True

    def process_request(self, request: Socket, client_address: Any) -> None:
        """Serve a connection that was accepted and verified; called in the thread that accepts."""
        self.finish_request(request, client_address)

    def finish_request(self, request: Socket, client_address: Any) -> None:
        """Have a `RequestHandler` serve a connection."""
        self.RequestHandlerClass(request, client_address, self)

    def handle_error(self, request: Socket, client_address: Any) -> None:
        """Log the exception that ended the beginning of a connection."""
        _log.exception("a connection could not be served")

    def shutdown_request(self, request: Socket) -> None:
        """Close a connection that is not served."""
        request.close()

    def serve_connection(self, request: Socket, client_address: Any) -> None:
        """Wait for an association request on a connection, in the background, and serve that."""
        assert isinstance(self._server, Server)
        self._server.open(request, client_address)

    def _admit(self, request: Socket, client_address: Any) -> None:
        try:
            if self.verify_request(request, client_address):
                self.process_request(request, client_address)
                return
        except Exception:  # noqa: BLE001
            self.handle_error(request, client_address)
        self.shutdown_request(request)

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
        self._server = Server(
            worker.listener, self._receive, tls=self.ssl_context, share=worker.share, admit=self._admit
        )
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
            trouble=self.trouble_level,
            opened=assoc.state.attach,
            closed=partial(self._associations.pop, assoc, None),
        )

    def _new_association(self, peer: tuple[str, int], settings: AcceptorSettings) -> Association:
        assoc = Association(self.ae, "acceptor", self._bindings.copy(), settings.timeouts, settings.transcode)
        if self._context is not None:
            assoc.state.context = self._context.copy()
        assoc.acceptor.address_info = self.address_info
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
