"""Who may speak to the node by a browser: the Host of each request, and the Origin of those that change something."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ...access import address_in
from ..http.problems import Problem, problem_response
from ..resources import is_dicomweb
from .policy import WebPolicy

# A name or an address, and a port (RFC 9110 section 7.2).
_HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.%a-z]+)\]|(?P<name>[A-Za-z0-9._-]*))(?::\d*)?")
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
        given = headers.getlist("host")
        name = _name_in(given[0].strip()) if given else ""
        if name is None or len(given) > 1 or (not given and scope["http_version"] != "1.0"):
            return Problem(400, "the request needs one header Host, with a name or an address")
        if self._is_foreign(scope, name):
            return Problem(
                421,
                "this node is not reached under this name, but as localhost or by its address; the setting web.hosts"
                " names other hosts",
            )
        if scope["method"] in _SAFE or is_same_origin(headers):
            return None
        origins = self.policy.origins
        if is_dicomweb(scope) and ("*" in origins or headers.get("origin") in origins):
            return None
        return Problem(
            403, "a web page of another origin may change nothing here, see the setting web.origins"
        )

    def _is_foreign(self, scope: Scope, name: str) -> bool:
        """Whether a name may be that of a foreign page, which has come to mean our address."""
        # Without a name, it is no browser; an address is nobody's to turn into another one.
        if not name or name in self.policy.hosts or name == "localhost" or address_in(name) is not None:
            return False
        server = scope.get("server")
        address = None if server is None else address_in(str(server[0]))
        if address is not None and address.is_loopback:
            return True
        # A foreign page has no session, so that what is guarded by one is safe.
        # What is not has names only if somebody says them.
        return self.policy.users is None and bool(self.policy.hosts)


def _name_in(host: str) -> str | None:
    """The name or address in a Host header, in lower case and without brackets; None where it is not valid."""
    found = _HOST.fullmatch(host)
    if found is None or (found["address"] is not None and address_in(found["address"]) is None):
        return None
    return (found["address"] or found["name"]).lower().rstrip(".")


def is_same_origin(headers: Headers) -> bool:
    """Whether a request was made by one of our own pages, or by no web page at all."""
    # A page cannot set this field, and the browser knows our origin even where a proxy gives us another Host.
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origins = headers.getlist("origin")
    if not origins:
        return True
    try:
        # Behind a proxy that speaks TLS, the scheme is another one.
        place = urlsplit(origins[0]).netloc.lower()
    except ValueError:
        return False
    return len(origins) == 1 and place == headers.get("host", "").lower() != ""
