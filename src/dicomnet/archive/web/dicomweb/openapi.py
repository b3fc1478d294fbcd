"""The description of the interface for programs: OpenAPI 3.1, made of the table of routes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ...._version import __version__
from ....encoding.vrs import VRS
from ...terms import Terms
from ..access.policy import WebPolicy
from ..http.conditional import REVALIDATED, entity_tag, is_unchanged
from ..http.negotiation import Offer, chosen, ranges_of
from ..resources import ROOT, origin_of
from .described import Described, DescribedRoute, Parameter, Schema

PATH: Final = "/api/openapi.json"
"""Where it is."""

_JSON = "application/json"
_MULTIPART = "multipart/related"
_OFFERS = (Offer(_JSON),)
_PLACEHOLDER = re.compile(r"\{(\w+)(?::\w+)?\}")
_UID: Schema = {"type": "string", "maxLength": 64, "pattern": r"^[0-9]+(\.[0-9]+)*$"}
_PATH_PARAMETERS: Mapping[str, tuple[str, Schema]] = {
    "study": ("Study Instance UID", _UID),
    "series": ("Series Instance UID", _UID),
    "instance": ("SOP Instance UID", _UID),
    "frames": (
        "Numbers of frames, counted from 1, with commas between them.",
        {"type": "string", "pattern": r"^[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*$"},
    ),
    "place": (
        "The tag of a value; in an item, tag, number of the item and tag, with slashes between them.",
        {"type": "string", "pattern": r"^[0-9A-Fa-f]{8}$"},
    ),
}
# What any request can be refused with, and what such a status says.
_REFUSALS: Mapping[int, str] = {
    400: "The request is not valid.",
    401: "Nobody has proved who he is.",
    403: "Whoever asks may not do this.",
    404: "There is no such resource.",
    406: "None of the media types in Accept is offered.",
    413: "The body is too long, or there may be none.",
    421: "The Host of the request is none of this node.",
    429: "There were too many failures before.",
    500: "The archive has failed; its log says more.",
    503: "The archive cannot answer now; Retry-After says when to ask again.",
}
_SAYS: Mapping[int, str] = {
    200: "What was asked for.",
    202: "Some of it was stored, or with a warning.",
    204: "There is nothing to say.",
    206: "A part of it; Warning says what is missing, or it is the range that was asked for.",
    304: "It has not changed.",
    409: "None of it was stored, or it is protected.",
    410: "It was deleted.",
    415: "The media type of the body is not supported.",
    416: "There are no such bytes.",
    501: "The archive cannot do this.",
}
_NAME: Schema = {
    "type": ["object", "null"],
    "properties": {group: {"type": "string"} for group in ("Alphabetic", "Ideographic", "Phonetic")},
    "additionalProperties": False,
}
_ELEMENT: Schema = {
    "type": "object",
    "required": ["vr"],
    "properties": {
        "vr": {"type": "string", "enum": sorted(VRS)},
        "Value": {
            "type": "array",
            "minItems": 1,
            "items": {
                "anyOf": [
                    {"type": ["string", "number", "null"]},
                    {"$ref": "#/components/schemas/PersonName"},
                    {"$ref": "#/components/schemas/DataSet"},
                ]
            },
        },
        "BulkDataURI": {"type": "string", "format": "uri"},
        "InlineBinary": {"type": "string", "contentEncoding": "base64"},
    },
    "additionalProperties": False,
    # One of them at the most (PS3.18 section F.2.2).
    "not": {
        "anyOf": [
            {"required": ["Value", "BulkDataURI"]},
            {"required": ["Value", "InlineBinary"]},
            {"required": ["BulkDataURI", "InlineBinary"]},
        ]
    },
}
_DATA_SET: Schema = {
    "type": "object",
    "patternProperties": {"^[0-9A-F]{8}$": {"$ref": "#/components/schemas/Element"}},
    "additionalProperties": False,
}
_SCHEMAS: Mapping[str, Schema] = {
    "PersonName": _NAME,
    "Element": _ELEMENT,
    "DataSet": _DATA_SET,
    "DataSets": {"type": "array", "items": {"$ref": "#/components/schemas/DataSet"}},
}
_SCHEMES: Mapping[str, Schema] = {
    "password": {"type": "http", "scheme": "basic"},
    "token": {"type": "http", "scheme": "bearer"},
}


class OpenApiService:
    """The service that describes the others.

    Parameters
    ----------
    routes
        Those of DICOMweb, with paths relative to `ROOT`.
    """

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._policy = WebPolicy()
        own = DescribedRoute(
            PATH,
            self._describe,
            Described(
                "This description.",
                offers=_OFFERS,
                empty=(304,),
                schema={"type": "object", "required": ["openapi", "info", "paths"]},
            ),
        )
        self.routes: Sequence[BaseRoute] = [own]
        self._paths: dict[str, dict[str, Any]] = {}
        for prefix, route in [*((ROOT, each) for each in routes), ("", own)]:
            if isinstance(route, DescribedRoute):
                path = prefix + _PLACEHOLDER.sub(r"{\1}", route.path)
                operations = self._paths.setdefault(path, {})
                operations[route.method.lower()] = _operation(route)

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on."""
        self._policy = terms.web

    async def _describe(self, request: Request) -> Response:
        chosen(ranges_of(request), _OFFERS)
        content = json.dumps(self._document(origin_of(request)), separators=(",", ":"))
        tag = entity_tag([content])
        assert tag is not None
        headers = {"cache-control": REVALIDATED, "etag": tag, "content-type": _JSON}
        if is_unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers)

    def _document(self, origin: str) -> dict[str, Any]:
        security: list[dict[str, list[str]]] = (
            [] if self._policy.users is None else [{name: []} for name in _SCHEMES]
        )
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "dicomnet",
                "version": __version__,
                "description": "DICOMweb (PS3.18) of a dicomnet node. OPTIONS of any address describes it as WADL.",
            },
            "servers": [{"url": origin}],
            "paths": self._paths,
            "components": {"schemas": _SCHEMAS, "securitySchemes": _SCHEMES},
            "security": security,
        }


