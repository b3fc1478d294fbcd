"""The application that answers requests by HTTP: the union of the routes of the services."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.routing import Mount, Router
from starlette.types import Message, Receive, Scope, Send

from ..holdings import Holdings
from ..terms import Terms
from .bulkdata import BulkDataService
from .frames import FramesService
from .metadata import MetadataService
from .origins import Origins
from .problems import problem_response
from .removing import RemovingService
from .rendered import RenderedService
from .retrieving import RetrievingService
from .service import WebService, WithProcesses
from .storing import StoringService

# Where the services of DICOMweb are.
ROOT = "/dicom-web"
# Answers have patients' data: no cache may keep them, unless a service says that it may; nor is their type guessed.
_HEADERS = {"cache-control": "private, no-store", "x-content-type-options": "nosniff"}


class Application:
    """The ASGI application of a node.

    Parameters
    ----------
    services
        What it consists of.
    """

    def __init__(self, services: Sequence[WebService]) -> None:
        self._services = services
        routes = [route for service in services for route in service.routes]
        self._router = Router([Mount(ROOT, routes=routes)], redirect_slashes=False)
        self._origins = Origins(self._route)

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on."""
        self._origins.policy = terms.web
        for service in self._services:
            service.adopt(terms)

    def begin(self) -> None:
        """Before the first request, in each process that answers."""
        for service in self._services:
            if isinstance(service, WithProcesses):
                service.begin()

    def end(self) -> None:
        """Behind the last request there."""
        for service in self._services:
            if isinstance(service, WithProcesses):
                service.end()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._origins(scope, receive, send_with_headers)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def begin(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        # The router raises what is not found only where it is a part of something.
        scope["app"] = self
        try:
            await self._router(scope, receive, begin)
        except ClientDisconnect:
            return
        except Exception as error:
            if has_begun:
                # The server cuts the response off, so that it is not taken for complete.
                raise
            await problem_response(error)(scope, receive, send)


def application(holdings: Holdings, terms: Terms) -> Application:
    """The application of a node.

    Parameters
    ----------
    holdings
        What it has; there is an index.
    terms
        What it goes by at first.
    """
    services: list[WebService] = [
        RetrievingService(holdings),
        FramesService(holdings),
        MetadataService(holdings),
        BulkDataService(holdings),
        RenderedService(holdings),
        StoringService(holdings),
        RemovingService(holdings),
    ]
    made = Application(services)
    made.adopt(terms)
    return made
