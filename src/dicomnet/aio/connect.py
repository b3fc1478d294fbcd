"""`connect`: one association with a peer, requested in asyncio."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from ..drivers.deadline import Timeouts
from ..drivers.hooks import Phase
from ..exchange.addresses import PeerAddress, association_request
from ..exchange.contexts import Contexts, Roles, contexts_of
from ..upper_layer.negotiation import Agreement
from ..wire.fields import ae_title_bytes
from ..wire.pdu import AssociateAC, AssociateRJ, AssociateRQ
from .association import Association
from .handlers import Handler, HandlerHooks, OpenSink
from .opening import open_association


async def connect(
    address: str,
    contexts: Contexts,
    *,
    calling: str = "DICOMNET",
    tls: ssl.SSLContext | None = None,
    timeouts: Timeouts | None = None,
    handlers: Mapping[str, Handler] | None = None,
    roles: Roles | None = None,
    open_sink: OpenSink | None = None,
) -> Association:
    """Request an association.

    Parameters
    ----------
    address
        ``[AET@]host:port``; an IPv6 address in brackets.
    contexts
        Abstract syntax UIDs to propose, or a mapping of them to transfer syntax UIDs.
    calling
        Our AE title.
    tls
        A client's TLS context.
    timeouts
        One deadline a stage, in seconds.
    handlers
        By DIMSE service, for what the peer asks for: the C-STOREs of a C-GET, or N-EVENT-REPORT. See `serve`.
    roles
        The roles to propose, where that is not the one of SCU alone (PS3.7 Annex D.3.3.4): for a C-GET, that of SCP
        of the storage SOP classes.
    open_sink
        Gives the object that takes the data set of a C-STORE request as it arrives, instead of memory.

    Raises
    ------
    ConnectionFailed, TLSFailed, DeadlineExceeded
        If the peer cannot be reached.
    AssociationRejected, AssociationAborted
        If it does not accept.
    ValueError
        If an address or AE title is not valid.
    """
    peer = PeerAddress.parse(address)
    ae_title_bytes(calling, "the calling AE title")
    request = association_request(peer, calling, contexts_of(contexts), 1, roles)
    hooks = _RequestorHooks(dict(handlers or {}), open_sink, request)
    hooks.link = await open_association(peer, request, tls, timeouts or Timeouts(), hooks)
    return Association(hooks.link)


class _RequestorHooks(HandlerHooks):
    """The handlers of an association that `connect` opens."""

    def __init__(
        self, handlers: Mapping[str, Handler], open_user_sink: OpenSink | None, request: AssociateRQ
    ) -> None:
        calling, called = request.calling_ae_title, request.called_ae_title
        super().__init__(handlers, open_user_sink, calling, calling, called)

    def negotiate(self, request: AssociateRQ) -> tuple[AssociateAC, Agreement] | AssociateRJ:
        raise TypeError("a requestor does not answer association requests")

    def phase_changed(self, phase: Phase) -> None:
        return None
