"""The journal of a store: a SQLite file with a row for each object, so that a later run sends only what is missing."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from queue import Empty, SimpleQueue
from time import time
from typing import TYPE_CHECKING

from ..drivers.files import StoredObject
from ..errors import JournalUnusable
from .member_files import Member
from .results import StoreResult

if TYPE_CHECKING:
    from typing import Self

# What the head of the file says: that it is a journal of ours, and in which format (both are numbers of SQLite).
APPLICATION = 0x64434E4A
FORMAT = 2
# Results are committed together, as each commit costs the same: so many, or those of so many seconds.
_TOGETHER, _GATHERED = 128, 0.02
# How many may be without their commit before no further one is taken: so many objects at most, besides those that are
# on their way, are sent once more after a kill.
_MOST = 384
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
    PRIMARY KEY (path, member)
) WITHOUT ROWID;
"""
# What a journal of format 1 has not.
_ADDED = (
    "ALTER TABLE objects ADD COLUMN sop_class_uid TEXT",
    "ALTER TABLE objects ADD COLUMN committed REAL",
)
_ROW = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)"
_WRITE = f"INSERT OR REPLACE INTO objects VALUES {_ROW}"
# Each statement lets another thread run, and may wait for it then: rows of a batch are written by few.
_BATCH = 32
_WRITE_BATCH = f"INSERT OR REPLACE INTO objects VALUES {', '.join([_ROW] * _BATCH)}"
_FORGET = "DELETE FROM objects WHERE path = ?"
_COMMIT = "UPDATE objects SET committed = ? WHERE path = ? AND member = ?"
_READ = (
    "SELECT size, mtime_ns, sop_instance_uid, status, sop_class_uid, committed, time FROM objects"
    " WHERE path = ? AND member = ?"
)

Key = str | bytes
Stamp = tuple[int, int]


def member_of(result: StoreResult) -> str:
    """What stands for a member of a file: its name, and where it begins; empty for a file by itself."""
    return f"{result.member}@{result.offset}" if result.member else ""


