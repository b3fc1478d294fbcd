"""The header of a DICOM file, with pydicom as the oracle."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filereader import _read_file_meta_info, read_preamble
from tests.grids import grid

from dicomnet.encoding.file_header import FileHeader, HeaderIncomplete, decode_file_header, encode_file_header
from dicomnet.errors import UnusableObject

UID = st.from_regex(r"[12](\.(0|[1-9][0-9]{0,6})){2,8}", fullmatch=True)


_DATA = Path(pydicom.__file__).parent / "data"
FILES = [
    path
    for folder in ("charset_files", "test_files")
    for path in sorted((_DATA / folder).rglob("*.dcm"))
    if path.read_bytes()[128:132] == b"DICM"
]


def test_there_are_files() -> None:
    assert len(FILES) > 60


@grid("path", FILES)
def test_pydicom_reads_the_same(path: Path) -> None:
    content = path.read_bytes()
    stream = BytesIO(content)
    read_preamble(stream, False)
    meta = _read_file_meta_info(stream)
    header = decode_file_header(content)
    assert header.sop_class_uid == str(meta.get("MediaStorageSOPClassUID", ""))
    assert header.sop_instance_uid == str(meta.get("MediaStorageSOPInstanceUID", ""))
    assert header.transfer_syntax_uid == str(meta.get("TransferSyntaxUID", ""))
    assert header.offset == stream.tell()


@pytest.mark.parametrize("path", FILES[::7], ids=lambda path: path.name)
def test_a_prefix_gives_the_same_or_asks_for_more(path: Path) -> None:
    content = path.read_bytes()
    whole = decode_file_header(content)
    for length in {132, 133, 140, whole.offset - 1, whole.offset + 11, whole.offset + 12}:
        prefix = content[: min(length, len(content))]
        try:
            header = decode_file_header(prefix)
        except HeaderIncomplete as incomplete:
            needed = incomplete.needed
        else:
            needed = 1 << 30
            # Behind the mark there may be nothing at all, and the end may fall between two elements.
            assert header == whole or header.offset == len(prefix) < whole.offset
        assert needed > len(prefix)


def test_asking_for_more_comes_to_an_end() -> None:
    content = FILES[0].read_bytes()
    length = 132
    for _ in range(100):
        try:
            header = decode_file_header(content[:length])
        except HeaderIncomplete as incomplete:
            length = incomplete.needed
        else:
            if header.offset < length or header.sop_class_uid:
                break
            length += 12
    assert header.offset == decode_file_header(content).offset


@given(UID, UID, UID, st.from_regex(r"([A-Z][A-Z0-9 ]{0,14}[A-Z0-9])?", fullmatch=True))
def test_what_is_written_is_read_again(sop_class: str, instance: str, syntax: str, title: str) -> None:
    encoded = encode_file_header(sop_class, instance, syntax, title)
    header = decode_file_header(encoded + b"\x08\x00\x05\x00CS\x00\x00" + bytes(8))
    assert header.sop_class_uid == sop_class
    assert header.sop_instance_uid == instance
    assert header.transfer_syntax_uid == syntax
    assert header.offset == len(encoded)


@given(UID, UID, st.from_regex(r"([A-Z][A-Z0-9 ]{0,14}[A-Z0-9])?", fullmatch=True))
def test_pydicom_reads_what_is_written(sop_class: str, instance: str, title: str) -> None:
    """PS3.10 section 7.1: zero preamble, group length, version, and the UIDs."""
    encoded = encode_file_header(sop_class, instance, "1.2.840.10008.1.2.1", title)
    assert encoded[:132] == bytes(128) + b"DICM"
    dataset = pydicom.dcmread(BytesIO(encoded + b"\x10\x00\x20\x00LO\x02\x00ID"))
    meta = dataset.file_meta
    assert meta.MediaStorageSOPClassUID == sop_class
    assert meta.MediaStorageSOPInstanceUID == instance
    assert meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert meta.FileMetaInformationVersion == b"\x00\x01"
    assert meta.ImplementationClassUID
    assert meta.FileMetaInformationGroupLength == len(encoded) - 144
    assert meta.get("SourceApplicationEntityTitle", "") == title
    assert dataset.PatientID == "ID"


def test_file_meta_information_without_vrs_was_not_read() -> None:
    """PS3.10 section 7.1 has explicit VR little endian; some writers have the implicit one, and pydicom reads it."""
    meta = b"".join(
        struct.pack("<HHL", 2, number, len(value)) + value
        for number, value in (
            (1, b"\0\1"),
            (2, b"1.2.840.10008.5.1.4.1.1.2\0"),
            (3, b"1.2.3.4\0"),
            (0x10, b"1.2.840.10008.1.2\0"),
        )
    )
    for group_length in (b"", struct.pack("<HHLL", 2, 0, 4, len(meta))):
        head = bytes(128) + b"DICM" + group_length + meta
        header = decode_file_header(head + b"\x08\0\x05\0" + bytes(12))
        assert header == FileHeader("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", "1.2.840.10008.1.2", len(head))
        with pytest.raises(HeaderIncomplete):
            decode_file_header(head[:-3])


@given(st.binary(max_size=400))
def test_garbage_is_a_value_or_a_documented_error(data: bytes) -> None:
    for content in (data, bytes(128) + b"DICM" + data):
        try:
            header = decode_file_header(content)
        except (HeaderIncomplete, UnusableObject):
            continue
        assert 0 <= header.offset <= len(content)


def test_a_length_that_is_too_large_is_refused_at_once() -> None:
    damaged = bytes(128) + b"DICM" + b"\x02\x00\x01\x00OB\x00\x00\xff\xff\xff\xff" + bytes(64)
    with pytest.raises(UnusableObject):
        decode_file_header(damaged)


def test_nothing_is_inflated() -> None:
    """A deflated data set begins behind a header that is not deflated (PS3.5 Annex A.5)."""
    deflated = zlib.compressobj(wbits=-15)
    body = deflated.compress(b"\x08\x00\x05\x00CS\x00\x00" * 50) + deflated.flush()
    head = encode_file_header("1.2.3", "1.2.4", "1.2.840.10008.1.2.1.99")
    assert decode_file_header(head + body).offset == len(head)
