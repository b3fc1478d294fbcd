"""Removal of objects from the index, so that the rows above say what those say that are left, and nothing else.

What a study or a series is shown with was said by some of its objects. Where these go, and others stay, the study is
written anew from the files of those that stay, in one transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from secrets import token_hex

from sqlalchemy import Connection, delete, select, update

from ...datasets.levels import Level
from ...encoding.scan import HeaderScanner
from ...errors import ServiceRefusal, UnusableObject
from ..entries import Entry, read_entry
from ..storage.store import Storage
from . import levels, schema, trigrams
from .described import Describer
from .filling import SHORT_OF
from .index import Index, set_state
from .inspection import ROWS, Row, row_of
from .levels import Attributes, Others
from .writer import Described

_of_study, _of_series, _of_instance = schema.study.c, schema.series.c, schema.instance.c
_of_patient = schema.patient.c


class Removal:
    """The remover of objects from an index.

    Parameters
    ----------
    index
        The index.
    storage
        The store, which has the files of the objects that are left.
    """

    def __init__(self, index: Index, storage: Storage) -> None:
        self._index = index
        self._storage = storage
        self._scanner = HeaderScanner(index.wanted)
        self._describer = Describer(index.kept)
        self._patient_keys = {f"{tag:08X}" for tag in index.kept.read[Level.PATIENT]}

    def remove(self, study: str, instances: Collection[str]) -> None:
        """Remove objects of a study, which itself goes where none is left. Those that are not there are passed over.

        Parameters
        ----------
        study
            Study Instance UID.
        instances
            SOP Instance UIDs.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if the index cannot be read or written now.
        OSError
            If the process is short of what it takes to read files.
        """
        known: dict[str, Entry | None] = {}
        while (missing := self._removed(study, instances, known)) is not None:
            # Nobody else can write while a transaction is open, so files are read between two of them.
            for row in missing:
                known[row.uids[2]] = self._read(row)

    def _removed(
        self, study: str, instances: Collection[str], known: Mapping[str, Entry | None]
    ) -> Sequence[Row] | None:
        """Remove objects, unless it is not known what others say; returns those, or None where it is done."""
        with self._index.writing() as connection:
            found = connection.execute(
                select(_of_study.id, _of_study.parent).where(_of_study.uid == study)
            ).one_or_none()
            if found is None:
                return None
            statement = ROWS.where(_of_study.id == found.id).order_by(_of_instance.id)
            rows = list(map(row_of, connection.execute(statement)))
            left = [row for row in rows if row.uids[2] not in instances]
            if len(left) == len(rows):
                return None
            missing = [row for row in left if row.uids[2] not in known]
            if missing:
                return missing
            _remove_study(connection, found.id)
            self._look_at_patient(connection, found.parent)
            # What others remember of row IDs, and of what objects have said, does not hold any more.
            set_state(connection, schema.NUMBERING_STATE, token_hex())
            if left:
                self._index.add_again(connection, self._described(left, known))
            return None

    def _read(self, row: Row) -> Entry | None:
        """What the file of an object says; None if it has no file, or none that says it."""
        if row.name is None:
            return None
        try:
            return read_entry(self._storage, row.name, self._scanner, row.source)
        except (OSError, UnusableObject, ServiceRefusal) as error:
            if isinstance(error, OSError) and error.errno in SHORT_OF:
                raise
            # A check tells of it. Its own row stays.
            return None

    def _described(self, rows: Sequence[Row], known: Mapping[str, Entry | None]) -> list[Described]:
        """Objects as they are written again; those without a file say nothing of what is above them."""
        found, silent = [], []
        for row in rows:
            entry = known[row.uids[2]]
            if entry is not None:
                described = self._describer.describe(entry)
                described.size, described.digest, described.stored_at = row.size, row.digest, row.stored_at
                found.append(described)
            elif row.name is not None:
                silent.append(
                    Described(
                        row.name,
                        row.sop_class,
                        row.transfer_syntax,
                        row.attributes,
                        0,
                        _nothing,
                        row.source,
                        row.size,
                        row.digest,
                        row.stored_at,
                    )
                )
        return found + silent

    def _look_at_patient(self, connection: Connection, number: int) -> None:
        """Have a patient, of whose studies one was removed, say what the other ones say; without any, he goes."""
        studies = connection.execute(
            select(_of_study.attributes, _of_study.others)
            .where(_of_study.parent == number)
            .order_by(_of_study.id)
        ).all()
        if not studies:
            connection.execute(delete(schema.patient).where(_of_patient.id == number))
            return
        attributes: Attributes = {}
        others: Others = {}
        for each in studies:
            said, otherwise = levels.parsed(each)
            own = {key: value for key, value in said.items() if key in self._patient_keys}
            attributes = attributes or own
            levels.merged(attributes, others, own)
            for key in self._patient_keys & otherwise.keys():
                for value in otherwise[key]:
                    levels.merged(attributes, others, {key: value})
        connection.execute(
            update(schema.patient)
            .where(_of_patient.id == number)
            .values(attributes=levels.to_json(attributes), others=levels.to_json(others) if others else None)
        )


def _nothing() -> tuple[Attributes, Attributes, Attributes]:
    return {}, {}, {}


def _remove_study(connection: Connection, number: int) -> None:
    """Remove the rows of a study, and all below it."""
    series = select(_of_series.id).where(_of_series.parent == number)
    connection.execute(delete(schema.instance).where(_of_instance.parent.in_(series)))
    connection.execute(delete(schema.series).where(_of_series.parent == number))
    connection.execute(delete(schema.study_value).where(schema.study_value.c.study == number))
    connection.execute(delete(schema.study).where(_of_study.id == number))
    trigrams.rows_removed(connection)
