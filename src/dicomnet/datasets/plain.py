"""Data sets of plain elements to and from bytes (PS3.5 chapter 7): what pydicom's writer and reader give, but faster.

None stands for a data set that is not plain (ambiguous VRs, values of other types, broken encodings): pydicom has to do
it. Responses need many small data sets, so there are also cheap ways to make one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from io import BytesIO
from struct import Struct, error, pack, unpack
from typing import Any, Final, NamedTuple

from pydicom.charset import convert_encodings, default_encoding, encode_string, python_encoding
from pydicom.dataelem import DataElement, RawDataElement, empty_value_for_VR
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, STANDARD_VR, PersonName

# From a value and the Python names of the character sets to bytes, without padding.
_Encode = Callable[[Any, list[str]], bytes]

_UNDEFINED: Final = 0xFFFFFFFF
_GROUP_OF_DELIMITERS: Final = 0xFFFE
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_CHARACTER_SET: Final = BaseTag(0x00080005)
_STATUS: Final = BaseTag(0x00000900)
_DEFAULT_ENCODINGS: Final = convert_encodings(default_encoding)
# In these an ASCII text is encoded as it is; the others have escape sequences or a yen sign.
_ASCII_BASED: Final = frozenset(python_encoding.values()) - {"shift_jis", "iso2022_jp", "iso2022_jp_2"}
_MISSING: Final = object()


class _NotPlain(Exception):
    """Something that is for pydicom."""


# -- values


def _are_many(value: object) -> bool:
    return isinstance(value, MultiValue | list | tuple)


def _encode_string(value: Any, encodings: list[str]) -> bytes:
    if isinstance(value, str):
        return value.encode("latin-1")
    if value is None:
        return b""
    if not _are_many(value):
        raise _NotPlain
    return b"\\".join([_encode_string(each or "", encodings) for each in value])


def _encode_text(value: Any, encodings: list[str]) -> bytes:
    if isinstance(value, str):
        if value.isascii() and (not value or encodings[0] in _ASCII_BASED):
            return value.encode("ascii")
        return encode_string(value, encodings)
    if value is None:
        return b""
    if not _are_many(value):
        raise _NotPlain
    return b"\\".join([_encode_text(each, encodings) for each in value])


def _encode_name(value: Any, encodings: list[str]) -> bytes:
    if isinstance(value, PersonName):
        known: bytes | None = getattr(value, "original_string", None)
        if known is None and value.encodings is None and encodings[0] in _ASCII_BASED:
            text = "=".join(value.components)
            if text.isascii():
                # The name keeps its bytes, as when pydicom encodes it.
                value.original_string = text.encode("ascii")
                return value.original_string
        return value.encode(encodings)
    if value is None:
        return b""
    if not _are_many(value):
        raise _NotPlain
    return b"\\".join([_encode_name(each, encodings) for each in value])


def _encode_digits(value: Any, encodings: list[str]) -> bytes:
    original: Any = getattr(value, "original_string", _MISSING)
    if original is not _MISSING:
        text: str = original
        return text.encode("latin-1")
    if value is None:
        return b""
    if _are_many(value):
        return b"\\".join([_encode_digits(each, encodings) for each in value])
    return str(value).encode("latin-1")


def _encode_bytes(value: Any, encodings: list[str]) -> bytes:
    if type(value) is bytes:
        return value
    if value is None:
        return b""
    raise _NotPlain


def _number_encoder(order: str, letter: str) -> _Encode:
    one = Struct(order + letter).pack
    types = (int, float) if letter in "fd" else (int,)

    def encode(value: Any, encodings: list[str]) -> bytes:
        if type(value) in types:
            return one(value)
        if value is None or value == "":
            return b""
        # Of a LUT descriptor, not all values are signed even where its VR is SS.
        if letter == "h" or not isinstance(value, MultiValue | list):
            raise _NotPlain
        return pack(f"{order}{len(value)}{letter}", *value)

    return encode


def _tag_encoder(order: str) -> _Encode:
    one = Struct(order + "HH").pack

    def encode(value: Any, encodings: list[str]) -> bytes:
        if isinstance(value, int):
            return one(value >> 16, value & 0xFFFF)
        if value is None:
            return b""
        if not isinstance(value, MultiValue | list):
            raise _NotPlain
        return b"".join([encode(each, encodings) for each in value])

    return encode


# -- writing


class _Writer(NamedTuple):
    """How elements of a VR are written.

    Parameters
    ----------
    header
        From group, element, `name` and length to bytes.
    name
        The VR as it is written, nothing where it is not.
    encode
        None for SQ.
    padding
        What makes an encoded value even.
    """

    header: Callable[[int, int, bytes, int], bytes]
    name: bytes
    encode: _Encode | None
    padding: bytes


_LETTERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}


def _encoders(order: str) -> dict[str, tuple[_Encode | None, bytes]]:
    rows: dict[str, tuple[_Encode | None, bytes]] = {
        vr: (_number_encoder(order, letter), b"") for vr, letter in _LETTERS.items()
    }
    rows |= dict.fromkeys(("AE", "AS", "CS", "DA", "DT", "TM", "UR"), (_encode_string, b" "))
    rows |= dict.fromkeys(("LO", "LT", "SH", "ST", "UC", "UT"), (_encode_text, b" "))
    rows |= dict.fromkeys(("DS", "IS"), (_encode_digits, b" "))
    rows |= dict.fromkeys(("OB", "OD", "OF", "OL", "OV", "OW"), (_encode_bytes, b"\0"))
    return rows | {
        "AT": (_tag_encoder(order), b""),
        "PN": (_encode_name, b" "),
        "SQ": (None, b""),
        "UI": (_encode_string, b"\0"),
        "UN": (_encode_bytes, b""),
    }


def _header(
    order: str, vr: str, is_implicit_vr: bool
) -> tuple[Callable[[int, int, bytes, int], bytes], bytes]:
    """How the header of an element is written, and the name of its VR for that."""
    if is_implicit_vr:
        return Struct(order + "HH0sL").pack, b""
    # A length that does not fit raises, and pydicom makes the element UN.
    code = "HH2sH" if vr in EXPLICIT_VR_LENGTH_16 else "HH2s2xL"
    return Struct(order + code).pack, vr.encode()


@lru_cache(4)
def _writers(is_implicit_vr: bool, is_little_endian: bool) -> Mapping[str | None, _Writer]:
    order = "<" if is_little_endian else ">"
    writers: dict[str | None, _Writer] = {
        vr: _Writer(*_header(order, vr, is_implicit_vr), *row) for vr, row in _encoders(order).items()
    }
    if is_implicit_vr:
        # An element that was read and not looked at, which is written as it is.
        writers[None] = _Writer(*_header(order, "UN", True), _encode_bytes, b"")
    return writers


def encode_plain(dataset: Dataset, is_implicit_vr: bool, is_little_endian: bool) -> bytes | None:
    """The bytes that pydicom writes for a data set, None if it is not plain.

    Parameters
    ----------
    dataset
        Its elements that were read and not looked at are converted where pydicom does so too.
    is_implicit_vr, is_little_endian
        What the transfer syntax says.
    """
    parts: list[bytes] = []
    try:
        _Encoding(is_implicit_vr, is_little_endian, parts).write(dataset, _DEFAULT_ENCODINGS)
    except Exception:  # noqa: BLE001
        # Elements are converted on the way, and pydicom raises whatever their values lead to; if it has to be told,
        # pydicom's writer raises it again.
        return None
    return b"".join(parts)


class _Encoding:
    """A data set while it is encoded.

    Parameters
    ----------
    is_implicit_vr, is_little_endian
        What the transfer syntax says.
    parts
        Takes the bytes.
    """

    def __init__(self, is_implicit_vr: bool, is_little_endian: bool, parts: list[bytes]) -> None:
        self._encoding = (is_implicit_vr, is_little_endian)
        self._writers = _writers(is_implicit_vr, is_little_endian)
        self._delimiter = Struct("<HHL" if is_little_endian else ">HHL").pack
        self._parts = parts

    def write(self, dataset: Dataset, encodings: list[str]) -> None:
        """Write a data set, or an item inside of one that has these character sets."""
        if type(dataset) is not Dataset and type(dataset) is not FileDataset:
            raise _NotPlain
        elements = dict(dataset.items())
        is_as_read = self._is_as_read(dataset)
        if _CHARACTER_SET in elements:
            named = dataset[_CHARACTER_SET].value
            encodings = convert_encodings(named) if named else _DEFAULT_ENCODINGS
        append = self._parts.append
        writers = self._writers
        for tag in sorted(elements, key=int):
            element = elements[tag]
            group, number = tag >> 16, tag & 0xFFFF
            if number == 0 and group > 6:
                # The retired Group Length.
                continue
            if type(element) is not DataElement:
                if not isinstance(element, RawDataElement):
                    raise _NotPlain
                if is_as_read and element.value is not None:
                    self._write_as_read(element)
                    continue
                element = dataset[tag]
            writer = writers.get(element.VR)
            if writer is None:
                raise _NotPlain
            header, name, encode, padding = writer
            if encode is None:
                self._write_sequence(writer, element, encodings)
                continue
            if element.is_undefined_length:
                raise _NotPlain
            value = encode(element.value, encodings)
            if len(value) & 1:
                value += padding
            append(header(group, number, name, len(value)))
            append(value)

    def _is_as_read(self, dataset: Dataset) -> bool:
        """Whether elements that nobody has looked at can be written as they were read."""
        return (
            dataset.original_encoding == self._encoding
            and dataset.original_character_set == dataset._character_set
        )

    def _write_as_read(self, element: RawDataElement) -> None:
        value = element.value
        if element.length == _UNDEFINED or element.VR not in self._writers or value is None:
            raise _NotPlain
        header, name, _, _ = self._writers[element.VR]
        self._parts += (header(element.tag >> 16, element.tag & 0xFFFF, name, len(value)), value)

    def _write_sequence(self, writer: _Writer, element: DataElement, encodings: list[str]) -> None:
        parts = self._parts
        at = len(parts)
        # Here the header is put when the length is known.
        parts.append(b"")
        for item in element.value:
            begin = len(parts)
            parts.append(b"")
            self.write(item, encodings)
            if item.is_undefined_length_sequence_item:
                parts[begin] = self._mark(_ITEM, _UNDEFINED)
                parts.append(self._mark(_ITEM_END, 0))
            else:
                parts[begin] = self._mark(_ITEM, sum(map(len, parts[begin:])))
        if element.is_undefined_length:
            length = _UNDEFINED
            parts.append(self._mark(_SEQUENCE_END, 0))
        else:
            length = sum(map(len, parts[at:]))
        parts[at] = writer.header(element.tag >> 16, element.tag & 0xFFFF, writer.name, length)

    def _mark(self, tag: int, length: int) -> bytes:
        return self._delimiter(tag >> 16, tag & 0xFFFF, length)


# -- reading


def _attribute_with(dataset: Dataset, value: object) -> str:
    return next(name for name, each in vars(dataset).items() if each is value)


class _Template:
    """Makes data sets as pydicom's reader does: its constructor sets each attribute by a long way.

    Parameters
    ----------
    example
        What they are like, but for their elements.
    """

    def __init__(self, example: Dataset) -> None:
        elements: dict[Any, Any] = {}
        self._elements = _attribute_with(Dataset(elements), elements)
        self._state = dict(vars(example))
        del self._state[self._elements]
        self._containers = [
            (name, value) for name, value in self._state.items() if isinstance(value, dict | list | set)
        ]

    def make(self, elements: dict[BaseTag, DataElement | RawDataElement]) -> Dataset:
        """A data set of its own with these elements."""
        dataset = Dataset.__new__(Dataset)
        state = vars(dataset)
        state.update(self._state)
        for name, value in self._containers:
            state[name] = value.copy()
        state[self._elements] = elements
        return dataset


_EMPTY = _Template(Dataset())


def dataset_of(elements: Iterable[DataElement]) -> Dataset:
    """A new data set of these elements; of two with one tag, the second."""
    return _EMPTY.make({element.tag: element for element in elements})


def status_dataset(status: int) -> Dataset:
    """A new data set that has a Status (0000,0900) and nothing else."""
    return dataset_of((DataElement(_STATUS, "US", status, already_converted=True),))


@lru_cache(4)
def _template(is_implicit_vr: bool, is_little_endian: bool) -> _Template:
    return _Template(read_dataset(BytesIO(), is_implicit_vr, is_little_endian))


# By position, which is quicker; behind the fields that are read, those that always have their defaults.
_raw_element = partial(tuple.__new__, RawDataElement)
_DEFAULTS = tuple(RawDataElement._field_defaults.values())


def decode_plain(data: bytes, is_implicit_vr: bool, is_little_endian: bool) -> Dataset | None:
    """The data set that pydicom reads, its elements not converted yet; None if it is not plain.

    Parameters
    ----------
    data
        The whole data set.
    is_implicit_vr, is_little_endian
        What the transfer syntax says.
    """
    order = "<" if is_little_endian else ">"
    read = _read_implicit if is_implicit_vr else _read_explicit
    try:
        elements = read(data, order)
    except (_NotPlain, error):
        return None
    dataset = _template(is_implicit_vr, is_little_endian).make(elements)
    if _CHARACTER_SET in elements:
        named = _character_set(elements[_CHARACTER_SET].value)
        if named is None:
            return None
        dataset.set_original_encoding(is_implicit_vr, is_little_endian, [named])
    return dataset


def _character_set(value: bytes | None) -> str | None:
    """The Python name of a single character set that needs no correction."""
    try:
        return python_encoding.get((value or b"").decode("ascii").rstrip(" \0"))
    except UnicodeDecodeError:
        return None


# Of the two encodings, what begins an element (its tag, and its VR where that is named) with a length; a long length.
_STRUCTS = {
    order: (
        Struct(order + "4sL").unpack_from,
        Struct(order + "6sH").unpack_from,
        Struct(order + "L").unpack_from,
    )
    for order in "<>"
}
# By the VR's bytes, its name and whether its length has two bytes; without those that pydicom may take for others.
_VRS = {vr.encode(): (str(vr), vr in EXPLICIT_VR_LENGTH_16) for vr in STANDARD_VR}


# The beginnings that arrive are few, and looking into one costs more than looking it up.
@lru_cache(4096)
def _tag_of(begin: bytes, order: str) -> BaseTag:
    group, number = unpack(order + "HH", begin[:4])
    if group == _GROUP_OF_DELIMITERS:
        raise _NotPlain
    return BaseTag(group << 16 | number)


@lru_cache(4096)
def _begin_of(begin: bytes, order: str) -> tuple[BaseTag, str, bool]:
    """The tag and the VR, and whether the length of the value has two bytes."""
    tag = _tag_of(begin[:4], order)
    if begin[4:] not in _VRS:
        raise _NotPlain
    return tag, *_VRS[begin[4:]]


def _read_implicit(data: bytes, order: str) -> dict[Any, Any]:
    unpack_begin = _STRUCTS[order][0]
    is_little_endian = order == "<"
    if data[4:5].isupper() and data[5:6].isupper():
        # It looks explicit.
        raise _NotPlain
    elements = {}
    at, end = 0, len(data)
    while at < end:
        begin, length = unpack_begin(data, at)
        start = at + 8
        at = start + length
        if at > end:
            raise _NotPlain
        tag = _tag_of(begin, order)
        value = data[start:at] if length else None
        elements[tag] = _raw_element((tag, None, length, value, start, True, is_little_endian, *_DEFAULTS))
    return elements


def _read_explicit(data: bytes, order: str) -> dict[Any, Any]:
    _, unpack_begin, unpack_length = _STRUCTS[order]
    is_little_endian = order == "<"
    elements = {}
    at, end = 0, len(data)
    while at < end:
        begin, length = unpack_begin(data, at)
        tag, vr, is_short = _begin_of(begin, order)
        start = at + 8
        if not is_short:
            (length,) = unpack_length(data, start)
            start += 4
        at = start + length
        if at > end:
            raise _NotPlain
        value: Any = data[start:at] if length else empty_value_for_VR(vr, raw=True)
        elements[tag] = _raw_element((tag, vr, length, value, start, False, is_little_endian, *_DEFAULTS))
    return elements
