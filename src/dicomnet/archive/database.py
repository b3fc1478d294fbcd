"""The archive's databases: a SQLite file or a PostgreSQL server by URL, and all that differs between the two.

Nothing else in the archive knows which one it is.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from time import monotonic, sleep
from typing import Any, TypeAlias

from sqlalchemy import (
    URL,
    BigInteger,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Integer,
    MetaData,
    Row,
    Select,
    Table,
    Text,
    TypeDecorator,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from ..drivers.medium import flush_file, flush_folder
from ..errors import DatabaseFailure, Trouble
from ..values import frozen

Insert: TypeAlias = sqlite.Insert | postgresql.Insert

# How long a lock is waited for, in seconds.
WAIT_SECONDS = 5.0
# After how many of SQLite's steps it is asked whether to stop; some milliseconds.
_STEPS = 100_000


class Keeping(Enum):
    """What becomes of a commit after a power cut; the value is SQLite's `synchronous`."""

    DERIVED = "NORMAL"  # it may be lost, since it is found again in the files
    DURABLE = "FULL"


def _without_nul(value: Any) -> Any:
    """A value as PostgreSQL takes it, which keeps no NUL; a peer's value may contain one."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) and "\0" in value else value


class _PostgresText(TypeDecorator[str]):
    """Text that is compared by code point, as in SQLite, and not by the rules of a language."""

    impl = Text
    cache_ok = True

    def __init__(self) -> None:
        super().__init__(collation="C")

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        cleaned: str | None = _without_nul(value)
        return cleaned


class _Instant(TypeDecorator[datetime]):
    """A moment, which has a time zone in Python and is in UTC in the database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)


# Types of columns: text in which ranges and prefixes are by code point, row IDs and sizes of 64 bits, moments.
TEXT = Text().with_variant(_PostgresText(), "postgresql")
IDENTIFIER = BigInteger().with_variant(Integer(), "sqlite")
SIZE = BigInteger()
INSTANT = _Instant()


@frozen
class _Product:
    """How a product does what each does in its own way."""

    driver: str
    engine_options: Mapping[str, Any]
    # The arguments of a connection, by how it keeps commits, how long it waits for a lock, and whether it only reads.
    arguments: Callable[[Keeping, float, bool], dict[str, Any]]
    # Set a new connection up, which may be for reading only.
    prepare: Callable[[Any, Keeping, float, bool], None]
    # Have each statement of a connection for reading be a transaction of its own, and be planned once.
    separate: Callable[[Any], None]
    # What begins a transaction, for reading and for writing; empty where the driver does it.
    begin: tuple[str, str]
    insert: Callable[[Table], Insert]
    # Have a transaction exclude all others of its kind.
    exclude: Callable[[Connection], None]
    trouble: Callable[[BaseException], tuple[Trouble, str]]


