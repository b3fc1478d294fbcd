"""The ledger as lines of JSON, which any ledger reads again, whatever database it is in: what a backup has of it."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, MetaData, Table, func, insert, select

from ...errors import LedgerUnusable
from ..deletion import Fate
from ..entries import Quarantined
from . import schema
from .ledger import Ledger, quarantine_row, upgrade

_SLICE = 500
# No table refers to the row IDs of another one, so they are given anew, in the same order.
_NUMBER = "id"


def dump(ledger: Ledger) -> Iterator[str]:
    """All entries of a ledger at one moment, a line each; the first line says of which revision they are.

    Raises
    ------
    DatabaseFailure
        If the ledger cannot be read.
    """
    yield nothing()
    yield from entries(ledger)


def entries(ledger: Ledger) -> Generator[str, None, None]:
    """The same without the first line."""
    with ledger.database.reading() as connection:
        for table in schema.metadata.sorted_tables:
            columns = [column for column in table.columns if column.name != _NUMBER]
            rows = connection.execution_options(yield_per=_SLICE).execute(
                select(*columns).order_by(*table.primary_key.columns)
            )
            for row in rows:
                yield _line({"table": table.name, **row._mapping})


def entry_of(found: Quarantined) -> str:
    """The line of an object in quarantine that no ledger has entered."""
    return _line({"table": schema.quarantine.name, **quarantine_row(found)})


def nothing() -> str:
    """The first line, which is all that there is of a ledger without entries."""
    return _line({"revision": schema.REVISIONS[-1]})


def set_aside(line: str) -> str | None:
    """Where the file is that an entry says to be set aside; None if it says that of none."""
    entry = json.loads(line)
    table = entry.get("table")
    is_aside = (
        table == schema.version.name
        or (table == schema.quarantine.name and entry["outcome"] is None)
        or (table == schema.deletion.name and entry["fate"] == Fate.IN_TRASH.value)
    )
    return entry["location"] if is_aside else None


def load(ledger: Ledger, lines: Iterable[str]) -> int:
    """Take entries into a ledger that has none, all of them or none; how many they were.

    They may be of an older revision, and are brought up to date as a ledger is.

    Raises
    ------
    LedgerUnusable
        If it has entries, or those of the lines are of a newer revision or not what `dump` writes.
    DatabaseFailure
        If the ledger cannot be written.
    """
    read: Iterator[Mapping[str, Any]] = map(json.loads, lines)
    revision = next(read, {}).get("revision")
    if revision not in schema.REVISIONS:
        raise LedgerUnusable(
            ledger.database.name, f"the entries are of revision {revision}, of a newer dicomnet"
        )
    if not is_empty(ledger):
        raise LedgerUnusable(ledger.database.name, "it has entries, and takes others only while it has none")
    with ledger.database.writing_alone() as connection:
        _make_of(connection, revision)
        try:
            count = _insert(connection, read, cleans_text=ledger.database.cleans_text)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LedgerUnusable(ledger.database.name, f"the entries cannot be read ({error!r})") from error
        upgrade(connection)
    return count


def is_empty(ledger: Ledger) -> bool:
    """Whether a ledger has no entry.

    Raises
    ------
    DatabaseFailure
        If the ledger cannot be read.
    """
    with ledger.database.reading() as connection:
        return not any(
            connection.scalar(select(func.count()).select_from(table))
            for table in schema.metadata.sorted_tables
        )


def _make_of(connection: Connection, revision: str) -> None:
    """Have the tables, which are empty, as they were in a revision."""
    schema.metadata.drop_all(connection)
    schema.revision.drop(connection)
    upgrade(connection, revision)


def _insert(connection: Connection, lines: Iterable[Mapping[str, Any]], *, cleans_text: bool) -> int:
    there = MetaData()
    there.reflect(connection, only=lambda name, _: name in schema.metadata.tables)
    count = 0
    for line in lines:
        table = there.tables[line["table"]]
        row = {name: _value(table, name, value) for name, value in line.items() if name != "table"}
        if cleans_text:
            row = {name: _cleaned(value) for name, value in row.items()}
        connection.execute(insert(table), row)
        count += 1
    return count


def _line(said: Mapping[str, Any]) -> str:
    return json.dumps(said, default=_written) + "\n"


def _written(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(type(value).__name__)


def _value(table: Table, name: str, value: Any) -> Any:
    column = table.columns[name]
    if isinstance(value, str) and column.type.python_type is datetime:
        return datetime.fromisoformat(value).astimezone(UTC)
    return value


def _cleaned(value: Any) -> Any:
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
