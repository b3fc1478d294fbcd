"""`dicomnet store`: what arrives at the peer, and what is told of each file."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import threading
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pydicom
import pytest
from tests.cli.command import complaint, run, run_on_terminal
from tests.cli.conftest import CT, MR, TEST_FILES, StartPeer, StoreSCP
from tests.faults.objects import write_objects
from tests.support import data_set_of, free_port

from dicomnet import evt

COMPRESSED = TEST_FILES / "JPEG2000.dcm"
UIDS = {str(pydicom.dcmread(path).SOPInstanceUID) for path in (CT, MR)}


def test_files_and_folders_arrive(storescp: StoreSCP, study: Path) -> None:
    result = run("store", storescp.address, study)
    assert result.returncode == 0
    assert storescp.received() == UIDS
    assert result.stdout.startswith("sent 2 (0 with warnings), skipped 2, failed 0: ")
    skipped = result.stderr.splitlines()
    assert [line.partition(": ")[0] for line in skipped] == ["skipped", "skipped"]
    assert f"skipped: {study / 'notes.txt'}: not a DICOM file" in skipped


def test_they_arrive_unchanged(start_peer: StartPeer) -> None:
    received: list[bytes] = []

    def store(event: Any) -> int:
        received.append(event.request.DataSet.getvalue())
        return 0

    port = start_peer([(evt.EVT_C_STORE, store)])
    assert run("store", f"127.0.0.1:{port}", CT, COMPRESSED).returncode == 0
    assert sorted(received) == sorted(map(data_set_of, (CT, COMPRESSED)))


def test_verbose_names_every_file_and_quiet_none(storescp: StoreSCP) -> None:
    verbose = run("store", storescp.address, CT, "-v")
    assert f"stored: {CT}\n" in verbose.stderr
    quiet = run("store", storescp.address, CT, __file__, "-q")
    assert (quiet.stdout, quiet.stderr, quiet.returncode) == ("", "", 0)


def test_json_is_a_line_for_each_file(storescp: StoreSCP, study: Path) -> None:
    result = run("store", storescp.address, study, COMPRESSED, "--json")
    assert result.returncode == 1
    lines = {line["path"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert {path: line["outcome"] for path, line in lines.items()} == {
        str(study / "ct.dcm"): "stored",
        str(study / "series" / "mr"): "stored",
        str(study / "notes.txt"): "skipped",
        str(study / "empty"): "skipped",
        # storescp accepts no compressed transfer syntax unless it is told to.
        str(COMPRESSED): "failed",
    }
    assert lines[str(study / "ct.dcm")] == {
        "path": str(study / "ct.dcm"),
        "outcome": "stored",
        "status": 0,
        "sop_instance_uid": str(pydicom.dcmread(CT).SOPInstanceUID),
        "comment": None,
        "bytes": len(data_set_of(CT)),
        "member": None,
    }
    assert lines[str(COMPRESSED)]["status"] is None
    assert "presentation context" in lines[str(COMPRESSED)]["comment"]
    assert result.stderr.startswith("sent 2 ")


def test_a_refused_object_fails_and_a_warning_does_not(start_peer: StartPeer) -> None:
    statuses = {
        str(pydicom.dcmread(CT).SOPInstanceUID): 0xA700,
        str(pydicom.dcmread(MR).SOPInstanceUID): 0xB000,
    }

    def store(event: Any) -> int:
        return statuses[event.request.AffectedSOPInstanceUID]

    port = start_peer([(evt.EVT_C_STORE, store)])
    result = run("store", f"127.0.0.1:{port}", CT, MR)
    assert result.returncode == 1
    assert result.stdout.startswith("sent 1 (1 with warnings), skipped 0, failed 1: ")
    lines = sorted(result.stderr.splitlines())
    assert lines[0].startswith(f"failed: {CT}: ")
    assert lines[0].endswith("(status 0xA700)")
    assert lines[1].startswith(f"warning: {MR}: ")
    assert run("store", f"127.0.0.1:{port}", MR).returncode == 0


@pytest.mark.parametrize("status", [0x0001, 0x0107, 0x0116])
def test_a_warning_that_all_services_share_was_a_failure(start_peer: StartPeer, status: int) -> None:
    """The peer has the object (PS3.7 section C.4); the line said "failed", and "warning" in the words of the status."""
    port = start_peer([(evt.EVT_C_STORE, lambda event: status)])
    result = run("store", f"127.0.0.1:{port}", CT)
    assert result.returncode == 0
    assert result.stdout.startswith("sent 1 (1 with warnings), skipped 0, failed 0: ")
    assert result.stderr.startswith(f"warning: {CT}: ")


def test_nothing_but_skipped_files_is_a_failure(start_peer: StartPeer) -> None:
    result = run("store", f"127.0.0.1:{start_peer()}", __file__)
    assert result.returncode == 1
    assert result.stderr.endswith("dicomnet store: there is no DICOM file to send\n")


def test_an_empty_folder_is_a_failure(start_peer: StartPeer, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run("store", f"127.0.0.1:{start_peer()}", tmp_path / "empty").returncode == 1


def test_a_path_that_does_not_exist_kept_the_others_from_being_sent(
    storescp: StoreSCP, tmp_path: Path
) -> None:
    """It is named before the first object is sent, and has a row of its own everywhere."""
    missing, archive = tmp_path / "missing.dcm", tmp_path / "missing.zip"
    report = tmp_path / "report.jsonl"
    arguments = ("store", storescp.address, CT, missing, MR, archive, "--report", report)
    foretold = run(*arguments, "--dry-run", "--json")
    assert [json.loads(each)["outcome"] for each in foretold.stdout.splitlines()] == [
        "failed",
        "failed",
        "planned",
        "planned",
    ]
    result = run(*arguments)
    assert [foretold.returncode, result.returncode] == [1, 1]
    assert result.stdout.startswith("sent 2 (0 with warnings), skipped 0, failed 2: ")
    lines = result.stderr.splitlines()
    assert lines[0] == f"failed: {missing}: cannot be read: No such file or directory"
    assert lines[1].startswith(f"failed: {archive}: ")
    assert lines[1].endswith("No such file or directory")
    assert len(lines) == 2
    rows = [json.loads(each) for each in report.read_text().splitlines()]
    assert [(each["outcome"], each["status"]) for each in rows] == [("failed", None)] * 2 + [
        ("stored", 0)
    ] * 2
    assert len(storescp.received()) == 2


def test_paths_of_which_none_exists_call_nobody(tmp_path: Path) -> None:
    result = run("store", "127.0.0.1:1", tmp_path / "missing.dcm", tmp_path / "nothing")
    assert result.returncode == 1
    assert result.stdout.startswith("sent 0 (0 with warnings), skipped 0, failed 2: ")
    assert [each.partition(":")[0] for each in result.stderr.splitlines()] == ["failed", "failed"]
    screen = run_on_terminal("store", "127.0.0.1:1", tmp_path / "missing.dcm")
    assert screen.returncode == 1
    assert "missing.dcm: cannot be read: No such file or directory\n" in screen.text


def test_a_file_name_does_not_steer_the_terminal(storescp: StoreSCP, tmp_path: Path) -> None:
    strange = tmp_path / "a\x1b[2J\n.txt"
    strange.write_text("no image")
    result = run("store", storescp.address, CT, strange)
    assert result.stderr == f"skipped: {tmp_path}/a\\x1b[2J\\n.txt: not a DICOM file\n"


def test_an_association_that_is_lost_fails_what_had_no_answer(start_peer: StartPeer) -> None:
    def store(event: Any) -> int:
        event.assoc.abort()
        return 0

    port = start_peer([(evt.EVT_C_STORE, store)])
    result = run("store", f"127.0.0.1:{port}", CT)
    assert result.returncode == 1
    assert f"failed: {CT}: association aborted" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("window", "most"), [("1", 1), ("4", 4)])
def test_the_window_is_proposed(start_peer: StartPeer, tmp_path: Path, window: str, most: int) -> None:
    proposed: list[int] = []

    def windows(event: Any) -> tuple[int, int]:
        proposed.append(event.nr_invoked)
        return event.nr_invoked, event.nr_performed

    port = start_peer([(evt.EVT_C_STORE, lambda event: 0), (evt.EVT_ASYNC_OPS, windows)])
    assert run("store", f"127.0.0.1:{port}", CT, MR, "--window", window).returncode == 0
    assert proposed == ([most] if most > 1 else [])


@pytest.mark.parametrize("rich", [True, False], ids=["rich", "plain"])
def test_progress_is_shown_on_a_terminal(start_peer: StartPeer, tmp_path: Path, rich: bool) -> None:
    for number in range(5):
        shutil.copy(CT, tmp_path / f"{number}.dcm")
    (tmp_path / "notes.txt").write_text("no image")
    port = start_peer([(evt.EVT_C_STORE, lambda event: 0)])
    screen = run_on_terminal("store", f"127.0.0.1:{port}", tmp_path, rich=rich)
    assert screen.returncode == 0
    assert ("6/6" if rich else "1 of 6 files") in screen.text
    assert f"skipped: {tmp_path / 'notes.txt'}: not a DICOM file\n" in screen.text
    assert screen.text.rstrip().splitlines()[-1].endswith("objects/s)")
    assert "sent 5 (0 with warnings), skipped 1, failed 0: " in screen.text


@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_no_progress_where_it_would_disturb(start_peer: StartPeer, option: str) -> None:
    port = start_peer([(evt.EVT_C_STORE, lambda event: 0)])
    screen = run_on_terminal("store", f"127.0.0.1:{port}", CT, option)
    assert screen.returncode == 0
    assert "\x1b" not in screen.raw
    assert "1/1" not in screen.text


def test_ctrl_c_tells_what_was_sent(start_peer: StartPeer) -> None:
    """The second object is never answered, so the command is in the middle when the signal comes."""
    import signal
    import subprocess

    from tests.support import dicomnet

    second, gone = threading.Event(), threading.Event()
    seen: list[str] = []

    def store(event: Any) -> int:
        seen.append(event.request.AffectedSOPInstanceUID)
        if len(seen) == 2:
            second.set()
            gone.wait(20)
        return 0

    port = start_peer([(evt.EVT_C_STORE, store)])
    command = dicomnet("store", f"127.0.0.1:{port}", CT, MR, "--window", "1")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert second.wait(20)
        process.send_signal(signal.SIGINT)
        written, complained = process.communicate(timeout=20)
    gone.set()
    assert written.startswith("sent 1 (0 with warnings), skipped 0, failed 0: ")
    assert (complained, process.returncode) == ("dicomnet store: interrupted\n", 130)


def test_several_associations_side_by_side(start_peer: StartPeer) -> None:
    """Neither object is answered before both have come."""
    together = threading.Barrier(2, timeout=20)

    def store(event: Any) -> int:
        together.wait()
        return 0

    port = start_peer([(evt.EVT_C_STORE, store)])
    done = run("store", f"127.0.0.1:{port}", CT, MR, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sent 2 (0 with warnings), skipped 0, failed 0: ")


def test_ctrl_c_ends_all_associations(start_peer: StartPeer) -> None:
    import signal
    import subprocess

    from tests.support import dicomnet

    both, gone = threading.Barrier(3, timeout=20), threading.Event()

    def store(event: Any) -> int:
        both.wait()
        gone.wait(20)
        return 0

    port = start_peer([(evt.EVT_C_STORE, store)])
    command = dicomnet("store", f"127.0.0.1:{port}", CT, MR, "--jobs", "2")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        both.wait()
        process.send_signal(signal.SIGINT)
        written, complained = process.communicate(timeout=10)
    gone.set()
    assert written.startswith("sent 0 ")
    assert (complained, process.returncode) == ("dicomnet store: interrupted\n", 130)


# -- what would be sent, and reports


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a report; numbers are text in CSV."""
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(path.read_text(), newline="")))
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_dry_run_needs_no_peer_and_tells_what_would_be_sent(study: Path) -> None:
    result = run("store", "--dry-run", "P@127.0.0.1:1", study, COMPRESSED)
    assert result.returncode == 0, result.stderr
    first, *kinds, last = result.stdout.splitlines()
    assert first.startswith("would send 3: ")
    assert "skip 2, fail 0; nothing was sent" in first
    assert {tuple(line.split("  ")[2:3]) for line in kinds} == {("CTImageStorage",), ("MRImageStorage",)} | {
        (str(pydicom.dcmread(COMPRESSED).SOPClassUID.keyword),)
    }
    assert "needs 1 association with " in last
    assert f"skipped: {study / 'notes.txt'}: not a DICOM file" in result.stderr.splitlines()