class Database:
    """A database. It may be shared between threads; after a fork, it must have been closed before.

    Parameters
    ----------
    url
        ``sqlite:///FILE`` or ``postgresql://[USER[:PASSWORD]@]HOST[:PORT]/NAME``, as SQLAlchemy writes them. A SQLite
        file is created when it is first used.
    keeping
        Whether commits survive a power cut.
    wait_seconds
        How long to wait for a lock that somebody else holds, in seconds.

    Raises
    ------
    ValueError
        If it is another product, or the URL is none.
    ModuleNotFoundError
        If the driver of PostgreSQL is not installed.
    """

    def __init__(self, url: str | URL, keeping: Keeping, *, wait_seconds: float = WAIT_SECONDS) -> None:
        url = _url(url)
        self.wait_seconds = wait_seconds
        self._product = _PRODUCTS[url.get_backend_name()]
        self.url = url.set(drivername=self._product.driver)
        # For the text of errors: the file, or the URL without a password.
        self.name = url.database or "" if self.is_file else url.render_as_string()
        self._reader, self._writer = (self._engine(keeping, is_reader) for is_reader in (True, False))
        # Another process may put another file in the place of a damaged one.
        self._inode: int | None = None
        # How often that was noticed.
        self.generation = 0

    @property
    def is_file(self) -> bool:
        """Whether it is a file, which may be missing, replaced or damaged on its own."""
        return self._product is _PRODUCTS["sqlite"]

    def close(self) -> None:
        """Close all connections; those that are needed later are opened anew. No transaction may be under way."""
        self._reader.dispose()
        self._writer.dispose()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A read-only transaction whose reads all see the same state of the database.

        Raises
        ------
        DatabaseFailure
            If the database cannot be read.
        """
        self.look_for_another_file()
        with self.failing(), self._reader.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is committed at the end, and rolled back if anything is raised.

        Raises
        ------
        DatabaseFailure
            If the database cannot be written; of `Trouble.CONFLICT`, if a row contradicts a constraint.
        """
        self.look_for_another_file()
        with self.failing(), self._writer.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def writing_alone(self) -> Iterator[Connection]:
        """The same, while nobody else is in such a transaction: for changes of tables, and where rows are numbered."""
        with self.writing() as connection:
            self._product.exclude(connection)
            yield connection

    def check(self, is_stopped: Callable[[], bool] = lambda: False, *, is_thorough: bool = False) -> None:
        """Read all of it, and see whether it is whole, as far as the product has a means for that.

        Parameters
        ----------
        is_stopped
            Asked now and then whether to stop.
        is_thorough
            Whether each row is also looked up by what it is found by, which takes several times as long.

        Raises
        ------
        DatabaseFailure
            If it is not, cannot be read, or that was stopped.
        """
        if not self.is_file:
            return
        how = "integrity" if is_thorough else "quick"
        with self.reading() as connection:
            driver: Any = connection.connection.driver_connection
            driver.set_progress_handler(lambda: int(is_stopped()), _STEPS)
            try:
                found = connection.exec_driver_sql(f"PRAGMA {how}_check(1)").scalar_one()
            finally:
                driver.set_progress_handler(None, 0)
        if found != "ok":
            raise DatabaseFailure(self.name, Trouble.DAMAGED, str(found))

    def make_durable(self) -> None:
        """Return when what was committed survives a power cut.

        Raises
        ------
        OSError
            If it may not.
        """
        if not self.is_file:
            return  # A server keeps each commit.
        # Nothing is in the file itself but what SQLite flushed there when it moved it from its log, which is not there
        # if all was moved. The file must not be opened but by SQLite: when one of its descriptors is closed, the
        # process loses all its locks of it, and another process may remove the log in which this one goes on writing.
        with contextlib.suppress(FileNotFoundError):
            flush_file(f"{self.url.database}-wal")
        flush_folder(os.path.dirname(self.url.database or "") or ".")

    def discard(self, tables: MetaData) -> None:
        """Put the file aside, under its name with ``.old``, or remove these tables of a server.

        It may be the file of another program, whose name was given by mistake.

        Raises
        ------
        DatabaseFailure, OSError
            If that cannot be done now.
        """
        self.close()
        if not self.is_file:
            with self.writing_alone() as connection:
                tables.drop_all(connection)
            return
        for end in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{self.url.database}{end}", f"{self.url.database}.old{end}")

    def insert(self, table: Table) -> Insert:
        """An INSERT that may have ``on_conflict_do_nothing`` or ``on_conflict_do_update``."""
        return self._product.insert(table)

    @property
    def cleans_text(self) -> bool:
        """Whether it takes no NUL in texts."""
        return not self.is_file

    @property
    def dialect(self) -> Dialect:
        """How statements are written for it."""
        return self._reader.dialect

    def connected(self) -> PoolProxiedConnection:
        """A connection of the driver, for statements that are asked again and again: the caller's alone, who closes it.

        Each statement sees what was committed before it.

        Raises
        ------
        DBAPIError, sqlalchemy.exc.TimeoutError
            If there is none; see `failing`.
        """
        connection = self._reader.raw_connection()
        driver = connection.driver_connection
        # One that goes back to a pool that was closed meanwhile would stay open.
        connection.detach()
        self._product.separate(driver)
        return connection

    def look_for_another_file(self) -> None:
        """Close the connections to a file that another one has replaced."""
        if not self.is_file:
            return
        try:
            inode = os.stat(self.url.database or "").st_ino
        except OSError:
            return
        if inode != self._inode:
            if self._inode is not None:
                self.generation += 1
                self.close()
            self._inode = inode

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        """Within the block, what the database or its driver raises becomes a `DatabaseFailure`."""
        try:
            yield
        except IntegrityError as error:
            # What the database says may quote the row.
            raise DatabaseFailure(self.name, Trouble.CONFLICT, type(error.orig).__name__) from error
        except PoolTimeout as error:
            raise DatabaseFailure(self.name, Trouble.UNAVAILABLE, "all connections are in use") from error
        except DBAPIError as error:
            raise DatabaseFailure(self.name, *self._product.trouble(error.orig or error)) from error
        except self.dialect.loaded_dbapi.Error as error:
            raise DatabaseFailure(self.name, *self._product.trouble(error)) from error

    def _engine(self, keeping: Keeping, is_reader: bool) -> Engine:
        product, wait = self._product, self.wait_seconds
        # Values are patients' data, and are left out of the texts of exceptions.
        engine = create_engine(
            self.url,
            connect_args=product.arguments(keeping, wait, is_reader),
            hide_parameters=True,
            **product.engine_options,
        )

        def connect(connection: Any, _: ConnectionPoolEntry) -> None:
            product.prepare(connection, keeping, wait, is_reader)

        event.listen(engine, "connect", connect)
        begin = product.begin[0 if is_reader else 1]
        if begin:
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
        return engine


