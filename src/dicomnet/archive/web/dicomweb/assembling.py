"""Objects that come as metadata and bulk data (PS3.18 section 10.5.1.4), and how they become encoded data sets.

A BulkDataURI is a name for a part of the same body, which has it as its Content-Location. Nothing is ever fetched.
"""

from __future__ import annotations

import json
import logging
import re
from array import array
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import chain
from secrets import token_bytes
from typing import Any

from pydicom.dataset import Dataset

from ....datasets.codec import encode_answer
from ....datasets.json_model import from_json
from ....datasets.xml_model import from_xml
from ....dicomweb.multipart_reading import MediaType
from ....dimse.datasets import OUT_OF_RESOURCES
from ....encoding.elements import EXPLICIT_LITTLE
from ....encoding.file_header import FileHeader
from ....encoding.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from ....values import Buffer, frozen
from ...entries import DATA_SET_DOES_NOT_MATCH
from ...storage.staging import StagedFile, Staging
from ..http.media_types import COMPRESSED
from ..http.problems import Problem
from .store_report import CANNOT_UNDERSTAND, TRANSFER_SYNTAX_NOT_SUPPORTED

_log = logging.getLogger(__name__)

_UNCOMPRESSED = "application/octet-stream"
_NATIVE = frozenset(("", EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN))

_PIXEL_DATA = "7FE00010"
_SOP_CLASS, _SOP_INSTANCE = "00080016", "00080018"
_FRAMES = "00280008"
_BINARY = frozenset(("OB", "OW", "OF", "OD", "OL", "OV", "UN"))
# The values of an element that is written on its own, for the time being.
_PLACEHOLDER = 16
_LONG_HEADER = 12
_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
# The longest value that has a length, and that of a fragment.
_LENGTH_LIMIT = 0xFFFFFFFE

# A value up to this length is kept in memory, as long as all of them together have no more than the other; and how much
# of one data set may be in memory, beside the values that are written on their own.
_SMALL, _SMALL_TOGETHER = 64 << 10, 16 << 20
_IN_MEMORY = 64 << 20
_BLOCK = 1 << 20
_BLANKS = re.compile(r"[ \t\r\n]*")
# How many values, lists and objects metadata may have, which take many times the memory of their text when empty,
# and how many parts the bulk data.
_VALUES_LIMIT, _PARTS_LIMIT = 2_000_000, 200_000


class DescriptionUnusable(Exception):
    """An object cannot be made of its metadata and bulk data.

    Parameters
    ----------
    cause
        Why.
    reason
        The failure reason of PS3.18 section I.2.2.
    sop_class, sop_instance
        Its UIDs, as far as they are known.
    """

    def __init__(
        self, cause: str, reason: int = CANNOT_UNDERSTAND, sop_class: str = "", sop_instance: str = ""
    ) -> None:
        super().__init__(cause)
        self.cause = cause
        self.reason = reason
        self.sop_class = sop_class
        self.sop_instance = sop_instance


class BulkValue:
    """A part of the body that metadata name.

    Parameters
    ----------
    media_type
        Its Content-Type.

    Attributes
    ----------
    length
        How many bytes it has.
    """

    def __init__(self, media_type: MediaType) -> None:
        self.media_type = media_type
        self.length = 0
        self._content = bytearray()
        self._staged: StagedFile | None = None

    def write(self, data: memoryview, staging: Staging | None) -> None:
        """Append bytes, in memory where there is no staging."""
        self.length += len(data)
        if staging is not None and self._staged is None:
            self._staged = staging.stage()
            self._staged.write((self._content,))
            self._content = bytearray()
        if self._staged is None:
            self._content += data
        else:
            self._staged.write((data,))

    @property
    def is_in_memory(self) -> bool:
        """Whether it is not in a file."""
        return self._staged is None

    def complete(self) -> None:
        """It has come whole."""
        if self._staged is not None:
            self._staged.finish(sync=False)

    def blocks(self) -> Iterator[Buffer]:
        """Its bytes."""
        if self._staged is None:
            yield bytes(self._content)
            return
        with closing(self._staged.open()) as file:
            while block := file.read(_BLOCK):
                yield block

    def discard(self) -> None:
        """Let go of it."""
        self._content = bytearray()
        if self._staged is not None:
            self._staged.discard()
            self._staged = None


