"""Backups and what is restored from them: all that was there, on either database, and nothing that is not as it was."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from pydicom.dataset import Dataset
from tests.archive.tasks import planted
from tests.archive.tasks.kept import Kept
from tests.archive.tasks.planted import Planted, make_archive
from tests.postgresql import PostgreSQL
from tests.support import wait_until

from dicomnet.archive.conflicts import OtherContent
from dicomnet.archive.holdings import Holdings
from dicomnet.archive.storage.store import Content, ObjectName
from dicomnet.archive.tasks import restoring
from dicomnet.archive.tasks.backing_up import back_up
from dicomnet.archive.tasks.findings import KINDS
from dicomnet.archive.tasks.performing import perform
from dicomnet.archive.tasks.restoring import restore
from dicomnet.archive.tasks.task import TaskRefused, TaskStopped

Make = Callable[..., Dataset]
Encode = Callable[..., bytes]
Put = Callable[..., int]

# What the databases say, but for row IDs.
_OF_INDEX = (
    "SELECT patient.attributes, study.uid, study.attributes, study.others, study.series_count, study.instance_count,"
    " series.uid, series.attributes, instance.uid, instance.sop_class, instance.transfer_syntax, instance.attributes,"
    " instance.size, instance.digest, instance.stored_at, source.ae_title, source.address, source.way FROM instance"
    " JOIN series ON series.id = instance.parent JOIN study ON study.id = series.parent"
    " JOIN patient ON patient.id = study.parent JOIN source ON source.id = instance.source ORDER BY instance.uid"
)
_OBJECT = "instance, study, series, location, digest, size, ae_title, address, way"
_OF_LEDGER = (
    f"SELECT {_OBJECT}, reason, status, arrivals, outcome FROM quarantine ORDER BY id",
    f"SELECT {_OBJECT} FROM version ORDER BY id",
)
_ASIDE = ("quarantine", "versions")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, make: Make, encode: Encode, put: Put) -> Planted:
    return make_archive(tmp_path_factory.mktemp("archive"), make, encode, put)


@pytest.fixture
def archive(template: Planted, tmp_path: Path) -> Planted:
    shutil.copytree(template.root, tmp_path / "store")
    return Planted(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a backup, which is not there yet."""
    return tmp_path / "media" / "backup"


def _restored(folder: Path, root: Path, url: str | None = None) -> tuple[Planted, dict[str, Any], list[Any]]:
    """What is restored, with the summary and what was found."""
    reporter = Kept()
    summary = perform(root, "restore", {"folder": str(folder)}, reporter, database=url)
    found = [(item["finding"], item["outcome"], item.get("path")) for item in reporter.items]
    return Planted(root, url), dict(summary), found


def _aside(archive: Planted) -> dict[str, bytes]:
    return {
        path.relative_to(archive.root).as_posix(): path.read_bytes()
        for folder in _ASIDE
        for path in (archive.root / folder).rglob("*.dcm")
    }


def _manifest(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_bytes().splitlines()]


