"""After a removal the index says what an index says that was made of the objects that are left."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import select
from tests.archive.archives import Encode, Make, Put

from dicomnet.archive.catalogue import schema
from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.catalogue.removal import Removal
from dicomnet.archive.entries import Entry, read_entry
from dicomnet.archive.intake import Intake
from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.archive.storage.store import ObjectName
from dicomnet.encoding.scan import HeaderScanner

Store = Callable[..., ObjectName]


class Archive:
    """A store with an index, to which objects come in an order."""

    def __init__(self, storage: FolderStorage, index: Index, store: Store) -> None:
        self.storage, self.index, self.store = storage, index, store

    def entries(self, names: list[ObjectName]) -> list[Entry]:
        """What an index would be told of these objects."""
        scanner = HeaderScanner(self.index.wanted)
        return [read_entry(self.storage, name, scanner) for name in names]

    def remove(self, name: ObjectName, *more: str) -> None:
        """Remove objects of a study, from store and index."""
        Removal(self.index, self.storage).remove(name.study, {name.instance, *more})


@pytest.fixture
def archive(tmp_path: Path, database_url: str, make: Make, encode: Encode, put: Put) -> Iterator[Archive]:
    with (
        LocalFolder(tmp_path / "store", sync=False) as local,
        Index(database_url) as index,
        Intake(local, storage := FolderStorage.of(local), index) as intake,
    ):

        def store(**attributes: Any) -> ObjectName:
            data_set: Dataset = make(**attributes)
            assert put(intake, encode(data_set), instance=data_set.SOPInstanceUID) == 0
            assert intake.wait_for_all()
            uids = data_set.StudyInstanceUID, data_set.SeriesInstanceUID, data_set.SOPInstanceUID
            return ObjectName(*map(str, uids))

        yield Archive(storage, index, store)


def _said(index: Index) -> dict[str, Any]:
    """All that an index says at each level, and what studies are found by, without the numbers of rows.

    Of a patient, which of several values came first is not compared, as several studies say them.
    """
    of = schema
    found: dict[str, Any] = {}
    with index.reading() as connection:
        rows = connection.execute(
            select(of.patient, of.study, of.series, of.instance)
            .join(of.study, of.study.c.parent == of.patient.c.id)
            .join(of.series, of.series.c.parent == of.study.c.id)
            .join(of.instance, of.instance.c.parent == of.series.c.id)
        ).all()
        for row in rows:
            texts = {
                key: value for key, value in row._mapping.items() if "attributes" in key or "others" in key
            }
            # The first is the patient's.
            patient = _values(texts.pop("attributes"), texts.pop("others"))
            others = [row.identity, row.series_count, row.instance_count, row.modality, row.sop_class]
            found[row.uid_2] = [patient, sorted(texts.items()), row.uid, row.uid_1, *others]
        values = connection.execute(
            select(of.study.c.uid, of.study_value.c.tag, of.study_value.c.value).join(
                of.study, of.study.c.id == of.study_value.c.study
            )
        ).all()
        found["values"] = sorted(map(tuple, values))
        for table in of.TABLES.values():
            found[table.name] = len(connection.execute(select(table.c.id)).all())
        found["loose values"] = len(connection.execute(select(of.study_value.c.id)).all()) - len(values)
    return found


def _values(attributes: str, others: str | None) -> dict[str, set[str]]:
    said = {key: {str(value)} for key, value in json.loads(attributes).items() if value}
    for key, values in json.loads(others or "{}").items():
        said[key] |= set(map(str, values))
    return said


@pytest.mark.parametrize("seed", range(8))
def test_the_index_is_as_one_made_of_what_is_left(archive: Archive, tmp_path: Path, seed: int) -> None:
    chosen = random.Random(seed)
    names = [
        archive.store(
            SOPInstanceUID=f"1.5.{number}",
            StudyInstanceUID=f"1.3.{(study := chosen.randrange(3))}",
            SeriesInstanceUID=f"1.4.{study}.{chosen.randrange(2)}",
            PatientID=chosen.choice(["P1", "P1", "P1", "P2"]),
            PatientName=chosen.choice(["Doe^Jane", "Doe^Jane", "Doe^J", ""]),
            PatientSex=chosen.choice(["", "F"]),
            StudyDate=chosen.choice(["", "20260101", "20260102"]),
            Modality=chosen.choice(["CT", "CT", "SR"]),
            SeriesDescription=chosen.choice(["", "axial", "coronal"]),
        )
        for number in range(14)
    ]
    while names:
        gone = chosen.sample(names, chosen.randint(1, min(4, len(names))))
        names = [name for name in names if name not in gone]
        for uid in {name.study for name in gone}:
            of_study = [name for name in gone if name.study == uid]
            archive.remove(of_study[0], *(name.instance for name in of_study[1:]))
        path = tmp_path / f"fresh-{len(names)}.sqlite"
        with Index(path) as fresh:
            for entry in archive.entries(names):
                assert fresh.add([entry]) == [True]
            assert _said(archive.index) == _said(fresh)


def test_what_the_row_alone_knows_stays(archive: Archive) -> None:
    """Who sent an object, when it was stored, and its digest are in no file."""
    first, second = (archive.store(SOPInstanceUID=f"1.5.{number}") for number in range(2))

    def row() -> Any:
        of = schema.instance.c
        columns = (of.size, of.digest, of.stored_at, schema.source.c.ae_title)
        with archive.index.reading() as connection:
            return connection.execute(
                select(*columns)
                .join(schema.source, schema.source.c.id == of.source)
                .where(of.uid == second.instance)
            ).one()

    known = row()
    archive.remove(first)
    assert row() == known
    assert None not in known


def test_objects_that_come_later_say_what_is_gone_again(archive: Archive) -> None:
    """What an object said before must not be remembered of a series of which it is gone."""
    kept = archive.store(SOPInstanceUID="1.5.1", StudyDescription="")
    gone = archive.store(SOPInstanceUID="1.5.2", StudyDescription="Thorax")
    archive.remove(gone)
    with archive.index.reading() as connection:
        assert "Thorax" not in connection.execute(select(schema.study.c.attributes)).scalar_one()
    archive.store(SOPInstanceUID="1.5.3", StudyDescription="Thorax")
    with archive.index.reading() as connection:
        assert "Thorax" in connection.execute(select(schema.study.c.attributes)).scalar_one()
    assert set(archive.index.names_of(["1.5.1", "1.5.2", "1.5.3"])) == {kept.instance, "1.5.3"}


def test_an_object_without_a_file_keeps_its_row(archive: Archive) -> None:
    first, second, third = (archive.store(SOPInstanceUID=f"1.5.{number}") for number in range(3))
    Path(archive.storage.path(second)).unlink()
    archive.remove(first)
    found = archive.index.names_of([first.instance, second.instance, third.instance])
    assert set(found) == {second.instance, third.instance}


def test_what_is_not_there_is_passed_over(archive: Archive) -> None:
    name = archive.store(SOPInstanceUID="1.5.1")
    before = _said(archive.index)
    archive.remove(ObjectName(name.study, name.series, "1.5.2"))
    archive.remove(ObjectName("1.3.9", name.series, name.instance))
    assert _said(archive.index) == before
