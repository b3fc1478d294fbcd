"""Frames and pixel data of instances (WADO-RS, PS3.18 sections 10.4.1.1.4 and 10.4.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ....encoding.transfer_syntaxes import Transcoding
from ...catalogue.query import StoredInstance
from ...holdings import Holdings
from ...terms import Terms
from ..http.conditional import REVALIDATED, entity_tag, is_unchanged
from ..http.media_types import COMPRESSED
from ..http.multipart import Part, boundary_of, content_type, length_of, written
from ..http.negotiation import Offer, alternatives, ranges_of
from ..http.streams import begun, streamed
from ..http.threads import in_thread
from ..resources import PATHS, Reference, reference_of
from .collected import Collection
from .described import ACCEPT, Described, DescribedRoute
from .located import located, path_of
from .pixels import OCTETS, Form, Pixels, form_of, offers_of
from .views import frames_of

INSTANCE: Final = PATHS[-1]


def _described(summary: str, *, is_one: bool) -> Described:
    ways = (True, False) if is_one else (True,)
    return Described(
        summary,
        "10.4.1.1.6",
        offers=[Offer(kind, way) for way in ways for kind in (OCTETS, *COMPRESSED)],
        statuses=(200,) if is_one else (200, 206),
        empty=(304,),
        refusals=(410,),
        parameters=(ACCEPT,),
    )


class FramesService:
    """The service that gives out frames, each by itself.

    Parameters
    ----------
    holdings
        What there is; it has an index.
    """

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._transcoding = Transcoding.IF_NEEDED
        self.routes: Sequence[BaseRoute] = [
            DescribedRoute(
                f"{INSTANCE}/frames/{{frames}}", self._frames, _described("Retrieve frames.", is_one=True)
            ),
            *(
                DescribedRoute(
                    f"{path}/pixeldata",
                    self._pixel_data,
                    _described("Retrieve all frames.", is_one=path == INSTANCE),
                )
                for path in PATHS
            ),
        ]

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on."""
        self._transcoding = terms.retrieval.transcoding

    async def _frames(self, request: Request) -> Response:
        numbers = frames_of(request.path_params["frames"])
        return await in_thread(self._response, request, reference_of(request), numbers)

    async def _pixel_data(self, request: Request) -> Response:
        reference = reference_of(request)
        if reference.instance is not None:
            return await in_thread(self._response, request, reference, None)
        return await in_thread(self._collected, request, reference)

    def _response(self, request: Request, reference: Reference, numbers: Sequence[int] | None) -> Response:
        """A response with some frames, or with all of them."""
        return frames_response(request, self._holdings, reference, numbers, self._transcoding)

    def _collected(self, request: Request, reference: Reference) -> Response:
        """A response with the frames of all instances."""
        pixels_of = partial(Pixels, self._holdings.storage)
        collection = Collection(request, self._holdings, reference, self._transcoding, pixels_of)
        if collection.refusal is not None and not collection.forms:
            raise collection.refusal

        def parts_of(found: StoredInstance, form: Form | None) -> Iterator[Part]:
            if form is not None:
                yield from pixels_of(found).all_parts(form, frame_location(request, found))

        return collection.respond(parts_of, "pixel data", is_whole=collection.refusal is None)


def frames_response(
    request: Request,
    holdings: Holdings,
    reference: Reference,
    numbers: Sequence[int] | None,
    transcoding: Transcoding,
    location: Callable[[int], str] | None = None,
) -> Response:
    """A response with frames of an instance.

    Parameters
    ----------
    request
        What is asked.
    holdings, reference
        The instance.
    numbers
        Which frames, counted from 1; None for all.
    transcoding
        Whether objects may be decompressed.
    location
        From the number of a frame to its address; None for that of the frame.

    Raises
    ------
    Problem
        With status 404 if there is no such instance or frame; 406 if it cannot be given in a form that is accepted.
    """
    (found,) = located(holdings, reference)
    pixels = Pixels(holdings.storage, found)
    if numbers is None:
        numbers = range(1, pixels.table.count + 1)
    pixels.check(numbers)
    own = found.transfer_syntax_uid
    options = alternatives(ranges_of(request), offers_of(own, is_one=len(numbers) == 1))
    form = form_of(own, options, transcoding)
    what = ",".join(map(str, numbers))
    version = None if found.digest is None else f"{found.name.instance} {found.digest}"
    if location is None:
        location = frame_location(request, found)
    tag = entity_tag([version, what, form.content_type, str(form.offer), location(1)])
    headers = {"cache-control": REVALIDATED, **({} if tag is None else {"etag": tag})}
    if is_unchanged(request, tag):
        return Response(status_code=304, headers=headers)
    parts = pixels.parts(numbers, form, location)
    return parts_response(request, parts, form.offer, tag, headers)


def frame_location(request: Request, found: StoredInstance) -> Callable[[int], str]:
    """From the number of a frame of an object to its address."""
    return f"{request.scope['root_path']}{path_of(found)}/frames/{{}}".format


def parts_response(
    request: Request, parts: Sequence[Part], offer: Offer, tag: str | None, headers: dict[str, str]
) -> Response:
    """A response of parts, or of the only one by itself where it is offered so.

    Parameters
    ----------
    request
        What is asked.
    parts
        What there is.
    offer
        In which way it is given.
    tag
        The ETag; None where there is none.
    headers
        What the response has besides.
    """
    if not offer.is_multipart:
        (part,) = parts
        headers |= {name.lower(): value for name, value in part.headers}
        if part.length is not None:
            headers["content-length"] = str(part.length)
        return streamed(request, begun(request, part.open()), headers)
    boundary = boundary_of(tag)
    headers["content-type"] = content_type(offer.kind, boundary)
    length = length_of(parts, boundary)
    if length is not None:
        headers["content-length"] = str(length)
    return streamed(request, begun(request, written(parts, boundary)), headers)