class BulkData:
    """The bulk data of one body. Those of one Content-Location are the frames of one value, in their order.

    Parameters
    ----------
    staging
        Where they wait.
    """

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._values: dict[str, list[BulkValue]] = {}
        self._named: set[str] = set()
        # Names of which at least one part could not be written.
        self._lost: set[str] = set()
        self._small = self._count = 0

    def part(self, location: str, media_type: MediaType) -> BulkPart:
        """A part that begins."""
        return BulkPart(self, location, BulkValue(media_type))

    def write(self, value: BulkValue, data: memoryview) -> None:
        """Append bytes of a value."""
        is_small = value.length + len(data) <= _SMALL and self._small + len(data) <= _SMALL_TOGETHER
        value.write(data, None if is_small and value.is_in_memory else self._staging)
        if value.is_in_memory:
            self._small += len(data)

    def keep(self, location: str, value: BulkValue) -> None:
        """A value has come whole; raises Problem if there are too many."""
        self._count += 1
        if self._count > _PARTS_LIMIT:
            value.discard()
            raise Problem(
                413, f"the bulk data have more than {_PARTS_LIMIT} parts; send fewer objects at once"
            )
        value.complete()
        self._values.setdefault(location, []).append(value)

    def lose(self, location: str, value: BulkValue, error: OSError) -> None:
        """A value cannot be written; the objects that need it are refused, and no other."""
        _log.warning("bulk data of an upload cannot be written: %s", error)
        value.discard()
        self._lost.add(location)

    def of(self, uri: str) -> list[BulkValue]:
        """The parts of the body that have this name; raises DescriptionUnusable if one could not be written."""
        self._named.add(uri)
        if uri in self._lost:
            raise DescriptionUnusable("its bulk data cannot be written now", OUT_OF_RESOURCES)
        return self._values.get(uri, [])

    @property
    def unnamed(self) -> int:
        """How many names of parts nobody has asked for."""
        return len(self._values.keys() - self._named)

    def discard(self) -> None:
        """Let go of all."""
        for values in self._values.values():
            for each in values:
                each.discard()
        self._values.clear()
        self._small = 0


class BulkPart:
    """A part of the body with bulk data."""

    def __init__(self, bulk: BulkData, location: str, value: BulkValue) -> None:
        self._bulk = bulk
        self._location = location
        self._value = value
        # What of it comes behind a failure is passed over.
        self._is_over = False

    def write(self, data: memoryview) -> None:
        """Take bytes of it."""
        if self._is_over:
            return
        try:
            self._bulk.write(self._value, data)
        except OSError as error:
            self._is_over = True
            self._bulk.lose(self._location, self._value, error)

    def end(self) -> None:
        """It came whole."""
        if not self._is_over:
            self._bulk.keep(self._location, self._value)

    def abort(self) -> None:
        """Drop it."""
        self._value.discard()


@frozen
class Made:
    """An object that was made of its metadata and bulk data.

    Parameters
    ----------
    header
        Its UIDs and transfer syntax; there is no file.
    pieces
        The encoded data set: bytes, and what gives further ones.
    """

    header: FileHeader
    pieces: tuple[bytes | Callable[[], Iterator[Buffer]], ...]

    def blocks(self) -> Iterator[Buffer]:
        """The encoded data set, in pieces."""
        for piece in self.pieces:
            if isinstance(piece, bytes):
                yield piece
            else:
                yield from piece()


