"""Objects made for the fault tests: cheap to make by the hundred, each with UIDs of its own."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID
from tests.support import data_set_of

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


def uid(study: int, instance: int) -> str:
    """A SOP Instance UID that always has the same length."""
    return f"1.2.276.0.99.{1_000_000 + study}.{1_000_000 + instance}"


def study_uid(study: int) -> str:
    """A Study Instance UID; that of the one series in it has ``.1`` behind it."""
    return f"1.2.276.0.98.{study}"


def file_of(study: int, instance: int, length: int = 1024, **attributes: object) -> bytes:
    """A DICOM file with so many bytes of pixel data."""
    data_set = Dataset()
    data_set.SOPClassUID = CT_IMAGE_STORAGE
    data_set.SOPInstanceUID = uid(study, instance)
    data_set.StudyInstanceUID = study_uid(study)
    data_set.SeriesInstanceUID = study_uid(study) + ".1"
    data_set.PatientID = f"P{study}"
    data_set.PatientName = f"Fault^{study}"
    data_set.Modality = "CT"
    for keyword, value in attributes.items():
        setattr(data_set, keyword, value)
    data_set.BitsAllocated = 8
    data_set.add_new(0x7FE00010, "OB", bytes([instance % 251]) * length)
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    data_set.file_meta.MediaStorageSOPClassUID = UID(CT_IMAGE_STORAGE)
    data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    buffer = BytesIO()
    dcmwrite(buffer, data_set, enforce_file_format=True)
    return buffer.getvalue()


def write_objects(folder: Path, study: int, count: int, length: int = 1024, first: int = 1) -> list[Path]:
    """Files of one study; their UIDs are set into copies of one template."""
    folder.mkdir(parents=True, exist_ok=True)
    template = file_of(study, 0, length)
    paths = []
    for instance in range(first, first + count):
        path = folder / f"{instance}.dcm"
        path.write_bytes(template.replace(uid(study, 0).encode(), uid(study, instance).encode()))
        paths.append(path)
    return paths


def data_set_bytes(study: int, instance: int, folder: Path) -> bytes:
    """The encoded data set of an object."""
    path = folder / "one.dcm"
    path.write_bytes(file_of(study, instance))
    return data_set_of(path)
