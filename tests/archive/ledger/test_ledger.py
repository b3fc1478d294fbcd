"""The ledger keeps what it was given, and its tables change as a whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from dicomnet.archive.database import Database, Keeping
from dicomnet.archive.deletion import Deletion, Fate
from dicomnet.archive.entries import Outcome, Quarantined, Source, Version
from dicomnet.archive.ledger import ledger as ledger_module
from dicomnet.archive.ledger import migrations, schema
from dicomnet.archive.ledger.ledger import Ledger, ledger_url
from dicomnet.archive.storage.store import ObjectName
from dicomnet.errors import DatabaseFailure, LedgerUnusable

AT = datetime(2026, 11, 28, 12, 0, 0, 1, UTC)
SOURCE = Source("CT1", "10.0.0.7", "C-STORE")


def _object(number: int = 1) -> Quarantined:
    return Quarantined(
        "1.2.3",
        f"quarantine/1.2.3/{number:064x}.dcm",
        f"{number:064x}",
        (1 << 33) + number,
        study="1.2",
        series="1.2.1",
        reason="another object has this SOP Instance UID",
        status=0xB000,
        source=SOURCE,
        arrived_at=AT,
        last_at=AT,
    )


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    with Ledger(database_url) as opened:
        yield opened


def test_what_was_recorded_is_found_again(ledger: Ledger, database_url: str) -> None:
    version = Version("1.2.3", "1.2", "1.2.1", "versions/x.dcm", "ab", 7, SOURCE, AT, AT)
    ledger.quarantined(_object())
    ledger.kept_version(version)
    ledger.close()
    with Ledger(database_url) as other:
        assert list(other.quarantine()) == [_object()]
        assert list(other.versions("1.2.3")) == [version]
        assert list(other.quarantine("1.2")) == []
        assert list(other.versions("1.2")) == []


def test_the_same_file_again_is_counted(ledger: Ledger) -> None:
    for _ in range(3):
        ledger.quarantined(_object())
    (found,) = ledger.quarantine()
    assert (found.arrivals, found.arrived_at, found.source) == (3, AT, SOURCE)


def test_what_became_of_it(ledger: Ledger) -> None:
    ledger.quarantined(_object())
    location = _object().location
    assert ledger.ended(location, Outcome.DROPPED)
    assert not ledger.ended(location, Outcome.DROPPED)
    assert list(ledger.quarantine()) == []
    # What was dropped may come again.
    ledger.quarantined(_object())
    assert ledger.ended(location, Outcome.RELEASED)
    found = list(ledger.quarantine(ended=True))
    assert [each.outcome for each in found] == [Outcome.RELEASED, Outcome.DROPPED]
    assert all(each.outcome_at is not None and each.outcome_at > AT for each in found)


def test_many_are_listed_newest_first_while_others_come(ledger: Ledger) -> None:
    for number in range(1100):
        ledger.quarantined(_object(number))
    found = []
    for each in ledger.quarantine():
        found.append(each.location)
        if len(found) == 1:
            ledger.quarantined(_object(5000))
    assert found == [_object(number).location for number in reversed(range(1100))]


def test_each_migration_is_known(database_url: str, ledger: Ledger) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    assert [each.revision for each in script.walk_revisions()][::-1] == list(schema.REVISIONS)


@pytest.mark.parametrize("how", [ledger_module._make, ledger_module.upgrade])
def test_the_migrations_lead_to_the_tables(database_url: str, how: Callable[[Connection], None]) -> None:
    """A new ledger has those that the migrations make."""
    database = Database(database_url, Keeping.DURABLE)
    with database.writing_alone() as connection:
        how(connection)
    with database.reading() as connection:
        found = connection.exec_driver_sql(f"SELECT version_num FROM {schema.REVISION_TABLE}").scalar_one()
        assert found == schema.REVISIONS[-1]
        context = MigrationContext.configure(connection, opts={"version_table": schema.REVISION_TABLE})
        assert compare_metadata(context, schema.metadata) == []
    database.close()


def test_a_ledger_of_before_deletions_has_them_and_all_that_it_had(database_url: str) -> None:
    database = Database(database_url, Keeping.DURABLE)
    with database.writing_alone() as connection:
        ledger_module.upgrade(connection, "0001")
        connection.execute(schema.quarantine.insert().values(ledger_module.quarantine_row(_object())))
    database.close()
    name = ObjectName("1.2", "1.2.1", "1.2.3")
    entry = Deletion(name, "ab", 7, "run", AT, "alice", patient="P1", source=SOURCE, kept_until=AT)
    for _ in range(2):
        with Ledger(database_url) as ledger:
            assert list(ledger.quarantine()) == [_object()]
            ledger.deletions.begin([entry])
            assert ledger.deletions.to_end() == [entry]
            ledger.deletions.end("run", [name.instance], Fate.GONE)
            assert ledger.deletions.to_end() == []


def test_a_newer_ledger_is_refused_and_left_as_it_is(database_url: str, ledger: Ledger) -> None:
    ledger.quarantined(_object())
    ledger.close()
    database = Database(database_url, Keeping.DURABLE)

    def become(revision: str) -> None:
        with database.writing() as connection:
            statement = text(f"UPDATE {schema.REVISION_TABLE} SET version_num = :revision")
            connection.execute(statement, {"revision": revision})

    become("9999")
    with pytest.raises(LedgerUnusable, match=r"revision 9999, of a newer dicomnet"):
        Ledger(database_url)
    become(schema.REVISIONS[-1])
    with Ledger(database_url) as again:
        assert list(again.quarantine()) == [_object()]
    database.close()


# For each number that it reads opens a ledger in a process of its own, which dies when the database has performed so
# many statements that change something, and writes how that has ended. All of them share what is loaded before, which
# is also what a ledger imports when it needs it.
_KILLED = """
import os, signal, sys
import alembic.command, alembic.config, psycopg
from sqlalchemy import Engine, event
from dicomnet.archive.ledger import ledger as module