def test_a_dry_run_needs_what_the_store_proposes(start_peer: StartPeer) -> None:
    proposed: list[int] = []
    port = start_peer(
        [
            (evt.EVT_REQUESTED, lambda event: proposed.append(len(event.assoc.requestor.requested_contexts))),
            (evt.EVT_C_STORE, lambda event: 0),
        ]
    )
    arguments = ("store", f"127.0.0.1:{port}", TEST_FILES)
    foretold = run(*arguments, "--dry-run", "--json")
    assert proposed == []
    lines = {line["path"]: line for line in map(json.loads, foretold.stdout.splitlines())}
    sent = {line["path"]: line for line in map(json.loads, run(*arguments, "--json").stdout.splitlines())}
    assert lines.keys() == sent.keys()
    for path, line in lines.items():
        # What is found only when it is sent: damaged pixel data, for instance.
        if line["outcome"] != "planned":
            assert line == sent[path]
        else:
            assert (line["sop_instance_uid"], line["bytes"]) == (
                sent[path]["sop_instance_uid"],
                sent[path]["bytes"],
            )
            assert sent[path]["outcome"] in ("stored", "failed")
    assert f"needs 1 association with {proposed[0]} presentation contexts" in foretold.stderr


def test_a_dry_run_with_nothing_to_send(tmp_path: Path) -> None:
    result = run("store", "--dry-run", "P@127.0.0.1:1", tmp_path)
    assert result.returncode == 1
    assert "there is no DICOM file to send" in result.stderr


