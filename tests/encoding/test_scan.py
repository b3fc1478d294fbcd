from __future__ import annotations

import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_charset_files, get_testdata_file, get_testdata_files
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from tests.grids import grid

from dicomnet.encoding import walk
from dicomnet.encoding.file_header import decode_file_header
from dicomnet.encoding.scan import DEFLATED_SYNTAXES, HeaderScanner, scan
from dicomnet.encoding.walk import CANNOT_UNDERSTAND
from dicomnet.errors import ServiceRefusal, UnusableObject

T = TypeVar("T")

# What no storage SCP should take, and why.
REFUSED = {
    "emri_small_jpeg_2k_lossless_too_short.dcm": "cut off inside pixel data",
    "MR_truncated.dcm": "cut off inside pixel data",
    "rtplan_truncated.dcm": "cut off inside a sequence",
    "SC_rgb_jpeg.dcm": "implicit VR although its transfer syntax is explicit",
    "DICOMDIR-nooffset": "an item that is longer than its sequence",
}


def _dicom_files() -> list[Path]:
    found = []
    for path in map(Path, get_testdata_files() + get_charset_files()):
        if path.is_file():
            try:
                if decode_file_header(path.read_bytes()[:4096]).transfer_syntax_uid:
                    found.append(path)
            except UnusableObject:
                pass
    return sorted(set(found))


FILES = _dicom_files()


def _read(path: Path) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path)


def _split(path: Path) -> tuple[bytes, int, str]:
    whole = path.read_bytes()
    header = decode_file_header(whole)
    return whole[header.offset :], header.offset, header.transfer_syntax_uid


def test_there_are_files_to_compare_with() -> None:
    assert len(FILES) > 150
    assert set(REFUSED) <= {path.name for path in FILES}


@grid("path", FILES)
def test_reads_what_pydicom_reads(path: Path) -> None:
    data, offset, syntax = _split(path)
    if path.name in REFUSED:
        with pytest.raises(ServiceRefusal) as refusal:
            scan(data, syntax, {}, is_strict=True)
        assert refusal.value.status == CANNOT_UNDERSTAND
        return
    expected = _read(path)
    raw: dict[int, Any] = {int(tag): expected.get_item(tag) for tag in expected.keys()}  # noqa: SIM118
    header = scan(data, syntax, dict.fromkeys(raw, "UN"))
    pixel = raw.get(0x7FE00010)
    if isinstance(pixel, RawDataElement) and syntax not in DEFLATED_SYNTAXES:
        assert header.pixel_data is not None
        assert pixel.value_tell - offset - header.pixel_data in (8, 12)
    assert set(header.values) | {0x7FE00010} == set(raw) | {0x7FE00010}
    for tag, element in raw.items():
        if isinstance(element, RawDataElement) and element.VR != "SQ" and tag != 0x7FE00010:
            vr, value = header.values[tag]
            assert value == (element.value or b"")
            if element.VR not in (None, "UN"):
                assert vr == element.VR


SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]


def _with_sequences(make: Callable[..., Dataset]) -> Dataset:
    code = Dataset()
    code.CodeValue = "T-A0100"
    code.CodeMeaning = "Brain"
    reference = Dataset()
    reference.PurposeOfReferenceCodeSequence = Sequence([code])
    data_set = make(
        AnatomicRegionSequence=Sequence([code, Dataset()]), SourceImageSequence=Sequence([reference])
    )
    data_set["SourceImageSequence"].is_undefined_length = True
    reference.is_undefined_length_sequence_item = True
    return data_set


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_cut_object_is_refused_unless_the_cut_is_between_elements(
    syntax: str, make: Callable[..., Dataset], encode: Callable[..., bytes]
) -> None:
    data_set = _with_sequences(make)
    whole = encode(data_set, syntax)
    scan(whole, syntax, {})
    boundaries = {0}
    if syntax != DeflatedExplicitVRLittleEndian:
        for count in range(1, len(data_set) + 1):
            head = Dataset()
            for tag in sorted(data_set.keys())[:count]:
                head[tag] = data_set[tag]
            boundaries.add(len(encode(head, syntax)))
    for end in range(1, len(whole)):
        if end in boundaries:
            continue
        with pytest.raises(ServiceRefusal) as refusal:
            # A cut behind the first byte of a tag may leave a zero behind the last element.
            scan(whole[:end], syntax, {}, is_strict=True)
        assert refusal.value.status == CANNOT_UNDERSTAND, end


