"""What the ledger says of objects that were deleted: who deleted them when and why, and where their files are now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, func, or_, select, update

from ..database import Database
from ..deletion import Deletion, Fate
from ..entries import Source
from ..storage.store import ObjectName
from . import schema

_PART = 500
_of = schema.deletion.c
_TEXTS = ("digest", "size", "run", "actor", "rule", "reason", "patient", "issuer", "location")
_INSTANTS = ("begun_at", "kept_until")


class Deletions:
    """The deletions in a ledger. All methods raise DatabaseFailure if it cannot be read or written.

    Parameters
    ----------
    database
        That of the ledger.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, deletions: Sequence[Deletion]) -> None:
        """Enter objects that are to be deleted, before anything is done to them; it is durable at the end."""
        with self._database.writing() as connection:
            connection.execute(self._database.insert(schema.deletion), [_row(each) for each in deletions])

    def last(self) -> int:
        """The number of the last entry; 0 if there is none."""
        with self._database.reading() as connection:
            return connection.scalar(select(func.max(_of.id))) or 0

    def is_later(self, instance: str, after: int) -> bool:
        """Whether an object with this SOP Instance UID was deleted by a later entry than one with this number.

        So it is where that is under way, as only what has its file is deleted.
        """
        is_deleted = or_(schema.TO_END, _of.fate != Fate.NOT_DELETED.value)
        is_it = (_of.instance == instance, _of.id > after, is_deleted)
        with self._database.reading() as connection:
            return connection.scalar(select(_of.id).where(*is_it).limit(1)) is not None

    def end(self, run: str, instances: Iterable[str], fate: Fate) -> None:
        """Say what became of objects that were entered, by their SOP Instance UIDs; it is durable at the end."""
        with self._database.writing() as connection:
            for part in _parts(instances):
                is_it = (_of.run == run, _of.instance.in_(part), schema.TO_END)
                if fate is Fate.IN_TRASH:
                    # An earlier deletion of the same file has it there, too.
                    places = select(_of.location).where(*is_it)
                    before = update(schema.deletion).where(schema.IN_TRASH, _of.location.in_(places))
                    connection.execute(before.values(_ended(Fate.DELETED_AGAIN)))
                connection.execute(update(schema.deletion).where(*is_it).values(_ended(fate)))

    def leave_trash(self, locations: Iterable[str], fate: Fate) -> None:
        """Say what became of files that were in the trash, by where they were; it is durable at the end."""
        with self._database.writing() as connection:
            for part in _parts(locations):
                statement = update(schema.deletion).where(schema.IN_TRASH, _of.location.in_(part))
                connection.execute(statement.values(_ended(fate)))

    def to_end(self) -> list[Deletion]:
        """The deletions of which it is not known what became of them, the oldest first."""
        return list(self._found(schema.TO_END))

    def trash(
        self, uids: Iterable[str] = (), *, run: str = "", until: datetime | None = None, instance: str = ""
    ) -> Iterator[Deletion]:
        """What is in the trash, the oldest first.

        Parameters
        ----------
        uids
            Only what has one of these as Study, Series or SOP Instance UID, if there are any.
        run
            Only what this deletion put there, if one is given.
        until
            Only what is to be kept until then at most, if that is given.
        instance
            Only what has this SOP Instance UID, if one is given.
        """
        conditions: list[ColumnElement[bool]] = [schema.IN_TRASH]
        if run:
            conditions.append(_of.run == run)
        if until is not None:
            conditions.append(_of.kept_until <= until)
        if instance:
            conditions.append(_of.instance == instance)
        wanted = set(uids)
        for each in self._found(*conditions):
            name = each.name
            if not wanted or wanted & {name.study, name.series, name.instance}:
                yield each

    def last_run(self) -> str:
        """The last deletion by hand of which something is in the trash; empty if there is none."""
        statement = select(_of.run).where(schema.IN_TRASH, _of.rule == "").order_by(_of.id.desc()).limit(1)
        with self._database.reading() as connection:
            return connection.scalar(statement) or ""

    def size_of_trash(self) -> tuple[int, int]:
        """How many files are in the trash, and how many bytes they have."""
        statement = select(func.count(), func.coalesce(func.sum(_of.size), 0)).where(schema.IN_TRASH)
        with self._database.reading() as connection:
            count, size = connection.execute(statement).one()
        return int(count), int(size)

    def all(self, instance: str = "") -> Iterator[Deletion]:
        """All that was ever deleted, the oldest first; only what has a SOP Instance UID, if one is given."""
        return self._found(*([_of.instance == instance] if instance else []))

    def _found(self, *conditions: ColumnElement[bool]) -> Iterator[Deletion]:
        """Rows by rising number; no transaction is open while the caller works with one."""
        last = 0
        while True:
            page = select(schema.deletion).where(_of.id > last, *conditions).order_by(_of.id).limit(_PART)
            with self._database.reading() as connection:
                rows = connection.execute(page).all()
            yield from map(_deletion, rows)
            if len(rows) < _PART:
                return
            last = rows[-1].id


def _parts(items: Iterable[str]) -> Iterator[list[str]]:
    every = list(items)
    for at in range(0, len(every), _PART):
        yield every[at : at + _PART]


def _ended(fate: Fate) -> dict[str, Any]:
    return {"fate": fate.value, "fate_at": datetime.now(UTC)}


def _row(deletion: Deletion) -> dict[str, Any]:
    name, source = deletion.name, deletion.source
    return {each: getattr(deletion, each) for each in (*_TEXTS, *_INSTANTS)} | {
        "study": name.study,
        "series": name.series,
        "instance": name.instance,
        "ae_title": source.ae_title,
        "address": source.address,
        "way": source.way,
    }


def _deletion(row: Row[Any]) -> Deletion:
    return Deletion(
        ObjectName(row.study, row.series, row.instance),
        source=Source(row.ae_title, row.address, row.way),
        fate=None if row.fate is None else Fate(row.fate),
        fate_at=row.fate_at,
        **{each: getattr(row, each) for each in (*_TEXTS, *_INSTANTS)},
    )