@pytest.mark.parametrize("name", ["sent.csv", "sent.jsonl"])
def test_a_report_has_a_row_for_each_file(storescp: StoreSCP, study: Path, tmp_path: Path, name: str) -> None:
    report = tmp_path / name
    report.write_text("path,outcome,status\n" if name.endswith("csv") else '{"path": "a"}\n')
    odd = study / 'a "quoted", name\u00fc.txt'
    odd.write_text("no DICOM")
    # It ended the store.
    (study / os.fsdecode(b"M\xfcller.txt")).write_text("no DICOM")
    result = run("store", storescp.address, study, COMPRESSED, "--json", "--report", report)
    assert result.returncode == 1
    told = list(map(json.loads, result.stdout.splitlines()))
    rows = rows_of(report)
    if name.endswith("csv"):
        told = [
            {
                key: "" if value is None else str(value).encode("utf-8", "backslashreplace").decode()
                for key, value in line.items()
            }
            for line in told
        ]
    assert rows == told
    assert {row["outcome"] for row in rows} == {"stored", "skipped", "failed"}


def test_a_report_that_cannot_be_written_is_known_before_anything_is_sent(tmp_path: Path) -> None:
    complained = complaint(run("store", "P@127.0.0.1:1", CT, "--report", tmp_path / "no" / "report.csv"), 1)
    assert "report.csv" in complained