SEQUENCE = 0x00081140
UNDEFINED = 0xFFFFFFFF


def _element(tag: int, vr: bytes, length: int, *, implicit: bool) -> bytes:
    if implicit:
        return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, length)
    return struct.pack("<HH2s2xL", tag >> 16, tag & 0xFFFF, vr, length)


def _nested(levels: int, *, implicit: bool, defined: bool, vr: bytes = b"SQ") -> bytes:
    head = len(_element(SEQUENCE, vr, 0, implicit=implicit))
    if not defined:
        opening = _element(SEQUENCE, vr, UNDEFINED, implicit=implicit) + _element(
            0xFFFEE000, b"", UNDEFINED, implicit=True
        )
        closing = _element(0xFFFEE00D, b"", 0, implicit=True) + _element(0xFFFEE0DD, b"", 0, implicit=True)
        return opening * levels + closing * levels
    parts = []
    for level in range(levels, 0, -1):
        inner = (head + 8) * (level - 1)
        parts.append(_element(SEQUENCE, vr, inner + 8, implicit=implicit))
        parts.append(_element(0xFFFEE000, b"", inner, implicit=True))
    return b"".join(parts)


FORMS = [
    (ImplicitVRLittleEndian, True, False, b"SQ"),
    (ImplicitVRLittleEndian, True, True, b"SQ"),
    (ExplicitVRLittleEndian, False, False, b"SQ"),
    (ExplicitVRLittleEndian, False, True, b"SQ"),
]


@pytest.mark.parametrize(("syntax", "implicit", "defined", "vr"), FORMS)
def test_sequences_have_a_depth_limit(syntax: str, implicit: bool, defined: bool, vr: bytes) -> None:
    scan(_nested(64, implicit=implicit, defined=defined, vr=vr), syntax, {})
    with pytest.raises(ServiceRefusal) as refusal:
        scan(_nested(65, implicit=implicit, defined=defined, vr=vr), syntax, {})
    assert refusal.value.status == CANNOT_UNDERSTAND
    with pytest.raises(ServiceRefusal):
        scan(_nested(20_000, implicit=implicit, defined=defined, vr=vr), syntax, {})
    with pytest.raises(ServiceRefusal):
        scan(_nested(20_000, implicit=implicit, defined=False, vr=vr)[:320_000], syntax, {})


@pytest.mark.parametrize("length", [UNDEFINED, 20_000 * 16 - 8])
def test_unknown_sequences_have_a_depth_limit(length: int) -> None:
    """Inside UN, encoding is implicit VR (PS3.5 section 6.2.2)."""
    inner = _nested(20_000, implicit=True, defined=length != UNDEFINED)
    data = _element(SEQUENCE, b"UN", length, implicit=False) + inner[8:]
    with pytest.raises(ServiceRefusal, match="nested"):
        scan(data, ExplicitVRLittleEndian, {})


@pytest.mark.parametrize(
    "tag", [0x00000000, 0x00000002, 0x00020010, 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0xFFFE0001]
)
@pytest.mark.parametrize("syntax", SYNTAXES[:3])
def test_elements_that_no_data_set_may_have(
    tag: int, syntax: str, make: Callable[..., Dataset], encode: Callable[..., bytes]
) -> None:
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    implicit = syntax == ImplicitVRLittleEndian
    bad = struct.pack(
        order + ("HHL" if implicit else "HH2sH"), tag >> 16, tag & 0xFFFF, *((0,) if implicit else (b"UI", 0))
    )
    whole = encode(make(), syntax)
    for data in (bad + whole, whole + bad):
        with pytest.raises(ServiceRefusal):
            scan(data, syntax, {}, is_strict=True)


