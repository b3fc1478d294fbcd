"""What the ledger says of who did what: the audit trail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update

from ...values import frozen
from ..audit import KINDS, AuditEntry, AuditEvent, EventAction, EventKind, EventOutcome
from ..database import Database
from . import schema

_of = schema.audit.c
_PAGE = 500
_TEXTS = (
    "user",
    "ae_title",
    "address",
    "way",
    "study",
    "patient",
    "detail",
    "other",
    "query",
    "syntax",
    "sop_class",
)
# What may become of an entry as long as what it tells of goes on.
_CHANGES = ("outcome", "count", "last_at", "study", "patient", "detail", "number")
# The marks that are ours: the last number that was given, and whether the trail is on.
_LAST, _RECORDING = "last", "recording"


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
    kind
        Those of this kind.
    """

    since: datetime | None = None
    until: datetime | None = None
    user: str = ""
    patient: str = ""
    study: str = ""
    kind: EventKind | None = None


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

        Those that are over are numbered: who reads by rising numbers misses none, whoever else writes.

        Parameters
        ----------
        entries
            With different keys.
        """
        statement = self._database.insert(schema.audit)
        statement = statement.on_conflict_do_update(
            index_elements=[_of.key], set_={name: statement.excluded[name] for name in _CHANGES}
        )
        with self._database.writing_alone() as connection:
            last = first = _last(connection)
            rows = []
            for each in entries:
                last += each.is_over
                rows.append(_row(each) | {"number": last if each.is_over else None})
            connection.execute(statement, rows)
            if last != first:
                self._set(connection, _LAST, last)

    def end_left(self, prefix: str = "") -> int:
        """Number what processes that have ended left as going on; how many entries those were.

        Parameters
        ----------
        prefix
            What the keys of these processes begin with; empty for any.
        """
        left = select(_of.id).where(_of.number.is_(None), _of.key.startswith(prefix, autoescape=True))
        with self._database.reading() as connection:
            if connection.scalar(left.limit(1)) is None:
                return 0
        with self._database.writing_alone() as connection:
            found = connection.scalars(left.order_by(_of.id)).all()
            last = _last(connection)
            for last, number in enumerate(found, last + 1):  # noqa: B020
                connection.execute(update(schema.audit).where(_of.id == number).values(number=last))
            self._set(connection, _LAST, last)
        return len(found)

    def after(self, number: int, limit: int) -> list[tuple[int, AuditEntry]]:
        """Entries that are over, with their numbers, in that order.

        Parameters
        ----------
        number
            Only those with greater numbers.
        limit
            No more than that.
        """
        statement = select(schema.audit).where(_of.number > number).order_by(_of.number).limit(limit)
        with self._database.reading() as connection:
            return [(row.number, _entry(row)) for row in connection.execute(statement)]

    def last(self) -> int:
        """The number that was given last; 0 for none."""
        with self._database.reading() as connection:
            return _last(connection)

    def mark(self, name: str) -> int | None:
        """How far something is that has this name; None if that was never said."""
        with self._database.reading() as connection:
            return _mark(connection, name)

    def set_mark(self, name: str, number: int) -> None:
        """Say how far something is; it is durable at the end."""
        with self._database.writing() as connection:
            self._set(connection, name, number)

    @property
    def is_recording(self) -> bool:
        """Whether the trail is on, as the node said last that has the archive."""
        return bool(self.mark(_RECORDING))

    def set_recording(self, *, is_on: bool) -> bool:
        """Say whether the trail is on; whether that is another thing than before."""
        with self._database.writing_alone() as connection:
            was_on = bool(_mark(connection, _RECORDING))
            if is_on != was_on:
                self._set(connection, _RECORDING, int(is_on))
        return is_on != was_on

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
        if wanted.kind is not None:
            statement = statement.where(_of.kind == wanted.kind.word)
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

    def drop_before(self, instant: datetime, upto: int | None = None) -> int:
        """Remove what ended before an instant; how many entries those were.

        Parameters
        ----------
        upto
            Only those with numbers up to this one, as somebody is to be told the others yet.
        """
        statement = delete(schema.audit).where(_of.last_at < instant)
        if upto is not None:
            statement = statement.where(_of.number <= upto)
        with self._database.writing() as connection:
            return connection.execute(statement).rowcount

    def _set(self, connection: Connection, name: str, number: int) -> None:
        statement = self._database.insert(schema.audit_mark).values(name=name, number=number)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=[schema.audit_mark.c.name], set_={"number": statement.excluded.number}
            )
        )


def _mark(connection: Connection, name: str) -> int | None:
    of = schema.audit_mark.c
    return connection.scalar(select(of.number).where(of.name == name))


def _last(connection: Connection) -> int:
    # A number is given once, also where all entries are gone that had some.
    last = _mark(connection, _LAST)
    return (connection.scalar(select(func.max(_of.number))) or 0) if last is None else last


def _cleaned(text: str) -> str:
    return text if text.isascii() else text.encode(errors="replace").decode()


def _row(entry: AuditEntry) -> dict[str, Any]:
    event = entry.event
    # What peers say may be no text at all, and is to be recorded nevertheless.
    texts = {name: _cleaned(getattr(event, name)) for name in _TEXTS}
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
    is_over = row.number is not None
    return AuditEntry(row.key, event, fields["count"], row.begun_at, row.last_at, is_over)
