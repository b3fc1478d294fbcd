"""Fills an index from the files with attributes that it keeps only since some objects were indexed."""

from __future__ import annotations

import errno
import json
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from time import monotonic

from sqlalchemy import Connection, select, update

from ...datasets.levels import Level
from ...encoding.scan import HeaderScanner
from ...errors import DatabaseFailure, ServiceRefusal, UnusableObject
from ...plurals import counted
from ...values import frozen
from ..entries import IDENTIFYING, Entry, read_entry
from ..storage.store import ObjectName, Storage
from . import levels, schema
from .described import attributes_of
from .index import Index
from .kept import Place, by_level, described
from .levels import Attributes
from .schema import SPECIFIC_CHARACTER_SET
from .writer import Described

_log = logging.getLogger(__name__)

# How many objects are read and written at once: few, as others wait for the database meanwhile.
_BATCH = 50
# How long to wait where the database or the process is short of something that others will give back, in seconds.
_LATER = 1.0
SHORT_OF = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM))


@frozen
class _Object:
    """A row of an object, and where it is."""

    number: int
    series: int
    name: ObjectName


@frozen
class _Owed:
    """The attributes that objects owe, and which objects these are: those from one row ID, exclusive, up to another."""

    places: tuple[Place, ...]
    done: int
    last: int


class Filling:
    """The one that fills an index, if something is to be filled. It rests as long as it works, for others to work.

    What is done is noted in the index with each batch; whoever comes after goes on from there.

    Parameters
    ----------
    index
        The index.
    storage
        Its store.
    """

    def __init__(self, index: Index, storage: Storage) -> None:
        self._index = index
        self._storage = storage
        self._read = self._unread = 0

    def run(self, stop: threading.Event) -> None:
        """Fill what is to be filled, until an event is set.

        Raises
        ------
        DatabaseFailure
            If the index cannot be read or written.
        """
        owed = self._owed()
        if owed is None:
            return
        names = described(owed.places)
        _log.warning("filling the index from the files with %s", names)
        while owed is not None and not stop.is_set():
            began = monotonic()
            pause = self._fill(owed)
            stop.wait(pause or monotonic() - began)
            owed = self._owed()
        if owed is None:
            _log.warning(
                "the index is filled with %s: %s read, %d that could not be read",
                names,
                counted(self._read, "object"),
                self._unread,
            )

    def _owed(self) -> _Owed | None:
        of = schema.kept.c
        with self._index.database.reading() as connection:
            rows = connection.execute(
                select(of.level, of.tag, of.done, of.last).where(of.done < of.last)
            ).all()
        if not rows:
            return None
        places = tuple((Level(level), tag) for level, tag, _, _ in rows)
        return _Owed(places, min(row.done for row in rows), max(row.last for row in rows))

    def _fill(self, owed: _Owed) -> float:
        """Fill a batch; returns how long to wait before the next one, in seconds, 0 for the usual time."""
        tags = by_level(owed.places)
        try:
            objects = self._next(owed)
            found = self._entries(objects, tags)
            done = objects[-1].number if len(objects) == _BATCH else owed.last
            with self._index.database.writing_alone() as connection:
                self._index.complete_above(connection, list(self._taken(connection, found, tags)))
                of = schema.kept.c
                connection.execute(
                    update(schema.kept).where(of.done < of.last, of.done < done).values(done=done)
                )
        except DatabaseFailure as failure:
            if not failure.is_passing:
                raise
            return _LATER
        except OSError as error:
            if error.errno not in SHORT_OF:
                raise
            return _LATER
        self._read += len(found)
        self._unread += len(objects) - len(found)
        return 0.0

    def _next(self, owed: _Owed) -> Sequence[_Object]:
        of = schema.instance.c
        with self._index.database.reading() as connection:
            rows = connection.execute(_NEXT.where(of.id > owed.done, of.id <= owed.last)).all()
        return [_Object(row[0], row[1], ObjectName(*row[2:])) for row in rows]

    def _entries(
        self, objects: Iterable[_Object], tags: Mapping[Level, Mapping[int, str]]
    ) -> list[tuple[_Object, Entry]]:
        wanted = {tag: vr for of_level in tags.values() for tag, vr in of_level.items()}
        scanner = HeaderScanner({SPECIFIC_CHARACTER_SET: "CS", **IDENTIFYING, **wanted})
        found = []
        for one in objects:
            try:
                found.append((one, read_entry(self._storage, one.name, scanner)))
            except (UnusableObject, ServiceRefusal, OSError) as error:
                if isinstance(error, OSError) and error.errno in SHORT_OF:
                    raise
                instance = one.name.instance
                _log.info("%s cannot be read for the index: %s", instance, error, extra={"object": instance})
        return found

    def _taken(
        self,
        connection: Connection,
        found: Iterable[tuple[_Object, Entry]],
        tags: Mapping[Level, Mapping[int, str]],
    ) -> Iterator[Described]:
        """Take what objects owe into their own rows; those of them that say something of the levels above."""
        of = schema.instance.c
        said: set[tuple[int, str]] = set()
        for one, entry in found:
            is_it = (of.id == one.number, of.parent == one.series, of.uid == one.name.instance)
            text = connection.scalar(select(of.attributes).where(*is_it))
            if text is None:
                # It was removed meanwhile.
                continue
            patient, study, series, image = (attributes_of(entry.header, tags[level]) for level in Level)
            whole = levels.to_json(json.loads(text) | image)
            if whole != text:
                connection.execute(update(schema.instance).where(*is_it).values(attributes=whole))
            signature = (one.series, levels.to_json(patient | study | series))
            if signature not in said:
                said.add(signature)
                above = (patient, study, series)
                yield Described(
                    one.name, entry.sop_class_uid, "", "", 0, partial(_given, above), entry.source
                )


def _given(above: tuple[Attributes, Attributes, Attributes]) -> tuple[Attributes, Attributes, Attributes]:
    return above


_NEXT = (
    select(
        schema.instance.c.id,
        schema.series.c.id,
        schema.study.c.uid,
        schema.series.c.uid,
        schema.instance.c.uid,
    )
    .select_from(schema.instance)
    .join(schema.series, schema.series.c.id == schema.instance.c.parent)
    .join(schema.study, schema.study.c.id == schema.series.c.parent)
    .order_by(schema.instance.c.id)
    .limit(_BATCH)
)
