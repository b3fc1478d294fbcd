"""What an object says, as a table that people can read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydicom.datadict import dictionary_description, dictionary_has_tag, private_dictionary_description
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.uid import UID

from ....datasets.headers import read_header
from ....encoding.elements import UNDEFINED_LENGTH
from ....errors import UnusableObject
from ....values import frozen
from ...holdings import Holdings
from ..dicomweb.located import located
from ..dicomweb.opened import opened
from ..http.problems import Problem
from ..resources import Reference
from . import words

# How much of a value is shown, in characters, how many values, how many rows, and those of how many nested sequences.
_LONGEST, _VALUES, _ROWS, _DEEPEST = 1_000, 100, 20_000, 16
_BINARY = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))


@frozen
class Row:
    """An attribute.

    Parameters
    ----------
    depth
        How many sequences it is in.
    tag, name, vr, value
        Of it, as they are shown.
    """

    depth: int
    tag: str
    name: str
    vr: str
    value: str


def attributes_of(holdings: Holdings, reference: Reference) -> list[Row]:
    """The attributes of an object.

    Raises
    ------
    Problem
        If it is not there, or cannot be read.
    """
    (found,) = located(holdings, reference)
    try:
        with opened(holdings.storage, found) as (stream, syntax):
            data_set, _ = read_header(stream, syntax)
            rows = [syntax_row(syntax)]
            for row in _rows(data_set, 0):
                if len(rows) == _ROWS:
                    rows.append(Row(0, "", "", "", "there are more than are shown here"))
                    break
                rows.append(row)
            return rows
    except FileNotFoundError:
        raise Problem(404, "there is no such object here; it may have been deleted") from None
    except UnusableObject as error:
        raise Problem(500, f"the file of this object cannot be read: {error}") from error


def syntax_row(syntax: str) -> Row:
    """The row of a transfer syntax."""
    return Row(0, "(0002,0010)", "Transfer Syntax UID", "UI", _named(syntax))


def _rows(data_set: Dataset, depth: int) -> Iterator[Row]:
    for tag in sorted(data_set.keys()):
        yield from rows_of(data_set, tag, depth)


def rows_of(data_set: Dataset, tag: BaseTag, depth: int = 0) -> Iterator[Row]:
    """The rows of an attribute, with those of what is in it.

    Parameters
    ----------
    data_set, tag
        Where it is.
    depth
        How many sequences the data set is in.
    """
    raw: Any = data_set.get_item(tag, keep_deferred=True)
    if isinstance(raw, RawDataElement) and raw.value is None and raw.length:
        length = "in fragments" if raw.length == UNDEFINED_LENGTH else words.size_of(raw.length)
        yield Row(depth, _shown(tag), _name_of(tag, ""), raw.VR or "", length)
        return
    try:
        element = data_set[tag]
    except Exception:  # noqa: BLE001
        # pydicom raises whatever damaged bytes lead to.
        vr = raw.VR or "" if isinstance(raw, RawDataElement) else ""
        yield Row(depth, _shown(tag), _name_of(tag, ""), vr, "its value is damaged")
        return
    name = _name_of(tag, element.private_creator or "")
    if element.VR != "SQ":
        yield Row(depth, _shown(tag), name, element.VR, _value_of(element))
        return
    items = element.value or ()
    count = f"{len(items)} item{'s' * (len(items) != 1)}"
    yield Row(depth, _shown(tag), name, "SQ", count)
    if depth == _DEEPEST:
        yield Row(depth + 1, "", "", "", "what is in it is not shown")
        return
    for number, item in enumerate(items, 1):
        if len(items) > 1:
            yield Row(depth + 1, "", f"Item {number}", "", "")
        yield from _rows(item, depth + 1)


def _shown(tag: BaseTag) -> str:
    return f"({tag.group:04X},{tag.element:04X})"


def _name_of(tag: BaseTag, creator: str) -> str:
    if tag.is_private:
        if tag.is_private_creator:
            return "Private Creator"
        try:
            return private_dictionary_description(tag, creator)
        except KeyError:
            return f"private, of {creator}" if creator else "private"
    return dictionary_description(tag) if dictionary_has_tag(tag) else "unknown"


def _value_of(element: DataElement) -> str:
    value = element.value
    if element.VR in _BINARY or isinstance(value, bytes):
        length = len(value) if isinstance(value, bytes) else 0
        return words.size_of(length) if length else ""
    several = list(value) if isinstance(value, MultiValue | list | tuple) else [value]
    texts = [_text_of(element.VR, each) for each in several[:_VALUES] if each is not None]
    text = "\\".join(texts) + (f" and {len(several) - _VALUES} more" if len(several) > _VALUES else "")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} and {len(text) - _LONGEST} characters more"


def _text_of(vr: str, value: object) -> str:
    text = str(value)
    if vr == "PN":
        return str(words.name_of(text))
    if vr == "UI":
        return _named(text)
    return words.date_of(text) if vr == "DA" else words.time_of(text) if vr == "TM" else text


def _named(uid: str) -> str:
    """A UID with its name, where it has one."""
    name = UID(uid).name
    return uid if name == uid else f"{uid} ({name})"
