"""Objects to store, made by pydicom or taken from its test files."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from dicomnet.archive.intake import Catalogue, Entry, Intake, Session
from dicomnet.errors import ServiceRefusal

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture(scope="session")
def make() -> Callable[..., Dataset]:
    """Make a small object; attributes by keyword, `None` to leave one out."""

    def build(**attributes: Any) -> Dataset:
        values: dict[str, Any] = {
            "SOPClassUID": CT_IMAGE_STORAGE,
            "SOPInstanceUID": "1.2.3.4.5",
            "StudyInstanceUID": "1.2.3",
            "SeriesInstanceUID": "1.2.3.4",
            "PatientID": "P1",
            "PatientName": "Doe^Jane",
            "Modality": "CT",
            "BitsAllocated": 16,
            "PixelData": b"\x01\x02" * 8,
        } | attributes
        data_set = Dataset()
        for keyword, value in values.items():
            if value is not None:
                setattr(data_set, keyword, value)
        return data_set

    return build


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """Encode a data set in a transfer syntax."""

    def to_bytes(data_set: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
        uid = UID(syntax)
        buffer = BytesIO()
        file = DicomFileLike(buffer)
        file.is_implicit_VR = uid.is_implicit_VR
        file.is_little_endian = uid.is_little_endian
        write_dataset(file, data_set)
        encoded = buffer.getvalue()
        if uid == DeflatedExplicitVRLittleEndian:
            deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            encoded = deflate.compress(encoded) + deflate.flush()
        return encoded

    return to_bytes


@pytest.fixture(scope="session")
def send() -> Callable[..., Session]:
    """Give an encoded data set to a new session of an intake, in fragments."""

    def to_session(
        intake: Intake,
        data: bytes,
        *,
        sop_class: str = CT_IMAGE_STORAGE,
        instance: str = "1.2.3.4.5",
        syntax: str = ExplicitVRLittleEndian,
        fragment: int = 16_384,
    ) -> Session:
        session = intake.open(sop_class, instance, syntax, calling_ae="SENDER")
        for at in range(0, len(data), fragment):
            session.write(memoryview(data)[at : at + fragment])
        return session

    return to_session


@pytest.fixture(scope="session")
def put(send: Callable[..., Session]) -> Callable[..., int]:
    """Store an encoded data set by an intake, in fragments, and give the status."""

    def store(intake: Intake, data: bytes, **how: Any) -> int:
        return send(intake, data, **how).commit()

    return store


class _BrokenIndex:
    wanted: Mapping[int, str] = {}

    def add(self, entries: Sequence[Entry]) -> Sequence[bool | ServiceRefusal]:
        raise LookupError(f"a defect, met with {len(entries)} objects")


@pytest.fixture(scope="session")
def broken_index() -> Catalogue:
    """An index with a defect, which raises what it should not."""
    return _BrokenIndex()


@pytest.fixture
def files() -> Callable[[Path], list[str]]:
    """The files below a folder, by their path from there."""

    def below(folder: Path) -> list[str]:
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    return below
