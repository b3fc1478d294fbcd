"""Where the rows are that may match a query: SQL from the keys of a request.

A source has the row IDs of all rows that match one key, and possibly of others. Of several sources the shortest one
decides, which is found out by reading them side by side: databases without statistics do not know it.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, closing
from functools import lru_cache
from itertools import count as counted
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Connection, FromClause, and_, bindparam, func, select

from ...datasets.levels import Level
from ...datasets.text import folded, values_of
from ...values import frozen
from ..database import Query
from . import schema, trigrams
from .computed import OF_PATIENT, STUDY_COUNTS
from .identifiers import UNIQUE, Key, Request
from .levels import MODALITY
from .matching import (
    WILDCARD_VRS,
    Pattern,
    date_moments,
    moment_range,
    name_patterns,
    pattern,
    time_moments,
)
from .schema import COLLECTED, MODALITIES_IN_STUDY, SOP_CLASSES_IN_STUDY
from .values import LIMIT, first_moment

# How many values of a list are put into one statement.
CHUNK = 500
# How many rows of a source are read before somebody else may do something.
_SLICE = 500
# No count has more digits, and a column of a database holds no number of many more.
_DIGITS = 9

Condition = ColumnElement[bool]

_of_study, _of_series, _of_instance = schema.study.c, schema.series.c, schema.instance.c
_ID = {level: schema.TABLES[level].c.id for level in Level}
_MOMENTS = {"DA": date_moments, "TM": time_moments}
# Keys of the levels below that a study is found by.
_SAME_AS = {MODALITY: MODALITIES_IN_STUDY, 0x00080016: SOP_CLASSES_IN_STUDY}


@frozen
class Source:
    """Queries, with their values, that together give the row IDs of one key. An ID may come several times."""

    queries: tuple[tuple[Query, Mapping[str, Any]], ...]
    # Whether its values are known, so that the index tells of a row ID whether it is there.
    is_exact: bool = True

    def slices(self, connection: Connection) -> Generator[tuple[array[int], bool], None, None]:
        """All row IDs, some at a time, and with each whether there are no more."""
        waiting: array[int] = array("q")
        for query, values in self.queries:
            with closing(query.slices(connection, values, _SLICE)) as found:
                for part in found:
                    waiting.extend([row[0] for row in part])
                    if len(waiting) >= _SLICE:
                        yield waiting, False
                        waiting = array("q")
        yield waiting, True

    def among(self, connection: Connection, row_ids: list[int]) -> set[int]:
        """Which of some row IDs it has."""
        return {
            row[0]
            for query, values in self.queries
            for row in _among(query).rows(connection, {**values, "row_ids": row_ids})
        }


@lru_cache(512)
def _among(query: Query) -> Query:
    (number,) = query.statement.selected_columns
    return Query(query.statement.where(number.in_(bindparam("row_ids", expanding=True))))


def sources_of(request: Request, dialect: str) -> list[Source]:
    """The sources that the keys of a request have; none if each row has to be looked at."""
    by_uid = _uid_source(request)
    if by_uid is not None:
        return [by_uid]
    found = []
    for key in request.keys:
        count = _counted(key)
        if request.level is Level.STUDY and key.tag in STUDY_COUNTS and count is not None:
            found.append(Source(((_count_query(key.tag), {"value": count}),)))
            continue
        tag = _SAME_AS.get(key.tag, key.tag)
        vr = request.kept.found_by.get(tag) or COLLECTED.get(tag)
        wanted = None if vr is None or not key.is_narrowing else _wanted(vr, key.sought)
        if wanted is not None:
            queries = [
                (_query(request.level, place, one.form), {"tag": tag, **one.values, **values})
                for one in wanted
                for place, values in _places(one, dialect)
            ]
            found.append(Source(tuple(queries), all(one.is_exact for one in wanted)))
    return found


def shortest(
    connection: Connection, sources: list[Source], rounds: int | None
) -> Generator[None, None, tuple[array[int], list[Source] | None]]:
    """Read sources side by side until one of them is at its end, with a pause after each slice of all.

    Parameters
    ----------
    rounds
        After how many slices of each to give up; None for never.

    Returns
    -------
    tuple
        The row IDs that are in all sources which are at their end, and the sources which are not; or if none is, the
        first row IDs of one of them, and None.
    """
    found: list[array[int]] = [array("q") for _ in sources]
    with ExitStack() as stack:
        streams = [stack.enter_context(closing(source.slices(connection))) for source in sources]
        for _ in counted() if rounds is None else range(rounds):
            whole, others = [], []
            for source, ids, stream in zip(sources, found, streams, strict=True):
                part, is_last = next(stream)
                ids.extend(part)
                if is_last:
                    whole.append(ids)
                else:
                    others.append(source)
            if whole:
                return array("q", sorted(set(whole[0]).intersection(*whole[1:]))), others
            yield
    return found[0], None


# A condition on a row that has one parameter: that the count of what is below it has a value, or without a tag that the
# JSON text of a level contains one.
Residue = tuple[Level, int | None]


def residue(request: Request) -> list[tuple[Residue, Any]]:
    """Conditions on the rows themselves, for keys that are no source, each with the value of its parameter."""
    found: list[tuple[Residue, Any]] = []
    for key in request.keys:
        if key.is_narrowing and key.tag not in request.kept.found_by:
            found += _kept_condition(request, key)
            count = _counted(key)
            if (request.level, key.tag) in _COUNTS and count is not None:
                found.append(((request.level, key.tag), count))
    return found


def residue_condition(of: Residue, parameter: BindParameter[Any]) -> Condition:
    """The condition."""
    level, tag = of
    if tag is not None:
        count: ColumnElement[int] = _COUNTS[level, tag]
        return count == parameter
    table = schema.TABLES[level].c
    contains = table.attributes.like(parameter, escape="\\")
    return contains if level is Level.IMAGE else contains | table.others.is_not(None)


# The condition that a value must fulfil, whose parameters are those of `_Wanted.values`.
_Form = Callable[[ColumnElement[str]], Condition]


@frozen
class _Wanted:
    """What a value must be, and parts that it must have, if that is the better way to find it."""

    form: _Form
    values: Mapping[str, Any]
    parts: tuple[str, ...] = ()
    is_exact: bool = False


def _is_value(column: ColumnElement[str]) -> Condition:
    return column == bindparam("value")


def _is_one_of(column: ColumnElement[str]) -> Condition:
    return column.in_(bindparam("values", expanding=True))


def _is_between(column: ColumnElement[str]) -> Condition:
    return and_(column >= bindparam("low"), column <= bindparam("high"))


def _is_like(column: ColumnElement[str]) -> Condition:
    return column.like(bindparam("like"), escape="\\")


def _begins_and_is_like(column: ColumnElement[str]) -> Condition:
    # The first two use the index, which LIKE does not.
    return and_(column >= bindparam("low"), column < bindparam("high"), _is_like(column))


def _places(wanted: _Wanted, dialect: str) -> list[tuple[FromClause, dict[str, str]]]:
    found = trigrams.places(dialect, wanted.parts) if wanted.parts else []
    return found or [(schema.study_value, {})]


@lru_cache(512)
def _query(level: Level, place: FromClause, form: _Form) -> Query:
    """The rows of a level that belong to the studies with a value."""
    where = (place.c.tag == bindparam("tag"), form(place.c.value))
    number = place.c.study
    if level is Level.PATIENT:
        return Query(
            select(_of_study.parent)
            .distinct()
            .join_from(place, schema.study, _of_study.id == number)
            .where(*where)
        )
    if level is Level.STUDY:
        return Query(select(number).where(*where))
    joined = place.join(schema.series, _of_series.parent == number)
    if level is Level.IMAGE:
        joined = joined.join(schema.instance, _of_instance.parent == _of_series.id)
    return Query(select(_ID[level]).select_from(joined).where(*where))


def _uid_source(request: Request) -> Source | None:
    """The source of the lowest level whose UID is given: it is the shortest."""
    for level in (Level.IMAGE, Level.SERIES, Level.STUDY):
        key = request.key(UNIQUE[level])
        if level > request.level or key is None or not key.is_narrowing:
            continue
        uids = sorted(set(key.text.split("\\")) - {""})
        if len(uids) == 1:
            return Source(((_uid_query(level, request.level, _is_value), {"value": uids[0]}),))
        query = _uid_query(level, request.level, _is_one_of)
        return Source(tuple((query, {"values": uids[at : at + CHUNK]}) for at in range(0, len(uids), CHUNK)))
    return None


def _counted(key: Key) -> int | None:
    """The count that a key asks for; None if it is not one that a database can have."""
    is_count = key.is_narrowing and key.text.isdecimal() and len(key.text) <= _DIGITS
    return int(key.text) if is_count else None


@lru_cache(32)
def _count_query(tag: int) -> Query:
    return Query(select(_of_study.id).where(_is_value(STUDY_COUNTS[tag])))


@lru_cache(32)
def _uid_query(upper: Level, lower: Level, form: _Form) -> Query:
    condition = form(schema.TABLES[upper].c.uid)
    return Query(select(_ID[lower]).select_from(_below(upper, lower)).where(condition))


def uid_conditions(column: ColumnElement[str], uids: list[str]) -> list[Condition]:
    """Conditions for a list of UIDs, one of which each of them fulfils."""
    if len(uids) == 1:
        return [column == uids[0]]
    return [column.in_(uids[at : at + CHUNK]) for at in range(0, len(uids), CHUNK)]


def _below(upper: Level, lower: Level) -> FromClause:
    """The tables from one level down to another, joined."""
    joined: FromClause = schema.TABLES[upper]
    for level in Level:
        if upper < level <= lower:
            joined = joined.join(schema.TABLES[level], schema.TABLES[level].c.parent == _ID[Level(level - 1)])
    return joined


def _wanted(vr: str, text: str) -> list[_Wanted] | None:
    """What a value must be to match one of the values of a key; None if that does not narrow the search."""
    wanted = []
    for one in filter(None, values_of(vr, text)):
        found = _wanted_value(vr, one)
        if found is None:
            return None
        wanted.append(found)
    return wanted


def _wanted_value(vr: str, text: str) -> _Wanted | None:
    if len(text) > LIMIT:
        return None
    moments = _MOMENTS.get(vr)
    if moments is not None:
        limits = moment_range(text, moments)
        if limits is None:
            moment = first_moment(moments, text)
            return _Wanted(_is_one_of, {"values": sorted({moment, text})}, is_exact=True)
        low, high = limits
        return _Wanted(_is_between, {"low": low, "high": high})
    if vr == "PN":
        return _wanted_name(text)
    return _wanted_pattern(pattern(text) if vr in WILDCARD_VRS else None, text)


def _wanted_name(text: str) -> _Wanted | None:
    patterns = name_patterns(text)
    groups = (patterns,) if isinstance(patterns, Pattern) else patterns
    longest = max(map(_loosened, groups), key=lambda one: len(one.text.replace("*", "")))
    return _wanted_pattern(longest, longest.text)


def _loosened(wanted: Pattern) -> Pattern:
    """A pattern of a component group as one of what is in the database."""
    if "^*" in wanted.text:
        # DOE^* also matches DOE.
        wanted = Pattern(wanted.text.split("^*", 1)[0] + "*")
    if "?" in wanted.text:
        # The database may have several characters for one, such as ss for ß.
        longest = max(re.split("[*?]", wanted.text), key=len)
        wanted = Pattern(
            f"{folded(wanted.prefix)}*" + (f"{folded(longest)}*" if longest != wanted.prefix else "")
        )
    return wanted


def _wanted_pattern(wanted: Pattern | None, text: str) -> _Wanted | None:
    if wanted is None or wanted.is_exact:
        return _Wanted(_is_value, {"value": text}, is_exact=True) if text else None
    parts = tuple(re.split(r"[*?]+", wanted.text))
    if not any(parts):
        return None
    like = _escaped(wanted.text).replace("*", "%").replace("?", "_")
    prefix = wanted.prefix
    if prefix:
        return _Wanted(_begins_and_is_like, {"low": prefix, "high": prefix + "\U0010ffff", "like": like})
    is_long = any(len(part) >= trigrams.LENGTH for part in parts)
    return _Wanted(_is_like, {"like": like}, parts if is_long else ())


def _escaped(text: str) -> str:
    """A text for LIKE in which no character has a meaning."""
    return text.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")


# A part of a key that has neither wild cards nor characters that JSON escapes.
_PLAIN_PART = re.compile(r'[^*?"\\\x00-\x1f]+')


def _kept_condition(request: Request, key: Key) -> list[tuple[Residue, str]]:
    """That the JSON text contains the longest literal part of the key, for an attribute that is only there."""
    owner = request.kept.level_of(key.tag)
    if owner is None or key.vr not in WILDCARD_VRS - {"PN"} or len(values_of(key.vr, key.text)) != 1:
        return []
    part = max(_PLAIN_PART.findall(key.text), key=len, default="")
    if owner is Level.PATIENT and request.level is not Level.PATIENT:
        owner = Level.STUDY
    return [((owner, None), f"%{_escaped(part)}%")] if part else []


def _below_it(level: Level, count: Any) -> Any:
    """What is computed of the rows below a row of a level."""
    of = schema.TABLES[Level(level + 1)].c
    return select(count).where(of.parent == _ID[level]).correlate(schema.TABLES[level]).scalar_subquery()


# Counts that are computed for each row.
_COUNTS = {
    **{(Level.PATIENT, tag): _below_it(Level.PATIENT, count) for tag, count in OF_PATIENT.items()},
    (Level.SERIES, 0x00201209): _below_it(Level.SERIES, func.count(_of_instance.id)),
}
