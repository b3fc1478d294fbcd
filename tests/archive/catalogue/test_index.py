from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from sqlalchemy import func, select
from tests.support import wait_until

from dicomnet.archive.catalogue import schema
from dicomnet.archive.catalogue.index import Index, discard
from dicomnet.archive.filing import Progress
from dicomnet.archive.intake import Intake
from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.archive.storage.store import ObjectName
from dicomnet.errors import DatabaseFailure, IndexUnusable

NAME = ObjectName("1.2.3", "1.2.3.4", "1.2.3.4.5")

Make = Callable[..., Dataset]
Encode = Callable[..., bytes]
Put = Callable[..., int]


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalFolder]:
    with LocalFolder(tmp_path / "store", sync=False) as opened:
        yield opened


@pytest.fixture
def storage(local: LocalFolder) -> FolderStorage:
    return FolderStorage.of(local)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


def _counts(index: Index) -> tuple[int, ...]:
    with index.reading() as connection:
        return tuple(
            connection.scalar(select(func.count()).select_from(table)) or 0
            for table in schema.TABLES.values()
        )


def _uids(index: Index) -> list[str]:
    with index.reading() as connection:
        return sorted(connection.scalars(select(schema.instance.c.uid)))


def _add(intake: Intake, number: int, make: Make, encode: Encode, put: Put) -> int:
    uid = f"1.2.3.4.5.{number}"
    data = make(
        SOPInstanceUID=uid, SeriesInstanceUID=f"1.2.3.4.{number % 3}", StudyInstanceUID=f"1.2.{number % 2}"
    )
    return put(intake, encode(data), instance=uid)


def test_what_is_stored_is_indexed(
    local: LocalFolder, storage: FolderStorage, path: Path, make: Make, encode: Encode, put: Put
) -> None:
    with Index(path) as index, Intake(local, storage, index) as intake:
        for number in range(12):
            assert _add(intake, number, make, encode, put) == 0
            assert _add(intake, number, make, encode, put) == 0
        assert intake.wait_for_all()
        assert _counts(index) == (1, 2, 6, 12)
    with Index(path) as index:
        assert _counts(index) == (1, 2, 6, 12)