def open_and_die(left):
    def count(connection, cursor, statement, *rest):
        nonlocal left
        if statement.lstrip().upper().startswith(("CREATE", "INSERT", "UPDATE", "ALTER")):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
    event.listen(Engine, "after_cursor_execute", count)
    module.Ledger(sys.argv[1]).close()

if sys.argv[2] == "migrated":
    module._make = module.upgrade
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        try:
            open_and_die(int(line))
            os._exit(0)
        finally:
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.mark.parametrize("way", ["made", "migrated"])
def test_x29_a_migration_that_is_killed_leaves_nothing_half_done(database_url: str, way: str) -> None:
    command = [sys.executable, "-c", _KILLED, database_url, way]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        statements = _kill_at_each_statement(process, database_url)
    # Two tables with two indexes and one, the table of Alembic's and its row.
    assert statements > 6
    for _ in range(2):
        with Ledger(database_url) as ledger:
            ledger.quarantined(_object())
            assert len(list(ledger.quarantine())) == 1


def _kill_at_each_statement(process: subprocess.Popen[str], database_url: str) -> int:
    """Behind how many statements it was not killed any more, and nothing was there before."""
    assert process.stdin is not None
    assert process.stdout is not None
    statements = 0
    while True:
        statements += 1
        process.stdin.write(f"{statements}\n")
        process.stdin.flush()
        ended = int(process.stdout.readline())
        if ended != -signal.SIGKILL:
            assert ended == 0
            return statements
        database = Database(database_url, Keeping.DURABLE)
        with database.reading() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": schema.REVISION_TABLE})
            # Nothing is there: each table and each index would have to be made.
            assert {change[0] for change in compare_metadata(context, schema.metadata)} == {
                "add_table",
                "add_index",
            }
        database.close()


def test_several_processes_make_it_at_once(database_url: str) -> None:
    script = """
import sys
from dicomnet.archive.ledger.ledger import *
with Ledger(sys.argv[1], wait_seconds=30) as ledger:
    for number in range(20):
        ledger.quarantined(Quarantined("1.2", f"{sys.argv[2]}/{number}", "ab", 1))
        ledger.quarantined(Quarantined("1.2", f"shared/{number}", "ab", 1))
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", script, database_url, str(number)], stderr=subprocess.PIPE)
        for number in range(4)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, b"")
    with Ledger(database_url) as ledger:
        found = list(ledger.quarantine())
    assert len(found) == 100
    assert {each.arrivals for each in found if each.location.startswith("shared")} == {4}


def test_what_was_recorded_survives_kill_9(database_url: str) -> None:
    script = """
import sys
from dicomnet.archive.ledger.ledger import *
ledger = Ledger(sys.argv[1])
number = 0
while True:
    ledger.quarantined(Quarantined("1.2", str(number), "ab", 1))
    print(number, flush=True)
    number += 1
"""
    with subprocess.Popen([sys.executable, "-c", script, database_url], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(20)]
        process.kill()
        said += process.stdout.readlines()
    with Ledger(database_url) as ledger:
        found = {each.location for each in ledger.quarantine()}
    assert found >= {line.decode().strip() for line in said}


def test_a_damaged_ledger_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(LedgerUnusable, match="damaged"):
        Ledger(ledger_url(tmp_path))
    assert path.read_bytes() == b"this is no database" * 1000


def test_a_locked_ledger_is_waited_for_and_left_as_it_is(tmp_path: Path) -> None:
    with Ledger(ledger_url(tmp_path), wait_seconds=0.2) as ledger:
        ledger.quarantined(_object(1))
        other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseFailure, match="locked"):
            ledger.quarantined(_object(2))
        # Nothing is to be changed, so the lock is nobody's business.
        Ledger(ledger_url(tmp_path), wait_seconds=0.2).close()
        other.execute("ROLLBACK")
        other.close()
        ledger.quarantined(_object(2))
        assert len(list(ledger.quarantine())) == 2


def test_each_commit_is_flushed(tmp_path: Path) -> None:
    with Ledger(ledger_url(tmp_path)) as ledger, ledger.database.writing() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
