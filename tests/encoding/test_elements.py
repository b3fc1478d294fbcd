"""The element cursor beside pydicom's reader and writer."""

from __future__ import annotations

import struct
import warnings
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_charset_files, get_testdata_file, get_testdata_files
from pydicom.dataelem import RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import data_element_generator
from pydicom.filewriter import write_data_element
from pydicom.tag import BaseTag
from tests.grids import grid

from dicomnet.encoding.elements import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_BIG,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    Encoding,
    elements,
    encoding_of,
)
from dicomnet.encoding.file_header import decode_file_header
from dicomnet.encoding.transfer_syntaxes import transfer_syntax
from dicomnet.encoding.vrs import VRS
from dicomnet.errors import UnusableObject

ENCODINGS = [IMPLICIT_LITTLE, IMPLICIT_BIG, EXPLICIT_LITTLE, EXPLICIT_BIG]


def _files() -> list[tuple[Path, bytes, Encoding]]:
    found = []
    for path in map(Path, sorted({*get_testdata_files(), *get_charset_files()})):
        if not path.is_file():
            continue
        whole = path.read_bytes()
        try:
            header = decode_file_header(whole)
        except UnusableObject:
            continue
        row = transfer_syntax(header.transfer_syntax_uid)
        if header.transfer_syntax_uid and not row.is_deflated:
            encoding = encoding_of(row.is_implicit, row.is_little_endian)
            found.append((path, whole[header.offset :], encoding))
    return found


FILES = _files()
# Its transfer syntax is not that of its data set, which pydicom notices.
LIES = {"SC_rgb_jpeg.dcm"}


def _ours(data: bytes, encoding: Encoding) -> list[tuple[int, str | None, int, int]]:
    """Tag, VR, length and place of the values of one level, up to what has an undefined length or is cut off."""
    found = []
    for tag, vr, _, start, end in elements(data, encoding):
        if end - start == UNDEFINED_LENGTH or end > len(data):
            break
        found.append((tag, vr or None, end - start, start))
    return found


def _pydicoms(data: bytes, encoding: Encoding) -> list[tuple[int, str | None, int, int]]:
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = data_element_generator(BytesIO(data), encoding.is_implicit, encoding.is_little_endian)
        for element in read:
            # Sequences of undefined length come as elements that are no longer raw.
            if not isinstance(element, RawDataElement) or element.length == UNDEFINED_LENGTH:
                break
            found.append((int(element.tag), element.VR, element.length, element.value_tell))
    return found


def test_there_are_files_in_the_encodings_that_are_used() -> None:
    assert len(FILES) > 100
    assert {encoding for _, _, encoding in FILES} == {IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG}


@grid(("path", "data", "encoding"), FILES)
def test_elements_lie_where_pydicom_finds_them(path: Path, data: bytes, encoding: Encoding) -> None:
    if path.name in LIES:
        return
    try:
        expected = _pydicoms(data, encoding)
    except (EOFError, struct.error):
        # A sequence of undefined length that is cut off.
        return
    found = _ours(data, encoding)
    assert found == expected[: len(found)]
    assert len(expected) - len(found) <= 1


SMALL = ["rtplan.dcm", "reportsi.dcm", "ExplVR_BigEnd.dcm", "MR_small_implicit.dcm"]


@pytest.mark.parametrize("name", SMALL)
def test_what_is_cut_off_gives_what_is_there_or_struct_error(name: str) -> None:
    data, encoding = next((data, encoding) for path, data, encoding in FILES if path.name == name)
    data = data[:3000]
    whole = _all(data, encoding)
    for length in range(len(data)):
        found = _all(data[:length], encoding)
        assert found == whole[: len(found)]
        # Each header that is whole was read.
        assert len(found) >= sum(start <= length for _, _, _, start, _ in whole) - 1


def _all(data: bytes, encoding: Encoding) -> list[tuple[int, str, int, int, int]]:
    found: list[tuple[int, str, int, int, int]] = []
    with suppress(struct.error):
        found.extend(elements(data, encoding))
    return found


@grid("encoding", ENCODINGS)
@grid("vr", VRS)
def test_each_vr_is_written_as_by_pydicom_and_read_again(vr: str, encoding: Encoding) -> None:
    value = b"12345678"
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = encoding.is_implicit, encoding.is_little_endian
    tag = BaseTag(0x00110010)
    raw = RawDataElement(tag, vr, len(value), value, 0, encoding.is_implicit, encoding.is_little_endian)
    if vr == "SQ":
        header = encoding.header(0x00110010, vr, len(value))
    else:
        write_data_element(stream, raw)
        header = encoding.header(0x00110010, vr, len(value))
        assert stream.getvalue() == header + value
    name = "" if encoding.is_implicit else vr
    assert list(elements(header + value, encoding)) == [
        (0x00110010, name, 0, len(header), len(header) + len(value))
    ]


@pytest.mark.parametrize("encoding", ENCODINGS, ids=repr)
@pytest.mark.parametrize("tag", [ITEM, ITEM_END, SEQUENCE_END])
def test_items_and_delimiters_have_no_vr_in_any_encoding(tag: int, encoding: Encoding) -> None:
    header = encoding.header(tag, "", 70_000)
    assert len(header) == 8
    assert next(elements(header, encoding)) == (tag, "", 0, 8, 70_008)
    assert encoding.item(header, 0) == (tag >> 16, tag & 0xFFFF, 70_000)


def test_vrs_of_a_future_edition_have_the_long_form() -> None:
    """PS3.5 section 7.1.2; and what is not one has the short form, as pydicom reads it."""
    tag = b"\x11\0\x10\0"
    for letters, rest, length in ((b"ZZ", b"\0\0\4\0\0\0", 4), (b"ZZ", b"\4\0", 4), (b"??", b"\4\0", 4)):
        header = tag + letters + rest
        (element,) = elements(header + b"abcd", EXPLICIT_LITTLE)
        assert element == (0x00110010, letters.decode(), 0, len(header), len(header) + length)


def test_a_length_that_does_not_fit_is_refused() -> None:
    with pytest.raises(struct.error):
        EXPLICIT_LITTLE.header(0x00100020, "LO", 70_000)
    assert len(EXPLICIT_LITTLE.header(0x00100020, "UT", 70_000)) == 12


def test_file_meta_information_with_vrs_of_64_bit_integers_is_read() -> None:
    """UV and SV were missing in one of the tables, so that what came behind them was lost."""
    found = get_testdata_file("CT_small.dcm")
    assert isinstance(found, str)
    whole = Path(found).read_bytes()
    private = b"".join(
        struct.pack("<HH2s2xLQ", 2, element, vr, 8, 1) for element, vr in ((0x11, b"UV"), (0x13, b"SV"))
    )
    at = whole.index(b"\x02\x00\x12\x00UI")
    inside = whole[:at] + private + whole[at:]
    before, after = decode_file_header(whole), decode_file_header(inside)
    assert after.offset == before.offset + len(private)
    assert after.sop_instance_uid == before.sop_instance_uid == str(dcmread(found).SOPInstanceUID)
