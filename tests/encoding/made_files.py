"""Files for the tests of what reads their beginnings, and what the complete way says of them."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path

import pydicom

from dicomnet.drivers import files
from dicomnet.drivers.files import read_header
from dicomnet.encoding.file_header import PREFIX_LENGTH, FileHeader, encode_file_header
from dicomnet.errors import UnusableObject

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
_DATA = Path(pydicom.__file__).parent / "data"
REAL = [
    path.read_bytes()
    for folder in ("charset_files", "test_files")
    for path in sorted((_DATA / folder).rglob("*.dcm"))
]


def completely(content: bytes) -> FileHeader | None:
    """What the complete way says of a file, None where it cannot be sent."""
    try:
        header, prefix = read_header(BytesIO(content), content[:PREFIX_LENGTH])
        return files._identify(header, memoryview(prefix)[header.offset :])
    except UnusableObject:
        return None


def element(tag: int, vr: bytes, value: bytes, syntax: str) -> bytes:
    order = ">" if syntax == BIG else "<"
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT:
        return head + struct.pack("<L", len(value)) + value
    if vr in (b"OB", b"UN", b"UT", b"SQ"):
        return head + vr + bytes(2) + struct.pack(order + "L", len(value)) + value
    return head + vr + struct.pack(order + "H", len(value)) + value


def object_of(syntax: str, instance: bytes, *, sop_class: bytes = b"1.2.840", more: bytes = b"") -> bytes:
    return (
        encode_file_header("1.2.840", "1.2.3", syntax, "SENDER")
        + element(0x00080005, b"CS", b"ISO_IR 100", syntax)
        + more
        + element(0x00080008, b"CS", b"ORIGINAL", syntax)
        + element(0x00080016, b"UI", sop_class, syntax)
        + element(0x00080018, b"UI", instance, syntax)
        + element(0x00080020, b"DA", b"20200101", syntax)
        + element(0x00100010, b"PN", b"Doe^John", syntax)
    )
