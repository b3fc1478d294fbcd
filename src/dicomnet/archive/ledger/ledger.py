"""The ledger of an archive, opened by URL: quarantine, versions, deletions, protected patients, sessions, audit."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sqlalchemy import URL, Connection, Row, Select, func, inspect, make_url, select, text, update

from ...errors import DatabaseFailure, LedgerUnusable
from ..database import WAIT_SECONDS, Database, Keeping, is_file_url, sqlite_url
from ..entries import Outcome, Quarantined, Source, Version
from . import schema
from .audits import Audits
from .deletions import Deletions
from .protections import Protections
from .sessions import Sessions

_log = logging.getLogger(__name__)

FILE_NAME = "ledger.sqlite"
_PAGE = 500


class Ledger:
    """The durable record of an archive. It may be shared between threads, and by several processes.

    After a fork, it must have been closed before; it opens itself anew when it is used.

    Parameters
    ----------
    url
        The database, as of `Database`; tables and files that are missing are made.
    wait_seconds
        How long to wait for a lock that another process holds, in seconds.

    Attributes
    ----------
    database
        The database.
    deletions, protections, sessions, audits
        What it says of objects that were deleted, of patients whose objects are not, of sessions by HTTP, and of who
        did what.

    Raises
    ------
    LedgerUnusable
        If it is damaged, or was made by a newer program. It is left as it is.
    DatabaseFailure
        If it cannot be used now.
    """

    def __init__(self, url: str | URL, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self.database = Database(url, Keeping.DURABLE, wait_seconds=wait_seconds)
        self.deletions = Deletions(self.database)
        self.protections = Protections(self.database)
        self.sessions = Sessions(self.database)
        self.audits = Audits(self.database)
        try:
            self._migrate()
        except DatabaseFailure as failure:
            self.close()
            if failure.is_damage:
                raise LedgerUnusable(self.database.name, f"it is damaged: {failure.cause}") from failure
            raise
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database. No other method may be running."""
        self.database.close()

    def quarantined(self, found: Quarantined) -> None:
        """Record an object that was put in quarantine; it is durable at the end. The same file again is counted.

        Raises
        ------
        DatabaseFailure
            If the ledger cannot be written.
        """
        row = quarantine_row(found)
        of = schema.quarantine.c
        insert = self.database.insert(schema.quarantine).values(row)
        statement = insert.on_conflict_do_update(
            index_elements=[of.location],
            index_where=text("outcome IS NULL"),
            set_={"arrivals": of.arrivals + 1, "last_at": row["last_at"]},
        )
        with self.database.writing() as connection:
            connection.execute(statement)

    def ended(self, location: str, outcome: Outcome) -> bool:
        """Record what became of an object in quarantine; whether it was recorded as being there.

        Raises
        ------
        DatabaseFailure
            If the ledger cannot be written.
        """
        of = schema.quarantine.c
        statement = update(schema.quarantine).where(of.location == location, schema.OPEN)
        with self.database.writing() as connection:
            ended = connection.execute(statement.values(outcome=outcome.value, outcome_at=datetime.now(UTC)))
        return ended.rowcount > 0

    def lost(self, found: Quarantined) -> None:
        """Record an object of the store as lost, with the reason; it is durable at the end.

        Raises
        ------
        DatabaseFailure
            If the ledger cannot be written.
        """
        ending = {"outcome": Outcome.LOST.value, "outcome_at": datetime.now(UTC)}
        with self.database.writing() as connection:
            connection.execute(self.database.insert(schema.quarantine).values(quarantine_row(found) | ending))

    def quarantine(self, instance: str = "", *, ended: bool = False) -> Iterator[Quarantined]:
        """The objects in quarantine, the newest first.

        Parameters
        ----------
        instance
            Only those of this SOP Instance UID, if one is given.
        ended
            Those that are no longer in quarantine, too.

        Raises
        ------
        DatabaseFailure
            If the ledger cannot be read.
        """
        statement = select(schema.quarantine)
        if instance:
            statement = statement.where(schema.quarantine.c.instance == instance)
        if not ended:
            statement = statement.where(schema.OPEN)
        for row in self._newest(statement, schema.quarantine.c.id):
            outcome = None if row.outcome is None else Outcome(row.outcome)
            yield Quarantined(
                **_object_of(row),
                reason=row.reason,
                status=row.status,
                arrived_at=row.arrived_at,
                arrivals=row.arrivals,
                last_at=row.last_at,
                outcome=outcome,
                outcome_at=row.outcome_at,
            )

    def quarantine_count(self) -> int:
        """How many objects are in quarantine.

        Raises
        ------
        DatabaseFailure
            If the ledger cannot be read.
        """
        with self.database.reading() as connection:
            found = connection.scalar(select(func.count()).select_from(schema.quarantine).where(schema.OPEN))
        return int(found or 0)

    def kept_version(self, version: Version) -> None:
        """Record an object that another one replaces; it is durable at the end.

        Raises
        ------
        DatabaseFailure
            If the ledger cannot be written.
        """
        row = _object_row(version) | {
            "stored_at": version.stored_at,
            "replaced_at": version.replaced_at or datetime.now(UTC),
        }
        with self.database.writing() as connection:
            connection.execute(self.database.insert(schema.version).values(row))

    def versions(self, instance: str = "") -> Iterator[Version]:
        """The objects that were replaced, the newest first; only those of a SOP Instance UID, if one is given.

        Raises
        ------
        DatabaseFailure
            If the ledger cannot be read.
        """
        statement = select(schema.version)
        if instance:
            statement = statement.where(schema.version.c.instance == instance)
        for row in self._newest(statement, schema.version.c.id):
            yield Version(**_object_of(row), stored_at=row.stored_at, replaced_at=row.replaced_at)

    def was_deleted(self, instance: str, after: int) -> bool:
        """Whether an object was deleted by a later entry than one with this number, see `Deletions.is_later`."""
        return self.deletions.is_later(instance, after)

    def _newest(self, statement: Select[Any], number: Any) -> Iterator[Row[Any]]:
        """Rows by falling number; no transaction is open while the caller works with one."""
        page = statement.order_by(number.desc()).limit(_PAGE)
        last: int | None = None
        while True:
            with self.database.reading() as connection:
                rows = connection.execute(page if last is None else page.where(number < last)).all()
            yield from rows
            if len(rows) < _PAGE:
                return
            last = rows[-1].id

    def _migrate(self) -> None:
        with self.database.reading() as connection:
            if self._revision(connection) == schema.REVISIONS[-1]:
                return
        with self.database.writing_alone() as connection:
            before = self._revision(connection)
            if before == schema.REVISIONS[-1]:
                return
            is_new = before is None and not inspect(connection).has_table(schema.quarantine.name)
            (_make if is_new else upgrade)(connection)
        _log.info("the ledger was brought from revision %s to %s", before or "none", schema.REVISIONS[-1])

    def _revision(self, connection: Connection) -> str | None:
        if not inspect(connection).has_table(schema.REVISION_TABLE):
            return None
        found = connection.exec_driver_sql(f"SELECT version_num FROM {schema.REVISION_TABLE}").scalar()
        if found is not None and found not in schema.REVISIONS:
            raise LedgerUnusable(
                self.database.name,
                f"it is of revision {found}, of a newer dicomnet; this one knows {schema.REVISIONS[-1]}",
            )
        return found


