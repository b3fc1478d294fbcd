"""`dicomnet backup` and `dicomnet restore`: by a node under load, by kills, and what they say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from tests.cli.command import complaint, run
from tests.faults.objects import uid, write_objects
from tests.support import TOOL_ENVIRONMENT, data_set_of, dicomnet, digest, serving, stored, wait_until

from dicomnet import Peer


class _Sender(threading.Thread):
    """Sends files, and notes which have been acknowledged."""

    def __init__(self, address: str, paths: list[Path]) -> None:
        super().__init__(daemon=True)
        self._address, self._paths = address, paths
        self.acknowledged: list[str] = []

    def run(self) -> None:
        with Peer(self._address) as peer:
            for result in peer.store(list(map(str, self._paths))):
                assert result.status == 0
                self.acknowledged.append(result.sop_instance_uid)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_backup_under_load_has_all_that_was_acknowledged_before(tmp_path: Path, workers: str) -> None:
    """By the sender's own record, small and large objects with equal bytes; and once more, with what came since."""
    paths = [write_objects(tmp_path / str(study), study, 250) for study in range(3)]
    for study, of_study in enumerate(paths):
        of_study[100:100] = write_objects(tmp_path / str(study), study, 3, 1 << 20, first=1001)
    digests = {
        uid(study, int(path.stem)): digest(data_set_of(path))
        for study, of_study in enumerate(paths)
        for path in of_study
    }
    with serving(tmp_path / "node", "--workers", workers) as node:
        senders = [_Sender(node.address, each) for each in paths]
        for sender in senders:
            sender.start()
        wait_until(lambda: all(len(sender.acknowledged) > 120 for sender in senders), 60, "enough is stored")
        before = [each for sender in senders for each in list(sender.acknowledged)]
        # From another folder, which the node does not know.
        first = run("backup", "backup", "--data", node.store, "--json", cwd=tmp_path)
        assert first.returncode == 0, first
        summary = json.loads(first.stdout)["summary"]
        assert summary["objects"] >= len(before)
        restored = run("restore", tmp_path / "backup", "--data", tmp_path / "first")
        assert (restored.returncode, restored.stderr) == (0, "")
        objects = stored(tmp_path / "first")
        assert set(before) <= objects.keys()
        assert objects.items() <= digests.items()
        for sender in senders:
            sender.join()
        second = json.loads(run("backup", tmp_path / "backup", "--data", node.store, "--json").stdout)[
            "summary"
        ]
        assert second["copied"] == len(digests) - summary["objects"]
        node.end()
    assert run("restore", tmp_path / "backup", "--data", tmp_path / "second").returncode == 0
    assert stored(tmp_path / "second") == digests == stored(node.store)
    # It serves at once, and finds what is there.
    with serving(tmp_path / "again", "--data", str(tmp_path / "second")) as node, Peer(node.address) as peer:
        found = {
            str(each.NumberOfStudyRelatedInstances)
            for each in peer.find("study", NumberOfStudyRelatedInstances="")
        }
        assert found == {"253"}


def _archive(folder: Path, studies: int = 2, count: int = 60) -> Path:
    paths = [
        path for study in range(studies) for path in write_objects(folder / "in" / str(study), study, count)
    ]
    with serving(folder) as node:
        with Peer(node.address) as peer:
            assert all(each.is_stored for each in peer.store(list(map(str, paths))))
        node.end()
    return folder / "store"


def _killed(arguments: list[str | os.PathLike[str]], folder: Path, count: int) -> None:
    """Run a command, and kill it when a folder has so many files."""
    with subprocess.Popen(dicomnet(*arguments), env=TOOL_ENVIRONMENT) as process:
        wait_until(lambda: len(list(folder.rglob("*.dcm"))) >= count, 60, "some files are copied")
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait(20)


def test_kill_9_in_the_middle_of_a_backup_and_of_a_restore(tmp_path: Path) -> None:
    store = _archive(tmp_path, count=300)
    backup, new = tmp_path / "backup", tmp_path / "new"
    slow = ["--rate", "200kB/s"]
    _killed(["backup", backup, "--data", store, *slow], backup / "objects", 200)
    said = complaint(run("restore", backup, "--data", new), 1)
    assert said.startswith(f"dicomnet restore: the backup {backup} is not complete")
    left = len(list((backup / "objects").rglob("*.dcm")))
    summary = json.loads(run("backup", backup, "--data", store, "--json").stdout)["summary"]
    # Some may have got their names, and not yet their lines in the manifest.
    assert summary["objects"] == 600
    assert 601 - left <= summary["copied"] < 600
    assert not list((backup).glob("*.part"))
    assert not (backup / "copies").exists()
    _killed(["restore", backup, "--data", new, *slow], new / "objects", 250)
    assert len(stored(new)) < 600
    restored = run("restore", backup, "--data", new)
    assert (restored.returncode, restored.stderr) == (0, "")
    assert stored(new) == stored(store)
    assert run("check", "--data", new).stdout.endswith("nothing found\n")


def test_what_is_said(tmp_path: Path) -> None:
    store = _archive(tmp_path, count=3)
    backup, new = tmp_path / "backup", tmp_path / "new"
    done = run("backup", backup, "--data", store)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("6 objects in the backup, 7 files (0.0 MB) copied: nothing found\n")
    copy = next((backup / "objects").rglob("*.dcm"))
    copy.write_bytes(copy.read_bytes()[:-1] + b"x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("x")
    assert complaint(run("restore", backup, "--data", tmp_path / "other"), 1).endswith(
        "is not empty: a backup is restored into a new folder"
    )
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["notes.txt"]
    restored = run("restore", backup, "--data", new)
    assert restored.returncode == 1
    where = copy.relative_to(backup).as_posix()
    assert restored.stderr == (
        f"changed: {where}: the content of a file is not what was received (SHA-256)"
        " (the file in the backup is not what was copied into it): NOT restored\n"
    )
    assert restored.stdout.startswith("5 objects and 0 entries of the ledger restored, ")
    assert restored.stdout.endswith(": 1 changed; NOT restored: 1 file\n")
    assert len(stored(new)) == 5


def test_a_backup_that_has_no_room_says_so(tmp_path: Path) -> None:
    store = _archive(tmp_path, count=3)
    limited = f"ulimit -f 1; exec {' '.join(dicomnet('backup', tmp_path / 'backup', '--data', store))}"
    result = subprocess.run(
        ["bash", "-c", limited], capture_output=True, text=True, env=TOOL_ENVIRONMENT, timeout=60, check=False
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.count("\n") == 1
