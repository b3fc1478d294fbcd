"""C-FIND on the index (PS3.4 section C.4.1): answers a request identifier with response identifiers.

SQL selects the rows that may match; the tests of `matching` decide which do. Rows are read a page at a time, and where
the keys lead to no rows, all rows are walked through by their numbers.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain, zip_longest
from time import perf_counter
from typing import Any

from pydicom.dataset import Dataset
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Row,
    Select,
    bindparam,
    func,
    or_,
    select,
)

from ...datasets.levels import Level
from ...errors import ServiceRefusal
from ...services.registry import PENDING, PENDING_UNSUPPORTED_KEYS
from ...values import frozen
from ..database import Query
from ..storage.store import ObjectName
from . import schema
from .computed import COMPUTED, computed_at
from .identifiers import (
    IDENTIFIER_DOES_NOT_MATCH,
    INSTANCE_AVAILABILITY,
    UNIQUE,
    Key,
    Model,
    Request,
    parse,
)
from .index import Index
from .levels import PATIENT_ID, Attributes, Others, parsed
from .matching import is_universal
from .options import NO_OPTIONS, QueryOptions
from .responses import response
from .sources import (
    CHUNK,
    Condition,
    Residue,
    Source,
    residue,
    residue_condition,
    shortest,
    sources_of,
    uid_conditions,
)
from .values import found_values

_of_patient, _of_study, _of_series, _of_instance = (schema.TABLES[level].c for level in Level)

# How many rows are read at once: so many that a cancelled search ends soon, and fewer at first, as somebody waits for
# the first match.
_SMALLEST, _FIRST_PAGE, _PAGE = 10, 50, CHUNK // 2
# How many slices of a source, or of several, are read before the first match is looked for.
_ALONE, _SIDE_BY_SIDE = 1, 10
# So many rows are read sooner than other sources are asked for them.
_FEW = 100
# A walk reads as many rows at once as take about so long, in seconds.
_SOON = 0.01
_WIDEST = 1 << 14
# In an order, so many slices of sources are read before the first match is looked for. Where they are not at their end,
# a walk that has looked at so many rows, and of these has found less than one in so many, is given up.
_SOON_KNOWN, _MANY, _SPARSE = 10, 4000, 100
# Where more matches than that are skipped, which rows there are is read in any case.
_FAR = 500


@frozen
class StoredInstance:
    """A stored object that is to be retrieved.

    Parameters
    ----------
    name
        Its name in the store.
    sop_class_uid, transfer_syntax_uid
        UIDs.
    size
        The length of its file in bytes, as it was received; None where that is not known.
    digest
        The SHA-256 of its file as hexadecimal digits, as it was received; None where that is not known.
    """

    name: ObjectName
    sop_class_uid: str
    transfer_syntax_uid: str
    size: int | None = None
    digest: str | None = None


@frozen
class Located:
    """The objects that a retrieval selects.

    Parameters
    ----------
    level
        The level of the request, such as ``STUDY``.
    count
        How many there are.
    objects
        They, in the order in which they were received. They are read from the index a page at a time; one that is gone
        by then is left out.
    """

    level: str
    count: int
    objects: Iterator[StoredInstance]


@frozen
class Search:
    """A query that is being answered.

    Parameters
    ----------
    request
        Its parsed identifier.
    matches
        The attributes of each match, and None where nothing was found for a while, so that the caller can see whether
        the answer is still wanted.
    """

    request: Request
    matches: Iterator[Attributes | None]

    @property
    def status(self) -> int:
        """The status of a response with a match: 0xFF01 if the request has keys that are not supported, else 0xFF00."""
        return PENDING_UNSUPPORTED_KEYS if self.request.has_unsupported else PENDING


def find(
    index: Index,
    model: Model,
    identifier: Dataset,
    *,
    retrieve_ae_title: str = "",
    options: QueryOptions = NO_OPTIONS,
) -> Iterator[tuple[int, Dataset]]:
    """Answer a query; as `search`, without the pauses.

    Parameters
    ----------
    retrieve_ae_title
        Retrieve AE Title (0008,0054) of the responses; left out of them if empty.

    Returns
    -------
    Iterator
        Status and identifier of each response.
    """
    found = search(index, model, identifier, options=options)
    return (
        (found.status, response(found.request, attributes, retrieve_ae_title))
        for attributes in found.matches
        if attributes is not None
    )


@frozen
class Order:
    """An order of matches that is the same for each query with the same answer.

    Parameters
    ----------
    newest_first
        Whether what came last is first; else what came first.
    skip
        How many matches are left out at the beginning.
    wanted
        How many are wanted behind them, as far as that is known; the others cost no less.
    """

    newest_first: bool = False
    skip: int = 0
    wanted: int = _FIRST_PAGE


def search(
    index: Index,
    model: Model,
    identifier: Dataset,
    *,
    options: QueryOptions = NO_OPTIONS,
    order: Order | None = None,
) -> Search:
    """Begin to answer a query.

    No match is returned twice, and none that was added after the call.

    Parameters
    ----------
    index
        The index.
    model
        The information model: that with the root ``PATIENT`` or ``STUDY``, or ``PATIENT_STUDY_ONLY``.
    identifier
        The request identifier.
    options
        What was agreed on with the requestor.
    order
        The order of the matches; None for the one in which they are found soonest.

    Raises
    ------
    ServiceRefusal
        0xA900 if the identifier does not fit the information model; 0xC000 if a key cannot be processed;
        0xA700 if the index cannot be read, which may be raised while iterating.
    """
    request = parse(model, identifier, options, index.kept)
    reader = _Reader(request, order or Order())
    # In one transaction, as most queries need no other.
    with index.reading() as connection:
        last = _LAST[request.level].rows(connection, {})[0][0] or 0
        sources = sources_of(request, connection.dialect.name)
        if order is not None:
            return Search(request, _each(_ordered(index, reader, sources, last)))
        if not sources:
            return Search(request, _each(_walk(index, reader, 0, last)))
        known = _known(connection, sources)
        row_ids = _once(_row_ids(index, sources) if known is None else iter((known,)), last)
        pages = _pages(index, reader, row_ids)
        if known is not None:
            page = next(row_ids)
            pages = chain((reader.page(connection, page) if page else None,), pages)
    return Search(request, _each(pages))


_LAST = {level: Query(select(func.max(table.c.id))) for level, table in schema.TABLES.items()}


def locate(index: Index, model: Model, identifier: Dataset, *, options: QueryOptions = NO_OPTIONS) -> Located:
    """The objects that a C-MOVE or C-GET request selects, by its unique keys alone (PS3.4 section C.4.2.1.4).

    Parameters and exceptions are those of `search`. If the unique key of the level itself is missing, or one has a wild
    card, 0xA900 is raised; with the option ``relational``, those of the levels above may be missing.
    """
    request = parse(model, identifier, options)
    _check_unique_keys(request)
    row_ids: array[int] = array("q")
    for conditions in _unique_key_conditions(index, request):
        statement = select(_of_instance.id).select_from(_joined_tables(Level.IMAGE)).where(*conditions)
        with index.reading() as connection:
            row_ids.extend(connection.scalars(statement))
    return Located(request.level.name, len(row_ids), _located(index, array("q", sorted(row_ids))))


def _check_unique_keys(request: Request) -> None:
    """Refuse a request that might select more than was meant."""
    for level, tag in UNIQUE.items():
        text = "" if level > request.level or (key := request.key(tag)) is None else key.text
        if level is request.level and not text.strip("\\*"):
            comment = "the unique key of the level is missing"
        elif not is_universal(text) and ("*" in text or "?" in text):
            comment = "a unique key has a wild card"
        else:
            continue
        raise ServiceRefusal(IDENTIFIER_DOES_NOT_MATCH, comment, (tag,))


def _unique_key_conditions(index: Index, request: Request) -> Iterator[list[Condition]]:
    """The conditions on the unique keys, in parts if one of them is a list of many."""
    fixed: list[Condition] = []
    parts: list[Condition] = []
    for level, tag in UNIQUE.items():
        key = request.key(tag)
        if level > request.level or key is None or key.is_universal:
            continue
        if tag == PATIENT_ID:
            conditions: list[Condition] = [
                _of_study.id.in_(studies[at : at + CHUNK])
                for studies in (_studies_of(index, key),)
                for at in range(0, len(studies) or 1, CHUNK)
            ]
        else:
            conditions = uid_conditions(schema.TABLES[level].c.uid, sorted(set(key.text.split("\\")) - {""}))
        if level is request.level:
            parts = conditions
        elif len(conditions) == 1:
            fixed += conditions
        else:
            fixed.append(or_(*conditions))
    return ([*fixed, *([part] if part is not None else [])] for part in parts or (None,))


def _studies_of(index: Index, key: Key) -> list[int]:
    """The row IDs of the studies of patients, by a key with their IDs."""
    of = schema.study_value.c
    found = (
        select(_of_study.id, _of_study.attributes, _of_study.others)
        .join(schema.study_value, of.study == _of_study.id)
        .where(of.tag == PATIENT_ID, of.value.in_(sorted(found_values(key.vr, key.text))))
        .distinct()
    )
    with index.reading() as connection:
        rows = connection.execute(found).all()
    # A value may be left over from what the study said before.
    name = f"{PATIENT_ID:08X}"
    return [number for number, *texts in rows if _accepts(name, key, *parsed(texts))]


def _located(index: Index, row_ids: array[int]) -> Iterator[StoredInstance]:
    for at in range(0, len(row_ids), _PAGE):
        with index.reading() as connection:
            rows = _LOCATED.rows(connection, {"row_ids": row_ids[at : at + _PAGE].tolist()})
        for each in rows:
            row: tuple[Any, ...] = tuple(each)
            yield StoredInstance(ObjectName(*row[:3]), *row[3:])


def _joined_tables(level: Level) -> FromClause:
    if level <= Level.STUDY:
        return schema.TABLES[level]
    joined = schema.series.join(schema.study, _of_study.id == _of_series.parent)
    return (
        joined
        if level is Level.SERIES
        else schema.instance.join(joined, _of_series.id == _of_instance.parent)
    )


_LOCATED = Query(
    select(
        _of_study.uid,
        _of_series.uid,
        _of_instance.uid,
        _of_instance.sop_class,
        _of_instance.transfer_syntax,
        _of_instance.size,
        _of_instance.digest,
    )
    .select_from(_joined_tables(Level.IMAGE))
    .where(_of_instance.id.in_(bindparam("row_ids", expanding=True)))
    .order_by(_of_instance.id)
)


def _known(connection: Connection, sources: list[Source]) -> array[int] | None:
    """The row IDs to look at, if it takes only the first slices to know them."""
    try:
        next(search := shortest(connection, sources, 1))
    except StopIteration as end:
        found, others = end.value
        return None if others and len(found) > _FEW else found
    search.close()
    return None


def _row_ids(index: Index, sources: list[Source]) -> Iterator[array[int] | None]:
    """The row IDs to look at: where there are many, first some of them, and then all."""
    for rounds in (_ALONE if len(sources) == 1 else _SIDE_BY_SIDE, None):
        with index.reading() as connection:
            found, others = yield from shortest(connection, sources, rounds)
        if others is None:
            yield found
            continue
        exact = [source for source in others if source.is_exact]
        if len(found) > _FEW and exact:
            yield from _narrowed(index, found, exact)
        else:
            yield found
        break


def _narrowed(index: Index, row_ids: array[int], sources: list[Source]) -> Iterator[array[int]]:
    """The row IDs that exact sources have, too: to ask these costs less than to read the rows."""
    for at in range(0, len(row_ids), CHUNK):
        left = set(row_ids[at : at + CHUNK])
        with index.reading() as connection:
            for source in sources:
                if left:
                    left = source.among(connection, sorted(left))
        yield array("q", sorted(left))


def _once(row_ids: Iterator[array[int] | None], last: int) -> Iterator[list[int] | None]:
    """Row IDs in pages, each once, without those behind the last one that there was at the beginning."""
    seen = bytearray(last // 8 + 1)
    size = _FIRST_PAGE
    for some in row_ids:
        if some is None:
            yield None
            continue
        page: list[int] = []
        for number in some:
            at, bit = number >> 3, 1 << (number & 7)
            if number > last or seen[at] & bit:
                continue
            seen[at] |= bit
            page.append(number)
            if len(page) == size:
                yield page
                page, size = [], min(2 * size, _PAGE)
        yield page or None


# The attributes of the matches in a page.
_Pages = Iterator["list[Attributes] | None"]


def _pages(index: Index, reader: _Reader, row_ids: Iterator[list[int] | None]) -> _Pages:
    for page in row_ids:
        if page is None:
            yield None
            continue
        with index.reading() as connection:
            matches = reader.page(connection, page)
        yield matches


def _walk(index: Index, reader: _Reader, after: int, last: int) -> _Pages:
    """All rows between two numbers, in the order of these. However few of them match, no statement takes long."""
    reader.left = after, last
    width = reader.first
    while after < last:
        began = perf_counter()
        low, high = (
            (max(after, last - width), last) if reader.newest_first else (after, min(last, after + width))
        )
        with index.reading() as connection:
            matches = reader.between(connection, low, high)
        # The page may have been full before its end.
        is_full = reader.count == _PAGE
        if reader.newest_first:
            last = reader.last - 1 if is_full else low
        else:
            after = reader.last if is_full else high
        reader.left = after, last
        taken = perf_counter() - began
        yield matches
        if not is_full:
            width = min(width * 2, _WIDEST) if taken < _SOON else max(width // 2, _FIRST_PAGE)


def _walk_among(index: Index, reader: _Reader, sources: list[Source], last: int) -> _Pages:
    """As `_walk`, of the rows only that are in exact sources: to ask these costs less than to read the rows."""
    after = 0
    while after < last:
        low, high = (max(0, last - CHUNK), last) if reader.newest_first else (after, min(last, after + CHUNK))
        left = list(range(low + 1, high + 1))
        with index.reading() as connection:
            for source in sources:
                left = sorted(source.among(connection, left)) if left else left
            matches = reader.page(connection, left) if left else []
        after, last = (0, low) if reader.newest_first else (high, last)
        reader.left = after, last
        yield matches


def _ordered(index: Index, reader: _Reader, sources: list[Source], last: int) -> _Pages:
    """The matches in the order of their rows.

    Where keys lead to many rows, the first matches are found soonest by a walk through all of them; where it finds
    little, by reading which rows these are, and then looking at them only.
    """
    if not sources:
        yield from _walk(index, reader, *_without_skipped(index, reader, last))
        return
    with index.reading() as connection:
        rounds = _SOON_KNOWN if reader.skip <= _FAR else None
        row_ids, others = yield from shortest(connection, sources, rounds)
    reader.left = 0, last
    if others is None:
        known = [source for source in sources if source.is_exact]
        walk = _walk_among(index, reader, known, last) if known else _walk(index, reader, 0, last)
        for matches in walk:
            yield matches
            looked_at = last - (reader.left[1] - reader.left[0])
            if looked_at > _MANY and reader.matched * _SPARSE < looked_at:
                break
        else:
            return
        with index.reading() as connection:
            row_ids, others = yield from shortest(connection, sources, None)
    after, last = reader.left
    wanted = sorted({number for number in row_ids if after < number <= last}, reverse=reader.newest_first)
    exact = [source for source in others or () if source.is_exact]
    for page in _paged(wanted, reader.first):
        with index.reading() as connection:
            left = set(page)
            for source in exact:
                # To ask these costs less than to read the rows.
                left = source.among(connection, sorted(left)) if left else left
            matches = reader.page(connection, sorted(left)) if left else []
        yield matches


def _paged(row_ids: list[int], first: int) -> Iterator[list[int]]:
    at, size = 0, first
    while at < len(row_ids):
        yield row_ids[at : at + size]
        at, size = at + size, min(2 * size, _PAGE)


def _without_skipped(index: Index, reader: _Reader, last: int) -> tuple[int, int]:
    """Between which numbers the rows are that are not skipped, where it takes no look at rows to know that."""
    if not reader.skip or not reader.takes_all:
        return 0, last
    with index.reading() as connection:
        first = _place_query(reader.level, reader.newest_first).rows(
            connection, {"last": last, "skip": reader.skip}
        )
    reader.skip = 0
    if not first:
        return last, last
    return (0, first[0][0]) if reader.newest_first else (first[0][0] - 1, last)


@lru_cache(8)
def _place_query(level: Level, newest_first: bool) -> Query:
    """The number of a row that has so many in front of it."""
    number = schema.TABLES[level].c.id
    ordered = select(number).where(number <= bindparam("last")).order_by(_ordered_by(number, newest_first))
    return Query(ordered.limit(1).offset(bindparam("skip", type_=Integer)))


def _ordered_by(number: ColumnElement[int], newest_first: bool) -> ColumnElement[int]:
    return number.desc() if newest_first else number


def _shown(level: Level) -> list[Level]:
    """The levels whose attributes the answers at a level may have."""
    return [above for above in Level if Level.STUDY <= above <= level] or [Level.PATIENT]


def _owner(level: Level, of: Level) -> ColumnElement[int]:
    """The number of the row of a level above that a row is below, or of itself."""
    if of is Level.PATIENT is not level:
        return schema.study.c.parent
    return schema.TABLES[of].c.id


def _rows(
    level: Level, residues: tuple[Residue, ...], newest_first: bool, owners: tuple[Level, ...]
) -> Select[Any]:
    """The rows of a level: row ID, owners of what is computed, attributes, and what objects say otherwise."""
    table = schema.TABLES[level]
    kept = [schema.TABLES[above].c.attributes for above in _shown(level)]
    others = [schema.TABLES[above].c.others for above in _shown(level) if above is not Level.IMAGE]
    conditions = [
        residue_condition(one, bindparam(_RESIDUE.format(number))) for number, one in enumerate(residues)
    ]
    return (
        select(table.c.id, *(_owner(level, of) for of in owners), *kept, *others)
        .select_from(_joined_tables(level))
        .where(*conditions)
        .order_by(_ordered_by(table.c.id, newest_first))
    )


_RESIDUE = "residue_{}"


@lru_cache(256)
def _page_query(
    level: Level, residues: tuple[Residue, ...], newest_first: bool, owners: tuple[Level, ...]
) -> Query:
    number = schema.TABLES[level].c.id
    return Query(
        _rows(level, residues, newest_first, owners).where(number.in_(bindparam("row_ids", expanding=True)))
    )


@lru_cache(256)
def _walk_query(
    level: Level, residues: tuple[Residue, ...], newest_first: bool, owners: tuple[Level, ...]
) -> Query:
    number = schema.TABLES[level].c.id
    limits = number > bindparam("after"), number <= bindparam("last")
    return Query(_rows(level, residues, newest_first, owners).where(*limits).limit(_PAGE))


# A row that matches, and its attributes.
_Found = tuple[Row[Any], Attributes]


class _Reader:
    """Reads rows with the attributes of the levels above and the computed ones, and tests them.

    Attributes
    ----------
    level, newest_first
        What is read, and in which order of the row IDs.
    takes_all
        Whether each row matches.
    skip
        How many of the next matches are to be left out.
    first
        How many rows are read at first.
    count, last
        How many rows were read last, and the row ID of the last one.
    matched
        How many rows matched up to now.
    left
        Between which row IDs a walk has not looked yet.
    """

    def __init__(self, request: Request, order: Order) -> None:
        level = self.level = request.level
        self.newest_first, self.skip = order.newest_first, order.skip
        self.first = max(_SMALLEST, min(order.wanted, _PAGE))
        shown = _shown(level)
        computed = computed_at(level, relational=request.options.relational)
        # Of each the level of the rows that it is computed of.
        self._computed = {key.tag: computed[key.tag] for key in request.keys if key.tag in computed}
        owners = tuple(sorted(set(self._computed.values())))
        # Where in a row their numbers are.
        self._owners = {of: at for at, of in enumerate(owners, 1)}
        tested = [key for key in request.keys if not key.is_universal]
        self._tested = [(f"{key.tag:08X}", key) for key in tested if key.tag not in self._computed]
        self._tested_late = [(f"{key.tag:08X}", key) for key in tested if key.tag in self._computed]
        self._combined = [(f"{each.date:08X}", f"{each.time:08X}", each) for each in request.combined]
        self._kept = slice(1 + len(owners), 1 + len(owners) + len(shown))
        self._zones = [request.zone(above) for above in shown]
        residues = residue(request)
        self._how = level, tuple(one for one, _ in residues), order.newest_first, owners
        self.takes_all = not tested and not self._combined
        self._values = {_RESIDUE.format(number): value for number, (_, value) in enumerate(residues)}
        self.count = self.last = self.matched = 0
        self.left = 0, 0

    def page(self, connection: Connection, row_ids: list[int]) -> list[Attributes]:
        """The attributes of the rows with these numbers that match."""
        values = {**self._values, "row_ids": row_ids}
        return self._matches(connection, _page_query(*self._how).rows(connection, values))

    def between(self, connection: Connection, after: int, last: int) -> list[Attributes]:
        """The attributes of the rows between two numbers that match; of a page at the most."""
        values = {**self._values, "after": after, "last": last}
        return self._matches(connection, _walk_query(*self._how).rows(connection, values))

    def _matches(self, connection: Connection, rows: Sequence[Row[Any]]) -> list[Attributes]:
        self.count = len(rows)
        if not rows:
            return []
        self.last = rows[-1][0]
        found = self._matching(rows)
        if not self._tested_late:
            found = self._unskipped(found)
        # What is computed costs more, and is so of few.
        for tag, of in self._computed.items() if found else ():
            at, name = self._owners[of], f"{tag:08X}"
            values = COMPUTED[of][tag](connection, list({row[at]: None for row, _ in found}))
            for row, attributes in found:
                attributes[name] = values.get(row[at], "0")
        if self._tested_late:
            late = self._tested_late
            found = [each for each in found if all(key.accepts(each[1][name]) for name, key in late)]
            found = self._unskipped(found)
        return [attributes for _, attributes in found]

    def _unskipped(self, found: list[_Found]) -> list[_Found]:
        """Matches without those that are to be left out."""
        self.matched += len(found)
        skipped = min(self.skip, len(found))
        self.skip -= skipped
        return found[skipped:] if skipped else found

    def _matching(self, rows: Sequence[Row[Any]]) -> list[_Found]:
        """The rows whose attributes match, as far as these are kept."""
        read: dict[str, Any] = {}
        found = []
        for row in rows:
            attributes: Attributes = {_AVAILABILITY: "ONLINE"}
            others: Others = {}
            for text, contrary, zone in zip_longest(row[self._kept], row[self._kept.stop :], self._zones):
                if text not in read:
                    read[text] = json.loads(text)
                of_level: tuple[Attributes, Others] = read[text], json.loads(contrary) if contrary else {}
                if zone is not None:
                    of_level = zone.moved(*of_level)
                attributes |= of_level[0]
                others |= of_level[1]
            if all(_accepts(name, key, attributes, others) for name, key in self._tested) and all(
                each.accepts(attributes.get(date, ""), attributes.get(time, ""))
                for date, time, each in self._combined
            ):
                found.append((row, attributes))
        return found


_AVAILABILITY = f"{INSTANCE_AVAILABILITY:08X}"


def _each(pages: _Pages) -> Iterator[Attributes | None]:
    for page in pages:
        yield from page or (None,)


def _accepts(name: str, key: Key, attributes: Attributes, others: Others) -> bool:
    """Whether a key matches the attribute, or what another object says of it."""
    return key.accepts(attributes.get(name, "")) or any(map(key.accepts, others.get(name, ())))
