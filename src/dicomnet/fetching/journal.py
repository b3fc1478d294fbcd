"""The journal of a folder that lists are retrieved into: SQLite, durable with each transaction.

``docs/fetching.md`` describes its tables.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import JournalUnusable
from ..values import frozen

FORMAT = 1
_TABLES = """
CREATE TABLE rows (
    key TEXT PRIMARY KEY,
    outcome TEXT NOT NULL,
    words TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE asked (
    key TEXT NOT NULL,
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    is_whole INTEGER NOT NULL,
    expected INTEGER NOT NULL,
    PRIMARY KEY (key, study, series)
) WITHOUT ROWID;
CREATE INDEX asked_series ON asked (study, series);
CREATE TABLE named (
    key TEXT NOT NULL,
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    object TEXT NOT NULL,
    PRIMARY KEY (key, study, series, object)
) WITHOUT ROWID;
CREATE INDEX named_object ON named (study, series, object);
CREATE TABLE objects (
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    object TEXT NOT NULL,
    path TEXT NOT NULL,
    folded TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    is_placed INTEGER NOT NULL,
    PRIMARY KEY (study, series, object)
) WITHOUT ROWID;
"""


@frozen
class Series:
    """A series that is to be retrieved for a row.

    Parameters
    ----------
    study, series
        UIDs.
    is_whole
        Whether all objects of it are, not only those that are named.
    expected
        How many objects there are to be.
    named
        The SOP Instance UIDs of those that the peer has named.
    """

    study: str
    series: str
    is_whole: bool
    expected: int
    named: frozenset[str]


@frozen
class Placed:
    """An object that has its file, or is about to have it.

    Parameters
    ----------
    study, series, object
        Its UIDs.
    path
        The file, below the folder, with ``/`` between the components.
    folded
        As of `names.folded`.
    size, sha256
        Of the file: its bytes, and their digest.
    """

    study: str
    series: str
    object: str
    path: str
    folded: str
    size: int
    sha256: str


class Journal:
    """What is known of a folder: rows, what was asked for, and the objects that are there.

    Parameters
    ----------
    path
        The file; it is made if it is not there. Whoever has it open is the only one.

    Raises
    ------
    JournalUnusable
        If another process has it open, or it is no journal that this version knows.
    """

    def __init__(self, path: Path) -> None:
        self._path = os.fspath(path)
        # Several fetchers may use it side by side.
        self._lock = threading.RLock()
        try:
            self._database = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
            with self._explained():
                for setting in ("locking_mode=EXCLUSIVE", "journal_mode=DELETE", "synchronous=FULL"):
                    self._database.execute(f"PRAGMA {setting}")
                self._database.execute("BEGIN EXCLUSIVE")
                (found,) = self._database.execute("PRAGMA user_version").fetchone()
                if found == 0:
                    # Not `executescript`, which would commit first.
                    for statement in filter(str.strip, _TABLES.split(";")):
                        self._database.execute(statement)
                    self._database.execute(f"PRAGMA user_version = {FORMAT}")
                self._database.execute("COMMIT")
                if found not in (0, FORMAT):
                    raise JournalUnusable(
                        self._path, f"its format is {found}, and this version knows {FORMAT}"
                    )
        except JournalUnusable:
            self.close()
            raise

    def close(self) -> None:
        """Let others open it."""
        self._database.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            is_locked = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            cause = "another dicomnet fetch works in this folder" if is_locked else str(error)
            raise JournalUnusable(self._path, cause) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explained():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def _all(self, statement: str, values: Sequence[object] = ()) -> list[tuple[str, ...]]:
        with self._lock, self._explained():
            return self._database.execute(statement, values).fetchall()

    def outcome(self, key: str) -> tuple[str, str]:
        """What became of a row last, and the words for it; both empty where it was never asked for."""
        found = self._all("SELECT outcome, words FROM rows WHERE key = ?", (key,))
        return (found[0][0], found[0][1]) if found else ("", "")

    def settle(self, key: str, outcome: str, words: str) -> None:
        """Note what became of a row."""
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", (key, outcome, words))

    def ask(self, key: str, series: Iterable[Series]) -> None:
        """Note what is to be retrieved for a row, in the place of what was noted before."""
        with self._transaction() as database:
            for table in ("rows", "asked", "named"):
                database.execute(f"DELETE FROM {table} WHERE key = ?", (key,))
            for each in series:
                values = (key, each.study, each.series, each.is_whole, each.expected)
                database.execute("INSERT INTO asked VALUES (?, ?, ?, ?, ?)", values)
                database.executemany(
                    "INSERT INTO named VALUES (?, ?, ?, ?)",
                    [(key, each.study, each.series, uid) for uid in sorted(each.named)],
                )

    def asked(self, key: str) -> list[Series]:
        """What is to be retrieved for a row."""
        found = self._all("SELECT study, series, is_whole, expected FROM asked WHERE key = ?", (key,))
        result = []
        for study, series, is_whole, expected in found:
            names = self._all(
                "SELECT object FROM named WHERE key = ? AND study = ? AND series = ?", (key, study, series)
            )
            named = frozenset(name for (name,) in names)
            result.append(Series(study, series, bool(is_whole), int(expected), named))
        return result

    def is_asked(self, study: str, series: str, instance: str) -> bool:
        """Whether an object is among what is to be retrieved for any row."""
        return bool(
            self._all(
                "SELECT 1 FROM asked WHERE study = ? AND series = ? AND is_whole UNION ALL"
                " SELECT 1 FROM named WHERE study = ? AND series = ? AND object = ? LIMIT 1",
                (study, series, study, series, instance),
            )
        )

    def placed(self, study: str, series: str) -> list[Placed]:
        """The objects of a series that have their files, as far as the journal knows."""
        found = self._all(
            "SELECT study, series, object, path, folded, size, sha256 FROM objects"
            " WHERE study = ? AND series = ? AND is_placed",
            (study, series),
        )
        return [_placed(*row) for row in found]

    def file_of(self, study: str, series: str, instance: str) -> Placed | None:
        """The file of an object, as far as the journal knows; None where it has none."""
        found = self._all(
            "SELECT study, series, object, path, folded, size, sha256 FROM objects"
            " WHERE study = ? AND series = ? AND object = ? AND is_placed",
            (study, series, instance),
        )
        return _placed(*found[0]) if found else None

    def unsettled(self) -> list[Placed]:
        """The objects that were about to have their files when a process ended."""
        found = self._all(
            "SELECT study, series, object, path, folded, size, sha256 FROM objects WHERE NOT is_placed"
        )
        return [_placed(*row) for row in found]

    def holder(self, name: str) -> tuple[str, str, str] | None:
        """The UIDs of the object that has a name, as of `names.folded`."""
        found = self._all("SELECT study, series, object FROM objects WHERE folded = ?", (name,))
        return (found[0][0], found[0][1], found[0][2]) if found else None

    def intend(self, objects: Iterable[Placed]) -> None:
        """Note the names that objects are about to have."""
        with self._transaction() as database:
            database.executemany(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
                [
                    (each.study, each.series, each.object, each.path, each.folded, each.size, each.sha256)
                    for each in objects
                ],
            )

    def place(self, objects: Iterable[Placed]) -> None:
        """Note that objects have their names."""
        with self._transaction() as database:
            database.executemany(
                "UPDATE objects SET is_placed = 1 WHERE study = ? AND series = ? AND object = ?",
                [(each.study, each.series, each.object) for each in objects],
            )

    def forget(self, objects: Iterable[Placed]) -> None:
        """Note that objects do not have their files."""
        with self._transaction() as database:
            database.executemany(
                "DELETE FROM objects WHERE study = ? AND series = ? AND object = ?",
                [(each.study, each.series, each.object) for each in objects],
            )


def _placed(*row: str) -> Placed:
    study, series, instance, path, folded, size, sha256 = row
    return Placed(study, series, instance, path, folded, int(size), sha256)
