"""Peers by AE title and transport address, and the request for an association with one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .._version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from ..drivers.transport import Address
from ..upper_layer.negotiation import identification_items
from ..values import frozen
from ..wire.fields import ae_title_bytes
from ..wire.items import (
    AsynchronousOperationsWindow,
    ProposedContext,
    RoleSelection,
    UserIdentityRQ,
    UserItem,
)
from ..wire.pdu import AssociateRQ
from .contexts import Context

# The PDU-length that we announce: large enough for a CT slice in one piece, and no memory is held for it.
MAXIMUM_LENGTH = 3 << 18


@frozen
class PeerAddress:
    """A peer's AE title and transport address.

    Parameters
    ----------
    ae_title
        The called AE title.
    address
        Host and port.
    """

    ae_title: str
    address: Address

    @classmethod
    def parse(cls, text: str) -> PeerAddress:
        """From ``[AET@]host:port``, an IPv6 address in brackets.

        Raises
        ------
        ValueError
            If it is not of that form.
        """
        title, at, place = text.rpartition("@")
        host, colon, port = place.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"{text!r}: an IPv6 address must be in brackets, as in [::1]:11112")
        is_number = port.isascii() and port.isdecimal()
        if not colon or not host or not is_number or not 1 <= int(port) <= 65535:
            raise ValueError(
                f"{text!r} is not a peer; write [AET@]host:port, for instance PACS@127.0.0.1:11112"
            )
        title = title if at else "ANY-SCP"
        ae_title_bytes(title, "the called AE title")
        return cls(title, Address(host, int(port)))

    def __str__(self) -> str:
        host = f"[{self.address.host}]" if ":" in self.address.host else self.address.host
        return f"{self.ae_title}@{host}:{self.address.port}"


def association_request(
    peer: PeerAddress,
    calling: str,
    pairs: Iterable[Context],
    window: int,
    roles: Mapping[str, tuple[bool, bool]] | None = None,
    performed: int = 1,
    maximum_length: int = MAXIMUM_LENGTH,
    identity: UserIdentityRQ | None = None,
) -> AssociateRQ:
    """An A-ASSOCIATE-RQ that proposes these abstract syntaxes, each with its transfer syntaxes.

    Parameters
    ----------
    window
        How many operations are wanted outstanding; 1 proposes nothing.
    roles
        By abstract syntax, whether the role of SCU and that of SCP are wanted. Without an entry the requestor is SCU.
    performed
        How many operations the peer may have outstanding here.
    maximum_length
        The largest PDU-length of a P-DATA-TF that the peer may send, in bytes.
    identity
        Who we say to be, None for nobody.
    """
    items: tuple[UserItem, ...] = identification_items(
        maximum_length, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
    )
    if (window, performed) != (1, 1):
        items += (AsynchronousOperationsWindow(window, performed),)
    # Sub-items go in increasing order of their types.
    items += tuple(RoleSelection(uid, scu, scp) for uid, (scu, scp) in (roles or {}).items())
    if identity is not None:
        items += (identity,)
    contexts = tuple(
        ProposedContext(2 * index + 1, abstract, transfer) for index, (abstract, transfer) in enumerate(pairs)
    )
    return AssociateRQ(peer.ae_title, calling, contexts, items)
