"""One engine for SQLite files and PostgreSQL servers: the same transactions, order of text, and words for failures."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from time import monotonic

import psycopg
import pytest
from sqlalchemy import Column, MetaData, Table, bindparam, func, select
from tests.postgresql import PostgreSQL

from dicomnet.archive.database import (
    IDENTIFIER,
    INSTANT,
    SIZE,
    TEXT,
    Database,
    Keeping,
    Lookup,
    Query,
    sqlite_url,
)
from dicomnet.errors import DatabaseFailure, Trouble

_METADATA = MetaData()
THING = Table(
    "thing",
    _METADATA,
    Column("id", IDENTIFIER, primary_key=True),
    Column("name", TEXT, nullable=False, unique=True),
    Column("size", SIZE),
    Column("at", INSTANT),
)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url, Keeping.DURABLE, wait_seconds=0.3)
    with opened.writing() as connection:
        _METADATA.create_all(connection)
    yield opened
    opened.close()


def _add(database: Database, *names: str) -> None:
    with database.writing() as connection:
        connection.execute(database.insert(THING), [{"name": name} for name in names])


def _count(database: Database) -> int:
    with database.reading() as connection:
        return connection.scalar(select(func.count()).select_from(THING)) or 0


def test_what_is_raised_inside_undoes_all(database: Database) -> None:
    def add_and_fail() -> None:
        with database.writing() as connection:
            connection.execute(database.insert(THING).values(name="one"))
            raise LookupError

    with pytest.raises(LookupError):
        add_and_fail()
    assert _count(database) == 0
    _add(database, "one")
    assert _count(database) == 1


def test_a_reader_sees_one_state_while_others_write(database: Database) -> None:
    _add(database, "one")
    statement = select(func.count()).select_from(THING)
    with database.reading() as connection:
        assert connection.scalar(statement) == 1
        _add(database, "two")
        assert connection.scalar(statement) == 1
    assert _count(database) == 2


def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(DatabaseFailure), database.reading() as connection:
        connection.execute(database.insert(THING).values(name="one"))
    assert _count(database) == 0


def test_a_slice_of_many_rows_was_all_of_them(database: Database) -> None:
    """From a server all rows came before the first match of a query; from a file they came one by one."""
    _add(database, *map(str, range(1_200)))
    with database.reading() as connection:
        slices = Query(select(THING.c.id)).slices(connection, {}, 500)
        assert [len(rows) for rows in slices] == [500, 500, 200]


def test_a_lookup_sees_what_was_committed_since(database: Database) -> None:
    """Its connection stays, but no transaction of it does."""
    with closing(Lookup(database, select(THING.c.id).where(THING.c.name == bindparam("name")))) as lookup:
        assert lookup.first(["one", "two"]) == {}
        _add(database, "one")
        assert lookup.first(["one", "two"]).keys() == {"one"}
        _add(database, "two")
        assert lookup.first(["one", "two"]).keys() == {"one", "two"}


def test_a_server_plans_a_search_with_its_values(postgresql: PostgreSQL) -> None:
    """With a plan for any values, of a long list each one was compared with each row of a source, for 0.2 s."""
    with closing(Database(postgresql.new_database(), Keeping.DERIVED)) as database:
        for transaction, mode in ((database.reading, "force_custom_plan"), (database.writing, "auto")):
            with transaction() as connection:
                assert connection.exec_driver_sql("SHOW plan_cache_mode").scalar() == mode


def test_text_is_ordered_by_code_point(database: Database) -> None:
    """The range of a prefix, from it to it and the last code point, has all that begin with it and nothing else."""
    names = [
        "MUELLER",
        "Mueller",
        "mueller",
        "MUELL-ER",
        "MUELL ER",
        "MÜLLER",
        "MUELL",
        "MUELLZ",
        "MUELMA",
        "NUELL",
    ]
    names += ["山田^太郎", "MUELL\U0001f600", "_", "~", "Z", "a", "É", "\ue000"]
    _add(database, *names)
    with database.reading() as connection:
        assert list(connection.scalars(select(THING.c.name).order_by(THING.c.name))) == sorted(names)
        for prefix in ("MUELL", "M", "mue", "山"):
            found = select(THING.c.name).where(THING.c.name >= prefix, THING.c.name < prefix + "\U0010ffff")
            assert set(connection.scalars(found)) == {name for name in names if name.startswith(prefix)}


@pytest.mark.parametrize("value", ["", " ", "a\0b", "%_'\";--", "\x1b", "x" * 100_000, "\U0010ffff"])
def test_any_text_can_be_kept(database: Database, value: str) -> None:
    _add(database, value)
    with database.reading() as connection:
        found = connection.scalar(select(THING.c.name).where(THING.c.name == value))
    # PostgreSQL has no NUL in text.
    assert found in (value, value.replace("\0", "\ufffd"))


def test_numbers_have_64_bits_and_moments_a_zone(database: Database) -> None:
    at = datetime(2026, 11, 28, 1, 2, 3, 456789, timezone(timedelta(hours=5, minutes=30)))
    size, number = (1 << 40) + 1, (1 << 62) + 1
    with database.writing() as connection:
        connection.execute(database.insert(THING).values(id=number, name="one", size=size, at=at))
    with database.reading() as connection:
        row = connection.execute(select(THING)).one()
    assert (row.id, row.size, row.at, row.at.utcoffset()) == (number, size, at, timedelta(0))


def test_row_ids_are_given(database: Database) -> None:
    with database.writing() as connection:
        made = [
            connection.scalar(database.insert(THING).values(name=name).returning(THING.c.id))
            for name in "abc"
        ]
    assert made == [1, 2, 3]


def test_what_is_there_is_left_or_changed(database: Database) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    row = {"name": "one", "size": 1, "at": now}
    insert = database.insert(THING)
    kept = insert.on_conflict_do_nothing(index_elements=["name"])
    added = insert.on_conflict_do_update(index_elements=["name"], set_={"size": THING.c.size + 10})
    with database.writing() as connection:
        for statement in (kept, kept, added, added):
            connection.execute(statement, row)
    with database.reading() as connection:
        assert connection.scalars(select(THING.c.size)).all() == [21]


def test_a_row_that_contradicts_another(database: Database) -> None:
    _add(database, "DOE^JANE")
    with pytest.raises(DatabaseFailure) as caught:
        _add(database, "DOE^JANE")
    assert caught.value.trouble is Trouble.CONFLICT
    assert not caught.value.is_passing
    assert _count(database) == 1


def test_no_failure_shows_what_was_to_be_kept(database: Database) -> None:
    _add(database, "DOE^JANE")
    failures = []
    for values in ({"name": "DOE^JANE"}, {"name": "DOE^JOHN", "size": 1 << 80}):
        with pytest.raises((DatabaseFailure, OverflowError)) as caught, database.writing() as connection:
            connection.execute(database.insert(THING).values(**values))
        failures.append(caught.value)
        error: BaseException | None = caught.value
        while isinstance(error, DatabaseFailure):
            assert "DOE" not in str(error)
            error = error.__cause__
        assert "parameters: {" not in str(error)
    assert isinstance(failures[0], DatabaseFailure)


@contextmanager
def _locked(url: str) -> Iterator[None]:
    """Another program holds the lock that a writer needs."""
    if url.startswith("sqlite"):
        other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")
        other.close()
        return
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE thing IN EXCLUSIVE MODE")
        yield
        connection.rollback()


def test_a_lock_is_waited_for_and_is_not_damage(database: Database, database_url: str) -> None:
    with _locked(database_url):
        begun = monotonic()
        with pytest.raises(DatabaseFailure, match="lock") as caught:
            _add(database, "one")
        assert 0.25 < monotonic() - begun < 10
        assert (caught.value.trouble, caught.value.is_damage) == (Trouble.LOCKED, False)
        # Nobody has to wait to read.
        assert _count(database) == 0
    _add(database, "one")
    assert _count(database) == 1


def test_a_lock_that_is_released_in_time(database_url: str, database: Database) -> None:
    patient = Database(database_url, Keeping.DERIVED, wait_seconds=20)
    with _locked(database_url):
        writer = threading.Thread(target=_add, args=(patient, "one"))
        writer.start()
        with pytest.raises(DatabaseFailure):
            _add(database, "two")
        assert writer.is_alive()
    writer.join(20)
    assert _count(patient) == 1
    patient.close()


def test_many_open_and_write_a_new_file_at_once(tmp_path: Path) -> None:
    found: list[BaseException | None] = []
    barrier = threading.Barrier(8)

    def run(name: str) -> None:
        database = Database(sqlite_url(tmp_path / "new.sqlite"), Keeping.DURABLE)
        barrier.wait()
        try:
            with database.writing_alone() as connection:
                _METADATA.create_all(connection)
            _add(database, name)
            found.append(None)
        except BaseException as error:  # noqa: BLE001
            found.append(error)
        database.close()

    threads = [threading.Thread(target=run, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [None] * 8


def test_migrations_exclude_each_other(database: Database, database_url: str) -> None:
    other = Database(database_url, Keeping.DURABLE, wait_seconds=0.2)
    with database.writing_alone():
        with pytest.raises(DatabaseFailure) as caught, other.writing_alone():
            pass
        assert caught.value.trouble is Trouble.LOCKED
    with other.writing_alone():
        pass
    other.close()


def test_a_closed_database_is_opened_anew(database: Database) -> None:
    _add(database, "one")
    database.close()
    assert _count(database) == 1


def _garbage(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for at in range(4096, len(content), 64):
        content[at] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [_garbage, _flipped])
def test_damage_is_called_damage(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    path = tmp_path / "spoilt.sqlite"
    database = Database(sqlite_url(path), Keeping.DERIVED)
    with database.writing() as connection:
        _METADATA.create_all(connection)
    _add(database, *map(str, range(1000)))
    database.close()
    spoil(path)
    with pytest.raises(DatabaseFailure) as caught:
        _count(database)
    assert (caught.value.trouble, caught.value.is_damage) == (Trouble.DAMAGED, True)
    database.close()


def _no_descriptors(path: Path) -> Iterator[None]:
    taken = []
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(200, before[0]), before[1]))
    with suppress(OSError):
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    yield
    for each in taken:
        os.close(each)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _folder_gone(path: Path) -> Iterator[None]:
    path.parent.rename(path.parent.with_name("away"))
    yield
    path.parent.with_name("away").rename(path.parent)


def _no_room(path: Path) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("trouble", [_no_descriptors, _folder_gone, _no_room])
def test_the_system_is_not_damage(tmp_path: Path, trouble: Callable[[Path], Iterator[None]]) -> None:
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "archive.sqlite"
    database = Database(sqlite_url(path), Keeping.DURABLE)
    with database.writing() as connection:
        _METADATA.create_all(connection)
    database.close()
    with contextmanager(trouble)(path):
        with pytest.raises(DatabaseFailure) as caught:
            _add(database, "one")
        assert caught.value.is_passing
        assert not caught.value.is_damage
    _add(database, "two")
    assert _count(database) == 1
    database.close()


def test_a_full_database_is_not_damaged(tmp_path: Path) -> None:
    database = Database(sqlite_url(tmp_path / "archive.sqlite"), Keeping.DURABLE)
    with database.writing() as connection:
        _METADATA.create_all(connection)

    def fill() -> None:
        with database.writing() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
            connection.execute(database.insert(THING).values(name="x" * 100_000))

    with pytest.raises(DatabaseFailure) as caught:
        fill()
    assert caught.value.trouble is Trouble.FULL
    database.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_a_server_that_went_down_is_used_again_when_it_is_back(number: int) -> None:
    with PostgreSQL(durable=True) as server:
        database = Database(server.new_database(), Keeping.DERIVED)
        with database.writing() as connection:
            _METADATA.create_all(connection)
        _add(database, "one")
        assert _count(database) == 1
        server.stop(number)
        for use in (_count, _add):
            with pytest.raises(DatabaseFailure) as caught:
                use(database)
            assert caught.value.trouble is Trouble.UNAVAILABLE
        server.start()
        _add(database, "two")
        assert _count(database) == 2
        database.close()


def test_a_server_that_goes_down_in_a_transaction() -> None:
    with PostgreSQL(durable=True) as server:
        database = Database(server.new_database(), Keeping.DURABLE)
        with database.writing() as connection:
            _METADATA.create_all(connection)

        def add_in_two_steps() -> None:
            with database.writing() as connection:
                connection.execute(database.insert(THING).values(name="one"))
                server.stop(signal.SIGKILL)
                connection.execute(database.insert(THING).values(name="two"))

        with pytest.raises(DatabaseFailure) as caught:
            add_in_two_steps()
        assert caught.value.trouble is Trouble.UNAVAILABLE
        server.start()
        assert _count(database) == 0
        database.close()


def test_a_commit_is_flushed_whatever_the_server_does_by_itself(postgresql: PostgreSQL) -> None:
    for keeping in Keeping:
        database = Database(postgresql.url(), keeping)
        with database.writing() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
        database.close()


def test_a_database_in_another_encoding_is_refused(postgresql: PostgreSQL) -> None:
    url = postgresql.new_database("ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    database = Database(url, Keeping.DURABLE)
    with pytest.raises(DatabaseFailure, match="LATIN1"), database.reading():
        pass
    database.close()


def test_a_password_is_in_no_message() -> None:
    database = Database("postgresql://user:geheim@127.0.0.1:1/archive", Keeping.DURABLE)
    with pytest.raises(DatabaseFailure) as caught, database.reading():
        pass
    assert "geheim" not in str(caught.value)
    assert caught.value.trouble is Trouble.UNAVAILABLE


@pytest.mark.parametrize("url", ["", "mysql://host/name", "archive.sqlite", "oracle://x", "postgresql"])
def test_what_is_no_url_of_these(url: str) -> None:
    with pytest.raises(ValueError, match="database"):
        Database(url, Keeping.DURABLE)
