"""Studies to retrieve, and lists that name them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicomnet import Peer

ROOT = "1.2.826.0.1.3680043.8.498.77"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"


@dataclass(frozen=True, slots=True)
class Study:
    """A study of two CT series, of 3 and of 2 objects, and one MR series of one."""

    number: int
    patient: str
    accession: str

    @property
    def uid(self) -> str:
        """The Study Instance UID."""
        return f"{ROOT}.{self.number}"

    def series(self, number: int) -> str:
        """The Series Instance UID of series 1, 2 or 3."""
        return f"{self.uid}.{number}"

    def objects(self, *series: int) -> set[str]:
        """The SOP Instance UIDs of series."""
        sizes = {1: 3, 2: 2, 3: 1}
        return {
            f"{self.series(each)}.{number + 1}" for each in series or sizes for number in range(sizes[each])
        }


def make_object(study: Study, uid: str) -> Dataset:
    """One of its objects, with the UID as of `Study.objects`."""
    series, number = map(int, uid.split(".")[-2:])
    found = Dataset()
    found.SOPClassUID = MR if series == 3 else CT
    found.SOPInstanceUID = uid
    found.StudyInstanceUID = study.uid
    found.SeriesInstanceUID = study.series(series)
    found.PatientID = study.patient
    found.PatientName = f"Doe^Jane{study.patient}"
    found.PatientBirthDate = "19700101"
    found.PatientSex = "O"
    found.StudyDate = f"202601{study.number % 28 + 1:02}"
    found.StudyTime = "120000"
    found.StudyID = str(study.number)
    found.ReferringPhysicianName = ""
    found.AccessionNumber = study.accession
    found.Modality = "MR" if series == 3 else "CT"
    found.SeriesNumber = series
    found.SeriesDescription = {1: "Thorax thin 1.0", 2: "Scout/topogram", 3: "Localizer"}[series]
    found.InstanceNumber = number
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.Rows = found.Columns = 8
    found.BitsAllocated = found.BitsStored = 16
    found.HighBit, found.PixelRepresentation = 15, 0
    found.PixelData = bytes([study.number % 256, series, number, 0]) * 32
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.file_meta.MediaStorageSOPClassUID = UID(found.SOPClassUID)
    found.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    return found


def write_studies(folder: Path, studies: Sequence[Study]) -> None:
    """Write the objects of studies as files."""
    folder.mkdir(parents=True, exist_ok=True)
    for study in studies:
        for uid in study.objects():
            make_object(study, uid).save_as(folder / f"{uid}.dcm", enforce_file_format=True)


def fill(address: str, folder: Path) -> None:
    """Store files at a peer."""
    with Peer(address) as peer:
        assert all(each.is_stored for each in peer.store(folder))


def objects_below(folder: Path) -> dict[str, bytes]:
    """The pixel data of each object below a folder by its UID, as pydicom reads it; each has one file."""
    found: dict[str, bytes] = {}
    for path in folder.rglob("*"):
        if (
            path.is_file()
            and not path.is_relative_to(folder / ".dicomnet-fetch")
            and path.name != "report.csv"
        ):
            data_set = dcmread(path)
            assert data_set.SOPInstanceUID not in found
            found[str(data_set.SOPInstanceUID)] = bytes(data_set.PixelData)
    return found


def pixels(studies: Sequence[Study]) -> dict[str, bytes]:
    """What `objects_below` gives if all of these are there."""
    return {uid: bytes(make_object(each, uid).PixelData) for each in studies for uid in each.objects()}
