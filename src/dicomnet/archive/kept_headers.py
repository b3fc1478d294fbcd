"""What was derived from files for the web, and is kept in a database of its own until it is wanted again.

It is found by the digests of the files, so that what is kept of one that was replaced or deleted is never given out.
All of it can be thrown away at any time: whatever goes wrong here costs time only.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, Text, delete, func, select

from ..errors import DatabaseFailure, ServiceRefusal
from .catalogue.index import Index
from .database import Database, Keeping, sqlite_url

_log = logging.getLogger(__name__)

NAME: Final = "headers.sqlite"
# How large the database may become, in bytes, and what is too long to be kept.
_LIMIT, _LONGEST = 1 << 30, 4 << 20
_PART = 500
# How long a lock is waited for, in seconds: no longer than it takes to read the files.
_PATIENCE = 1.0

_metadata = MetaData()
_kept = Table(
    "header",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("instance", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
)


class KeptHeaders:
    """What is kept of the files of an archive. Threads and processes may share it.

    Parameters
    ----------
    folder
        The folder of the archive, which will have the database.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._lock = threading.Lock()
        self._database: Database | None = None

    def find(self, digests: Collection[str]) -> dict[str, bytes]:
        """What is kept of files, by their digests."""
        found: dict[str, bytes] = {}
        with self._trying() as database:
            wanted = list(digests)
            for at in range(0, len(wanted), _PART):
                with database.reading() as connection:
                    rows = connection.execute(
                        select(_kept.c.digest, _kept.c.content).where(
                            _kept.c.digest.in_(wanted[at : at + _PART])
                        )
                    ).all()
                found |= {digest: zlib.decompress(content) for digest, content in rows}
        return found

    def known(self, digests: Collection[str]) -> set[str]:
        """Of which files something is kept, by their digests."""
        found: set[str] = set()
        with self._trying() as database:
            wanted = list(digests)
            for at in range(0, len(wanted), _PART):
                some = select(_kept.c.digest).where(_kept.c.digest.in_(wanted[at : at + _PART]))
                with database.reading() as connection:
                    found.update(connection.execute(some).scalars())
        return found

    def keep(self, derived: Mapping[str, tuple[str, bytes]]) -> None:
        """Keep what was derived from files.

        Parameters
        ----------
        derived
            By the digest of each file the SOP Instance UID of its object, and what is to be kept.
        """
        rows = [
            {"digest": digest, "instance": instance, "content": zlib.compress(content, 1)}
            for digest, (instance, content) in derived.items()
            if len(content) <= _LONGEST
        ]
        if not rows:
            return
        with self._trying() as database, database.writing_alone() as connection:
            size = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            free = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
            page = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
            if (size - free) * page > _LIMIT:
                # The oldest tenth goes.
                first, last = connection.execute(select(func.min(_kept.c.id), func.max(_kept.c.id))).one()
                connection.execute(delete(_kept).where(_kept.c.id <= first + (last - first) // 10))
            connection.execute(database.insert(_kept).on_conflict_do_nothing(), rows)

    def drop_others(self, index: Index) -> bool:
        """Forget what is kept of objects that are not in an index any more; whether that could be done."""
        last: int | None = 0
        while last is not None:
            after, last = last, None
            with self._trying() as database:
                with database.reading() as connection:
                    some = select(_kept.c.id, _kept.c.instance).where(_kept.c.id > after)
                    rows = connection.execute(some.order_by(_kept.c.id).limit(_PART)).all()
                if not rows:
                    return True
                there = index.names_of([row.instance for row in rows])
                gone = [row.id for row in rows if row.instance not in there]
                if gone:
                    with database.writing_alone() as connection:
                        connection.execute(delete(_kept).where(_kept.c.id.in_(gone)))
                last = rows[-1].id
        return False

    def close(self) -> None:
        """Close the database; it is opened anew when it is needed."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    @contextlib.contextmanager
    def _trying(self) -> Iterator[Database]:
        """The database, for something that is left undone where it cannot be used."""
        try:
            yield self._opened()
        except DatabaseFailure as failure:
            _log.warning("headers are not kept now: %s", failure.cause)
            if failure.is_damage:
                self._discard()
        except ServiceRefusal as refusal:
            _log.warning("headers are not looked through now: %s", refusal.comment)
        except (OSError, zlib.error) as error:
            _log.warning("headers are not kept now: %s", error)

    def _opened(self) -> Database:
        with self._lock:
            if self._database is None:
                database = Database(sqlite_url(self._path), Keeping.DERIVED, wait_seconds=_PATIENCE)
                with database.writing_alone() as connection:
                    _metadata.create_all(connection)
                self._database = database
            return self._database

    def _discard(self) -> None:
        with self._lock:
            self._database = None
            for ending in ("", "-wal", "-shm"):
                self._path.with_name(NAME + ending).unlink(missing_ok=True)
