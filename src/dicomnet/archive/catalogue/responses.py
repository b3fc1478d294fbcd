"""Response identifiers of C-FIND (PS3.4 section C.4.1.1.3.2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from ...datasets.character_sets import LATIN_1, UTF_8, character_set, holds, significant, terms_of
from ...datasets.pydicom_insides import dataset_of
from ...datasets.text import values_of
from .identifiers import QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE, Key, Request
from .levels import Attributes
from .matching import NUMBER_VRS
from .schema import KEPT_IN_ITEMS, SPECIFIC_CHARACTER_SET, TIMEZONE_OFFSET


def response(request: Request, attributes: Attributes, retrieve_ae_title: str) -> Dataset:
    """The identifier of a response: the attributes that were asked for, of one match (PS3.4 section C.4.1.1.3.2)."""
    elements = list(_elements(request.keys, attributes))
    elements.append(_element(QUERY_RETRIEVE_LEVEL, "CS", request.level.name))
    if retrieve_ae_title:
        elements.append(_element(RETRIEVE_AE_TITLE, "AE", retrieve_ae_title))
    offset = offset_of(request, attributes)
    if offset:
        elements.append(_element(TIMEZONE_OFFSET, "SH", offset))
    character_set = character_set_of(request, attributes)
    if character_set:
        elements.append(_element(SPECIFIC_CHARACTER_SET, "CS", character_set))
    return dataset_of(elements)


def offset_of(request: Request, attributes: Attributes) -> str:
    """Timezone Offset From UTC (0008,0201) of the response; empty if it has none."""
    if not request.options.timezone or not _has_time(request):
        return ""
    offset: str = attributes.get(f"{TIMEZONE_OFFSET:08X}", "")
    return offset


def _has_time(request: Request) -> bool:
    return request.offset is not None or any(key.vr in ("DA", "TM", "DT") for key in request.keys)


def _elements(keys: Sequence[Key], attributes: Attributes) -> Iterator[DataElement]:
    for key in keys:
        value = attributes.get(f"{key.tag:08X}", "")
        if key.item is None:
            yield _element(key.tag, key.vr, value if isinstance(value, str) else "")
        else:
            items = [_item(key.item, item) for item in value or ()]
            yield DataElement(key.tag, "SQ", Items(items))


def _item(keys: Sequence[Key], attributes: Attributes) -> Dataset:
    """An item with the attributes that were asked for; with all of them if the request names none."""
    asked = keys or [
        Key(tag, vr, "", () if vr == "SQ" else None)
        for tag, vr in KEPT_IN_ITEMS.items()
        if f"{tag:08X}" in attributes
    ]
    return dataset_of(_elements(asked, attributes))


def _element(tag: int, vr: str, text: str) -> DataElement:
    return DataElement(tag, vr, value_of(vr, text), validation_mode=config.IGNORE)


def value_of(vr: str, text: str) -> Any:
    """The value of an element with this text: None, one, or a list of several."""
    values: list[Any] = values_of(vr, text)
    if vr in NUMBER_VRS:
        values = [number for number in map(_number(vr), values) if number is not None]
    return values[0] if len(values) == 1 else values or None


def _number(vr: str) -> Callable[[str], float | int | str | None]:
    """A conversion of text to a value that pydicom accepts as a number of this VR, or to None if it is not one."""

    def convert(text: str) -> float | int | str | None:
        try:
            number = float(text)
            if vr in ("FL", "FD"):
                return number
            if vr == "DS":
                return text.strip()
            return int(number)
        except (ValueError, OverflowError):
            return None

    return convert


def character_set_of(request: Request, attributes: Attributes) -> str:
    """The character set of the response: that of the request if it can encode the values (PS3.4 section C.2.2.2)."""
    text = "".join(_texts(request.keys, attributes))
    if text.isascii():
        return ""
    terms = significant(terms_of(request.character_set))
    if not terms:
        return "ISO_IR 100" if holds(text, (LATIN_1,)) else UTF_8
    row = character_set(terms[0])
    is_single = len(terms) == 1 and row is not None and not row.term.startswith("ISO 2022")
    if is_single and row is not None and row.term and holds(text, (row.codec,)):
        return row.term
    return UTF_8


def _texts(keys: Sequence[Key], attributes: Attributes) -> Iterator[str]:
    for key in keys:
        value = attributes.get(f"{key.tag:08X}", "")
        yield value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
