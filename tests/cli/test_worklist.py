"""`dicomnet worklist`: what DCMTK's worklist answers, and what arrives there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from tests.cli.command import complaint, run, run_on_terminal
from tests.support import free_port, is_listening, running_process, tool, wait_until

from dicomnet import AE, evt
from dicomnet.pynetdicom.sop_class import ModalityWorklistInformationModelFind

STEPS = (("Doe^Jane", "CT", "CT1", "20260105"), ("Roe^Richard", "MR", "MR1", "20260105"))


def entry(number: int, name: str, modality: str, station: str, day: str) -> Dataset:
    """An item of a worklist."""
    step = Dataset()
    step.Modality = modality
    step.ScheduledStationAETitle = station
    step.ScheduledProcedureStepStartDate = day
    step.ScheduledProcedureStepStartTime = "120000"
    step.ScheduledPerformingPhysicianName = "Smith"
    step.ScheduledProcedureStepDescription = "Head"
    step.ScheduledProcedureStepID = f"S{number}"
    item = Dataset()
    item.SpecificCharacterSet = "ISO_IR 100"
    item.AccessionNumber = f"A{number}"
    item.PatientName = name
    item.PatientID = f"ID{number}"
    item.PatientBirthDate = "19700101"
    item.PatientSex = "O"
    item.StudyInstanceUID = f"1.2.3.{number}"
    item.RequestedProcedureDescription = "Skull"
    item.RequestedProcedureID = f"R{number}"
    item.ScheduledProcedureStepSequence = [step]
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item.file_meta.MediaStorageSOPClassUID = UID("1.2.276.0.7230010.3.1.0.1")
    item.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.4.{number}")
    return item


@pytest.fixture(scope="module")
def worklist(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """DCMTK's worklist with two steps; its address as a peer is written."""
    root = tmp_path_factory.mktemp("worklist")
    folder = root / "data" / "RIS"
    folder.mkdir(parents=True)
    (folder / "lockfile").touch()
    for number, step in enumerate(STEPS, 1):
        entry(number, *step).save_as(folder / f"{number}.wl", enforce_file_format=True)
    port = free_port()
    with running_process([tool("wlmscpfs"), "-dfp", str(root / "data"), str(port)], root):
        wait_until(lambda: is_listening(port), what="wlmscpfs listens")
        yield f"RIS@127.0.0.1:{port}"


def found(*arguments: str) -> list[dict[str, Any]]:
    """The matches in lines of JSON."""
    result = run("worklist", *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_all_steps(worklist: str) -> None:
    matches = found(worklist)
    assert {match["PatientName"] for match in matches} == {"Doe^Jane", "Roe^Richard"}
    (step,) = matches[0]["ScheduledProcedureStepSequence"]
    assert step["ScheduledProcedureStepStartDate"] == "20260105"
    assert matches[0]["StudyInstanceUID"].startswith("1.2.3.")


@pytest.mark.parametrize(
    ("arguments", "patients"),
    [
        (("--modality", "CT"), ["ID1"]),
        (("--station", "MR1"), ["ID2"]),
        (("--date", "2026-01-05", "--modality", "MR"), ["ID2"]),
        (("--date", "20260101-20260131"), ["ID1", "ID2"]),
        (("--date", "20260106-"), []),
        (("--date", "today"), []),
        (("-k", "PatientName=Doe*"), ["ID1"]),
        (("-k", "ScheduledProcedureStepSequence[0].Modality=MR"), ["ID2"]),
        (("-k", "(0040,0100)[0].0008,0060=CT"), ["ID1"]),
        (("-k", "ScheduledProcedureStepSequence.Modality=CT"), ["ID1"]),
        (("--limit", "1"), ["ID1"]),
    ],
)
def test_keys_match(worklist: str, arguments: tuple[str, ...], patients: list[str]) -> None:
    matches = found(worklist, *arguments)
    if arguments[0] == "--limit":
        assert len(matches) == 1
    else:
        assert sorted(match["PatientID"] for match in matches) == patients


@pytest.mark.parametrize("rich", [True, False], ids=["rich", "plain"])
def test_steps_are_a_table_on_a_terminal(worklist: str, rich: bool) -> None:
    options = ("-k", "RequestedProcedureID", "--modality", "CT")
    screen = run_on_terminal("worklist", worklist, *options, rich=rich)
    assert screen.returncode == 0
    lines = screen.text.splitlines()
    (heading,) = [line.split() for line in lines if "PatientName" in line]
    (row,) = [line.split() for line in lines if "Doe^Jane" in line]
    assert heading == [
        *(
            "Date",
            "Time",
            "Modality",
            "Station",
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "PatientSex",
        ),
        *("AccessionNumber", "Step", "Procedure", "Physician", "RequestedProcedureID"),
    ]
    assert row == [
        *("20260105", "120000", "CT", "CT1", "Doe^Jane", "ID1", "19700101", "O"),
        *("A1", "Head", "Skull", "Smith", "R1"),
    ]
    assert "1 match" in screen.text


def test_what_is_asked_for_arrives_at_the_peer() -> None:
    asked: list[Dataset] = []

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(event.identifier)
        yield 0x0000, None

    ae = AE("RIS")
    ae.add_supported_context(ModalityWorklistInformationModelFind)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)])
    assert server is not None
    try:
        nested = "ScheduledProcedureStepSequence[0]."
        keys = (
            *("--date", "today", "-k", f"{nested}ScheduledPerformingPhysicianName=M\u00fc*"),
            *(
                "-k",
                f"{nested}ScheduledProtocolCodeSequence[0].CodeValue",
                "-k",
                "ScheduledProcedureStepSequence",
            ),
        )
        assert found(f"127.0.0.1:{server.server_address[1]}", *keys) == []
    finally:
        ae.shutdown()
    (identifier,) = asked
    assert "QueryRetrieveLevel" not in identifier
    assert identifier.SpecificCharacterSet == "ISO_IR 192"
    (step,) = identifier.ScheduledProcedureStepSequence
    assert "SpecificCharacterSet" not in step
    assert step.ScheduledPerformingPhysicianName == "M\u00fc*"
    assert step.ScheduledProcedureStepStartDate == f"{date.today():%Y%m%d}"
    assert step.Modality == ""
    assert step.ScheduledProtocolCodeSequence[0].CodeValue == ""
    assert identifier.PatientName == ""


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--date", "soon"), "'soon'"),
        (("--date", "-"), "'-'"),
        (("--date", "20261301"), "'20261301'"),
        (("--date", "20260101-2026"), "'20260101-2026'"),
        (("--station", "A\\B"), "backslash"),
        (("-k", "PatientName[0].Modality=CT"), "PatientName is not a sequence"),
        (("-k", "ScheduledProcedureStepSequence[1].Modality=CT"), "[0]"),
        (("-k", "ScheduledProcedureStepSequence=CT"), "ScheduledProcedureStepSequence"),
        (("-k", "ScheduledProcedureStepSequence[0].Bogus=CT"), "'Bogus'"),
    ],
)
def test_a_wrong_key_is_one_line_and_status_2(arguments: tuple[str, ...], named: str) -> None:
    assert named in complaint(run("worklist", "127.0.0.1:1", *arguments), 2)


def test_a_peer_without_a_worklist_is_told(tmp_path: Path) -> None:
    ae = AE()
    ae.add_supported_context("1.2.840.10008.1.1")
    server = ae.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    try:
        said = complaint(run("worklist", f"127.0.0.1:{server.server_address[1]}"), 1)
    finally:
        ae.shutdown()
    assert "ModalityWorklistInformationModelFind" in said
