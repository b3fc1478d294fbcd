"""The index: attributes of the stored objects, in a database, for queries. It is derived from the files."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from secrets import token_hex
from typing import Any, NoReturn, Self

from sqlalchemy import URL, Connection, bindparam, delete, func, inspect, select

from ...datasets.levels import Level
from ...dimse.datasets import OUT_OF_RESOURCES
from ...errors import DatabaseFailure, IndexUnusable, ServiceRefusal, Trouble, UnusableObject
from ...values import frozen
from ..database import WAIT_SECONDS, Database, Keeping, Lookup, sqlite_url
from ..entries import Entry
from ..storage.store import ObjectName
from . import schema, trigrams
from .described import Describer
from .kept import STANDARD, Kept, added, kept_with, remember
from .levels import COUNT
from .writer import Described, Writer

_log = logging.getLogger(__name__)

_PART = 500
_MARK = ".damaged"


@frozen
class IndexedFile:
    """The file of an object, as the index knows it.

    Parameters
    ----------
    name
        Its name in the store.
    size, digest
        Its length in bytes, and its SHA-256 as hexadecimal digits, as it was received; None where that is not known.
    sop_class_uid, transfer_syntax_uid
        UIDs.
    """

    name: ObjectName
    size: int | None
    digest: str | None
    sop_class_uid: str = ""
    transfer_syntax_uid: str = ""


class Index:
    """The index of one store. It may be shared between threads.

    Parameters
    ----------
    url
        The database: the path of a SQLite file, or a URL as of `Database`. Tables and files that are missing are made.
    kept
        The attributes that it keeps from now on; None for those that it kept up to now. Objects that it has already owe
        what is new, see `filling`.
    wait_seconds
        How long to wait for a lock that another process holds, in seconds.

    Attributes
    ----------
    was_damaged
        Whether it has taken the place of one that was damaged, since it was opened.

    Raises
    ------
    IndexUnusable
        If it is damaged, or of another version.
    DatabaseFailure
        If it cannot be used now, for instance since another process has locked it. Nothing is wrong with it then.
    """

    def __init__(
        self,
        url: str | os.PathLike[str] | URL,
        *,
        kept: Kept | None = None,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self.database = _database(url, wait_seconds)
        self.was_damaged = False
        self.kept = kept or STANDARD
        self._write_lock = threading.Lock()
        self._file_of = Lookup(self.database, _FILE_OF)
        # The generation of the database that was found to be complete.
        self._complete_generation = -1
        # It is there when any process has found the file to be damaged, until another file takes its place.
        self._mark = f"{self.database.url.database}{_MARK}" if self.database.is_file else None
        try:
            self.kept = self._prepare(kept)
        except DatabaseFailure as failure:
            self.close()
            if failure.is_damage:
                raise IndexUnusable(self.database.name, failure.cause) from failure
            raise
        except IndexUnusable:
            self.close()
            raise
        self._writer = Writer(self.database, self.kept)
        self._describer = Describer(self.kept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; what is needed later is opened anew. No other method may be running."""
        self._file_of.close()
        self.database.close()

    @property
    def wanted(self) -> Mapping[int, str]:
        """The tags that the index keeps, each with its VR."""
        return self.kept.wanted

    @property
    def is_damaged(self) -> bool:
        """Whether any process has found it to be damaged, so that it has to be renewed."""
        return self._mark is not None and os.path.exists(self._mark)

    @property
    def is_complete(self) -> bool:
        """Whether all files of the store have been looked at since the index was made.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if the database cannot be read.
        """
        # Once a file is, it stays so, unless another takes its place. Anybody may make a server's tables anew.
        self.database.look_for_another_file()
        if not self.database.is_file or self._complete_generation != self.database.generation:
            with self.reading() as connection:
                if _state(connection, schema.COMPLETE_STATE) != _YES:
                    return False
            self._complete_generation = self.database.generation
        return True

    def look(self) -> bool:
        """Whether it is complete, as the database says now; for those who want to know whether that answers.

        Raises
        ------
        DatabaseFailure
            If it cannot be read. It is not logged unless the database is damaged.
        """
        try:
            with self.database.reading() as connection:
                return _state(connection, schema.COMPLETE_STATE) == _YES
        except DatabaseFailure as failure:
            if failure.is_damage:
                self._note(failure)
            raise

    def complete(self) -> None:
        """Record that all files of the store have been looked at.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if the database cannot be written.
        """
        with self.writing() as connection:
            set_state(connection, schema.COMPLETE_STATE, _YES)

    def doubt(self) -> None:
        """Record that the store has files which it may lack.

        Raises
        ------
        DatabaseFailure
            If the database cannot be written.
        """
        with self._write_lock, self.database.writing_alone() as connection:
            set_state(connection, schema.COMPLETE_STATE, _NO)
        self._complete_generation = -1

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
        objects = [self._describer.describe(entry) for entry in entries]
        try:
            with self._write_lock:
                return self._writer.write(objects)
        except DatabaseFailure as failure:
            self._note(failure)
            if failure.is_passing or failure.is_damage:
                raise ServiceRefusal(OUT_OF_RESOURCES, "the index cannot be written") from failure
            raise UnusableObject("the index refuses it") from failure

    def complete_above(self, connection: Connection, objects: Sequence[Described]) -> None:
        """Take into the rows above what objects that are there say of them, see `Writer.complete`."""
        self._writer.complete(connection, objects)

    def add_again(self, connection: Connection, objects: Sequence[Described]) -> None:
        """Write objects whose rows were removed in a transaction of `writing`, see `Writer.add_again`."""
        self._writer.add_again(connection, objects)

    def names_of(self, instances: Sequence[str]) -> dict[str, ObjectName]:
        """The objects that are indexed, of those with these SOP Instance UIDs.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if the database cannot be read.
        """
        return {
            instance: ObjectName(row[0], row[1], instance)
            for instance, row in self._rows_of(instances).items()
        }

    def files_of(self, instances: Iterable[str]) -> dict[str, IndexedFile]:
        """As `names_of`, with what is known of their files."""
        return {
            instance: IndexedFile(ObjectName(study, series, instance), *rest)
            for instance, (study, series, *rest) in self._rows_of(instances).items()
        }

    def make_durable(self) -> None:
        """Return when all that was added is on the medium.

        Raises
        ------
        OSError
            If it may not be.
        """
        self.database.make_durable()

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
            self._note(failure)
            raise ServiceRefusal(OUT_OF_RESOURCES, "the index cannot be read") from failure

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction in which nobody else writes.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if the database cannot be written.
        """
        try:
            with self._write_lock, self.database.writing_alone() as connection:
                yield connection
        except DatabaseFailure as failure:
            self._note(failure)
            raise ServiceRefusal(OUT_OF_RESOURCES, "the index cannot be written") from failure

    def check(self, is_stopped: Callable[[], bool] = lambda: False, *, is_thorough: bool = False) -> bool:
        """Whether the database is whole, as far as it can tell by reading all of it.

        Parameters
        ----------
        is_stopped, is_thorough
            As of `Database.check`.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if the database cannot be read, or that was stopped.
        """
        try:
            self.database.check(is_stopped, is_thorough=is_thorough)
        except DatabaseFailure as failure:
            self._note(failure)
            if failure.is_damage:
                return False
            raise ServiceRefusal(OUT_OF_RESOURCES, "the index cannot be read") from failure
        return True

    def renew(self) -> None:
        """Put an empty index in the place of one that is damaged. It is complete after a recovery from the files.

        Raises
        ------
        DatabaseFailure, IndexUnusable, OSError
            If it cannot be made now.
        """
        with self._write_lock:
            self.close()
            self.database.discard(schema.metadata)
            self._complete_generation = -1
            self._prepare(self.kept)
            if self._mark is not None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._mark)

    def instances(self, study: str, series: str) -> set[str]:
        """The SOP Instance UIDs that are indexed in a series.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if the database cannot be read.
        """
        with self.reading() as connection:
            number = find_series(connection, study, series)
            of = schema.instance.c
            return set(connection.scalars(select(of.uid).where(of.parent == number)))

    def series(self) -> Iterator[tuple[str, str]]:
        """The Study and Series Instance UIDs of all series, some at a time.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if the database cannot be read.
        """
        of = schema.series.c
        last = 0
        while True:
            with self.reading() as connection:
                rows = connection.execute(
                    select(schema.study.c.uid, of.uid, of.id)
                    .join(schema.study, schema.study.c.id == of.parent)
                    .where(of.id > last)
                    .order_by(of.id)
                    .limit(_PART)
                ).all()
            if not rows:
                return
            yield from ((row[0], row[1]) for row in rows)
            last = rows[-1][2]

    def count(self) -> int:
        """How many objects are indexed.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if the database cannot be read.
        """
        with self.reading() as connection:
            return int(connection.scalar(_ALL) or 0)

    def forget(self, name: ObjectName) -> None:
        """Remove an object, with its series, study and patient where nothing else is below them.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if the database cannot be written.
        """
        self.forget_all(name.study, name.series, (name.instance,))

    def forget_all(self, study: str, series: str, instances: Iterable[str]) -> None:
        """Remove objects of a series, as `forget` does for one.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if the database cannot be written.
        """
        of = schema.instance.c
        wanted = sorted(instances)
        with self.writing() as connection:
            number = find_series(connection, study, series)
            removed = 0
            for at in range(0, len(wanted), _PART):
                part = wanted[at : at + _PART]
                found = connection.execute(
                    delete(schema.instance).where(of.parent == number, of.uid.in_(part))
                )
                removed += found.rowcount
            connection.execute(COUNT, {"study": study, "series": 0, "instances": -removed})
            _remove_empty(connection, study, number)

    def _rows_of(self, instances: Iterable[str]) -> dict[str, tuple[Any, ...]]:
        """The rows of `_FILE_OF` by SOP Instance UID; raises ServiceRefusal."""
        try:
            return self._file_of.first(instances)
        except DatabaseFailure as failure:
            self._note(failure)
            raise ServiceRefusal(OUT_OF_RESOURCES, "the index cannot be read") from failure

    def _prepare(self, kept: Kept | None) -> Kept:
        """Look at the tables, and write only where something is missing; what is kept."""
        with self.database.reading() as connection:
            there = schema.metadata.tables.keys() & set(inspect(connection).get_table_names())
            if schema.state.name in there:
                version = _state(connection, schema.VERSION_STATE)
                if version is None:
                    self._refuse_tables(there)
                if version != str(schema.VERSION):
                    raise IndexUnusable(
                        self.database.name, f"it is of version {version}, not {schema.VERSION}"
                    )
                before = added(connection)
                if kept is None or kept.added == before:
                    return kept or kept_with(before)
            elif there:
                self._refuse_tables(there)
        with self.database.writing_alone() as connection:
            schema.metadata.create_all(connection)
            if _state(connection, schema.VERSION_STATE) is None:
                set_state(connection, schema.VERSION_STATE, str(schema.VERSION))
                set_state(connection, schema.NUMBERING_STATE, token_hex())
            return remember(connection, kept)

    def _refuse_tables(self, there: Iterable[str]) -> NoReturn:
        """Tables with the names of ours, and no word of what they are."""
        if self.database.is_file:
            # Of a version before it said so in the tables, or of another program: the file is put aside.
            raise IndexUnusable(self.database.name, "it is of an older version")
        tables = ", ".join(sorted(there))
        raise DatabaseFailure(
            self.database.name,
            Trouble.REFUSED,
            f"it has tables of another program ({tables}); give dicomnet a database of its own",
        )

    def _note(self, failure: DatabaseFailure) -> None:
        if failure.is_damage and self._mark is not None:
            with contextlib.suppress(OSError):
                os.close(os.open(self._mark, os.O_CREAT | os.O_WRONLY, 0o640))
        _log.warning("the index has failed: %s", failure.cause)


def discard(url: str | os.PathLike[str] | URL) -> None:
    """Put an index aside, which nobody has open, or remove its tables from a server. The files have all that is in it.

    Parameters
    ----------
    url
        As of `Index`.

    Raises
    ------
    DatabaseFailure, OSError
        If it cannot be removed now.
    """
    database = _database(url, WAIT_SECONDS)
    try:
        database.discard(schema.metadata)
        if database.is_file:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{database.url.database}{_MARK}")
    finally:
        database.close()


def _database(url: str | os.PathLike[str] | URL, wait_seconds: float) -> Database:
    if not (isinstance(url, URL) or (isinstance(url, str) and "://" in url)):
        url = sqlite_url(url)
    return Database(url, Keeping.DERIVED, wait_seconds=wait_seconds)


_YES, _NO = "yes", "no"
_FILE_OF = (
    select(
        schema.study.c.uid,
        schema.series.c.uid,
        schema.instance.c.size,
        schema.instance.c.digest,
        schema.instance.c.sop_class,
        schema.instance.c.transfer_syntax,
    )
    .join(schema.series, schema.series.c.parent == schema.study.c.id)
    .join(schema.instance, schema.instance.c.parent == schema.series.c.id)
    .where(schema.instance.c.uid == bindparam("instance"))
)

_ALL = select(func.sum(schema.study.c.instance_count))


def _state(connection: Connection, name: str) -> str | None:
    return connection.execute(select(schema.state.c.value).where(schema.state.c.name == name)).scalar()


def set_state(connection: Connection, name: str, value: str) -> None:
    """Note what is known of the index as a whole, see `schema.STATES`."""
    connection.execute(delete(schema.state).where(schema.state.c.name == name))
    connection.execute(schema.state.insert().values(name=name, value=value))


def find_series(connection: Connection, study: str, series: str) -> int | None:
    """The row ID of a series; None if it is not there."""
    return connection.execute(
        select(schema.series.c.id)
        .join(schema.study, schema.study.c.id == schema.series.c.parent)
        .where(schema.study.c.uid == study, schema.series.c.uid == series)
    ).scalar()


def _remove_empty(connection: Connection, study: str, series: int | None) -> None:
    """Remove a series without instances, and its study and patient if nothing else is below them."""
    number, has_removed = series, False
    for level in (Level.SERIES, Level.STUDY, Level.PATIENT):
        above, below = schema.TABLES[level], schema.TABLES[Level(level + 1)]
        is_empty = ~select(below.c.id).where(below.c.parent == above.c.id).exists()
        row = connection.execute(select(above).where(above.c.id == number, is_empty)).one_or_none()
        if row is None:
            break
        connection.execute(delete(above).where(above.c.id == number))
        if level is Level.SERIES:
            connection.execute(COUNT, {"study": study, "series": -1, "instances": 0})
        if level is Level.STUDY:
            connection.execute(delete(schema.study_value).where(schema.study_value.c.study == number))
            trigrams.rows_removed(connection)
        number, has_removed = row._mapping.get("parent"), True
    if has_removed:
        set_state(connection, schema.NUMBERING_STATE, token_hex())