def _text(name: str) -> Key:
    """A name as it is kept: text where it is one, else its bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def _name_in(member: str) -> str:
    return member.rpartition("@")[0]


def _is_older(path: str, moment: float) -> bool:
    """Whether nothing at a file was changed since then, in seconds since 1970."""
    try:
        return os.stat(path).st_ctime < moment
    except OSError:
        return False


def _identity(found: str | StoredObject) -> tuple[str, str, Stamp | None]:
    """The path, the member, and the state of the file."""
    if isinstance(found, str):
        try:
            status = os.stat(found)
        except OSError:
            # Whoever opens it learns why it cannot be read.
            return found, "", None
        return found, "", (status.st_size, status.st_mtime_ns)
    file = found.file
    assert isinstance(file, Member)
    return file.path, f"{file.name}@{file.offset}", file.stamp


class Journal:
    """The journal of a store to one peer. `missing` may be used by other threads than all else, which is one thread's.

    Ctrl-C may interrupt that one anywhere. What it shares with the thread that commits is therefore what the
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
        # What waits to be committed, a token when there is some or much of it, and one when some was committed.
        self._rows: deque[tuple[object, ...]] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._progress: SimpleQueue[None] = SimpleQueue()
        self._added = self._committed = 0
        self._stamps: dict[tuple[str, str], Stamp | None] = {}
        self._failure: JournalUnusable | None = None
        self._has_added = False
        self._is_closing = False
        self._folder = "", os.path.join(os.getcwd(), "")
        try:
            # Nothing is waited for: who has it, has it until its end.
            self._connection = sqlite3.connect(path, 0.0, isolation_level=None, check_same_thread=False)
            try:
                self._open(peer)
            except BaseException:
                self._connection.close()
                raise
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        self._committing = threading.Thread(target=self._commit_all, name="dicomnet-journal", daemon=True)
        self._committing.start()

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
            for statement in _ADDED:
                one.execute(statement)
            one.execute(f"PRAGMA user_version = {FORMAT}")
        (known,) = one.execute("SELECT address FROM peer").fetchone()
        (self._has_rows,) = one.execute("SELECT EXISTS (SELECT 1 FROM objects)").fetchone()
        one.execute("COMMIT")
        if known != peer:
            raise JournalUnusable(
                self._path, f"it is that of {known}, not of {peer}; each peer needs one of its own"
            )

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
            Whether a file at which anything was changed after its object was noted is sent again, too, as it may be
            another one with the same size and an old time.

        Raises
        ------
        JournalUnusable
            If the journal cannot be read.
        """
        self._has_rows = self._has_rows or self._has_added
        for each in found:
            if isinstance(each, StoreResult):
                self._stamps[each.path, member_of(each)] = None
                yield each
                continue
            path, member, stamp = _identity(each)
            known = (
                None if stamp is None or not self._has_rows else self._stored(path, member, stamp, is_strict)
            )
            if known is None:
                self._stamps[path, member] = stamp
                yield each
            else:
                yield known

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
        known = result.path, member_of(result)
        if known not in self._stamps:
            # A path that was given twice: it has its row already, with what was known before it was opened.
            return
        size, mtime_ns = self._stamps.pop(known) or (None, None)
        uid, comment = result.sop_instance_uid or None, result.comment or None
        class_uid = result.sop_class_uid or None
        row = (
            self._key(result.path),
            _text(known[1]),
            size,
            mtime_ns,
            uid,
            outcome,
            result.status,
            comment,
            time(),
            class_uid,
        )
        self._has_added = True
        self._rows.append(row)
        self._added += 1
        if len(self._rows) in (1, _TOGETHER):
            self._wake.put(None)
        self._wait(_MOST - 1)
        self._check()

    def commit(self, results: Iterable[StoreResult]) -> None:
        """Note durably that the peer has committed itself to keep objects, which were added before.

        Raises
        ------
        JournalUnusable
            If the journal cannot be written.
        """
        now = time()
        self._change(_COMMIT, [(now, self._key(each.path), _text(member_of(each))) for each in results])

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
        self._wait(0)
        self._check()
        try:
            with self._lock:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(statement, rows)
                self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        """Commit what was added, and let go of the file."""
        self._is_closing = True
        self._wake.put(None)
        self._committing.join()
        with self._lock, suppress(sqlite3.Error):
            # What could not be committed is an error already.
            self._connection.close()

    def _stored(self, path: str, member: str, stamp: Stamp, is_strict: bool) -> StoreResult | None:
        try:
            with self._lock:
                row = self._connection.execute(_READ, (self._key(path), _text(member))).fetchone()
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        if row is None or row[3] is None or (row[0], row[1]) != stamp:
            return None
        if is_strict and not _is_older(path, row[6]):
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

    def _wait(self, most: int) -> None:
        """Wait until no more rows than that are not committed yet."""
        while self._added - self._committed > most and self._failure is None:
            self._wake.put(None)
            self._progress.get()

    def _commit_all(self) -> None:
        while self._failure is None:
            self._wake.get()
            if not self._is_closing:
                with suppress(Empty):
                    self._wake.get(timeout=_GATHERED)
            is_closing, rows = self._is_closing, list(self._take())
            if rows:
                self._commit_rows(rows)
            if is_closing:
                return

    def _take(self) -> Iterator[tuple[object, ...]]:
        """All rows that wait, until there is none: of one that comes after that, there is a token."""
        with suppress(IndexError):
            while True:
                yield self._rows.popleft()

    def _commit_rows(self, rows: list[tuple[object, ...]]) -> None:
        try:
            with self._lock:
                self._connection.execute("BEGIN IMMEDIATE")
                self._write(rows)
                self._connection.execute("COMMIT")
            self._committed += len(rows)
        except sqlite3.Error as error:
            self._failure = self._unusable(error)
        # One that was not taken does for the next time, too: whoever takes it looks anew.
        if self._progress.empty():
            self._progress.put(None)

    def _key(self, path: str) -> Key:
        """A path as it is kept: absolute; text where it is one, else its bytes."""
        folder, name = os.path.split(path)
        known = self._folder
        if known[0] != folder:
            # Most files have the folder of the one before.
            self._folder = known = folder, os.path.join(os.path.abspath(folder), "")
        return _text(known[1] + name)

    def _write(self, rows: list[tuple[object, ...]]) -> None:
        whole = len(rows) - len(rows) % _BATCH
        for begin in range(0, whole, _BATCH):
            self._connection.execute(_WRITE_BATCH, tuple(chain.from_iterable(rows[begin : begin + _BATCH])))
        self._connection.executemany(_WRITE, rows[whole:])

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _unusable(self, error: sqlite3.Error) -> JournalUnusable:
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
