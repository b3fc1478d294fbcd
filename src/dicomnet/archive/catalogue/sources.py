"""Where the rows are that may match a query: SQL from the keys of a request.

A source has the row IDs of all rows that match one key, and possibly of others. Of several sources the shortest one
decides, which is found out by reading them side by side: databases without statistics do not know it.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from itertools import count as counted
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Select, and_, func, select

from ...datasets.text import folded, values_of
from ...values import frozen
from . import schema, trigrams
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
from .schema import COLLECTED, MODALITIES_IN_STUDY, SOP_CLASSES_IN_STUDY, Level
from .values import LIMIT, first_moment

# How many values of a list are put into one statement.
CHUNK = 500
# How many rows of a source are read before somebody else may do something.
_SLICE = 500

Condition = ColumnElement[bool]

_of_study, _of_series, _of_instance = schema.study.c, schema.series.c, schema.instance.c
_ID = {level: schema.TABLES[level].c.id for level in Level}
_MOMENTS = {"DA": date_moments, "TM": time_moments}
# Keys of the levels below that a study is found by.
_SAME_AS = {MODALITY: MODALITIES_IN_STUDY, 0x00080016: SOP_CLASSES_IN_STUDY}


@frozen
class Source:
    """Statements that together give the row IDs of one key. An ID may come several times."""

    statements: tuple[Select[Any], ...]
    # Whether its values are known, so that the index tells of a row ID whether it is there.
    is_exact: bool = True

    def slices(self, connection: Connection) -> Generator[tuple[array[int], bool], None, None]:
        """All row IDs, some at a time, and with each whether there are no more."""
        streaming = connection.execution_options(yield_per=_SLICE)
        waiting: array[int] = array("q")
        for statement in self.statements:
            with closing(streaming.scalars(statement)) as found:
                for part in found.partitions():
                    waiting.extend(part)
                    if len(waiting) >= _SLICE:
                        yield waiting, False
                        waiting = array("q")
        yield waiting, True

    def among(self, connection: Connection, row_ids: Sequence[int]) -> set[int]:
        """Which of some row IDs it has."""
        found: set[int] = set()
        for statement in self.statements:
            (number,) = statement.selected_columns
            found.update(connection.scalars(statement.where(number.in_(row_ids))))
        return found


def sources_of(request: Request, dialect: str) -> list[Source]:
    """The sources that the keys of a request have; none if each row has to be looked at."""
    by_uid = _uid_source(request)
    if by_uid is not None:
        return [by_uid]
    found = []
    for key in request.keys:
        tag = _SAME_AS.get(key.tag, key.tag)
        vr = request.kept.found_by.get(tag) or COLLECTED.get(tag)
        wanted = None if vr is None or not key.is_narrowing else _wanted(vr, key.sought)
        if wanted is not None:
            statements = [
                _statement(request.level, place, tag, one)
                for one in wanted
                for place in _places(one, dialect)
            ]
            found.append(Source(tuple(statements), all(one.is_exact for one in wanted)))
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


def residue(request: Request) -> list[Condition]:
    """Conditions on the rows themselves, for keys that are no source."""
    found: list[Condition] = []
    for key in request.keys:
        if key.is_narrowing and key.tag not in request.kept.found_by:
            found += _kept_condition(request, key) + _count_condition(request.level, key)
    return found


@frozen
class _Wanted:
    """What a value must be, and parts that it must have, if that is the better way to find it."""

    condition: Callable[[ColumnElement[str]], Condition]
    parts: tuple[str, ...] = ()
    is_exact: bool = False


def _places(wanted: _Wanted, dialect: str) -> list[FromClause]:
    return (trigrams.places(dialect, wanted.parts) if wanted.parts else []) or [schema.study_value]


def _statement(level: Level, place: FromClause, tag: int, wanted: _Wanted) -> Select[Any]:
    """The rows of a level that belong to the studies with a value."""
    where = (place.c.tag == tag, wanted.condition(place.c.value))
    number = place.c.study
    if level is Level.PATIENT:
        return (
            select(_of_study.parent)
            .distinct()
            .join_from(place, schema.study, _of_study.id == number)
            .where(*where)
        )
    if level is Level.STUDY:
        return select(number).where(*where)
    joined = place.join(schema.series, _of_series.parent == number)
    if level is Level.IMAGE:
        joined = joined.join(schema.instance, _of_instance.parent == _of_series.id)
    return select(_ID[level]).select_from(joined).where(*where)


def _uid_source(request: Request) -> Source | None:
    """The source of the lowest level whose UID is given: it is the shortest."""
    for level in (Level.IMAGE, Level.SERIES, Level.STUDY):
        key = request.key(UNIQUE[level])
        if level > request.level or key is None or not key.is_narrowing:
            continue
        uids = sorted(set(key.text.split("\\")) - {""})
        uid = schema.TABLES[level].c.uid
        return Source(
            tuple(
                select(_ID[request.level]).select_from(_below(level, request.level)).where(condition)
                for condition in uid_conditions(uid, uids)
            )
        )
    return None


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
            return _Wanted(lambda column: column.in_(sorted({moment, text})), is_exact=True)
        low, high = limits
        return _Wanted(lambda column: and_(column >= low, column <= high))
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
        return _Wanted(lambda column: column == text, is_exact=True) if text else None
    parts = tuple(re.split(r"[*?]+", wanted.text))
    if not any(parts):
        return None
    like = wanted.text.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
    like = like.replace("*", "%").replace("?", "_")
    prefix = wanted.prefix
    if prefix:
        # These use the index, which LIKE does not.
        return _Wanted(
            lambda column: and_(
                column >= prefix, column < prefix + "\U0010ffff", column.like(like, escape="\\")
            )
        )
    is_long = any(len(part) >= trigrams.LENGTH for part in parts)
    return _Wanted(lambda column: column.like(like, escape="\\"), parts if is_long else ())


# A part of a key that has neither wild cards nor characters that JSON escapes.
_PLAIN_PART = re.compile(r'[^*?"\\\x00-\x1f]+')


def _kept_condition(request: Request, key: Key) -> list[Condition]:
    """That the JSON text contains the longest literal part of the key, for an attribute that is only there."""
    owner = request.kept.level_of(key.tag)
    if owner is None or key.vr not in WILDCARD_VRS - {"PN"} or len(values_of(key.vr, key.text)) != 1:
        return []
    part = max(_PLAIN_PART.findall(key.text), key=len, default="")
    if owner is Level.PATIENT and request.level is not Level.PATIENT:
        owner = Level.STUDY
    of = schema.TABLES[owner].c
    if not part:
        return []
    contains = of.attributes.contains(part, autoescape=True)
    return [contains if owner is Level.IMAGE else contains | of.others.is_not(None)]


def _count_condition(level: Level, key: Key) -> list[Condition]:
    count = _COUNTS.get((level, key.tag))
    return [count == int(key.text)] if count is not None and key.text.isdecimal() else []


def _count(upper: Level, lower: Level) -> Any:
    """The number of rows of one level below a row of another."""
    first = Level(upper + 1)
    of = schema.TABLES[first].c
    return (
        select(func.count())
        .select_from(_below(first, lower))
        .where(of.parent == _ID[upper])
        .correlate(schema.TABLES[upper])
        .scalar_subquery()
    )


_COUNTS = {
    (Level.PATIENT, 0x00201200): _count(Level.PATIENT, Level.STUDY),
    (Level.PATIENT, 0x00201202): _count(Level.PATIENT, Level.SERIES),
    (Level.PATIENT, 0x00201204): _count(Level.PATIENT, Level.IMAGE),
    (Level.STUDY, 0x00201206): _count(Level.STUDY, Level.SERIES),
    (Level.STUDY, 0x00201208): _count(Level.STUDY, Level.IMAGE),
    (Level.SERIES, 0x00201209): _count(Level.SERIES, Level.IMAGE),
}
