"""What the pages find in the index: by the query of C-FIND, with the keys that people type."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement

from ....datasets.levels import UNIQUE_KEYS, Level
from ....datasets.pydicom_insides import dataset_of
from ...catalogue.inspection import Inspection
from ...catalogue.levels import Attributes
from ...catalogue.options import QueryOptions
from ...catalogue.query import Order, search
from ...holdings import Holdings
from .words import date_of, name_of

# What is shown at each level, besides the UID.
_SHOWN = {
    Level.STUDY: """
        PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyDescription AccessionNumber
        ModalitiesInStudy NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances
    """,
    Level.SERIES: """
        Modality SeriesNumber SeriesDescription SeriesDate SeriesTime BodyPartExamined NumberOfSeriesRelatedInstances
    """,
    Level.IMAGE: "InstanceNumber SOPClassUID NumberOfFrames Rows Columns ContentDate ContentTime",
}
# What is told of a patient: how it is called, and how its value is shown.
_OF_PATIENT: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "PatientName": ("name", name_of),
    "PatientID": ("ID", str),
    "PatientBirthDate": ("born", date_of),
    "PatientSex": ("sex", str),
}
# In shorter parts of a text no index helps to look for it anywhere in values.
_SHORT = 3


class Found(Mapping[str, str]):
    """The attributes of a match by their keywords; empty text where it has none.

    Parameters
    ----------
    attributes
        As a search gives them.

    Attributes
    ----------
    others
        In words what objects of a study say otherwise of the patient, as far as somebody has looked for it.
    """

    def __init__(self, attributes: Attributes) -> None:
        self._attributes = attributes
        self.others: Sequence[str] = ()

    def __getitem__(self, keyword: str) -> str:
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise KeyError(keyword)
        value = self._attributes.get(f"{tag:08X}", "")
        return value if isinstance(value, str) else ""

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return len(self._attributes)


def find(
    holdings: Holdings,
    level: Level,
    keys: Mapping[str, str],
    options: QueryOptions,
    *,
    skip: int = 0,
    count: int | None = None,
) -> list[Found]:
    """What matches keys at a level, of the studies those first that came last.

    Parameters
    ----------
    holdings
        What there is.
    level
        The level.
    keys
        The keys by keyword.
    options
        Of the query.
    skip, count
        How many matches are left out, and how many there are at the most.

    Raises
    ------
    ServiceRefusal
        If a key cannot be processed, or the index cannot be read now.
    """
    wanted = dict.fromkeys((UNIQUE_KEYS[level], *_SHOWN[level].split()), "") | dict(keys)
    identifier = dataset_of(
        [_element("QueryRetrieveLevel", level.name), *map(_element, wanted, wanted.values())]
    )
    order = Order(newest_first=level is Level.STUDY, skip=skip)
    found = search(holdings.index_to_search(), "STUDY", identifier, options=options, order=order)
    return list(islice((Found(each) for each in found.matches if each is not None), count))


def other_patients(holdings: Holdings, study: str) -> Sequence[str]:
    """In words what objects of a study say otherwise of the patient than the study is shown with.

    Raises
    ------
    ServiceRefusal
        If the index cannot be read now.
    """
    row = Inspection(holdings.index_to_search()).study(study)
    if row is None:
        return ()
    return [
        f"{words} {in_words(value)}"
        for keyword, (words, in_words) in _OF_PATIENT.items()
        for value in row.others.get(f"{tag_for_keyword(keyword):08X}", ())
    ]


def _element(keyword: str, text: str) -> DataElement:
    return DataElement(keyword, dictionary_VR(keyword), text, validation_mode=config.IGNORE)


def _anywhere(text: str) -> str:
    """The key for a part of a value; a text with wild cards is a key already."""
    if not text or "*" in text or "?" in text:
        return text
    return f"*{text}*" if len(text) >= _SHORT else f"{text}*"


def text_key(text: str) -> str:
    """The key for a part of a value in any of the usual cases: other than in names, queries tell these apart."""
    key = _anywhere(" ".join(text.replace("\\", " ").split()))
    return "\\".join(dict.fromkeys((key, key.lower(), key.upper(), key.title(), _capitalized(key))))


def _capitalized(key: str) -> str:
    first = next((at for at, each in enumerate(key) if each.isalpha()), 0)
    return key[:first] + key[first:].capitalize()


def name_key(text: str) -> str:
    """The key for a name as people write it: ``doe``, ``DOE, Jane``, ``doe jane``, ``Doe^Jane``."""
    return "*".join(_anywhere(text.replace("\\", " ").strip()).replace(",", " ").split())


def date_range(first: str, last: str) -> str:
    """The key for the days between two that a browser gives as ``2026-11-29``, both included; empty for any day."""
    days = [each.replace("-", "") for each in (first, last)]
    return "-".join(days) if any(days) else ""


def in_order(found: Sequence[Found], number: str, uid: str) -> list[Found]:
    """Matches by a number, those without one last.

    Parameters
    ----------
    found
        The matches.
    number, uid
        The keywords of the attributes with the number, and with what decides where that is the same.
    """

    def key(one: Found) -> tuple[bool, int, str]:
        text = one[number].strip()
        is_number = text.isascii() and text.lstrip("+-").isdecimal()
        return not is_number, int(text) if is_number else 0, one[uid]

    return sorted(found, key=key)
