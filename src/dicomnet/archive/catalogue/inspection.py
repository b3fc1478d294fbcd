"""The index as it is inspected: its rows one by one, what they contradict, and what sets them right."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from secrets import token_hex
from typing import Any

from pydicom.datadict import keyword_for_tag
from sqlalchemy import ColumnElement, Connection, Select, delete, func, select, update

from ...datasets.levels import Level
from ...encoding.identity import is_uid
from ...plurals import counted
from ...values import frozen
from ..entries import Entry, Source
from ..storage.store import ObjectName
from . import levels, schema
from .described import Describer
from .index import Index, find_series, set_state
from .levels import Attributes, Others
from .values import found_values

# How many rows are read at a time; nobody waits for them.
_PART = 500
_of_study, _of_series, _of_instance = schema.study.c, schema.series.c, schema.instance.c


@frozen
class Row:
    """The row of an object.

    Parameters
    ----------
    number
        Its row ID.
    uids
        Study, Series and SOP Instance UID.
    sop_class, transfer_syntax
        UIDs of the object.
    attributes
        Those that are kept of it, as they are stored.
    size, digest, stored_at, location
        As the columns of `schema.instance`.
    source
        Who sent it.
    """

    number: int
    uids: tuple[str, str, str]
    sop_class: str
    transfer_syntax: str
    attributes: str
    size: int | None
    digest: str | None
    stored_at: int | None
    location: str | None
    source: Source

    @property
    def name(self) -> ObjectName | None:
        """The name of the object; None where a damaged database has something else than UIDs."""
        return ObjectName(*self.uids) if all(map(is_uid, self.uids)) else None


@frozen
class StudyRow:
    """The row of a study.

    Parameters
    ----------
    number
        Its row ID.
    uid
        Study Instance UID.
    attributes, others
        What its objects say of it and of its patient, and what some of them say otherwise, as in `levels`.
    instance_count
        How many objects it has.
    """

    number: int
    uid: str
    attributes: Attributes
    others: Others
    instance_count: int


@frozen
class SeriesRow:
    """The row of a series: its UID and modality, and what its objects say of it, as of `StudyRow`."""

    uid: str
    modality: str
    attributes: Attributes
    others: Others


class Inspection:
    """The inspector of an index. It may be in use, and rows may come and go meanwhile.

    All methods raise ServiceRefusal with status 0xA700 if the index cannot be read or written.

    Parameters
    ----------
    index
        The index.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._describer = Describer(index.kept)
        # What objects may lack that were there when it began to be kept.
        self._owed = {f"{tag:08X}" for level, tag in index.kept.added if level is Level.IMAGE}
        self._kept = {f"{tag:08X}" for tag in index.kept.read[Level.IMAGE]}

    def rows(self, study: str, series: str) -> Iterator[Row]:
        """The rows of a series, some at a time."""
        last = 0
        while True:
            with self._index.reading() as connection:
                number = find_series(connection, study, series)
                of_it = (_of_instance.parent == number, _of_instance.id > last)
                page = ROWS.where(*of_it).order_by(_of_instance.id).limit(_PART)
                found = connection.execute(page).all()
            yield from map(row_of, found)
            if len(found) < _PART:
                return
            last = found[-1].id

    def row(self, instance: str) -> Row | None:
        """The row of an object, by its SOP Instance UID, wherever it is."""
        with self._index.reading() as connection:
            found = connection.execute(ROWS.where(_of_instance.uid == instance)).one_or_none()
        return None if found is None else row_of(found)

    def study(self, uid: str) -> StudyRow | None:
        """The row of a study, by its Study Instance UID."""
        with self._index.reading() as connection:
            found = connection.execute(_STUDIES.where(_of_study.uid == uid)).one_or_none()
        return None if found is None else _study_row(found)

    def studies(self) -> Iterator[StudyRow]:
        """The rows of all studies, some at a time."""
        for rows in self._pages(_STUDIES, ""):
            yield from map(_study_row, rows)

    def count_of_patient(self, patient: str) -> int:
        """How many studies have an object that says this Patient ID."""
        key = f"{levels.PATIENT_ID:08X}"
        count = 0
        values = found_values("LO", patient)
        of = schema.study_value.c
        statement = _STUDIES.where(
            _of_study.id.in_(select(of.study).where(of.tag == levels.PATIENT_ID, of.value.in_(values)))
        )
        for rows in self._pages(statement, ""):
            for row in map(_study_row, rows):
                count += patient in (row.attributes.get(key), *row.others.get(key, ()))
        return count

    def received(self) -> Iterator[tuple[StudyRow, float]]:
        """The rows of all studies, each with when an object of it was last received, in seconds since 1970.

        Studies with an object of which that is not known are left out.
        """
        for rows in self._pages(_RECEIVED, ""):
            for row in rows:
                if row.last is not None and row.known == row.objects:
                    yield _study_row(row), row.last / 1000

    def received_last(self, uid: str) -> float | None:
        """When an object of a study was last received, as of `received`; None if there is none, or it is not known."""
        with self._index.reading() as connection:
            row = connection.execute(_RECEIVED.where(_of_study.uid == uid)).one_or_none()
        return None if row is None or row.last is None or row.known != row.objects else row.last / 1000

    def series_rows(self, study: str) -> list[SeriesRow]:
        """The rows of the series of a study."""
        columns = (_of_series.uid, _of_series.modality, _of_series.attributes, _of_series.others)
        statement = select(*columns).join(schema.study, _of_study.id == _of_series.parent)
        with self._index.reading() as connection:
            found = connection.execute(statement.where(_of_study.uid == study)).all()
        return [
            SeriesRow(row.uid, row.modality, _parsed(row.attributes), _parsed(row.others or "{}"))
            for row in found
        ]

    def senders(self, study: str) -> set[str]:
        """The AE titles of those who sent objects of a study; an empty one where it is not known, or there was none."""
        statement = (
            select(schema.source.c.ae_title)
            .distinct()
            .select_from(schema.instance)
            .join(schema.series, _of_series.id == _of_instance.parent)
            .join(schema.study, _of_study.id == _of_series.parent)
            .outerjoin(schema.source, schema.source.c.id == _of_instance.source)
        )
        with self._index.reading() as connection:
            return {title or "" for title in connection.scalars(statement.where(_of_study.uid == study))}

    def rows_of_study(self, uid: str) -> list[Row]:
        """The rows of all objects of a study, by its Study Instance UID."""
        with self._index.reading() as connection:
            found = connection.execute(ROWS.where(_of_study.uid == uid).order_by(_of_instance.id)).all()
        return list(map(row_of, found))

    def count(self, study: str = "") -> int:
        """How many objects are indexed, in all or of a study."""
        if not study:
            return self._index.count()
        with self._index.reading() as connection:
            kept = select(_of_study.instance_count).where(_of_study.uid == study)
            return connection.execute(kept).scalar() or 0

    def series(self, study: str = "") -> Iterator[tuple[str, str]]:
        """The Study and Series Instance UIDs of all series, or of those of a study."""
        if not study:
            yield from self._index.series()
            return
        with self._index.reading() as connection:
            of_it = select(_of_series.uid).join(schema.study, _of_study.id == _of_series.parent)
            found = connection.scalars(of_it.where(_of_study.uid == study)).all()
        yield from ((study, series) for series in found)

    def differences(self, row: Row, entry: Entry) -> list[str]:
        """What a row says otherwise than the file of its object, in words."""
        described = self._describer.describe(entry)
        found = [
            what
            for what, kept, there in (
                ("SOP Class UID", row.sop_class, described.sop_class_uid),
                ("Transfer Syntax UID", row.transfer_syntax, described.transfer_syntax_uid),
            )
            if kept != there
        ]
        if row.attributes != described.attributes:
            kept, there = _parsed(row.attributes), json.loads(described.attributes)
            keys = sorted(
                key
                for key in self._kept
                if kept.get(key) != there.get(key) and not (key in self._owed and key not in kept)
            )
            found += [keyword_for_tag(int(key, 16)) or key for key in keys]
        return found

    def correct(self, row: Row, entry: Entry, size: int, digest: str | None) -> None:
        """Have a row say of its object what its file says.

        Parameters
        ----------
        row, entry
            The row, and what the file says.
        size, digest
            Of the file.
        """
        described = self._describer.describe(entry)
        said = {
            "sop_class": described.sop_class_uid,
            "transfer_syntax": described.transfer_syntax_uid,
            "attributes": described.attributes,
            "size": size,
            "digest": digest,
        }
        with self._index.writing() as connection:
            connection.execute(update(schema.instance).where(*_is(row)).values(said))
            self._index.complete_above(connection, [described])

    def add_digests(self, known: Sequence[tuple[Row, int, str]]) -> None:
        """Note size and digest of the files of objects of which they are not known."""
        with self._index.writing() as connection:
            for row, size, digest in known:
                is_unknown = _of_instance.digest.is_(None)
                values = {"size": size, "digest": digest}
                connection.execute(update(schema.instance).where(*_is(row), is_unknown).values(values))

    def wrong_counts(self, study: str = "") -> Iterator[tuple[str, str]]:
        """The studies of which the kept numbers of series and instances are wrong: Study Instance UID, and how."""
        for rows in self._pages(_COUNTS, study):
            for row in rows:
                kept, there = (row.series_count, row.instance_count), (row.series, row.instances)
                if kept != there:
                    yield (
                        row.uid,
                        f"{kept[0]} series and {counted(kept[1], 'object')} instead of {there[0]} and {there[1]}",
                    )

    def recount(self, study: str) -> None:
        """Have a study say how many series and instances are below it."""
        with self._index.writing() as connection:
            values = {"series_count": _SERIES, "instance_count": _INSTANCES}
            connection.execute(update(schema.study).where(_of_study.uid == study).values(values))

    def contradictions(self, study: str = "") -> Iterator[tuple[str, Mapping[str, list[Any]]]]:
        """The studies whose objects contradict each other: Study Instance UID, and the values by keyword.

        The first value of each attribute is the one that the study is shown with.
        """
        for rows in self._pages(_OTHERS, study):
            for row in rows:
                first = _parsed(row.attributes)
                said = {
                    keyword_for_tag(int(key, 16)) or key: [first.get(key, ""), *values]
                    for key, values in sorted(_parsed(row.others).items())
                }
                yield row.uid, said

    def adrift(self) -> dict[str, int]:
        """How many rows belong to nothing, by what they are of: those above without any below, and the reverse."""
        with self._index.reading() as connection:
            counts = {
                table.name: connection.scalar(select(func.count()).select_from(table).where(is_adrift)) or 0
                for table, is_adrift in _ADRIFT
            }
        return {name: count for name, count in counts.items() if count}

    def remove_adrift(self) -> None:
        """Remove the rows that belong to nothing; those of objects have files, of which they are made anew."""
        with self._index.writing() as connection:
            while any(_removed(connection, table, is_adrift) for table, is_adrift in _ADRIFT):
                pass
            # Row IDs that somebody remembers may be wrong now.
            set_state(connection, schema.NUMBERING_STATE, token_hex())

    def _pages(self, statement: Select[Any], study: str) -> Iterator[Sequence[Any]]:
        if study:
            statement = statement.where(_of_study.uid == study)
        last = 0
        while True:
            page = statement.where(_of_study.id > last).order_by(_of_study.id).limit(_PART)
            with self._index.reading() as connection:
                rows = connection.execute(page).all()
            yield rows
            if len(rows) < _PART:
                return
            last = rows[-1].id


