"""Dates and times in the time zone of a request (PS3.4 section C.2.2.2.1.3, PS3.3 section C.12.1.1.8)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime, timedelta

from ...values import frozen
from .levels import Attributes, Others
from .matching import OFFSET, TIME, date_moments, moment_range
from .schema import TIMEZONE_OFFSET

_ZONE = re.compile(OFFSET, re.ASCII)
_KEY = f"{TIMEZONE_OFFSET:08X}"
# From -1200 to +1400 a day may become the second one before or after it.
_DAYS = timedelta(days=2)
# A day in whose stead there is none, so that a time of day can be moved.
_ANY_DAY = "20000102"


def minutes_of(offset: str) -> int | None:
    """An offset from UTC in minutes; None if it is not one."""
    if not _ZONE.fullmatch(offset):
        return None
    minutes = 60 * int(offset[1:3]) + int(offset[3:])
    return -minutes if offset[0] == "-" else minutes


@frozen
class Zone:
    """A time zone, and the attributes of one level of the information model that have to be moved into it.

    Values of objects that do not say their own time zone are left as they are.

    Parameters
    ----------
    offset
        The offset from UTC, such as ``+0100``.
    pairs
        Dates and their times, by tag as eight hexadecimal digits.
    moments
        Attributes with a value representation of DT.
    """

    offset: str
    pairs: tuple[tuple[str, str], ...]
    moments: tuple[str, ...]

    def moved(self, attributes: Attributes, others: Others) -> tuple[Attributes, Others]:
        """The attributes of a row, and what objects say otherwise, in this time zone."""
        said = [each for each in _all(_KEY, attributes, others) if minutes_of(each) is not None]
        if not said:
            return attributes, others
        here = minutes_of(self.offset) or 0
        moves = [here - (minutes_of(each) or 0) for each in said]
        attributes, others = {**attributes, _KEY: self.offset}, dict(others)
        for day, clock in self.pairs:
            if clock in attributes:
                both = [
                    shifted(one, time, minutes)
                    for minutes in moves
                    for one in _all(day, attributes, others)
                    for time in _all(clock, attributes, others)
                ]
                _put(day, (one for one, _ in both), attributes, others)
                _put(clock, (time for _, time in both), attributes, others)
        for moment in self.moments:
            if attributes.get(moment):
                values = _all(moment, attributes, others)
                _put(moment, (_with(one, each) for each in said for one in values), attributes, others)
        return attributes, others


def shifted(day: str, clock: str, minutes: int) -> tuple[str, str]:
    """A date and its time some minutes later. A date without a time stays as it is, and so does what is not one.

    Parameters
    ----------
    day, clock
        Values of DA and TM; the date may be empty.
    minutes
        May be negative.
    """
    digits = clock.replace(":", "")
    found, days = TIME.fullmatch(digits), date_moments(day or _ANY_DAY)
    if not minutes or found is None or days is None:
        return day, clock
    first = days[0]
    try:
        moved = datetime(
            int(first[:4]), int(first[4:6]), int(first[6:]), int(found[1]), int(found[2] or 0)
        ) + timedelta(minutes=minutes)
    except (ValueError, OverflowError):
        return day, clock
    # An hour alone stays one where whole hours are added.
    minute = f"{moved.minute:02}" if found[2] is not None or minutes % 60 else ""
    return _day(moved) if day else "", f"{moved.hour:02}{minute}{digits[4:]}"


def widened(text: str) -> str:
    """A key of a date that finds all dates which can match in some other time zone; empty if these are all dates."""
    each = [_widened(one) for one in text.split("\\")]
    return "\\".join(each) if all(each) else ""


def _widened(text: str) -> str:
    limits = moment_range(text, date_moments) or date_moments(text)
    if limits is None:
        return text
    first, last = _moved_day(limits[0], -_DAYS), _moved_day(limits[1], _DAYS)
    return f"{first}-{last}" if first or last else ""


def _moved_day(day: str, by: timedelta) -> str:
    """A day before or after another; empty if that is none, and so for the open end of a range."""
    try:
        return _day(date(int(day[:4]), int(day[4:6]), int(day[6:])) + by)
    except (ValueError, OverflowError):
        return ""


def _day(moment: date) -> str:
    return f"{moment.year:04}{moment.month:02}{moment.day:02}"


def _with(text: str, offset: str) -> str:
    """Values of DT, each with its offset from UTC."""
    return "\\".join(one + offset if one.replace(".", "").isdigit() else one for one in text.split("\\"))


def _all(key: str, attributes: Attributes, others: Others) -> list[str]:
    return [attributes.get(key, ""), *others.get(key, ())]


def _put(key: str, values: Iterable[str], attributes: Attributes, others: Others) -> None:
    """Take the first value as the attribute, and all other ones as what objects say otherwise."""
    first, *rest = dict.fromkeys(values)
    attributes[key] = first
    others[key] = rest
