"""What tasks know of deletions: a check finds what is wrong with the trash, a backup has it, all may be undone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.archive.archives import Encode, Make, Put
from tests.archive.tasks.kept import Kept
from tests.archive.tasks.planted import Planted, make_archive
from tests.postgresql import PostgreSQL

from dicomnet.archive.holdings import Holdings
from dicomnet.archive.tasks.performing import perform

DAY = 86_400.0
DELETED = "1.3.1"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, make: Make, encode: Encode, put: Put) -> Planted:
    return make_archive(tmp_path_factory.mktemp("archive"), make, encode, put)


@pytest.fixture
def archive(template: Planted, tmp_path: Path) -> Planted:
    """An archive from which a study was deleted."""
    shutil.copytree(template.root, tmp_path / "store")
    made = Planted(tmp_path / "store")
    summary, _ = made.perform("delete", uids=[DELETED], actor="alice", reason="a mistake", keep=DAY)
    assert summary["objects"] > 1
    return made


def _trash(archive: Planted) -> list[Path]:
    return sorted((archive.root / "trash").rglob("*.dcm"))


def test_a_check_finds_nothing_after_a_deletion_and_after_it_was_undone(archive: Planted) -> None:
    assert archive.found() == archive.found(quick=True) == []
    archive.perform("undelete", last=True)
    assert archive.found() == []
    assert _trash(archive) == []


def test_a_file_that_has_gone_from_the_trash(archive: Planted) -> None:
    first, *others = _trash(archive)
    first.unlink()
    assert archive.found() == [("trash-missing", "found")]
    assert archive.found(repair=True) == [("trash-missing", "lost")]
    assert archive.found() == []
    summary, _ = archive.perform("undelete", last=True)
    assert (summary["objects"], summary["failed"]) == (len(others), 0)


def test_a_file_in_the_trash_that_nobody_knows_stays_there(archive: Planted) -> None:
    first = _trash(archive)[0]
    before = first.read_bytes()
    archive.perform("undelete", uids=[first.parent.name])
    first.parent.mkdir()
    first.write_bytes(before)
    assert archive.found() == [("trash-unrecorded", "found")]
    assert archive.found(repair=True) == [("trash-unrecorded", "repaired")]
    assert archive.found() == []
    _, items = archive.perform("undelete", dry_run=True)
    assert [each["kept_until"] for each in items if each["actor"] is None] == [None]


def test_a_file_in_the_trash_that_has_changed_does_not_come_back(archive: Planted) -> None:
    first = _trash(archive)[0]
    content = first.read_bytes()
    first.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert archive.found() == [("set-aside-changed", "found")]
    summary, items = archive.perform("undelete", last=True)
    assert summary["failed"] == 1
    assert [each["reason"] for each in items if "sop_instance_uid" in each] == [
        "its file in the trash is not what was deleted"
    ]
    assert _trash(archive) == [first]


def test_another_object_that_has_come_since_keeps_its_place(
    archive: Planted, make: Make, encode: Encode, put: Put
) -> None:
    """What is brought back is treated as an object that arrives: here it is kept in quarantine."""
    instance = _trash(archive)[0].parent.name
    with Holdings(archive.root) as holdings:
        data = encode(make(SOPInstanceUID=instance, StudyInstanceUID="1.3.9", SeriesInstanceUID="1.4.9"))
        assert put(holdings.intake, data, instance=instance) == 0
        assert holdings.intake.wait_for_all()
    summary, items = archive.perform("undelete", uids=[instance])
    assert summary["failed"] == 1
    assert [each["reason"] for each in items if "sop_instance_uid" in each] == [
        "another object has this UID; kept in quarantine"
    ]
    assert archive.found() == []


@pytest.mark.parametrize("is_server", [False, True])
def test_a_backup_has_the_trash_the_deletions_and_the_protections(
    archive: Planted, tmp_path: Path, postgresql: PostgreSQL, is_server: bool
) -> None:
    archive.perform("protect", patient="P9", issuer="A", reason="trial", actor="bob")
    backup = tmp_path / "backup"
    archive.perform("backup", folder=str(backup))
    trash = {path.relative_to(archive.root): path.read_bytes() for path in _trash(archive)}
    url = postgresql.new_database() if is_server else None
    kept = Kept()
    perform(tmp_path / "new", "restore", {"folder": str(backup)}, kept, database=url)
    assert kept.items == []
    again = Planted(tmp_path / "new", url)
    assert again.found() == []
    assert {path.relative_to(again.root): path.read_bytes() for path in _trash(again)} == trash
    _, (protected,) = again.perform("protect")
    assert (protected["patient_id"], protected["issuer"], protected["actor"]) == ("P9", "A", "bob")
    summary, items = again.perform("undelete", last=True)
    assert summary["objects"] == len(trash)
    assert {each["actor"] for each in items} == {"alice"}
    assert again.found() == []


def test_a_backup_forgets_what_was_deleted_when_it_is_told_to(archive: Planted, tmp_path: Path) -> None:
    archive.perform("undelete", last=True)
    backup = tmp_path / "backup"
    first, _ = archive.perform("backup", folder=str(backup))
    archive.perform("delete", uids=[DELETED], actor="alice")
    second, _ = archive.perform("backup", folder=str(backup))
    assert second["gone"] == first["objects"] - second["objects"] > 0
    summary, items = archive.perform("backup", folder=str(backup), prune=True, accept_loss=True)
    assert (summary["pruned"], items) == (second["gone"], [])
    assert not any((backup / "objects").rglob(f"{DELETED}/*/*.dcm"))