@pytest.mark.parametrize("length", [2, 0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFE])
@pytest.mark.parametrize("implicit", [True, False])
def test_lengths_past_the_end(length: int, implicit: bool) -> None:
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    with pytest.raises(ServiceRefusal):
        scan(_element(0x00420011, b"OB", length, implicit=implicit), syntax, {0x00420011: "OB"})


def test_an_item_may_not_pass_its_sequence_nor_an_element_its_item() -> None:
    item = _element(0xFFFEE000, b"", 20, implicit=True)
    inside = struct.pack("<HH2sH", 8, 0x100, b"SH", 4) + b"ABCD"
    for sequence, first in ((20, item + inside), (28, item + inside + bytes(8))):
        with pytest.raises(ServiceRefusal):
            scan(_element(SEQUENCE, b"SQ", sequence, implicit=False) + first, ExplicitVRLittleEndian, {})


def test_real_world_oddities_are_taken(make: Callable[..., Dataset], encode: Callable[..., bytes]) -> None:
    whole = encode(make())
    odd = struct.pack("<HH2sH", 0x10, 0x4000, b"LT", 3) + b"odd"
    lower = struct.pack("<HH2sH", 0x11, 0x1001, b"??", 2) + b"ab"
    future = struct.pack("<HH2s2xL", 0x11, 0x1002, b"ZZ", 2) + b"ab"
    padding = struct.pack("<HH2s2xL", 0xFFFC, 0xFFFC, b"OB", 10) + bytes(10)
    unknown = (
        _element(0x00111003, b"UN", UNDEFINED, implicit=False) + _nested(1, implicit=True, defined=False)[8:]
    )
    implicit_item = (
        _element(0x00111004, b"SQ", UNDEFINED, implicit=False) + _nested(1, implicit=True, defined=True)[8:]
    )
    implicit_item += _element(0xFFFEE0DD, b"", 0, implicit=True)
    looks_like = _element(0x00111005, b"UN", 12, implicit=False) + b"\xfe\xff\x00\xe0" + b"\xff" * 8
    data = odd + lower + future + unknown + implicit_item + looks_like + whole + padding
    wanted = {
        0x00104000: "LT",
        0x00111001: "LO",
        0x00111002: "LO",
        0x00111005: "LO",
        0x00100020: "LO",
        0xFFFCFFFC: "OB",
    }
    values = scan(data, ExplicitVRLittleEndian, wanted).values
    assert values[0x00104000] == ("LT", b"odd")
    assert values[0x00111001] == values[0x00111002] == ("LO", b"ab")
    assert values[0x00111005][1].startswith(b"\xfe\xff\x00\xe0")
    assert values[0x00100020] == ("LO", b"P1")
    assert len(values[0xFFFCFFFC][1]) == 10


def test_an_attribute_that_is_there_twice_is_refused_if_it_differs() -> None:
    one = struct.pack("<HH2sH", 8, 0x18, b"UI", 4) + b"1.2\0"
    other = struct.pack("<HH2sH", 8, 0x18, b"UI", 4) + b"1.3\0"
    wanted = {0x00080018: "UI"}
    assert scan(one + one, ExplicitVRLittleEndian, wanted).uid(0x00080018) == "1.2"
    with pytest.raises(ServiceRefusal):
        scan(one + other, ExplicitVRLittleEndian, wanted)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_items_of_a_sequence(syntax: str, make: Callable[..., Dataset], encode: Callable[..., bytes]) -> None:
    data = encode(_with_sequences(make), syntax)
    code = {0x00080100: "SH", 0x00080104: "LO"}
    header = scan(data, syntax, {0x00082218: "SQ", 0x00082112: "SQ"})
    codes = HeaderScanner(code)
    first, second = codes.scan_items(header, 0x00082218)
    assert first.values == {0x00080100: ("SH", b"T-A0100 "), 0x00080104: ("LO", b"Brain ")}
    assert second.values == {}
    (outer,) = HeaderScanner({0x0040A170: "SQ"}).scan_items(header, 0x00082112)
    (inner,) = codes.scan_items(outer, 0x0040A170)
    assert inner.values == first.values


