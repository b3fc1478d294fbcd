"""WADO-URI: one instance, which the parameters of the query name (PS3.18 section 9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ....encoding.identity import is_uid
from ....rendering.view import PICTURES
from ...holdings import Holdings
from ...terms import Terms
from ..http.negotiation import Alternative, Offer, alternatives, ranges_of
from ..http.problems import Problem
from ..http.threads import in_thread
from ..resources import Reference
from .described import Described, DescribedRoute, Parameter
from .located import located
from .rendered import RenderedService
from .retrieving import DICOM, RetrievingService
from .views import uri_view_of

_UIDS: Final = {"study": "studyUID", "series": "seriesUID", "instance": "objectUID"}
# A picture is what is given where nothing is said (PS3.18 section 9.1.2.2.1).
_OFFERS = tuple(Offer(kind) for kind in (*PICTURES, DICOM))
_UID = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)*$", "maxLength": 64}
_DESCRIBED = Described(
    "Retrieve an instance by its UIDs: a picture, or its file.",
    "9",
    offers=_OFFERS,
    statuses=(200, 206),
    empty=(304,),
    refusals=(410, 413, 501),
    parameters=(
        Parameter(
            "requestType", "What is asked for.", {"type": "string", "enum": ["WADO"]}, is_required=True
        ),
        *(Parameter(name, "Of the instance.", _UID, is_required=True) for name in _UIDS.values()),
        Parameter("contentType", "The media types that are accepted."),
        Parameter("transferSyntax", "Of a file; an asterisk for that in which it is stored."),
        Parameter("frameNumber", "Counted from 1.", {"type": "integer", "minimum": 1}),
        Parameter("imageQuality", "Of a JPEG.", {"type": "integer", "minimum": 1, "maximum": 100}),
        Parameter("rows", "The greatest height, in pixels.", {"type": "integer", "minimum": 1}),
        Parameter("columns", "The greatest width, in pixels.", {"type": "integer", "minimum": 1}),
        Parameter("region", "Left, top, right and bottom of what is shown, each from 0 to 1."),
        Parameter("windowCenter", "Goes with windowWidth.", {"type": "number"}),
        Parameter("windowWidth", "Goes with windowCenter.", {"type": "number"}),
    ),
)


class UriService:
    """The service that gives out an instance by the parameters of a query.

    Parameters
    ----------
    holdings
        What there is; it has an index.
    retrieving, rendered
        Give out instances as DICOM files, and pictures of them.
    """

    def __init__(self, holdings: Holdings, retrieving: RetrievingService, rendered: RenderedService) -> None:
        self._holdings = holdings
        self._retrieving = retrieving
        self._rendered = rendered
        self.routes: Sequence[BaseRoute] = [
            DescribedRoute(path, self._answer, _DESCRIBED) for path in ("/", "/wado")
        ]

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on."""

    async def _answer(self, request: Request) -> Response:
        asked = request.query_params
        if "requestType" not in asked:
            raise Problem(404, "there is nothing at this address, but for WADO-URI with requestType=WADO")
        if asked["requestType"] != "WADO":
            raise Problem(400, "requestType has to be WADO")
        if "anonymize" in asked:
            raise Problem(501, "objects are given out as they are; anonymize is not supported here")
        reference = _reference(asked)
        options = alternatives(ranges_of(request, "contentType"), _OFFERS)
        if options[0].offer.kind != DICOM:
            view = uri_view_of(asked, [each.offer.kind for each in options if each.offer.kind != DICOM])
            (found,) = await in_thread(located, self._holdings, reference)
            return await self._rendered.respond(request, found, view)
        syntax = asked.get("transferSyntax", "")
        if syntax not in ("", "*") and not is_uid(syntax):
            raise Problem(400, "transferSyntax is not a UID")
        wanted = [Alternative(options[0].offer, syntax)]
        return await in_thread(self._retrieving.answer, request, reference, wanted)


def _reference(asked: QueryParams) -> Reference:
    uids = {}
    for name, parameter in _UIDS.items():
        uids[name] = asked.get(parameter, "")
        if not is_uid(uids[name]):
            raise Problem(400, f"{parameter} is missing or not a UID")
    return Reference(**uids)
