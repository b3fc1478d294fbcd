"""`dicomnet delete`, `undelete` and `protect`: what is meant goes, is recorded, and can be brought back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.archive.tasks.kept import Kept
from tests.cli.command import complaint, run, run_on_terminal
from tests.faults.objects import study_uid, uid, write_objects
from tests.support import serving

from dicomnet.archive.tasks.performing import perform
from dicomnet.archive.tasks.task import TaskRefused

HOW = pytest.mark.parametrize("how", [(), ("--workers", "2"), None], ids=["node", "workers", "no node"])
Result = list[dict[str, Any]]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with two studies of four objects each."""
    folder = tmp_path_factory.mktemp("imported")
    write_objects(folder / "in", 1, 4)
    write_objects(folder / "in2", 2, 4)
    assert run("import", "--data", folder / "store", folder / "in", folder / "in2").returncode == 0
    return folder / "store"


@pytest.fixture
def store(tmp_path: Path, imported: Path) -> Path:
    """A copy of it for each test."""
    shutil.copytree(imported, tmp_path / "store")
    return tmp_path / "store"


@contextmanager
def _archive(store: Path, how: tuple[str, ...] | None) -> Iterator[None]:
    """The archive with a node of some kind, or without one."""
    if how is None:
        yield
        return
    with serving(store.parent, *how) as node:
        yield
        node.end()


def _files(store: Path, top: str = "objects") -> dict[str, bytes]:
    return {path.parent.name + path.stem: path.read_bytes() for path in (store / top).rglob("*.dcm")}


def _run(command: str, store: Path, *words: str, status: int = 0) -> tuple[Result, dict[str, Any]]:
    """The lines of a command's JSON, and its summary."""
    result = run(command, "--data", store, "--json", *words)
    assert (result.returncode, result.stderr) == (status, ""), result
    *lines, last = map(json.loads, result.stdout.splitlines())
    return lines, last["summary"]


@HOW
def test_a_study_is_deleted_and_brought_back_byte_for_byte(
    tmp_path: Path, store: Path, how: tuple[str, ...] | None
) -> None:
    with _archive(store, how):
        before = _files(store)
        for again in (False, True):
            (study,), summary = _run("delete", store, "PatientID=P1", "--yes", "--reason", "a mistake")
            assert (
                study.items()
                >= {
                    "study_instance_uid": study_uid(1),
                    "patient_id": "P1",
                    "objects": 4,
                    "of": 4,
                    "series": 1,
                    "outcome": "deleted",
                }.items()
            )
            size = sum(map(len, before.values())) // 2
            assert summary.items() >= {"studies": 1, "series": 1, "objects": 4, "bytes": size}.items()
            assert len(_files(store)) == 4
            assert len(_files(store, "trash")) == 4
            if not again:
                (listed,), _ = _run("undelete", store, "--list")
                assert (listed["run"], listed["reason"], listed["objects"]) == (
                    summary["run"],
                    "a mistake",
                    4,
                )
                assert listed["actor"]
                assert run("check", "--data", store).returncode == 0
            (back,), _ = _run("undelete", store, "--last")
            assert (back["study_instance_uid"], back["objects"], back["outcome"]) == (
                study_uid(1),
                4,
                "undeleted",
            )
        _, found = _run("undelete", store, "--list")
        assert found["objects"] == 0
        assert run("export", "--data", store, "PatientID=P1", tmp_path / "out").returncode == 0
        assert run("check", "--data", store).returncode == 0
    assert _files(store) == before
    assert _files(store, "trash") == {}


@HOW
def test_a_dry_run_changes_nothing(tmp_path: Path, store: Path, how: tuple[str, ...] | None) -> None:
    with _archive(store, how):
        before = _files(store)
        result = run("delete", "--data", store, "PatientID=P1", "--dry-run")
        assert result.returncode == 0
        (first,), (last,) = result.stderr.splitlines(), result.stdout.splitlines()
        assert first.startswith(f"would go: {study_uid(1)}, patient P1, 4 objects in 1 series, ")
        assert last.startswith("1 study, 1 series, 4 objects (")
        assert last.endswith("would be deleted")
        assert run("export", "--data", store, "--all", tmp_path / "out").stdout.startswith("8 exported")
    assert _files(store) == before
    assert not (store / "trash").exists()


def test_single_objects_and_what_is_missing(store: Path) -> None:
    lines, summary = _run("delete", store, "--yes", uid(1, 1), study_uid(2), "1.2.3", status=1)
    assert [(each.get("objects"), each.get("of"), each["outcome"]) for each in lines] == [
        (1, 4, "deleted"),
        (4, 4, "deleted"),
        (None, None, "missing"),
    ]
    assert (summary["objects"], summary["missing"]) == (5, 1)
    assert len(_files(store)) == 3
    # One of several deletions, by its name, and what was one object of it.
    _, summary = _run("undelete", store, uid(1, 1))
    assert (summary["studies"], summary["objects"]) == (1, 1)
    _, summary = _run("undelete", store, "--all")
    assert (summary["studies"], summary["objects"]) == (1, 4)
    assert len(_files(store)) == 8


