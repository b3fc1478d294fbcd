"""`dicomnet watch`: what arrives at the peer, and what becomes of the files, whoever dies meanwhile."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import pydicom
import pytest
from tests.cli.command import complaint, run
from tests.cli.conftest import CT, MR, StartPeer, StoreSCP
from tests.faults.objects import write_objects
from tests.support import dicomnet, free_port, is_listening, running_process, tool, wait_until

from dicomnet import evt

SETTLED = ("--settle", "0.1")
UIDS = {str(pydicom.dcmread(path).SOPInstanceUID) for path in (CT, MR)}


def names(folder: Path) -> set[str]:
    """The files in a folder, without those of the journal."""
    found = (str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())
    return {each for each in found if not each.startswith(".dicomnet-watch.db")}


@contextmanager
def watching(*arguments: str | os.PathLike[str]) -> Iterator[subprocess.Popen[str]]:
    """The command while it runs; it is killed in the end if it has not ended."""
    with subprocess.Popen(
        dicomnet("watch", *arguments, *SETTLED), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def end(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[str, str]:
    """End it in order; returns what it has said."""
    process.send_signal(number)
    said = process.communicate(timeout=20)
    assert process.returncode == 0, said
    return said


def test_what_comes_in_is_sent_and_moved(storescp: StoreSCP, study: Path, tmp_path: Path) -> None:
    done, failed = study / "done", tmp_path / "failed"
    with watching(study, storescp.address, "--done", done, "--failed", failed) as process:
        wait_until(lambda: names(done) == {"ct.dcm", "series/mr"}, what="both have been moved")
        wait_until(lambda: names(failed) == {"notes.txt", "empty"}, what="the others have been moved")
        shutil.copy(CT, study / "ct.dcm")
        wait_until(lambda: "ct (2).dcm" in names(done), what="the same object once more")
        wait_until(lambda: not (study / "ct.dcm").exists(), what="it has been moved")
        # What comes behind it is looked at when it has been counted.
        (study / "last.txt").write_text("no object")
        wait_until(lambda: "last.txt" in names(failed), what="another one has been moved")
        said, complained = end(process)
    assert storescp.received() == UIDS
    assert said.startswith("sent 3 (0 with warnings), skipped ")
    assert ", failed 0: " in said
    assert "interrupted" not in complained
    assert names(study) == {"done/ct.dcm", "done/ct (2).dcm", "done/series/mr"}
    assert (done / "ct (2).dcm").read_bytes() == CT.read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_in_order(storescp: StoreSCP, tmp_path: Path, number: int) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(CT, folder / "a")
    with watching(folder, storescp.address, "--delete", "--json") as process:
        assert process.stdout is not None
        outcomes = [json.loads(process.stdout.readline())["outcome"] for _ in range(2)]
        said, complained = end(process, number)
    assert outcomes == ["stored", "deleted"]
    assert (said, complained[:7]) == ("", "sent 1 ")
    assert names(folder) == set()


def test_once_sends_what_is_there_and_a_further_run_nothing(storescp: StoreSCP, study: Path) -> None:
    (study / "notes.txt").unlink()
    (study / "empty").unlink()
    first = run("watch", study, storescp.address, "--once", *SETTLED)
    assert (first.stdout[:7], first.returncode) == ("sent 2 ", 0)
    again = run("watch", study, storescp.address, "--once", *SETTLED)
    assert again.stdout.startswith("sent 0 (0 with warnings), stored before 2, ")
    assert again.returncode == 0
    assert names(study) == {"ct.dcm", "series/mr"}
    # What a run before has sent may be deleted by a later one, as the journal knows that it is the same.
    assert run("watch", study, storescp.address, "--once", "--delete", *SETTLED).returncode == 0
    assert names(study) == set()


def test_a_file_that_took_the_place_of_one_that_was_sent_is_not_deleted_unsent(
    storescp: StoreSCP, tmp_path: Path
) -> None:
    """It has the size and the time of the other one, and came while nobody watched."""
    folder = tmp_path / "in"
    folder.mkdir()
    path = write_objects(folder, 1, 1)[0]
    assert run("watch", folder, storescp.address, "--once", *SETTLED).returncode == 0
    before = path.stat()
    other = write_objects(tmp_path / "other", 1, 1, first=2)[0]
    assert other.stat().st_size == before.st_size
    other.replace(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    result = run("watch", folder, storescp.address, "--once", "--delete", *SETTLED)
    assert result.stdout.startswith("sent 1 ")
    assert len(storescp.received()) == 2
    assert names(folder) == set()


def test_a_file_that_changes_while_it_is_sent_stays_and_is_sent_again(
    start_peer: StartPeer, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    path = write_objects(folder, 1, 1)[0]
    other = write_objects(tmp_path / "other", 1, 1, first=2)[0]
    received: list[str] = []

    def store(event: Any) -> int:
        received.append(str(event.request.AffectedSOPInstanceUID))
        if len(received) == 1:
            other.replace(path)
        return 0

    port = start_peer([(evt.EVT_C_STORE, store)])
    with watching(folder, f"P@127.0.0.1:{port}", "--delete") as process:
        wait_until(lambda: names(folder) == set(), what="it has gone")
        end(process)
    assert len(received) == len(set(received)) == 2


def test_what_is_refused_is_told_once_and_stays(start_peer: StartPeer, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(CT, folder / "a")
    seen: list[int] = []

    def store(event: Any) -> int:
        seen.append(0)
        return 0xA900 if len(seen) == 1 else 0

    port = start_peer([(evt.EVT_C_STORE, store)])
    with watching(folder, f"P@127.0.0.1:{port}", "--delete") as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith(f"failed: {folder / 'a'}: ")
        assert line.endswith("(status 0xA900)\n")
        # Another file shows that it is looked at again, and passed over.
        shutil.copy(MR, folder / "b")
        wait_until(lambda: names(folder) == {"a"}, what="the other one has gone")
        _, complained = end(process)
    assert (complained, len(seen)) == ("", 2)


def test_out_of_resources_is_tried_again(start_peer: StartPeer, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(CT, folder / "a")
    seen: list[int] = []

    def store(event: Any) -> int:
        seen.append(0)
        return 0xA700 if len(seen) < 3 else 0

    port = start_peer([(evt.EVT_C_STORE, store)])
    with watching(folder, f"P@127.0.0.1:{port}", "--delete", "--failed", tmp_path / "failed") as process:
        wait_until(lambda: names(folder) == set(), what="it has gone")
        _, complained = end(process)
    assert len(seen) == 3
    assert complained.count("0xA700") == 1
    assert names(tmp_path / "failed") == set()


def test_a_peer_that_is_away_is_waited_for(tmp_path: Path) -> None:
    folder, received, port = tmp_path / "in", tmp_path / "received", free_port()
    received.mkdir()
    write_objects(folder, 1, 3)
    with watching(folder, f"P@127.0.0.1:{port}", "--delete") as process:
        assert process.stderr is not None
        for wait in (1, 2):
            assert process.stderr.readline().endswith(f"; tried again in {wait} s\n")
        with running_process([tool("storescp"), "-od", str(received), str(port)], tmp_path):
            wait_until(lambda: is_listening(port), what="storescp listens")
            wait_until(lambda: names(folder) == set(), what="they have gone")
            end(process)
    assert len(names(received)) == 3


def test_a_kill_and_a_restart_lose_nothing(start_peer: StartPeer, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_objects(folder, 1, 150)
    received: list[str] = []
    halfway = Event()

    def store(event: Any) -> int:
        received.append(str(event.request.AffectedSOPInstanceUID))
        if len(received) == 75:
            halfway.set()
        return 0

    peer = f"P@127.0.0.1:{start_peer([(evt.EVT_C_STORE, store)])}"
    with watching(folder, peer, "--done", tmp_path / "done") as process:
        assert halfway.wait(20)
        process.kill()
    known = set(received)
    assert {str(pydicom.dcmread(each).SOPInstanceUID) for each in (tmp_path / "done").rglob("*.dcm")} <= known
    result = run("watch", folder, peer, "--done", tmp_path / "done", "--once", *SETTLED)
    assert result.returncode == 0
    assert names(folder) == set()
    assert len(names(tmp_path / "done")) == len(set(received)) == 150


def test_a_zip_is_done_when_all_in_it_is_taken(start_peer: StartPeer, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with zipfile.ZipFile(folder / "a.zip", "w") as made:
        for each in write_objects(tmp_path / "objects", 1, 3):
            made.write(each, each.name)
    received: list[str] = []

    def store(event: Any) -> int:
        received.append(str(event.request.AffectedSOPInstanceUID))
        return 0xA700 if len(received) == 2 else 0

    port = start_peer([(evt.EVT_C_STORE, store)])
    with watching(folder, f"P@127.0.0.1:{port}", "--delete", "--window", "1") as process:
        wait_until(lambda: names(folder) == set(), what="it has gone")
        end(process)
    # The one that was not taken went twice, and by the journal the others did not.
    assert sorted(map(received.count, set(received))) == [1, 1, 2]


def test_a_zip_with_something_else_in_it_is_not_deleted(storescp: StoreSCP, tmp_path: Path) -> None:
    """Another zip in it was not sent, and was deleted with what had been."""
    folder, done = tmp_path / "in", tmp_path / "done"
    folder.mkdir()
    with zipfile.ZipFile(folder / "a.zip", "w") as made:
        made.write(CT, "ct.dcm")
        with made.open("inside.zip", "w") as file, zipfile.ZipFile(file, "w") as other:
            other.write(MR, "mr.dcm")
    result = run("watch", folder, storescp.address, "--delete", "--once", *SETTLED)
    assert result.returncode == 0
    stays = f"stays: {folder / 'a.zip'}: in it is what is not DICOM and was not sent: inside.zip"
    assert stays in result.stderr.splitlines()
    assert names(folder) == {"a.zip"}
    assert run("watch", folder, storescp.address, "--done", done, "--once", *SETTLED).returncode == 0
    assert (names(folder), names(done)) == (set(), {"a.zip"})


def test_its_own_journal_is_no_file_of_the_folder(storescp: StoreSCP, tmp_path: Path) -> None:
    folder, failed = tmp_path / "in", tmp_path / "failed"
    folder.mkdir()
    shutil.copy(CT, folder / "a")
    journal = ("--journal", folder / "sent.db", "--failed", failed)
    for _ in range(2):
        assert run("watch", folder, storescp.address, *journal, "--once", *SETTLED).returncode == 0
        assert (names(folder), names(failed)) == ({"a", "sent.db"}, set())


def test_an_archive_with_nothing_in_it_does_not_keep_it_busy(storescp: StoreSCP, tmp_path: Path) -> None:
    """It was looked into again and again, and a single run had no end."""
    folder = tmp_path / "in"
    folder.mkdir()
    zipfile.ZipFile(folder / "a.zip", "w").close()
    result = run("watch", folder, storescp.address, "--delete", "--once", *SETTLED)
    assert (names(folder), result.returncode) == ({"a.zip"}, 0)
    assert result.stderr == f"skipped: {folder / 'a.zip'}: nothing is in it\n"


def test_names_of_odd_bytes(storescp: StoreSCP, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    name = os.fsdecode(b"\xff\x80 \x1b[2J")
    shutil.copy(CT, folder / name)
    result = run("watch", folder, storescp.address, "--once", "-v", "--done", tmp_path / "done", *SETTLED)
    assert result.returncode == 0
    assert "\x1b" not in result.stderr
    assert names(tmp_path / "done") == {name}


@pytest.mark.parametrize(
    ("arguments", "status", "named"),
    [
        (["nowhere"], 1, "nowhere"),
        (["."], 1, "refused"),
        ([".", "--done", "."], 2, "--done"),
        ([".", "--failed", ".."], 2, "--failed"),
        ([".", "--done", "a", "--delete"], 2, "not allowed"),
        ([".", "--settle", "0"], 2, "0.1"),
        ([".", "--listen", "0"], 2, "--commit"),
    ],
)
def test_what_cannot_be(tmp_path: Path, arguments: list[str], status: int, named: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(CT, folder / "a")
    first, *others = arguments
    result = run("watch", first, f"P@127.0.0.1:{free_port()}", "--once", "-q", *others, cwd=folder)
    assert named in complaint(result, status)
    assert names(folder) == {"a"}


def test_a_folder_has_one_watcher(storescp: StoreSCP, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with watching(folder, storescp.address):
        wait_until((folder / ".dicomnet-watch.db").exists, what="the journal is there")
        wait_until(
            lambda: "another run uses it" in run("watch", folder, storescp.address, "--once", "-q").stderr
        )


def test_a_file_that_cannot_be_moved_is_not_sent_again(start_peer: StartPeer, tmp_path: Path) -> None:
    """It goes to another file system, where it finds no room: it is renamed and back at each try."""
    folder = tmp_path / "in"
    path = write_objects(folder, 1, 1, length=400_000)[0]
    seen: list[int] = []

    def store(event: Any) -> int:
        seen.append(0)
        return 0

    port = start_peer([(evt.EVT_C_STORE, store)])
    with TemporaryDirectory(dir="/dev/shm") as done:
        content = path.read_bytes()
        with watching(folder, f"P@127.0.0.1:{port}", "--done", done) as process:
            assert process.stderr is not None
            # Larger files than that cannot be written, until it is allowed.
            _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (300_000, most))
            assert "it stays: " in process.stderr.readline()
            before = path.stat().st_ctime_ns
            wait_until(lambda: path.exists() and path.stat().st_ctime_ns > before, what="another try")
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))
            moved = Path(done) / path.name
            # Until its copy is whole, it may be missed between two names.
            wait_until(
                lambda: moved.exists() and moved.read_bytes() == content and names(folder) == set(),
                what="it has been moved",
            )
            end(process)
        assert names(Path(done)) == {path.name}
    assert len(seen) == 1
