"""`findscu`: what it asks for and what it does with matches, with an SCP of pynetdicom and beside pynetdicom's own."""

from __future__ import annotations

import queue
import re
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import evt
from tests.apps.tools import CT, PACKAGES, foreign_scp, run
from tests.support import free_port

NAMES = ("DOE^JANE", "MÜLLER^ÄNNE")


def match(name: str) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.QueryRetrieveLevel = "STUDY"
    dataset.PatientName = name
    dataset.StudyInstanceUID = "1.2.3"
    return dataset


def find(event: Any) -> Any:
    for name in NAMES:
        yield 0xFF00, match(name)


@pytest.mark.parametrize("package", PACKAGES)
def test_matches_are_told_and_written(package: str, tmp_path: Path) -> None:
    with foreign_scp([(evt.EVT_C_FIND, find)]) as port:
        done = run(
            "findscu", "127.0.0.1", str(port), "-k", "PatientName=", "-w", package=package, cwd=tmp_path
        )
    assert (done.stdout, done.returncode) == ("", 0)
    told = re.findall(r"^I: \(0010,0010\) PN \[(.*)\] +# 1 PatientName$", done.stderr, re.MULTILINE)
    assert told == list(NAMES)
    assert {path.name for path in tmp_path.iterdir()} == {"rsp000001.dcm", "rsp000002.dcm"}
    written = [dcmread(tmp_path / f"rsp00000{number}.dcm") for number in (1, 2)]
    assert written == list(map(match, NAMES))
    assert written[0].file_meta.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.2.1.1"
    assert len({each.file_meta.MediaStorageSOPInstanceUID for each in written}) == 2


def test_what_a_peer_says_steers_no_terminal(tmp_path: Path) -> None:
    """Nor does it look like other lines of the log."""

    def find(event: Any) -> Any:
        found = match("A")
        found.add_new("PatientComments", "LT", "\x1b[2J\r\nI: forged")
        yield 0xFF00, found
        status = Dataset()
        status.Status, status.ErrorComment = 0xA700, "\x1b[31m red"
        yield status, None

    with foreign_scp([(evt.EVT_C_FIND, find)]) as port:
        done = run("findscu", "127.0.0.1", str(port), "-k", "PatientName=", cwd=tmp_path)
    assert "\x1b" not in done.stderr
    assert "I: forged" not in done.stderr.splitlines()
    assert "[\\x1b[2J\\r\\nI: forged]" in done.stderr
    assert "\\x1b[31m red" in done.stderr


def test_quiet_says_nothing(tmp_path: Path) -> None:
    with foreign_scp([(evt.EVT_C_FIND, find)]) as port:
        done = run("findscu", "127.0.0.1", str(port), "-k", "PatientName=", "-q", cwd=tmp_path)
    assert (done.stdout, done.stderr, done.returncode, list(tmp_path.iterdir())) == ("", "", 0, [])


@pytest.mark.parametrize(
    "options",
    [
        ("-P",),
        ("-S", "--relational-query", "--timezone-adj"),
        ("-O", "--dt-matching"),
        ("--worklist", "--fuzzy-names"),
        ("-W", "--dt-matching"),
        ("--study", "--enhanced-conversion", "-f", str(CT)),
    ],
)
def test_it_asks_for_the_same(options: tuple[str, ...]) -> None:
    asked: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def look(event: Any) -> Any:
        negotiated = event.assoc.requestor.sop_class_extended
        asked.put((event.request.AffectedSOPClassUID, negotiated, event.identifier.PatientID))
        yield 0x0000, None

    with foreign_scp([(evt.EVT_C_FIND, look)]) as port:
        for package in PACKAGES:
            arguments = ("127.0.0.1", str(port), *options, "-k", "PatientID=7")
            assert run("findscu", *arguments, package=package).returncode == 0
    assert asked.get(timeout=10) == asked.get(timeout=10)


def test_a_final_status_of_failure_is_a_failure() -> None:
    def refuse(event: Any) -> Any:
        yield 0xFF00, match(NAMES[0])
        yield 0xA700, None

    with foreign_scp([(evt.EVT_C_FIND, refuse)]) as port:
        done = run("findscu", "127.0.0.1", str(port), "-k", "PatientName=")
    assert "E: C-FIND: 0xA700 (Failure)\n" in done.stderr
    assert done.returncode == 1


def test_a_model_that_the_peer_does_not_take() -> None:
    with foreign_scp([(evt.EVT_C_FIND, find)]) as port:
        done = run("findscu", "127.0.0.1", str(port), "-k", "PatientName=", "-f", "nowhere")
        assert (done.stderr, done.returncode) == ("findscu: nowhere: no such file or directory\n", 1)
    assert run("findscu", "127.0.0.1", str(free_port()), "-k", "PatientName=", "-q").returncode == 1


def test_an_association_that_is_lost_is_a_failure() -> None:
    def abort(event: Any) -> Any:
        event.assoc.abort()
        yield 0x0000, None

    with foreign_scp([(evt.EVT_C_FIND, abort)]) as port:
        done = run("findscu", "127.0.0.1", str(port), "-k", "PatientName=", "-ll", "error")
    assert done.returncode == 1
    assert "no valid response" in done.stderr