def test_without_trash_nothing_can_be_brought_back(store: Path) -> None:
    _run("delete", store, "PatientID=P1", "--yes", "--keep", "0")
    assert len(_files(store)) == 4
    assert not (store / "trash").exists()
    result = run("undelete", "--data", store, study_uid(1))
    assert (result.returncode, result.stdout) == (1, "0 studies, 0 objects (0.0 MB) brought back\n")


@HOW
def test_what_is_in_the_trash_may_go_for_good(store: Path, how: tuple[str, ...] | None) -> None:
    with _archive(store, how):
        _run("delete", store, "--all", "--yes")
        (line,), summary = _run("undelete", store, study_uid(1), "--drop")
        assert (line["outcome"], summary["objects"]) == ("dropped", 4)
        (line,), _ = _run("undelete", store, "--list")
        assert (line["study_instance_uid"], line["objects"]) == (study_uid(2), 4)
        _run("undelete", store, "--all")
        assert run("check", "--data", store).returncode == 0
    assert len(_files(store)) == 4


@HOW
def test_protected_patients_stay(store: Path, how: tuple[str, ...] | None) -> None:
    with _archive(store, how):
        assert run("protect", "--data", store, "--patient", "P1", "--reason", "trial X").returncode == 0
        again = run("protect", "--data", store, "--patient", "P1")
        assert (again.returncode, again.stdout) == (
            0,
            "P1 was protected already; studies of that ID here: 1\n",
        )
        other = run("protect", "--data", store, "--patient", "P")
        assert (other.returncode, other.stdout) == (0, "P is protected; studies of that ID here: 0\n")
        assert run("protect", "--data", store, "--patient", "P", "--remove").returncode == 0
        (listed,), _ = _run("protect", store)
        assert (listed["patient_id"], listed["reason"]) == ("P1", "trial X")
        for more in (["--dry-run"], ["--yes"]):
            result = run("delete", "--data", store, "--all", *more)
            assert result.returncode == 1
            assert f"protected: {study_uid(1)}, patient P1, " in result.stderr
            assert "patient P1 is protected: trial X" in result.stderr
            assert "4 objects" in result.stdout
        assert len(_files(store)) == 4
        assert run("protect", "--data", store, "--patient", "P1", "--remove").returncode == 0
        refused = complaint(run("protect", "--data", store, "--patient", "P1", "--remove"), 1)
        assert "this patient is not protected" in refused
        _run("delete", store, study_uid(1), "--yes")
    assert _files(store) == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "say what to delete"),
        (("--yes",), "say what to delete"),
        (("PatientID=", "--yes"), "PatientID has no value to match"),
        (("--all", "PatientID=P1", "--yes"), "only one of these"),
        (("PatientID=P1",), "nobody can be asked here: say --yes"),
        (("PatientID=P1", "--yes", "--keep", "long"), "'long' is not a time, such as"),
    ],
)
def test_what_is_not_clear_is_refused(store: Path, words: tuple[str, ...], said: str) -> None:
    assert said in complaint(run("delete", "--data", store, *words), 2)
    assert len(_files(store)) == 8


def test_a_wild_card_alone_is_not_everything(store: Path) -> None:
    refused = complaint(run("delete", "--data", store, "PatientID=*", "--yes"), 1)
    assert "the keys match everything in the archive; say --all if that is meant" in refused
    assert len(_files(store)) == 8


@pytest.mark.parametrize(("answer", "left"), [("y\n", 4), ("\n", 8), ("no\n", 8)])
def test_somebody_is_asked_on_a_terminal(store: Path, answer: str, left: int) -> None:
    screen = run_on_terminal("delete", "--data", str(store), "PatientID=P1", types=answer)
    assert f"would go: {study_uid(1)}" in screen.text
    assert "their files stay in the trash for 7 days" in screen.text
    assert screen.returncode == (0 if left == 4 else 1)
    assert len(_files(store)) == left


def test_what_has_come_since_somebody_looked_is_not_deleted(store: Path) -> None:
    """The command asks the archive to delete what was shown, or nothing."""
    asked = {"keys": {"PatientID": "P1"}, "actor": "alice"}
    seen = perform(store, "delete", asked | {"dry_run": True}, Kept())
    write_objects(store.parent / "more", 1, 1, first=9)
    assert run("import", "--data", store, store.parent / "more").returncode == 0
    with pytest.raises(TaskRefused, match="other objects match by now"):
        perform(store, "delete", asked | {"expected": seen["fingerprint"]}, Kept())
    assert len(_files(store)) == 9
