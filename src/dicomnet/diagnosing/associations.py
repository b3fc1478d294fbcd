"""Associations that are opened to see what a peer says."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..drivers.blocking.link import Link
    from ..exchange.contexts import Context
    from ..peers.target import Target

# How long to find out whether a peer that hung up speaks TLS.
_PROBE_SECONDS = 2.0


def open_association(target: Target, contexts: Iterable[Context]) -> Link:
    """An association with the peer that proposes these contexts, each in one transfer syntax or several.

    Raises
    ------
    NetworkError, AssociationError
        If it cannot be opened.
    """
    from ..drivers.blocking.opening import open_link
    from ..exchange.addresses import PeerAddress, association_request
    from ..exchange.requesting import RequestorHooks

    assert isinstance(target.address, PeerAddress)
    request = association_request(
        target.address,
        target.calling,
        contexts,
        1,
        maximum_length=target.maximum_length,
        identity=target.identity,
    )
    place = target.address.address
    tls = None if target.tls is None else (target.tls, place.host)
    link = open_link(place, request, RequestorHooks(), target.timeouts, tls=tls)
    try:
        link.request(request)
    except BaseException:
        link.close()
        raise
    return link


def release(link: Link) -> None:
    """Release an association; one that is over already is closed."""
    from ..blocking.peer import release_links

    release_links((link,))


def speaks_tls(target: Target) -> bool:
    """Whether the peer speaks TLS, as a handshake tells."""
    import socket
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection(
            (target.address.address.host, target.address.address.port), _PROBE_SECONDS
        ) as sock:
            with context.wrap_socket(sock):
                return True
    except ssl.SSLError as error:
        # A version that we do not take is a version of TLS.
        return "ALERT" in (error.reason or "") or error.reason == "UNSUPPORTED_PROTOCOL"
    except OSError:
        return False
