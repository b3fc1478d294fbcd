"""Who may speak to the node by a browser: the Host of each request, and the Origin of those that change something."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .policy import WebPolicy
from .problems import Problem, problem_response

_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::\d*)?")
# Methods that change nothing (RFC 9110 section 9.2.1).
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))


class Guard:
    """An application that is only asked what no foreign web page has made a browser ask.

    A page of a foreign host cannot read answers, but it can send some requests, and the name of its host can come to
    mean our address (DNS rebinding), so that the browser takes us for that host.

    Parameters
    ----------
    application
        The application.

    Attributes
    ----------
    policy
        Which other hosts and origins may ask; may be replaced at any time.
    """

    def __init__(self, application: ASGIApp) -> None:
        self._application = application
        self.policy = WebPolicy()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        headers = Headers(scope=scope)
        refused = self._refused(scope, headers)
        await (self._application if refused is None else problem_response(refused))(scope, receive, send)

    def _refused(self, scope: Scope, headers: Headers) -> Problem | None:
        host = headers.get("host", "")
        server = scope.get("server")
        if server is not None and _is_loopback(server[0]) and not self._is_local(name_of(host)):
            return Problem(
                421,
                "this node is reached on its own machine only, as localhost; the setting web.hosts names other hosts",
            )
        if scope["method"] in _SAFE or is_same_origin(headers):
            return None
        origins = self.policy.origins
        if "*" in origins or headers.get("origin") in origins:
            return None
        return Problem(
            403, "a web page of another origin may change nothing here, see the setting web.origins"
        )

    def _is_local(self, name: str) -> bool:
        # Without a name, it is no browser; an address is nobody's to turn into another one.
        return not name or name in self.policy.hosts or name == "localhost" or _is_address(name)


def name_of(host: str) -> str:
    """The name or address in a Host header, in lower case and without brackets."""
    found = _HOST.fullmatch(host.strip())
    return host if found is None else found[1].strip("[]").lower().rstrip(".")


def is_same_origin(headers: Headers) -> bool:
    """Whether a request was made by one of our own pages, or by no web page at all."""
    # A page cannot set this field, and the browser knows our origin even where a proxy gives us another Host.
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    # Behind a proxy that speaks TLS, the scheme is another one.
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    return _is_address(address) and ip_address(address).is_loopback
