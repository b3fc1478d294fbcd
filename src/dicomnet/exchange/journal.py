"""The journal of a store: a SQLite file with a row for each object, so that a later run sends only what is missing."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain, count
from queue import Empty, SimpleQueue
from time import time
from typing import TYPE_CHECKING

from ..drivers.files import StoredObject
from ..drivers.reading import state_of
from ..errors import JournalUnusable
from .member_files import Member
from .notes import Notes, Row, name_of, notes_of
from .results import StoreResult

if TYPE_CHECKING:
    from typing import Self

# What the head of the file says: that it is a journal of ours, and in which format (both are numbers of SQLite).
APPLICATION = 0x64434E4A
FORMAT = 3
# What is in the notes goes to the medium together, as that costs the same each time: what comes in so many seconds.
_GATHERED = 0.02
# How many may be in the notes before they go to the database.
_TOGETHER = 2048
# How many may not be on the medium, and how many in the notes, before no further one is taken: so many objects at most,
# besides those that are on their way, are sent once more after a power cut.
_MOST_UNFLUSHED, _MOST_NOTED = 512, 4 * _TOGETHER
_LAYOUT = """
CREATE TABLE peer (address TEXT NOT NULL);
CREATE TABLE objects (
    path NOT NULL,
    member NOT NULL DEFAULT '',
    size INTEGER,
    mtime_ns INTEGER,
    sop_instance_uid TEXT,
    outcome TEXT NOT NULL,
    status INTEGER,
    comment TEXT,
    time REAL NOT NULL,
    sop_class_uid TEXT,
    committed REAL,
    ctime_ns INTEGER,
    PRIMARY KEY (path, member)
) WITHOUT ROWID;
CREATE TABLE noted (number INTEGER NOT NULL);
INSERT INTO noted VALUES (0);
"""
# What a journal of format 1 has not, and what one of format 2 has not.
_ADDED = (
    (
        "ALTER TABLE objects ADD COLUMN sop_class_uid TEXT",
        "ALTER TABLE objects ADD COLUMN committed REAL",
    ),
    (
        "ALTER TABLE objects ADD COLUMN ctime_ns INTEGER",
        "CREATE TABLE noted (number INTEGER NOT NULL)",
        "INSERT INTO noted VALUES (0)",
    ),
)
_ROW = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?)"
_WRITE = f"INSERT OR REPLACE INTO objects VALUES {_ROW}"
# Each statement lets another thread run, and may wait for it then: rows of a batch are written by few.
_BATCH = 64
_WRITE_BATCH = f"INSERT OR REPLACE INTO objects VALUES {', '.join([_ROW] * _BATCH)}"
_NUMBER = "UPDATE noted SET number = ?"
_FORGET = "DELETE FROM objects WHERE path = ?"
_COMMIT = "UPDATE objects SET committed = ? WHERE path = ? AND member = ?"
_READ = (
    "SELECT size, mtime_ns, sop_instance_uid, status, sop_class_uid, committed, ctime_ns FROM objects"
    " WHERE path = ? AND member = ?"
)

Key = str | bytes


def member_of(result: StoreResult) -> str:
    """What stands for a member of a file: its name, and where it begins; empty for a file by itself."""
    return f"{result.member}@{result.offset}" if result.member else ""


def _name_in(member: str) -> str:
    return member.rpartition("@")[0]


def _identity(found: str | StoredObject) -> tuple[str, str, tuple[int, int, int] | None]:
    """The path, the member, and the state of the file, see `state_of`."""
    if isinstance(found, str):
        try:
            return found, "", state_of(os.stat(found))
        except OSError:
            # Whoever opens it learns why it cannot be read.
            return found, "", None
    file = found.file
    assert isinstance(file, Member)
    return file.path, f"{file.name}@{file.offset}", file.stamp


def files_of(path: str) -> list[str]:
    """The files that may belong to a journal while it is used."""
    return [path, *(f"{path}-{end}" for end in ("wal", "shm", "journal")), *notes_of(path)]


class Journal:
    """The journal of a store to one peer. `missing` may be used by other threads than all else, which is one thread's.

    What is added is in the notes beside it (`notes.Notes`) before `add` returns, so that a kill costs nothing; a thread
    brings them to the medium, and to the database.

    Ctrl-C may interrupt the thread that adds anywhere. What it shares with that other one is therefore what the
    interpreter does in one step: a `threading.Condition` that is interrupted may stay locked, and `close` would then
    wait for ever.

    Parameters
    ----------
    path
        Its file, which is made if it is not there.
    peer
        The peer, as ``AET@host:port``.

    Raises
    ------
    JournalUnusable
        If the file is no journal, damaged, of a newer format, of another peer or in use, or cannot be written. It is
        left as it is.
    """

    def __init__(self, path: str, peer: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        # What the database has not got yet, each with its number, a token when there is something to do, and one when
        # something was done.
        self._rows: deque[tuple[int, Row]] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._progress: SimpleQueue[None] = SimpleQueue()
        # Those who wait until all that was added is in the database.
        self._waiting: deque[SimpleQueue[None]] = deque()
        self._added = self._flushed = 0
        self._failure: JournalUnusable | None = None
        self._is_closing = False
        self._folder = "", os.path.join(os.getcwd(), "")
        try:
            # Nothing is waited for: who has it, has it until its end.
            self._connection = sqlite3.connect(
                path, timeout=0.0, isolation_level=None, check_same_thread=False
            )
            try:
                self._open(peer)
                self._notes = Notes(path)
                self._numbers = count(self._read_notes() + 1)
            except BaseException:
                self._connection.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error
        self._working = threading.Thread(target=self._work, name="dicomnet-journal", daemon=True)
        self._working.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()
        if kind is None:
            self._check()

    def _open(self, peer: str) -> None:
        one = self._connection
        one.execute("PRAGMA locking_mode = EXCLUSIVE")
        (application,) = one.execute("PRAGMA application_id").fetchone()
        (version,) = one.execute("PRAGMA user_version").fetchone()
        (tables,) = one.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application != APPLICATION and (tables or application or version):
            raise JournalUnusable(
                self._path, "it is a database of another program; give the journal another name"
            )
        if version > FORMAT:
            raise JournalUnusable(
                self._path,
                f"a newer version of dicomnet has written it (format {version}; this one knows {FORMAT})",
            )
        # With the lock that this takes no second run gets as far as here.
        one.execute("PRAGMA journal_mode = WAL")
        one.execute("PRAGMA synchronous = FULL")
        one.execute("BEGIN IMMEDIATE")
        if not tables:
            for statement in _LAYOUT.split(";"):
                one.execute(statement)
            one.execute("INSERT INTO peer VALUES (?)", (peer,))
            one.execute(f"PRAGMA application_id = {APPLICATION}")
            one.execute(f"PRAGMA user_version = {FORMAT}")
        elif version < FORMAT:
            for statement in chain.from_iterable(_ADDED[version - 1 :]):
                one.execute(statement)
            one.execute(f"PRAGMA user_version = {FORMAT}")
        (known,) = one.execute("SELECT address FROM peer").fetchone()
        one.execute("COMMIT")
        if known != peer:
            raise JournalUnusable(
                self._path, f"it is that of {known}, not of {peer}; each peer needs one of its own"
            )

    def _read_notes(self) -> int:
        """Bring what a run has left in the notes that was killed to the database; returns the last number."""
        (number,) = self._connection.execute("SELECT number FROM noted").fetchone()
        left = self._notes.read(number)
        if left:
            number = left[-1][0]
            self._insert(left)
        self._notes.empty()
        (self._has_rows,) = self._connection.execute("SELECT EXISTS (SELECT 1 FROM objects)").fetchone()
        return int(number)

    def missing(
        self, found: Iterable[str | StoredObject | StoreResult], *, is_strict: bool = False
    ) -> Iterator[str | StoredObject | StoreResult]:
        """Each object that is to be sent; or its result, where the peer has it already.

        It has one that it took in an earlier run, if size and time of the last change of its file are the same. A
        member of a zip or tar file is known by its name and by where it begins.

        Parameters
        ----------
        found
            As `searching.find_objects` gives them.
        is_strict
            Whether a file at which anything was changed since is sent again, too, as it may be another one with the
            same size and an old time.

        Raises
        ------
        JournalUnusable
            If the journal cannot be read.
        """
        self._bring()
        # What is added from here on belongs to files that were looked for already.
        has_rows = self._has_rows
        for each in found:
            if isinstance(each, StoreResult):
                yield each
            else:
                yield (self._stored(each, is_strict) if has_rows else None) or each

    def add(self, result: StoreResult, outcome: str) -> None:
        """Note the result of a file that was sent, or could not be; it is committed a moment later.

        Parameters
        ----------
        outcome
            The result in a word.

        Raises
        ------
        JournalUnusable
            If the journal cannot be written.
        """
        size, mtime_ns, ctime_ns = result.state or (None, None, None)
        row = (
            self._key(result.path),
            name_of(member_of(result)) if result.member else "",
            size,
            mtime_ns,
            result.sop_instance_uid or None,
            outcome,
            result.status,
            result.comment or None,
            time(),
            result.sop_class_uid or None,
            ctime_ns,
        )
        number = next(self._numbers)
        # In this order: of what is in the notes, and only there, nobody would know that it is to be kept.
        self._rows.append((number, row))
        try:
            self._notes.add(number, row)
        except OSError as error:
            self._failure = self._failure or self._unusable(error)
        self._added += 1
        unflushed = self._added - self._flushed
        if unflushed == 1 or len(self._rows) == _TOGETHER:
            self._wake.put(None)
        elif unflushed > _MOST_UNFLUSHED or len(self._rows) > _MOST_NOTED:
            self._wait()
        self._check()

    def commit(self, results: Iterable[StoreResult]) -> None:
        """Note durably that the peer has committed itself to keep objects, which were added before.

        Raises
        ------
        JournalUnusable
            If the journal cannot be written.
        """
        now = time()
        self._change(_COMMIT, [(now, self._key(each.path), name_of(member_of(each))) for each in results])

    def forget(self, paths: Iterable[str]) -> None:
        """Note durably nothing more of files, which are gone.

        Raises
        ------
        JournalUnusable
            If the journal cannot be written.
        """
        self._change(_FORGET, [(self._key(each),) for each in paths])

    def _change(self, statement: str, rows: list[tuple[object, ...]]) -> None:
        """Change rows, when those that were added are there."""
        self._bring()
        try:
            with self._lock:
                self._end_transaction()
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(statement, rows)
                self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        """Bring what was added to the database, and let go of the files."""
        self._is_closing = True
        self._wake.put(None)
        self._working.join()
        with self._lock, suppress(sqlite3.Error):
            # What could not be committed is an error already.
            self._end_transaction()
            self._connection.close()
        self._notes.close(is_empty=not self._rows)

    def _stored(self, found: str | StoredObject, is_strict: bool) -> StoreResult | None:
        path, member, state = _identity(found)
        if state is None:
            return None
        try:
            with self._lock:
                row = self._connection.execute(_READ, (self._key(path), name_of(member))).fetchone()
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        if row is None or row[3] is None or (row[0], row[1]) != state[:2]:
            return None
        if is_strict and row[6] != state[2]:
            return None
        known = StoreResult(
            path,
            row[3],
            row[2] or "",
            length=row[0],
            was_stored=True,
            member=_name_in(member),
            offset=int(member.rpartition("@")[2] or 0),
            sop_class_uid=row[4] or "",
            is_committed=row[5] is not None,
        )
        return known if known.is_stored else None

    def _wait(self) -> None:
        """Wait until no more is on its way than may be."""
        while self._failure is None and (
            self._added - self._flushed > _MOST_UNFLUSHED or len(self._rows) > _MOST_NOTED
        ):
            self._wake.put(None)
            self._progress.get()

    def _bring(self) -> None:
        """Wait until the database has all that was added; raises JournalUnusable if it cannot."""
        if self._rows:
            done: SimpleQueue[None] = SimpleQueue()
            self._waiting.append(done)
            self._wake.put(None)
            if self._working.is_alive() and self._failure is None:
                done.get()
        self._check()

    def _work(self) -> None:
        try:
            while not self._is_over():
                pass
        finally:
            self._release()

    def _is_over(self) -> bool:
        """Do what there is to do, when there is something; whether that was the last time."""
        self._wake.get()
        if not (self._is_closing or self._waiting):
            with suppress(Empty):
                self._wake.get(timeout=_GATHERED)
        is_closing, waiting = self._is_closing, len(self._waiting)
        try:
            while self._flushed < self._added:
                added = self._added
                self._notes.sync()
                self._flushed = added
            if is_closing or waiting or len(self._rows) >= _TOGETHER:
                self._commit_notes()
        except (sqlite3.Error, OSError) as error:
            self._failure = self._failure or self._unusable(error)
        self._release(waiting)
        return is_closing or self._failure is not None

    def _release(self, count: int | None = None) -> None:
        """Let those go on who wait."""
        for _ in range(len(self._waiting) if count is None else count):
            self._waiting.popleft().put(None)
        # One that was not taken does for the next time, too: whoever takes it looks anew.
        if self._progress.empty():
            self._progress.put(None)

    def _commit_notes(self) -> None:
        before = self._notes.swap()
        # Of one that comes behind these, the note is in the other file, or in both ways of no more use.
        rows = [self._rows.popleft() for _ in range(len(self._rows))]
        try:
            if rows:
                self._insert(rows)
        except BaseException:
            self._rows.extendleft(reversed(rows))
            raise
        self._notes.empty(before)

    def _end_transaction(self) -> None:
        """Commit what somebody was interrupted in, or has failed to: each row of it is right by itself."""
        if self._connection.in_transaction:
            self._connection.execute("COMMIT")

    def _insert(self, rows: list[tuple[int, Row]]) -> None:
        """Insert rows with their numbers, of which the last is the greatest."""
        with self._lock:
            self._end_transaction()
            self._connection.execute("BEGIN IMMEDIATE")
            self._write([row for _, row in rows])
            self._connection.execute(_NUMBER, (rows[-1][0],))
            self._connection.execute("COMMIT")
        self._has_rows = True

    def _key(self, path: str) -> Key:
        """A path as it is kept: absolute; text where it is one, else its bytes."""
        if os.altsep:
            path = path.replace(os.altsep, os.sep)
        name_at = path.rfind(os.sep) + 1
        folder, known = path[:name_at], self._folder
        if known[0] != folder:
            # Most files have the folder of the one before.
            self._folder = known = folder, os.path.join(os.path.abspath(folder), "")
        return name_of(known[1] + path[name_at:])

    def _write(self, rows: list[Row]) -> None:
        whole = len(rows) - len(rows) % _BATCH
        for begin in range(0, whole, _BATCH):
            self._connection.execute(_WRITE_BATCH, tuple(chain.from_iterable(rows[begin : begin + _BATCH])))
        self._connection.executemany(_WRITE, rows[whole:])

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _unusable(self, error: sqlite3.Error | OSError) -> JournalUnusable:
        if isinstance(error, OSError):
            return JournalUnusable(self._path, f"{error.filename or 'its notes'}: {error.strerror or error}")
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return JournalUnusable(self._path, _CAUSES.get(code, str(error)))


# What the primary result codes of SQLite mean here.
_CAUSES = {
    sqlite3.SQLITE_BUSY: "another run uses it",
    sqlite3.SQLITE_CORRUPT: "it is damaged; without it, all objects are sent again",
    sqlite3.SQLITE_NOTADB: "it is no journal, or damaged; give another name, or remove it to send all objects again",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; its folder has to be there, and to be writable",
    sqlite3.SQLITE_READONLY: "it cannot be written",
    sqlite3.SQLITE_FULL: "there is no space left for it",
}
