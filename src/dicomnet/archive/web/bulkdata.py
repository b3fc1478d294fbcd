"""Bulk data: the values that metadata names by their addresses (WADO-RS, PS3.18 section 10.4.1.1.5)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, BinaryIO, Final

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ...datasets.headers import PIXEL_DATA, read_header
from ...datasets.json_model import little_endian
from ...datasets.structure import representation
from ...encoding.elements import UNDEFINED_LENGTH
from ...encoding.transfer_syntaxes import Transcoding, transfer_syntax
from ...encoding.vrs import BINARY, VRS
from ...errors import UnusableObject
from ...values import frozen
from ..catalogue.query import StoredInstance
from ..holdings import Holdings
from ..storage.store import Storage
from ..terms import Terms
from .conditional import REVALIDATED, entity_tag, is_unchanged, range_of
from .frames import INSTANCE, frames_response
from .located import located
from .multipart import CHUNK, Part, boundary_of, content_type, length_of, written
from .negotiation import Offer, chosen, ranges_of
from .opened import opened
from .pixels import OCTETS
from .problems import Problem
from .resources import Reference, reference_of
from .streams import begun, streamed
from .threads import in_thread

_PLACE = re.compile(r"[0-9A-Fa-f]{8}(?:/[0-9]{1,7}/[0-9A-Fa-f]{8}){0,16}", re.ASCII)
_DOCUMENT, _DOCUMENT_TYPE, _DOCUMENT_LENGTH = 0x00420011, 0x00420012, 0x00420015
# Documents of other media types are octets: what browsers would run must not come from this address.
_DOCUMENTS = frozenset(("application/pdf", "model/stl", "model/obj", "model/mtl"))
_PIXELS: Final = frozenset(f"{tag:08X}" for tag in PIXEL_DATA)


@frozen
class Value:
    """A value of an object.

    Parameters
    ----------
    place
        Where it is in the object, as of `json_model.to_json`.
    kind
        Its media type.
    length
        How many bytes it has.
    content
        It, where it is in memory; else it is in the file.
    offset
        Where it begins in the data set.
    """

    place: str
    kind: str
    length: int
    content: bytes | None = None
    offset: int = 0

    def chunks(self, storage: Storage, found: StoredInstance, begin: int, end: int) -> Iterator[bytes]:
        """Some of its bytes. Raises UnusableObject or OSError where the file cannot be read."""
        if self.content is not None:
            yield self.content[begin:end]
            return
        with opened(storage, found) as (stream, _):
            # It may have been inflated, and so be another stream than before.
            stream.seek(self.offset + begin)
            for left in range(end - begin, 0, -CHUNK):
                chunk = stream.read(min(left, CHUNK))
                if len(chunk) != min(left, CHUNK):
                    raise UnusableObject("its file is cut off")
                yield chunk


class BulkDataService:
    """The service that gives out single values.

    Parameters
    ----------
    holdings
        What there is; it has an index.
    """

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._transcoding = Transcoding.IF_NEEDED
        self.routes: Sequence[BaseRoute] = [Route(f"{INSTANCE}/bulkdata/{{place:path}}", self._bulk_data)]

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on."""
        self._transcoding = terms.retrieval.transcoding

    async def _bulk_data(self, request: Request) -> Response:
        reference, place = reference_of(request), request.path_params["place"].upper()
        if not _PLACE.fullmatch(place):
            raise Problem(
                400, "a value is named by its tag, such as 7FE00010, or 54000100/1/54001010 in an item"
            )
        return await in_thread(self._response, request, reference, place)

    def _response(self, request: Request, reference: Reference, place: str) -> Response:
        (found,) = located(self._holdings, reference)
        is_in_fragments = transfer_syntax(found.transfer_syntax_uid).is_encapsulated
        if place in _PIXELS and is_in_fragments:
            # What is in fragments is given out as frames (section 8.7.3.3.2).
            return frames_response(request, self._holdings, reference, None, self._transcoding)
        storage = self._holdings.storage
        try:
            with opened(storage, found) as (stream, syntax):
                data_set, _ = read_header(stream, syntax)
                value = _value_at(stream, data_set, place)
        except FileNotFoundError:
            raise Problem(404, "the file of this instance is not there any more") from None
        except UnusableObject as error:
            raise Problem(404, f"this value cannot be given out: {error}") from error
        kinds = dict.fromkeys((value.kind, OCTETS))
        offer = chosen(ranges_of(request), [Offer(kind, way) for way in (False, True) for kind in kinds])
        return self._answer(request, reference, found, value, offer)

    def _answer(
        self, request: Request, reference: Reference, found: StoredInstance, value: Value, offer: Offer
    ) -> Response:
        tag = entity_tag([found.digest, found.name.instance, value.place, str(offer)])
        headers = {"cache-control": REVALIDATED, "accept-ranges": "bytes"}
        if tag is not None:
            headers["etag"] = tag
        if is_unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        wanted = range_of(request, value.length, tag)
        begin, end = wanted or (0, value.length)
        status = 200 if wanted is None else 206
        if wanted is not None:
            headers["content-range"] = f"bytes {begin}-{end - 1}/{value.length}"
        storage = self._holdings.storage
        if not offer.is_multipart:
            headers |= {"content-type": offer.kind, "content-length": str(end - begin)}
            chunks = value.chunks(storage, found, begin, end)
            return streamed(request, begun(request, chunks), headers, status)
        # A range is one of the value, and not of the parts that it is given in.
        fields = {
            "Content-Type": offer.kind,
            "Content-Location": f"{request.scope['root_path']}{reference.path}/bulkdata/{value.place}",
        }
        if wanted is not None:
            fields["Content-Range"] = headers["content-range"]
        part = Part(
            f"{value.place} of {found.name.instance}",
            tuple(fields.items()),
            end - begin,
            partial(value.chunks, storage, found, begin, end),
        )
        boundary = boundary_of(tag)
        headers["content-type"] = content_type(offer.kind, boundary)
        headers["content-length"] = str(length_of([part], boundary))
        return streamed(request, begun(request, written([part], boundary)), headers, status)


