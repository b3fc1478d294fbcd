"""Data sets of plain elements to and from bytes (PS3.5 chapter 7): what pydicom's writer and reader give, but faster.

None stands for a data set that is not plain (ambiguous VRs, values of other types, broken encodings): pydicom has to do
it. Responses need many small data sets, so there are also cheap ways to make one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from struct import Struct, error, pack
from typing import Any, Final, NamedTuple

from pydicom.charset import default_encoding, python_encoding
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement, empty_value_for_VR
from pydicom.dataset import Dataset, FileDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.valuerep import PersonName

from ..encoding.elements import (
    FIRST_DELIMITER,
    HEAD_SIZE,
    IN_HEAD,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    Encoding,
    encoding_of,
    looks_like_vr,
)
from ..encoding.vrs import VRS, ValueRepresentation
from .character_sets import (
    GB_2312_ESCAPE,
    UTF_8,
    CannotHold,
    TextEncoder,
    are_beyond_pydicom,
    codecs_of,
    holds,
    is_utf_8,
    significant,
    terms_of,
    text_encoder,
)
from .pydicom_insides import (
    RAW_DEFAULTS,
    bytes_of_name,
    dataset_of,
    is_read_in,
    raw_element,
    template_of_read,
)
from .text import ESCAPE, value_text, values_of

# From a value and what encodes its text to bytes, without padding.
_Encode = Callable[[Any, TextEncoder], bytes]

_CHARACTER_SET: Final = BaseTag(0x00080005)
_STATUS: Final = BaseTag(0x00000900)
_UTF_8_CHARACTER: Final = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
_MISSING: Final = object()


class NotPlain(Exception):
    """Something that is for pydicom."""


class TextNotEncodable(ValueError):
    """An element has a character that its character set cannot encode.

    Parameters
    ----------
    tag
        The element.
    chosen
        Specific Character Set as the data set has it; empty where it has none.
    """

    def __init__(self, tag: int, chosen: str) -> None:
        super().__init__(tag, chosen)
        self.tag = tag
        self.chosen = chosen

    def __str__(self) -> str:
        character_set = f"the character set {self.chosen}" if self.chosen else "the default character set"
        return f"element ({self.tag >> 16:04X},{self.tag & 0xFFFF:04X}) has a character that {character_set} lacks"


def _are_many(value: object) -> bool:
    return isinstance(value, MultiValue | list | tuple)


def _encode_string(value: Any, encoder: TextEncoder) -> bytes:
    if isinstance(value, str):
        return value.encode("latin-1")
    if value is None:
        return b""
    if not _are_many(value):
        raise NotPlain
    return b"\\".join([_encode_string(each or "", encoder) for each in value])


def _encode_text(value: Any, encoder: TextEncoder) -> bytes:
    if isinstance(value, str):
        if value.isascii() and (not value or encoder.is_ascii_based):
            return value.encode("ascii")
        return encoder.encode(value)
    if value is None:
        return b""
    if not _are_many(value):
        raise NotPlain
    return b"\\".join([_encode_text(each, encoder) for each in value])


def _encode_name(value: Any, encoder: TextEncoder) -> bytes:
    if isinstance(value, PersonName):
        if value.encodings is None:
            text = "=".join(value.components)
            if encoder.is_ascii_based and text.isascii() and bytes_of_name(value) is None:
                # The name keeps its bytes, as when pydicom encodes it.
                value.original_string = text.encode("ascii")
                return value.original_string
            if not text.isascii():
                # It would keep these bytes, too, for any other character set.
                encoder.check(text)
                return (
                    encoder.encode(text) if encoder.is_by_pieces else PersonName(text).encode(encoder.codecs)
                )
        elif value.encodings != tuple(encoder.codecs):
            encoder.check("".join(value.components))
        if encoder.is_by_pieces and GB_2312_ESCAPE not in (bytes_of_name(value) or b""):
            # Where pydicom has made the bytes, they are not right.
            return encoder.encode("=".join(value.components))
        return value.encode(encoder.codecs)
    if value is None:
        return b""
    if not _are_many(value):
        raise NotPlain
    return b"\\".join([_encode_name(each, encoder) for each in value])


def _encode_digits(value: Any, encoder: TextEncoder) -> bytes:
    original: Any = getattr(value, "original_string", _MISSING)
    if original is not _MISSING:
        text: str = original
        return text.encode("latin-1")
    if value is None:
        return b""
    if _are_many(value):
        return b"\\".join([_encode_digits(each, encoder) for each in value])
    return str(value).encode("latin-1")


def _encode_bytes(value: Any, encoder: TextEncoder) -> bytes:
    if type(value) is bytes:
        return value
    if value is None:
        return b""
    raise NotPlain


def _number_encoder(order: str, letter: str) -> _Encode:
    one = Struct(order + letter).pack
    types = (int, float) if letter in "fd" else (int,)

    def encode(value: Any, encoder: TextEncoder) -> bytes:
        if type(value) in types:
            return one(value)
        if value is None or value == "":
            return b""
        # Of a LUT descriptor, not all values are signed even where its VR is SS.
        if letter == "h" or not isinstance(value, MultiValue | list):
            raise NotPlain
        return pack(f"{order}{len(value)}{letter}", *value)

    return encode


def _tag_encoder(order: str) -> _Encode:
    one = Struct(order + "HH").pack

    def encode(value: Any, encoder: TextEncoder) -> bytes:
        if isinstance(value, int):
            return one(value >> 16, value & 0xFFFF)
        if value is None:
            return b""
        if not isinstance(value, MultiValue | list):
            raise NotPlain
        return b"".join([encode(each, encoder) for each in value])

    return encode


class Writer(NamedTuple):
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


_BY_NAME: dict[str, _Encode] = {"PN": _encode_name, "DS": _encode_digits, "IS": _encode_digits}


def _encoder(vr: ValueRepresentation, order: str) -> _Encode | None:
    if vr.name == "SQ":
        return None
    if vr.name == "AT":
        return _tag_encoder(order)
    if vr.number:
        return _number_encoder(order, vr.number)
    if vr.is_text:
        return _BY_NAME.get(vr.name) or (_encode_text if vr.has_character_set else _encode_string)
    return _encode_bytes


@lru_cache(4)
def writers_of(encoding: Encoding) -> Mapping[str | None, Writer]:
    """How elements are written, by VR; by None those of an unknown one, where it is not written."""
    # A length that does not fit raises, and pydicom makes the element UN.
    writers: dict[str | None, Writer] = {
        # pydicom writes UN as it is.
        name: Writer(
            *encoding.header_format(name),
            _encoder(vr, encoding.struct_order),
            b"" if name == "UN" else vr.padding,
        )
        for name, vr in VRS.items()
    }
    if encoding.is_implicit:
        # An element that was read and not looked at, which is written as it is.
        writers[None] = Writer(*encoding.header_format(""), _encode_bytes, b"")
    return writers


def encode_plain(
    dataset: Dataset, is_implicit_vr: bool, is_little_endian: bool, *, is_strict: bool = False
) -> bytes | None:
    """The bytes that pydicom writes for a data set, None if it is not plain.

    Parameters
    ----------
    dataset
        Its elements that were read and not looked at are converted where pydicom does so too.
    is_implicit_vr, is_little_endian
        What the transfer syntax says.
    is_strict
        See `text_encoder`.

    Raises
    ------
    TextNotEncodable
        Where pydicom would write another text.
    """
    parts: list[bytes] = []
    encoder = first_encoder(dataset, is_strict)
    try:
        writer = _PlainWriter(encoding_of(is_implicit_vr, is_little_endian), parts, is_strict)
        writer.write(dataset, encoder)
    except TextNotEncodable:
        raise
    except Exception:  # noqa: BLE001
        # Elements are converted on the way, and pydicom raises whatever their values lead to; if it has to be told,
        # pydicom's writer raises it again.
        return None
    return b"".join(parts)


class _PlainWriter:
    """A data set while it is encoded.

    Parameters
    ----------
    encoding
        What the transfer syntax says.
    parts
        Takes the bytes.
    is_strict
        See `text_encoder`.
    """

    def __init__(self, encoding: Encoding, parts: list[bytes], is_strict: bool) -> None:
        self._is_strict = is_strict
        self._encoding = encoding
        self._flags = (encoding.is_implicit, encoding.is_little_endian)
        self._writers = writers_of(encoding)
        self._parts = parts

    def write(self, dataset: Dataset, encoder: TextEncoder) -> None:
        """Write a data set, or an item inside of one whose text is encoded so."""
        if type(dataset) is not Dataset and type(dataset) is not FileDataset:
            raise NotPlain
        elements = dict(dataset.items())
        is_as_read = is_read_in(dataset, self._flags)
        if _CHARACTER_SET in elements:
            encoder = encoder_of(dataset, self._is_strict)
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
                    raise NotPlain
                if is_as_read and element.value is not None:
                    self._write_as_read(element)
                    continue
                element = dataset[tag]
            writer = writers.get(element.VR)
            if writer is None:
                raise NotPlain
            header, name, encode, padding = writer
            if encode is None:
                self._write_sequence(writer, element, encoder)
                continue
            if element.is_undefined_length:
                raise NotPlain
            try:
                value = encode(element.value, encoder)
            except CannotHold:
                raise TextNotEncodable(tag, encoder.chosen) from None
            if len(value) & 1:
                value += padding
            append(header(group, number, name, len(value)))
            append(value)

    def _write_as_read(self, element: RawDataElement) -> None:
        value = element.value
        if element.length == UNDEFINED_LENGTH or element.VR not in self._writers or value is None:
            raise NotPlain
        header, name, _, _ = self._writers[element.VR]
        self._parts += (header(element.tag >> 16, element.tag & 0xFFFF, name, len(value)), value)

    def _write_sequence(self, writer: Writer, element: DataElement, encoder: TextEncoder) -> None:
        parts, mark = self._parts, self._encoding.header
        at = len(parts)
        # Here the header is put when the length is known.
        parts.append(b"")
        for item in element.value:
            begin = len(parts)
            parts.append(b"")
            self.write(item, encoder)
            if item.is_undefined_length_sequence_item:
                parts[begin] = mark(ITEM, "", UNDEFINED_LENGTH)
                parts.append(mark(ITEM_END, "", 0))
            else:
                parts[begin] = mark(ITEM, "", sum(map(len, parts[begin:])))
        if element.is_undefined_length:
            length = UNDEFINED_LENGTH
            parts.append(mark(SEQUENCE_END, "", 0))
        else:
            length = sum(map(len, parts[at:]))
        parts[at] = writer.header(element.tag >> 16, element.tag & 0xFFFF, writer.name, length)


def first_encoder(dataset: Dataset, is_strict: bool) -> TextEncoder:
    """What encodes the text of a data set as long as it has no Specific Character Set.

    Where it was read without one, though it has UTF-8, text that is not written as it was read has to be told of.
    """
    return text_encoder((), is_strict=is_strict or dataset.original_character_set == codecs_of(()))


def encoder_of(dataset: Dataset, is_strict: bool) -> TextEncoder:
    """What encodes the text of a data set that has a Specific Character Set."""
    terms = terms_of(dataset[_CHARACTER_SET].value)
    return text_encoder(terms, is_strict=is_strict) if any(terms) else first_encoder(dataset, is_strict)


def check_text(dataset: Dataset, encoder: TextEncoder, is_strict: bool) -> None:
    """Raise `TextNotEncodable` for a data set in whose text pydicom's writer would replace characters.

    Parameters
    ----------
    encoder
        Of what is around it.
    is_strict
        See `text_encoder`.
    """
    is_other = False
    if _CHARACTER_SET in dataset:
        encoder = encoder_of(dataset, is_strict)
        is_other = list(dataset._character_set) != encoder.codecs
    is_recoded = dataset.original_character_set != dataset._character_set
    element: Any
    for tag, element in dict(dataset.items()).items():
        if not isinstance(element, DataElement):
            if not is_recoded and element.VR != "SQ":
                # It is written as it was read.
                continue
            element = dataset[tag]
        if element.VR == "SQ":
            for item in element.value:
                check_text(item, encoder, is_strict)
        elif (row := VRS.get(element.VR)) is not None and row.has_character_set:
            value = element.value
            for each in value if _are_many(value) else (value,):
                text = str(each) if isinstance(each, str | PersonName) else ""
                if not holds(text, encoder.allowed):
                    raise TextNotEncodable(tag, encoder.chosen)
                is_kept = encoder.is_for_pydicom(text, is_name=element.VR == "PN")
                if (is_other and not text.isascii()) or not is_kept:
                    # pydicom takes the term for another one, or does not do what it means. As if there was none, it
                    # is sent in ISO_IR 192.
                    raise TextNotEncodable(tag, "")


def in_unicode(dataset: Dataset) -> Dataset:
    """A copy of a data set whose text, also that of its items, is in ISO_IR 192."""
    elements = list(_without_character_set(dataset))
    elements.append(DataElement(_CHARACTER_SET, "CS", UTF_8, already_converted=True))
    return dataset_of(elements)


def _without_character_set(dataset: Dataset) -> Iterator[DataElement]:
    for element in dataset:
        if element.VR == "SQ":
            items = [dataset_of(_without_character_set(item)) for item in element.value]
            yield DataElement(element.tag, "SQ", Sequence(items))
        elif element.tag != _CHARACTER_SET:
            yield element


def status_dataset(status: int) -> Dataset:
    """A new data set that has a Status (0000,0900) and nothing else."""
    return dataset_of((DataElement(_STATUS, "US", status, already_converted=True),))


def decode_plain(data: bytes, is_implicit_vr: bool, is_little_endian: bool) -> Dataset | None:
    """The data set that pydicom reads, its elements not converted yet; None if it is not plain.

    Parameters
    ----------
    data
        The whole data set.
    is_implicit_vr, is_little_endian
        What the transfer syntax says.
    """
    try:
        elements = _read(data, encoding_of(is_implicit_vr, is_little_endian))
    except (NotPlain, error):
        return None
    dataset = template_of_read(is_implicit_vr, is_little_endian).make(elements)
    terms: tuple[str, ...] = ()
    if _CHARACTER_SET in elements:
        terms = _terms_read(elements[_CHARACTER_SET].value)
        codecs = codecs_of(terms) if terms else [default_encoding]
        if len(terms) > 1 or are_beyond_pydicom(codecs):
            return None
        dataset.set_original_encoding(is_implicit_vr, is_little_endian, codecs)
    if not terms and not data.isascii():
        _decode_undeclared(dataset)
    return dataset


def _terms_read(value: bytes | None) -> tuple[str, ...]:
    return significant(terms_of((value or b"").decode("latin-1")))


def correct_character_sets(dataset: Dataset) -> None:
    """Make a data set that pydicom has read, and its items, decode text with our table of character sets.

    pydicom knows fewer spellings, and reads what it does not know, or is not told, as Latin-1.
    """
    terms: tuple[str, ...] = ()
    if _CHARACTER_SET in dataset:
        value: Any = dict(dataset.items())[_CHARACTER_SET].value
        terms = terms_of(value.decode("latin-1") if isinstance(value, bytes) else value)
        if not any(terms):
            terms = ()
        elif terms != significant(terms) or not python_encoding.keys() >= set(terms):
            _decode_with(dataset, codecs_of(terms))
        if terms and are_beyond_pydicom(codecs_of(terms)):
            _decode_escaped(dataset, codecs_of(terms))
    if not terms and dataset._parent_encoding == default_encoding:
        _decode_undeclared(dataset)
    for element in dict(dataset.items()).values():
        if isinstance(element, DataElement) and element.VR == "SQ":
            for item in element.value:
                correct_character_sets(item)


def _decode_undeclared(dataset: Dataset) -> None:
    """Decode text of which no character set is told. What nobody looks at is still written as it was read."""
    if _has_utf_8(dataset):
        codecs = codecs_of(())
        dataset._parent_encoding = codecs
        _decode_with(dataset, codecs)


def _has_utf_8(dataset: Dataset) -> bool:
    """Whether there is text in UTF-8 of which no character set tells, here or in an item."""
    value: Any
    for tag, element in dict(dataset.items()).items():
        value = element.value
        if isinstance(element, DataElement):
            if element.VR == "SQ" and any(_CHARACTER_SET not in item and _has_utf_8(item) for item in value):
                return True
        elif isinstance(value, bytes) and not value.isascii():
            vr = element.VR or (dictionary_VR(tag) if dictionary_has_tag(tag) else "")
            if vr == "SQ":
                # What is inside is not read yet.
                is_found = _UTF_8_CHARACTER.search(value) is not None
            else:
                is_found = vr in VRS and VRS[vr].has_character_set and is_utf_8(value)
            if is_found:
                return True
    return False


def _decode_with(dataset: Dataset, codecs: list[str]) -> None:
    is_implicit, is_little_endian = dataset.original_encoding
    dataset.set_original_encoding(is_implicit, is_little_endian, codecs)
    for element in dict(dataset.items()).values():
        if isinstance(element, DataElement) and element.VR == "SQ":
            for item in element.value:
                if _CHARACTER_SET not in item:
                    item._parent_encoding = codecs
                    _decode_with(item, codecs)


def _decode_escaped(dataset: Dataset, codecs: list[str]) -> None:
    """Decode text that `are_beyond_pydicom` is about; what it was read from is kept of names."""
    for tag, element in dict(dataset.items()).items():
        raw = element.value
        if isinstance(raw, bytes) and ESCAPE not in raw:
            continue
        vr = element.VR or (dictionary_VR(tag) if dictionary_has_tag(tag) else "")
        if vr == "SQ":
            for item in _items_of(dataset, tag):
                if _CHARACTER_SET not in item:
                    _decode_escaped(item, codecs)
        elif isinstance(raw, bytes) and vr in VRS and VRS[vr].has_character_set:
            values: list[Any] = values_of(vr, value_text(vr, raw, codecs, "little")) or [""]
            if vr == "PN":
                parts = raw.rstrip(b" \0").split(b"\\")
                known = parts if len(parts) == len(values) else [None] * len(values)
                values = [
                    PersonName(value, codecs, part, IGNORE) for value, part in zip(values, known, strict=True)
                ]
            value = values if len(values) > 1 else values[0]
            dataset[tag] = DataElement(tag, vr, value, validation_mode=IGNORE)


def _items_of(dataset: Dataset, tag: BaseTag) -> Iterable[Dataset]:
    try:
        items: Iterable[Dataset] = dataset[tag].value
    except Exception:  # noqa: BLE001
        # pydicom raises whatever the bytes lead to, again to who looks at the sequence.
        return ()
    return items


@lru_cache(4)
def _beginnings(encoding: Encoding) -> Callable[[bytes], tuple[BaseTag, str | None, int]]:
    """What `Encoding.beginning` says, as pydicom has it. Tags are remembered, since to make one takes long."""

    @lru_cache(4096)
    def beginning(first: bytes) -> tuple[BaseTag, str | None, int]:
        tag, vr, form = encoding.beginning(first)
        if tag >= FIRST_DELIMITER or (vr not in VRS and not encoding.is_implicit):
            raise NotPlain
        return BaseTag(tag), vr or None, form

    return beginning


def _read(data: bytes, encoding: Encoding) -> dict[BaseTag, DataElement | RawDataElement]:
    """The elements as pydicom's reader makes them. It is the loop of `elements`, which would take a tenth longer."""
    is_implicit, is_little_endian = encoding.is_implicit, encoding.is_little_endian
    if is_implicit and looks_like_vr(data[4:6]):
        # pydicom takes it for explicit.
        raise NotPlain
    read_head, beginning = encoding.head, _beginnings(encoding)
    elements: dict[BaseTag, DataElement | RawDataElement] = {}
    at, end = 0, len(data)
    while at < end:
        first, length = read_head(data, at)
        tag, vr, form = beginning(first)
        start = at + HEAD_SIZE
        if form != IN_HEAD:
            start, length = encoding.value(form, length, data, at)
        at = start + length
        if at > end:
            raise NotPlain
        value: Any = data[start:at]
        if not length:
            value = None if vr is None else empty_value_for_VR(vr, raw=True)
        elements[tag] = raw_element(
            (tag, vr, length, value, start, is_implicit, is_little_endian, *RAW_DEFAULTS)
        )
    return elements
