"""The layers that an association and HTTP have in common, as `dicomnet diagnose` checks them: name, TCP, TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..values import frozen, mutable

if TYPE_CHECKING:
    import ssl

    from ..drivers.blocking.link import Link
    from ..peers.target import Target

_UNTRUSTED = "no authority that we trust has issued it; give the certificate of its authority with --tls-ca"
# Advice on a certificate, by the number of OpenSSL's verification error.
CERTIFICATE_ADVICE = {
    9: "it is not valid yet; compare the clocks of both machines",
    10: "it has expired, and the peer needs a new one",
    18: "it is self-signed; give it with --tls-ca if it is the right one",
    19: _UNTRUSTED,
    20: _UNTRUSTED,
    21: _UNTRUSTED,
    62: "it is for another name; call the peer by a name that is in its certificate",
    64: "it is for another address; call the peer by a name that is in its certificate",
}


@frozen
class Finding:
    """The result of checking a layer.

    Parameters
    ----------
    detail
        The result in words.
    values
        Its values by name, for JSON.
    """

    detail: str
    values: dict[str, Any]


class LayerFailed(Exception):
    """A layer does not work; the text says why, and what to do about it."""


@mutable
class Probe:
    """What the earlier layers found and the later ones need."""

    target: Target
    addresses: list[tuple[Any, ...]]
    link: Link | None = None


def resolve(probe: Probe) -> Finding:
    """Look up the name."""
    import socket

    from ..drivers.transport import connect_reason, encoded_host

    peer = probe.target.address.address
    try:
        rows = socket.getaddrinfo(encoded_host(peer.host), peer.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise LayerFailed(
            f"{peer.host}: {connect_reason(error)}; check the name and the name servers, or give the IP address"
        ) from error
    probe.addresses = list(rows)
    addresses = list(dict.fromkeys(str(row[4][0]) for row in rows))
    detail = (
        f"{peer.host} is {', '.join(addresses)}" if addresses != [peer.host] else "an IP address is given"
    )
    return Finding(detail, {"addresses": addresses})


def connect(probe: Probe) -> Finding:
    """Try each address of the name separately: an association uses the later ones only if the first do not answer."""
    outcomes: dict[str, str] = {}
    for row in probe.addresses:
        outcomes.setdefault(str(row[4][0]), _connect_to(row, probe.target.timeouts.connect))
    port = probe.target.address.address.port
    tried = "; ".join(f"{address} port {port}: {outcome}" for address, outcome in outcomes.items())
    if "connected" not in outcomes.values():
        raise LayerFailed(tried)
    return Finding(tried, {"tried": outcomes})


def _connect_to(row: tuple[Any, ...], limit: float | None) -> str:
    import socket

    from ..drivers.transport import connect_reason

    family, kind, protocol, _, address = row
    with socket.socket(family, kind, protocol) as sock:
        sock.settimeout(limit)
        try:
            sock.connect(address)
        except ConnectionRefusedError:
            return "connection refused: nothing listens there, or a firewall refuses us"
        except TimeoutError:
            return "no answer: the host is down, or a firewall drops what we send"
        except OSError as error:
            return connect_reason(error)
    return "connected"


def handshake(probe: Probe) -> Finding | None:
    """Shake hands; None where there is no TLS."""
    import socket

    target = probe.target
    if target.tls is None:
        return None
    import ssl

    peer = target.address.address
    try:
        with socket.create_connection((peer.host, peer.port), target.timeouts.connect) as sock:
            sock.settimeout(target.timeouts.association)
            with target.tls.wrap_socket(sock, server_hostname=peer.host) as secured:
                return _secured(secured)
    except ssl.SSLCertVerificationError as error:
        advice = CERTIFICATE_ADVICE.get(error.verify_code)
        words = f"the peer's certificate is not accepted ({error.verify_message})"
        raise LayerFailed(f"{words}; {advice}" if advice else words) from error
    except TimeoutError as error:
        raise LayerFailed("the peer did not answer in time; it may not speak TLS on this port") from error
    except OSError as error:
        from ..drivers.tls import tls_error

        raise LayerFailed(tls_advice(tls_error(error).cause)) from error


def _secured(secured: ssl.SSLSocket) -> Finding:
    certificate: dict[str, Any] = secured.getpeercert() or {}
    cipher = secured.cipher()
    expiry = certificate.get("notAfter")
    words = [secured.version() or "", cipher[0] if cipher else ""]
    words.append(f"certificate valid until {expiry}" if expiry else "certificate not checked")
    values = {
        "protocol": secured.version(),
        "cipher": cipher[0] if cipher else None,
        "certificate_expires": expiry,
    }
    return Finding(", ".join(words), values)


def tls_advice(cause: str) -> str:
    """Why TLS failed, and what to do about it."""
    if "does not speak TLS" in cause:
        return f"{cause}; leave out --tls, or use the port on which the peer speaks TLS"
    return f"{cause}; see --tls-cert" if "certificate" in cause else cause
