"""What the ledger says of patients whose objects are not deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, Select, select, text, update

from ..database import Database
from ..deletion import Protection
from . import schema

_of = schema.protection.c
_FIELDS = ("patient", "issuer", "reason", "actor", "begun_at", "ended_at", "ended_by")


class Protections:
    """The protections in a ledger. All methods raise DatabaseFailure if it cannot be read or written.

    Parameters
    ----------
    database
        That of the ledger.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, protection: Protection) -> bool:
        """Protect a patient; False if he is protected already, which stays as it is. It is durable at the end."""
        row = {name: getattr(protection, name) for name in _FIELDS}
        row["begun_at"] = protection.begun_at or datetime.now(UTC)
        insert = self._database.insert(schema.protection).values(row)
        statement = insert.on_conflict_do_nothing(
            index_elements=[_of.patient, _of.issuer], index_where=text("ended_at IS NULL")
        )
        with self._database.writing() as connection:
            return connection.execute(statement.returning(_of.id)).first() is not None

    def end(self, patient: str, issuer: str, actor: str) -> bool:
        """Take a protection back; False if there is none. It is durable at the end.

        Parameters
        ----------
        patient, issuer
            As it was made.
        actor
            Who takes it back.
        """
        is_it = (schema.HOLDS, _of.patient == patient, _of.issuer == issuer)
        values = {"ended_at": datetime.now(UTC), "ended_by": actor}
        with self._database.writing() as connection:
            return connection.execute(update(schema.protection).where(*is_it).values(values)).rowcount > 0

    def all(self, *, ended: bool = False) -> Iterator[Protection]:
        """The protections that hold, the oldest first; those that were taken back, too, where that is asked for."""
        statement = select(schema.protection).order_by(_of.id)
        yield from self._found(statement if ended else statement.where(schema.HOLDS))

    def of(self, patients: Collection[str], issuers: Collection[str]) -> Protection | None:
        """The protection under which something is that says to be of these patients; None if it is under none.

        Parameters
        ----------
        patients, issuers
            All Patient IDs and issuers that it says.
        """
        statement = select(schema.protection).where(
            schema.HOLDS, _of.patient.in_(list(patients)), _of.issuer.in_(["", *issuers])
        )
        return next(self._found(statement.limit(1)), None)

    def _found(self, statement: Select[Any]) -> Iterator[Protection]:
        with self._database.reading() as connection:
            rows = connection.execute(statement).all()
        yield from map(_protection, rows)


def _protection(row: Row[Any]) -> Protection:
    return Protection(**{name: getattr(row, name) for name in _FIELDS})
