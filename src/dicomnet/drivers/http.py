"""What both drivers share of HTTP: requests, heads of responses, and what failures of httpx mean.

httpx is loaded where the first connection is made: most programs have no peer that speaks HTTP, and some have no httpx.
Its clients are passed over for its transports, as they would log each address with the names of patients in it, follow
redirects with whatever is sent, and keep cookies.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable, Iterator, Mapping
from time import monotonic
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..errors import (
    ConnectionFailed,
    ConnectionLost,
    DeadlineExceeded,
    DicomnetError,
    NetworkError,
    ProtocolError,
)
from ..values import field, frozen
from .deadline import Deadline, Timeouts
from .tls import refused_later, tls_error
from .transport import Address, connect_reason

if TYPE_CHECKING:
    import httpx

# The most time that a request which bears many objects gives its response, as a multiple of that for a message.
_MOST_PATIENCE = 20


# Content codings beyond gzip and deflate (RFC 9110 section 8.4.1), and the libraries by which httpx reads them.
_COMPRESSIONS: dict[str, tuple[str, ...]] = {
    "br": ("brotli", "brotlicffi"),
    "zstd": ("zstandard",),
    "compress": (),
    "x-compress": (),
    "x-gzip": (),
}


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


class Connections:
    """What the `Client`s of both drivers have in common: connections to one host, made when a request needs them.

    Parameters
    ----------
    place
        The host, for which the environment may name a proxy.
    tls
        A client's context, None for plain TCP.
    timeouts
        One deadline a stage.
    connections
        How many there may be.

    Raises
    ------
    HTTPMissing
        If httpx is not installed.
    ConnectionFailed
        If the proxy that the environment names cannot be used.
    """

    # The class of httpx that has them.
    TRANSPORT: ClassVar[str]

    def __init__(
        self, place: Address, tls: ssl.SSLContext | None, timeouts: Timeouts, connections: int
    ) -> None:
        self._place = place
        self.timeouts = timeouts
        self._is_secure = tls is not None
        self._is_answered = False
        self._proxy = _proxy(place, "http" if tls is None else "https")
        httpx = load()
        try:
            self._transport: Any = getattr(httpx, self.TRANSPORT)(
                limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
                verify=False if tls is None else tls,
                http2=tls is not None and _has_http2(),
                proxy=self._proxy,
            )
        except ImportError:
            cause = "the environment names a SOCKS proxy, for which pip install 'httpx[socks]' is needed"
            raise ConnectionFailed(place.host, place.port, cause) from None

    def _answered(self, asked: httpx.Request, answer: httpx.Response) -> httpx.Response:
        self._is_answered = True
        # httpx wants to know it while the body is read.
        answer.request = asked
        return answer

    def unanswered(self, error: Exception, request: Request) -> NetworkError | ProtocolError:
        """What it means that the head of a response has not come."""
        # Who ends a stream of HTTP/2, or says why it goes, is beyond the handshake.
        is_behind = self._is_answered or str(error).startswith("<")
        is_first = self._is_secure and not is_behind and request.body is None
        return self.failure(error, is_first=is_first)

    def failure(self, error: Exception, *, is_first: bool = False) -> NetworkError | ProtocolError:
        """What an error of httpx is to us, or one of the system that it lets through.

        Parameters
        ----------
        is_first
            Whether it comes right behind a handshake of TLS, which in TLS 1.3 may have failed for want of a
            certificate.
        """
        httpx = load()
        place, timeouts = self._place, self.timeouts
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
            cause = connect_reason(system or error)
            if self._proxy is not None:
                cause = f"its proxy {self._proxy.url.host} is not reached: {cause}"
            return ConnectionFailed(place.host, place.port, cause)
        if (is_first or secured is not None) and (
            late := refused_later(secured, is_answered=not is_first)
        ) is not None:
            return late
        if isinstance(error, httpx.RemoteProtocolError) and not _is_end(error):
            return ProtocolError(f"the peer does not speak HTTP as it should ({error})")
        if isinstance(error, httpx.DecodingError):
            return ProtocolError("the peer's answer cannot be decompressed")
        return ConnectionLost(connect_reason(system) if system is not None else str(error))


class Incoming:
    """What the `Response`s of both drivers have in common: one whose body is read piece by piece.

    Parameters
    ----------
    response
        As httpx has it.
    connections
        Over which it comes.

    Attributes
    ----------
    head
        What came before the body.

    Raises
    ------
    ProtocolError
        If the body is compressed in a way that cannot be read.
    """

    def __init__(self, response: httpx.Response, connections: Connections) -> None:
        _require_readable(response)
        self.head: Head = head_of(response)
        self._response = response
        self._connections = connections
        timeouts = connections.timeouts
        self._deadline = Deadline("message", timeouts.message, timeouts.progress)
        # When something was read last.
        self._read_at = monotonic()


def _proxy(place: Address, scheme: str) -> httpx.Proxy | None:
    """The proxy that the environment names for a host; what goes to this machine passes none, as it may be secret."""
    from urllib.request import getproxies

    named = getproxies()
    text = named.get(scheme) or named.get("all")
    if not text or _is_direct(place):
        return None
    library = load()
    try:
        found: httpx.Proxy = library.Proxy(text if "://" in text else f"http://{text}")
    except (ValueError, library.InvalidURL):
        # It may have a password, and is not repeated.
        cause = f"what the environment names as proxy for {scheme} is the address of none"
        raise ConnectionFailed(place.host, place.port, cause) from None
    return found


def _is_direct(place: Address) -> bool:
    """Whether the environment excepts a host from its proxies, by its name or with the port."""
    from urllib.request import proxy_bypass

    host = f"[{place.host}]" if ":" in place.host else place.host
    return bool(place.is_loopback or proxy_bypass(place.host) or proxy_bypass(f"{host}:{place.port}"))


def _has_http2() -> bool:
    return _is_there("h2")


def _is_there(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def _require_readable(response: httpx.Response) -> None:
    """Raise ProtocolError for a body that is compressed in a way that httpx has no library for, and would pass on."""
    named = [each.strip().lower() for each in response.headers.get("content-encoding", "").split(",")]
    unread = [
        each for each in named if each in _COMPRESSIONS and not any(map(_is_there, _COMPRESSIONS[each]))
    ]
    if unread:
        raise ProtocolError(f"the peer's answer is compressed as {unread[0]}, which was not asked for")


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
    library = load()
    try:
        made: httpx.Request = library.Request(
            request.method, request.url, headers=headers, content=content, extensions=extensions
        )
    except library.InvalidURL as error:
        raise ProtocolError(f"the address of the request cannot be asked for: {error}") from None
    return made


def head_of(response: httpx.Response) -> Head:
    """The head of a response."""
    version = response.extensions.get("http_version", b"HTTP/1.1").decode("ascii", "replace")
    return Head(
        response.status_code, {name.lower(): value for name, value in response.headers.items()}, version
    )


def _is_end(error: Exception) -> bool:
    text = str(error).lower()
    return any(word in text for word in ("disconnected", "closed", "terminated", "stream", "goaway"))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
