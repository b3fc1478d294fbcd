"""Accepting associations for an application entity, as pynetdicom's users know it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextvars import copy_context
from functools import partial
from socket import socket as Socket  # noqa: N812
from typing import TYPE_CHECKING, Any

from pydicom.uid import UID

from .. import _config
from ..drivers.blocking.server import Server
from ..drivers.blocking.workers import Worker, WorkerProcesses
from ..drivers.reception import Reception
from ..drivers.transport import listen
from ..services.registry import may_be_storage
from ..upper_layer.negotiation import (
    Acceptor,
    Agreement,
    SupportedContext,
    accept,
    first_of,
    identification_items,
    items_of,
    refuse_names,
)
from ..wire.items import (
    AsynchronousOperationsWindow,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityAC,
    UserIdentityRQ,
)
from ..wire.pdu import AssociateAC, AssociateRJ, AssociateRQ
from . import events as evt
from .association import Association, OpenUserSink
from .events import Bindings, EventHandlerType
from .hooks import AssociationHooks
from .pdu_primitives import AddressInformation
from .presentation import PresentationContext
from .user_information import view_of

if TYPE_CHECKING:
    import ssl

    from .ae import ApplicationEntity

_log = logging.getLogger(__name__)

_LOCAL_LIMIT_EXCEEDED = AssociateRJ(2, 3, 2)
_ANSWERED_IDENTITIES = (3, 4, 5)
_USER_IDENTITY_REFUSED = AssociateRJ(1, 1, 1)


class AssociationServer:
    """Accepts associations for an application entity on one address (PS3.8 section 7.1).

    Parameters
    ----------
    ae
        The application entity.
    address
        Host and port.
    ae_title
        Its title here.
    contexts
        What it supports.
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
        ae: ApplicationEntity,
        address: tuple[str, int],
        ae_title: str,
        contexts: list[PresentationContext],
        ssl_context: ssl.SSLContext | None = None,
        evt_handlers: Iterable[EventHandlerType] | None = None,
        *,
        open_sink: OpenUserSink | None = None,
        workers: int = 1,
    ) -> None:
        self.ae = ae
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
        """What it supports; set anew, that holds for associations to come."""
        return self._contexts

    @contexts.setter
    def contexts(self, contexts: list[PresentationContext]) -> None:
        self._contexts, self._supported = contexts, _supported(contexts)

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
        """The associations of this process that are not over."""
        return [assoc for assoc in list(self._associations) if not assoc._finished.is_set()]

    def start(self) -> None:
        """Begin to accept, without waiting."""
        self._server.start()

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serve until `shutdown`.

        Parameters
        ----------
        poll_interval
            Accepted for compatibility: nothing is polled.
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
        """Call it no longer."""
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
        assoc = Association(
            self.ae,
            "acceptor",
            self._bindings.copy(),
            negotiate=self._negotiate,
            open_sink=self._open_sink,
        )
        if self._context is not None:
            assoc._context = self._context.copy()
        hooks = AssociationHooks(assoc)
        assoc.acceptor.address_info = AddressInformation(*self.server_address)
        assoc.acceptor.ae_title = self.ae_title
        # A handler may change them for this association; without one nobody can.
        contexts = [context.copy() for context in self.contexts] if self._bindings.names else self.contexts
        assoc.acceptor.supported_contexts = contexts
        assoc.requestor.address_info = AddressInformation(*peer)
        self._associations[assoc] = None
        return Reception(
            hooks,
            assoc._timeouts,
            self.ae.maximum_pdu_size,
            observer=hooks,
            opened=assoc._attach,
            closed=partial(self._associations.pop, assoc, None),
        )

    def _negotiate(
        self, assoc: Association, request: AssociateRQ
    ) -> tuple[AssociateAC, Agreement] | AssociateRJ:
        ae = self.ae
        refused = refuse_names(
            request,
            called=(self.ae_title,) if ae.require_called_aet else (),
            calling=ae.require_calling_aet,
        )
        if refused is not None:
            return refused
        if not ae._reserve(assoc):
            return _LOCAL_LIMIT_EXCEEDED
        identity = _ask_identity(assoc, request)
        if isinstance(identity, AssociateRJ):
            return identity
        identification = identification_items(
            ae.maximum_pdu_size, str(ae.implementation_class_uid), ae.implementation_version_name
        )
        contexts = assoc.acceptor.supported_contexts
        supported = self._supported if contexts == self.contexts else _supported(contexts)
        unknown = may_be_storage if _config.UNRESTRICTED_STORAGE_SERVICE else None
        return accept(
            request,
            Acceptor(supported, identification, unknown),
            window=_ask_window(assoc, request),
            extended=_ask_extended(assoc, request),
            identity=identity,
        )


