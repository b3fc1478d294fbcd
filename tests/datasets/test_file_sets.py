"""DICOMDIRs: what is written is read by pydicom, and says of each object what is known of it."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet

from dicomnet.datasets.file_sets import Directory, Lister, read_for_directory, referenced_files
from dicomnet.encoding.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from dicomnet.errors import UnusableObject

Make = Callable[..., Dataset]


def _written(folder: Path, directory: Directory) -> list[Dataset]:
    """The records of a DICOMDIR, which is put into a folder."""
    content = b"".join(directory.encoded())
    (folder / "DICOMDIR").write_bytes(content)
    return list(dcmread(BytesIO(content)).DirectoryRecordSequence)


def _added(directory: Directory, *objects: Dataset) -> list[tuple[str, ...]]:
    names = []
    for each in objects:
        placed = directory.place(each, EXPLICIT_VR_LITTLE_ENDIAN)
        directory.add(placed)
        names.append(placed.file_id)
    return names


def test_the_tree_is_as_pydicom_reads_it(tmp_path: Path, make: Make) -> None:
    directory = Directory()
    shape = {
        (
            f"P{patient}",
            f"1.{patient}.{study}",
            f"2.{patient}.{study}.{series}",
            f"3.{patient}.{study}.{series}.{each}",
        )
        for patient in range(3)
        for study in range(2)
        for series in range(2)
        for each in range(patient + 1)
    }
    # In any order, as they come out of an archive.
    for patient, study, series, instance in sorted(shape, key=lambda names: names[3][::-1]):
        data_set = make(
            PatientID=patient, StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID=instance
        )
        (file_id,) = _added(directory, data_set)
        path = tmp_path.joinpath(*file_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        assert len(file_id) <= 8
        assert all(len(each) <= 8 and each.isupper() and each.isalnum() for each in file_id)
    _written(tmp_path, directory)
    file_set = FileSet(tmp_path / "DICOMDIR")
    try:
        found = {
            (each.PatientID, each.StudyInstanceUID, each.SeriesInstanceUID, each.SOPInstanceUID)
            for each in file_set
        }
        assert found == shape
        assert len({each.path for each in file_set}) == len(shape)
    finally:
        file_set._stage["t"].cleanup()


def test_what_a_record_must_have_is_there_if_the_object_lacks_it(tmp_path: Path, make: Make) -> None:
    """PS3.3 section F.5: keys of type 1."""
    directory = Directory()
    bare = make(PatientID=None, PatientName=None, Modality=None, SeriesDate="20260203")
    other = make(SOPInstanceUID="1.2.9", PatientID=None, PatientName=None, Modality=None)
    _added(directory, bare, other)
    patient, study, series, *images = _written(tmp_path, directory)
    assert patient.PatientID.startswith("NOID_")
    assert patient.PatientName is not None
    assert (study.StudyDate, study.StudyTime, study.StudyID) == ("20260203", "000000", "0")
    assert (series.Modality, series.SeriesNumber) == ("OT", 0)
    assert [each.InstanceNumber for each in images] == [1, 2]
    assert [each.RecordInUseFlag for each in images] == [0xFFFF, 0xFFFF]


def test_a_study_is_below_one_patient_whatever_its_objects_say(tmp_path: Path, make: Make) -> None:
    directory = Directory()
    one, other = make(), make(PatientID="P2", SOPInstanceUID="1.2.9", SeriesInstanceUID="1.2.3.9")
    _added(directory, one, other)
    kinds = [each.DirectoryRecordType for each in _written(tmp_path, directory)]
    assert kinds == ["PATIENT", "STUDY", "SERIES", "IMAGE", "SERIES", "IMAGE"]


def test_what_was_not_written_is_not_in_it(tmp_path: Path, make: Make) -> None:
    directory = Directory()
    directory.place(make(PatientID="P9", StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1"), "1.2")
    _added(directory, make())
    assert [each.get("PatientID") for each in _written(tmp_path, directory)][::4] == ["P1"]
    assert len(_written(tmp_path, directory)) == 4


@pytest.mark.parametrize(
    "name", ["rtplan.dcm", "rtdose.dcm", "rtstruct.dcm", "test-SR.dcm", "waveform_ecg.dcm", "image_dfl.dcm"]
)
def test_objects_of_other_kinds_have_records_of_their_kinds(tmp_path: Path, name: str) -> None:
    path = get_testdata_file(name) or ""
    with open(path, "rb") as file:
        data_set, syntax = read_for_directory(file)
    directory = Directory()
    directory.add(directory.place(data_set, syntax))
    kinds = [each.DirectoryRecordType for each in _written(tmp_path, directory)]
    expected = {
        "rtplan.dcm": "RT PLAN",
        "rtdose.dcm": "RT DOSE",
        "rtstruct.dcm": "RT STRUCTURE SET",
        "test-SR.dcm": "SR DOCUMENT",
        "waveform_ecg.dcm": "WAVEFORM",
        "image_dfl.dcm": "IMAGE",
    }
    assert kinds == ["PATIENT", "STUDY", "SERIES", expected[name]]
    assert _written(tmp_path, directory)[-1].ReferencedTransferSyntaxUIDInFile == syntax


@pytest.mark.parametrize("terms", [None, "ISO_IR 192", ["", "ISO 2022 IR 87"], "ISO_IR 144"])
def test_names_are_told_in_the_character_set_of_the_object(tmp_path: Path, make: Make, terms: Any) -> None:
    name = {None: "Doe^Jane", "ISO_IR 192": "Müller^Jörg", "ISO_IR 144": "Люкceмбypг"}.get(
        terms if isinstance(terms, str) else None, "Yamada^Tarou=山田^太郎" if terms else "Doe^Jane"
    )
    directory = Directory()
    _added(directory, make(SpecificCharacterSet=terms, PatientName=name))
    assert _written(tmp_path, directory)[0].PatientName == name


def test_an_object_without_which_a_record_cannot_be_is_refused(make: Make) -> None:
    with pytest.raises(UnusableObject, match="it cannot be in a DICOMDIR"):
        Directory().place(make(StudyInstanceUID=None), EXPLICIT_VR_LITTLE_ENDIAN)


def test_a_file_set_without_files_is_one(tmp_path: Path) -> None:
    content = BytesIO(b"".join(Directory().encoded()))
    assert referenced_files(content) == ([], "")
    assert dcmread(BytesIO(content.getvalue())).FileSetConsistencyFlag == 0


def test_records_that_are_not_in_use_do_not_count(tmp_path: Path, make: Make) -> None:
    directory = Directory()
    names = _added(directory, *(make(SOPInstanceUID=f"1.2.{each}") for each in range(3)))
    _written(tmp_path, directory)
    data_set = dcmread(tmp_path / "DICOMDIR")
    data_set.DirectoryRecordSequence[4].RecordInUseFlag = 0
    data_set.save_as(tmp_path / "DICOMDIR")
    with open(tmp_path / "DICOMDIR", "rb") as file:
        assert referenced_files(file) == ([names[0], names[2]], "")


@pytest.mark.parametrize(
    "names",
    [
        ["DIR/IMG1"],
        "DIR/IMG1",
        ["", "DIR", "IMG1"],
        [".", "DIR", "IMG1"],
        ["/DIR", "IMG1"],
        ["./DIR/", "IMG1"],
    ],
)
def test_a_file_id_that_is_a_path_was_missing(tmp_path: Path, make: Make, names: str | list[str]) -> None:
    """Its components are values (PS3.3 section F.3.2.2), and some writers of media join them, or begin with none."""
    directory = Directory()
    _added(directory, make(SOPInstanceUID="1.2.1"))
    _written(tmp_path, directory)
    data_set = dcmread(tmp_path / "DICOMDIR")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set.DirectoryRecordSequence[-1].ReferencedFileID = names
        data_set.save_as(tmp_path / "DICOMDIR")
    (tmp_path / "DIR").mkdir()
    (tmp_path / "DIR" / "IMG1").touch()
    with open(tmp_path / "DICOMDIR", "rb") as file:
        (found,), damage = referenced_files(file)
    assert damage == ""
    assert Lister(str(tmp_path)).find(found) == str(tmp_path / "DIR" / "IMG1")


def test_a_name_is_looked_up_and_not_followed(tmp_path: Path) -> None:
    inside = tmp_path / "in" / "dir"
    inside.mkdir(parents=True)
    for name in ("IMG1", "img2", "IMG3.;1", "Img4;1", "both", "BOTH"):
        (inside / name).touch()
    (tmp_path / "secret").touch()
    lister = Lister(str(tmp_path / "in"))
    found = {
        name: lister.find(("DIR", name)) for name in ("IMG1", "IMG2", "IMG3", "IMG4", "BOTH", "both", "IMG5")
    }
    assert {name: path and Path(path).name for name, path in found.items()} == {
        "IMG1": "IMG1",
        "IMG2": "img2",
        "IMG3": "IMG3.;1",
        "IMG4": "Img4;1",
        "BOTH": "BOTH",
        "both": "both",
        "IMG5": None,
    }
    for way in (
        ("..", "secret"),
        (str(tmp_path / "secret"),),
        ("DIR",),
        ("",),
        ("DIR", "..", "..", "secret"),
        (),
    ):
        assert lister.find(way) is None
    shutil.rmtree(inside)
    assert Lister(str(tmp_path / "in")).find(("DIR", "IMG1")) is None
