"""What relies on the inside of pydicom: its classes, for speed, as a data set is made in a tenth of its constructor's
time; and what it knows of directory records.

Its test asserts the structure that is relied on here, and fails where a version of pydicom has another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache, partial
from io import BytesIO
from typing import Any

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from .character_sets import UNDECLARED

# By position, which is quicker: tag, VR, length, value, place, whether it is implicit and little endian; and behind the
# fields that are read those that always have their defaults.
raw_element = partial(tuple.__new__, RawDataElement)
RAW_DEFAULTS = tuple(RawDataElement._field_defaults.values())


# What pydicom says in front of an error that came while it wrote an element, once for each level of nesting.
_TAG = re.compile(r"With tag \(([0-9a-fA-F]{4},[0-9a-fA-F]{4})\) got exception: ")


class Template:
    """Makes data sets that are like an example, but for their elements.

    pydicom's constructor sets each attribute through `Dataset.__setattr__`, which looks for a keyword of that name.
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


def _attribute_with(dataset: Dataset, value: object) -> str:
    return next(name for name, each in vars(dataset).items() if each is value)


_EMPTY = Template(Dataset())


def dataset_of(elements: Iterable[DataElement | RawDataElement]) -> Dataset:
    """A new data set of these elements; of two with one tag, the second."""
    return _EMPTY.make({element.tag: element for element in elements})


@lru_cache(4)
def template_of_read(is_implicit_vr: bool, is_little_endian: bool) -> Template:
    """Makes data sets as pydicom's reader does."""
    return Template(read_dataset(BytesIO(), is_implicit_vr, is_little_endian))


def is_read_in(dataset: Dataset, encoding: tuple[bool, bool]) -> bool:
    """Whether elements of a data set that nobody has looked at can be written as they were read."""
    if dataset.original_encoding != encoding:
        return False
    original = dataset.original_character_set
    return original == dataset._character_set or (
        original == [UNDECLARED] and not dataset.get("SpecificCharacterSet")
    )


def bytes_of_name(name: Any) -> bytes | None:
    """The bytes that a `PersonName` was read from or encoded to; None where there are none."""
    known: bytes | None = getattr(name, "original_string", None)
    return known


def why_not_written(error: Exception) -> str:
    """Why pydicom cannot write a data set, in words: the element, and not its value as pydicom's own text has it."""
    tags = _TAG.findall(str(error).partition("\nTraceback")[0])
    what = type(error).__name__
    if not tags:
        return what
    where = " of an item of ".join(f"element ({tag.upper()})" for tag in reversed(tags))
    return f"the value of {where} does not fit its value representation ({what})"


def directory_record_type(dataset: Dataset) -> tuple[str, bool]:
    """The type of the directory record of an object (PS3.3 table F.4-1), and whether it is below a series."""
    # Only media need this.
    from pydicom.fileset import _four_level_record_type, _single_level_record_type

    single = _single_level_record_type(dataset)
    return (_four_level_record_type(dataset), True) if single == "PATIENT" else (single, False)
