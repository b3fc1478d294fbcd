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

from sqlalchemy import Connection, delete, insert, select

from ...datasets.character_sets import codecs_of
from ...datasets.text import value_text
from ...dimse.datasets import OUT_OF_RESOURCES
from ...encoding.scan import Header, HeaderScanner
from ...errors import DatabaseFailure, IndexUnusable, ServiceRefusal, Trouble, UnusableObject
from ...values import field, frozen, mutable
from ..database import WAIT_SECONDS, Database, Keeping, sqlite_url
from ..intake import Entry, read_entry
from ..storage.files import ObjectName, Storage
from . import levels, schema, trigrams
from .kept import STANDARD, Kept, remember
from .levels import Attributes, KnownSeries
from .schema import KEPT_IN_ITEMS, SPECIFIC_CHARACTER_SET, Level

_log = logging.getLogger(__name__)

T = TypeVar("T")

# A longer value, in bytes, is not kept; no attribute that one queries for is that long.
_VALUE_LIMIT = 16 << 10
_ITEM_LIMIT, _ITEM_DEPTH = 64, 3
_BATCH = 500
_RETRY_LIMIT = 4_096

# Of the items in sequences.
_ITEMS = HeaderScanner(KEPT_IN_ITEMS)


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
    """An object that waits to be committed. The outcome is as of `Index.add`, None before the commit."""

    entry: Entry
    attributes: str
    outcome: bool | ServiceRefusal | None = None


@mutable
class _Pending:
    """The objects that the next commit will add: new ones, and those that an earlier commit failed to add."""

    tickets: list[_Ticket] = field(default_factory=list)
    retries: list[_Ticket] = field(default_factory=list)