def ledger_url(folder: str | os.PathLike[str], database: str | os.PathLike[str] | None = None) -> URL:
    """The URL of the ledger of a store.

    Parameters
    ----------
    folder
        The folder of the store, in which it is a file.
    database
        Path or URL of the index. If that is a server's, the ledger is there, too; a file that has an index may be put
        aside at any moment, and has nothing else.
    """
    if isinstance(database, str) and "://" in database and not is_file_url(database):
        return make_url(database)
    return sqlite_url(Path(folder) / FILE_NAME)


def _make(connection: Connection) -> None:
    """Make the tables as the migrations do, without Alembic: nothing is to be imported while a request is served."""
    schema.metadata.create_all(connection)
    schema.revision.create(connection)
    connection.execute(schema.revision.insert().values(version_num=schema.REVISIONS[-1]))


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Bring the tables to a revision, by default the newest."""
    # Importing Alembic takes half a second, and most ledgers are of the newest revision.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


# The fields that both kinds of objects have besides their source.
_FIELDS = ("instance", "study", "series", "location", "digest", "size")


def _object_row(found: Quarantined | Version) -> dict[str, Any]:
    source = found.source
    return {name: getattr(found, name) for name in _FIELDS} | {
        "ae_title": source.ae_title,
        "address": source.address,
        "way": source.way,
    }


def quarantine_row(found: Quarantined) -> dict[str, Any]:
    """An object in quarantine as it is entered."""
    arrived = found.arrived_at or datetime.now(UTC)
    return _object_row(found) | {
        "reason": found.reason,
        "status": found.status,
        "arrived_at": arrived,
        "arrivals": found.arrivals,
        "last_at": found.last_at or arrived,
    }


def _object_of(row: Row[Any]) -> Mapping[str, Any]:
    source = Source(row.ae_title, row.address, row.way)
    return {name: getattr(row, name) for name in _FIELDS} | {"source": source}
