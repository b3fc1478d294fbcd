"""What both drivers share of HTTP: requests, heads of responses, and what failures of httpx mean.

httpx is loaded where the first connection is made: most programs have no peer that speaks HTTP, and some have no httpx.
Its clients are passed over for its transports, as they would log each address with the names of patients in it, follow
redirects with whatever is sent, and keep cookies.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import (
    ConnectionFailed,
    ConnectionLost,
    DeadlineExceeded,
    DicomnetError,
    NetworkError,
    ProtocolError,
)
from ..values import field, frozen
from .deadline import Timeouts
from .tls import refused_later, tls_error
from .transport import Address, connect_reason

if TYPE_CHECKING:
    import httpx

# The most time that a request which bears many objects gives its response, as a multiple of that for a message.
_MOST_PATIENCE = 20


class HTTPMissing(DicomnetError):
    """The library that speaks HTTP is not installed."""

    def __str__(self) -> str:
        return "httpx, which DICOMweb needs, is not installed; run pip install 'dicomnet[web]'"


class Body(Protocol):
    """The content of a request. It can be sent more than once."""

    @property
    def length(self) -> int:
        """How many bytes it has."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """All of it, read while it is sent. What this raises ends the request."""
        ...


@frozen
class Request:
    """A request of HTTP.

    Parameters
    ----------
    method
        Such as ``GET``.
    url
        The whole address, with what has to be encoded in it encoded.
    headers
        Names and values; they may have secrets.
    body
        The content, None for none.
    patience
        For how many messages' time the response is waited for.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: Body | None = None
    patience: int = 1


@frozen
class Head:
    """What comes before the body of a response.

    Parameters
    ----------
    status
        The status code.
    headers
        The fields by their names in lower case; several of one name are joined by commas.
    version
        Such as ``HTTP/2``.
    """

    status: int
    headers: Mapping[str, str]
    version: str = "HTTP/1.1"


def load() -> ModuleType:
    """httpx; raises HTTPMissing."""
    try:
        import httpx
    except ModuleNotFoundError as error:
        raise HTTPMissing() from error
    # At debug level it writes the fields of heads, tokens among them.
    logging.getLogger("hpack").setLevel(logging.INFO)
    return httpx


def transport_options(place: Address, tls: ssl.SSLContext | None, connections: int) -> dict[str, Any]:
    """How a transport of httpx is made.

    Parameters
    ----------
    place
        The host that is asked, for which the environment may name a proxy.
    tls
        A client's context, None for plain TCP.
    connections
        How many there may be.
    """
    from urllib.request import getproxies, proxy_bypass

    httpx = load()
    options: dict[str, Any] = {
        "limits": httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        "verify": False if tls is None else tls,
        "http2": tls is not None and _has_http2(),
    }
    proxy = getproxies().get("http" if tls is None else "https")
    if proxy and not proxy_bypass(place.host):
        options["proxy"] = httpx.Proxy(proxy)
    return options


def _has_http2() -> bool:
    from importlib.util import find_spec

    return find_spec("h2") is not None


def made(request: Request, timeouts: Timeouts, content: Iterable[bytes] | Any) -> httpx.Request:
    """A request as httpx has it.

    Parameters
    ----------
    content
        Gives the body, None for none.
    """
    message = timeouts.message
    patient = None if message is None else message * min(request.patience, _MOST_PATIENCE)
    headers = list(request.headers)
    if request.body is not None:
        headers.append(("Content-Length", str(request.body.length)))
    extensions = {
        "timeout": {"connect": timeouts.connect, "read": patient, "write": message, "pool": None},
    }
    made: httpx.Request = load().Request(
        request.method, request.url, headers=headers, content=content, extensions=extensions
    )
    return made


def head_of(response: httpx.Response) -> Head:
    """The head of a response."""
    version = response.extensions.get("http_version", b"HTTP/1.1").decode("ascii", "replace")
    return Head(
        response.status_code, {name.lower(): value for name, value in response.headers.items()}, version
    )


def failure(
    error: Exception, place: Address, timeouts: Timeouts, *, is_first: bool = False
) -> NetworkError | ProtocolError:
    """What an error of httpx is to us, or one of the system that it lets through.

    Parameters
    ----------
    is_first
        Whether it comes right behind a handshake of TLS, which in TLS 1.3 may have failed for want of a certificate.
    """
    httpx = load()
    causes = list(_causes(error))
    secured = next((each for each in causes if isinstance(each, ssl.SSLError)), None)
    system = next((each for each in causes if isinstance(each, OSError) and each.errno), None)
    if isinstance(error, httpx.ConnectTimeout):
        return DeadlineExceeded("connect", timeouts.connect)
    if isinstance(error, httpx.TimeoutException):
        return DeadlineExceeded("message", timeouts.message)
    if isinstance(error, httpx.ProxyError):
        return ConnectionFailed(place.host, place.port, f"the proxy refuses: {error}")
    if isinstance(error, httpx.ConnectError):
        if secured is not None:
            return tls_error(secured)
        return ConnectionFailed(place.host, place.port, connect_reason(system or error))
    if (is_first or secured is not None) and (
        late := refused_later(secured, is_answered=not is_first)
    ) is not None:
        return late
    if isinstance(error, httpx.RemoteProtocolError) and not _is_end(error):
        return ProtocolError(f"the peer does not speak HTTP as it should ({error})")
    if isinstance(error, httpx.DecodingError):
        return ProtocolError("the peer's answer cannot be decompressed")
    return ConnectionLost(connect_reason(system) if system is not None else str(error))


def _is_end(error: Exception) -> bool:
    text = str(error).lower()
    return any(word in text for word in ("disconnected", "closed", "terminated", "stream", "goaway"))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