def _value_at(stream: BinaryIO, data_set: Dataset, place: str) -> Value:
    """The value at a place of a data set, which was read from a stream.

    Raises
    ------
    Problem
        With status 404 if there is none.
    """
    missing = Problem(404, "this instance has no such bulk data")
    tag, *rest = place.split("/")
    for number, inner in zip(rest[::2], rest[1::2], strict=True):
        items = data_set[int(tag, 16)].value if int(tag, 16) in data_set else None
        if not isinstance(items, Items) or not 0 < int(number) <= len(items):
            raise missing
        data_set, tag = items[int(number) - 1], inner
    elements: dict[int, Any] = dict(data_set.items())
    element = elements.get(int(tag, 16))
    if element is None:
        raise missing
    vr = element.VR or representation(int(tag, 16), 0, 0)
    if vr not in BINARY:
        raise missing
    kind, length = OCTETS, None
    if element.tag == _DOCUMENT and not rest:
        kind, length = _document(data_set)
    if isinstance(element, RawDataElement) and element.value is None and element.length:
        if element.length == UNDEFINED_LENGTH:
            raise Problem(404, "this value is only given out as frames")
        if _is_as_it_lies(element):
            there = element.length if length is None else min(length, element.length)
            return Value(place, kind, there, None, element.value_tell)
        stream.seek(element.value_tell)
        element = element._replace(value=stream.read(element.length))
    content = element.value
    if not isinstance(content, bytes):
        raise missing
    is_little_endian = getattr(element, "is_little_endian", data_set.original_encoding[1] is not False)
    content = little_endian(vr, content, is_little_endian)[:length]
    return Value(place, kind, len(content), content)


def _is_as_it_lies(element: RawDataElement) -> bool:
    """Whether the bytes in the file are in little endian, or have no order."""
    return element.is_little_endian or (element.VR in VRS and VRS[element.VR].unit == 1)


def _document(data_set: Dataset) -> tuple[str, int | None]:
    """The media type of an encapsulated document, and its length without padding, as far as the object says."""
    try:
        kind = str(data_set[_DOCUMENT_TYPE].value)
        length = int(data_set[_DOCUMENT_LENGTH].value) if _DOCUMENT_LENGTH in data_set else None
    except (KeyError, ValueError, TypeError):
        return OCTETS, None
    return (kind if kind in _DOCUMENTS else OCTETS), length
