"""Data sets as bytes and as text, and where a file's data set begins, against pynetdicom 3.0.4."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pynetdicom.dsutils as reference
import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.sequence import Sequence
from tests.associations import ct_image

from dicomnet.pynetdicom import dsutils


def patient() -> Dataset:
    dataset = Dataset()
    dataset.PatientName = "Test^Name"
    dataset.PatientID = ""
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    item = Dataset()
    item.Rows = 5
    dataset.ReferencedStudySequence = Sequence([item])
    dataset.add_new(0x7FE00010, "OW", b"\x01\x02")
    return dataset


ENCODINGS = [(True, True, False), (False, True, False), (False, False, False), (False, True, True)]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_data_set_has_the_bytes_that_pynetdicom_gives_it(encoding: tuple[bool, bool, bool]) -> None:
    encoded = dsutils.encode(patient(), *encoding)
    assert encoded is not None
    if not encoding[2]:
        assert encoded == reference.encode(patient(), *encoding)
    for decode in (dsutils.decode, reference.decode):
        assert decode(BytesIO(encoded), *encoding) == patient()


def test_the_data_set_of_a_file_begins_where_pynetdicom_finds_it(tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    image = ct_image(100)
    image.save_as(path, enforce_file_format=True)
    meta, offset = dsutils.split_dataset(path)
    assert (meta, offset) == reference.split_dataset(path)
    content = path.read_bytes()[offset:]
    assert dsutils.decode(BytesIO(content), True, True).SOPInstanceUID == image.SOPInstanceUID


def test_meta_information_without_vrs_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    instance = b"\2\0\3\0\4\0\0\0" + b"1.2\0"
    path.write_bytes(bytes(128) + b"DICM" + instance + b"\x08\0\x16\0" + bytes(12))
    meta, offset = dsutils.split_dataset(path)
    assert meta.MediaStorageSOPInstanceUID == "1.2"
    assert offset == 144


def test_a_file_without_a_header_has_no_meta_information(tmp_path: Path) -> None:
    path = tmp_path / "bare.dcm"
    encoded = dsutils.encode(ct_image(), True, True)
    assert encoded is not None
    path.write_bytes(encoded)
    # pynetdicom raises an error, so that such a file cannot be sent.
    assert dsutils.split_dataset(path) == (Dataset(), 0)


def test_file_meta_information_says_what_pynetdicoms_says() -> None:
    values: Any = {
        "sop_class_uid": "1.2.3",
        "sop_instance_uid": "1.2.4",
        "transfer_syntax": "1.2.840.10008.1.2",
    }
    ours, theirs = dsutils.create_file_meta(**values), reference.create_file_meta(**values)
    for keyword in ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID"):
        assert ours[keyword] == theirs[keyword]
    assert {each.keyword for each in theirs} == {each.keyword for each in ours}
    assert dsutils.encode_file_meta(ours)[:8] == reference.encode_file_meta(theirs)[:8]
    assert dsutils.encode_file_meta(theirs) == reference.encode_file_meta(theirs)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.1.99"])
@pytest.mark.parametrize("instance", ["1.2.4", "1.2.45", "1." * 31 + "1"])
def test_file_meta_information_has_its_group_length(syntax: str, instance: str) -> None:
    """A data set that is saved with it as it is has the element that PS3.10 section 7.1 requires."""
    meta = dsutils.create_file_meta(sop_class_uid="1.2.3", sop_instance_uid=instance, transfer_syntax=syntax)
    rest = DicomBytesIO()
    rest.is_implicit_VR, rest.is_little_endian = False, True
    write_file_meta_info(rest, meta, enforce_standard=False)
    # The element itself has a header of 8 bytes and a value of 4.
    assert meta.FileMetaInformationGroupLength == len(rest.getvalue()) - 12


def test_a_text_has_a_line_for_each_element() -> None:
    lines = dsutils.pretty_dataset(patient())
    shown = "\n".join(lines)
    for word in ("(0010,0010) PN [Test^Name]", "ORIGINAL\\PRIMARY", "(no value)", "1 item)", "(2 bytes)"):
        assert word in shown
    assert next(line for line in lines if "(0028,0010)" in line).startswith("    ")
    assert len(lines) == len(reference.pretty_dataset(patient()))