def _operation(route: DescribedRoute) -> dict[str, Any]:
    described = route.described
    operation: dict[str, Any] = {"summary": described.summary}
    if described.section:
        operation["description"] = f"PS3.18 section {described.section}."
    operation["parameters"] = [*_path_parameters(route.path), *map(_parameter, described.parameters)]
    if described.others is not None:
        operation["parameters"].append(
            {
                "name": "attributes",
                "in": "query",
                "style": "form",
                "explode": True,
                "description": "Attributes by keyword or tag, with the values that they are to have.",
                "schema": described.others,
            }
        )
    if described.body:
        binary = {"schema": {"type": "string", "format": "binary"}}
        operation["requestBody"] = {"required": True, "content": dict.fromkeys(described.body, binary)}
    operation["responses"] = dict(_responses(described))
    return operation


def _path_parameters(path: str) -> Iterator[dict[str, Any]]:
    for name in _PLACEHOLDER.findall(path):
        says, schema = _PATH_PARAMETERS[name]
        yield {"name": name, "in": "path", "required": True, "description": says, "schema": schema}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.is_required,
        "description": parameter.says,
        "schema": parameter.schema,
    }


def _responses(described: Described) -> Iterator[tuple[str, dict[str, Any]]]:
    text = {"text/plain": {"schema": {"type": "string"}}}
    refusals = {each: _REFUSALS.get(each) or _SAYS[each] for each in (*_REFUSALS, *described.refusals)}
    given = dict(_contents(described))
    for status in sorted({*described.statuses, *described.empty, *refusals}):
        content: dict[str, Any] = {}
        if status in described.statuses:
            content |= given
        if status in refusals:
            content |= text
        says = refusals.get(status) or _SAYS.get(status) or HTTPStatus(status).phrase
        yield str(status), {"description": says, **({"content": content} if content else {})}


def _contents(described: Described) -> Iterator[tuple[str, dict[str, Any]]]:
    schema: Schema = (
        {"$ref": f"#/components/schemas/{described.schema}"}
        if isinstance(described.schema, str)
        else described.schema
    )
    for offer in described.offers:
        if offer.is_multipart:
            yield _MULTIPART, {}
        else:
            yield offer.kind, {"schema": schema} if offer.kind.endswith("json") else {}
    if 206 in described.statuses and 416 in described.refusals:
        yield "multipart/byteranges", {}
