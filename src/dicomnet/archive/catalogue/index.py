"""The index: attributes of the stored objects, in SQLite, for queries. It is derived from the files.

Objects that several threads add at the same time are committed in one transaction.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, bindparam, delete, insert, select

from ...datasets.character_sets import codecs_of
from ...datasets.text import value_text
from ...dimse.datasets import OUT_OF_RESOURCES
from ...encoding.scan import Header, HeaderScanner
from ...errors import DatabaseFailure, IndexUnusable, ServiceRefusal, Trouble, UnusableObject
from ...values import frozen, mutable
from ..database import WAIT_SECONDS, Database, Keeping, Lookup, sqlite_url
from ..entries import Entry, read_entry
from ..storage.files import ObjectName, Storage
from . import levels, schema, trigrams
from .levels import Attributes, KnownSeries
from .schema import KEPT, KEPT_IN_ITEMS, SPECIFIC_CHARACTER_SET, Level

_log = logging.getLogger(__name__)

T = TypeVar("T")

# A longer value, in bytes, is not kept; no attribute that one queries for is that long.
_VALUE_LIMIT = 16 << 10
_ITEM_LIMIT, _ITEM_DEPTH = 64, 3
_BATCH = 500

# Of objects when the index is rebuilt, and of the items in their sequences.
_OBJECTS, _ITEMS = HeaderScanner(schema.WANTED), HeaderScanner(KEPT_IN_ITEMS)


@frozen
class Recovery:
    """The differences between index and store that a recovery found and corrected.

    Parameters
    ----------
    added
        Number of objects that were in the store but not in the index.
    removed
        Number of objects that were in the index but not in the store.
    quarantined
        Number of files that were moved to quarantine: damaged, not named after their object, or with the SOP Instance
        UID of another object.
    """

    added: int
    removed: int
    quarantined: int


@mutable
class _Ticket:
    """An object that is to be indexed, with its attributes as JSON."""

    entry: Entry
    attributes: str


class Index:
    """The index of one store. It may be shared between threads.

    Parameters
    ----------
    path
        The SQLite file; created if it does not exist.
    busy_seconds
        How long to wait for a lock that another process holds, in seconds, before an object is refused.

    Raises
    ------
    IndexUnusable
        If the file is damaged, or of another version.
    DatabaseFailure
        If it cannot be used now, for instance since another process has locked it. Nothing is wrong with it then.
    """

    def __init__(self, path: str | os.PathLike[str], *, busy_seconds: float = WAIT_SECONDS) -> None:
        self.path = Path(path)
        self.busy_seconds = busy_seconds
        self._write_lock = threading.Lock()
        # Row IDs of series by Study and Series Instance UID; a cache.
        self._series = KnownSeries()
        # Whether the database was created just now, and so lacks all objects that the store may hold.
        self.is_new = False
        self.database = Database(sqlite_url(path), Keeping.DERIVED, wait_seconds=busy_seconds)
        self._name_of = Lookup(self.database, _NAME_OF)
        try:
            self._prepare()
        except DatabaseFailure as failure:
            self.close()
            if failure.is_damage:
                raise IndexUnusable(str(self.path), failure.cause) from failure
            raise
        except IndexUnusable:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database. No other method may be running."""
        self._name_of.close()
        self.database.close()

    @property
    def wanted(self) -> Mapping[int, str]:
        """The tags that the index keeps, each with its VR."""
        return schema.WANTED

    def add(self, entries: Sequence[Entry]) -> list[bool]:
        """Index objects in one transaction. Objects that are indexed already are left as they are.

        Returns
        -------
        list
            For each object: True if it is indexed; False if its SOP Instance UID is indexed under another study or
            series.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if the database is full, damaged, or locked for too long.
        UnusableObject
            If the database refuses one of the objects.
        """
        tickets = [_ticket(entry) for entry in entries]
        try:
            with self._write_lock:
                return self._insert_all(tickets)
        except DatabaseFailure as failure:
            self._series.clear()
            _tell(failure)
            if failure.is_passing or failure.is_damage:
                raise ServiceRefusal(OUT_OF_RESOURCES, "the index cannot be written") from failure
            raise UnusableObject("the index refuses it") from failure

    def names_of(self, instances: Sequence[str]) -> dict[str, ObjectName]:
        """The objects that are indexed, of those with these SOP Instance UIDs.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if the database cannot be read.
        """
        try:
            rows = self._name_of.first(instances)
        except DatabaseFailure as failure:
            _tell(failure)
            raise ServiceRefusal(OUT_OF_RESOURCES, "the index cannot be read") from failure
        return {instance: ObjectName(row[0], row[1], instance) for instance, row in rows.items()}

    def make_durable(self) -> None:
        """Return when all that was added is on the medium.

        Raises
        ------
        OSError
            If it may not be.
        """
        # A commit does not wait for the medium. What is in neither file is found again in the journal.
        for path in (f"{self.path}-wal", str(self.path)):
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(path, os.O_RDWR)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection whose reads all see the same state of the database.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if the database cannot be read.
        """
        try:
            with self.database.reading() as connection:
                yield connection
        except DatabaseFailure as failure:
            _tell(failure)
            raise ServiceRefusal(OUT_OF_RESOURCES, "the index cannot be read") from failure

    def recover(self, storage: Storage) -> Recovery:
        """Bring the index in line with the files of the store. No object may be stored meanwhile.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if the database cannot be written.
        OSError
            If the store cannot be read.
        """
        added = removed = quarantined = 0
        seen: set[int] = set()
        for (study, series), instances in storage.objects():
            number, known = self._instances(study, series)
            missing = set(instances) - known
            for batch in _batches(sorted(missing)):
                names = [ObjectName(study, series, instance) for instance in batch]
                taken = self._recover_objects(storage, names)
                added += taken
                quarantined += len(names) - taken
            if number is None:
                number = self._instances(study, series)[0]
            if number is not None:
                removed += self._forget(number, known - set(instances))
                seen.add(number)
        removed += self._forget_other_series(seen)
        storage.needs_recovery = False
        return Recovery(added, removed, quarantined)

    def forget(self, name: ObjectName) -> None:
        """Remove an object, with its series, study and patient where nothing else is below them.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if the database cannot be written.
        """
        with self._writing() as connection:
            number = self._find_series(connection, name)
            of = schema.instance.c
            connection.execute(delete(schema.instance).where(of.parent == number, of.uid == name.instance))
            for level in (Level.SERIES, Level.STUDY, Level.PATIENT):
                above, below = schema.TABLES[level], schema.TABLES[Level(level + 1)]
                is_empty = ~select(below.c.id).where(below.c.parent == above.c.id).exists()
                row = connection.execute(select(above).where(above.c.id == number, is_empty)).one_or_none()
                if row is None:
                    break
                connection.execute(delete(above).where(above.c.id == number))
                number = row._mapping.get("parent")
            self._series.clear()

    def _prepare(self) -> None:
        with self.database.writing() as connection:
            check = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
            if check != "ok":
                raise IndexUnusable(str(self.path), "it is damaged")
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            self.is_new = version == 0
            if version not in (0, schema.VERSION):
                raise IndexUnusable(str(self.path), f"it is of version {version}, not {schema.VERSION}")
            schema.metadata.create_all(connection)
            connection.exec_driver_sql(f"PRAGMA user_version={schema.VERSION}")

    def _insert_all(self, tickets: Sequence[_Ticket]) -> list[bool]:
        """Commit objects. Usually none of them is indexed yet, so they are first inserted without a look-up."""
        try:
            with self.database.writing() as connection:
                rows = [_row(ticket, self._series_number(connection, ticket.entry)) for ticket in tickets]
                connection.execute(_INSERT_INSTANCE, rows)
            return [True] * len(tickets)
        except DatabaseFailure as failure:
            if failure.trouble is not Trouble.CONFLICT:
                raise
            self._series.clear()
        with self.database.writing() as connection:
            return self._insert(connection, tickets)

    def _insert(self, connection: Connection, tickets: Sequence[_Ticket]) -> list[bool]:
        uids = [ticket.entry.name.instance for ticket in tickets]
        of = schema.instance.c
        parents = {
            row.uid: row.parent
            for row in connection.execute(select(of.uid, of.parent).where(of.uid.in_(uids)))
        }
        outcomes, rows = [], []
        for ticket in tickets:
            entry = ticket.entry
            known = parents.get(entry.name.instance)
            if known is None:
                known = self._series_number(connection, entry)
                parents[entry.name.instance] = known
                rows.append(_row(ticket, known))
                outcomes.append(True)
            else:
                outcomes.append(known == self._find_series(connection, entry.name))
        if rows:
            connection.execute(_INSERT_INSTANCE, rows)
        return outcomes

    def _find_series(self, connection: Connection, name: ObjectName) -> int | None:
        key = (name.study, name.series)
        if key not in self._series:
            found = connection.scalar(
                select(schema.series.c.id)
                .join(schema.study, schema.study.c.id == schema.series.c.parent)
                .where(schema.study.c.uid == name.study, schema.series.c.uid == name.series)
            )
            if found is None:
                return None
            self._series[key] = found
        return self._series[key]

    def _series_number(self, connection: Connection, entry: Entry) -> int:
        """Row ID of the object's series; the rows of series, study and patient are inserted if they are missing."""
        name, header = entry.name, entry.header
        number = self._find_series(connection, name)
        if number is not None and not self._series.is_news(number, header, entry.sop_class_uid):
            return number
        patient, own, of_series = (attributes_of(header, level) for level in Level if level < Level.IMAGE)
        collected = levels.collected(entry.sop_class_uid, of_series)
        if number is not None:
            levels.complete(connection, number, collected, patient=patient, study=own, of_series=of_series)
            return number
        study = connection.scalar(select(schema.study.c.id).where(schema.study.c.uid == name.study))
        is_new = study is None
        if study is None:
            study = levels.insert_study(connection, name.study, collected, patient=patient, own=own)
        number = levels.insert_series(connection, study, name.series, of_series)
        if not is_new:
            levels.complete(connection, number, collected, patient=patient, study=own, of_series=of_series)
        self._series[name.study, name.series] = number
        self._series.is_news(number, header, entry.sop_class_uid)
        return number

    def _instances(self, study: str, series: str) -> tuple[int | None, set[str]]:
        with self._writing() as connection:
            number = self._find_series(connection, ObjectName(study, series, "0"))
            if number is None:
                return None, set()
            of = schema.instance.c
            return number, set(connection.scalars(select(of.uid).where(of.parent == number)))

    def _recover_objects(self, storage: Storage, names: Sequence[ObjectName]) -> int:
        entries = []
        for name in names:
            try:
                entries.append(read_entry(storage, name, _OBJECTS))
            except (UnusableObject, ServiceRefusal):
                storage.quarantine(name)
        outcomes = self.add(entries) if entries else []
        return sum(
            outcome or self._keep_older(storage, entry)
            for entry, outcome in zip(entries, outcomes, strict=True)
        )

    def _keep_older(self, storage: Storage, entry: Entry) -> bool:
        """Quarantine the newer of two objects with the same SOP Instance UID, which cannot have been acknowledged.

        Returns
        -------
        bool
            Whether the object of `entry` is the one that is kept.
        """
        with self._writing() as connection:
            found = connection.execute(
                select(schema.study.c.uid, schema.series.c.uid, schema.instance.c.id)
                .join(schema.series, schema.series.c.parent == schema.study.c.id)
                .join(schema.instance, schema.instance.c.parent == schema.series.c.id)
                .where(schema.instance.c.uid == entry.name.instance)
            ).one()
            other = ObjectName(found[0], found[1], entry.name.instance)
            if _age(storage, other) <= _age(storage, entry.name):
                storage.quarantine(entry.name)
                return False
            storage.quarantine(other)
            connection.execute(delete(schema.instance).where(schema.instance.c.id == found[2]))
            return all(self._insert(connection, [_ticket(entry)]))

    def _forget(self, series: int, instances: Iterable[str]) -> int:
        of = schema.instance.c
        count = 0
        for batch in _batches(sorted(instances)):
            with self._writing() as connection:
                connection.execute(delete(schema.instance).where(of.parent == series, of.uid.in_(batch)))
            count += len(batch)
        return count

    def _forget_other_series(self, seen: set[int]) -> int:
        """Remove the instances of all series but those in `seen`, and then every row that has no rows below it."""
        count = 0
        with self._writing() as connection:
            for number in connection.scalars(select(schema.series.c.id)).all():
                if number not in seen:
                    gone = connection.execute(
                        delete(schema.instance).where(schema.instance.c.parent == number)
                    )
                    count += gone.rowcount
            for level in (Level.SERIES, Level.STUDY, Level.PATIENT):
                above, below = schema.TABLES[level], schema.TABLES[Level(level + 1)]
                connection.execute(
                    delete(above).where(~select(below.c.id).where(below.c.parent == above.c.id).exists())
                )
            values = schema.study_value.c
            connection.execute(
                delete(schema.study_value).where(
                    ~select(schema.study.c.id).where(schema.study.c.id == values.study).exists()
                )
            )
            trigrams.rows_removed(connection)
        self._series.clear()
        return count

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Connection]:
        try:
            with self._write_lock, self.database.writing() as connection:
                yield connection
        except DatabaseFailure as failure:
            self._series.clear()
            _tell(failure)
            raise ServiceRefusal(OUT_OF_RESOURCES, "the index cannot be written") from failure


