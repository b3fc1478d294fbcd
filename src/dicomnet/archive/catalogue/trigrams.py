"""The trigram index of `study_value`, which finds values by a part within them; databases have different ones.

PostgreSQL has an index for it (pg_trgm). SQLite has a table of its full-text search; as an insert there costs ten times
as much alone as among many, new values are put into it some thousand at a time, and those not yet there are looked
through.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, FromClause, Integer, Table, Text, column, text

LENGTH = 3
# How many values may wait to be put into the table of SQLite.
WAITING = 4_000

_OPTIONS = "value, content='', tokenize='trigram case_sensitive 1', detail=none, columnsize=0"
_CREATE = {
    "sqlite": (
        f"CREATE VIRTUAL TABLE IF NOT EXISTS study_value_trigram USING fts5({_OPTIONS})",
        # The last row of study_value that is in the table above.
        "CREATE TABLE IF NOT EXISTS study_value_mark (id INTEGER PRIMARY KEY, last INTEGER NOT NULL)",
        "INSERT OR IGNORE INTO study_value_mark VALUES (1, 0)",
    ),
    "postgresql": (
        "CREATE EXTENSION IF NOT EXISTS pg_trgm",
        "CREATE INDEX IF NOT EXISTS study_value_trigram ON study_value USING gin (value gin_trgm_ops)",
    ),
}
_MARK = "(SELECT last FROM study_value_mark)"
_FILL = (
    f"INSERT INTO study_value_trigram (rowid, value) SELECT id, value FROM study_value WHERE id > {_MARK}",
    "UPDATE study_value_mark SET last = (SELECT coalesce(max(id), 0) FROM study_value)",
)
_COUNT = f"SELECT coalesce(max(id), 0) - {_MARK} FROM study_value"
_LOWER = "UPDATE study_value_mark SET last = min(last, (SELECT coalesce(max(id), 0) FROM study_value))"
# A subquery with a limit is not merged with the query around it, which would take another way to the rows.
_FOUND = (
    "SELECT study, tag, value FROM study_value WHERE id IN"
    " (SELECT rowid FROM study_value_trigram WHERE study_value_trigram MATCH :match) LIMIT -1"
)
_WAITING_VALUES = (
    f"SELECT study, tag, value FROM study_value WHERE id > {_MARK} AND id < 9223372036854775807 LIMIT -1"
)


def create(_: Table, connection: Connection, **__: Any) -> None:
    """Create what the database needs for it, after the table of the values."""
    for statement in _CREATE[connection.dialect.name]:
        connection.exec_driver_sql(statement)


def fill(connection: Connection) -> None:
    """Put the values that wait into the index, if there are many; the transaction must be one that may write."""
    if connection.dialect.name != "sqlite":
        return
    if connection.exec_driver_sql(_COUNT).scalar_one() >= WAITING:
        for statement in _FILL:
            connection.exec_driver_sql(statement)


def rows_removed(connection: Connection) -> None:
    """The last rows of `study_value` may have been removed, whose numbers are given to new rows."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_LOWER)


def places(dialect: str, parts: Sequence[str]) -> list[tuple[FromClause, dict[str, str]]]:
    """Where in SQLite the values are that have all these parts; nothing where no place is better than all of them.

    Parameters
    ----------
    dialect
        Name of the database's dialect.
    parts
        Parts of a value, some of them at least `LENGTH` characters long.

    Returns
    -------
    list
        Subqueries with the columns ``study``, ``tag`` and ``value``, which also have values without these parts, each
        with the values of its parameters.
    """
    if dialect != "sqlite":
        return []
    found = {part[at : at + LENGTH] for part in parts for at in range(len(part) - LENGTH + 1)}
    # For SQLite what it looks for ends with a NUL, and a string without its quote is an error.
    pieces = sorted(piece for piece in found if "\0" not in piece)
    if not pieces:
        return []
    match = " AND ".join('"' + piece.replace('"', '""') + '"' for piece in pieces)
    return [(_IN_INDEX, {"match": match}), (_WAITING, {})]


_COLUMNS = (column("study", Integer), column("tag", Integer), column("value", Text))
_IN_INDEX = text(_FOUND).columns(*_COLUMNS).subquery()
_WAITING = text(_WAITING_VALUES).columns(*_COLUMNS).subquery()