ThreadedAssociationServer = AssociationServer


def _supported(contexts: Iterable[PresentationContext]) -> dict[str, SupportedContext]:
    return {
        str(context.abstract_syntax): SupportedContext(
            tuple(map(str, context.transfer_syntax)), context.scu_role, context.scp_role, is_ordered=True
        )
        for context in contexts
    }


def _ask_identity(assoc: Association, request: AssociateRQ) -> UserIdentityAC | AssociateRJ | None:
    item = first_of(request.user_items, UserIdentityRQ)
    if item is None or assoc._bindings.intervention(evt.EVT_USER_ID) is None:
        return None
    attrs = {
        "user_id_type": item.identity_type,
        "primary_field": item.primary_field,
        "secondary_field": item.secondary_field,
    }
    try:
        is_verified, response = evt.trigger(assoc, evt.EVT_USER_ID, attrs)
    except Exception:  # noqa: BLE001
        _log.exception("the handler for EVT_USER_ID failed, so the association is rejected")
        return _USER_IDENTITY_REFUSED
    if not is_verified:
        return _USER_IDENTITY_REFUSED
    if not item.positive_response_requested:
        return None
    # A user name, with or without a passcode, is answered by nothing (PS3.7 Annex D.3.3.7.2).
    has_response = item.identity_type in _ANSWERED_IDENTITIES and isinstance(response, bytes)
    return UserIdentityAC(response if has_response else b"")


def _ask_window(assoc: Association, request: AssociateRQ) -> AsynchronousOperationsWindow | None:
    item = first_of(request.user_items, AsynchronousOperationsWindow)
    if item is None or assoc._bindings.intervention(evt.EVT_ASYNC_OPS) is None:
        return None
    attrs = {"nr_invoked": item.invoked, "nr_performed": item.performed}
    try:
        invoked, performed = evt.trigger(assoc, evt.EVT_ASYNC_OPS, attrs)
        return AsynchronousOperationsWindow(_least(item.invoked, invoked), _least(item.performed, performed))
    except Exception:  # noqa: BLE001
        _log.exception("the handler for EVT_ASYNC_OPS failed, so the window is 1")
        return AsynchronousOperationsWindow(1, 1)


def _least(asked: int, granted: int) -> int:
    """Never more than was asked for, where 0 is no limit (PS3.7 Annex D.3.3.3)."""
    return min(asked, granted) or max(asked, granted)


def _ask_extended(assoc: Association, request: AssociateRQ) -> tuple[SOPClassExtendedNegotiation, ...]:
    common = items_of(request.user_items, SOPClassCommonExtendedNegotiation)
    if common and assoc._bindings.intervention(evt.EVT_SOP_COMMON) is not None:
        views = {UID(item.sop_class): view_of(item) for item in common}
        try:
            assoc.acceptor.accept_common(evt.trigger(assoc, evt.EVT_SOP_COMMON, {"items": views}))
        except Exception:  # noqa: BLE001
            _log.exception("the handler for EVT_SOP_COMMON failed")
    extended = items_of(request.user_items, SOPClassExtendedNegotiation)
    if not extended or assoc._bindings.intervention(evt.EVT_SOP_EXTENDED) is None:
        return ()
    asked = {UID(item.sop_class): item.application_information for item in extended}
    try:
        answers = evt.trigger(assoc, evt.EVT_SOP_EXTENDED, {"app_info": asked})
        items = [SOPClassExtendedNegotiation(str(uid), info) for uid, info in answers.items() if uid in asked]
        # What cannot be encoded is the handler's mistake too.
        for item in items:
            item.encode()
        return tuple(items)
    except Exception:  # noqa: BLE001
        _log.exception("the handler for EVT_SOP_EXTENDED failed")
        return ()
