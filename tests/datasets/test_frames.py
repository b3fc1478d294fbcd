"""Frames against pydicom's, over its test files, and made-up fragments with every kind of offset table."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from struct import pack
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicomnet.datasets.frames import frame_table
from dicomnet.datasets.headers import read_header
from dicomnet.datasets.json_model import to_json
from dicomnet.drivers.files import read_header as read_file_header
from dicomnet.errors import UnusableObject

EXPLICIT, JPEG_2000, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"
_DATA = Path(pydicom.__file__).parent / "data" / "test_files"
# In big endian or deflated, without pixel data that fits, or not to be read by its file meta information.
_OTHERS = (
    *("ExplVR_BigEnd", "ExplVR_BigEndNoMeta", "ExplVR_LitEndNoMeta", "MR_small_bigendian", "MR_small_expb"),
    *(
        "MR_truncated",
        "SC_rgb_jpeg",
        "SC_rgb_small_odd_big_endian",
        "badVR",
        "image_dfl",
        "liver_expb_1frame",
    ),
    *("meta_missing_tsyntax", "nested_priv_SQ", "no_meta", "rtdose_expb", "rtdose_expb_1frame", "rtstruct"),
)
FILES = sorted(path for path in _DATA.glob("*.dcm") if path.stem not in _OTHERS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")
def test_are_pydicoms(path: Path) -> None:
    data_set = pydicom.dcmread(path)
    syntax = data_set.file_meta.TransferSyntaxUID
    stream = BytesIO(path.read_bytes())
    stream.seek(read_file_header(stream)[0].offset)
    table = frame_table(stream, syntax)
    if "PixelData" not in data_set:
        assert table is None
        return
    assert table is not None
    count = int(data_set.get("NumberOfFrames") or 1)
    found = [b"".join(table.chunks(stream, number)) for number in range(1, count + 1)]
    assert table.count == count
    assert [table.length(number) for number in range(1, count + 1)] == [len(frame) for frame in found]
    if syntax.is_encapsulated:
        assert found == list(generate_frames(data_set.PixelData, number_of_frames=count))
    else:
        assert b"".join(found) == data_set.PixelData[: len(found[0]) * count]


def _stream(syntax: str, **values: Any) -> BytesIO:
    data_set = Dataset()
    data_set.Rows, data_set.Columns, data_set.SamplesPerPixel, data_set.BitsAllocated = 2, 2, 1, 8
    data_set.PhotometricInterpretation = "MONOCHROME2"
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    if "PixelData" in data_set:
        data_set["PixelData"].VR = "OB"
        data_set["PixelData"].is_undefined_length = syntax != EXPLICIT
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = False, True
    write_dataset(stream, data_set)
    return BytesIO(stream.getvalue())


def _frames(stream: BytesIO, syntax: str) -> list[bytes]:
    table = frame_table(stream, syntax)
    assert table is not None
    return [b"".join(table.chunks(stream, number)) for number in range(1, table.count + 1)]


def _items(*contents: bytes) -> bytes:
    """Fragments with an empty Basic Offset Table."""
    return b"".join(b"\xfe\xff\x00\xe0" + pack("<L", len(each)) + each for each in (b"", *contents))


_MADE = [b"\xff\x4f\xff\x51" + bytes([number]) * 60 for number in range(3)]


@pytest.mark.parametrize("fragments", [1, 2, 3])
def test_a_basic_offset_table_tells_which_fragments_are_a_frame(fragments: int) -> None:
    content = encapsulate(_MADE, fragments_per_frame=fragments, has_bot=True)
    assert _frames(_stream(JPEG_2000, NumberOfFrames=3, PixelData=content), JPEG_2000) == _MADE


def test_an_extended_offset_table_tells_it() -> None:
    content, offsets, lengths = encapsulate_extended(_MADE)
    stream = _stream(
        JPEG_2000,
        NumberOfFrames=3,
        PixelData=content,
        ExtendedOffsetTable=offsets,
        ExtendedOffsetTableLengths=lengths,
    )
    assert _frames(stream, JPEG_2000) == _MADE


def test_the_beginning_of_codestreams_tells_it() -> None:
    halves = [half for frame in _MADE for half in (frame[:32], frame[32:])]
    stream = _stream(JPEG_2000, NumberOfFrames=3, PixelData=_items(*halves))
    assert _frames(stream, JPEG_2000) == _MADE


def test_where_nothing_tells_it_nothing_is_guessed() -> None:
    stream = _stream(RLE, NumberOfFrames=3, PixelData=_items(*[bytes(4)] * 4))
    with pytest.raises(UnusableObject, match="its 3 frames are in 4 fragments, and nothing tells"):
        frame_table(stream, RLE)


def test_a_wrong_offset_table_is_not_trusted() -> None:
    halves = [half for frame in _MADE for half in (frame[:32], frame[32:])]
    content = bytearray(_items(*halves))
    table = pack("<LLL", 0, 40, 41)
    content[4:8] = pack("<L", len(table))
    content[8:8] = table
    assert _frames(_stream(JPEG_2000, NumberOfFrames=3, PixelData=bytes(content)), JPEG_2000) == _MADE


def test_frames_of_single_bits_go_on_within_a_byte() -> None:
    stream = _stream(EXPLICIT, NumberOfFrames=3, BitsAllocated=1, Rows=1, Columns=5, PixelData=b"\xe1\x6b")
    # 10000 11111 01011, each from the lowest bit on.
    assert _frames(stream, EXPLICIT) == [b"\x01", b"\x1f", b"\x1a"]


def test_float_pixels_and_shared_samples() -> None:
    stream = _stream(EXPLICIT, BitsAllocated=32, FloatPixelData=bytes(range(16)))
    assert _frames(stream, EXPLICIT) == [bytes(range(16))]
    stream = _stream(
        EXPLICIT,
        SamplesPerPixel=3,
        PhotometricInterpretation="YBR_FULL_422",
        NumberOfFrames=2,
        PixelData=bytes(range(16)),
    )
    assert _frames(stream, EXPLICIT) == [bytes(range(8)), bytes(range(8, 16))]


def test_pixel_data_that_is_too_short_is_refused() -> None:
    with pytest.raises(UnusableObject, match="its pixel data has 4 bytes, its attributes ask for 8"):
        frame_table(_stream(EXPLICIT, NumberOfFrames=2, PixelData=bytes(4)), EXPLICIT)


def test_a_sequence_that_ends_within_an_item_is_damage_and_no_failure_of_the_file() -> None:
    """pydicom raises an OSError of its own, which was taken for that of a file that cannot be read now."""
    item = pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    sequence = pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    for length in range(1, len(item)):
        with pytest.raises(UnusableObject, match="damaged"):
            read_header(BytesIO(sequence + item + sequence + item[:length]), EXPLICIT)


def test_what_is_behind_the_pixels_and_what_is_long_is_in_the_header() -> None:
    stream = _stream(
        EXPLICIT,
        TextValue="x" * 100_000,
        EncapsulatedDocument=bytes(70_000),
        PixelData=bytes(70_000),
        DataSetTrailingPadding=b"\1\2",
    )
    data_set, pixels = read_header(stream, EXPLICIT)
    assert pixels is not None
    model = to_json(data_set, "{}".format)
    assert model["0040A160"]["Value"] == ["x" * 100_000]
    assert model["00420011"] == {"vr": "OB", "BulkDataURI": "00420011"}
    assert model["7FE00010"] == {"vr": "OB", "BulkDataURI": "7FE00010"}
    assert model["FFFCFFFC"] == {"vr": "OB", "InlineBinary": "AQI="}
    elements: dict[int, Any] = dict(data_set.items())
    document = elements[0x00420011]
    stream.seek(document.value_tell)
    assert stream.read(document.length) == bytes(70_000)
