"""`dicomnet find`: queries that DCMTK's archive answers, and matches as lines and tables."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from tests.cli.command import complaint, run, run_on_terminal
from tests.cli.conftest import StartPeer
from tests.support import free_port

from dicomnet import evt
from dicomnet.cli.matches import plain


def found(result: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """The matches in lines of JSON."""
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_studies_are_found(archive: str) -> None:
    matches = found(run("find", archive))
    assert {match["PatientName"] for match in matches} == {"CompressedSamples^CT1", "CompressedSamples^MR1"}
    assert {match["QueryRetrieveLevel"] for match in matches} == {"STUDY"}


@pytest.mark.parametrize(
    "key",
    [
        "PatientName=*CT1",
        "00100010=*CT1",
        "0010,0010=*CT1",
        "(0010,0010)=*CT1",
        "PatientID=1CT1",
        "StudyDate=20040101-20040131",
    ],
)
def test_a_key_matches(archive: str, key: str) -> None:
    assert [match["PatientID"] for match in found(run("find", archive, "-k", key))] == ["1CT1"]


def test_no_match_is_no_failure(archive: str) -> None:
    assert found(run("find", archive, "-k", "PatientName=NOBODY")) == []


def test_other_levels(archive: str) -> None:
    study = found(run("find", archive, "-k", "PatientID=1CT1"))[0]["StudyInstanceUID"]
    below: tuple[str, ...] = ("-k", f"StudyInstanceUID={study}")
    (series,) = found(run("find", archive, "--level", "series", *below))
    assert series["Modality"] == "CT"
    below += ("-k", f"SeriesInstanceUID={series['SeriesInstanceUID']}")
    (image,) = found(run("find", archive, "-L", "image", *below))
    assert image["InstanceNumber"] == 1
    (image,) = found(run("find", archive, "-k", "QueryRetrieveLevel=IMAGE", *below))
    assert image["QueryRetrieveLevel"] == "IMAGE"


@pytest.mark.parametrize("model", [("--model", "patient"), ("-P",)])
def test_the_patient_root_model(archive: str, model: tuple[str, ...]) -> None:
    matches = found(run("find", archive, *model, "--level", "patient", "-k", "PatientName=*CT*"))
    assert [match["PatientID"] for match in matches] == ["1CT1"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("-k", "Bogus=1"), "'Bogus'"),
        (("-k", "0009,1001"), "'0009,1001'"),
        (("-k", "001,0010"), "'001,0010'"),
        (("-k", "=x"), "'=x'"),
        (("-k", "Rows=many"), "'many'"),
        (("-k", "Rows=65536"), "'65536'"),
        (("-k", "ReferencedStudySequence=1"), "ReferencedStudySequence"),
        (("-k", "QueryRetrieveLevel=FRAME"), "'FRAME'"),
        (("-k", "InstanceNumber=first"), "'first' is not a value that InstanceNumber can have"),
        (("-k", "PatientWeight=7*"), "'7*' is not a value that PatientWeight can have"),
        (("-k", "Rows=5*"), "Rows"),
    ],
)
def test_a_wrong_key_is_one_line_and_status_2(arguments: tuple[str, ...], named: str) -> None:
    assert named in complaint(run("find", "127.0.0.1:1", *arguments), 2)


def study(number: int) -> Dataset:
    match = Dataset()
    match.SpecificCharacterSet = "ISO_IR 100"
    match.QueryRetrieveLevel = "STUDY"
    match.PatientName = "M\u00fcller^J\u00fcrgen"
    match.PatientID = f"ID{number}"
    match.ModalitiesInStudy = ["CT", "MR"]
    match.NumberOfStudyRelatedSeries = number
    match.StudyDescription = "[red]\x1b[31m"
    match.StudyInstanceUID = f"1.2.{number}"
    match.AccessionNumber = ""
    return match


def answers(count: int) -> Any:
    def find(event: Any) -> Iterator[tuple[int, Dataset]]:
        for number in range(1, count + 1):
            if event.is_cancelled:
                yield 0xFE00, Dataset()
                return
            yield 0xFF00, study(number)

    return find


def test_values_are_plain(start_peer: StartPeer) -> None:
    port = start_peer([(evt.EVT_C_FIND, answers(1))])
    assert found(run("find", f"127.0.0.1:{port}")) == [
        {
            "QueryRetrieveLevel": "STUDY",
            "AccessionNumber": None,
            "StudyDescription": "[red]\x1b[31m",
            "ModalitiesInStudy": ["CT", "MR"],
            "PatientName": "M\u00fcller^J\u00fcrgen",
            "PatientID": "ID1",
            "StudyInstanceUID": "1.2.1",
            "NumberOfStudyRelatedSeries": 1,
        }
    ]


def test_what_is_asked_for_arrives_at_the_peer(start_peer: StartPeer) -> None:
    asked: list[Dataset] = []

    def find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(event.identifier)
        yield 0x0000, None

    port = start_peer([(evt.EVT_C_FIND, find)])
    keys = (
        "-k",
        "PatientName=M\u00fc*",
        "-k",
        "StudyDate=20260101-",
        "-k",
        "BodyPartExamined",
        "-k",
        "Rows=5",
    )
    assert found(run("find", f"127.0.0.1:{port}", *keys)) == []
    (identifier,) = asked
    assert identifier.PatientName == "M\u00fc*"
    assert identifier.StudyDate == "20260101-"
    assert identifier.BodyPartExamined == ""
    assert identifier.Rows == 5
    assert identifier.QueryRetrieveLevel == "STUDY"
    assert identifier.StudyInstanceUID == ""


def test_the_limit_cancels_the_query(start_peer: StartPeer) -> None:
    sent: list[int] = []

    def find(event: Any) -> Iterator[tuple[int, Dataset]]:
        for number in range(100_000):
            if event.is_cancelled:
                yield 0xFE00, Dataset()
                return
            sent.append(number)
            yield 0xFF00, study(1)

    port = start_peer([(evt.EVT_C_FIND, find)])
    assert len(found(run("find", f"127.0.0.1:{port}", "--limit", "3"))) == 3
    assert len(sent) < 100_000


def test_a_failure_after_matches_is_told(start_peer: StartPeer) -> None:
    def find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        yield 0xFF00, study(1)
        yield 0xA700, None

    port = start_peer([(evt.EVT_C_FIND, find)])
    result = run("find", f"127.0.0.1:{port}")
    assert len(result.stdout.splitlines()) == 1
    assert result.returncode == 1
    assert "0xA700" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_peer_without_the_service_is_told(start_peer: StartPeer) -> None:
    said = complaint(run("find", f"127.0.0.1:{start_peer()}", "-P"), 1)
    assert "1.2.840.10008.5.1.4.1.2.1.1" in said
    assert "PatientRootQueryRetrieveInformationModelFind" in said


@pytest.mark.parametrize("rich", [True, False], ids=["rich", "plain"])
def test_matches_are_a_table_on_a_terminal(start_peer: StartPeer, rich: bool) -> None:
    port = start_peer([(evt.EVT_C_FIND, answers(2))])
    screen = run_on_terminal("find", f"127.0.0.1:{port}", "-k", "PatientID", rich=rich)
    assert screen.returncode == 0
    heading, *rows = [line for line in screen.text.splitlines() if "PatientID" in line or "1.2." in line]
    # What is asked for comes first, UIDs last, and what no match has, not at all.
    assert heading.split() == [
        "PatientID",
        "Modalities",
        "StudyDescription",
        "PatientName",
        "Series",
        "StudyInstanceUID",
    ]
    assert [row.split() for row in rows] == [
        [f"ID{n}", "CT,", "MR", "[red]\\x1b[31m", "M\u00fcller^J\u00fcrgen", str(n), f"1.2.{n}"]
        for n in (1, 2)
    ]
    assert "\x1b[31m" not in screen.raw
    assert "2 matches" in screen.text


def test_matches_are_paragraphs_on_a_narrow_terminal(start_peer: StartPeer) -> None:
    port = start_peer([(evt.EVT_C_FIND, answers(2))])
    screen = run_on_terminal("find", f"127.0.0.1:{port}", "-k", "PatientID", columns=40)
    paragraphs = [part.splitlines() for part in screen.text.split("\n\n")]
    assert [dict(line.split(None, 1) for line in part)["PatientID"] for part in paragraphs] == ["ID1", "ID2"]
    assert all(len(line) < 60 for part in paragraphs for line in part)


def test_no_match_on_a_terminal(start_peer: StartPeer) -> None:
    port = start_peer([(evt.EVT_C_FIND, answers(0))])
    screen = run_on_terminal("find", f"127.0.0.1:{port}")
    assert (screen.text, screen.returncode) == ("0 matches\n", 0)


def test_json_on_a_terminal(start_peer: StartPeer) -> None:
    port = start_peer([(evt.EVT_C_FIND, answers(2))])
    screen = run_on_terminal("find", f"127.0.0.1:{port}", "--json")
    assert [json.loads(line)["PatientID"] for line in screen.raw.splitlines()] == ["ID1", "ID2"]


def test_every_kind_of_value_becomes_json() -> None:
    item = Dataset()
    item.CodeValue = "T-1"
    match = Dataset()
    match.ProcedureCodeSequence = [item, Dataset()]
    match.PatientWeight = "70.5"
    match.PatientSize = None
    match.ImagePositionPatient = ["1", "2.5", "-3"]
    match.InstanceNumber = "7"
    match.Rows = 512
    match.FrameIncrementPointer = Tag(0x00181063)
    match.PixelData = b"\x00\xff"
    match["PixelData"].VR = "OB"
    match.RecommendedDisplayFrameRateInFloat = float("nan")
    match.add(DataElement(0x00091001, "LO", "private"))
    match.OtherPatientNames = ["A^B", "C^D"]
    match.ReferencedSOPClassUID = "1.2.3"
    converted = json.loads(json.dumps(plain(match)))
    assert converted.pop("RecommendedDisplayFrameRateInFloat", "nan") == "nan"
    assert converted == {
        "ProcedureCodeSequence": [{"CodeValue": "T-1"}, {}],
        "PatientWeight": 70.5,
        "PatientSize": None,
        "ImagePositionPatient": [1, 2.5, -3],
        "InstanceNumber": 7,
        "Rows": 512,
        "FrameIncrementPointer": "0018,1063",
        "PixelData": "AP8=",
        "0009,1001": "private",
        "OtherPatientNames": ["A^B", "C^D"],
        "ReferencedSOPClassUID": "1.2.3",
    }


def test_a_value_that_cannot_be_read_is_shown_as_it_came() -> None:
    match = Dataset()
    for tag, vr, value in ((0x00101030, "DS", b"heavy\xff "), (0x00280010, "US", b"\x01")):
        match[Tag(tag)] = RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)
    converted = json.loads(json.dumps(plain(match)))
    assert converted["PatientWeight"].startswith("heavy")
    assert converted["Rows"] == "\x01"


@pytest.mark.parametrize(
    "keys",
    [
        ["PatientName=王*", "SpecificCharacterSet=ISO_IR 100"],
        ["SpecificCharacterSet=ISO 8859-5", "PatientName=Müller"],
        ["SpecificCharacterSet=ISO_IR 1000", "PatientName=Miller"],
        ["ModalitiesInStudy=Ü"],
    ],
)
def test_a_key_that_cannot_be_encoded_is_a_mistake_of_the_command_line(keys: list[str]) -> None:
    """It was sent as a question mark, which matches every name. Nothing is connected to."""
    result = run("find", f"NOBODY@127.0.0.1:{free_port()}", *(word for key in keys for word in ("-k", key)))
    assert result.returncode == 2
    assert "dicomnet find: " in result.stderr


def test_a_key_that_is_no_text_had_a_traceback() -> None:
    """Of the bytes of another encoding, nothing can be sent."""
    said = complaint(run("find", "P@127.0.0.1:1", "-k", os.fsdecode(b"PatientName=M\xfcller*")), 2)
    assert said.startswith("dicomnet find: PatientName has bytes that are not text")
