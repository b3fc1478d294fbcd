"""Attributes that an index keeps only since some objects were indexed are filled in from the files."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import select
from tests.archive.catalogue.asking import ask, studies

from dicomnet.archive.catalogue import filling as module
from dicomnet.archive.catalogue import schema
from dicomnet.archive.catalogue.filling import Filling
from dicomnet.archive.catalogue.index import Index, discard
from dicomnet.archive.catalogue.kept import STANDARD, Kept, configured
from dicomnet.archive.catalogue.recovery import Recovery
from dicomnet.archive.conflicts import Conflicts
from dicomnet.archive.intake import Intake
from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.archive.storage.store import ObjectName

STATUS, REASON, KVP = ("StudyStatusID@STUDY", "ReasonForStudy@STUDY", "KVP@IMAGE")
COUNT = 130


class Archive:
    """A store, whose index may be opened with one list of attributes after the other."""

    def __init__(self, folder: Path, make: Callable[..., Dataset], encode: Callable[..., bytes]) -> None:
        self.local = LocalFolder(folder / "store", sync=False)
        self.storage = FolderStorage.of(self.local)
        self.path = folder / "index.sqlite"
        self._make, self._encode = make, encode

    def index(self, *keys: str) -> Index:
        return Index(self.path, kept=configured(keys) if keys else STANDARD)

    def store(self, index: Index, numbers: range, put: Callable[..., int]) -> None:
        with Intake(self.local, self.storage, index) as intake:
            for number in numbers:
                data_set = self._make(
                    StudyInstanceUID=f"1.{number // 2}",
                    SeriesInstanceUID=f"1.{number // 2}.1",
                    SOPInstanceUID=f"1.{number // 2}.1.{number}",
                    StudyStatusID="ODD" if number % 2 else "EVEN",
                    ReasonForStudy=f"reason {number // 2}",
                    KVP=str(number),
                )
                assert put(intake, self._encode(data_set), instance=data_set.SOPInstanceUID) == 0

    def fill(self, index: Index) -> None:
        Filling(index, self.storage).run(threading.Event())


@pytest.fixture
def archive(tmp_path: Path, make: Callable[..., Dataset], encode: Callable[..., bytes]) -> Iterator[Archive]:
    made = Archive(tmp_path, make, encode)
    yield made
    made.local.close()


def _kvps(index: Index, number: int) -> list[str]:
    keys = {
        "QueryRetrieveLevel": "IMAGE",
        "StudyInstanceUID": f"1.{number}",
        "SeriesInstanceUID": f"1.{number}.1",
    }
    return sorted("" if one.KVP is None else str(one.KVP) for one in ask(index, "STUDY", **keys, KVP=""))


def _state(index: Index) -> dict[int, tuple[int, int]]:
    with index.reading() as connection:
        return {row.tag: (row.done, row.last) for row in connection.execute(select(schema.kept))}


def test_what_is_new_is_filled_in(
    archive: Archive, put: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    every = sorted(f"1.{number}" for number in range(COUNT // 2))
    with archive.index() as index:
        archive.store(index, range(COUNT), put)
    with archive.index(STATUS, REASON, KVP) as index:
        assert studies(index, StudyStatusID="EVEN") == []
        assert _kvps(index, 3) == ["", ""]
        archive.store(index, range(COUNT, COUNT + 2), put)
        assert studies(index, StudyStatusID="EVEN") == [f"1.{COUNT // 2}"]
        with caplog.at_level(logging.WARNING, "dicomnet"):
            archive.fill(index)
        assert studies(index, StudyStatusID="EVEN") == sorted([*every, f"1.{COUNT // 2}"])
        # What objects of one study say against each other.
        assert studies(index, StudyStatusID="ODD") == studies(index, StudyStatusID="EVEN")
        assert studies(index, ReasonForStudy="*son 7") == ["1.7"]
        assert _kvps(index, 3) == ["6", "7"]
    first, last = (record.getMessage() for record in caplog.records)
    assert (
        first == "filling the index from the files with StudyStatusID@STUDY, ReasonForStudy@STUDY, KVP@IMAGE"
    )
    assert last.endswith(f": {COUNT} objects read, 0 that could not be read")
    with archive.index(STATUS, REASON, KVP) as index:
        assert Filling(index, archive.storage)._owed() is None


def test_it_goes_on_where_it_was_stopped(archive: Archive, put: Callable[..., int]) -> None:
    with archive.index() as index:
        archive.store(index, range(COUNT), put)
    with archive.index(KVP) as index:
        filling = Filling(index, archive.storage)
        owed = filling._owed()
        assert owed is not None
        assert filling._fill(owed) == 0
        assert _state(index) == {0x00180060: (module._BATCH, COUNT)}
    # Which is what is left after kill -9 as well, since each batch is a transaction.
    gone = archive.storage.path(ObjectName("1.0", "1.0.1", "1.0.1.0"))
    os.unlink(gone)
    with archive.index(KVP) as index:
        archive.fill(index)
        assert _kvps(index, 0) == ["0", "1"]
        assert _kvps(index, COUNT // 2 - 1) == [str(COUNT - 2), str(COUNT - 1)]


def test_a_list_that_shrinks_loses_nothing(archive: Archive, put: Callable[..., int]) -> None:
    with archive.index(STATUS, REASON) as index:
        archive.store(index, range(4), put)
    with archive.index(REASON) as index:
        archive.store(index, range(4, 8), put)
        archive.fill(index)
        assert studies(index, ReasonForStudy="reason 0") == ["1.0"]
    with archive.index(STATUS, REASON) as index:
        assert studies(index, StudyStatusID="ODD") == ["1.0", "1.1"]
        archive.fill(index)
        assert studies(index, StudyStatusID="ODD") == ["1.0", "1.1", "1.2", "1.3"]


def test_a_list_that_grows_twice(archive: Archive, put: Callable[..., int]) -> None:
    with archive.index() as index:
        archive.store(index, range(4), put)
    with archive.index(KVP) as index:
        archive.store(index, range(4, 6), put)
    with archive.index(KVP, STATUS) as index:
        archive.fill(index)
        assert _kvps(index, 0) == ["0", "1"]
        assert studies(index, StudyStatusID="ODD") == ["1.0", "1.1", "1.2"]


def test_files_that_cannot_be_read_are_counted(
    archive: Archive, put: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    with archive.index() as index:
        archive.store(index, range(4), put)
    names = [ObjectName(f"1.{at // 2}", f"1.{at // 2}.1", f"1.{at // 2}.1.{at}") for at in range(3)]
    os.unlink(archive.storage.path(names[0]))
    os.truncate(archive.storage.path(names[1]), 200)
    Path(archive.storage.path(names[2])).write_bytes(Path(archive.storage.path(names[2])).read_bytes()[:-1])
    with archive.index(KVP) as index, caplog.at_level(logging.WARNING, "dicomnet"):
        archive.fill(index)
        assert _kvps(index, 1) == ["", "3"]
    assert caplog.records[-1].getMessage().endswith(": 1 object read, 3 that could not be read")


def test_objects_arrive_and_go_meanwhile(archive: Archive, put: Callable[..., int]) -> None:
    """Filled by two threads at once, as a supervisor and its successor might for a moment, while another one stores."""
    with archive.index() as index:
        archive.store(index, range(COUNT), put)
    with archive.index(STATUS, KVP) as index:
        threads = [threading.Thread(target=archive.fill, args=(index,)) for _ in range(2)]
        threads.append(threading.Thread(target=archive.store, args=(index, range(COUNT, COUNT + 40), put)))
        for thread in threads:
            thread.start()
        index.forget(ObjectName("1.64", "1.64.1", "1.64.1.129"))
        for thread in threads:
            thread.join()
        assert len(studies(index, StudyStatusID="EVEN")) == (COUNT + 40) // 2
        assert _kvps(index, 64) == ["128"]


def test_a_rebuilt_index_owes_nothing(archive: Archive, put: Callable[..., int]) -> None:
    with archive.index() as index:
        archive.store(index, range(4), put)
    kept: Kept = configured([STATUS, KVP])
    discard(archive.path)
    with Index(archive.path, kept=kept) as index:
        assert Recovery(index, archive.storage, Conflicts(archive.storage, None)).run()
        assert Filling(index, archive.storage)._owed() is None
        assert studies(index, StudyStatusID="ODD") == ["1.0", "1.1"]
        assert _kvps(index, 1) == ["2", "3"]