def row_of(found: Any) -> Row:
    """What `ROWS` has selected."""
    return Row(
        found.id,
        (found.study_uid, found.series_uid, found.uid),
        found.sop_class,
        found.transfer_syntax,
        found.attributes,
        found.size,
        found.digest,
        found.stored_at,
        found.location,
        Source(found.ae_title or "", found.address or "", found.way or ""),
    )


def _study_row(found: Any) -> StudyRow:
    return StudyRow(
        found.id, found.uid, _parsed(found.attributes), _parsed(found.others or "{}"), found.instance_count
    )


def _is(row: Row) -> tuple[ColumnElement[bool], ...]:
    """The condition of a row, which another one may have replaced since."""
    return _of_instance.id == row.number, _of_instance.uid == row.uids[2]


def _parsed(text: str) -> dict[str, Any]:
    """Attributes as they are stored; none where a damaged database has something else."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _removed(connection: Connection, table: Any, is_adrift: ColumnElement[bool]) -> int:
    return connection.execute(delete(table).where(is_adrift)).rowcount


# All that is known of objects.
ROWS = (
    select(
        schema.instance,
        _of_study.uid.label("study_uid"),
        _of_series.uid.label("series_uid"),
        schema.source.c.ae_title,
        schema.source.c.address,
        schema.source.c.way,
    )
    .select_from(schema.instance)
    .join(schema.series, _of_series.id == _of_instance.parent)
    .join(schema.study, _of_study.id == _of_series.parent)
    .outerjoin(schema.source, schema.source.c.id == _of_instance.source)
)
_STUDIES = select(
    _of_study.id, _of_study.uid, _of_study.attributes, _of_study.others, _of_study.instance_count
)
_RECEIVED = (
    _STUDIES.add_columns(
        func.max(_of_instance.stored_at).label("last"),
        func.count(_of_instance.stored_at).label("known"),
        func.count(_of_instance.id).label("objects"),
    )
    .join(schema.series, _of_series.parent == _of_study.id)
    .join(schema.instance, _of_instance.parent == _of_series.id)
    .group_by(_of_study.id)
)
_SERIES = (
    select(func.count()).select_from(schema.series).where(_of_series.parent == _of_study.id).scalar_subquery()
)
_INSTANCES = (
    select(func.count())
    .select_from(schema.instance)
    .join(schema.series, _of_series.id == _of_instance.parent)
    .where(_of_series.parent == _of_study.id)
    .correlate(schema.study)
    .scalar_subquery()
)
_COUNTS = select(
    _of_study.id,
    _of_study.uid,
    _of_study.series_count,
    _of_study.instance_count,
    _SERIES.label("series"),
    _INSTANCES.label("instances"),
)
_OTHERS = select(_of_study.id, _of_study.uid, _of_study.attributes, _of_study.others).where(
    _of_study.others.is_not(None)
)


def _adrift() -> Iterator[tuple[Any, ColumnElement[bool]]]:
    """The tables, each with the condition of rows that lack what is below or above them; the lowest first."""
    for level in reversed(Level):
        table = schema.TABLES[level]
        if level is not Level.IMAGE:
            below = schema.TABLES[Level(level + 1)]
            yield table, ~select(below.c.id).where(below.c.parent == table.c.id).exists()
        if level is not Level.PATIENT:
            above = schema.TABLES[Level(level - 1)]
            yield table, ~select(above.c.id).where(above.c.id == table.c.parent).exists()


_ADRIFT = tuple(_adrift())
