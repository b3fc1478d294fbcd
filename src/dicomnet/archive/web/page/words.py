"""Values of attributes in words: names, dates and numbers in a form that cannot be mistaken."""

from __future__ import annotations

import re
from datetime import datetime

from pydicom.uid import UID

from ....datasets.text import values_of
from ....values import frozen

_DATE = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)", re.ASCII)
_TIME = re.compile(r"(\d\d):?(\d\d)(?::?(\d\d)(?:\.\d*)?)?", re.ASCII)
_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


@frozen
class Name:
    """The name of a person (PS3.5 section 6.2.1).

    Parameters
    ----------
    main
        The alphabetic group as ``FAMILY, Given Middle``; the ideographic one where there is no other.
    others
        The other groups, as they are written.
    """

    main: str
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join((self.main, *(f"({each})" for each in self.others)))


def name_of(text: str) -> Name:
    """The name that the text of an attribute is; the first one where there are several."""
    groups = (values_of("PN", text) or [""])[0].split("=")[:3]
    alphabetic = _alphabetic(groups[0])
    others = tuple(each for each in map(_as_written, groups[1:]) if each)
    if alphabetic or not others:
        return Name(alphabetic or "no name", others)
    return Name(others[0], others[1:])


def _alphabetic(group: str) -> str:
    family, given, middle, prefix, suffix = (
        " ".join(part.split()) for part in f"{group}^^^^".split("^", 4)[:5]
    )
    first = " ".join(filter(None, (given, middle)))
    if not family and not first:
        return ""
    titles = ", ".join(filter(None, (prefix, suffix.strip("^"))))
    whole = f"{family.upper() or 'no family name'}, {first}" if first else family.upper()
    return f"{whole} ({titles})" if titles else whole


def _as_written(group: str) -> str:
    return " ".join(group.replace("^", " ").split())


def date_of(text: str) -> str:
    """A date as ``2026-11-29``; what is no date stays as it is."""
    found = _DATE.fullmatch(text)
    return text if found is None else "-".join(found.groups())


def time_of(text: str) -> str:
    """A time as ``14:05`` or ``14:05:30``; what is no time stays as it is."""
    found = _TIME.fullmatch(text)
    return text if found is None else ":".join(filter(None, found.groups()))


def moment_of(at: datetime | None) -> str:
    """A moment in the time zone of the archive; empty where it is not known."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def list_of(text: str) -> str:
    """Several values, separated by commas."""
    return ", ".join(filter(None, text.split("\\")))


def number_of(number: int | str) -> str:
    """A number with its digits in groups of three."""
    return f"{int(number):,}" if str(number).isdecimal() else str(number)


def size_of(length: float) -> str:
    """A length in bytes, in the unit in which it has the fewest digits."""
    unit = 0
    while length >= 999.5 and unit < len(_UNITS) - 1:
        length, unit = length / 1000, unit + 1
    return f"{length:.0f} {_UNITS[unit]}" if unit == 0 or length >= 99.5 else f"{length:.1f} {_UNITS[unit]}"


def span_of(seconds: float) -> str:
    """A time in the largest unit of which it has two at least."""
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def kind_of(sop_class_uid: str) -> str:
    """What kind of object a SOP class has."""
    return UID(sop_class_uid).name.removesuffix(" Storage")
