"""The DICOM JSON Model (PS3.18 Annex F): from a data set to what `json.dumps` takes, and back.

A data set whose elements were read and not looked at is converted from its bytes, which is several times as fast as by
way of pydicom's values.
"""

from __future__ import annotations

import logging
import math
import re
from array import array
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from struct import error as struct_error
from struct import iter_unpack
from typing import Any, Final

from pydicom.config import IGNORE
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items
from pydicom.tag import BaseTag
from pydicom.valuerep import DSfloat, PersonName

from ..encoding.vrs import BINARY, NUMBERS, VRS
from .character_sets import codecs_of, terms_of
from .pydicom_insides import RAW_DEFAULTS, dataset_of, raw_element
from .structure import known_representations, representation
from .text import value_text, values_of

_log = logging.getLogger(__name__)

Model = dict[str, Any]
"""A data set as the JSON model has it: for each tag, as eight hexadecimal digits, an object with ``vr`` and a value."""

THRESHOLD: Final = 1024
"""Bytes of a binary value beyond which its place is told instead of the value, where it has one."""

# Group, element, and what tells the character set of text and the sign of pixels.
_CHARACTER_SET: Final = 0x00080005
_PIXEL_REPRESENTATION: Final = 0x00280103
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
# Beyond it, numbers are not exact in all that read JSON (RFC 8259 section 6).
_EXACT: Final = 1 << 53
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_SWAPPED: Final = {2: "H", 4: "I", 8: "Q"}
_DEPTH_LIMIT: Final = 64
# How many models of elements are kept, and up to which length of the value, in bytes.
_KNOWN_MODELS: Final = 2048
_SHORT: Final = 64
_EMPTY: Final[list[Any]] = []


def to_json(
    data_set: Dataset, bulk_uri: Callable[[str], str] | None = None, threshold: int = THRESHOLD
) -> Model:
    """The JSON model of a data set, which is not to be changed: parts of it are those of other models, too.

    An element that cannot be converted costs itself only: one that was read and not looked at is given as UN with its
    bytes, any other one without its value, which is logged.

    Parameters
    ----------
    data_set
        The data set; elements of group 0002 are not expected. Elements that pydicom has deferred are read by it, unless
        a URI stands for them.
    bulk_uri
        From the place of a binary value (VR UN or one that begins with O) to its BulkDataURI. The place is a path: the
        tag, and for elements of items tag, number of the item (from 1) and tag in turn, as in ``54000100/1/54001010``.
        Without it all values are inline.
    threshold
        How many bytes a binary value may have and still be inline.
    """
    return _Writing(bulk_uri, threshold).model(data_set, tuple(codecs_of(())), 0, "")


def of_text(vr: str, text: str) -> Model:
    """The JSON model of an element that is not binary, by the text of its value.

    Parameters
    ----------
    vr
        Its value representation.
    text
        Its values, between backslashes where there are several; numbers in decimal digits.
    """
    if not text:
        return {"vr": vr}
    texts = values_of(vr, text)
    if vr in NUMBERS:
        return _valued(vr, [_decimal(one) for one in texts])
    return _valued(vr, _text_values(vr, texts))