@frozen
class Described:
    """The metadata of one object, as they came.

    Parameters
    ----------
    read
        Gives their JSON model.
    length
        How many bytes of memory they take.
    needs
        Whether they name bulk data.
    """

    read: Callable[[], Mapping[str, Any]]
    length: int
    needs: bool

    @classmethod
    def in_json(cls, content: bytes) -> Iterator[Described]:
        """Those of a JSON document: a list of data sets, or one.

        Raises
        ------
        DescriptionUnusable
            If it is none; before the first one is given.
        """
        if sum(map(content.count, (b",", b"[", b"{"))) > _VALUES_LIMIT:
            raise DescriptionUnusable(
                f"the metadata of one part have more than {_VALUES_LIMIT} values; send fewer objects in a part"
            )
        try:
            text = content.decode("utf-8-sig")
            places = array("Q", chain.from_iterable(_items(text)))
        except (ValueError, RecursionError) as error:
            raise DescriptionUnusable(f"the metadata are not in the DICOM JSON Model: {error}") from None
        return (cls._of_text(text[begin:end]) for begin, end in zip(places[::2], places[1::2], strict=True))

    @classmethod
    def _of_text(cls, text: str) -> Described:
        return cls(lambda: _object(text), len(text), '"BulkDataURI"' in text)

    @classmethod
    def in_xml(cls, content: bytes) -> Described:
        """Those of an XML document."""
        return cls(lambda: from_xml(content), len(content), b"BulkData" in content)

    def made(self, bulk: BulkData) -> Made:
        """The object.

        Parameters
        ----------
        bulk
            The bulk data of the body.

        Raises
        ------
        DescriptionUnusable
            If it cannot be made.
        """
        sop_class = sop_instance = ""
        try:
            model = {tag: value for tag, value in self.read().items() if not tag.startswith("0002")}
            sop_class, sop_instance = _text(model, _SOP_CLASS), _text(model, _SOP_INSTANCE)
            return _Making(model, bulk).made(sop_class, sop_instance)
        except DescriptionUnusable as error:
            raise DescriptionUnusable(error.cause, error.reason, sop_class, sop_instance) from error
        except (ValueError, RecursionError) as error:
            cause = f"no data set can be made of the metadata: {error}"
            raise DescriptionUnusable(cause, CANNOT_UNDERSTAND, sop_class, sop_instance) from error


