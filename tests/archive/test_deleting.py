"""An object that is deleted is gone from everywhere but the ledger and the trash, or it is there as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.archive.archives import Encode, Make, Put, files_of, indexed_in
from tests.archive.tasks.kept import Kept

from dicomnet.archive import deleting
from dicomnet.archive.deleting import Deleted
from dicomnet.archive.deletion import Deletion, Fate, Order, Protection
from dicomnet.archive.holdings import Holdings
from dicomnet.archive.storage.store import ObjectName
from dicomnet.archive.tasks.checking import check
from dicomnet.archive.upkeep import bring_in_line
from dicomnet.errors import DatabaseFailure, Trouble

DAY = 86_400.0
BY_HAND = Order("run-1", "alice", reason="sent to the wrong patient", keep=7 * DAY)
AT_ONCE = Order("run-2", rule="old")
STUDY, OTHER_STUDY = "1.3.1", "1.3.2"


class Archive:
    """An archive, and how objects come into it."""

    def __init__(self, holdings: Holdings, make: Make, encode: Encode, put: Put) -> None:
        self.holdings = holdings
        self._make, self._encode, self._put = make, encode, put

    def store(self, number: int, study: str = STUDY, **attributes: Any) -> ObjectName:
        """Store an object; it is filed."""
        data_set: Dataset = self._make(
            SOPInstanceUID=f"1.5.{number}",
            StudyInstanceUID=study,
            SeriesInstanceUID=f"{study}.1",
            **attributes,
        )
        assert self._put(self.holdings.intake, self._encode(data_set), instance=f"1.5.{number}") == 0
        assert self.holdings.intake.wait_for_all()
        return ObjectName(study, f"{study}.1", f"1.5.{number}")

    def delete(self, *names: ObjectName, order: Order = BY_HAND) -> Deleted:
        """Delete objects of a study."""
        return self.holdings.deleting().delete(names[0].study, [name.instance for name in names], order)

    def path(self, name: ObjectName) -> Path:
        """The file of an object."""
        return self.holdings.local.root / self.holdings.storage.location(name)

    @property
    def indexed(self) -> list[ObjectName]:
        """The objects that are found."""
        assert self.holdings.index is not None
        return indexed_in(self.holdings.index)

    def fates(self) -> dict[str, Fate | None]:
        """What the ledger says of each deletion, by SOP Instance UID."""
        assert self.holdings.ledger is not None
        return {each.name.instance: each.fate for each in self.holdings.ledger.opened.deletions.all()}

    def findings(self) -> dict[str, int]:
        """What a check finds."""
        kept = Kept()
        found: dict[str, int] = check(self.holdings, kept)["found"]
        assert found == {}, kept.items
        return found


@pytest.fixture
def archive(tmp_path: Path, database_url: str, make: Make, encode: Encode, put: Put) -> Iterator[Archive]:
    with Holdings(tmp_path / "store", database=database_url) as holdings:
        assert holdings.index is not None
        bring_in_line(holdings.index, holdings.intake)
        yield Archive(holdings, make, encode, put)


def test_what_is_deleted_is_in_the_ledger_and_in_the_trash_and_nowhere_else(archive: Archive) -> None:
    first, second = archive.store(1, PatientID="P1"), archive.store(2, PatientID="P1")
    content = archive.path(first).read_bytes()
    done = archive.delete(first)
    assert (done.count, done.size, done.failed, done.protection) == (1, len(content), {}, None)
    assert archive.indexed == [second]
    assert not archive.holdings.storage.has(first)
    assert archive.holdings.ledger is not None
    (entry,) = archive.holdings.ledger.opened.deletions.all()
    assert (entry.name, entry.actor, entry.rule, entry.reason) == (first, "alice", "", BY_HAND.reason)
    assert (entry.patient, entry.size, entry.fate) == ("P1", len(content), Fate.IN_TRASH)
    assert (entry.source.ae_title, entry.source.way) == ("SENDER", "C-STORE")
    assert entry.kept_until is not None
    assert (entry.kept_until - entry.begun_at).total_seconds() == 7 * DAY
    assert (archive.holdings.local.root / entry.location).read_bytes() == content
    assert archive.findings() == {}


def test_without_trash_the_files_are_gone_and_so_are_the_folders(archive: Archive) -> None:
    names = [archive.store(number) for number in range(3)]
    kept = archive.store(9, OTHER_STUDY)
    assert archive.delete(*names, order=AT_ONCE).count == 3
    assert archive.indexed == [kept]
    assert len(files_of(archive.holdings.local.root)) == 1
    folders = {path.name for path in (archive.holdings.local.root / "objects").rglob("*") if path.is_dir()}
    assert OTHER_STUDY in folders
    assert STUDY not in folders
    assert set(archive.fates().values()) == {Fate.GONE}
    assert archive.findings() == {}


def test_the_same_object_may_be_stored_again(archive: Archive) -> None:
    first = archive.store(1)
    for _ in range(2):
        assert archive.delete(first).count == 1
        assert archive.indexed == []
        assert archive.store(1) == first
        assert archive.indexed == [first]
        assert archive.findings() == {}
    assert archive.holdings.ledger is not None
    fates = [each.fate for each in archive.holdings.ledger.opened.deletions.all()]
    # The trash has the file once.
    assert fates == [Fate.DELETED_AGAIN, Fate.IN_TRASH]


def test_objects_of_a_protected_patient_stay(archive: Archive) -> None:
    """Also where only some objects of a study say that they are his."""
    first = archive.store(1, PatientID="P1", IssuerOfPatientID="A")
    second = archive.store(2, PatientID="P2", IssuerOfPatientID="B")
    assert archive.holdings.ledger is not None
    protections = archive.holdings.ledger.opened.protections
    assert protections.begin(Protection("P2", "C"))
    assert archive.delete(second).count == 1
    archive.store(2, PatientID="P2", IssuerOfPatientID="B")
    for issuer in ("B", ""):
        assert protections.begin(Protection("P2", issuer))
        done = archive.delete(first, second)
        assert done.protection is not None
        assert (done.count, done.protection.patient, done.protection.issuer) == (0, "P2", issuer)
        assert archive.indexed == [first, second]
        assert protections.end("P2", issuer, "bob")
    assert archive.delete(first, second).count == 2


def test_what_cannot_be_deleted_is_told(archive: Archive) -> None:
    first, second = archive.store(1), archive.store(2)
    archive.holdings.storage.remove(second)
    done = archive.delete(first, second, ObjectName(STUDY, f"{STUDY}.1", "1.5.9"))
    assert done.count == 1
    assert done.failed == {second.instance: deleting.HAS_NO_FILE, "1.5.9": deleting.IS_GONE}
    # The row tells a check what is missing.
    assert archive.indexed == [second]


def test_an_object_that_is_being_stored_is_stored_before_or_afterwards(archive: Archive) -> None:
    """Whichever comes first, in the end the object is there as a whole, or not at all."""
    name = archive.store(1)
    begin = threading.Barrier(2)

    def store() -> None:
        begin.wait()
        archive.store(1)

    for _ in range(15):
        with ThreadPoolExecutor(1) as threads:
            stored = threads.submit(store)
            begin.wait()
            done = archive.delete(name)
            stored.result()
        assert done.count + len(done.failed) == 1
        is_there = archive.holdings.storage.has(name)
        assert archive.indexed == ([name] if is_there else [])
        archive.store(1)
    assert archive.findings() == {}


def test_a_claim_that_cannot_be_had_leaves_the_object(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = archive.store(1)
    monkeypatch.setattr(deleting, "PATIENCE", 0.0)
    with archive.holdings.intake.claimed(name.instance):
        assert archive.delete(name).failed == {name.instance: deleting.IS_BEING_STORED}
    assert archive.indexed == [name]
    assert archive.fates() == {}


def test_an_open_file_is_read_to_its_end(archive: Archive) -> None:
    name = archive.store(1)
    with archive.holdings.storage.open(name) as file:
        assert archive.delete(name, order=AT_ONCE).count == 1
        assert file.read()[128:132] == b"DICM"


def test_a_file_that_cannot_be_removed_stays_with_its_row(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first file is moved, the medium refuses the second: each is in one state."""
    first, second = archive.store(1), archive.store(2)
    replace, moved = os.replace, []

    def refusing(source: str, target: str) -> None:
        if str(source).endswith(f"{second.instance}.dcm"):
            raise PermissionError(13, "Permission denied", source)
        moved.append(source)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refusing)
        done = archive.delete(first, second)
    assert len(moved) == 1
    assert done.count == 1
    assert done.failed.keys() == {second.instance}
    assert "Permission denied" in done.failed[second.instance]
    assert archive.indexed == [second]
    assert archive.fates() == {first.instance: Fate.IN_TRASH, second.instance: Fate.NOT_DELETED}
    assert archive.findings() == {}


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_trash_on_another_file_system(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, is_killed: bool
) -> None:
    """There, the file is in both places for a moment; what is interrupted then, has not been done."""
    name = archive.store(1)
    content = archive.path(name).read_bytes()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        (archive.holdings.local.root / "trash").symlink_to(folder)
        assert os.stat(folder).st_dev != archive.path(name).stat().st_dev
        unlink = os.unlink

        def refusing(path: str) -> None:
            if str(path) == str(archive.path(name)):
                raise PermissionError(1, "Operation not permitted", path)
            unlink(path)

        if is_killed:
            monkeypatch.setattr(os, "unlink", refusing)
        archive.delete(name)
        kept = [path.read_bytes() for path in Path(folder).rglob("*.dcm")]
        assert kept == ([] if is_killed else [content])
        assert archive.indexed == ([name] if is_killed else [])
        assert archive.fates() == {name.instance: Fate.NOT_DELETED if is_killed else Fate.IN_TRASH}
        assert archive.findings() == {}


