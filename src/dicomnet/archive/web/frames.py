"""Frames and pixel data of instances (WADO-RS, PS3.18 sections 10.4.1.1.4 and 10.4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ...encoding.transfer_syntaxes import Transcoding
from ..holdings import Holdings
from ..terms import Terms
from .conditional import REVALIDATED, entity_tag, is_unchanged
from .located import located
from .multipart import Part, boundary_of, content_type, length_of, written
from .negotiation import Offer, alternatives, ranges_of
from .pixels import Pixels, form_of, offers_of
from .resources import Reference, reference_of
from .streams import begun, streamed
from .threads import in_thread
from .views import frames_of

INSTANCE: Final = "/studies/{study}/series/{series}/instances/{instance}"


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
            Route(f"{INSTANCE}/frames/{{frames}}", self._frames),
            Route(f"{INSTANCE}/pixeldata", self._pixel_data),
        ]

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on."""
        self._transcoding = terms.retrieval.transcoding

    async def _frames(self, request: Request) -> Response:
        numbers = frames_of(request.path_params["frames"])
        return await in_thread(self._response, request, reference_of(request), numbers)

    async def _pixel_data(self, request: Request) -> Response:
        return await in_thread(self._response, request, reference_of(request), None)

    def _response(self, request: Request, reference: Reference, numbers: Sequence[int] | None) -> Response:
        """A response with some frames, or with all of them."""
        return frames_response(request, self._holdings, reference, numbers, self._transcoding)


def frames_response(
    request: Request,
    holdings: Holdings,
    reference: Reference,
    numbers: Sequence[int] | None,
    transcoding: Transcoding,
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
    tag = entity_tag([version, what, form.content_type, str(form.offer)])
    headers = {"cache-control": REVALIDATED, **({} if tag is None else {"etag": tag})}
    if is_unchanged(request, tag):
        return Response(status_code=304, headers=headers)
    parts = pixels.parts(numbers, form, f"{request.scope['root_path']}{reference.path}/frames")
    return parts_response(request, parts, form.offer, tag, headers)


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
