"""`dicomnet check`: by the command and by a node, also while a sender stores."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from tests.cli.command import run
from tests.cli.conftest import CT, MR
from tests.faults.objects import write_objects
from tests.support import TOOL_ENVIRONMENT, dicomnet, serving, stored

from dicomnet import Peer


def _filled(folder: Path) -> Path:
    with serving(folder) as node:
        with Peer(node.address) as peer:
            assert all(each.is_stored for each in peer.store([str(CT), str(MR)]))
        node.end()
    return folder / "store"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of two objects, which no test changes."""
    return _filled(tmp_path_factory.mktemp("filled"))


def test_what_is_found_is_a_line_each_and_the_exit_status(tmp_path: Path) -> None:
    store = _filled(tmp_path)
    nothing = run("check", "--data", store)
    assert (nothing.returncode, nothing.stderr) == (0, "")
    assert nothing.stdout.startswith("2 objects checked, ")
    assert nothing.stdout.endswith(" MB read: nothing found\n")
    (path,) = (
        (store / "objects").rglob("*.2.1.1.1.dcm") if False else list((store / "objects").rglob("*.dcm"))[:1]
    )
    path.write_bytes(path.read_bytes()[:-2] + b"xx")
    found = run("check", "--data", store)
    assert found.returncode == 1
    where = f"{path.parent.parent.name}/{path.parent.name}/{path.stem}"
    what = "the content of a file is not what was received (SHA-256)"
    assert found.stderr == f"changed: {where}: {what}\n"
    repaired = run("check", "--data", store, "--repair", "--json")
    assert (repaired.returncode, repaired.stderr) == (1, "")
    item, last = map(json.loads, repaired.stdout.splitlines())
    assert (item["finding"], item["outcome"], item["sop_instance_uid"]) == (
        "changed",
        "quarantined",
        path.stem,
    )
    assert last["summary"]["found"] == {"changed": 1}
    assert run("check", "--data", store).returncode == 0
    # It can be stored again, and is then the object again.
    assert [path.name for path in (store / "quarantine").iterdir()] == [path.stem]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--rate", "fast"), "is not a rate"),
        (("--study", "x"), "is not a UID"),
        (("--rate", "0"), "not a rate"),
    ],
)
def test_what_makes_no_sense_is_refused(filled: Path, option: tuple[str, str], said: str) -> None:
    result = run("check", "--data", filled, *option)
    assert result.returncode == 2
    assert said in result.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_objects_that_arrive_meanwhile_are_no_finding(tmp_path: Path, workers: str) -> None:
    """Checks by the node, one after the other, from the first object that is stored to the last."""
    paths = [write_objects(tmp_path / str(study), study, 200) for study in range(2)]
    with serving(tmp_path, "--workers", workers) as node:
        results: list[bool] = []

        def send(of_study: list[Path]) -> None:
            with Peer(node.address) as peer:
                results.extend(each.is_stored for each in peer.store(list(map(str, of_study))))

        senders = [threading.Thread(target=send, args=(each,)) for each in paths]
        for sender in senders:
            sender.start()
        checked: list[int] = []
        while any(sender.is_alive() for sender in senders) or len(checked) < 3:
            check = run("check", "--data", node.store, "--json", "--repair")
            assert check.returncode == 0, check.stdout
            checked.append(json.loads(check.stdout)["summary"]["checked"])
        for sender in senders:
            sender.join()
        assert results == [True] * 400
        assert checked == sorted(checked)
        assert json.loads(run("check", "--data", node.store, "--json").stdout)["summary"]["checked"] == 400
        assert len(stored(node.store)) == 400


def test_an_interrupted_check_says_so(tmp_path: Path) -> None:
    store = _filled(tmp_path)
    (store / "objects" / "notes.txt").write_text("x")
    with subprocess.Popen(
        dicomnet("check", "--data", store, "--rate", "1kB/s"),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=TOOL_ENVIRONMENT,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("stray: objects/notes.txt: ")
        process.send_signal(signal.SIGINT)
        _, complained = process.communicate(timeout=20)
    assert (complained, process.returncode) == ("dicomnet check: interrupted\n", 130)
    assert (store / "lock").read_bytes() == b"at rest\n"
