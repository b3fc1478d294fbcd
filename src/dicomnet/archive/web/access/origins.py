"""Which web pages of other addresses a browser lets use DICOMweb here (CORS), as it is configured."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..resources import is_dicomweb
from .policy import WebPolicy

# What such a page may do, what it may say besides, and what it may read of a response.
_METHODS = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
_TELLS = "Accept, Authorization, Content-Type, If-Match, If-None-Match, If-Range, Range"
_READS = "Content-Location, Content-Range, ETag, Location, Retry-After, Warning"
# How long a browser may remember that, in seconds.
_REMEMBERED = "600"


class Origins:
    """An application for whose responses it says which pages may read them.

    Parameters
    ----------
    application
        The application.

    Attributes
    ----------
    policy
        Which pages; may be replaced at any time.
    """

    def __init__(self, application: ASGIApp) -> None:
        self._application = application
        self.policy = WebPolicy()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        origins = self.policy.origins
        if not origins or not is_dicomweb(scope):
            await self._application(scope, receive, _ForOurselves(send).send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        is_allowed = "*" in origins or origin in origins

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                if "*" not in origins:
                    answer.add_vary_header("Origin")
                if origin and is_allowed:
                    answer["access-control-allow-origin"] = "*" if "*" in origins else origin
                    answer["access-control-expose-headers"] = _READS
            await send(message)

        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            asked = {"access-control-allow-methods": _METHODS, "access-control-allow-headers": _TELLS}
            allowed = {**asked, "access-control-max-age": _REMEMBERED} if is_allowed else {}
            await Response(status_code=204, headers=allowed)(scope, receive, send_with_headers)
        else:
            await self._application(scope, receive, send_with_headers)


class _ForOurselves:
    """A response that no page of another address may as much as show, such as a picture."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def send(self, message: Message) -> None:
        """Take a part of it."""
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).setdefault("cross-origin-resource-policy", "same-origin")
        await self._send(message)
