"""An index is brought in line with the files of its store."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import select
from tests.archive.archives import objects_of

from dicomnet.archive.catalogue import schema
from dicomnet.archive.catalogue.index import Index, discard
from dicomnet.archive.catalogue.recovery import Findings, Recovery
from dicomnet.archive.conflicts import Conflicts
from dicomnet.archive.intake import Intake
from dicomnet.archive.ledger.ledger import Ledger, ledger_url
from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.archive.storage.store import ObjectName

Store = Callable[[Intake, int], None]


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalFolder]:
    with LocalFolder(tmp_path / "store", sync=False) as opened:
        yield opened


@pytest.fixture
def storage(local: LocalFolder) -> FolderStorage:
    return FolderStorage.of(local)


@pytest.fixture
def index(storage: FolderStorage) -> Iterator[Index]:
    with Index(storage.root / "index.sqlite") as opened:
        yield opened


@pytest.fixture
def store(make: Callable[..., Dataset], encode: Callable[..., bytes], put: Callable[..., int]) -> Store:
    """Stores an object of two studies with three series each."""

    def one(intake: Intake, number: int) -> None:
        uid = f"1.2.3.4.5.{number}"
        data_set = make(
            SOPInstanceUID=uid,
            SeriesInstanceUID=f"1.2.3.4.{number % 3}",
            StudyInstanceUID=f"1.2.{number % 2}",
        )
        assert put(intake, encode(data_set), instance=uid) == 0

    return one


def _name(number: int) -> ObjectName:
    return ObjectName(f"1.2.{number % 2}", f"1.2.3.4.{number % 3}", f"1.2.3.4.5.{number}")


def _recover(index: Index, storage: FolderStorage) -> Findings:
    recovery = Recovery(index, storage, Conflicts(storage, None))
    assert recovery.run()
    return recovery.findings


def _uids(index: Index) -> list[str]:
    with index.reading() as connection:
        return sorted(connection.scalars(select(schema.instance.c.uid)))


def _rows(index: Index) -> list[tuple[str, ...]]:
    """All rows without their numbers and without what only intake knows."""
    with index.reading() as connection:
        of = schema
        found = connection.execute(
            select(
                of.patient.c.attributes,
                of.study.c.attributes,
                of.series.c.attributes,
                of.instance.c.attributes,
            )
            .join(of.study, of.study.c.parent == of.patient.c.id)
            .join(of.series, of.series.c.parent == of.study.c.id)
            .join(of.instance, of.instance.c.parent == of.series.c.id)
        )
        return sorted(tuple(row) for row in found)


def test_what_differs_is_corrected(
    index: Index, local: LocalFolder, storage: FolderStorage, store: Store
) -> None:
    for first, catalogue in ((0, index), (3, None)):
        with Intake(local, storage, catalogue) as intake:
            for number in range(first, first + 3):
                store(intake, number)
    os.unlink(storage.path(_name(0)))
    damaged = storage.path(_name(5))
    os.truncate(damaged, os.path.getsize(damaged) - 1)
    renamed = ObjectName("1.2.0", "1.2.3.4.1", "1.2.3.4.5.7")
    os.rename(storage.path(_name(4)), storage.path(renamed))
    assert _recover(index, storage) == Findings(added=1, removed=1, quarantined=2)
    assert _uids(index) == ["1.2.3.4.5.1", "1.2.3.4.5.2", "1.2.3.4.5.3"]
    assert sorted(uid for _, instances in objects_of(storage) for uid in instances) == _uids(index)
    assert _recover(index, storage) == Findings()


def test_files_that_are_away_and_come_back(
    index: Index, local: LocalFolder, storage: FolderStorage, store: Store
) -> None:
    with Intake(local, storage, index) as intake:
        for number in range(6):
            store(intake, number)
    before = _rows(index)
    os.rename(storage.root / "objects", storage.root / "away")
    os.mkdir(storage.root / "objects")
    assert _recover(index, storage) == Findings(removed=6)
    with index.reading() as connection:
        assert [connection.scalar(select(table.c.id)) for table in schema.TABLES.values()] == [None] * 4
        assert connection.scalar(select(schema.study_value.c.id)) is None
    os.rmdir(storage.root / "objects")
    os.rename(storage.root / "away", storage.root / "objects")
    assert _recover(index, storage) == Findings(added=6)
    assert _rows(index) == before


def test_a_new_index_has_the_rows_of_the_old_one(
    index: Index, local: LocalFolder, storage: FolderStorage, store: Store
) -> None:
    with Intake(local, storage, index) as intake:
        for number in range(6):
            store(intake, number)
    before = _rows(index)
    index.close()
    discard(storage.root / "index.sqlite")
    with Index(storage.root / "index.sqlite") as fresh:
        assert _recover(fresh, storage) == Findings(added=6)
        assert _rows(fresh) == before


def test_of_two_files_of_one_instance_the_older_is_kept(
    index: Index,
    local: LocalFolder,
    storage: FolderStorage,
    make: Callable[..., Dataset],
    encode: Callable[..., bytes],
    put: Callable[..., int],
) -> None:
    older, newer = encode(make(StudyInstanceUID="9.9")), encode(make(StudyInstanceUID="1.1"))
    with Intake(local, storage) as intake:
        put(intake, older)
        assert intake.wait_for_all()
        put(intake, newer)
    name = ObjectName("9.9", "1.2.3.4", "1.2.3.4.5")
    os.utime(storage.path(name), (1, 1))
    with Ledger(ledger_url(storage.root)) as ledger:
        recovery = Recovery(index, storage, Conflicts(storage, ledger))
        assert recovery.run()
        assert recovery.findings == Findings(added=1, quarantined=1)
        assert _uids(index) == ["1.2.3.4.5"]
        assert os.path.exists(storage.path(name))
        (found,) = ledger.quarantine()
    assert (found.study, found.reason) == ("1.1", "an older object has this SOP Instance UID")
    assert (storage.root / found.location).read_bytes().endswith(newer)


def test_a_folder_that_cannot_be_read_costs_nothing(
    index: Index,
    local: LocalFolder,
    storage: FolderStorage,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It kept the whole archive from starting, and its rows were at stake."""
    with Intake(local, storage, index) as intake:
        for number in range(6):
            store(intake, number)
    with Intake(local, storage) as intake:
        store(intake, 8)
    bad = os.path.dirname(storage.path(_name(0)))
    scandir = os.scandir

    def fail(path: str) -> object:
        if os.fspath(path) == bad:
            raise PermissionError(13, "Permission denied", bad)
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", fail)
        assert _recover(index, storage) == Findings(added=1, unreadable=1)
    assert len(_uids(index)) == 7
    assert bad in caplog.text


def test_objects_are_stored_meanwhile(
    index: Index, local: LocalFolder, storage: FolderStorage, store: Store
) -> None:
    """No row of theirs is taken for one without a file, and none is there twice."""
    with Intake(local, storage) as intake:
        for number in range(0, 60, 2):
            store(intake, number)
    with Intake(local, storage, index) as intake:

        def run() -> None:
            for number in range(1, 61, 2):
                store(intake, number)

        others = threading.Thread(target=run)
        others.start()
        while others.is_alive():
            _recover(index, storage)
        others.join()
        assert intake.wait_for_all()
        assert _recover(index, storage) == Findings()
    assert _uids(index) == sorted(f"1.2.3.4.5.{number}" for number in range(60))


def test_it_stops_when_it_is_to_and_goes_on_the_next_time(
    index: Index, local: LocalFolder, storage: FolderStorage, store: Store
) -> None:
    with Intake(local, storage) as intake:
        for number in range(6):
            store(intake, number)
    asked = iter([False, False, True])
    recovery = Recovery(index, storage, Conflicts(storage, None), lambda: next(asked))
    assert not recovery.run()
    assert _recover(index, storage).added == 6 - recovery.findings.added
