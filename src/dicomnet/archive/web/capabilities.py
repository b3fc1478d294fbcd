"""What the service can do, in a form that programs read (PS3.18 section 8.9 and Annex H)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from ...values import mutable
from ..terms import Terms
from .negotiation import Offer, chosen, ranges_of
from .resources import base_url

_WADL, _JSON = Offer("application/vnd.sun.wadl+xml"), Offer("application/json")
_XML = Offer("application/xml")
_NAMESPACE = "http://wadl.dev.java.net/2009/02"
# Methods that are of HTTP and not of the services.
_LEFT_OUT = frozenset(("HEAD", "OPTIONS"))
# The last part of a path where a GET is a search, and the parameters that each search has (section 8.3.4).
_SEARCHES = frozenset(("studies", "series", "instances"))
_PARAMETERS = {
    "limit": "xs:nonNegativeInteger",
    "offset": "xs:nonNegativeInteger",
    "fuzzymatching": "xs:boolean",
    "emptyvaluematching": "xs:boolean",
    "multiplevaluematching": "xs:boolean",
    "includefield": "xs:string",
}


@mutable
class _Resource:
    """A part of a path, what can be done there, and what is below."""

    path: str
    methods: list[str]
    below: dict[str, _Resource]

    def at(self, parts: Sequence[str]) -> _Resource:
        """What is below at a path, made if there is nothing yet."""
        if not parts:
            return self
        first, *others = parts
        return self.below.setdefault(first, _Resource(first, [], {})).at(others)


class _OptionsRoute(Route):
    """A route of all paths for one method, which is no reason to say that others are not allowed there."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return super().matches(scope) if scope["method"] == "OPTIONS" else (Match.NONE, {})


class CapabilitiesService:
    """The service that describes the others.

    Parameters
    ----------
    routes
        Theirs.
    """

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._root = _Resource("", [], {})
        for route in routes:
            if isinstance(route, Route):
                found = self._root.at(route.path.strip("/").split("/"))
                found.methods = sorted({*found.methods, *(route.methods or ())} - _LEFT_OUT)
        self.routes: list[BaseRoute] = [
            Route("/capabilities", self._describe, methods=["GET"]),
            _OptionsRoute("/{path:path}", self._describe, methods=["OPTIONS"]),
        ]

    def adopt(self, terms: Terms) -> None:
        """Go by other terms, which say nothing of this."""

    async def _describe(self, request: Request) -> Response:
        offer = chosen(ranges_of(request), (_WADL, _JSON, _XML))
        base = base_url(request)
        if offer is _JSON:
            return JSONResponse(
                {"base": base, "resources": [_model(each) for each in self._root.below.values()]}
            )
        body = "".join(_document(base, self._root))
        return Response(body, headers={"content-type": offer.kind})


def _is_search(resource: _Resource, method: str) -> bool:
    return method == "GET" and resource.path in _SEARCHES


def _model(resource: _Resource) -> dict[str, Any]:
    return {
        "path": resource.path,
        "methods": [
            {"name": method, **({"parameters": list(_PARAMETERS)} if _is_search(resource, method) else {})}
            for method in resource.methods
        ],
        "resources": [_model(each) for each in resource.below.values()],
    }


def _document(base: str, root: _Resource) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>\n'
    yield f'<application xmlns={quoteattr(_NAMESPACE)} xmlns:xs="http://www.w3.org/2001/XMLSchema">'
    yield f"<resources base={quoteattr(base)}>"
    for each in root.below.values():
        yield from _element(each)
    yield "</resources></application>\n"


def _element(resource: _Resource) -> Iterator[str]:
    yield f"<resource path={quoteattr(resource.path)}>"
    if resource.path.startswith("{"):
        name = resource.path.strip("{}").partition(":")[0]
        yield f'<param name={quoteattr(name)} style="template" type="xs:string"/>'
    for method in resource.methods:
        yield f"<method name={quoteattr(method)}>"
        if _is_search(resource, method):
            yield "<request>"
            for name, kind in _PARAMETERS.items():
                yield f'<param name={quoteattr(name)} style="query" type={quoteattr(kind)}/>'
            yield "</request>"
        yield "</method>"
    for each in resource.below.values():
        yield from _element(each)
    yield "</resource>"
