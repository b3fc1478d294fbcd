"""The writing of objects into the tables of the index, many in one transaction.

Where a series is known and an object says nothing new of it, only its own row is written. The rows above the others
are looked up together, changed in memory, and written together. Row IDs are given here, so that rows can refer to each
other before they are written; one transaction of this kind excludes all others.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Table, func, select

from ...datasets.levels import Level
from ...errors import DatabaseFailure, Trouble
from ...values import mutable
from ..database import Database, Insertion
from ..entries import Source
from ..storage.store import ObjectName
from . import levels, schema, trigrams
from .kept import Kept
from .levels import Attributes, KnownSeries

_log = logging.getLogger(__name__)

_ABOVE = (Level.PATIENT, Level.STUDY, Level.SERIES)
_MERGED = ("attributes", "others")


@mutable
class Described:
    """An object as it is written into the tables.

    Parameters
    ----------
    name, sop_class_uid, transfer_syntax_uid
        Its UIDs.
    attributes
        Those of its own level, as `levels.to_json` writes them.
    signature
        The same for objects that say the same of the levels above.
    above
        Gives the attributes of patient, study and series.
    source
        Who sent it.
    size, digest, stored_at
        As the columns of `schema.instance`; None where they are not known.
    """

    name: ObjectName
    sop_class_uid: str
    transfer_syntax_uid: str
    attributes: str
    signature: int
    above: Callable[[], tuple[Attributes, Attributes, Attributes]]
    source: Source
    size: int | None = None
    digest: str | None = None
    stored_at: int | None = None

    @property
    def series(self) -> tuple[str, str]:
        """Study and Series Instance UID."""
        return self.name.study, self.name.series


class Writer:
    """The one that writes objects into an index. It must not be shared between threads.

    Parameters
    ----------
    database
        The database of the index.
    kept
        The attributes that it keeps.
    """

    def __init__(self, database: Database, kept: Kept) -> None:
        self._database = database
        self._kept = kept
        self._insert = {table: Insertion(database, table) for table in schema.metadata.tables.values()}
        self._series = KnownSeries()
        self._sources: dict[Source, int] = {}
        # The numbering of the tables for which this holds; another process may have removed rows.
        self._numbering: str | None = None

    def forget(self) -> None:
        """Forget what is known of the tables, since rows may be gone."""
        self._series.clear()
        self._sources.clear()

    def write(self, objects: Sequence[Described]) -> list[bool]:
        """Write objects in one transaction. Objects that are there already are left as they are.

        Returns
        -------
        list
            For each object: True if it is there; False if its SOP Instance UID is there under another study or series.

        Raises
        ------
        DatabaseFailure
            If the database cannot be written.
        """
        try:
            try:
                # Usually none of them is there yet, so that is not looked up.
                with self._database.writing_alone() as connection:
                    self._add(connection, objects)
                return [True] * len(objects)
            except DatabaseFailure as failure:
                if failure.trouble is not Trouble.CONFLICT:
                    raise
                self.forget()
            with self._database.writing_alone() as connection:
                return self._add_missing(connection, objects)
        except DatabaseFailure:
            self.forget()
            raise

    def complete(self, connection: Connection, objects: Sequence[Described]) -> None:
        """Take into the rows above what objects that are there say of them. Where it is nothing new, none is written.

        Parameters
        ----------
        connection
            A transaction in which nobody else writes.
        objects
            The objects; their own rows are left as they are.
        """
        rows = _Rows(connection, self._insert, self._kept)
        rows.load(objects)
        for each in objects:
            rows.merge(each)
        rows.write(Counter())

    def add_again(self, connection: Connection, objects: Sequence[Described]) -> None:
        """Write objects whose rows, and those above that were theirs alone, have been removed in a transaction.

        Parameters
        ----------
        connection
            The transaction, in which nobody else writes, and in which `schema.NUMBERING_STATE` was changed.
        objects
            The objects, in the order in which they say what is above them.
        """
        self._add(connection, objects)

    def _add_missing(self, connection: Connection, objects: Sequence[Described]) -> list[bool]:
        of = schema.instance.c
        uids = [each.name.instance for each in objects]
        statement = select(of.uid, of.parent).where(of.uid.in_(uids))
        parents = {row[0]: row[1] for row in connection.execute(statement)}
        known = _series_numbers(connection, {each.name.study for each in objects})
        places = {uid: {key for key, number in known.items() if number == parents[uid]} for uid in parents}
        missing, outcomes = [], []
        for each in objects:
            place = places.setdefault(each.name.instance, set())
            if not place and each.name.instance not in parents:
                missing.append(each)
                place.add(each.series)
            outcomes.append(each.series in place)
        self._add(connection, missing)
        return outcomes

    def _add(self, connection: Connection, objects: Sequence[Described]) -> None:
        if not objects:
            return
        self._catch_up(connection)
        rows = _Rows(connection, self._insert, self._kept)
        say_something = [each for each in objects if not self._series.has_said(each.series, each.signature)]
        rows.load(say_something)
        for each in say_something:
            if not self._series.has_said(each.series, each.signature):
                self._series.said(each.series, rows.merge(each), each.signature)
        sources = self._source_numbers(connection, {each.source for each in objects}, rows)
        rows.write(Counter(each.name.study for each in objects))
        first = rows.next_number(schema.instance)
        self._insert[schema.instance](
            connection,
            [
                (
                    number,
                    self._series[each.series],
                    each.name.instance,
                    each.sop_class_uid,
                    each.transfer_syntax_uid,
                    each.attributes,
                    each.size,
                    each.digest,
                    each.stored_at,
                    sources[each.source],
                    None,
                )
                for number, each in enumerate(objects, first)
            ],
        )

    def _catch_up(self, connection: Connection) -> None:
        """Forget what is known, if it may not be true any more."""
        numbering = connection.execute(_NUMBERING).scalar()
        if numbering != self._numbering or self._series.is_full:
            self.forget()
            self._numbering = numbering

    def _source_numbers(
        self, connection: Connection, sources: Iterable[Source], rows: _Rows
    ) -> dict[Source, int]:
        missing = [source for source in sources if source not in self._sources]
        if missing:
            of = schema.source.c
            for row in connection.execute(select(of.id, of.ae_title, of.address, of.way)):
                self._sources[Source(row.ae_title, row.address, row.way)] = row.id
        new = []
        for source in missing:
            if source not in self._sources:
                self._sources[source] = rows.next_number(schema.source)
                new.append((self._sources[source], source.ae_title, source.address, source.way))
        self._insert[schema.source](connection, new)
        return self._sources


@mutable
class _Row:
    """A row above the instances, as it is in memory."""

    number: int
    parent: int | None
    # The identity of a patient, the UID of a study or series.
    key: str
    attributes: Attributes
    others: levels.Others
    is_new: bool = False
    has_changed: bool = False

    def merge(self, said: Attributes) -> None:
        if levels.merged(self.attributes, self.others, said):
            self.has_changed = True

    @property
    def texts(self) -> tuple[str, str | None]:
        return levels.to_json(self.attributes), levels.to_json(self.others) if self.others else None


class _Rows:
    """The rows above the instances of one transaction."""

    def __init__(self, connection: Connection, insert: dict[Table, Insertion], kept: Kept) -> None:
        self._connection = connection
        self._kept = kept
        self._insert = insert
        self._next: dict[Table, int] = {}
        # By row ID and by identity; by UID; by the UIDs of study and series.
        self._patients: dict[int, _Row] = {}
        self._identities: dict[str, _Row] = {}
        self._studies: dict[str, _Row] = {}
        self._series: dict[tuple[str, str], _Row] = {}
        # What studies are found by, of those that are new and those that were there.
        self._found: dict[int, set[tuple[int, str]]] = {}
        self._above: dict[int, tuple[Attributes, Attributes, Attributes]] = {}

    def next_number(self, table: Table) -> int:
        """A row ID that is free."""
        if table not in self._next:
            self._next[table] = self._connection.execute(_HIGHEST[table]).scalar_one() or 0
        self._next[table] += 1
        return self._next[table]

    def load(self, objects: Sequence[Described]) -> None:
        """Look up the rows that may be above objects."""
        if not objects:
            return
        of = schema.study.c
        columns = (of.id, of.parent, of.uid, of.attributes, of.others)
        for row in self._select(columns, of.uid, {each.name.study for each in objects}):
            self._studies[row.key] = row
        by_number = {row.number: row for row in self._studies.values()}
        self._keep_patients(schema.patient.c.id, {row.parent for row in by_number.values()})
        self._keep_patients(
            schema.patient.c.identity,
            {
                levels.identity(self._said(each)[Level.PATIENT])
                for each in objects
                if each.name.study not in self._studies
            },
        )
        below = schema.series.c
        columns = (below.id, below.parent, below.uid, below.attributes, below.others)
        for row in self._select(columns, below.parent, set(by_number)):
            self._series[by_number[row.parent or 0].key, row.key] = row

    def merge(self, described: Described) -> int:
        """Take what an object says of the levels above into their rows; the row ID of its series."""
        patient, own, of_series = self._said(described)
        found = levels.collected(described.sop_class_uid, of_series) | self._kept.found(patient | own)
        study = self._studies.get(described.name.study)
        if study is None:
            study = self._new_study(described.name.study, patient, own)
        else:
            self._patients[study.parent or 0].merge(patient)
            patients = levels.other_patients(study.others)
            study.merge(patient | own)
            if levels.other_patients(study.others) > patients:
                _log.warning(
                    "object %s has another Patient ID than others of its study %s, which is found by either",
                    described.name.instance,
                    study.key,
                )
        self._found.setdefault(study.number, set()).update(found)
        series = self._series.get(described.series)
        if series is None:
            number = self.next_number(schema.series)
            series = _Row(number, study.number, described.name.series, dict(of_series), {}, is_new=True)
            self._series[described.series] = series
        else:
            series.merge(of_series)
        return series.number

    def write(self, instances: Counter[str]) -> None:
        """Write the rows that are new or have changed.

        Parameters
        ----------
        instances
            How many objects are added to each study, by UID.
        """
        patients, studies, series = self._patients.values(), self._studies.values(), self._series.values()
        insert = self._insert
        insert[schema.patient](
            self._connection, [(row.number, row.key, *row.texts) for row in patients if row.is_new]
        )
        new = [row for row in studies if row.is_new]
        new_series = Counter(study for (study, _), row in self._series.items() if row.is_new)
        insert[schema.study](
            self._connection,
            [
                (row.number, row.parent, row.key, *row.texts, new_series[row.key], instances[row.key])
                for row in new
            ],
        )
        insert[schema.series](
            self._connection,
            [
                (row.number, row.parent, row.key, levels.modality(row.attributes), *row.texts)
                for row in series
                if row.is_new
            ],
        )
        known = sorted(instances.keys() - {row.key for row in new})
        self._count([(study, new_series[study], instances[study]) for study in known])
        for level, rows in zip(_ABOVE, (patients, studies, series), strict=True):
            for row in rows:
                if row.has_changed and not row.is_new:
                    self._update(level, row)
        values = []
        for row in studies:
            pairs = self._found.get(row.number, set())
            if row.is_new or row.has_changed:
                pairs |= levels.found_by(row.attributes, row.others)
            if pairs and not row.is_new:
                pairs -= levels.known_values(self._connection, row.number, pairs)
            values += [
                (self.next_number(schema.study_value), row.number, tag, value) for tag, value in sorted(pairs)
            ]
        insert[schema.study_value](self._connection, values)
        if new:
            trigrams.fill(self._connection)

    def _said(self, described: Described) -> tuple[Attributes, Attributes, Attributes]:
        found = self._above.get(id(described))
        if found is None:
            found = self._above[id(described)] = described.above()
        return found

    def _new_study(self, uid: str, patient: Attributes, own: Attributes) -> _Row:
        identity = levels.identity(patient)
        above = self._identities.get(identity)
        if above is None:
            above = _Row(self.next_number(schema.patient), None, identity, dict(patient), {}, is_new=True)
            self._patients[above.number] = self._identities[identity] = above
        else:
            above.merge(patient)
        study = _Row(self.next_number(schema.study), above.number, uid, patient | own, {}, is_new=True)
        self._studies[uid] = study
        return study

    def _keep_patients(self, column: Any, values: Iterable[Any]) -> None:
        of = schema.patient.c
        columns = (of.id, schema.NO_PARENT, of.identity, of.attributes, of.others)
        for row in self._select(columns, column, values):
            if row.number not in self._patients:
                self._patients[row.number] = self._identities[row.key] = row

    def _select(self, columns: Sequence[Any], column: Any, values: Iterable[Any]) -> Iterable[_Row]:
        wanted = list(values)
        for at in range(0, len(wanted), _PART):
            statement = select(*columns).where(column.in_(wanted[at : at + _PART]))
            for number, parent, key, *texts in self._connection.execute(statement):
                yield _Row(number, parent, key, *levels.parsed(texts))

    def _count(self, added: Sequence[tuple[str, int, int]]) -> None:
        if added:
            names = ("study", "series", "instances")
            self._connection.execute(levels.COUNT, [dict(zip(names, each, strict=True)) for each in added])

    def _update(self, level: Level, row: _Row) -> None:
        attributes, others = row.texts
        values: dict[str, Any] = {"number": row.number, "attributes": attributes, "others": others}
        if level is Level.SERIES:
            values["modality"] = levels.modality(row.attributes)
        self._connection.execute(levels.UPDATE[level], values)


_NUMBERING = select(schema.state.c.value).where(schema.state.c.name == schema.NUMBERING_STATE)
# How many values one look-up has.
_PART = 500
_HIGHEST = {
    table: select(func.max(table.c.id)) for table in schema.metadata.tables.values() if "id" in table.c
}


def _series_numbers(connection: Connection, studies: Iterable[str]) -> dict[tuple[str, str], int]:
    found = connection.execute(
        select(schema.study.c.uid, schema.series.c.uid, schema.series.c.id)
        .join(schema.series, schema.series.c.parent == schema.study.c.id)
        .where(schema.study.c.uid.in_(list(studies)))
    )
    return {(row[0], row[1]): row[2] for row in found}
