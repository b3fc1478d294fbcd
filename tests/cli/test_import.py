"""`dicomnet import`: the same with a node and without, and complete in the end however often it is killed."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.cli.command import complaint, run, run_on_terminal
from tests.cli.conftest import CT, MR
from tests.faults.objects import file_of, uid, write_objects
from tests.processes import workers_of
from tests.support import data_set_of, dicomnet, digest, quarantined, serving, stored, wait_until

from dicomnet import Peer

HOW = pytest.mark.parametrize("how", [(), ("--workers", "2"), None], ids=["node", "workers", "no node"])


def lines_of(result: subprocess.CompletedProcess[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The lines of JSON for each thing, and the summary."""
    *lines, last = map(json.loads, result.stdout.splitlines())
    return lines, last["summary"]


@HOW
def test_files_are_imported_by_whoever_has_the_archive(tmp_path: Path, how: tuple[str, ...] | None) -> None:
    folder = tmp_path / "in"
    paths = write_objects(folder / "a", 1, 100) + write_objects(folder / "b", 2, 3, 300_000)
    (folder / "notes.txt").write_text("no image")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as file:
        file.writestr("x", file_of(3, 1))
        file.writestr("y", file_of(1, 1, PatientName="Other"))
    with ExitStack() as stack:
        node = None if how is None else stack.enter_context(serving(tmp_path, *how))
        # Relative to the folder of the command, which a node does not know.
        result = run("import", "--data", tmp_path / "store", "--json", "in", "in.zip", cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        lines, summary = lines_of(result)
        expected = {"stored": 104, "quarantined": 1, "skipped": 1}
        assert Counter(each["outcome"] for each in lines) == expected
        assert {name: summary[name] for name in expected} == expected
        assert {each["path"] for each in lines} == {
            *map(str, paths),
            str(folder / "notes.txt"),
            str(tmp_path / "in.zip"),
        }
        if node is not None:
            with Peer(node.address) as peer:
                assert len(list(peer.find("study", StudyInstanceUID=""))) == 3
        again = run("import", "--data", tmp_path / "store", "in", cwd=tmp_path)
        assert again.stdout.startswith("0 stored, 103 already there, 0 in quarantine, 0 refused, 1 skipped")
        if node is not None:
            node.end()
    objects = stored(tmp_path / "store")
    assert (
        objects.items() >= {uid(1, int(each.stem)): digest(data_set_of(each)) for each in paths[:100]}.items()
    )
    assert len(objects) == 104
    assert {instance for instance, _ in quarantined(tmp_path / "store")} == {uid(1, 1)}


@HOW
def test_what_cannot_be_imported_is_said_and_the_rest_is_there(
    tmp_path: Path, how: tuple[str, ...] | None
) -> None:
    (tmp_path / "cut.dcm").write_bytes(CT.read_bytes()[:-100])
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04")
    with ExitStack() as stack:
        if how is not None:
            stack.enter_context(serving(tmp_path, *how))
        paths = [CT, tmp_path / "cut.dcm", tmp_path / "bad.zip", tmp_path / "none", MR]
        result = run("import", "--data", tmp_path / "store", *paths)
    assert result.returncode == 1
    assert result.stdout.startswith(
        "2 stored, 0 already there, 0 in quarantine, 1 refused, 0 skipped, 0 missing, 2 unreadable: "
    )
    assert result.stderr.splitlines() == [
        f"unreadable: {tmp_path}/bad.zip: the zip is damaged, and what follows in it is lost: File is not a zip file",
        f"unreadable: {tmp_path}/none: it cannot be read: No such file or directory",
        f"refused: {tmp_path}/cut.dcm: an element is longer than what contains it",
    ]


def test_without_anything_to_store_it_fails(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    result = run("import", "--data", tmp_path / "store", tmp_path / "notes.txt")
    assert result.returncode == 1
    assert result.stdout.startswith("0 stored, 0 already there, 0 in quarantine, 0 refused, 1 skipped")
    assert result.stderr == ""
    verbose = run("import", "--data", tmp_path / "store", "-v", tmp_path / "notes.txt")
    assert f"skipped: {tmp_path}/notes.txt: not a DICOM file" in verbose.stderr.splitlines()


def test_without_a_node_the_settings_of_the_command_hold(tmp_path: Path) -> None:
    (tmp_path / "one.dcm").write_bytes(file_of(1, 1) + bytes(8))
    (tmp_path / "two.dcm").write_bytes(file_of(1, 2))
    (tmp_path / "other.dcm").write_bytes(file_of(1, 2, PatientName="Other"))
    paths = [tmp_path / each for each in ("one.dcm", "two.dcm", "other.dcm")]
    options = ["--strict", "--on-conflict", "refuse", "--json"]
    lines, summary = lines_of(run("import", "--data", tmp_path / "store", *options, *paths))
    assert (summary["stored"], summary["refused"]) == (1, 2)
    assert {Path(each["path"]).name for each in lines if each["outcome"] == "refused"} == {
        "one.dcm",
        "other.dcm",
    }


def test_links_are_counted(tmp_path: Path) -> None:
    write_objects(tmp_path / "in", 1, 3)
    result = run("import", "--data", tmp_path / "store", "--link", tmp_path / "in")
    assert result.stdout.startswith("3 stored (3 linked), 0 already there")


@pytest.mark.parametrize("rich", [True, False])
def test_progress_is_shown_on_a_terminal(tmp_path: Path, rich: bool) -> None:
    write_objects(tmp_path / "in", 1, 300)
    shown = run_on_terminal("import", "--data", tmp_path / "store", tmp_path / "in", rich=rich)
    assert shown.returncode == 0
    assert "importing" in shown.text if rich else " files" in shown.text
    assert "300 stored, 0 already there" in shown.text


def _count(store: Path) -> int:
    return sum(1 for _ in (store / "objects").rglob("*.dcm"))


def test_a_command_that_is_killed_five_times_ends_complete(tmp_path: Path) -> None:
    folder, store = tmp_path / "in", tmp_path / "store"
    paths = [path for study in range(4) for path in write_objects(folder / str(study), study, 300)]
    paths += write_objects(folder / "9", 9, 20, 300_000)
    for part in range(5):
        command = dicomnet("import", "--data", store, folder)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            wait_until(lambda: _count(store) > 100 * part, 30)  # noqa: B023
            process.kill()
    _, summary = lines_of(run("import", "--data", store, "--json", folder))
    assert summary["stored"] + summary["already_there"] == len(paths)
    assert summary["already_there"] > 400
    assert stored(store) == {
        uid(int(path.parent.name), int(path.stem)): digest(data_set_of(path)) for path in paths
    }
    assert not quarantined(store)
    assert not list((store / "staging").iterdir())
    assert not (store / "journal" / "0").exists()


def test_a_node_that_is_killed_loses_nothing_and_the_command_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    paths = write_objects(folder, 1, 2500)
    for _ in range(2):
        with serving(tmp_path, "--workers", "2") as node:
            _, workers = workers_of(node.process.pid)
            command = dicomnet("import", "--data", node.store, folder)
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            ) as process:
                before = _count(node.store)
                wait_until(lambda: _count(node.store) > before + 200, 30)  # noqa: B023
                node.process.kill()
                written, said = process.communicate(timeout=30)
            assert (process.returncode, written) == (1, "")
            assert (
                said == "dicomnet import: the node that has the archive has ended before the task was done\n"
            )
            # They end by themselves, and have the lock until then.
            wait_until(lambda: not any(os.path.exists(f"/proc/{each}") for each in workers), 20)  # noqa: B023
    with serving(tmp_path) as node:
        _, summary = lines_of(run("import", "--data", node.store, "--json", folder))
        assert summary["stored"] + summary["already_there"] == len(paths)
        assert summary["already_there"] > 400
        node.end()
    assert stored(tmp_path / "store").keys() == {uid(1, int(path.stem)) for path in paths}
    assert not quarantined(tmp_path / "store")


def test_a_command_that_is_killed_stops_the_node_from_importing(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_objects(folder, 1, 2000)
    with serving(tmp_path) as node:
        command = dicomnet("import", "--data", node.store, folder)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            wait_until(lambda: _count(node.store) > 100, 30)
            process.kill()
        output = tmp_path / "output.txt"
        wait_until(lambda: "task import ends: the task was stopped" in output.read_text(), 10)
        assert 100 < _count(node.store) < 2000
        with Peer(node.address) as peer:
            peer.echo()
        _, summary = lines_of(run("import", "--data", node.store, "--json", folder))
        assert summary["stored"] + summary["already_there"] == 2000
        node.end()


def test_paths_are_needed(tmp_path: Path) -> None:
    assert "PATH" in complaint(run("import", "--data", tmp_path), 2)


def test_names_that_are_not_text_reach_a_node_and_come_back(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/f\xff"
    os.mkdir(folder)
    for name, content in ((b"\xfe.dcm", file_of(1, 1)), (b"\xfd.dcm", CT.read_bytes()[:-100])):
        with open(folder + b"/" + name, "wb") as file:
            file.write(content)
    with serving(tmp_path) as node:
        lines, summary = lines_of(run("import", "--data", node.store, "--json", os.fsdecode(folder)))
        assert (summary["stored"], summary["refused"]) == (1, 1)
        assert {os.fsencode(each["path"]) for each in lines} == {folder + b"/\xfe.dcm", folder + b"/\xfd.dcm"}
        said = run("import", "--data", node.store, os.fsdecode(folder)).stderr
    assert said == f"refused: {tmp_path}/f\\udcff/\\udcfd.dcm: an element is longer than what contains it\n"
