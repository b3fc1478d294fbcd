"""`connect`: an association that raises typed errors, as ``dicomnet.aio.connect`` gives one to asyncio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Self

from ..drivers.deadline import Timeouts
from ..errors import AssociationClosed, DicomnetError
from ..exchange.addresses import MAXIMUM_LENGTH, PeerAddress
from ..exchange.contexts import NATIVE
from .ae import AE
from .association import Association
from .events import EventHandlerType
from .presentation import build_context, build_role

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

Contexts = Iterable[str] | Mapping[str, Iterable[str]]
Roles = Mapping[str, tuple[bool, bool]]


class ConnectedAssociation(Association):
    """An association that `connect` opened: where an `Association` answers a failure with an empty status, it raises.

    Use it as a context manager, which releases it, or aborts it where the block raises; or call `release`.
    """

    def _failed(self, what: str, error: DicomnetError) -> None:
        raise error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.release()
        else:
            self.abort()


class _Requestor(AE):
    association_class = ConnectedAssociation


def _requestor(calling: str, timeouts: Timeouts) -> _Requestor:
    ae = _Requestor(calling)
    ae.connection_timeout, ae.acse_timeout = timeouts.connect, timeouts.association
    ae.dimse_timeout, ae.network_timeout = timeouts.message, timeouts.idle
    return ae


def connect(
    address: str,
    contexts: Contexts,
    *,
    calling: str = "DICOMNET",
    tls: ssl.SSLContext | None = None,
    timeouts: Timeouts | None = None,
    handlers: Iterable[EventHandlerType] = (),
    roles: Roles | None = None,
) -> ConnectedAssociation:
    """Request an association, and wait for the answer.

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
        Handlers for events: (event, handler) or (event, handler, [arguments]).
    roles
        By abstract syntax, whether we propose the roles of SCU and SCP (PS3.7 Annex D.3.3.4); that of SCU alone
        needs no proposal.

    Returns
    -------
    ConnectedAssociation
        Established, with the methods of `Association`.

    Raises
    ------
    ConnectionFailed, TLSFailed, DeadlineExceeded
        If the peer cannot be reached, or does not answer.
    AssociationRejected, AssociationAborted
        If it does not accept; with result, source and reason.
    ValueError
        If an address, AE title or UID is not valid, or there are more than 128 contexts.
    """
    peer = PeerAddress.parse(address)
    ae = _requestor(calling, timeouts or Timeouts())
    pairs = contexts.items() if isinstance(contexts, Mapping) else ((uid, NATIVE) for uid in contexts)
    assoc = ae.associate(
        peer.address.host,
        peer.address.port,
        [build_context(uid, list(syntaxes)) for uid, syntaxes in pairs],
        ae_title=peer.ae_title,
        max_pdu=MAXIMUM_LENGTH,
        ext_neg=[build_role(uid, scu, scp) for uid, (scu, scp) in (roles or {}).items()],
        tls_args=None if tls is None else (tls, peer.address.host),
        evt_handlers=handlers,
    )
    assert isinstance(assoc, ConnectedAssociation)
    if not assoc.is_established:
        raise assoc.failure or AssociationClosed
    return assoc
