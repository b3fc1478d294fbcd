"""What a search asks for by the query parameters of its URL (PS3.18 section 8.3.4)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from ....values import frozen, mutable
from ...catalogue.matching import NUMBER_VRS
from ..http.problems import Problem

# Parameters that say how a value is compared, each with the field of `QueryOptions` for it.
FLAGS = {"fuzzymatching": "fuzzy", "emptyvaluematching": "empty", "multiplevaluematching": "multiple"}
_INCLUDE, _ALL = "includefield", "all"
# What the representation is to be (section 8.7.8), which others read.
_OTHERS = frozenset(("accept", "charset"))
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
# More parameters than anybody needs.
_MOST = 10_000
TIMEZONE = "TimezoneOffsetFromUTC"
"""The keyword of the attribute that says in which time zone the times of a question are."""
_NO_KEYS = frozenset(("SpecificCharacterSet", "QueryRetrieveLevel", "RetrieveAETitle", "RetrieveURL"))

Path = tuple[str, ...]
"""An attribute by keywords: its own behind those of the sequences that it is in."""


@frozen
class Question:
    """A search.

    Parameters
    ----------
    keys
        For each attribute the values that it is to have, empty for any; in a sequence the keys of its item.
    included
        The keywords of other attributes that are asked for.
    includes_all
        Whether all are.
    limit, offset
        How many matches are wanted at the most, None for all, and how many are left out at the beginning.
    flags
        The fields of `QueryOptions` that are asked for.
    ignored
        The parameters that nothing is known of.
    """

    keys: Mapping[str, Any]
    included: tuple[str, ...]
    includes_all: bool
    limit: int | None
    offset: int
    flags: frozenset[str]
    ignored: tuple[str, ...]

    @property
    def has_timezone(self) -> bool:
        """Whether times of the question are those of a time zone."""
        return bool(self.keys.get(TIMEZONE))


@mutable
class _Read:
    """What was read of a query up to now."""

    keys: dict[str, Any]
    included: dict[str, None]
    ignored: list[str]
    flags: set[str]
    numbers: dict[str, int]
    includes_all: bool = False


def question_of(query: bytes) -> Question:
    """What the query component of a URL asks for.

    Raises
    ------
    Problem
        With status 400 if a parameter has a value that it cannot have.
    """
    read = _Read({}, {}, [], set(), {})
    for name, value in _parameters(query):
        if name in FLAGS:
            if value not in ("true", "false"):
                raise Problem(400, f"{name} is to be true or false")
            if value == "true":
                read.flags.add(FLAGS[name])
        elif name in ("limit", "offset"):
            if not _NUMBER.fullmatch(value):
                raise Problem(400, f"{name} is to be a number of matches")
            read.numbers[name] = int(value)
        elif name == _INCLUDE:
            _include(read, value)
        elif name not in _OTHERS:
            _match(read, name, value)
    return Question(
        read.keys,
        tuple(read.included),
        read.includes_all,
        read.numbers.get("limit"),
        read.numbers.get("offset", 0),
        frozenset(read.flags),
        tuple(read.ignored),
    )


def _parameters(query: bytes) -> Iterator[tuple[str, str]]:
    try:
        yield from parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST
        )
    except UnicodeError:
        raise Problem(400, "the query of the URL is not UTF-8 in percent-encoding") from None
    except ValueError:
        raise Problem(400, f"the query of the URL has more than {_MOST} parameters") from None


def _include(read: _Read, value: str) -> None:
    for name in filter(None, (each.strip() for each in value.split(","))):
        if name == _ALL:
            read.includes_all = True
            continue
        path = _path(name)
        # Of a sequence all is given that is kept.
        if path and path[0] not in _NO_KEYS:
            read.included[path[0]] = None


def _match(read: _Read, name: str, value: str) -> None:
    path = _path(name)
    if not path:
        read.ignored.append(name)
        return
    if path[0] in _NO_KEYS:
        return
    keys = read.keys
    for each in path[:-1]:
        inner = keys.setdefault(each, {})
        if not isinstance(inner, dict):
            inner = keys[each] = {}
        keys = inner
    last = path[-1]
    vr = dictionary_VR(last)
    if vr == "SQ":
        if value:
            raise Problem(400, f"{name} is a sequence, which has no value; name an attribute in it")
        keys.setdefault(last, {})
    elif vr == "UI":
        # UIDs may be a list, whose separator is a comma (section 8.3.4.1), or as in DIMSE a backslash.
        uids = [each.strip() for each in re.split(r"[,\\]", value) if each.strip()]
        keys[last] = [*keys.get(last, ()), *uids]
    elif vr in NUMBER_VRS and not _is_number(value):
        raise Problem(400, f"{name} is a number, which {ascii(value)[1:-1][:64]} is not")
    elif last in keys:
        raise Problem(400, f"{name} is in the query of the URL twice")
    else:
        # In the query of a URL a plus sign is a blank.
        keys[last] = f"+{value[1:]}" if last == TIMEZONE and value.startswith(" ") else value


def _is_number(value: str) -> bool:
    """Whether it is a number, or by its asterisk or without anything any one."""
    try:
        return not value.strip("*") or math.isfinite(float(value))
    except ValueError:
        return False


def _path(name: str) -> Path:
    """The keywords in the name of an attribute; none where it is not one of the standard."""
    found: list[str] = []
    for part in name.split("."):
        tag = int(part, 16) if _TAG.fullmatch(part) else tag_for_keyword(part)
        keyword = "" if tag is None else keyword_for_tag(tag)
        if not keyword or (found and dictionary_VR(found[-1]) != "SQ"):
            return ()
        found.append(keyword)
    return tuple(found)