def test_a_rate_is_kept(start_peer: StartPeer, tmp_path: Path) -> None:
    """Between the first object and the last there are 40 steps of 1/40 s."""
    arrivals: list[float] = []

    def store(event: Any) -> int:
        arrivals.append(monotonic())
        return 0

    write_objects(tmp_path / "study", 1, 41)
    port = start_peer([(evt.EVT_C_STORE, store)])
    done = run("store", f"127.0.0.1:{port}", tmp_path / "study", "--rate", "40/s", "--window", "4")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(arrivals) == 41
    assert 0.9 <= arrivals[-1] - arrivals[0] <= 5


def test_what_is_no_rate_and_no_part_of_the_day() -> None:
    result = run("store", "P@127.0.0.1:1", CT, "--rate", "50")
    assert result.returncode == 2
    assert "'50' is not a rate" in result.stderr
    result = run("store", "P@127.0.0.1:1", CT, "--between", "night")
    assert result.returncode == 2
    assert "'night' is not a part of the day" in result.stderr


def test_ctrl_c_ends_the_wait_for_the_time_of_day(start_peer: StartPeer) -> None:
    import signal
    import subprocess

    from tests.support import dicomnet

    begin = datetime.now() + timedelta(hours=12)
    times = f"{begin:%H:%M}-{begin + timedelta(hours=1):%H:%M}"
    opened: list[Any] = []
    port = start_peer([(evt.EVT_CONN_OPEN, opened.append)])
    command = dicomnet("store", f"127.0.0.1:{port}", CT, "--between", times)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == f"dicomnet store: nothing is sent until {begin:%H:%M}\n"
        process.send_signal(signal.SIGINT)
        written, complained = process.communicate(timeout=20)
    assert written.startswith("sent 0 ")
    assert (complained, process.returncode) == ("dicomnet store: interrupted\n", 130)
    assert opened == []


