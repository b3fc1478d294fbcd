"""Attribute matching (PS3.4 section C.2.2.2): makes a test of an attribute's value from a key. Knows no database."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from ...datasets.text import folded_name, narrowly_folded_name, values_of
from ...errors import ServiceRefusal
from ...values import frozen

UNABLE_TO_PROCESS = 0xC000

WILDCARD_VRS = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
NUMBER_VRS = frozenset(("IS", "DS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"))

_PATTERN_LIMIT, _STAR_LIMIT = 2_048, 32

Test = Callable[[str], bool]

_WILD_RUN = re.compile(r"[*?]+")
_DATE = re.compile(r"\d{8}", re.ASCII)
TIME = re.compile(r"(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,6}))?)?)?", re.ASCII)
OFFSET = r"(?:[+-](?:0\d|1[0-4])[0-5]\d)"
_DATE_TIME = re.compile(
    rf"(\d{{4}})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{{1,6}}))?)?)?)?)?)?({OFFSET})?",
    re.ASCII,
)


@frozen
class Pattern:
    """A text with wild cards, in which every run of wild cards is normalised to the form ``??*``.

    Parameters
    ----------
    text
        The text.
    """

    text: str

    @property
    def is_exact(self) -> bool:
        """Whether it has no wild card."""
        return "*" not in self.text and "?" not in self.text

    @property
    def prefix(self) -> str:
        """The text before the first wild card."""
        return _WILD_RUN.split(self.text, maxsplit=1)[0]

    def test(self) -> Test:
        """A test whether a whole text matches. It takes at most time proportional to the product of the lengths."""
        if self.is_exact:
            return self.text.__eq__
        parts = [re.escape(part).replace(r"\?", ".") for part in self.text.split("*")]
        # The first occurrence of each middle part is the right one, so no backtracking is needed.
        middle = "".join(f"(?>.*?{part})" for part in parts[1:-1])
        last = f".*{parts[-1]}" if len(parts) > 1 else ""
        expression = re.compile(rf"{parts[0]}{middle}{last}\Z", re.DOTALL)
        return lambda text: expression.match(text) is not None


def pattern(key: str) -> Pattern:
    """The pattern of a key for wild card matching (PS3.4 section C.2.2.2.4).

    Raises
    ------
    ServiceRefusal
        With status 0xC000, if it is too long or has too many wild cards.
    """

    def ordered(run: re.Match[str]) -> str:
        return "?" * run[0].count("?") + "*" * ("*" in run[0])

    text = _WILD_RUN.sub(ordered, key)
    if len(text) > _PATTERN_LIMIT or text.count("*") > _STAR_LIMIT:
        raise ServiceRefusal(UNABLE_TO_PROCESS, "a key is too long or has too many wild cards")
    return Pattern(text)


def is_universal(key: str) -> bool:
    """Whether a key matches everything (PS3.4 sections C.2.2.2.3 and C.2.2.2.4).

    An asterisk alone does so in any VR: clients write it where the standard has an empty value.
    """
    return not key.strip("*")


def value_test(vr: str, key: str, zone: str = "") -> Test:
    """The test that a key makes for an attribute.

    Parameters
    ----------
    vr
        Value representation of the attribute.
    key
        The key, which must not be universal. If it has several values, one of them has to match.
    zone
        Offset from UTC of moments (DT), in the key and the attribute, that do not say theirs; empty for UTC.

    Returns
    -------
    Test
        A function of the attribute's text: its values, separated by backslashes; empty if the attribute is absent.

    Raises
    ------
    ServiceRefusal
        With status 0xC000, if the key is too long or has too many wild cards.
    """
    keys = values_of(vr, key)
    if vr == "UI":
        allowed = frozenset(keys)
        return lambda text: not allowed.isdisjoint(text.split("\\"))
    tests = [_single_test(vr, one, zone) for one in keys if one]
    return lambda text: any(test(value) for value in values_of(vr, text) for test in tests)


def _single_test(vr: str, key: str, zone: str) -> Test:
    if vr == "PN":
        return _name_test(key)
    if vr in WILDCARD_VRS:
        return pattern(key).test()
    if vr in NUMBER_VRS:
        return _number_test(key)
    if vr == "DT":
        return _moment_test(key, partial(_datetime_moments, zone=zone))
    if vr in _MOMENTS:
        return _moment_test(key, _MOMENTS[vr])
    return key.__eq__


def empty_test(text: str) -> bool:
    """Empty value matching (PS3.4 section C.2.2.2.7)."""
    return not text.strip("^=\\ ")


def every_value_test(vr: str, key: str) -> Test:
    """Multiple value matching (PS3.4 section C.2.2.2.8): each value of the key must match."""
    tests = [value_test(vr, one) for one in values_of(vr, key) if not is_universal(one)]
    return lambda text: all(test(text) for test in tests)


@frozen
class CombinedRange:
    """The ranges of a date and a time as one range of moments (PS3.4 section C.2.2.2.5)."""

    date: int
    time: int
    first: str
    last: str

    def accepts(self, date: str, time: str) -> bool:
        """Whether a moment is within the range. Without a time, it is the beginning of the day."""
        day, clock = date_moments(date), time_moments(time or "00")
        return day is not None and clock is not None and self.first <= day[0] + clock[0] <= self.last


def combined_range(date: tuple[int, str], time: tuple[int, str]) -> CombinedRange | None:
    """The combined range of the keys of a date and a time, each given by tag and text; None if they are not ranges."""
    days = moment_range(date[1], date_moments) or date_moments(date[1])
    clocks = moment_range(time[1], time_moments)
    if days is None or clocks is None:
        return None
    return CombinedRange(date[0], time[0], days[0] + clocks[0] if days[0] else "", days[1] + clocks[1])


def name_patterns(key: str) -> tuple[Pattern, Pattern, Pattern] | Pattern:
    """One pattern for each component group of a name; a single pattern if any of the groups may match the key."""
    groups = _fold_for(key)(key)
    if "=" in key:
        return pattern(groups[0]), pattern(groups[1]), pattern(groups[2])
    return pattern(groups[0])


def _fold_for(key: str) -> Callable[[str], tuple[str, str, str]]:
    """How a key and the names to compare are folded. A question mark is one character of the name as it is stored."""
    return narrowly_folded_name if "?" in key else folded_name


def _name_test(key: str) -> Test:
    """Names match without regard to case; a key with a single component group may match any group."""
    fold = _fold_for(key)
    patterns = name_patterns(key)
    if isinstance(patterns, Pattern):
        matches = _group_test(patterns)
        return lambda text: any(matches(group) for group in fold(text) if group)
    tests = [(number, _group_test(one)) for number, one in enumerate(patterns) if one.text.strip("*")]

    def test(text: str) -> bool:
        groups = fold(text)
        return all(matches(groups[number]) for number, matches in tests)

    return test


def _group_test(one: Pattern) -> Test:
    matches = one.test()
    if "^*" not in one.text:
        return matches
    # DOE^* also matches a DOE without further components.
    return lambda group: matches(group) or matches(f"{group}^^^^")


def _number_test(key: str) -> Test:
    number = _number(key)
    return lambda text: text == key or (number is not None and _number(text) == number)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


# The first and the last moment that a value of limited precision can stand for, as texts that compare like moments.
Moments = tuple[str, str]


def date_moments(text: str) -> Moments | None:
    """The moments of a DA value, also in the old form with dots; None if it is not one."""
    if len(text) == 10 and text[4] == text[7] == ".":
        text = text.replace(".", "")
    return (text, text) if _DATE.fullmatch(text) else None


def time_moments(text: str) -> Moments | None:
    """The moments of a TM value, also with colons; None if it is not one."""
    found = TIME.fullmatch(text.replace(":", ""))
    if found is None:
        return None
    hour, minute, second, fraction = found.groups()
    given = "".join(part or "" for part in (hour, minute, second))
    exact = "" if fraction is None else fraction
    first = given.ljust(6, "0") + exact.ljust(6, "0")
    return first, given + "595959"[len(given) :] + exact.ljust(6, "9")


def _datetime_moments(text: str, zone: str) -> Moments | None:
    found = _DATE_TIME.fullmatch(text)
    if found is None:
        return None
    parts = [part for part in found.groups()[:6] if part is not None]
    fraction = found[7] or ""
    try:
        first = _moment(parts, fraction.ljust(6, "0"))
        last = _moment(_latest(parts), fraction.ljust(6, "9"))
        shift = _shift(found[8] or zone)
        return (first - shift).isoformat(timespec="microseconds"), (last - shift).isoformat(
            timespec="microseconds"
        )
    except (ValueError, OverflowError):
        return None


def _latest(parts: list[str]) -> list[str]:
    latest = [*parts, *("12", "31", "23", "59", "59")[len(parts) - 1 :]]
    if len(parts) == 2:
        after = datetime(int(parts[0]), int(parts[1]), 28) + timedelta(days=4)
        latest[2] = f"{(after - timedelta(days=after.day)).day:02}"
    return latest


def _moment(parts: list[str], fraction: str) -> datetime:
    complete = [*parts, *("1", "1", "0", "0", "0")[len(parts) - 1 :]]
    year, month, day, hour, minute, second = [int(part) for part in complete]
    return datetime(year, month, day, hour, minute, min(second, 59), int(fraction))


def _shift(offset: str) -> timedelta:
    if not offset:
        return timedelta()
    shift = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5]))
    return -shift if offset[0] == "-" else shift


_MOMENTS: dict[str, Callable[[str], Moments | None]] = {
    "DA": date_moments,
    "TM": time_moments,
}


def moment_range(key: str, moments: Callable[[str], Moments | None]) -> tuple[str, str] | None:
    """The first and last moment of a key for range matching (PS3.4 section C.2.2.2.5); None if it is not a range."""
    if "-" not in key or moments(key) is not None:
        return None
    # A hyphen may also be the sign of an offset from UTC.
    for hyphen in (number for number, sign in enumerate(key) if sign == "-"):
        begin, end = key[:hyphen].strip(), key[hyphen + 1 :].strip()
        first = moments(begin) if begin else ("", "")
        last = moments(end) if end else ("", "\U0010ffff")
        if first is not None and last is not None and (begin or end):
            return first[0], last[1]
    return None


def _moment_test(key: str, moments: Callable[[str], Moments | None]) -> Test:
    limits = moment_range(key, moments)
    if limits is not None:
        low, high = limits

        def is_within(text: str) -> bool:
            value = moments(text)
            return value is not None and low <= value[0] <= high

        return is_within
    wanted = moments(key)

    def is_equal(text: str) -> bool:
        value = moments(text)
        return text == key or (wanted is not None and value is not None and value[0] == wanted[0])

    return is_equal
