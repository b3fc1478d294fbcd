"""Synthetic CT objects in Explicit VR Little Endian, each with its own SOP Instance UID."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

# UIDs of 40 characters each, so that one can replace another in the encoded file.
_PLACEHOLDER = "2.25.9" + "0" * 34
_numbers = itertools.count(10**34)
_BEGINNINGS = (
    *("SCHM", "MEYE", "WAGN", "BECK", "HOFF", "KOCH", "RICH", "KLEI", "WOLF", "NEUM"),
    *("LANG", "KRAU", "LEHM", "KOEH", "FUCH", "PETE", "SCHO", "MOEL", "KELL", "BERG"),
)
_ENDINGS = ("", "ER", "MANN", "IDT", "IN", "HAUS", "EL", "BAUER")
_GIVEN_NAMES = ("ANNA", "BERND", "CLARA", "DIETER", "EVA", "FRANZ", "GRETA", "HANS", "INGA", "JAN")
_OBJECTS_A_STUDY = 5
PARTS = 4


@dataclass(frozen=True, slots=True)
class Studies:
    """Objects of many studies, five of each, in four folders.

    Parameters
    ----------
    folders
        The folders; the objects of a study are in one of them.
    rows
        Patient ID, Patient's Name, Study Date and Accession Number of each study, by keyword.
    """

    folders: tuple[Path, ...]
    rows: tuple[Mapping[str, str], ...]

    @property
    def objects(self) -> int:
        """The number of objects."""
        return len(self.rows) * _OBJECTS_A_STUDY


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
        self._studies: dict[tuple[int, int], Studies] = {}

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

    def empty(self, name: str) -> Path:
        """A folder for objects of another kind, which is empty at first."""
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def studies(self, count: int, length: int) -> Studies:
        """Five objects of each of ``count`` studies, whose pixel data have ``length`` bytes."""
        key = (count, length)
        if key not in self._studies:
            root = self._folder / f"studies-{count}x{length}"
            folders = tuple(root / str(part) for part in range(PARTS))
            for folder in folders:
                folder.mkdir(parents=True)
            rows = _study_rows(count)
            for number, row in enumerate(rows):
                folder = folders[number * PARTS // count]
                write_objects(folder, _OBJECTS_A_STUDY, length, row, f"{number:05}-")
            self._studies[key] = Studies(folders, rows)
        return self._studies[key]


def write_objects(
    folder: Path, count: int, length: int, attributes: Mapping[str, str] | None = None, prefix: str = ""
) -> None:
    """Write ``count`` files of one series, with pixel data of ``length`` bytes each.

    Parameters
    ----------
    attributes
        Values by keyword that they have instead of the usual ones.
    prefix
        What the names of the files begin with.
    """
    head = _encoded_head(length, attributes or {})
    pixels = os.urandom(1 << 16) * (length // (1 << 16) + 1)
    for index in range(count):
        uid = f"2.25.{next(_numbers)}".encode("ascii")
        with open(folder / f"{prefix}{index:05}.dcm", "wb") as file:
            file.write(head.replace(_PLACEHOLDER.encode("ascii"), uid))
            file.write(memoryview(pixels)[:length])


def _study_rows(count: int) -> tuple[dict[str, str], ...]:
    """What distinguishes studies: two of each patient at the mean, some five or six a day of one year."""
    chance = random.Random(12)
    names = [
        f"{chance.choice(_BEGINNINGS)}{chance.choice(_ENDINGS)}^{chance.choice(_GIVEN_NAMES)}"
        for _ in range(max(1, count // 2))
    ]
    rows = []
    for number in range(count):
        patient = chance.randrange(len(names))
        date = f"2023{chance.randrange(1, 13):02}{chance.randrange(1, 29):02}"
        rows.append(
            {
                "PatientID": f"P{patient:07}",
                "PatientName": names[patient],
                "StudyDate": date,
                "AccessionNumber": f"A{number:07}",
            }
        )
    return tuple(rows)


def _encoded_head(length: int, attributes: Mapping[str, str]) -> bytes:
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
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.add_new("PixelData", "OW", b"\0\0")
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(_PLACEHOLDER)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    encoded = BytesIO()
    dataset.save_as(encoded, enforce_file_format=True)
    return encoded.getvalue()[:-6] + length.to_bytes(4, "little")