class _Writing:
    """The conversion of one data set with its items.

    Parameters
    ----------
    bulk_uri, threshold
        As of `to_json`.
    """

    def __init__(self, bulk_uri: Callable[[str], str] | None, threshold: int) -> None:
        self._bulk_uri = bulk_uri
        self._threshold = threshold

    def model(
        self, data_set: Dataset, codecs: tuple[str, ...], pixel_representation: int, place: str
    ) -> Model:
        """The model of a data set or an item.

        Parameters
        ----------
        codecs, pixel_representation
            Of what is around it.
        place
            The path that leads to it.
        """
        elements: dict[Any, Any] = dict(data_set.items())
        if _CHARACTER_SET in elements:
            codecs = tuple(codecs_of(_terms(elements[_CHARACTER_SET].value)))
        if _PIXEL_REPRESENTATION in elements:
            pixel_representation = _sign(elements[_PIXEL_REPRESENTATION].value)
        model: Model = {}
        for tag in sorted(elements, key=int):
            if tag & 0xFFFF == 0:
                # Group Length is not part of the model (section F.2.2).
                continue
            name = f"{tag:08X}"
            model[name] = self._element(
                data_set, elements[tag], codecs, pixel_representation, f"{place}/{name}" if place else name
            )
        return model

    def _element(
        self, data_set: Dataset, element: Any, codecs: tuple[str, ...], pixel_representation: int, place: str
    ) -> Model:
        tag, vr, value = int(element.tag), element.VR, element.value
        is_raw = isinstance(element, RawDataElement)
        if is_raw:
            vr = vr or representation(tag, element.length, pixel_representation)
            if vr == "UN":
                vr = _known(tag)
        if vr not in VRS:
            vr = _resolved(vr, value, pixel_representation)
        try:
            if vr == "SQ":
                return self._sequence(data_set[tag].value, codecs, pixel_representation, place)
            if vr in BINARY:
                return self._binary(data_set, element, vr, place)
            if is_raw:
                raw = data_set[tag].value if value is None and element.length else value
                if isinstance(raw, bytes):
                    order = "little" if element.is_little_endian else "big"
                    convert = _known_model if len(raw) <= _SHORT else _raw_model
                    return convert(vr, raw, codecs, order)
                value = raw
            return _valued(vr, _given_values(vr, value))
        except Exception as error:  # noqa: BLE001
            # pydicom raises whatever the bytes of a value lead to.
            _log.warning("element %s is not in the JSON model as %s: %s", place, vr, type(error).__name__)
            if is_raw and isinstance(element.value, bytes):
                return {"vr": "UN", "InlineBinary": b64encode(element.value).decode("ascii")}
            return {"vr": vr}

    def _sequence(
        self, items: Iterable[Dataset], codecs: tuple[str, ...], pixel_representation: int, place: str
    ) -> Model:
        models = [
            self.model(item, codecs, pixel_representation, f"{place}/{number}")
            for number, item in enumerate(items, 1)
        ]
        return {"vr": "SQ", "Value": models} if models else {"vr": "SQ"}

    def _binary(self, data_set: Dataset, element: Any, vr: str, place: str) -> Model:
        value = element.value
        length = (
            element.length if value is None and isinstance(element, RawDataElement) else len(value or b"")
        )
        if not length:
            return {"vr": vr}
        if self._bulk_uri is not None and (value is None or length > self._threshold):
            return {"vr": vr, "BulkDataURI": self._bulk_uri(place)}
        if value is None:
            value = data_set[element.tag].value
        is_little = getattr(element, "is_little_endian", data_set.original_encoding[1] is not False)
        return {"vr": vr, "InlineBinary": b64encode(little_endian(vr, value, is_little)).decode("ascii")}


def little_endian(vr: str, value: bytes, is_little_endian: bool) -> bytes:
    """A binary value as the JSON and XML models and bulk data have it: in little endian (section F.2.7)."""
    unit = VRS[vr].unit
    if is_little_endian or unit == 1 or len(value) % unit:
        return value
    words = array(_SWAPPED[unit], value)
    words.byteswap()
    return words.tobytes()


def _terms(value: Any) -> tuple[str, ...]:
    return terms_of(value.decode("latin-1") if isinstance(value, bytes) else value)


def _sign(value: Any) -> int:
    return int(any(value)) if isinstance(value, bytes) else int(value == 1)


def _resolved(vr: str, value: Any, pixel_representation: int) -> str:
    """One VR of several that pydicom leaves open, such as ``US or SS``."""
    if isinstance(value, bytes):
        return "OW" if "OW" in vr else "UN"
    return ("US", "SS")[pixel_representation] if "SS" in vr else "US" if "US" in vr else "UN"


@lru_cache(4096)
def _known(tag: int) -> str:
    """The VR of an element that somebody wrote as UN, since he did not know it (PS3.5 section 6.2.2)."""
    if tag >> 16 & 1:
        # Private creators have one VR (PS3.5 section 7.8.1).
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    known = known_representations(tag)
    return known[0] if len(known) == 1 and known[0] in VRS else "UN"


def _valued(vr: str, values: list[Any]) -> Model:
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def _raw_model(vr: str, raw: bytes, codecs: tuple[str, ...], order: str) -> Model:
    return _valued(vr, _raw_values(vr, raw, codecs, order))


# Most values of an object are those of the one before it.
_known_model = lru_cache(_KNOWN_MODELS)(_raw_model)


