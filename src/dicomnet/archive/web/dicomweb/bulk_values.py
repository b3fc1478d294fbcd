"""Where the long binary values of an object are, which its metadata names by addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from ....datasets.headers import PIXEL_DATA
from ....datasets.json_model import little_endian, to_json
from ....datasets.structure import representation
from ....encoding.elements import UNDEFINED_LENGTH
from ....encoding.vrs import BINARY, VRS
from ....errors import UnusableObject
from ....values import frozen
from ...catalogue.query import StoredInstance
from ...storage.store import Storage
from ..http.file_parts import CHUNK
from ..http.problems import Problem
from .opened import opened
from .pixels import OCTETS

PLACE: Final = re.compile(r"[0-9A-Fa-f]{8}(?:/[0-9]{1,7}/[0-9A-Fa-f]{8}){0,16}", re.ASCII)
"""How the place of a value is written."""
PIXELS: Final = frozenset(f"{tag:08X}" for tag in PIXEL_DATA)
"""The places of pixel data."""
_DOCUMENT, _DOCUMENT_TYPE, _DOCUMENT_LENGTH = 0x00420011, 0x00420012, 0x00420015
DOCUMENTS: Final = frozenset(("application/pdf", "model/stl", "model/obj", "model/mtl"))
"""The media types of documents; others are octets, as what browsers would run must not come from this address."""


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


def places_of(data_set: Dataset) -> list[str]:
    """The places of all values that the metadata of a data set has an address of, in their order."""
    found: list[str] = []

    def note(place: str) -> str:
        found.append(place)
        return place

    to_json(data_set, note)
    return found


def value_at(stream: BinaryIO, data_set: Dataset, place: str) -> Value:
    """The value at a place of a data set, which was read from a stream.

    Parameters
    ----------
    stream, data_set
        From `opened` and `read_header`.
    place
        As of `PLACE`, in capital letters.

    Raises
    ------
    Problem
        With status 404 if there is none.
    """
    missing = Problem(404, "this instance has no such bulk data")
    tag, *rest = place.split("/")
    for number, inner in zip(rest[::2], rest[1::2], strict=True):
        outer = dict[int, Any](data_set.items()).get(int(tag, 16))
        if isinstance(outer, RawDataElement) and outer.value is None and outer.length:
            # It is a value that was left out, and pydicom would look for its file.
            raise missing
        items = None if outer is None else data_set[int(tag, 16)].value
        if not isinstance(items, Items) or not 0 < int(number) <= len(items):
            raise missing
        data_set, tag = items[int(number) - 1], inner
    elements: dict[int, Any] = dict(data_set.items())
    element = elements.get(int(tag, 16))
    if element is None:
        raise missing
    vr = element.VR or representation(int(tag, 16), element.length, 0)
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
    return (kind if kind in DOCUMENTS else OCTETS), length