def _tell(failure: DatabaseFailure) -> None:
    _log.warning("the index has failed: %s", failure.cause)


def reindex(path: str | os.PathLike[str], storage: Storage) -> Recovery:
    """Build a new index from the files of a store. It replaces the old one when it is complete.

    Parameters
    ----------
    path
        The SQLite file of the index, which must not be open.
    storage
        The store.

    Raises
    ------
    ServiceRefusal, OSError
        If the new index cannot be written, or the store cannot be read.
    """
    fresh = f"{os.fspath(path)}.new"
    _remove(fresh)
    with Index(fresh) as index:
        found = index.recover(storage)
    _remove(os.fspath(path))
    os.replace(fresh, path)
    return found


def attributes_of(header: Header, level: Level) -> Attributes:
    """The attributes of an object that the index keeps at one level."""
    raw = header.values.get(SPECIFIC_CHARACTER_SET)
    codecs = codecs_of(raw[1].decode("latin-1").strip("\0 ").split("\\") if raw else ())
    return _attributes(header, KEPT[level], codecs, 0)


def _attributes(header: Header, kept: Mapping[int, str], codecs: Sequence[str], depth: int) -> Attributes:
    values = header.values
    found: Attributes = {}
    for tag, vr in kept.items():
        if tag not in values:
            continue
        written_vr, raw = values[tag]
        if len(raw) > _VALUE_LIMIT or (written_vr == "SQ") != (vr == "SQ"):
            continue
        if vr != "SQ":
            found[_key(tag)] = value_text(vr, raw, codecs, header.encoding.byte_order)
        elif depth < _ITEM_DEPTH:
            # If the items cannot be parsed, the object is indexed without this attribute.
            with contextlib.suppress(ServiceRefusal):
                items = islice(_ITEMS.scan_items(header, tag), _ITEM_LIMIT)
                found[_key(tag)] = [_attributes(item, KEPT_IN_ITEMS, codecs, depth + 1) for item in items]
    return found


def _ticket(entry: Entry) -> _Ticket:
    return _Ticket(entry, levels.to_json(attributes_of(entry.header, Level.IMAGE)))


_INSERT_INSTANCE = insert(schema.instance)
_NAME_OF = (
    select(schema.study.c.uid, schema.series.c.uid)
    .join(schema.series, schema.series.c.parent == schema.study.c.id)
    .join(schema.instance, schema.instance.c.parent == schema.series.c.id)
    .where(schema.instance.c.uid == bindparam("instance"))
)


def _row(ticket: _Ticket, series: int) -> dict[str, Any]:
    return {
        "parent": series,
        "uid": ticket.entry.name.instance,
        "sop_class": ticket.entry.sop_class_uid,
        "transfer_syntax": ticket.entry.transfer_syntax_uid,
        "attributes": ticket.attributes,
    }


def _key(tag: int) -> str:
    return f"{tag:08X}"


def _age(storage: Storage, name: ObjectName) -> int:
    return os.stat(storage.path(name)).st_mtime_ns


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))


def _remove(path: str) -> None:
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + suffix)
