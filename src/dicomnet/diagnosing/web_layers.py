"""The layers of a DICOMweb service, as `dicomnet diagnose` checks them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import DeadlineExceeded, DicomnetError, HTTPRefusal, NetworkError, TLSFailed
from ..exchange.reasons import reason
from ..exchange.web_addresses import WebAddress
from .layers import Finding, LayerFailed, Probe, connect, handshake, resolve, tls_advice

if TYPE_CHECKING:
    from ..drivers.http import Head


def _ask_nobody(probe: Probe) -> Finding:
    """Whether there is HTTP at all: any answer will do, to a request that says nothing of who asks."""
    head = _head(probe)
    words = head.version
    server = head.headers.get("server", "")
    if server:
        words += f", {server}"
    values = {"version": head.version, "status": head.status, "server": server or None}
    return Finding(f"{words}; status {head.status} to who says nothing of himself", values)


def _head(probe: Probe) -> Head:
    from .._version import __version__
    from ..drivers.blocking.http import Client
    from ..drivers.http import Request

    target = probe.target
    assert isinstance(target.address, WebAddress)
    client = Client(target.address.address, target.tls, target.timeouts, 1)
    try:
        headers = (("Accept", "application/dicom+json"), ("User-Agent", f"dicomnet/{__version__}"))
        response = client.send(Request("GET", f"{target.address.url}/studies?limit=1", headers))
        response.close()
        return response.head
    except TLSFailed as error:
        raise LayerFailed(tls_advice(error.cause)) from error
    except DeadlineExceeded as error:
        raise LayerFailed(f"{error}; something listens there, but it may not speak HTTP") from error
    except NetworkError as error:
        advice = "" if target.tls is not None else "; the peer may speak TLS on this port, which https is for"
        raise LayerFailed(f"{error}{advice}") from error
    except DicomnetError as error:
        raise LayerFailed(reason(error)) from error
    finally:
        client.close()


def _search(probe: Probe) -> Finding:
    from ..blocking.peer import Peer

    target = probe.target
    assert isinstance(target.address, WebAddress)
    try:
        with Peer(
            target.address,
            tls=target.tls,
            timeouts=target.timeouts,
            credentials=target.credentials,
            may_be_read=target.may_be_read,
        ) as peer:
            seconds = peer.echo()
    except HTTPRefusal as error:
        advice = _ADVICE.get(error.code, "")
        raise LayerFailed(f"{error}; {advice}" if advice else str(error)) from error
    except DicomnetError as error:
        raise LayerFailed(reason(error)) from error
    except ValueError as error:
        raise LayerFailed(str(error)) from error
    return Finding("the service answers a query in DICOM JSON", {"seconds": seconds})


_ADVICE = {
    401: "see --token-file and --user",
    403: "ask whoever runs it for the right to search",
    404: "the path may be wrong: often it is /dicom-web, /dicomweb, /rs or /wado-rs",
}
# The check of each layer, in order, as those of an association.
WEB_LAYERS: dict[str, Callable[[Probe], Finding | None]] = {
    "name": resolve,
    "TCP": connect,
    "TLS": handshake,
    "HTTP": _ask_nobody,
    "QIDO-RS": _search,
}