class Index:
    """The index of one store. It may be shared between threads.

    Parameters
    ----------
    path
        The SQLite file; created if it does not exist.
    busy_seconds
        How long to wait for a lock that another process holds, in seconds, before an object is refused.
    kept
        The attributes that it keeps from now on; None for those that it kept up to now. Objects that it has already owe
        what is new, see `filling`.

    Raises
    ------
    IndexUnusable
        If the file is damaged, or of another version.
    DatabaseFailure
        If it cannot be used now, for instance since another process has locked it. Nothing is wrong with it then.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        busy_seconds: float = WAIT_SECONDS,
        kept: Kept | None = None,
    ) -> None:
        self.path = Path(path)
        self.busy_seconds = busy_seconds
        self._pending = _Pending()
        self._pending_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self.kept = kept or STANDARD
        # Whether the database was created just now, and so lacks all objects that the store may hold.
        self.is_new = False
        self.database = Database(sqlite_url(path), Keeping.DERIVED, wait_seconds=busy_seconds)
        try:
            self._prepare(kept)
        except DatabaseFailure as failure:
            self.close()
            if failure.is_damage:
                raise IndexUnusable(str(self.path), failure.cause) from failure
            raise
        except IndexUnusable:
            self.close()
            raise
        # Row IDs of series by Study and Series Instance UID; a cache.
        self._series = KnownSeries(tag for _, tag in sorted(self.kept.added))
        # Of objects when the index is rebuilt.
        self._scanner = HeaderScanner(self.wanted)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database. No other method may be running."""
        self.database.close()

    @property
    def wanted(self) -> Mapping[int, str]:
        """The tags that the index keeps, each with its VR."""
        return self.kept.wanted

    def add(self, entries: Sequence[Entry]) -> list[bool | ServiceRefusal]:
        """Index objects, and return when they are committed. Objects that are indexed already are left as they are.

        Returns
        -------
        list
            For each object: True if it is indexed; False if its SOP Instance UID is indexed under another study or
            series; a refusal with status 0xA700 if the database is full, damaged, or locked for too long.
        """
        tickets = [self._ticket(entry) for entry in entries]
        with self._pending_lock:
            self._pending.tickets += tickets
        # The thread that gets the lock commits for all that wait; these find their outcome when they get it.
        if not self._write_lock.acquire(timeout=2 * self.busy_seconds + 1):
            return [ServiceRefusal(OUT_OF_RESOURCES, "the index is busy") for _ in tickets]
        try:
            if any(ticket.outcome is None for ticket in tickets):
                with self._pending_lock:
                    batch, self._pending.tickets = self._pending.tickets, []
                self._commit(batch)
        finally:
            self._write_lock.release()
        return [ticket.outcome or False for ticket in tickets]

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

    def find(self, instance: str) -> ObjectName | None:
        """The name of the object of a SOP Instance UID; None if it is not indexed.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if the database cannot be read.
        """
        with self.reading() as connection:
            found = connection.execute(
                select(schema.study.c.uid, schema.series.c.uid)
                .join(schema.series, schema.series.c.parent == schema.study.c.id)
                .join(schema.instance, schema.instance.c.parent == schema.series.c.id)
                .where(schema.instance.c.uid == instance)
            ).one_or_none()
        return None if found is None else ObjectName(found[0], found[1], instance)

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

    def _prepare(self, kept: Kept | None) -> None:
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
            self.kept = remember(connection, kept)

    def _commit(self, batch: Sequence[_Ticket]) -> None:
        """Commit a batch, preceded by what an earlier commit failed to add."""
        tickets = [*self._pending.retries, *batch]
        outcomes: list[bool] = []
        self._pending.retries = []
        try:
            for part in _batches(tickets):
                outcomes += self._insert_all(part)
        except DatabaseFailure as failure:
            _tell(failure)
            if failure.is_passing:
                # They are refused now, but their files are in the store, so the next commit tries again to index them.
                # Otherwise one of the objects may be the cause and would fail again.
                self._pending.retries = tickets[len(outcomes) :][-_RETRY_LIMIT:]
        finally:
            if len(outcomes) < len(tickets):
                self._series.clear()
            for ticket, outcome in zip(tickets, outcomes, strict=False):
                ticket.outcome = outcome
            for ticket in tickets[len(outcomes) :]:
                ticket.outcome = ServiceRefusal(OUT_OF_RESOURCES, "the index cannot be written")

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
        read = self.kept.read
        patient, own, of_series = (
            attributes_of(header, read[level]) for level in (Level.PATIENT, Level.STUDY, Level.SERIES)
        )
        collected = levels.collected(entry.sop_class_uid, of_series) | self.kept.found(patient | own)
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
        tickets = []
        for name in names:
            try:
                tickets.append(self._ticket(read_entry(storage, name, self._scanner)))
            except (UnusableObject, ServiceRefusal):
                storage.quarantine(name)
        with self._write_lock:
            self._commit(tickets)
        taken = 0
        for ticket in tickets:
            if isinstance(ticket.outcome, ServiceRefusal):
                raise ticket.outcome
            taken += ticket.outcome is True or self._keep_older(storage, ticket.entry)
        return taken

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
            return all(self._insert(connection, [self._ticket(entry)]))

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

    def _ticket(self, entry: Entry) -> _Ticket:
        return _Ticket(entry, levels.to_json(attributes_of(entry.header, self.kept.read[Level.IMAGE])))

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


def reindex(path: str | os.PathLike[str], storage: Storage, kept: Kept = STANDARD) -> Recovery:
    """Build a new index from the files of a store. It replaces the old one when it is complete.

    Parameters
    ----------
    path
        The SQLite file of the index, which must not be open.
    storage
        The store.
    kept
        The attributes that it keeps.

    Raises
    ------
    ServiceRefusal, OSError
        If the new index cannot be written, or the store cannot be read.
    """
    fresh = f"{os.fspath(path)}.new"
    _remove(fresh)
    with Index(fresh, kept=kept) as index:
        found = index.recover(storage)
    _remove(os.fspath(path))
    os.replace(fresh, path)
    return found


def attributes_of(header: Header, kept: Mapping[int, str]) -> Attributes:
    """Attributes of an object, of which tag and VR are given, as the index keeps them."""
    raw = header.values.get(SPECIFIC_CHARACTER_SET)
    codecs = codecs_of(raw[1].decode("latin-1").strip("\0 ").split("\\") if raw else ())
    return _attributes(header, kept, codecs, 0)


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


_INSERT_INSTANCE = insert(schema.instance)


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
