"""Which matches of the peer are meant: those that agree with the keys of a row, and series that fit conditions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ..values import frozen

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_CONDITION = re.compile(r"([A-Za-z]\w*)(!=|!~|=|~)(.*)", re.DOTALL)


class Agreement(Enum):
    """What a match says of a key."""

    AGREES = auto()
    DIFFERS = auto()
    UNTOLD = auto()


@frozen
class Condition:
    """A condition on a series.

    Parameters
    ----------
    keyword
        The attribute that it is about.
    is_pattern
        Whether ``*`` and ``?`` in the value are wild cards.
    is_negative
        Whether it is met by series that do not have the value.
    value
        The value. Upper and lower case are the same.
    """

    keyword: str
    is_pattern: bool
    is_negative: bool
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition such as ``Modality=CT``, ``SeriesDescription~*thin*``, or ``Modality!=SR``.

        Raises
        ------
        ValueError
            If it is none, or its attribute is not one of a series.
        """
        from ..datasets.levels import LEVEL_OF, Level

        found = _CONDITION.fullmatch(text)
        if found is None:
            raise ValueError(
                f"{text!r} is no condition; write Modality=CT, SeriesDescription~*thin*, or != and !~ for the opposite"
            )
        keyword, sign, value = found.groups()
        if LEVEL_OF.get(keyword) is not Level.SERIES:
            raise ValueError(f"{text!r}: {keyword!r} is not an attribute of series, such as Modality")
        return cls(keyword, "~" in sign, "!" in sign, value.strip())

    def is_met(self, match: Dataset) -> bool:
        """Whether a series meets it. One that does not say the attribute has no value."""
        values = text_values(match, self.keyword) or [""]
        wanted = self.value.casefold()
        if self.is_pattern:
            found = any(fnmatchcase(each.casefold(), wanted.replace("[", "[[]")) for each in values)
        else:
            found = wanted in [each.casefold() for each in values]
        return found is not self.is_negative

    def __str__(self) -> str:
        return f"{self.keyword}{'!' if self.is_negative else ''}{'~' if self.is_pattern else '='}{self.value}"


@frozen
class Selection:
    """Which series of a study are retrieved.

    Parameters
    ----------
    wanted
        Conditions that a series has to meet, all of them.
    excluded
        Conditions of which it may meet none.
    least
        How many objects it has to have.
    """

    wanted: Sequence[Condition] = ()
    excluded: Sequence[Condition] = ()
    least: int = 1

    @property
    def keywords(self) -> list[str]:
        """The attributes that the peer is asked for because of it."""
        return [each.keyword for each in (*self.wanted, *self.excluded)]

    def takes(self, match: Dataset) -> bool:
        """Whether a series is retrieved, if it has enough objects."""
        return all(each.is_met(match) for each in self.wanted) and not any(
            each.is_met(match) for each in self.excluded
        )

    def __str__(self) -> str:
        return f"{list(map(str, self.wanted))} {list(map(str, self.excluded))} {self.least}"


def text_values(match: Dataset, keyword: str) -> list[str]:
    """The values of an attribute of a match as text, without those that are empty or cannot be read."""
    from pydicom.multival import MultiValue

    try:
        element = match[keyword]
        value = element.value
        values = list(value) if isinstance(value, MultiValue | list) else [value]
        return [text for each in values if each is not None and (text := str(each).strip(" \0"))]
    except Exception:  # noqa: BLE001
        # It is not there, or pydicom may raise anything for a peer's bytes.
        return []


def agreement(match: Dataset, keys: Mapping[str, str]) -> tuple[Agreement, str]:
    """Whether a match agrees with the keys that it was asked for, and the keyword that decides it.

    A peer may pass over keys that it does not know, and then its matches are other than those that were asked for
    (PS3.4 section C.2.2.1). Wild cards and ranges are left to the peer where it tells the attribute at all.
    """
    untold = ""
    for keyword, value in keys.items():
        values = text_values(match, keyword)
        if not values:
            untold = untold or keyword
        elif not any(_is_same(keyword, each, value) for each in values):
            return Agreement.DIFFERS, keyword
    return (Agreement.UNTOLD, untold) if untold else (Agreement.AGREES, "")


def _is_same(keyword: str, told: str, wanted: str) -> bool:
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    vr = dictionary_VR(tag_for_keyword(keyword) or 0)
    if vr == "UI":
        return told in wanted.split("\\")
    if vr in ("DA", "TM"):
        return "-" in wanted or "*" in wanted or _moment(told) == _moment(wanted)
    if vr == "IS":
        try:
            return int(told) == int(wanted)
        except ValueError:
            return told == wanted
    if vr == "PN":
        told, wanted = _name(told), _name(wanted)
    if "*" in wanted or "?" in wanted:
        return fnmatchcase(told, wanted.replace("[", "[[]"))
    return told == wanted


def _moment(text: str) -> str:
    return text.replace(":", "").replace(".", "").rstrip("0")


def _name(text: str) -> str:
    """A person's name as it is compared: its first group, without empty components at the end, in one case."""
    return text.partition("=")[0].rstrip("^ ").casefold()