def _write_manifest(folder: Path, lines: list[dict[str, Any]]) -> None:
    """A manifest by its definition: JSON Lines, of which the last one has the digest of the others."""
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines[:-1])
    lines[-1]["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "manifest.jsonl").write_bytes(content + json.dumps(lines[-1]).encode() + b"\n")


@pytest.mark.parametrize("kinds", ["ss", "sp", "ps", "pp"])
def test_what_is_restored_is_what_was_there(
    kinds: str, tmp_path: Path, folder: Path, make: Make, encode: Encode, put: Put, postgresql: PostgreSQL
) -> None:
    """From SQLite and from PostgreSQL, to either."""
    first, second = (postgresql.new_database() if kind == "p" else None for kind in kinds)
    archive = make_archive(tmp_path / "store", make, encode, put, database=first)
    summary, items = archive.perform("backup", folder=str(folder))
    assert (items, summary["objects"], summary["copied"]) == ([], 8, 11)
    again, summary, found = _restored(folder, tmp_path / "new", second)
    assert (found, summary["is_damaged"], summary["objects"], summary["entries"]) == ([], False, 8, 2)
    assert again.objects() == archive.objects()
    assert _aside(again) == _aside(archive)
    assert len(_aside(again)) == 2
    assert again.index(_OF_INDEX) == archive.index(_OF_INDEX)
    for statement in _OF_LEDGER:
        assert again.ledger(statement) == archive.ledger(statement)
    moments = [
        each.ledger("SELECT arrived_at, last_at, replaced_at FROM quarantine, version")
        for each in (archive, again)
    ]
    if first is None and second is None:
        assert moments[0] == moments[1]
    assert again.found() == []
    assert not (again.root / "restore.json").exists()


def test_every_file_is_in_the_manifest_as_it_is(archive: Planted, folder: Path) -> None:
    archive.perform("backup", folder=str(folder))
    first, *lines, last = _manifest(folder)
    assert first["dicomnet_backup"] == 1
    there = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("manifest.jsonl", "backup.lock")
    }
    assert {line["path"] for line in lines} == there.keys()
    for line in lines:
        content = there[line["path"]].read_bytes()
        assert (line["size"], line["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert (last["files"], last["bytes"]) == (11, sum(line["size"] for line in lines))
    content = (folder / "manifest.jsonl").read_bytes()
    assert last["sha256"] == hashlib.sha256(b"".join(content.splitlines(keepends=True)[:-1])).hexdigest()
    for path in (*there.values(), folder / "manifest.jsonl"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750


def test_the_second_time_only_what_is_new_is_copied(
    archive: Planted, folder: Path, make: Make, encode: Encode, put: Put
) -> None:
    archive.perform("backup", folder=str(folder))
    before = {path: path.stat().st_ino for path in folder.rglob("*.dcm")}
    summary, _ = archive.perform("backup", folder=str(folder))
    assert (summary["objects"], summary["copied"], summary["gone"]) == (8, 0, 0)
    with Holdings(archive.root, other_content=OtherContent.REPLACE) as holdings:
        data = encode(make(SOPInstanceUID="1.2.3.9", StudyInstanceUID="1.3.0"))
        assert put(holdings.intake, data, instance="1.2.3.9") == 0
        first = archive.path(4).read_bytes()
        changed = encode(
            make(
                SOPInstanceUID="1.2.3.4",
                StudyInstanceUID="1.3.1",
                SeriesInstanceUID="1.4.2",
                PatientID="P1.3.1",
            )
        )
        assert put(holdings.intake, changed, instance="1.2.3.4") == 0
    summary, _ = archive.perform("backup", folder=str(folder))
    # The new one, the one that has replaced another, that as a version, and the ledger.
    assert (summary["objects"], summary["copied"], summary["gone"]) == (9, 4, 0)
    after = {path: path.stat().st_ino for path in folder.rglob("*.dcm")}
    assert len(before.items() & after.items()) == len(before) - 1
    assert first in [path.read_bytes() for path in (folder / "versions").rglob("*.dcm")]


def test_an_index_that_was_made_anew_does_not_have_all_copied_again(archive: Planted, folder: Path) -> None:
    archive.perform("backup", folder=str(folder))
    archive.perform("reindex")
    assert set(archive.rows().values()) == {None}
    summary, _ = archive.perform("backup", folder=str(folder))
    assert (summary["objects"], summary["copied"]) == (8, 0)


def _delete(archive: Planted, instance: int) -> None:
    """As deleting does it: neither file nor row is left."""
    archive.path(instance).unlink()
    archive.index(f"DELETE FROM instance WHERE uid = '1.2.3.{instance}'")
    archive.index("UPDATE study SET instance_count = instance_count - 1 WHERE uid = '1.3.1'")


def test_what_is_deleted_stays_until_it_is_pruned_and_is_not_restored(
    archive: Planted, folder: Path, tmp_path: Path
) -> None:
    archive.perform("backup", folder=str(folder))
    path = folder / archive.path(5).relative_to(archive.root)
    _delete(archive, 5)
    summary, items = archive.perform("backup", folder=str(folder))
    assert (items, summary["objects"], summary["gone"], summary["pruned"]) == ([], 7, 1, 0)
    assert path.exists()
    again, _, found = _restored(folder, tmp_path / "new")
    assert (found, again.objects()) == ([], archive.objects())
    summary, items = archive.perform("backup", folder=str(folder), prune=True)
    assert (items, summary["objects"], summary["pruned"]) == ([], 7, 1)
    assert not path.exists()
    assert sorted(each["path"] for each in _manifest(folder)[1:-1]) == sorted(
        each.relative_to(folder).as_posix()
        for each in folder.rglob("*.*")
        if each.parent != folder and each.is_file()
    )


def test_very_much_is_not_pruned_without_a_word(archive: Planted, folder: Path) -> None:
    archive.perform("backup", folder=str(folder))
    (folder / "objects" / "x").mkdir()
    for number in range(150):
        (folder / "objects" / "x" / f"{number}").write_text("x")
    with pytest.raises(TaskRefused, match="150 files"):
        archive.perform("backup", folder=str(folder), prune=True)
    summary, _ = archive.perform("backup", folder=str(folder), prune=True, accept_loss=True)
    assert summary["pruned"] == 150


@pytest.mark.parametrize(("plant", "kind"), [(planted.flip, "changed"), (planted.empty, "empty-file")])
def test_a_damaged_object_costs_no_other_and_is_in_quarantine(
    archive: Planted, folder: Path, tmp_path: Path, plant: Callable[[Planted], None], kind: str
) -> None:
    before = archive.objects()
    plant(archive)
    damaged = archive.path(5).read_bytes()
    summary, items = archive.perform("backup", folder=str(folder))
    assert [(item["finding"], item["outcome"], item["sop_instance_uid"]) for item in items] == [
        (kind, "quarantined", "1.2.3.5")
    ]
    assert (summary["objects"], summary["is_damaged"]) == (7, True)
    again, _, found = _restored(folder, tmp_path / "new")
    assert found == []
    after = again.objects()
    assert before.items() - after.items() == {("1.3.1/1.4.2/1.2.3.5.dcm", before["1.3.1/1.4.2/1.2.3.5.dcm"])}
    ((location, reason),) = again.ledger("SELECT location, reason FROM quarantine WHERE instance = '1.2.3.5'")
    assert (again.root / location).read_bytes() == damaged
    assert reason == KINDS[kind].what
    assert again.found() == []


def test_a_good_copy_is_kept_of_what_is_lost_or_damaged_since(
    archive: Planted, folder: Path, tmp_path: Path
) -> None:
    before = archive.objects()
    archive.perform("backup", folder=str(folder))
    planted.flip(archive)
    archive.path(4).unlink()
    summary, items = archive.perform("backup", folder=str(folder))
    assert [(item["finding"], item["outcome"], item["sop_instance_uid"]) for item in items] == [
        ("file-missing", "kept", "1.2.3.4")
    ]
    assert summary["objects"] == 8
    again, _, found = _restored(folder, tmp_path / "new")
    assert (found, again.objects()) == ([], before)


def test_a_file_system_that_is_not_mounted_takes_nothing_from_the_backup(
    archive: Planted, folder: Path, tmp_path: Path
) -> None:
    before = archive.objects()
    archive.perform("backup", folder=str(folder))
    study = archive.path(5).parents[1]
    study.rename(tmp_path / "mounted")
    study.symlink_to(tmp_path / "elsewhere")
    summary, _ = archive.perform("backup", folder=str(folder))
    assert (summary["objects"], summary["gone"], summary["is_damaged"]) == (8, 0, True)
    assert set(summary["found"]) == {"file-missing"}
    again, _, _ = _restored(folder, tmp_path / "new")
    assert again.objects() == before


@pytest.mark.parametrize("has_copy", [False, True])
def test_what_cannot_be_read_costs_no_other(
    archive: Planted, folder: Path, monkeypatch: pytest.MonkeyPatch, has_copy: bool
) -> None:
    if has_copy:
        archive.perform("backup", folder=str(folder))
    archive.index("UPDATE instance SET digest = NULL")
    os.utime(archive.path(5))
    with Holdings(archive.root) as holdings:
        opened = holdings.storage.open

        def open_file(name: ObjectName) -> BinaryIO:
            if name.instance == "1.2.3.5":
                raise OSError(errno.EIO, "input/output error", "x")
            return opened(name)

        monkeypatch.setattr(holdings.storage, "open", open_file)
        kept = Kept()
        summary = back_up(holdings, kept, folder=str(folder))
    assert [(item["finding"], item["path"]) for item in kept.items] == [("unreadable", "x")]
    assert summary["objects"] == (8 if has_copy else 7)


def test_a_copy_that_has_changed_is_copied_again_if_it_is_verified(archive: Planted, folder: Path) -> None:
    archive.perform("backup", folder=str(folder))
    copy = folder / archive.path(5).relative_to(archive.root)
    copy.write_bytes(copy.read_bytes()[:-1] + b"x")
    assert archive.perform("backup", folder=str(folder))[1] == []
    summary, items = archive.perform("backup", folder=str(folder), verify=True)
    assert [(item["finding"], item["outcome"]) for item in items] == [("changed", "repaired")]
    assert summary["copied"] == 1
    assert copy.read_bytes() == archive.path(5).read_bytes()


def test_what_cannot_be_filed_is_told_to_be_missing(
    archive: Planted, folder: Path, make: Make, encode: Encode, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Holdings(archive.root) as holdings:

        def fail(name: ObjectName, content: Content) -> bool:
            raise OSError(errno.ENOSPC, "no space left")

        with monkeypatch.context() as patch:
            patch.setattr(holdings.storage, "keep", fail)
            data = encode(make(SOPInstanceUID="1.2.3.9", StudyInstanceUID="1.3.9"))
            assert put(holdings.intake, data, instance="1.2.3.9") == 0
            wait_until(lambda: holdings.intake.count_stuck() == 1)
            kept = Kept()
            summary = back_up(holdings, kept, folder=str(folder))
    assert [item["finding"] for item in kept.items] == ["unfiled"]
    assert "NOT in this backup" in kept.items[0]["detail"]
    assert (summary["objects"], summary["is_damaged"]) == (8, True)
    summary, items = archive.perform("backup", folder=str(folder))
    assert (items, summary["objects"]) == ([], 9)


class _Stopping(Kept):
    """Stops a task after so many calls for progress."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls

    def progress(self, done: int, total: int | None = None) -> None:
        self.left -= 1
        if self.left < 0:
            raise TaskStopped


def test_a_backup_that_is_stopped_anywhere_goes_on_and_the_one_before_stays_whole(
    archive: Planted, folder: Path, tmp_path: Path, make: Make, encode: Encode, put: Put
) -> None:
    archive.perform("backup", folder=str(folder))
    before = archive.objects()
    with Holdings(archive.root, other_content=OtherContent.REPLACE) as holdings:
        for instance in (4, 5):
            data = encode(
                make(
                    SOPInstanceUID=f"1.2.3.{instance}",
                    StudyInstanceUID="1.3.1",
                    SeriesInstanceUID="1.4.2",
                    PatientID="P1.3.1",
                )
            )
            assert put(holdings.intake, data, instance=f"1.2.3.{instance}") == 0
    after = archive.objects()
    assert len(before.items() & after.items()) == 6
    is_done, calls = False, 0
    while not is_done:
        stopping = _Stopping(calls)
        calls += 3
        manifest = (folder / "manifest.jsonl").read_bytes()
        try:
            perform(archive.root, "backup", {"folder": str(folder)}, stopping)
            is_done = True
        except TaskStopped:
            if (folder / "manifest.jsonl").read_bytes() == manifest:
                again, _, found = _restored(folder, tmp_path / f"after{calls}")
                assert (found, again.objects()) == ([], before)
    assert calls > 30
    again, _, found = _restored(folder, tmp_path / "new")
    assert (found, again.objects(), _aside(again)) == ([], after, _aside(archive))
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [
        "backup.lock",
        "manifest.jsonl",
    ]


def test_a_first_backup_that_was_stopped_is_no_backup(archive: Planted, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TaskStopped):
        perform(archive.root, "backup", {"folder": str(folder)}, _Stopping(20))
    with pytest.raises(TaskRefused, match="not complete"):
        _restored(folder, tmp_path / "new")
    assert archive.perform("backup", folder=str(folder))[1] == []
    assert _restored(folder, tmp_path / "new")[0].objects() == archive.objects()


def test_a_restore_that_is_stopped_anywhere_goes_on(
    archive: Planted, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "_BATCH", 3)
    archive.perform("backup", folder=str(folder))
    new, calls = tmp_path / "new", 0
    while True:
        calls += 2
        try:
            summary = perform(new, "restore", {"folder": str(folder)}, _Stopping(calls))
            break
        except TaskStopped:
            # What it has is whole, and nothing else may take its place.
            assert json.loads((new / "restore.json").read_bytes())["done"] in range(12)
    assert calls > 8
    again = Planted(new)
    assert (summary["objects"], again.objects(), again.found()) == (8, archive.objects(), [])
    for statement in _OF_LEDGER:
        assert again.ledger(statement) == archive.ledger(statement)
    assert again.index(_OF_INDEX) == archive.index(_OF_INDEX)


def test_an_object_that_a_power_cut_has_left_by_half_is_restored_again(
    archive: Planted, folder: Path, tmp_path: Path
) -> None:
    archive.perform("backup", folder=str(folder))
    new = tmp_path / "new"
    with pytest.raises(TaskStopped):
        perform(new, "restore", {"folder": str(folder)}, _Stopping(9))
    left = sorted((new / "objects").rglob("*.dcm"))
    os.truncate(left[0], 100)
    again, _, found = _restored(folder, new)
    assert (found, again.objects(), again.found()) == ([], archive.objects(), [])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda content: content[:-1], "ends early"),
        (lambda content: b"\n".join(content.split(b"\n")[:-2]) + b"\n", "ends early"),
        (lambda content: content[: len(content) // 2], "ends early"),
        (lambda content: content.replace(b"1.2.3.5", b"1.2.3.6", 1), "is damaged"),
        (lambda content: b"", "ends early"),
    ],
)
def test_a_manifest_that_is_not_whole_is_refused(
    archive: Planted, folder: Path, tmp_path: Path, spoil: Callable[[bytes], bytes], said: str
) -> None:
    archive.perform("backup", folder=str(folder))
    path = folder / "manifest.jsonl"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(TaskRefused, match=said):
        _restored(folder, tmp_path / "new")
    # Another backup makes it whole.
    archive.perform("backup", folder=str(folder))
    assert _restored(folder, tmp_path / "new")[0].objects() == archive.objects()


def test_files_of_the_backup_that_are_damaged_or_missing_are_named_and_the_rest_is_restored(
    archive: Planted, folder: Path, tmp_path: Path
) -> None:
    archive.perform("backup", folder=str(folder))
    copy = {number: folder / archive.path(number).relative_to(archive.root) for number in (4, 5)}
    copy[4].unlink()
    copy[5].write_bytes(copy[5].read_bytes()[:-1] + b"x")
    _, summary, _ = _restored(folder, tmp_path / "first")
    assert (summary["failed"], summary["files"], summary["objects"]) == (2, 9, 6)
    (version,) = (folder / "versions").rglob("*.dcm")
    version.write_bytes(b"x")
    again, summary, found = _restored(folder, tmp_path / "new")
    places = [path.relative_to(folder).as_posix() for path in (copy[4], copy[5], version)]
    assert found[:3] == [
        ("file-missing", "lost", places[0]),
        ("changed", "lost", places[1]),
        ("changed", "lost", places[2]),
    ]
    # The check at the end finds the version missing that the ledger has.
    assert found[3:] == [("version-missing", "found", places[2])]
    assert summary["is_damaged"]
    assert archive.objects().keys() - again.objects().keys() == {
        "1.3.1/1.4.2/1.2.3.4.dcm",
        "1.3.1/1.4.2/1.2.3.5.dcm",
    }
    assert again.rows() == again.objects()


def test_entries_of_the_ledger_that_are_damaged_do_not_stop_the_restore(
    archive: Planted, folder: Path, tmp_path: Path
) -> None:
    archive.perform("backup", folder=str(folder))
    (ledger,) = (folder / "ledger").iterdir()
    ledger.write_bytes(ledger.read_bytes()[:-9])
    again, summary, found = _restored(folder, tmp_path / "new")
    assert found[0] == ("changed", "lost", f"ledger/{ledger.name}")
    assert sorted(kind for kind, _, _ in found[1:]) == ["quarantine-unrecorded", "version-unrecorded"]
    assert (again.objects(), summary["entries"]) == (archive.objects(), 0)


def test_the_ledger_alone(archive: Planted, folder: Path) -> None:
    archive.perform("backup", folder=str(folder))
    before = [archive.ledger(statement) for statement in _OF_LEDGER]
    with pytest.raises(TaskRefused, match="it has entries"):
        archive.perform("restore", folder=str(folder), only_ledger=True)
    for path in archive.root.glob("ledger.sqlite*"):
        path.unlink()
    summary, items = archive.perform("restore", folder=str(folder), only_ledger=True)
    assert (items, summary["entries"]) == ([], 2)
    assert [archive.ledger(statement) for statement in _OF_LEDGER] == before
    assert archive.found() == []


@pytest.mark.parametrize(
    "path",
    [
        "../../outside.dcm",
        "/tmp/outside.dcm",
        "objects/../../outside.dcm",
        "objects/00/00/1.3.1/1.4.1/1.2.3.1.dcm",
        "objects/aa/bb/1.3.1/../1.2.3.1.dcm",
        "index.sqlite",
        "quarantine/../../outside.dcm",
        f"versions/../x/{'0' * 64}.dcm",
    ],
)
def test_a_manifest_cannot_have_files_put_elsewhere(
    archive: Planted, folder: Path, tmp_path: Path, path: str
) -> None:
    archive.perform("backup", folder=str(folder))
    lines = _manifest(folder)
    (ours,) = (line for line in lines if line.get("path", "").endswith("1.2.3.5.dcm"))
    ours["path"] = path
    _write_manifest(folder, lines)
    again, summary, found = _restored(folder, tmp_path / "new" / "store")
    assert found == [("stray", "left", path)]
    assert (summary["is_damaged"], len(again.objects())) == (True, 7)
    assert not list(tmp_path.rglob("outside*"))


def test_a_restore_needs_an_archive_that_has_nothing(
    archive: Planted,
    folder: Path,
    tmp_path: Path,
    postgresql: PostgreSQL,
    make: Make,
    encode: Encode,
    put: Put,
) -> None:
    archive.perform("backup", folder=str(folder))
    with pytest.raises(TaskRefused, match="not empty"):
        archive.perform("restore", folder=str(folder))
    url = postgresql.new_database()
    make_archive(tmp_path / "other", make, encode, put, database=url)
    with pytest.raises(TaskRefused, match="not empty"):
        _restored(folder, tmp_path / "new", url)
    assert list((tmp_path / "new" / "objects").rglob("*.dcm")) == []
    with Holdings(tmp_path / "third") as holdings:
        holdings.begin_upkeep()
        with pytest.raises(TaskRefused, match="a node has the archive"):
            restore(holdings, Kept(), folder=str(folder))


def test_where_a_backup_cannot_be(archive: Planted, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("x")
    linked = tmp_path / "linked"
    linked.symlink_to(archive.root / "objects")
    (tmp_path / "an-archive").mkdir()
    Holdings(tmp_path / "an-archive").close()
    for folder, said in (
        (archive.root, "in the same folder"),
        (archive.root / "backup", "in the same folder"),
        (archive.root.parent, "in the same folder"),
        (linked, "in the same folder"),
        (other, "neither empty nor a backup"),
        (tmp_path / "an-archive", "is the folder of an archive"),
    ):
        with pytest.raises(TaskRefused, match=said):
            archive.perform("backup", folder=str(folder))
    assert [path.name for path in other.iterdir()] == ["notes.txt"]


def test_two_backups_into_one_folder_do_not_mix(archive: Planted, folder: Path) -> None:
    class Second(Kept):
        refused = ""

        def progress(self, done: int, total: int | None = None) -> None:
            if not self.refused:
                with pytest.raises(TaskRefused) as refused:
                    back_up(holdings, Kept(), folder=str(folder))
                self.refused = str(refused.value)

    with Holdings(archive.root) as holdings:
        second = Second()
        back_up(holdings, second, folder=str(folder))
    assert "under way" in second.refused


def test_what_could_not_be_restored_counts_after_an_interruption_too(
    archive: Planted, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "_BATCH", 1)
    archive.perform("backup", folder=str(folder))
    # The first one that is restored.
    min((folder / "objects").rglob("*.dcm")).unlink()
    stopping = _Stopping(8)
    with pytest.raises(TaskStopped):
        perform(tmp_path / "new", "restore", {"folder": str(folder)}, stopping)
    assert [item["finding"] for item in stopping.items] == ["file-missing"]
    _, summary, found = _restored(folder, tmp_path / "new")
    assert (found, summary["failed"], summary["is_damaged"], summary["objects"]) == ([], 1, True, 7)


@pytest.mark.parametrize("has_copy", [False, True])
def test_a_damaged_ledger_costs_no_object(
    archive: Planted, folder: Path, tmp_path: Path, has_copy: bool
) -> None:
    if has_copy:
        archive.perform("backup", folder=str(folder))
    planted.damage_ledger(archive)
    summary, items = archive.perform("backup", folder=str(folder))
    assert ([item["finding"] for item in items], summary["objects"]) == (["ledger-damaged"], 8)
    again, summary, found = _restored(folder, tmp_path / "new")
    assert again.objects() == archive.objects()
    assert _aside(again) == _aside(archive)
    # The table of the versions is the damaged one.
    assert found == (
        []
        if has_copy
        else [("version-unrecorded", "found", archive.aside("versions").relative_to(archive.root).as_posix())]
    )


def test_a_quarantine_that_cannot_be_listed_costs_nothing_else(
    archive: Planted, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.perform("backup", folder=str(folder))
    with Holdings(archive.root) as holdings:

        def fail() -> object:
            raise PermissionError(errno.EACCES, "permission denied", "x")

        monkeypatch.setattr(holdings.storage, "quarantined", fail)
        kept = Kept()
        summary = back_up(holdings, kept, folder=str(folder))
    assert [(item["finding"], item["path"]) for item in kept.items] == [("unreadable", "x")]
    assert (summary["objects"], summary["gone"]) == (8, 0)
    again, _, found = _restored(folder, tmp_path / "new")
    assert (found, _aside(again)) == ([], _aside(archive))