def _raw_values(vr: str, raw: bytes, codecs: Sequence[str], order: str) -> list[Any]:
    if not raw:
        return _EMPTY
    if vr in NUMBERS:
        form = ("<" if order == "little" else ">") + NUMBERS[vr]
        numbers = [number for (number,) in iter_unpack(form, raw)]
        return [_exact(number) for number in numbers] if vr in ("FL", "FD", "SV", "UV") else numbers
    if vr == "AT":
        form = "<HH" if order == "little" else ">HH"
        return [f"{group:04X}{element:04X}" for group, element in iter_unpack(form, raw)]
    return _text_values(vr, values_of(vr, value_text(vr, raw, codecs, order)))


def _given_values(vr: str, value: Any) -> list[Any]:
    """The values of an element that pydicom has converted."""
    if value is None or value == "":
        return _EMPTY
    values: Sequence[Any] = value if isinstance(value, MultiValue | list | tuple) else (value,)
    if vr == "AT":
        return [f"{int(one):08X}" for one in values]
    if vr in NUMBERS:
        return [_exact(one) for one in values]
    if vr == "PN":
        return [_name(str(one or "")) for one in values]
    # DS and IS know the text that they were read from.
    return _text_values(
        vr, ["" if one is None else str(getattr(one, "original_string", one)) for one in values]
    )


def _text_values(vr: str, texts: list[str]) -> list[Any]:
    if vr == "PN":
        return [_name(text) for text in texts]
    if vr == "DS":
        return [_decimal(text) for text in texts]
    if vr == "IS":
        return [int(text) if _INTEGER.fullmatch(text) else text or None for text in texts]
    return [text or None for text in texts]


def _name(text: str) -> dict[str, str] | None:
    """A person name by its component groups; null where it is empty (section F.2.5)."""
    groups = text.split("=", 2)
    named = {name: group.rstrip(" ") for name, group in zip(_GROUPS, groups, strict=False)}
    return {name: group for name, group in named.items() if group} or None


def _decimal(text: str) -> int | float | str | None:
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text or None


def _exact(number: Any) -> int | float | str:
    """A number as JSON has it; in a string where it has no such number, or readers would round it (section F.2.3)."""
    if isinstance(number, float):
        if math.isfinite(number):
            return float(number)
        return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"
    return int(number) if -_EXACT <= number <= _EXACT else str(int(number))


def from_json(
    model: Mapping[str, Any],
    bulk: Callable[[str, str], bytes] | None = None,
    damaged: Callable[[ValueError], object] | None = None,
) -> Dataset:
    """The data set of a JSON model.

    Its text may be beyond what its Specific Character Set holds, since JSON is in UTF-8 whatever that says; to encode
    the data set tells.

    Parameters
    ----------
    model
        What `json.loads` has made of it.
    bulk
        From a BulkDataURI and the VR to the value, in little endian and its text in UTF-8. Without it a BulkDataURI is
        refused.
    damaged
        Told of each element that is wrong, which is left out then. Without it one such element is an error.

    Raises
    ------
    ValueError
        If it is not a JSON model; says which element, and what is wrong with it.
    """
    return _data_set(model, bulk, "", 0, damaged)


def _data_set(
    model: Any,
    bulk: Callable[[str, str], bytes] | None,
    place: str,
    depth: int,
    damaged: Callable[[ValueError], object] | None = None,
) -> Dataset:
    if not isinstance(model, Mapping):
        raise ValueError(f"{place or 'the data set'} is not a JSON object")
    if depth > _DEPTH_LIMIT:
        raise ValueError(f"{place}: sequences are nested more than {_DEPTH_LIMIT} times")
    elements: list[DataElement | RawDataElement] = []
    for name, attribute in model.items():
        here = f"{place}/{name}" if place else str(name)
        try:
            if not isinstance(name, str) or not _TAG.fullmatch(name):
                raise ValueError(f"{here}: a tag of eight hexadecimal digits is expected")
            tag = int(name, 16)
            if tag & 0xFFFF:
                elements.append(_read_element(tag, attribute, bulk, here, depth))
        except ValueError as error:
            if damaged is None:
                raise
            damaged(error)
    elements.sort(key=lambda element: int(element.tag))
    return dataset_of(elements)