def test_a_journal(storescp: StoreSCP, study: Path, tmp_path: Path) -> None:
    arguments = ("store", storescp.address, study, "--journal", str(tmp_path / "sent.db"))
    first = run(*arguments, "-q")
    assert (first.returncode, first.stdout, first.stderr) == (0, "", "")
    for path in storescp.folder.iterdir():
        path.unlink()
    again = run(*arguments, "--json")
    assert again.returncode == 0
    lines = {line["path"]: line for line in map(json.loads, again.stdout.splitlines())}
    assert {path: line["outcome"] for path, line in lines.items()} == {
        str(study / "ct.dcm"): "stored before",
        str(study / "series" / "mr"): "stored before",
        str(study / "notes.txt"): "skipped",
        str(study / "empty"): "skipped",
    }
    assert lines[str(study / "ct.dcm")]["status"] == 0
    assert lines[str(study / "ct.dcm")]["sop_instance_uid"] in UIDS
    assert storescp.received() == set()
    assert again.stderr.splitlines()[-1].startswith(
        "sent 0 (0 with warnings), stored before 2, skipped 2, failed 0: "
    )
    # What has changed is sent again, and so is what is new.
    (study / "ct.dcm").touch()
    shutil.copy(COMPRESSED, study / "new.dcm")
    third = run(*arguments)
    assert third.returncode == 1
    assert third.stdout.startswith("sent 1 (0 with warnings), stored before 1, skipped 2, failed 1: ")
    assert storescp.received() == {str(pydicom.dcmread(CT).SOPInstanceUID)}


def test_a_journal_that_cannot_be_used(storescp: StoreSCP, study: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no journal")
    result = run("store", storescp.address, study, "--journal", tmp_path / "text")
    line = complaint(result, 1)
    assert line.startswith(
        f"dicomnet store: the journal {tmp_path / 'text'} cannot be used: it is no journal, "
    )
    assert storescp.received() == set()
    both = run("store", storescp.address, study, "--journal", tmp_path / "sent.db", "--dry-run")
    assert complaint(both, 2).startswith("dicomnet store: --dry-run does not go with --journal")


def test_a_peer_that_is_not_there_is_tried_again(tmp_path: Path) -> None:
    result = run("store", f"P@127.0.0.1:{free_port()}", CT, "--retry", "1")
    assert (result.returncode, result.stdout) == (1, "")
    told, failed = result.stderr.splitlines()
    assert told.endswith("; tried again in 1 s (1 of 1)")
    assert told.removesuffix("; tried again in 1 s (1 of 1)") == failed


def test_ctrl_c_ends_the_wait_for_a_peer() -> None:
    import signal
    import subprocess

    from tests.support import dicomnet

    command = dicomnet("store", f"P@127.0.0.1:{free_port()}", CT, "--retry", "9")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for tries in range(1, 4):
            assert f"({tries} of 9)" in process.stderr.readline()
        # The wait that has begun is one of 4 s.
        begin = monotonic()
        process.send_signal(signal.SIGINT)
        _, complained = process.communicate(timeout=20)
    assert (complained, process.returncode) == ("dicomnet store: interrupted\n", 130)
    assert monotonic() - begin < 3


def test_a_report_does_not_take_the_place_of_an_image(study: Path) -> None:
    """It was replaced before it was sent, and gone."""
    before = (study / "ct.dcm").read_bytes()
    complained = complaint(run("store", "P@127.0.0.1:1", study, "--report", study / "ct.dcm"), 2)
    assert "what is there is no report" in complained
    assert (study / "ct.dcm").read_bytes() == before


def test_a_report_that_gets_no_space_says_so_and_what_was_sent(start_peer: StartPeer) -> None:
    """The command ended with nothing but the reason, and nobody knew what the peer had."""
    port = start_peer([(evt.EVT_C_STORE, lambda event: 0)])
    result = run("store", f"127.0.0.1:{port}", CT, MR, "--report", "/dev/full")
    assert result.returncode == 1
    assert result.stdout.startswith("sent 1 ")
    assert "/dev/full: no space left" in result.stderr


def test_a_file_that_was_written_to_while_it_was_sent_is_sent_again(
    start_peer: StartPeer, tmp_path: Path
) -> None:
    """The journal has the state of what was read, not of what lies there when the answer has come."""
    image = tmp_path / "image.dcm"
    shutil.copy(CT, image)
    came: list[str] = []

    def take(event: Any) -> int:
        came.append(event.request.AffectedSOPInstanceUID)
        if len(came) == 1:
            os.utime(image, ns=(0, 1))
        return 0

    arguments = (
        "store",
        f"127.0.0.1:{start_peer([(evt.EVT_C_STORE, take)])}",
        image,
        "--journal",
        tmp_path / "j",
    )
    assert [run(*arguments).returncode for _ in range(3)] == [0, 0, 0]
    assert len(came) == 2
