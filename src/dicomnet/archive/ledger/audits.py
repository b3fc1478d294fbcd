"""What the ledger says of who did what: the audit trail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, select

from ...values import frozen
from ..audit import KINDS, AuditEntry, AuditEvent, EventAction, EventOutcome
from ..database import Database
from . import schema

_of = schema.audit.c
_PAGE = 500
_TEXTS = ("user", "ae_title", "address", "way", "study", "patient", "detail")
# What may become of an entry as long as what it tells of goes on.
_CHANGES = ("outcome", "count", "last_at", "patient", "detail")


@frozen
class AuditFilter:
    """Which entries are looked for; what is empty or None selects nothing.

    Parameters
    ----------
    since, until
        Those that went on at or behind the first instant, and began before the second.
    user
        Those with this user or AE title.
    patient, study
        Those of them.
    """

    since: datetime | None = None
    until: datetime | None = None
    user: str = ""
    patient: str = ""
    study: str = ""


class Audits:
    """The audit trail in a ledger. All methods raise DatabaseFailure if it cannot be read or written.

    Parameters
    ----------
    database
        That of the ledger.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, entries: Sequence[AuditEntry]) -> None:
        """Enter events, all of them or none; those with keys that are there are brought up to date. They are durable.

        Parameters
        ----------
        entries
            With different keys.
        """
        statement = self._database.insert(schema.audit)
        statement = statement.on_conflict_do_update(
            index_elements=[_of.key], set_={name: statement.excluded[name] for name in _CHANGES}
        )
        with self._database.writing() as connection:
            connection.execute(statement, [_row(each) for each in entries])

    def find(self, wanted: AuditFilter, before: int | None = None) -> Iterator[tuple[int, AuditEntry]]:
        """Entries with their numbers, the newest first; no transaction is open while the caller works with one.

        Parameters
        ----------
        wanted
            Which.
        before
            Only those with smaller numbers.
        """
        statement = select(schema.audit).order_by(_of.id.desc()).limit(_PAGE)
        if wanted.since is not None:
            statement = statement.where(_of.last_at >= wanted.since)
        if wanted.until is not None:
            statement = statement.where(_of.begun_at < wanted.until)
        if wanted.user:
            statement = statement.where((_of.user == wanted.user) | (_of.ae_title == wanted.user))
        if wanted.patient:
            statement = statement.where(_of.patient == wanted.patient)
        if wanted.study:
            statement = statement.where(_of.study == wanted.study)
        while True:
            page = statement if before is None else statement.where(_of.id < before)
            with self._database.reading() as connection:
                rows = connection.execute(page).all()
            for row in rows:
                yield row.id, _entry(row)
            if len(rows) < _PAGE:
                return
            before = rows[-1].id

    def drop_before(self, instant: datetime) -> int:
        """Remove what ended before an instant; how many entries those were."""
        with self._database.writing() as connection:
            return connection.execute(delete(schema.audit).where(_of.last_at < instant)).rowcount


def _row(entry: AuditEntry) -> dict[str, Any]:
    event = entry.event
    # What peers say may be no text at all, and is to be recorded nevertheless.
    texts = {name: str(getattr(event, name)).encode(errors="replace").decode() for name in _TEXTS}
    return texts | {
        "key": entry.key,
        "kind": event.kind.word,
        "action": event.action.value,
        "outcome": int(event.outcome),
        "count": entry.count,
        "begun_at": entry.begun_at,
        "last_at": entry.last_at,
    }


def _entry(row: Row[Any]) -> AuditEntry:
    fields = row._mapping
    event = AuditEvent(
        KINDS[row.kind],
        EventAction(row.action),
        EventOutcome(row.outcome),
        **{name: fields[name] for name in _TEXTS},
    )
    return AuditEntry(row.key, event, fields["count"], row.begun_at, row.last_at)
