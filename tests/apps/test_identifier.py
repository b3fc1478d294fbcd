"""Keys on the command line become an Identifier, the same as pynetdicom's findscu makes, or a clear complaint."""

from __future__ import annotations

import queue
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import evt
from tests.apps.tools import CT, PACKAGES, foreign_scp, run

from dicomnet.apps.identifier import build_identifier
from dicomnet.cli.arguments import UsageError
from dicomnet.datasets.codec import encode
from dicomnet.errors import UnusableObject

KEYS = (
    "QueryRetrieveLevel=STUDY",
    "PatientName=DOE^J*",
    "PatientID",
    "(0008,0020)=20200101-20201231",
    "0008,0050=",
    "StudyInstanceUID=1.2.3\\1.2.4",
    "Rows=512",
    "ScheduledProcedureStepSequence[1].Modality=CT",
    "ScheduledProcedureStepSequence[0].(0040,0001)=A=B",
    "RequestedProcedureCodeSequence",
    "OtherPatientIDsSequence[0].OtherPatientIDsSequence[0].PatientID=X.Y",
)


def build(*keys: str, file: Path | None = None) -> Dataset:
    return build_identifier(Namespace(keys=list(keys), file=file))


def test_it_is_what_pynetdicom_makes_of_the_same_keys() -> None:
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def find(event: Any) -> Any:
        received.put(event.request.Identifier.getvalue())
        yield 0x0000, None

    arguments = [word for key in KEYS for word in ("-k", key)]
    with foreign_scp([(evt.EVT_C_FIND, find)]) as port:
        for package in PACKAGES:
            assert run("findscu", "127.0.0.1", str(port), *arguments, package=package).returncode == 0
    ours, theirs = received.get(timeout=10), received.get(timeout=10)
    assert ours == theirs
    assert encode(build(*KEYS), True, True) == ours


def test_keys_go_before_the_file() -> None:
    identifier = build("PatientID=X", "ContentSequence[0].TextValue=Y", file=CT)
    assert identifier.PatientID == "X"
    assert identifier.ContentSequence[0].TextValue == "Y"
    assert identifier.Modality == "CT"


def test_without_a_number_it_is_the_first_item() -> None:
    assert build("ContentSequence.TextValue=Y").ContentSequence[0].TextValue == "Y"


def test_letters_outside_ascii_are_unicode() -> None:
    assert build("PatientName=Müller").SpecificCharacterSet == "ISO_IR 192"
    assert build("PatientName=Müller", "SpecificCharacterSet=ISO_IR 100").SpecificCharacterSet == "ISO_IR 100"
    assert "SpecificCharacterSet" not in build("PatientName=Miller")


def test_values_of_binary_vrs() -> None:
    identifier = build("RecommendedDisplayFrameRateInFloat=1.5", "Rows=1\\2", "(0008,1195)=1.2")
    assert identifier.RecommendedDisplayFrameRateInFloat == 1.5
    assert list(identifier.Rows) == [1, 2]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("Nonsense=1", "not in the dictionary"),
        ("00100010=X", "not in the dictionary"),
        ("=X", "not an attribute"),
        ("Patient Name=X", "not an attribute"),
        ("ContentSequence[].TextValue=X", "not an attribute"),
        ("ContentSequence[-1].TextValue=X", "not an attribute"),
        ("ContentSequence[10000].TextValue=X", "not an attribute"),
        ("PatientName[0].PatientID=X", "not a sequence"),
        ("PatientName.PatientID=X", "not a sequence"),
        ("ContentSequence=X", "has items"),
        ("Rows=X", "cannot have this value"),
        ("Rows=65536", "cannot have this value"),
        ("PatientWeight=heavy", "cannot have this value"),
        ("PixelData=X", "cannot have this value"),
    ],
)
def test_a_key_that_cannot_be_understood(key: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        build(key)
    assert repr(key) in str(raised.value)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no image")
    with pytest.raises(UnusableObject, match="not a DICOM file"):
        build(file=tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        build(file=tmp_path / "nothing")
    with pytest.raises(UsageError, match="-k or -f"):
        build()
