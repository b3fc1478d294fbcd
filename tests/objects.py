"""Fixtures that make small objects and encode them, by pydicom."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

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