class _Making:
    """The making of one object."""

    def __init__(self, model: dict[str, Any], bulk: BulkData) -> None:
        self._model = model
        self._bulk = bulk
        self._length = 0
        self._syntax = EXPLICIT_VR_LITTLE_ENDIAN
        # What is written on its own: by what stands for it in the meantime.
        self._apart: dict[bytes, tuple[bytes | Callable[[], Iterator[Buffer]], ...]] = {}

    def made(self, sop_class: str, sop_instance: str) -> Made:
        model = {tag: self._set_apart(tag, attribute) for tag, attribute in self._model.items()}
        data_set: Dataset = from_json(model, self._value)
        encoded = encode_answer(data_set, is_implicit_vr=False, is_little_endian=True)
        header = FileHeader(sop_class, sop_instance, self._syntax, 0)
        return Made(header, tuple(self._pieces(encoded)))

    def _set_apart(self, tag: str, attribute: Any) -> Any:
        """An attribute, with a placeholder where its value is not taken into memory."""
        uri = attribute.get("BulkDataURI") if isinstance(attribute, dict) else None
        if not isinstance(uri, str) or attribute.get("vr") not in _BINARY:
            return attribute
        values = self._found(uri)
        if tag.upper() == _PIXEL_DATA and values[0].media_type.name != _UNCOMPRESSED:
            vr, pieces = "OB", tuple(self._encapsulated(values))
        else:
            value = self._single(uri, native=tag.upper() == _PIXEL_DATA)
            if value.is_in_memory:
                return attribute
            vr = attribute["vr"]
            padding = b"\0" * (value.length % 2)
            head = EXPLICIT_LITTLE.header(int(tag, 16), vr, value.length + len(padding))
            pieces = (head, value.blocks, padding)
        placeholder = token_bytes(_PLACEHOLDER)
        self._apart[placeholder] = pieces
        return {"vr": vr, "InlineBinary": b64encode(placeholder).decode()}

    def _pieces(self, encoded: bytes) -> Iterator[bytes | Callable[[], Iterator[Buffer]]]:
        """The encoded data set, with the values in the places of the placeholders."""
        at = 0
        for start, placeholder in sorted((encoded.index(each), each) for each in self._apart):
            yield encoded[at : start - _LONG_HEADER]
            yield from self._apart[placeholder]
            at = start + _PLACEHOLDER
        yield encoded[at:]

    def _value(self, uri: str, vr: str) -> bytes:
        """A value that is taken into memory, for `from_json`."""
        value = self._single(uri, native=True)
        self._length += value.length
        if self._length > _IN_MEMORY:
            raise DescriptionUnusable("values inside of sequences are longer than is taken into memory")
        content = b"".join(value.blocks())
        return content + b"\0" * (len(content) % 2) if vr in _BINARY else content

    def _found(self, uri: str) -> list[BulkValue]:
        found = self._bulk.of(uri)
        if not found:
            raise DescriptionUnusable("a BulkDataURI names no part of the body that came whole")
        return found

    def _single(self, uri: str, *, native: bool) -> BulkValue:
        """The only value of a URI, as it is written into a data set."""
        found = self._found(uri)
        if len(found) > 1:
            raise DescriptionUnusable("several parts have the Content-Location of a value that has no frames")
        value = found[0]
        if value.length > _LENGTH_LIMIT:
            raise DescriptionUnusable(
                "a value is longer than a data set can have it", DATA_SET_DOES_NOT_MATCH
            )
        syntax = value.media_type.parameters.get("transfer-syntax", "")
        if native and value.media_type.name == _UNCOMPRESSED and syntax not in _NATIVE:
            raise DescriptionUnusable(
                "application/octet-stream is for values in little endian that are not compressed",
                TRANSFER_SYNTAX_NOT_SUPPORTED,
            )
        return value

    def _encapsulated(self, frames: list[BulkValue]) -> Iterator[bytes | Callable[[], Iterator[Buffer]]]:
        """Compressed pixel data, a fragment for each frame (PS3.5 section A.4); the offset table is empty."""
        kind = frames[0].media_type
        is_mixed = any(each.media_type != kind for each in frames)
        syntaxes = COMPRESSED.get(kind.name, ())
        syntax = kind.parameters.get("transfer-syntax", next(iter(syntaxes), ""))
        if is_mixed or syntax not in syntaxes:
            raise DescriptionUnusable(
                "the media type of the pixel data is none of DICOM, or does not go with its transfer syntax",
                TRANSFER_SYNTAX_NOT_SUPPORTED,
            )
        count = 1 if kind.name.startswith("video/") else int(_text(self._model, _FRAMES) or 1)
        if count != len(frames):
            raise DescriptionUnusable(
                f"the image has {count} frames, and {len(frames)} parts with pixel data came; each frame is a part",
                DATA_SET_DOES_NOT_MATCH,
            )
        self._syntax = syntax
        yield EXPLICIT_LITTLE.header(int(_PIXEL_DATA, 16), "OB", 0xFFFFFFFF)
        yield _item(0)
        for frame in frames:
            if not 0 < frame.length <= _LENGTH_LIMIT:
                raise DescriptionUnusable(
                    "a frame is empty, or longer than a fragment can be", DATA_SET_DOES_NOT_MATCH
                )
            yield _item(frame.length + frame.length % 2)
            yield frame.blocks
            yield b"\0" * (frame.length % 2)
        yield EXPLICIT_LITTLE.header(_SEQUENCE_END, "", 0)


def _items(text: str) -> Iterator[tuple[int, int]]:
    """Where the objects of a JSON list begin and end, or a single object; raises ValueError if it is neither."""
    decoder = json.JSONDecoder()

    def after_blanks(at: int) -> int:
        found = _BLANKS.match(text, at)
        assert found is not None
        return found.end()

    at = after_blanks(0)
    is_list = text[at : at + 1] == "["
    if is_list:
        at = after_blanks(at + 1)
    while not (is_list and text[at : at + 1] == "]"):
        if text[at : at + 1] != "{":
            raise ValueError(f"an object is expected at character {at}")
        _, end = decoder.raw_decode(text, at)
        yield at, end
        at = after_blanks(end)
        if not is_list:
            break
        if text[at : at + 1] == ",":
            at = after_blanks(at + 1)
            if text[at : at + 1] == "]":
                raise ValueError(f"an object is expected at character {at}")
        elif text[at : at + 1] != "]":
            raise ValueError(f"a comma or the end of the list is expected at character {at}")
    at = after_blanks(at + is_list)
    if at != len(text):
        raise ValueError(f"something stands behind the list, at character {at}")


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


def _text(model: Mapping[str, Any], tag: str) -> str:
    """The first value of an attribute, as text; empty if there is none."""
    attribute = model.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    value = values[0] if isinstance(values, list) and values else ""
    return str(value) if isinstance(value, str | int) else ""


def _item(length: int) -> bytes:
    return EXPLICIT_LITTLE.header(_ITEM, "", length)