def test_many_threads_share_transactions(
    local: LocalFolder, storage: FolderStorage, path: Path, make: Make, encode: Encode, put: Put
) -> None:
    with Index(path) as index, Intake(local, storage, index) as intake:
        found: list[int] = []

        def run(first: int) -> None:
            found.extend(_add(intake, number, make, encode, put) for number in range(first, first + 20))

        # Every object comes from two threads.
        threads = [threading.Thread(target=run, args=(20 * (number // 2),)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [0] * 320
        assert intake.wait_for_all()
        assert _counts(index) == (1, 2, 6, 160)


def test_one_instance_uid_in_two_studies(
    local: LocalFolder, storage: FolderStorage, path: Path, make: Make, encode: Encode, put: Put
) -> None:
    with Index(path) as index, Intake(local, storage, index) as intake:
        assert put(intake, encode(make())) == 0
        assert put(intake, encode(make(StudyInstanceUID="9.9"))) == 0xB000
        assert intake.wait_for_all()
        assert os.path.exists(storage.path(NAME))
        assert len(list(storage.quarantined())) == 1
        assert _counts(index)[3] == 1
        assert put(intake, encode(make())) == 0


def test_damage_is_found_by_a_check_and_a_new_index_takes_its_place(
    local: LocalFolder, storage: FolderStorage, path: Path, make: Make, encode: Encode, put: Put
) -> None:
    """Opening it does not read it as a whole, which takes minutes where it is large."""
    with Index(path) as index, Intake(local, storage, index) as intake:
        for number in range(100):
            _add(intake, number, make, encode, put)
    with Index(path) as index:
        assert index.check()
    content = bytearray(path.read_bytes())
    for at in range(len(content) // 2, len(content), 512):
        content[at] ^= 0xFF
    path.write_bytes(content)
    with Index(path) as index:
        assert not index.check()
        with Index(path) as other:
            # Whoever has the upkeep sees it, in whichever process it was found.
            assert other.is_damaged
        index.renew()
        assert [opened.is_damaged for opened in (index,)] == [False]
        assert index.check()
        assert not index.is_complete
        assert _counts(index) == (0, 0, 0, 0)


def test_what_is_no_database_is_unusable(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(IndexUnusable, match="from the files"):
        Index(path)
    discard(path)
    with Index(path) as index:
        assert not index.is_complete


def test_another_process_has_put_a_new_index_in_the_place_of_a_damaged_one(
    local: LocalFolder, storage: FolderStorage, path: Path, make: Make, encode: Encode, put: Put
) -> None:
    """Whoever has the old file open goes over to the new one, also with what it remembers of rows."""
    with Index(path) as index, Intake(local, storage, index) as intake, Index(path) as other:
        assert _add(intake, 1, make, encode, put) == 0
        assert intake.wait_for_all()
        assert other.names_of(["1.2.3.4.5.1"])
        index.renew()
        assert not other.names_of(["1.2.3.4.5.1"])
        assert _uids(other) == []
        with Intake(local, storage, other, progress=Progress(2), process=1) as another:
            assert _add(another, 4, make, encode, put) == 0
        assert _add(intake, 10, make, encode, put) == 0
        assert intake.wait_for_all()
        assert _uids(index) == _uids(other) == ["1.2.3.4.5.10", "1.2.3.4.5.4"]
        assert _counts(index) == (1, 1, 1, 2)


def test_another_process_that_looks_into_the_index_takes_nothing_away(
    local: LocalFolder, storage: FolderStorage, path: Path, make: Make, encode: Encode, put: Put
) -> None:
    """To flush it, its file was opened and closed, which gave up the locks that SQLite holds on it.

    Whoever closed it next took himself for the last one, and removed the log in which we went on writing.
    """
    look = (
        "import sqlite3, sys\n"
        "print(*sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM instance').fetchone())"
    )

    def counted_by_another_process() -> int:
        command = [sys.executable, "-c", look, str(path)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)

    with Index(path) as index, Intake(local, storage, index) as intake:
        for number in range(3):
            assert _add(intake, number, make, encode, put) == 0
            assert intake.wait_for_all()
            index.make_durable()
            assert counted_by_another_process() == number + 1
            assert Path(f"{path}-wal").exists()
    assert counted_by_another_process() == 3


def test_an_index_of_another_version(path: Path) -> None:
    Index(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE state SET value='77' WHERE name='version'")
    connection.close()
    with pytest.raises(IndexUnusable, match="version 77"):
        Index(path)


def test_an_index_of_the_time_before_it_said_its_version_so(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE instance (id INTEGER PRIMARY KEY)")
        connection.execute("PRAGMA user_version=2")
    connection.close()
    with pytest.raises(IndexUnusable, match="older version"):
        Index(path)


def test_a_locked_database_at_the_start_is_not_damaged(
    local: LocalFolder, storage: FolderStorage, path: Path, make: Make, encode: Encode, put: Put
) -> None:
    """Nothing is written where nothing is to be changed; what has to be made waits for the lock."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA journal_mode=WAL")
    other.execute("BEGIN EXCLUSIVE")
    begun = monotonic()
    with pytest.raises(DatabaseFailure, match="locked") as caught:
        Index(path, wait_seconds=0.3)
    assert 0.25 < monotonic() - begun < 10
    assert not caught.value.is_damage
    other.execute("ROLLBACK")
    with Index(path) as index, Intake(local, storage, index) as intake:
        assert _add(intake, 1, make, encode, put) == 0
    before = path.stat().st_ino
    other.execute("BEGIN EXCLUSIVE")
    with Index(path, wait_seconds=0.3) as index:
        assert _uids(index) == ["1.2.3.4.5.1"]
    other.execute("ROLLBACK")
    other.close()
    assert path.stat().st_ino == before


def test_an_index_that_cannot_be_opened_is_not_damaged(
    local: LocalFolder, storage: FolderStorage, path: Path, make: Make, encode: Encode, put: Put
) -> None:
    with Index(path) as index, Intake(local, storage, index) as intake:
        assert _add(intake, 1, make, encode, put) == 0
    path.parent.rename(path.parent.with_name("away"))
    with pytest.raises(DatabaseFailure) as caught:
        Index(path)
    assert caught.value.is_passing
    path.parent.with_name("away").rename(path.parent)
    with Index(path) as index:
        assert _uids(index) == ["1.2.3.4.5.1"]


def test_a_locked_database_keeps_nobody_out(
    local: LocalFolder,
    storage: FolderStorage,
    path: Path,
    make: Make,
    encode: Encode,
    put: Put,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What is acknowledged meanwhile comes into the index when that can be written again, in any case once."""
    with Index(path, wait_seconds=0.2) as index, Intake(local, storage, index) as intake:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        found: list[int] = []

        def run(number: int) -> None:
            found.append(_add(intake, number, make, encode, put))

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert found == [0] * 8
        assert not intake.wait_for_all()
        assert _counts(index) == (0, 0, 0, 0)
        assert not local.needs_recovery
        other.execute("ROLLBACK")
        other.close()
        wait_until(intake.wait_for_all, 10, "the index was written")
        assert _add(intake, 8, make, encode, put) == 0
        assert intake.wait_for_all()
        assert len(_uids(index)) == 9
    words = [each.getMessage() for each in caplog.records if each.name.endswith("filing")]
    assert ["cannot be filed now" in word for word in words] == [True, False]
    assert "can be filed again" in words[1]


def test_an_index_that_cannot_grow(tmp_path: Path, make: Make, encode: Encode) -> None:
    script = """
import os, resource, sys
from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.filing import Progress
from dicomnet.archive.intake import Intake
from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.errors import ServiceRefusal
data = open(sys.argv[1] + "/object", "rb").read()
index = Index(sys.argv[1] + "/index.sqlite")
local = LocalFolder(sys.argv[1] + "/store")
intake = Intake(local, FolderStorage.of(local), index)
def put(number):
    uid = f"1.2.3.4.{number:05}"
    session = intake.open("1.2.840.10008.5.1.4.1.1.2", uid, "1.2.840.10008.1.2.1")
    session.write(memoryview(data.replace(b"1.2.3.4.55555", uid.encode())))
    try:
        return session.commit()
    except ServiceRefusal as refusal:
        return refusal.status
print(put(0), intake.wait_for_all())
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(sys.argv[1] + "/index.sqlite-wal") + 1, limits[1]))
print(put(1), intake.wait_for_all())
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
print(put(1), put(2))
intake.close()
with index.reading() as connection:
    print(connection.exec_driver_sql("select count(*) from instance").scalar())
"""
    (tmp_path / "object").write_bytes(encode(make(SOPInstanceUID="1.2.3.4.55555")))
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["0", "True", "0", "False", "0", "0", "3"]


def test_odd_values_do_not_stop_an_object(
    local: LocalFolder, storage: FolderStorage, path: Path, make: Make, encode: Encode, put: Put
) -> None:
    item = Dataset()
    item.ScheduledProcedureStepID = "S1"
    data_set = make(
        PatientComments="x" * 10_000,
        ImageComments="y" * 9_000,
        SeriesDescription="Kopf\x1b",
        RequestAttributesSequence=Sequence([item] * 100),
        SpecificCharacterSet="ISO_IR 999",
    )
    with pytest.warns(UserWarning, match="ISO_IR 999"):
        data = encode(data_set)
    with Index(path) as index, Intake(local, storage, index) as intake:
        assert put(intake, data) == 0
        assert intake.wait_for_all()
        assert _counts(index) == (1, 1, 1, 1)


def test_receiving_needs_no_database() -> None:
    script = (
        "import sys, dicomnet.archive.intake; print({'sqlalchemy', 'pydicom', 'sqlite3'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def _items(count: int) -> Sequence:
    items = [Dataset() for _ in range(count)]
    for number, item in enumerate(items):
        item.RequestedProcedureID = f"R{number}"
    return Sequence(items)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"PatientName": "A" * 20_000}, "PatientName has 20000 bytes, more than 16384, and is not indexed"),
        ({"PatientID": "A" * 16_386}, "PatientID has 16386 bytes, more than 16384, and is not indexed"),
        ({"StudyDescription": "A" * 17_000}, "StudyDescription has 17000 bytes"),
        ({"SeriesDescription": "A" * 17_000}, "SeriesDescription has 17000 bytes"),
        (
            {"RequestAttributesSequence": _items(65)},
            "RequestAttributesSequence has more than 64 items, and the others",
        ),
        ({"RequestAttributesSequence": _items(1000)}, "RequestAttributesSequence has"),
    ],
    ids=["name", "ID", "study", "series", "items", "long"],
)
@pytest.mark.filterwarnings("ignore:The .* exceeds the maximum")
def test_a_value_that_is_not_indexed_was_left_out_without_a_word(
    local: LocalFolder,
    storage: FolderStorage,
    path: Path,
    make: Make,
    encode: Encode,
    put: Put,
    values: dict[str, object],
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Index(path) as index, Intake(local, storage, index) as intake:
        assert put(intake, encode(make(**values))) == 0
        assert intake.wait_for_all()
    (line,) = [each.message for each in caplog.records if "queries do not find" in each.message]
    assert line.startswith(f"1.2.3.4.5: {said}")


@pytest.mark.filterwarnings("ignore:The .* exceeds the maximum")
def test_values_of_the_longest_that_are_indexed_are_no_trouble(
    local: LocalFolder,
    storage: FolderStorage,
    path: Path,
    make: Make,
    encode: Encode,
    put: Put,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Index(path) as index, Intake(local, storage, index) as intake:
        data = make(PatientName="A" * 16_384, RequestAttributesSequence=_items(64))
        assert put(intake, encode(data)) == 0
        assert intake.wait_for_all()
    assert not [each for each in caplog.records if "queries do not find" in each.message]
