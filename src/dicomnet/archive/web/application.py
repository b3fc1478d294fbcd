"""The application that answers requests by HTTP: the union of the routes of the services."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match, Mount, Route, Router
from starlette.types import Message, Receive, Scope, Send

from ...errors import ServiceRefusal
from ..activity import Activity
from ..audit import EventAction
from ..auditing import AuditTrail
from ..entries import Source
from ..holdings import Holdings
from ..ledger.sessions import Sessions
from ..terms import Terms
from .access.admission import Admission
from .access.auditing import WebAudit, login, refused
from .access.guard import Guard
from .access.login import LoginPage
from .access.origins import Origins
from .dicomweb.bulkdata import BulkDataService
from .dicomweb.capabilities import CapabilitiesService
from .dicomweb.frames import FramesService
from .dicomweb.metadata import MetadataService
from .dicomweb.openapi import OpenApiService
from .dicomweb.removing import RemovingService
from .dicomweb.rendered import RenderedService
from .dicomweb.retrieving import RetrievingService
from .dicomweb.searching import SearchService
from .dicomweb.storing import StoringService
from .dicomweb.uri import UriService
from .http.compression import Compression
from .http.lengths import WithLengths
from .http.problems import CutOff, Problem, problem_response
from .resources import ROOT
from .service import WebService, WithEnd
from .viewer import ViewerService

if TYPE_CHECKING:
    from .page.pages import Pages

_log = logging.getLogger(__name__)

# Answers have patients' data: no cache may keep them, unless a service says that it may; their type is not guessed,
# their address is told to nobody, and no foreign page has one in a frame. What is no page runs and loads nothing.
_HEADERS = {
    "cache-control": "private, no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'self'",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
}
# Browsers show this one by a page of their own, which that would leave without anything.
_PDF = "application/pdf"

# Of the methods that are answered here, those whose requests have no body.
_WITHOUT_BODY = frozenset(("GET", "HEAD", "DELETE", "OPTIONS"))


class Application:
    """The ASGI application of a node.

    Parameters
    ----------
    services
        What it consists of.
    pages
        Those for people; None if there are none.
    description
        Describes it for programs, at a route relative to ``/``.
    sessions
        Gives the sessions of users; it may block.
    trail
        Gives the audit trail of this process.

    Attributes
    ----------
    has_pages
        Whether it has any of those.
    """

    def __init__(
        self,
        services: Sequence[WebService],
        pages: Pages | None,
        description: WebService,
        sessions: Callable[[], Sessions],
        trail: Callable[[], AuditTrail],
    ) -> None:
        self._trail = trail
        self._audit = WebAudit(Compression(self._route), trail)
        self._admission = Admission(
            self._audit,
            sessions,
            lambda name, address, has_failed: login(trail(), name, address, has_failed),
            has_login=pages is not None,
        )
        self.has_pages = pages is not None
        others: list[WebService] = [description, ViewerService()]
        if pages is not None:
            others += [pages, LoginPage(self._admission, sessions, pages.show, self._logged_out)]
        self._services = [*services, *others]
        routes = [route for service in services for route in service.routes]
        self._router = Router(
            [Mount(ROOT, routes=routes), *(route for service in others for route in service.routes)],
            redirect_slashes=False,
        )
        # A browser asks without credentials whether a page of another address may ask.
        self._origins = Origins(self._admission)
        self._guard = Guard(self._origins)
        self._outermost = WithLengths(self._guard)

    def _logged_out(self, name: str, address: str) -> None:
        login(self._trail(), name, address, False, EventAction.LOGOUT)

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on."""
        self._audit.policy = self._guard.policy = self._origins.policy = self._admission.policy = terms.web
        for service in self._services:
            service.adopt(terms)

    def end(self) -> None:
        """Behind the last request there."""
        for service in self._services:
            if isinstance(service, WithEnd):
                service.end()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type") == _PDF:
                    headers["content-security-policy"] = "frame-ancestors 'self'"
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if message["status"] == 403:
                    refused(self._trail(), scope, self._audit.policy)
            await send(message)

        await self._outermost(scope, receive, send_with_headers)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def begin(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        # The router raises what is not found only where it is a part of something.
        scope["app"] = self
        if scope["path"] == ROOT:
            # WADO-URI is asked so (PS3.18 section 9.4).
            scope["path"] += "/"
        asked = dict(scope)
        try:
            self._refuse_body(scope)
            await self._router(scope, receive, begin)
        except (ClientDisconnect, asyncio.CancelledError):
            # Nobody waits for the answer: the client is gone, or all ends.
            return
        except Exception as error:  # noqa: BLE001
            if not has_begun:
                response = problem_response(error)
                if response.status_code == 405:
                    # Routes with the same path and other methods do not know of each other.
                    response.headers["allow"] = ", ".join(sorted(_allowed(self._router.routes, asked)))
                    if _has_body(asked):
                        # Nobody waits for the rest of it.
                        response.headers["connection"] = "close"
                await response(scope, receive, send)
                return
            # The server cuts the response off where it is not complete, so that it is not taken for that.
            is_known = isinstance(error, CutOff | ServiceRefusal)
            _log.error("a response by HTTP was cut off: %s", error, exc_info=None if is_known else error)

    def _refuse_body(self, scope: Scope) -> None:
        """Refuse a request with a body of which nobody reads one."""
        method = scope["method"]
        # What is not answered here at all is refused for that.
        if _has_body(scope) and method in _WITHOUT_BODY & _allowed(self._router.routes, scope):
            raise Problem(
                413, f"a request with the method {method} has no body here", {"connection": "close"}
            )


def _has_body(scope: Mapping[str, Any]) -> bool:
    headers = Headers(raw=scope["headers"])
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _allowed(routes: Sequence[BaseRoute], scope: Scope) -> set[str]:
    """The methods that are answered at the address of a request (RFC 9110 section 10.2.1)."""
    found: set[str] = set()
    for route in routes:
        match, child = route.matches(scope)
        if match is not Match.NONE:
            if isinstance(route, Mount):
                found |= _allowed(route.routes, {**scope, **child}) | {"OPTIONS"}
            elif isinstance(route, Route):
                found |= route.methods or set()
    return found


def application(holdings: Holdings, terms: Terms, ae_title: str, activity: Activity) -> Application:
    """The application of a node.

    Parameters
    ----------
    holdings
        What it has; there is an index.
    terms
        What it goes by at first.
    ae_title
        The AE title that it calls others with.
    activity
        What goes on in it.
    """
    retrieving, rendered = RetrievingService(holdings), RenderedService(holdings)
    services: list[WebService] = [
        SearchService(holdings, rendered.prepare),
        retrieving,
        FramesService(holdings),
        MetadataService(holdings),
        BulkDataService(holdings),
        rendered,
        StoringService(holdings, partial(_refused, activity)),
        RemovingService(holdings),
        UriService(holdings, retrieving, rendered),
    ]
    services.append(CapabilitiesService([route for each in services for route in each.routes]))
    openapi = OpenApiService([route for each in services for route in each.routes])
    ledger = holdings.ledger
    assert ledger is not None
    made = Application(
        services,
        _pages(holdings, ae_title, activity, rendered.prepare),
        openapi,
        lambda: ledger.opened.sessions,
        lambda: holdings.audit,
    )
    made.adopt(terms)
    return made


def _refused(activity: Activity, source: Source, instance: str, refusal: ServiceRefusal) -> None:
    reason = refusal.comment or f"status 0x{refusal.status:04X}"
    activity.refused(reason, address=source.address, instance=instance)


def _pages(
    holdings: Holdings, ae_title: str, activity: Activity, prepare: Callable[[], None]
) -> Pages | None:
    """The pages for people, where what they take is installed."""
    if find_spec("jinja2") is None:
        _log.info("there are no pages for people: run pip install 'dicomnet[web]'")
        return None
    from .page.pages import Pages

    return Pages(holdings, ae_title, activity, prepare)
