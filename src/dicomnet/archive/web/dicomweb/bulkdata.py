"""Bulk data: the values that metadata names by their addresses (WADO-RS, PS3.18 section 10.4.1.1.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ....datasets.headers import read_header
from ....encoding.transfer_syntaxes import Transcoding, transfer_syntax
from ....errors import UnusableObject
from ....values import replace
from ...catalogue.query import StoredInstance
from ...holdings import Holdings
from ...terms import Terms
from ..http.conditional import REVALIDATED, Span, content_range, entity_tag, is_unchanged, spans_of
from ..http.media_types import COMPRESSED
from ..http.multipart import BYTE_RANGES, RELATED, Part, boundary_of, content_type, length_of, written
from ..http.negotiation import Alternative, MediaRange, Offer, alternatives, chosen, ranges_of
from ..http.problems import Problem
from ..http.streams import begun, streamed
from ..http.threads import in_thread
from ..resources import PATHS, Reference, base_url, reference_of
from .bulk_values import DOCUMENTS, PIXELS, PLACE, Value, places_of, value_at
from .collected import Collection
from .described import ACCEPT, Described, DescribedRoute
from .frames import INSTANCE, frames_response
from .located import located, path_of
from .opened import opened
from .pixels import OCTETS, Form, Pixels

_KINDS = (OCTETS, *COMPRESSED, *sorted(DOCUMENTS))
_ONE_DESCRIBED = Described(
    "Retrieve a value.",
    "10.4.1.1.5",
    offers=[Offer(kind, way) for way in (False, True) for kind in _KINDS],
    statuses=(200, 206),
    empty=(304,),
    refusals=(410, 416),
    parameters=(ACCEPT,),
)
_ALL_DESCRIBED = replace(
    _ONE_DESCRIBED,
    summary="Retrieve all values that the metadata has addresses of.",
    offers=[Offer(kind, is_multipart=True) for kind in _KINDS],
    refusals=(410,),
)


class BulkDataService:
    """The service that gives out single values, and all of an instance, a series or a study.

    Parameters
    ----------
    holdings
        What there is; it has an index.
    """

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._transcoding = Transcoding.IF_NEEDED
        self.routes: Sequence[BaseRoute] = [
            DescribedRoute(f"{INSTANCE}/bulkdata/{{place:path}}", self._bulk_data, _ONE_DESCRIBED),
            *(DescribedRoute(f"{path}/bulkdata", self._all_bulk_data, _ALL_DESCRIBED) for path in PATHS),
        ]

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on."""
        self._transcoding = terms.retrieval.transcoding

    async def _bulk_data(self, request: Request) -> Response:
        reference, place = reference_of(request), request.path_params["place"].upper()
        if not PLACE.fullmatch(place):
            raise Problem(
                400, "a value is named by its tag, such as 7FE00010, or 54000100/1/54001010 in an item"
            )
        return await in_thread(self._response, request, reference, place)

    def _response(self, request: Request, reference: Reference, place: str) -> Response:
        (found,) = located(self._holdings, reference)
        location = _location(base_url(request), found, place)
        if _is_in_frames(found, place):
            return frames_response(
                request, self._holdings, reference, None, self._transcoding, _one_for_all(location)
            )
        storage = self._holdings.storage
        try:
            with opened(storage, found) as (stream, syntax):
                data_set, _ = read_header(stream, syntax)
                value = value_at(stream, data_set, place)
        except FileNotFoundError:
            raise Problem(404, "the file of this instance is not there any more") from None
        except UnusableObject as error:
            raise Problem(404, f"this value cannot be given out: {error}") from error
        kinds = dict.fromkeys((value.kind, OCTETS))
        offer = chosen(ranges_of(request), [Offer(kind, way) for way in (False, True) for kind in kinds])
        return self._answer(request, found, value, offer, location)

    def _answer(
        self, request: Request, found: StoredInstance, value: Value, offer: Offer, location: str
    ) -> Response:
        tag = entity_tag([found.digest, found.name.instance, value.place, str(offer), location])
        headers = {"cache-control": REVALIDATED, "accept-ranges": "bytes"}
        if tag is not None:
            headers["etag"] = tag
        if is_unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        spans = spans_of(request, value.length, tag)
        status = 206 if spans else 200
        if len(spans) == 1:
            # One range is a range of the value, also where that is given as a part.
            headers["content-range"] = content_range(spans[0], value.length)
        if len(spans) < 2 and not offer.is_multipart:
            begin, end = spans[0] if spans else (0, value.length)
            headers |= {"content-type": offer.kind, "content-length": str(end - begin)}
            chunks = value.chunks(self._holdings.storage, found, begin, end)
            return streamed(request, begun(request, chunks), headers, status)
        parts = [self._part(found, value, offer.kind, location, span) for span in spans or (None,)]
        boundary = boundary_of(tag)
        # Several ranges are always given so (RFC 9110 section 15.3.7.2).
        headers["content-type"] = content_type(
            offer.kind, boundary, BYTE_RANGES if len(spans) > 1 else RELATED
        )
        headers["content-length"] = str(length_of(parts, boundary))
        return streamed(request, begun(request, written(parts, boundary)), headers, status)

    def _part(
        self, found: StoredInstance, value: Value, kind: str, location: str, span: Span | None = None
    ) -> Part:
        """A value as a part, or some of its bytes."""
        begin, end = span or (0, value.length)
        fields = {"Content-Type": kind, "Content-Location": location}
        if span is not None:
            fields["Content-Range"] = content_range(span, value.length)
        return Part(
            f"{value.place} of {found.name.instance}",
            tuple(fields.items()),
            end - begin,
            partial(value.chunks, self._holdings.storage, found, begin, end),
        )

    async def _all_bulk_data(self, request: Request) -> Response:
        return await in_thread(self._collected, request, reference_of(request))

    def _collected(self, request: Request, reference: Reference) -> Response:
        """A response with all values that the metadata of some instances has addresses of."""
        collection = Collection(request, self._holdings, reference, self._transcoding, self._check)
        octets = _accepted(collection.ranges, OCTETS)
        if not octets and not collection.forms:
            assert collection.refusal is not None
            raise collection.refusal
        is_whole = bool(octets) and collection.refusal is None
        base = base_url(request)

        def parts_of(found: StoredInstance, form: Form | None) -> Iterator[Part]:
            storage = self._holdings.storage
            with opened(storage, found) as (stream, syntax):
                data_set, _ = read_header(stream, syntax)
                places = places_of(data_set)
                values = [
                    value_at(stream, data_set, place) for place in places if not _is_in_frames(found, place)
                ]
            for value in values:
                best = _accepted(collection.ranges, *dict.fromkeys((value.kind, OCTETS)))
                if best:
                    location = _location(base, found, value.place)
                    yield self._part(found, value, best[0].offer.kind, location)
            for place in places:
                if form is not None and _is_in_frames(found, place):
                    location = _location(base, found, place)
                    yield from Pixels(storage, found).all_parts(form, _one_for_all(location))

        return collection.respond(parts_of, "bulk data", base, f"{octets}", is_whole=is_whole)

    def _check(self, found: StoredInstance) -> None:
        """Look whether an object can be read; raises what that raises."""
        storage = self._holdings.storage
        with opened(storage, found) as (stream, syntax):
            _, pixels = read_header(stream, syntax)
        if pixels is not None and pixels.length is None:
            # That its frames can be told apart.
            Pixels(storage, found)


def _location(base: str, found: StoredInstance, place: str) -> str:
    """The address of a value, as the metadata has it."""
    return f"{base}{path_of(found)}/bulkdata/{place}"


def _one_for_all(location: str) -> Callable[[int], str]:
    """From the number of a frame to the address of the value, of which all frames are."""
    return lambda number: location


def _is_in_frames(found: StoredInstance, place: str) -> bool:
    """Whether a value is in fragments, so that it is given out as frames (section 8.7.3.3.2)."""
    return place in PIXELS and transfer_syntax(found.transfer_syntax_uid).is_encapsulated


def _accepted(ranges: Sequence[MediaRange], *kinds: str) -> Sequence[Alternative]:
    """Which of some media types are accepted as parts, the best first."""
    try:
        return alternatives(ranges, [Offer(kind, is_multipart=True) for kind in kinds])
    except Problem:
        return ()
