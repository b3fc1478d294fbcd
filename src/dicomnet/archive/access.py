"""Who may do what at a node: rules for peers by AE title, address and certificate."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from ..upper_layer.negotiation import Acceptor, items_of
from ..values import frozen, replace
from ..wire.items import RoleSelection
from ..wire.pdu import AssociateRQ

_log = logging.getLogger(__name__)

# The operations that rules allow, each with the DIMSE operation that it is.
OPERATIONS: Mapping[str, str] = {
    "echo": "C-ECHO",
    "store": "C-STORE",
    "find": "C-FIND",
    "get": "C-GET",
    "move": "C-MOVE",
}
EVERYTHING = frozenset(OPERATIONS.values())
# The status of a request that its sender may not make (PS3.7 Annex C.5.5).
NOT_AUTHORIZED = 0x0124
C_STORE, C_GET = OPERATIONS["store"], OPERATIONS["get"]

Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network
# How a distinguished name abbreviates its attributes (RFC 4514 section 3); others are written out.
_SHORT = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}


@frozen
class Rule:
    """A rule: which peers it fits, and what they may do.

    Parameters
    ----------
    title
        The AE title that the peer calls itself, in Latin-1, UTF-8 or Shift JIS where it is not ASCII; None for any.
    networks
        Its addresses; None for any.
    certificate
        One of the names in its certificate, see `names_in`; None for any peer, also without certificate.
    allowed
        DIMSE operations, such as C-STORE.
    """

    title: str | None
    networks: tuple[_Network, ...] | None
    certificate: str | None
    allowed: frozenset[str]

    def fits(self, title: str, address: Address | None, names: frozenset[str]) -> bool:
        """Whether it is for a peer."""
        return (
            (self.title is None or title in forms_of(self.title))
            and (self.certificate is None or self.certificate in names)
            and (
                self.networks is None
                or (
                    address is not None
                    and any(address.version == each.version and address in each for each in self.networks)
                )
            )
        )


@frozen
class Access:
    """The rules of a node, of which the first that fits a peer counts.

    Parameters
    ----------
    rules
        In their order. None means that there are no rules, and everybody may do everything.
    """

    rules: tuple[Rule, ...] | None = None

    def allowed(self, title: str, address: str, names: frozenset[str] = frozenset()) -> frozenset[str]:
        """The DIMSE operations that a peer may have.

        Parameters
        ----------
        title
            The calling AE title, a character for each byte, without blanks around it.
        address
            Its host.
        names
            What its certificate says, see `names_in`; empty without a verified one.
        """
        if self.rules is None:
            return EVERYTHING
        found = address_in(address)
        return next((each.allowed for each in self.rules if each.fits(title, found, names)), frozenset())


EVERYBODY = Access()


@lru_cache
def forms_of(title: str) -> frozenset[str]:
    """How a title may come: titles of peers are read as Latin-1, in which each byte is a character."""
    forms = {title}
    for codec in ("latin-1", "utf-8", "shift_jis"):
        with suppress(UnicodeEncodeError):
            forms.add(title.encode(codec).decode("latin-1"))
    return frozenset(forms)


def limited(
    acceptor: Acceptor, operations: Mapping[str, str], allowed: frozenset[str], request: AssociateRQ
) -> Acceptor:
    """What an acceptor supports for a peer that may not have every operation.

    Parameters
    ----------
    operations
        The DIMSE operation of each supported SOP class; of others it is C-STORE.
    allowed
        Those that the peer may have.
    request
        The A-ASSOCIATE-RQ. Who may not store, but get, may propose storage classes in which it is the SCP.
    """
    if allowed >= EVERYTHING:
        return acceptor
    receives: frozenset[str] = frozenset()
    if C_GET in allowed and C_STORE not in allowed:
        receives = frozenset(
            each.sop_class for each in items_of(request.user_items, RoleSelection) if each.scp_role
        )
    supported = dict(acceptor.supported) | {
        uid: replace(acceptor.supported[uid], scu_role=False, scp_role=True)
        for uid in receives
        if operations.get(uid) == C_STORE
    }

    def refuses(uid: str) -> bool:
        operation = operations.get(uid, C_STORE)
        return operation not in allowed and not (operation == C_STORE and uid in receives)

    return replace(acceptor, supported=supported, refuses=refuses)


def networks_of(place: str) -> tuple[_Network, ...]:
    """The addresses that a rule means: an address, a network, or those that a host name has now.

    A name that is not known has none, which the log says.
    """
    try:
        return (ip_network(place),)
    except ValueError:
        pass
    try:
        rows = socket.getaddrinfo(place, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        _log.warning("access: the host name %s is not known; its rule fits nobody", place)
        return ()
    return tuple(dict.fromkeys(ip_network(str(row[4][0]).partition("%")[0]) for row in rows))


def names_in(certificate: Mapping[str, Any]) -> frozenset[str]:
    """The names that a certificate is bound to: subject, common names, and subject alternative names.

    The subject alone has equals signs, so that no other name can be taken for one.

    Parameters
    ----------
    certificate
        As `ssl.SSLSocket.getpeercert` gives it, which is empty where it was not verified.
    """
    subject: Sequence[Sequence[tuple[str, str]]] = certificate.get("subject", ())
    alternatives: Iterable[tuple[str, str]] = certificate.get("subjectAltName", ())
    common = (value for part in subject for kind, value in part if kind == "commonName")
    others = (value for _, value in alternatives if isinstance(value, str))
    names = {each for each in (*common, *others) if "=" not in each}
    if subject:
        names.add(
            ",".join("+".join(f"{_SHORT.get(k, k)}={_escaped(v)}" for k, v in part) for part in subject)
        )
    return frozenset(names)


def _escaped(value: str) -> str:
    """A value of a distinguished name, with what separates values made plain (RFC 4514 section 2.4)."""
    return "".join(f"\\{each}" if each in ',+"\\<>;=' else each for each in value)


def address_in(host: str) -> Address | None:
    """The address that a text is; None if it is none."""
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    # A socket for both families shows peers of IPv4 so.
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
