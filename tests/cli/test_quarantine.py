"""`dicomnet quarantine`: what is in it, how it differs, and what becomes of it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import MRImageStorage
from tests.cli.command import complaint, run
from tests.cli.conftest import CT, MR
from tests.support import TOOL_ENVIRONMENT, data_set_of, serving

from dicomnet import Peer
from dicomnet.archive.entries import Outcome, Quarantined, Source
from dicomnet.archive.ledger.ledger import Ledger, ledger_url
from dicomnet.archive.quarantine import Quarantine

UID = str(dcmread(CT).SOPInstanceUID)


def _other(folder: Path, **values: Any) -> Path:
    """The object of a test file with other values."""
    data_set = dcmread(CT)
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    path = folder / "other.dcm"
    data_set.save_as(path)
    return path


def _names(folder: Path) -> list[str]:
    with serving(folder) as node, Peer(f"127.0.0.1:{node.port}") as peer:
        return sorted(str(each.PatientName) for each in peer.find("study", PatientName=""))


@pytest.fixture(scope="module", params=["same study", "another study"])
def left(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """What a node has left: one object, and another one with its SOP Instance UID in quarantine."""
    folder = tmp_path_factory.mktemp("left")
    other = {} if request.param == "same study" else {"StudyInstanceUID": "1.2.3.4"}
    with serving(folder) as node, Peer(f"127.0.0.1:{node.port}") as peer:
        list(peer.store([str(CT), str(MR)]))
        list(peer.store([str(_other(folder, PatientName="Other^Name", **other))]))
    return node.store


@pytest.fixture
def store(tmp_path: Path, left: Path) -> Path:
    """A copy of it for each test."""
    shutil.copytree(left, tmp_path / "store", ignore=shutil.ignore_patterns("control"))
    return tmp_path / "store"


def _listed(store: Path, *words: str) -> list[dict[str, Any]]:
    result = run("quarantine", "list", *words, "--data", store, "--json")
    assert (result.stderr, result.returncode) == ("", 0)
    return [json.loads(line) for line in result.stdout.splitlines()]


def _objects(store: Path, folder: str = "objects") -> dict[str, bytes]:
    return {path.stem: data_set_of(path) for path in (store / folder).rglob("*.dcm")}


def test_what_is_in_it_is_listed(store: Path) -> None:
    (found,) = _listed(store)
    assert found["sop_instance_uid"] == UID
    assert hashlib.sha256(Path(found["path"]).read_bytes()).hexdigest() == found["id"]
    assert _listed(store, UID) == [found]
    assert _listed(store, "1.2.3") == []


def test_options_may_stand_before_the_object(store: Path) -> None:
    (found,) = _listed(store)
    shown = [
        run("quarantine", "show", "--data", store, UID),
        run("quarantine", "show", UID, "--data", store),
    ]
    assert shown[0].stdout == shown[1].stdout
    assert [each.returncode for each in shown] == [0, 0]
    assert run("quarantine", "drop", "--data", store, found["id"]).returncode == 0
    assert _listed(store) == []


def test_what_the_ledger_knows_is_listed(store: Path) -> None:
    reason = "another object with this SOP Instance UID is stored"
    (before,) = _listed(store)
    assert (before["reason"], before["status"], before["arrivals"]) == (reason, 0xB000, 1)
    assert (before["ae_title"], before["address"], before["way"]) == ("DICOMNET", "127.0.0.1", "C-STORE")
    location = Path(before["path"]).relative_to(store).as_posix()
    with Ledger(ledger_url(store)) as ledger:
        for _ in range(2):
            ledger.quarantined(
                Quarantined(
                    UID,
                    location,
                    before["id"],
                    before["size"],
                    reason="another object has it",
                    status=0xB000,
                    source=Source("CT1", "10.0.0.7", "C-STORE"),
                )
            )
    (found,) = _listed(store)
    # It tells of its first arrival.
    assert (found["reason"], found["status"], found["arrivals"]) == (reason, 0xB000, 3)
    assert (found["ae_title"], found["address"], found["way"]) == ("DICOMNET", "127.0.0.1", "C-STORE")


def test_an_older_store_has_no_reasons(store: Path) -> None:
    for path in store.glob("ledger.sqlite*"):
        path.unlink()
    (found,) = _listed(store)
    assert (found["reason"], found["status"], found["ae_title"]) == ("unknown", None, None)


def test_the_difference_is_shown(store: Path) -> None:
    (found,) = _listed(store)
    result = run("quarantine", "show", found["id"][:8], "--data", store)
    assert (result.stderr, result.returncode) == ("", 0)
    rows = {row["attribute"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert rows.pop("PatientName") == {
        "attribute": "PatientName",
        "stored": str(dcmread(CT).PatientName),
        "quarantined": "Other^Name",
    }
    assert set(rows) <= {"StudyInstanceUID"}


def test_what_is_dropped_is_gone_and_recorded(store: Path) -> None:
    (found,) = _listed(store)
    before = _objects(store)
    result = run("quarantine", "drop", UID, "--data", store)
    assert (result.stdout.split()[0], result.returncode) == ("dropped:", 0)
    assert not Path(found["path"]).exists()
    assert _listed(store) == []
    assert _objects(store) == before
    with Ledger(ledger_url(store)) as ledger:
        (recorded,) = ledger.quarantine(ended=True)
    assert (recorded.digest, recorded.outcome) == (found["id"], Outcome.DROPPED)


def test_what_is_released_is_stored_and_the_other_kept(store: Path) -> None:
    (found,) = _listed(store)
    wanted, before = data_set_of(Path(found["path"])), _objects(store)
    result = run("quarantine", "release", UID, "--data", store)
    assert (result.stderr, result.returncode) == ("", 0)
    assert _objects(store) == before | {UID: wanted}
    assert len(list((store / "objects").rglob("*.dcm"))) == 2
    assert (_listed(store), _objects(store, "quarantine")) == ([], {})
    with Ledger(ledger_url(store)) as ledger:
        (recorded,) = ledger.quarantine(ended=True)
        (version,) = ledger.versions(UID)
    assert recorded.outcome is Outcome.RELEASED
    assert data_set_of(store / version.location) == before[UID]
    assert hashlib.sha256((store / version.location).read_bytes()).hexdigest() == version.digest
    assert (store / "lock").read_text() == "at rest\n"
    assert _names(store.parent) == sorted(["Other^Name", str(dcmread(MR).PatientName)])


def test_while_a_node_runs_nothing_is_released_but_all_else_works(store: Path, tmp_path: Path) -> None:
    with serving(tmp_path):
        (found,) = _listed(store)
        assert run("quarantine", "show", UID, "--data", store).returncode == 0
        said = complaint(run("quarantine", "release", UID, "--data", store), 1)
        assert "another process has the store" in said
        assert _listed(store) == [found]
        assert run("quarantine", "drop", UID, "--data", store).returncode == 0
        assert _listed(store) == []


def test_a_damaged_file_is_not_released(store: Path) -> None:
    (found,) = _listed(store)
    before = _objects(store)
    path = Path(found["path"])
    path.write_bytes(path.read_bytes()[:-100])
    assert "peer" not in complaint(run("quarantine", "release", UID, "--data", store), 1)
    assert _objects(store) == before
    assert len(_listed(store)) == 1


def test_what_is_not_there(store: Path, tmp_path: Path) -> None:
    for word in ("ffffffffffff", "1.2.3"):
        assert word in complaint(run("quarantine", "show", word, "--data", store), 1)
    complaint(run("quarantine", "list", "--data", tmp_path / "nothing"), 1)
    assert not (tmp_path / "nothing").exists()
    complaint(run("quarantine", "show", "--data", store), 2)


def test_what_the_intake_refuses_leaves_the_stored_object_as_it_was(store: Path) -> None:
    (found,) = _listed(store)
    data_set = dcmread(found["path"])
    data_set.file_meta.MediaStorageSOPClassUID = MRImageStorage
    data_set.save_as(found["path"])
    before = _objects(store)
    said = complaint(run("quarantine", "release", UID, "--data", store), 1)
    assert "SOP Class UID is not that of the command" in said
    assert _objects(store) == before
    assert (store / "lock").read_text() == "at rest\n"
    assert _names(store.parent) == sorted(str(dcmread(path).PatientName) for path in (CT, MR))


# Releases an object in one copy of a store after the other, each time in a process that dies at the next change of the
# folders, until one is not killed any more.
_KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from dicomnet.archive.quarantine import Quarantine
store, folder, uid = sys.argv[1:]
def release(copy, left):
    def count(event, arguments):
        nonlocal left
        if event in ("os.remove", "os.link") or (event == "os.mkdir" and "ledger" not in str(arguments[0])):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
    quarantine = Quarantine(copy)
    found = quarantine.objects(uid)
    sys.addaudithook(count)
    for each in found:
        quarantine.release(each)
    quarantine.close()
status, copies = None, 0
while status != 0:
    copies += 1
    copy = Path(folder, f"copy{copies}")
    shutil.copytree(store, copy, ignore=shutil.ignore_patterns("control"))
    if not (process := os.fork()):
        release(copy, copies)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert status in (0, -signal.SIGKILL), status
print(copies)
"""


def test_a_release_that_is_killed_loses_nothing_and_can_be_done_again(store: Path, tmp_path: Path) -> None:
    (found,) = _listed(store)
    wanted, before = data_set_of(Path(found["path"])), _objects(store)
    command = [sys.executable, "-c", _KILLED, str(store), str(tmp_path), UID]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=TOOL_ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    copies = int(done.stdout)
    assert copies > 5
    for number in range(1, copies + 1):
        copy = tmp_path / f"copy{number}"
        contents = [data_set_of(path) for path in copy.rglob("*.dcm")]
        assert wanted in contents
        assert before[UID] in contents
        with closing(Quarantine(copy)) as quarantine:
            for each in quarantine.objects():
                quarantine.release(each)
            assert quarantine.objects() == []
        assert _objects(copy) == before | {UID: wanted}
        assert _objects(copy, "quarantine") == {}
        assert before[UID] in _objects(copy, "versions").values()
        with Ledger(ledger_url(copy)) as ledger:
            assert Outcome.RELEASED in {each.outcome for each in ledger.quarantine(ended=True)}
            assert list(ledger.versions(UID))
