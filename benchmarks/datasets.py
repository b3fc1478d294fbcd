"""Synthetic CT objects in Explicit VR Little Endian, each with its own SOP Instance UID."""

from __future__ import annotations

import itertools
import os
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

# UIDs of 40 characters each, so that one can replace another in the encoded file.
_PLACEHOLDER = "2.25.9" + "0" * 34
_numbers = itertools.count(10**34)


class ObjectMaker:
    """Creates folders of objects, each of them once.

    Parameters
    ----------
    folder
        The folder in which they are created.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[str, int, int], Path] = {}

    def folder(self, count: int, length: int, name: str = "") -> Path:
        """A folder of ``count`` objects whose pixel data have ``length`` bytes.

        Parameters
        ----------
        name
            Folders of different names, counts or lengths have different objects.
        """
        key = (name, count, length)
        if key not in self._made:
            path = self._folder / f"{name or 'objects'}-{count}x{length}"
            path.mkdir(parents=True)
            write_objects(path, count, length)
            self._made[key] = path
        return self._made[key]


def write_objects(folder: Path, count: int, length: int) -> None:
    """Write ``count`` files of one series, with pixel data of ``length`` bytes each."""
    head = _encoded_head(length)
    pixels = os.urandom(1 << 16) * (length // (1 << 16) + 1)
    for index in range(count):
        uid = f"2.25.{next(_numbers)}".encode("ascii")
        with open(folder / f"{index:05}.dcm", "wb") as file:
            file.write(head.replace(_PLACEHOLDER.encode("ascii"), uid))
            file.write(memoryview(pixels)[:length])


def _encoded_head(length: int) -> bytes:
    """The encoded file, up to the value of the pixel data."""
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = UID(_PLACEHOLDER)
    dataset.StudyDate, dataset.StudyTime = "20240131", "101112"
    dataset.Modality, dataset.Manufacturer = "CT", "Nobody"
    dataset.AccessionNumber, dataset.StudyDescription = "A1", "Thorax"
    dataset.PatientName, dataset.PatientID = "Bench^Mark", "BENCH-1"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    dataset.StudyInstanceUID = f"2.25.{next(_numbers)}"
    dataset.SeriesInstanceUID = f"2.25.{next(_numbers)}"
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, 1
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = 512, 512
    dataset.PixelSpacing = [0.5, 0.5]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleIntercept, dataset.RescaleSlope = -1024, 1
    dataset.add_new("PixelData", "OW", b"\0\0")
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(_PLACEHOLDER)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    encoded = BytesIO()
    dataset.save_as(encoded, enforce_file_format=True)
    return encoded.getvalue()[:-6] + length.to_bytes(4, "little")
