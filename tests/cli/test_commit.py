"""`dicomnet commit`: what pynetdicom's SCPs report, on the same association and on another one."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pynetdicom
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import association
from pynetdicom import evt as foreign_evt
from tests.cli.command import complaint, run
from tests.cli.conftest import CT, MR, StartPeer
from tests.support import dicomnet, free_port, wait_until

from dicomnet.pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

CT_UID, MR_UID = (str(dcmread(path).SOPInstanceUID) for path in (CT, MR))
# Given what was asked for, what the SCP reports.
Answer = Callable[[Dataset], tuple[int, Dataset]]


def all_kept(asked: Dataset) -> tuple[int, Dataset]:
    report = Dataset()
    report.TransactionUID = asked.TransactionUID
    report.ReferencedSOPSequence = asked.ReferencedSOPSequence
    return 1, report


def ct_missing(asked: Dataset) -> tuple[int, Dataset]:
    _, report = all_kept(asked)
    kept, failed = [], []
    for item in asked.ReferencedSOPSequence:
        if item.ReferencedSOPInstanceUID == CT_UID:
            item.FailureReason = 0x0112
            failed.append(item)
        else:
            kept.append(item)
    report.ReferencedSOPSequence = kept
    report.FailedSOPSequence = failed
    return 2, report


def nothing_named(asked: Dataset) -> tuple[int, Dataset]:
    _, report = all_kept(asked)
    del report.ReferencedSOPSequence
    return 1, report


def of_another(asked: Dataset) -> tuple[int, Dataset]:
    _, report = all_kept(asked)
    report.TransactionUID = "1.2.3"
    return 1, report


class SCP:
    """A storage commitment SCP by pynetdicom.

    Parameters
    ----------
    answer
        What it reports, None for nothing.
    status
        Of the N-ACTION response.
    here
        Where it reports, 0 for the same association.
    ends
        Whether it aborts instead of reporting.
    sop_class
        Under which SOP class it reports.
    """

    def __init__(
        self,
        answer: Answer | None,
        status: int = 0,
        here: int = 0,
        ends: bool = False,
        sop_class: str = StorageCommitmentPushModel,
    ) -> None:
        self._sop_class = sop_class
        self.asked: list[Dataset] = []
        self.statuses: list[int] = []
        self.stored: list[str] = []
        self._answer, self._status, self._here, self._ends = answer, status, here, ends
        self._threads: list[threading.Thread] = []
        self._has_responded = threading.Event()

    def on_action(self, event: Any) -> tuple[int, None]:
        self._has_responded.clear()
        self.asked.append(event.action_information)
        self._threads.append(threading.Thread(target=self._report, args=(event.assoc,)))
        self._threads[-1].start()
        return self._status, None

    def on_store(self, event: Any) -> int:
        self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    def on_sent(self, event: Any) -> None:
        if event.data[:1] == b"\x04":
            self._has_responded.set()

    def _report(self, assoc: Any) -> None:
        self._has_responded.wait(10)
        if self._ends:
            assoc.abort()
        if self._answer is None:
            return
        event_type, report = self._answer(self.asked[-1])
        if self._here:
            role = pynetdicom.build_role(StorageCommitmentPushModel, scp_role=True)
            assoc = pynetdicom.AE("SCP").associate(
                "127.0.0.1",
                self._here,
                [pynetdicom.build_context(StorageCommitmentPushModel)],
                ext_neg=[role],
            )
            assert assoc.is_established
        status, _ = assoc.send_n_event_report(
            report,
            event_type,
            self._sop_class,
            StorageCommitmentPushModelInstance,
            meta_uid=StorageCommitmentPushModel,
        )
        self.statuses.append(status.Status)
        if self._here:
            assoc.release()

    @contextmanager
    def running(self) -> Iterator[str]:
        """Gives its address as a peer is written."""
        ae = pynetdicom.AE("SCP")
        ae.add_supported_context(StorageCommitmentPushModel)
        for each in (CT, MR):
            ae.add_supported_context(dcmread(each).SOPClassUID)
        server = ae.start_server(
            ("127.0.0.1", 0),
            block=False,
            evt_handlers=[
                (foreign_evt.EVT_N_ACTION, self.on_action),
                (foreign_evt.EVT_DATA_SENT, self.on_sent),
                (foreign_evt.EVT_C_STORE, self.on_store),
            ],
        )
        assert server is not None
        try:
            yield f"SCP@127.0.0.1:{server.server_address[1]}"
            for thread in self._threads:
                thread.join(10)
        finally:
            server.shutdown()


def test_files_are_committed(study: Path) -> None:
    scp = SCP(all_kept)
    with scp.running() as address:
        result = run("commit", address, study, CT)
    assert result.returncode == 0, result.stderr
    assert result.stdout == (
        f"committed: {study}/ct.dcm\ncommitted: {study}/series/mr\ncommitted 2, failed 0\n"
    )
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["skipped", "skipped"]
    (asked,) = scp.asked
    assert {item.ReferencedSOPInstanceUID for item in asked.ReferencedSOPSequence} == {CT_UID, MR_UID}
    assert scp.statuses == [0]


def test_what_is_not_kept_is_told_with_the_reason(study: Path) -> None:
    with SCP(ct_missing).running() as address:
        result = run("commit", address, study / "ct.dcm", study / "series")
        assert result.returncode == 1
        assert f"failed: {study}/ct.dcm: the peer does not have the object (0x0112)\n" in result.stdout
        assert result.stdout.endswith("committed 1, failed 1\n")
        result = run("commit", address, study / "ct.dcm", study / "series", "--json")
        lines = {line["sop_instance_uid"]: line for line in map(json.loads, result.stdout.splitlines())}
        assert lines[CT_UID] == {
            "path": str(study / "ct.dcm"),
            "sop_class_uid": str(dcmread(CT).SOPClassUID),
            "sop_instance_uid": CT_UID,
            "outcome": "failed",
            "reason": 0x0112,
            "comment": "the peer does not have the object (0x0112)",
        }
        assert lines[MR_UID]["outcome"] == "committed"
        result = run("commit", address, study / "ct.dcm", study / "series", "-q")
        assert result.stdout.count("\n") == 1


def test_a_file_with_a_bad_uid_had_no_line_and_was_not_counted(tmp_path: Path) -> None:
    bad = tmp_path / "bad.dcm"
    bad.write_bytes(CT.read_bytes().replace(dcmread(CT).SOPClassUID.encode() + b"\0", b"x" * 26))
    (tmp_path / "note.txt").write_text("not DICOM")
    with SCP(all_kept).running() as address:
        result = run("commit", address, tmp_path, MR, "--json")
        counted = run("commit", address, tmp_path, MR)
    assert (result.returncode, counted.returncode) == (1, 1)
    lines = {line["path"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert lines.keys() == {str(bad), str(MR)}
    assert (lines[str(bad)]["outcome"], lines[str(MR)]["outcome"]) == ("failed", "committed")
    assert "SOP Class UID" in lines[str(bad)]["comment"]
    assert counted.stdout.endswith("committed 1, failed 1\n")


def test_an_object_that_the_report_does_not_name_is_not_committed() -> None:
    with SCP(nothing_named).running() as address:
        result = run("commit", address, CT)
    assert (result.stdout.splitlines()[0], result.returncode) == (
        f"failed: {CT}: the report does not name it",
        1,
    )


def test_a_report_on_another_association() -> None:
    here = free_port()
    scp = SCP(all_kept, here=here)
    with scp.running() as address:
        result = run("commit", address, CT, "--listen", str(here), "--wait", "20")
    assert (result.stderr, result.returncode) == ("", 0)
    assert scp.statuses == [0]


def test_a_report_on_another_association_after_the_first_has_ended() -> None:
    here = free_port()
    scp = SCP(all_kept, here=here, ends=True)
    with scp.running() as address:
        result = run("commit", address, CT, "--listen", str(here), "--wait", "20")
    assert (result.stderr, result.returncode) == ("", 0)


def test_no_report_comes() -> None:
    with SCP(None).running() as address:
        said = complaint(run("commit", address, CT, "--wait", "0.2"), 1)
    assert "no report came within 0.2 s" in said
    assert "--listen" in said


def test_ctrl_c_ends_the_wait() -> None:
    scp = SCP(None)
    with scp.running() as address:
        with subprocess.Popen(dicomnet("commit", address, CT), stderr=subprocess.PIPE, text=True) as process:
            wait_until(lambda: bool(scp.asked), what="the request has arrived")
            process.send_signal(signal.SIGINT)
            _, complained = process.communicate(timeout=20)
    assert (complained, process.returncode) == ("dicomnet commit: interrupted\n", 130)


def test_a_report_of_another_transaction_is_refused() -> None:
    scp = SCP(of_another)
    with scp.running() as address:
        said = complaint(run("commit", address, CT, "--wait", "1"), 1)
    assert "no report came" in said
    assert scp.statuses == [0x0115]


@pytest.mark.parametrize("here", [False, True], ids=["same association", "another association"])
@pytest.mark.parametrize("sop_class", ["1.2.840.10008.1.20.2", "1.2.840.10008.3.1.2.3.3", "1.2.3"])
def test_a_report_under_another_sop_class_counted_as_commitment(sop_class: str, here: bool) -> None:
    port = free_port()
    scp = SCP(all_kept, here=port if here else 0, sop_class=sop_class)
    listen = ("--listen", str(port)) if here else ()
    with scp.running() as address:
        result = run("commit", address, CT, "--wait", "1", *listen)
    assert (result.stdout, result.returncode) == ("", 1)
    said = (
        f"a report of the peer is refused: its SOP class is {sop_class}, and not that of storage commitment"
    )
    assert said in result.stderr
    assert scp.statuses == [0x0118]


def test_an_object_that_is_kept_as_one_of_another_sop_class_counted_as_committed() -> None:
    def answer(asked: Dataset) -> tuple[int, Dataset]:
        event_type, report = all_kept(asked)
        report.ReferencedSOPSequence[0].ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        return event_type, report

    with SCP(answer).running() as address:
        result = run("commit", address, CT)
    line = f"failed: {CT}: the peer has it with another SOP class, 1.2.840.10008.5.1.4.1.1.4\n"
    assert (result.stdout.splitlines(keepends=True)[0], result.returncode) == (line, 1)


@pytest.mark.parametrize("event_type", [0, 3, 9])
def test_a_report_with_an_event_type_that_does_not_exist_was_a_success(event_type: int) -> None:
    scp = SCP(lambda asked: (event_type, all_kept(asked)[1]))
    with scp.running() as address:
        result = run("commit", address, CT, "--wait", "1")
    assert (result.stdout, result.returncode) == ("", 1)
    assert f"no Event Type {event_type}" in result.stderr
    assert scp.statuses == [0x0113]


@pytest.mark.parametrize("cut", [1, 6, 40])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_report_that_was_cut_off_was_answered_with_success(
    monkeypatch: pytest.MonkeyPatch, cut: int, elsewhere: bool
) -> None:
    """What was left of it was taken for the whole, which may have named failed objects."""
    whole = vars(association)["encode"]
    monkeypatch.setattr(association, "encode", lambda *args: (whole(*args) or b"")[:-cut])
    here = free_port() if elsewhere else 0
    scp = SCP(all_kept, here=here)
    with scp.running() as address:
        listening = ["--listen", str(here)] if here else []
        result = run("commit", address, CT, "--wait", "1", *listening)
    assert (result.stdout, result.returncode) == ("", 1)
    first, second = result.stderr.splitlines()
    assert "a report of the peer is refused: it is cut off" in first
    assert "no report that can be used came" in second
    assert scp.statuses == [0x0110]


def test_the_association_ends_without_a_report() -> None:
    with SCP(None, ends=True).running() as address:
        said = complaint(run("commit", address, CT, "--wait", "20"), 1)
    assert "ended the association without a report" in said


def test_a_refusal_is_told() -> None:
    with SCP(None, status=0x0122).running() as address:
        said = complaint(run("commit", address, CT), 1)
    assert "0x0122" in said
    assert "not supported" in said


def test_a_peer_without_the_service_is_told(start_peer: StartPeer) -> None:
    said = complaint(run("commit", f"127.0.0.1:{start_peer()}", CT), 1)
    assert "StorageCommitmentPushModel" in said


def test_uids_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "uids.txt"
    path.write_text(
        "# sent today\n1.2.840.10008.5.1.4.1.1.2 1.2.3.4\n\n1.2.840.10008.5.1.4.1.1.4,1.2.3.5 # MR\n"
    )
    scp = SCP(all_kept)
    with scp.running() as address:
        result = run("commit", address, "--uid-file", path)
        assert (result.stderr, result.returncode) == ("", 0)
        assert run("commit", "-q", address, "--uid-file", path, CT, "--wait", "20", MR).returncode == 0
        assert len(scp.asked[-1].ReferencedSOPSequence) == 4
        assert result.stdout == "committed: 1.2.3.4\ncommitted: 1.2.3.5\ncommitted 2, failed 0\n"
        piped = subprocess.run(
            dicomnet("commit", address, "--uid-file", "-"),
            input=path.read_bytes(),
            capture_output=True,
            check=True,
        )
        assert piped.stdout == result.stdout.encode()
    (item, _) = scp.asked[0].ReferencedSOPSequence
    assert item.ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"


def test_nothing_to_commit(tmp_path: Path) -> None:
    assert "no objects to commit" in complaint(run("commit", "127.0.0.1:1", tmp_path), 1)
    result = run("commit", "127.0.0.1:1", tmp_path / "nothing")
    assert (result.returncode, result.stdout) == (1, "")
    failed, complained = result.stderr.splitlines()
    assert failed == f"failed: {tmp_path}/nothing: cannot be read: No such file or directory"
    assert complained == "dicomnet commit: there are no objects to commit"


@pytest.mark.parametrize("text", ["1.2.3\n", "1.2.3 1.2.4 1.2.5\n", "CTImageStorage 1.2.3\n"])
def test_a_wrong_file_of_uids(tmp_path: Path, text: str) -> None:
    path = tmp_path / "uids.txt"
    path.write_text(text)
    assert f"{path}: line 1" in complaint(run("commit", "127.0.0.1:1", "--uid-file", path), 2)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "--uid-file"),
        ((str(CT), "--listen", "http"), "'http'"),
        ((str(CT), "--listen", "0", "--bind", "0.0.0.0"), "--allow-public"),
        ((str(CT), "--wait", "-1"), "-1"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(arguments: tuple[str, ...], named: str) -> None:
    assert named in complaint(run("commit", "127.0.0.1:1", *arguments), 2)


def test_a_path_that_does_not_exist_kept_the_others_from_being_asked_for(tmp_path: Path) -> None:
    with SCP(all_kept).running() as address:
        result = run("commit", address, CT, tmp_path / "missing.dcm")
    assert result.returncode == 1
    assert result.stdout == f"committed: {CT}\ncommitted 1, failed 1\n"
    assert result.stderr == f"failed: {tmp_path}/missing.dcm: cannot be read: No such file or directory\n"