def _read_element(
    tag: int, attribute: Any, bulk: Callable[[str, str], bytes] | None, place: str, depth: int
) -> DataElement | RawDataElement:
    vr = attribute.get("vr") if isinstance(attribute, Mapping) else None
    if vr not in VRS:
        raise ValueError(f"{place}: {vr!r} is not a value representation of DICOM")
    given = [key for key in ("Value", "BulkDataURI", "InlineBinary") if key in attribute]
    if len(given) > 1:
        raise ValueError(f"{place} has both {given[0]} and {given[1]}")
    content = attribute[given[0]] if given else None
    try:
        value: Any
        if not given or content is None:
            value = _no_value(vr)
        elif given[0] == "Value":
            value = _value_of(vr, content, bulk, place, depth)
        else:
            # Some write it in a list, as an example of the standard had it.
            text = content[0] if isinstance(content, list) and len(content) == 1 else content
            value = _field_value(vr, _field(vr, given[0], text, bulk))
        if vr == "UN":
            # pydicom would take the bytes for a value of the VR that its dictionary has.
            return raw_element((BaseTag(tag), vr, len(value), value, 0, False, True, *RAW_DEFAULTS))
        return DataElement(tag, vr, value, validation_mode=IGNORE)
    except (TypeError, AttributeError, OverflowError, struct_error, NotBase64) as error:
        raise ValueError(f"{place}: its value is none of {vr} ({error})") from error
    except ValueError as error:
        if str(error).startswith(place):
            raise
        raise ValueError(f"{place}: {error}") from error


def _no_value(vr: str) -> Any:
    if vr == "SQ":
        return Items([])
    return b"" if vr in BINARY else None if vr in NUMBERS or vr in ("AT", "DS", "IS") else ""


def _field(vr: str, key: str, text: Any, bulk: Callable[[str, str], bytes] | None) -> bytes:
    if not isinstance(text, str):
        raise ValueError(f"{key} has to be a string")
    if key == "InlineBinary":
        return b64decode("".join(text.split()), validate=True)
    if bulk is None:
        raise ValueError("BulkDataURI names a value that is not here")
    return bulk(text, vr)


def _field_value(vr: str, field: bytes) -> Any:
    """The value of a Value Field in little endian, its text in UTF-8."""
    if vr in BINARY:
        return field
    if vr == "SQ":
        raise ValueError("a sequence has to have Value")
    codecs = ["utf-8"]
    if vr in VRS and VRS[vr].has_character_set:
        # Else what is not UTF-8 would be replaced.
        field.decode("utf-8")
    values = _raw_values(vr, field, codecs, "little")
    return _value_of(vr, values, None, "", 0)


def _value_of(vr: str, content: Any, bulk: Callable[[str, str], bytes] | None, place: str, depth: int) -> Any:
    if not isinstance(content, list):
        raise ValueError("Value has to be a list")
    if vr == "SQ":
        items = enumerate(content, 1)
        return Items([_data_set(item or {}, bulk, f"{place}/{number}", depth + 1) for number, item in items])
    if vr in BINARY:
        if content:
            raise ValueError(f"{vr} has to have InlineBinary or BulkDataURI, not Value")
        return b""
    convert: Callable[[str, Any], Any] = _CONVERSIONS.get(vr, _text)
    values = [convert(vr, one) for one in content]
    if not values or values == [None]:
        return _no_value(vr)
    return values[0] if len(values) == 1 else values


def _text(vr: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a string")
    return value


def _tag_value(vr: str, value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _TAG.fullmatch(value):
        raise ValueError(f"{value!r} is not a tag of eight hexadecimal digits")
    return int(value, 16)


def _person_name(vr: str, value: Any) -> PersonName:
    if isinstance(value, str):
        # So some services write it.
        return PersonName(value)
    if value is None:
        return PersonName("")
    if not isinstance(value, Mapping) or not all(isinstance(one, str | None) for one in value.values()):
        raise ValueError("a person name has to be an object of strings")
    return PersonName("=".join(value.get(name) or "" for name in _GROUPS).rstrip("="))


def _digits(vr: str, value: Any) -> Any:
    """A value of DS or IS: the text that stands for it, or a number."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is not a number")
    if isinstance(value, str):
        return value.strip(" ") or None
    if vr == "IS":
        if value != int(value):
            raise ValueError(f"{value!r} is not a whole number")
        return str(int(value))
    return str(value) if isinstance(value, int) else str(DSfloat(value, auto_format=True))


def _number(vr: str, value: Any) -> int | float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is not a number")
    if vr in ("FL", "FD"):
        return float(value)
    if isinstance(value, float) and value != int(value):
        raise ValueError(f"{value!r} is not a whole number")
    return int(value)


_CONVERSIONS: Final[dict[str, Callable[[str, Any], Any]]] = {
    "AT": _tag_value,
    "PN": _person_name,
    "DS": _digits,
    "IS": _digits,
    **dict.fromkeys(NUMBERS, _number),
}