def test_a_ledger_that_cannot_be_written_lets_nothing_be_deleted(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = archive.store(1)
    assert archive.holdings.ledger is not None
    deletions = archive.holdings.ledger.opened.deletions

    def failing(*_: object) -> None:
        raise DatabaseFailure("ledger", Trouble.FULL, "there is no space left")

    with monkeypatch.context() as patch:
        patch.setattr(deletions, "begin", failing)
        with pytest.raises(DatabaseFailure):
            archive.delete(name)
    assert archive.indexed == [name]
    assert archive.holdings.storage.has(name)
    with monkeypatch.context() as patch:
        patch.setattr(deletions, "end", failing)
        with pytest.raises(DatabaseFailure):
            archive.delete(name)
    # What was begun is ended as soon as that can be entered.
    assert archive.fates() == {name.instance: None}
    archive.holdings.end_deletions()
    assert archive.fates() == {name.instance: Fate.IN_TRASH}
    assert archive.findings() == {}


def test_a_deletion_that_cannot_be_ended_does_not_keep_the_archive_closed(
    tmp_path: Path, make: Make, encode: Encode, put: Put, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as where a part of the store is on a disk that is not mounted: it is not taken for gone."""
    root = tmp_path / "store"
    with Holdings(root, sync=False) as holdings:
        archive = Archive(holdings, make, encode, put)
        name = archive.store(1)
        assert holdings.ledger is not None
        entry = Deletion(name, "ab", 1, "run", datetime.now(UTC))
        holdings.ledger.opened.deletions.begin([entry])
        study = archive.path(name).parent.parent
    away = tmp_path / "disk"
    study.rename(away)
    study.symlink_to(away)
    away.rename(tmp_path / "not mounted")
    with Holdings(root, sync=False) as holdings:
        assert "cannot be ended now" in caplog.text
        archive = Archive(holdings, make, encode, put)
        assert archive.fates() == {name.instance: None}
        assert archive.indexed == [name]
        (tmp_path / "not mounted").rename(away)
        holdings.end_deletions()
        assert archive.fates() == {name.instance: Fate.NOT_DELETED}
        assert archive.indexed == [name]


# For each number that it reads, deletes objects in a child, which dies at this point of all those that it passes:
# before and after each call of the system, and before each of a database, that changes something.
_KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from dicomnet.archive import deleting
from dicomnet.archive.catalogue import removal
from dicomnet.archive.deletion import Order
from dicomnet.archive.holdings import Holdings
left = 0
def point(*_):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
def around(name):
    call = getattr(os, name)
    def called(*given, **more):
        point()
        result = call(*given, **more)
        point()
        return result
    setattr(os, name, called)
def delete():
    with Holdings(Path(sys.argv[1]), database=sys.argv[3], sync=False) as holdings:
        for name in ("replace", "unlink", "rmdir"):
            around(name)
        for name in ("before_cursor_execute", "commit"):
            event.listen(Engine, name, point)
        order = Order("killed", "alice", keep=float(sys.argv[2]))
        holdings.deleting().delete("1.3.1", ["1.5.0", "1.5.1"], order)
        os._exit(0)
for line in sys.stdin:
    left = int(line)
    child = os.fork()
    if not child:
        delete()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.parametrize("keep", [0.0, DAY])
def test_kill_9_at_any_moment_leaves_each_object_whole_or_gone(
    tmp_path: Path, database_url: str, make: Make, encode: Encode, put: Put, keep: float
) -> None:
    root = tmp_path / "store"
    outcomes = set()
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(root), str(keep), database_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # Of all points every fifth, others with and without a trash, as each takes a while.
        for point in count(1 if keep else 3, 5):
            with Holdings(root, database=database_url, sync=False) as holdings:
                archive = Archive(holdings, make, encode, put)
                names = [archive.store(number) for number in range(3)]
            print(point, file=process.stdin, flush=True)
            status = int(process.stdout.readline())
            with Holdings(root, database=database_url, sync=False) as holdings:
                outcomes.add(_after_kill(Archive(holdings, make, encode, put), names, keep))
            if status == 0:
                break
            assert status == -signal.SIGKILL
        process.stdin.close()
    # Before, and afterwards.
    assert outcomes >= {1, 3}
    assert point > 20


def _after_kill(archive: Archive, names: list[ObjectName], keep: float) -> int:
    """How many objects are there; each is whole and found, or gone and recorded."""
    there = archive.indexed
    assert names[2] in there
    assert [name for name in names if archive.holdings.storage.has(name)] == there
    assert archive.holdings.ledger is not None
    deletions = archive.holdings.ledger.opened.deletions
    assert deletions.to_end() == []
    last = {each.name: each.fate for each in deletions.all()}
    fate = Fate.IN_TRASH if keep else Fate.GONE
    assert all(last[name] is fate for name in names if name not in there)
    assert archive.findings() == {}
    return len(there)