def test_a_decompression_bomb_costs_little_memory() -> None:
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    block = bytes(1 << 20)
    bomb = struct.pack("<HH2s2xL", 0x7FE0, 0x10, b"OB", 512 << 20)
    data = deflate.compress(bomb) + b"".join(deflate.compress(block) for _ in range(512)) + deflate.flush()
    assert len(data) < 600_000
    tracemalloc.start()
    try:
        with pytest.raises(ServiceRefusal) as refusal:
            scan(data, DeflatedExplicitVRLittleEndian, {})
        assert refusal.value.status == CANNOT_UNDERSTAND
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("damage", [b"", b"\x00", b"no deflate stream at all"])
def test_what_is_no_deflate_stream_is_refused(damage: bytes) -> None:
    with pytest.raises(ServiceRefusal):
        scan(damage, DeflatedExplicitVRLittleEndian, {})


def test_a_deflate_stream_may_be_padded_but_not_followed(
    make: Callable[..., Dataset], encode: Callable[..., bytes]
) -> None:
    data = encode(make(), DeflatedExplicitVRLittleEndian)
    scan(data + b"\0", DeflatedExplicitVRLittleEndian, {})
    with pytest.raises(ServiceRefusal):
        scan(data + bytes(100) + b"\1", DeflatedExplicitVRLittleEndian, {})


def _small(name: str) -> tuple[bytes, str]:
    found = get_testdata_file(name)
    assert isinstance(found, str)
    data, _, syntax = _split(Path(found))
    return data, syntax


SMALL = [
    _small(name)
    for name in ("rtplan.dcm", "reportsi.dcm", "emri_small_RLE.dcm", "ExplVR_BigEnd.dcm", "image_dfl.dcm")
]


