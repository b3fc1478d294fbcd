"""``Association.acse``, ``.dul`` and ``.dimse``: the parts of pynetdicom's layers that programs use."""

from __future__ import annotations

from socket import socket as Socket  # noqa: N812
from typing import TYPE_CHECKING, Any, Protocol

from ..drivers.hooks import Phase
from ..errors import REJECT_REASONS, REJECT_RESULTS, AssociationAborted
from ..wire.pdu import Abort, AssociateRJ
from .service_user import ServiceUser
from .state import AssociationState

if TYPE_CHECKING:
    from .dimse_primitives import C_CANCEL, DIMSEPrimitive

_USER, _PROVIDER = 0, 2


class _Association(Protocol):
    """The part of `Association` that its providers use."""

    state: AssociationState
    requestor: ServiceUser
    acceptor: ServiceUser

    @property
    def is_requestor(self) -> bool: ...

    def release(self) -> None: ...

    def kill(self) -> None: ...


class _Provider:
    def __init__(self, assoc: _Association) -> None:
        self._assoc = assoc
        self._state = assoc.state

    @property
    def assoc(self) -> Any:
        """The association."""
        return self._assoc


class ACSE(_Provider):
    """The association control service: ending an association (PS3.7 Annex D.3, PS3.8 chapter 7)."""

    @property
    def requestor(self) -> ServiceUser:
        """The side that requested the association."""
        return self._assoc.requestor

    @property
    def acceptor(self) -> ServiceUser:
        """The side that was asked for it."""
        return self._assoc.acceptor

    @property
    def acse_timeout(self) -> float | None:
        """The time-out of negotiation and of release, in seconds; None is without end."""
        return self._state.timeouts.association

    def send_reject(self, result: int, source: int, diagnostic: int) -> None:
        """Reject the association that is being requested, from a handler of ``EVT_REQUESTED``, for instance.

        The A-ASSOCIATE-RJ is sent when the handler returns.

        Parameters
        ----------
        result
            1 permanent, 2 transient.
        source
            1 service user, 2 service provider (ACSE), 3 service provider (presentation).
        diagnostic
            The reason, of PS3.8 Table 9-21.

        Raises
        ------
        ValueError
            If the standard has no such result, or no such reason for the source.
        RuntimeError
            If this side was not asked for an association, or has answered already.
        """
        if result not in REJECT_RESULTS:
            raise ValueError(f"the result of a rejection is 1 or 2, not {result!r}")
        if (source, diagnostic) not in REJECT_REASONS:
            raise ValueError(f"a rejection cannot have the source {source!r} with the reason {diagnostic!r}")
        if self._assoc.is_requestor:
            raise RuntimeError("the requestor of an association cannot reject it")
        self._state.reject(AssociateRJ(result, source, diagnostic))

    def send_abort(self, source: int) -> None:
        """Abort the association (PS3.8 section 7.3).

        Parameters
        ----------
        source
            0 service user, 2 service provider.

        Raises
        ------
        ValueError
            For another source.
        """
        if source not in (_USER, _PROVIDER):
            raise ValueError(f"the source of an abort is 0 or 2, not {source!r}")
        self._state.abort(Abort(source))

    def send_ap_abort(self, reason: int) -> None:
        """Abort the association as the service provider (PS3.8 section 7.4).

        Parameters
        ----------
        reason
            0, 1, 2, 4, 5 or 6, see PS3.8 section 9.3.8.

        Raises
        ------
        ValueError
            For another reason.
        """
        if reason not in (0, 1, 2, 4, 5, 6):
            raise ValueError(f"the reason of an abort is 0, 1, 2, 4, 5 or 6, not {reason!r}")
        self._state.abort(Abort(_PROVIDER, reason))

    def send_release(self, is_response: bool = False) -> None:
        """Release the association (PS3.8 section 7.2). The peer's request is answered without a call."""
        if not is_response:
            self._assoc.release()

    def is_aborted(self, abort_type: str = "both") -> bool:
        """Whether the association was aborted.

        Parameters
        ----------
        abort_type
            ``a-abort`` by the peer's user, ``a-p-abort`` by a provider or because the connection was lost, or
            ``both``: in whatever way.
        """
        is_aborted = self._state.phase is Phase.ABORTED
        if abort_type == "both" or not is_aborted:
            return is_aborted
        failure = self._state.failure
        by_user = isinstance(failure, AssociationAborted) and failure.source == _USER
        return by_user if abort_type == "a-abort" else not by_user

    def is_release_requested(self) -> bool:
        """Whether the association was released; the peer's request for that is answered at once."""
        return self._state.phase is Phase.RELEASED


class AssociationSocket(_Provider):
    """The transport connection of an association."""

    @property
    def socket(self) -> Socket | None:
        """The socket, for setting its options; None before there is one. A program must not read or write it."""
        link = self._state.link
        return None if link is None else link.channel.sock

    def close(self) -> None:
        """Close the connection at once."""
        if self._state.link is not None:
            self._state.link.close()


class StateMachine(_Provider):
    """The state machine of PS3.8 section 9.2."""

    @property
    def current_state(self) -> str:
        """``Sta1`` to ``Sta13``."""
        link = self._state.link
        return "Sta1" if link is None else link.connection.machine.state.name.title()


class DULServiceProvider(_Provider):
    """The upper layer of an association (PS3.8)."""

    def __init__(self, assoc: _Association) -> None:
        super().__init__(assoc)
        self.state_machine = StateMachine(assoc)

    @property
    def socket(self) -> AssociationSocket | None:
        """The transport connection, None before there is one."""
        return None if self._state.link is None else AssociationSocket(self._assoc)

    @property
    def network_timeout(self) -> float | None:
        """The time-out of an idle association, in seconds; None is without end."""
        return self._state.timeouts.idle

    def is_alive(self) -> bool:
        """Whether the transport connection is open."""
        return not self._state.finished.is_set()

    def stop_dul(self) -> bool:
        """Whether the association was over; it is not ended."""
        link = self._state.link
        return link is None or link.phase not in (Phase.NEW, Phase.ESTABLISHED)

    def kill_dul(self) -> None:
        """End the association and close its connection."""
        self._assoc.kill()


class DIMSEServiceProvider(_Provider):
    """The messages of an association (PS3.7)."""

    @property
    def dimse_timeout(self) -> float | None:
        """The time-out of waiting for a message, in seconds; None is without end."""
        return self._state.timeouts.message

    @property
    def maximum_pdu_size(self) -> int:
        """The largest PDU-length that the peer takes, in bytes; 0 is no limit."""
        peer = self._assoc.acceptor if self._assoc.is_requestor else self._assoc.requestor
        return peer.maximum_length or 0

    def send_msg(self, primitive: DIMSEPrimitive | C_CANCEL, context_id: int) -> None:
        """Send a message that has no response: a response itself, or a C-CANCEL.

        Parameters
        ----------
        primitive
            Of `dimse_primitives`.
        context_id
            The presentation context to send it on.

        Raises
        ------
        ValueError
            If it is another request; those are sent by the ``send_`` methods of the association.
        AssociationError, NetworkError
            If the association is over.
        """
        message = primitive.to_message(context_id)
        if not message.type.is_response and "MessageID" in message.command:
            raise ValueError(f"a {message.type.name} is sent by the association's own method")
        self._state.live().interject(message)
