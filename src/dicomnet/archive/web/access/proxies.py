"""What proxies in front of the node say of a client, and of which of them it is believed."""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.types import Scope

from ...access import Address, address_in
from .policy import WebPolicy

# An address as proxies write it, some of them with a port.
_NODE = re.compile(r"\[([^\[\]]+)\](?::\d+)?|([^:]+):\d+")


def address_of(scope: Scope, policy: WebPolicy) -> str:
    """The address of a client; behind proxies that are trusted, the last one that is none of theirs.

    Each proxy appends the address from which it was asked, and what stands in front of that may be anything. Some have
    a header field of their own for it, behind the one that the client has sent.
    """
    peer = _peer(scope)
    if peer is None:
        client = scope.get("client")
        return str(client[0]) if client else ""
    chain = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")
    while _is_trusted(peer, policy) and chain:
        found = _NODE.fullmatch(said := chain.pop().strip())
        before = address_in(said if found is None else found[1] or found[2])
        if before is None:
            # It is not said, or not by an address.
            break
        peer = before
    return str(peer)


def is_secure(scope: Scope, policy: WebPolicy) -> bool:
    """Whether a client uses TLS, with us or with a proxy that is trusted."""
    said = Headers(scope=scope).getlist("x-forwarded-proto") if is_of_proxy(scope, policy) else []
    return scope["scheme"] == "https" or ",".join(said).rpartition(",")[2].strip().lower() == "https"


def is_of_proxy(scope: Scope, policy: WebPolicy) -> bool:
    """Whether a request comes from a proxy that is trusted."""
    peer = _peer(scope)
    return peer is not None and _is_trusted(peer, policy)


def is_of_this_machine(scope: Scope) -> bool:
    """Whether a request comes from this machine."""
    peer = _peer(scope)
    return peer is not None and peer.is_loopback


def _peer(scope: Scope) -> Address | None:
    client = scope.get("client")
    return None if client is None else address_in(str(client[0]))


def _is_trusted(address: Address, policy: WebPolicy) -> bool:
    return any(address.version == each.version and address in each for each in policy.proxies)