class Insertion:
    """The insertion of rows into a table, many at a time: its text is made once, and values are given as they are.

    Parameters
    ----------
    database
        The database.
    table
        The table; rows are tuples of its columns in their order.
    """

    def __init__(self, database: Database, table: Table) -> None:
        mark = "?" if database.dialect.paramstyle == "qmark" else "%s"
        names = [column.name for column in table.columns]
        self._text = (
            f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join(mark for _ in names)})"
        )
        self._clean = database.cleans_text

    def __call__(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows."""
        if not rows:
            return
        if self._clean:
            rows = [tuple(_without_nul(value) for value in row) for row in rows]
        connection.exec_driver_sql(self._text, list(rows))


class Lookup:
    """A query for one row by one value, which is asked for each object that comes: it is compiled once.

    It has a connection of its own, and may be shared between threads.

    Parameters
    ----------
    database
        The database.
    statement
        The query, with one bound parameter.
    """

    def __init__(self, database: Database, statement: Select[Any]) -> None:
        self._database = database
        self._compiled = statement.compile(dialect=database.dialect)
        (self._parameter,) = self._compiled.params
        self._connection: PoolProxiedConnection | None = None
        self._cursor: Any = None
        self._generation = 0
        self._lock = threading.Lock()

    def first(self, values: Iterable[str]) -> dict[str, tuple[Any, ...]]:
        """The row that is found with each value, of those with which one is.

        Raises
        ------
        DatabaseFailure
            If the database cannot be read.
        """
        text, positional = str(self._compiled), bool(self._compiled.positional)
        found = {}
        self._database.look_for_another_file()
        with self._lock, self._database.failing():
            try:
                if self._connection is None or self._database.generation != self._generation:
                    self._forget()
                    self._connection = self._database.connected()
                    self._generation = self._database.generation
                    self._cursor = self._connection.cursor()
                for value in values:
                    self._cursor.execute(text, (value,) if positional else {self._parameter: value})
                    # All of it, which ends the statement, and with it the lock of what it reads.
                    for row in self._cursor.fetchall():
                        found[value] = row
            except BaseException:
                self._forget()
                raise
        return found

    def close(self) -> None:
        """Close its connection; it is opened anew when needed."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        if self._connection is not None:
            connection, self._connection, self._cursor = self._connection, None, None
            connection.close()


class Query:
    """A SELECT whose text is made once for each product; the values of its parameters are given when it is asked.

    Parameters
    ----------
    statement
        The query; the value of an expanding parameter is a list, which is not empty.
    """

    def __init__(self, statement: Select[Any]) -> None:
        self.statement = statement
        # By the name of the dialect and the lengths of the lists: the text, the names of the parameters in the text in
        # their order, if that counts, those of each list, and the values that are always the same.
        self._texts: dict[
            tuple[str, tuple[int, ...]],
            tuple[str, Sequence[str] | None, Mapping[str, Sequence[str]], Mapping[str, Any]],
        ] = {}

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[Row[Any]]:
        """All rows."""
        return connection.exec_driver_sql(*self._bound(connection, values)).all()

    def slices(
        self, connection: Connection, values: Mapping[str, Any], size: int
    ) -> Generator[Sequence[Row[Any]], None, None]:
        """All rows, some at a time."""
        options = {"yield_per": size}
        with contextlib.closing(
            connection.exec_driver_sql(*self._bound(connection, values), execution_options=options)
        ) as found:
            yield from found.partitions(size)

    def _bound(
        self, connection: Connection, values: Mapping[str, Any]
    ) -> tuple[str, tuple[Any, ...] | dict[str, Any]]:
        product = connection.dialect.name
        lists = {name: _padded(value) for name, value in values.items() if isinstance(value, list)}
        key = product, tuple(map(len, lists.values()))
        if key not in self._texts:
            compiled = self.statement.compile(dialect=connection.dialect)
            state = compiled.construct_expanded_state({**values, **lists})
            constant = {name: value for name, value in compiled.params.items() if name not in values}
            self._texts[key] = str(state.statement), state.positiontup, state.parameter_expansion, constant
        statement, order, expansion, always = self._texts[key]
        given: dict[str, Any] = {**always, **values}
        for name, each in lists.items():
            del given[name]
            given.update(zip(expansion[name], each, strict=True))
        if product == "postgresql":
            given = {name: _without_nul(value) for name, value in given.items()}
        return statement, given if order is None else tuple([given[name] for name in order])


def _padded(values: list[Any]) -> list[Any]:
    """A list with the last value repeated, so that few lengths occur."""
    return values + values[-1:] * ((1 << (len(values) - 1).bit_length()) - len(values))


def sqlite_url(path: str | os.PathLike[str]) -> URL:
    """The URL of a SQLite file."""
    return URL.create("sqlite", database=os.fspath(path))


def is_file_url(url: str | URL) -> bool:
    """Whether a URL is that of a SQLite file. Raises as `Database`."""
    return _url(url).get_backend_name() == "sqlite"


def _url(url: str | URL) -> URL:
    try:
        made = make_url(url)
    except Exception as error:
        raise ValueError(f"{url!r} is not a database's URL") from error
    if made.get_backend_name() not in _PRODUCTS:
        raise ValueError("a database is named by sqlite:///FILE or postgresql://[USER@]HOST/NAME")
    return made


# By result code (https://sqlite.org/rescode.html), whose lower eight bits are the kind of error.
_SQLITE_TROUBLES = {
    sqlite3.SQLITE_CORRUPT: Trouble.DAMAGED,
    sqlite3.SQLITE_NOTADB: Trouble.DAMAGED,
    sqlite3.SQLITE_BUSY: Trouble.LOCKED,
    sqlite3.SQLITE_LOCKED: Trouble.LOCKED,
    sqlite3.SQLITE_PROTOCOL: Trouble.LOCKED,
    sqlite3.SQLITE_FULL: Trouble.FULL,
}


def _sqlite_code(error: BaseException) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _sqlite_trouble(error: BaseException) -> tuple[Trouble, str]:
    other = Trouble.UNAVAILABLE if isinstance(error, sqlite3.OperationalError) else Trouble.REFUSED
    return _SQLITE_TROUBLES.get(_sqlite_code(error), other), str(error)


def _prepare_sqlite(connection: Any, keeping: Keeping, wait: float, is_reader: bool) -> None:
    # The sqlite3 module would begin transactions itself, and too late: the lock must be taken at the beginning.
    connection.isolation_level = None
    # Where two processes create a file at once, SQLite does not wait for the lock of the first change of the mode.
    end = monotonic() + wait
    mode = "PRAGMA query_only=ON" if is_reader else "PRAGMA journal_mode=WAL"
    while True:
        try:
            connection.execute(mode)
            break
        except sqlite3.OperationalError as error:
            if _sqlite_trouble(error)[0] is not Trouble.LOCKED or monotonic() >= end:
                raise
            sleep(0.01)
    for pragma in (
        f"synchronous={keeping.value}",
        "foreign_keys=OFF",
        "temp_store=MEMORY",
        "cache_size=-16000",
    ):
        connection.execute(f"PRAGMA {pragma}")


# By SQLSTATE (PostgreSQL, Appendix A): as a whole, or by its class, the first two characters.
_POSTGRESQL_TROUBLES = {
    "55P03": Trouble.LOCKED,
    "40": Trouble.LOCKED,
    "53100": Trouble.FULL,
    "53": Trouble.UNAVAILABLE,
    "08": Trouble.UNAVAILABLE,
    "25006": Trouble.UNAVAILABLE,
    "57": Trouble.UNAVAILABLE,
    "58": Trouble.UNAVAILABLE,
}


def _postgresql_trouble(error: BaseException) -> tuple[Trouble, str]:
    import psycopg

    state = getattr(error, "sqlstate", None)
    if state is None:
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            return Trouble.UNAVAILABLE, str(error).partition("\n")[0]
        return Trouble.REFUSED, type(error).__name__
    found = _POSTGRESQL_TROUBLES.get(state) or _POSTGRESQL_TROUBLES.get(state[:2])
    if found is None and not isinstance(error, psycopg.OperationalError):
        # The server's words may quote a value.
        return Trouble.REFUSED, f"{type(error).__name__}, {state}"
    said = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return found or Trouble.UNAVAILABLE, said or state


def _postgresql_arguments(keeping: Keeping, wait: float, is_reader: bool) -> dict[str, Any]:
    # Unlike a SQLite file, a server may go down while we live and do not look at the files again: nothing that was
    # committed may be lost then, though it could be found again in the files.
    settings = {"lock_timeout": round(1000 * wait), "synchronous_commit": "on", "timezone": "UTC"}
    if is_reader:
        # A plan for any values is made after some uses, and compares each row of a source with each of some hundred row
        # IDs: where that takes ten times as long, planning each time takes a tenth more.
        settings["plan_cache_mode"] = "force_custom_plan"
    return {
        "application_name": "dicomnet",
        "connect_timeout": max(2, round(wait)),
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
    }


def _prepare_postgresql(connection: Any, keeping: Keeping, wait: float, is_reader: bool) -> None:
    from psycopg import IsolationLevel

    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise DatabaseFailure(
            connection.info.dbname, Trouble.REFUSED, f"its encoding is {encoding}, and must be UTF8"
        )
    connection.isolation_level = (
        IsolationLevel.REPEATABLE_READ if is_reader else IsolationLevel.READ_COMMITTED
    )
    connection.read_only = is_reader


def _separate_statements(connection: Any) -> None:
    # A transaction of one statement would be three questions to the server.
    connection.autocommit = True
    connection.execute("SET plan_cache_mode TO auto")


def _separate_nothing(connection: Any) -> None:
    """In SQLite each statement is a transaction of its own, where none has begun."""


# Any number that no other program locks in the same database.
_MIGRATION = 0x6469636F6D6E6574


def _exclude_by_lock(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION})


def _exclude_nothing(connection: Connection) -> None:
    """In SQLite every transaction that writes excludes all others."""


_PRODUCTS = {
    "sqlite": _Product(
        driver="sqlite+pysqlite",
        engine_options={"max_overflow": 32},
        arguments=lambda keeping, wait, is_reader: {"timeout": wait},
        prepare=_prepare_sqlite,
        separate=_separate_nothing,
        begin=("BEGIN", "BEGIN IMMEDIATE"),
        insert=sqlite.insert,
        exclude=_exclude_nothing,
        trouble=_sqlite_trouble,
    ),
    "postgresql": _Product(
        driver="postgresql+psycopg",
        # A server has a limit of connections for all its clients, and may have been started anew since the last use.
        engine_options={"max_overflow": 5, "pool_pre_ping": True},
        arguments=_postgresql_arguments,
        prepare=_prepare_postgresql,
        separate=_separate_statements,
        begin=("", ""),
        insert=postgresql.insert,
        exclude=_exclude_by_lock,
        trouble=_postgresql_trouble,
    ),
}
