"""What the service can do, in a form that programs read (PS3.18 section 8.9 and Annex H)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from ....values import mutable
from ...terms import Terms
from ..http.negotiation import Offer, chosen, ranges_of
from ..resources import base_url
from .described import BOOLEAN, Described, DescribedRoute

_WADL, _JSON = Offer("application/vnd.sun.wadl+xml"), Offer("application/json")
_XML = Offer("application/xml")
_NAMESPACE = "http://wadl.dev.java.net/2009/02"
_OFFERS = (_WADL, _JSON, _XML)
# Of the schema of a parameter its type as WADL has it.
_TYPES = {"integer": "xs:nonNegativeInteger", "number": "xs:decimal"}
_DESCRIBED = Described(
    "What can be asked.", "8.9", offers=_OFFERS, schema={"type": "object", "required": ["base", "resources"]}
)


@mutable
class _Resource:
    """A part of a path, what can be done there, and what is below."""

    path: str
    methods: dict[str, Described]
    below: dict[str, _Resource]

    def at(self, parts: Sequence[str]) -> _Resource:
        """What is below at a path, made if there is nothing yet."""
        if not parts:
            return self
        first, *others = parts
        return self.below.setdefault(first, _Resource(first, {}, {})).at(others)


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
        self._root = _Resource("", {}, {})
        for route in routes:
            if isinstance(route, DescribedRoute):
                self._root.at(route.path.strip("/").split("/")).methods[route.method] = route.described
        self.routes: list[BaseRoute] = [
            DescribedRoute("/capabilities", self._describe, _DESCRIBED),
            _OptionsRoute("/{path:path}", self._describe, methods=["OPTIONS"]),
        ]

    def adopt(self, terms: Terms) -> None:
        """Go by other terms, which say nothing of this."""

    async def _describe(self, request: Request) -> Response:
        offer = chosen(ranges_of(request), _OFFERS)
        base = base_url(request)
        if offer is _JSON:
            return JSONResponse(
                {"base": base, "resources": [_model(each) for each in self._root.below.values()]}
            )
        body = "".join(_document(base, self._root))
        return Response(body, headers={"content-type": offer.kind})


def _model(resource: _Resource) -> dict[str, Any]:
    return {
        "path": resource.path,
        "methods": [
            {
                "name": method,
                **(
                    {"parameters": [each.name for each in described.parameters]}
                    if described.parameters
                    else {}
                ),
                "representations": [str(offer) for offer in described.offers],
            }
            for method, described in sorted(resource.methods.items())
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
    for method, described in sorted(resource.methods.items()):
        yield f"<method name={quoteattr(method)}>"
        yield "<request>"
        for parameter in described.parameters:
            kind = _TYPES.get(parameter.schema["type"], "xs:string")
            if parameter.schema == BOOLEAN:
                kind = "xs:boolean"
            needed = ' required="true"' if parameter.is_required else ""
            yield f'<param name={quoteattr(parameter.name)} style="query" type={quoteattr(kind)}{needed}/>'
        for kind in described.body:
            yield f"<representation mediaType={quoteattr(kind)}/>"
        yield "</request>"
        if described.offers:
            yield f"<response status={quoteattr(' '.join(map(str, described.statuses)))}>"
            for offer in described.offers:
                yield f"<representation mediaType={quoteattr(str(offer))}/>"
            yield "</response>"
        yield "</method>"
    for each in resource.below.values():
        yield from _element(each)
    yield "</resource>"