@settings(max_examples=200)
@given(
    data=st.data(),
    which=st.sampled_from(range(len(SMALL))),
    changes=st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_a_value_or_a_refusal(data: st.DataObject, which: int, changes: list[tuple[int, int]]) -> None:
    whole, syntax = SMALL[which]
    mutated = bytearray(whole)
    reach = min(len(mutated), 4096)
    for place, byte in changes:
        mutated[place % reach] = byte
    cut = data.draw(st.integers(0, len(mutated)))
    for content in (mutated, mutated[:cut]):
        header = _outcome(partial(scan, content, syntax, _WANTED))
        if header is None:
            continue
        for tag, (vr, _) in header.values.items():
            if vr == "SQ":
                _outcome(partial(HeaderScanner(_WANTED).scan_items, header, tag))


_WANTED = {0x00080018: "UI", 0x00081140: "SQ", 0x300A0070: "SQ", 0x00081155: "UI"}


def _outcome(call: Callable[[], T]) -> T | None:
    """What a call gives, or None where it refuses in the documented way."""
    try:
        return call()
    except ServiceRefusal as refusal:
        if refusal.status != CANNOT_UNDERSTAND:
            raise
        return None


@settings(max_examples=200)
@given(st.binary(max_size=200), st.sampled_from(SYNTAXES))
def test_garbage_is_a_value_or_a_refusal(garbage: bytes, syntax: str) -> None:
    _outcome(lambda: scan(garbage, syntax, {}))


@pytest.mark.parametrize("length", [0, 1, (1 << 20) - 12, (1 << 20) - 11, 1 << 20, 3_000_001])
def test_deflated_data_sets_of_any_length(
    length: int, make: Callable[..., Dataset], encode: Callable[..., bytes]
) -> None:
    data = encode(make(PixelData=bytes(length)), DeflatedExplicitVRLittleEndian)
    assert scan(data, DeflatedExplicitVRLittleEndian, {0x00080018: "UI"}).uid(0x00080018) == "1.2.3.4.5"


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("count", [10, 65_530, 258_387])
def test_zeros_behind_a_deflated_data_set(
    count: int, learns: bool, make: Callable[..., Dataset], encode: Callable[..., bytes]
) -> None:
    """Orthanc's files have them: what it stored by C-STORE could not be imported."""
    syntax, wanted = DeflatedExplicitVRLittleEndian, {0x00080018: "UI"}
    data = encode(make(PixelData=bytes(5000)), syntax)
    tolerant, strict = HeaderScanner(wanted), HeaderScanner(wanted, is_strict=True)
    for _ in range(3):
        if learns:
            assert tolerant.scan(data, syntax).irregular == strict.scan(data, syntax).irregular == ()
        found = tolerant.scan(data + bytes(count), syntax)
        assert found.uid(0x00080018) == "1.2.3.4.5"
        assert found.irregular == ("there are zeros behind the deflated data set",)
        with pytest.raises(ServiceRefusal, match="zeros"):
            strict.scan(data + bytes(count), syntax)
        for last in (b"\1", b"\1" + bytes(9)):
            with pytest.raises(ServiceRefusal, match="something behind the deflated data set"):
                tolerant.scan(data + bytes(count) + last, syntax)


def test_a_value_that_is_too_long_is_not_picked() -> None:
    data = struct.pack("<HHL", 0x10, 0x4000, 2 << 20) + bytes(2 << 20)
    assert scan(data, ImplicitVRLittleEndian, {0x00104000: "LT"}).values == {}


@pytest.mark.parametrize("form", ["elements", "items", "fragments", "guesses"])
def test_the_number_of_elements_is_limited(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "ELEMENT_LIMIT", 1_000)
    item, end = _element(0xFFFEE000, b"", 0, implicit=True), _element(0xFFFEE0DD, b"", 0, implicit=True)
    broken = item * 10 + b"\0" * 8
    one, before, after = {
        "elements": (struct.pack("<HH2sH", 0x11, 0x1001, b"LO", 0), b"", b""),
        "items": (item, _element(SEQUENCE, b"SQ", UNDEFINED, implicit=False), end),
        "fragments": (item, _element(0x7FE00010, b"OB", UNDEFINED, implicit=False), end),
        "guesses": (_element(0x00111001, b"UN", len(broken), implicit=False) + broken, b"", b""),
    }[form]
    fewer = 990 if form != "guesses" else 70
    scan(before + one * fewer + after, ExplicitVRLittleEndian, {})
    with pytest.raises(ServiceRefusal, match="too many"):
        scan(before + one * 1_010 + after, ExplicitVRLittleEndian, {})


def _irregular() -> dict[str, tuple[str, bytes, bytes]]:
    """Transfer syntax, what follows the identifiers in a regular form, and the same in an irregular one."""
    sequence = _element(SEQUENCE, b"SQ", UNDEFINED, implicit=False)
    inner = struct.pack("<HH2sH4s", 0x0008, 0x1155, b"UI", 4, b"1.2\0")
    item, item_end, end = (struct.pack("<HHL", 0xFFFE, each, 0) for each in (0xE000, 0xE00D, 0xE0DD))
    open_item = item[:4] + struct.pack("<L", UNDEFINED)
    long_item_end, long_end = item_end[:4] + b"\4\0\0\0", end[:4] + b"\x0c\0\0\0"
    pixels = struct.pack("<HH2s2xL", 0x7FE0, 0x0010, b"OB", UNDEFINED) + item + item[:4] + b"\2\0\0\0\xff\xd8"
    name = struct.pack("<HH2sH4s", 0x0010, 0x0010, b"PN", 4, b"A^B ")
    meta = struct.pack("<HH2sH4s", 0x0002, 0x0002, b"UI", 4, b"1.2\0")
    status = struct.pack("<HH2sHH", 0, 0x0900, b"US", 2, 0)
    length = struct.pack("<HH2sHL", 0, 0, b"UL", 4, 10)
    jpeg = "1.2.840.10008.1.2.4.50"
    plain = ExplicitVRLittleEndian
    return {
        "one zero behind the last element": (plain, name, name + b"\0"),
        "many zeros behind the last element": (plain, name, name + bytes(4096)),
        "zeros behind pixel data": (jpeg, pixels + end, pixels + end + bytes(20)),
        "an item delimiter with a length": (
            plain,
            sequence + open_item + inner + item_end + end,
            sequence + open_item + inner + long_item_end + end,
        ),
        "a sequence delimiter with a length": (
            plain,
            sequence + open_item + inner + item_end + end + name,
            sequence + open_item + inner + item_end + long_end + name,
        ),
        "fragments whose delimiter has a length": (jpeg, pixels + end, pixels + long_end),
        "fragments without a delimiter": (jpeg, pixels + end, pixels),
        "file meta information between elements": (plain, name, meta + name),
        "a status of a command set": (plain, name, status + name),
        "a command set with its group length": (plain, name, length + status + name),
        "a command set in an item": (
            plain,
            sequence + open_item + inner + item_end + end,
            sequence + open_item + status + inner + item_end + end,
        ),
    }


@pytest.mark.parametrize("form", _irregular())
@pytest.mark.parametrize("learns", [False, True])
def test_an_irregular_form_costs_nothing_of_the_data_set(form: str, learns: bool) -> None:
    """All of these were refused with 0xC000, though no element is lost in them. What is learned makes no difference."""
    syntax, regular, irregular = _irregular()[form]
    identity = struct.pack("<HH2sH4s", 0x0008, 0x0018, b"UI", 4, b"1.2\0")
    wanted = {0x00080018: "UI", 0x00100010: "PN", 0x00081140: "SQ"}
    expected = scan(identity + regular, syntax, wanted)
    assert expected.irregular == ()
    tolerant, strict = HeaderScanner(wanted), HeaderScanner(wanted, is_strict=True)
    for _ in range(3):
        if learns:
            assert tolerant.scan(identity + regular, syntax) == expected
            assert strict.scan(identity + regular, syntax) == expected
        found = tolerant.scan(identity + irregular, syntax)
        assert len(found.irregular) == 1
        assert found.values.keys() == expected.values.keys()
        assert found.values[0x00080018] == expected.values[0x00080018]
        assert found.values.get(0x00100010) == expected.values.get(0x00100010)
        with pytest.raises(ServiceRefusal) as refusal:
            strict.scan(identity + irregular, syntax)
        assert refusal.value.status == CANNOT_UNDERSTAND


def test_an_implicit_command_set_costs_nothing_of_the_data_set() -> None:
    identity = struct.pack("<HHL4s", 0x0008, 0x0018, 4, b"1.2\0")
    command = struct.pack("<HHLL", 0, 0, 4, 10) + struct.pack("<HHLH", 0, 0x0900, 2, 0)
    found = scan(command + identity, ImplicitVRLittleEndian, {0x00080018: "UI"})
    assert found.irregular == ("elements of a command set stand in the data set",)
    assert found.uid(0x00080018) == "1.2"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_hole_of_zeros_is_not_a_command_set(syntax: str) -> None:
    """A file system may give zeros in the place of what it has lost."""
    form = "<HH2sH4s" if syntax == ExplicitVRLittleEndian else "<HH0sL4s"
    identity = struct.pack(form, 0x0008, 0x0018, b"UI", 4, b"1.2\0")
    with pytest.raises(ServiceRefusal):
        scan(identity + bytes(512) + identity, syntax, {0x00080018: "UI"})


@pytest.mark.parametrize(
    "rest",
    [
        b"\0\0\1",
        bytes(20) + b"\1",
        struct.pack("<HH2sH", 0x0010, 0x0010, b"PN", 6) + b"A^B",
        struct.pack("<HH2s2xL", 0x7FE0, 0x0010, b"OB", UNDEFINED)
        + struct.pack("<HHL", 0xFFFE, 0xE000, 4)
        + b"\1\2",
        struct.pack("<HH2s2xL", 0x0008, 0x1140, b"SQ", UNDEFINED) + struct.pack("<HHL", 0xFFFE, 0xE000, 0),
    ],
)
def test_what_is_cut_off_stays_refused(rest: bytes) -> None:
    identity = struct.pack("<HH2sH4s", 0x0008, 0x0018, b"UI", 4, b"1.2\0")
    with pytest.raises(ServiceRefusal) as refusal:
        scan(identity + rest, "1.2.840.10008.1.2.4.50", {})
    assert refusal.value.status == CANNOT_UNDERSTAND
