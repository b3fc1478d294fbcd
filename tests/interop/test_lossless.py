"""Data sets in forms that stop some peers, or lost something on their way: DCMTK and pydicom are the judges."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from tests.support import tool

from dicomnet.datasets.transcode import transcode_file
from dicomnet.drivers.files import StoredObject, open_object
from dicomnet.encoding.file_header import encode_file_header
from dicomnet.errors import UnusableObject

from .corpus import Sendable
from .peers import OUR_SCUS, dcmtk_storescp

CT = "1.2.840.10008.5.1.4.1.1.2"
JPEG = "1.2.840.10008.1.2.4.50"


def _element(tag: int, vr: str, value: bytes, syntax: str, length: int | None = None) -> bytes:
    mark = ">" if syntax == ExplicitVRBigEndian else "<"
    count = len(value) if length is None else length
    group, number = tag >> 16, tag & 0xFFFF
    if syntax == ImplicitVRLittleEndian:
        return struct.pack(mark + "HHL", group, number, count) + value
    if vr in ("OB", "OW", "SQ", "UN", "UT"):
        return struct.pack(mark + "HH2s2xL", group, number, vr.encode(), count) + value
    return struct.pack(mark + "HH2sH", group, number, vr.encode(), count) + value


def _object(number: int, syntax: str, *more: bytes, before: Sequence[bytes] = ()) -> bytes:
    instance = f"1.2.3.{number + 100}"
    elements = [
        _element(0x00080016, "UI", CT.encode() + b"\0", syntax),
        _element(0x00080018, "UI", instance.encode() + b"\0" * (len(instance) % 2), syntax),
        *before,
        _element(0x0020000D, "UI", b"1.2.3.4\0", syntax),
        _element(0x0020000E, "UI", b"1.2.3.4\0", syntax),
        *more,
    ]
    return encode_file_header(CT, instance, syntax) + b"".join(elements)


def _odd_files(folder: Path) -> list[Path]:
    """Files whose data sets have an odd length, each in another way."""
    folder.mkdir()
    fragment = (
        struct.pack("<HHL", 0xFFFE, 0xE000, 0) + struct.pack("<HHL", 0xFFFE, 0xE000, 3) + b"\xff\xd8\xff"
    )
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 13) + _element(
        0x00081150, "UI", b"1.2.3", ExplicitVRLittleEndian
    )
    made = []
    for number, (syntax, more) in enumerate(
        [
            (ExplicitVRLittleEndian, [_element(0x00204000, "LT", b"odd", ExplicitVRLittleEndian)]),
            (ImplicitVRLittleEndian, [_element(0x00204000, "LT", b"odd", ImplicitVRLittleEndian)]),
            (ExplicitVRBigEndian, [_element(0x00204000, "LT", b"odd", ExplicitVRBigEndian)]),
            (
                ExplicitVRLittleEndian,
                [
                    _element(0x00204000, "LT", b"odd", ExplicitVRLittleEndian),
                    _element(0x00280010, "US", b"\1\0", ExplicitVRLittleEndian),
                ],
            ),
            (ExplicitVRLittleEndian, [_element(0x00400275, "SQ", item, ExplicitVRLittleEndian)]),
            (JPEG, [_element(0x7FE00010, "OB", fragment + end, ExplicitVRLittleEndian, 0xFFFFFFFF)]),
            (ExplicitVRLittleEndian, [_element(0x7FE00010, "OB", b"\1\2\3", ExplicitVRLittleEndian)]),
        ]
    ):
        path = folder / f"{number}.dcm"
        path.write_bytes(_object(number, syntax, *more))
        made.append(path)
    return made


@pytest.mark.parametrize("scu", ["dicomnet store", "Peer", "aio.Peer"])
def test_data_sets_of_odd_length_reach_dcmtk(scu: str, tmp_path: Path) -> None:
    """DCMTK aborts or waits for ever after a fragment of odd length."""
    files = _odd_files(tmp_path / "files")
    sent = {str(dcmread(path).SOPInstanceUID): dcmread(path) for path in files}
    with dcmtk_storescp(tmp_path / "scp") as (port, received):
        statuses = OUR_SCUS[scu](port, [Sendable(path, CT, "", "") for path in files])
        assert statuses == {path.name: 0 for path in files}
        arrived = {str(dcmread(path).SOPInstanceUID): dcmread(path) for path in received.iterdir()}
        for path in received.iterdir():
            subprocess.run([tool("dcmdump"), "-q", str(path)], check=True, capture_output=True)
    assert arrived.keys() == sent.keys()
    for instance, dataset in sent.items():
        assert [element.tag for element in arrived[instance]] == [element.tag for element in dataset]
        for one, other in zip(arrived[instance], dataset, strict=True):
            if one.VR == "OB":
                assert bytes(one.value).rstrip(b"\0\xdd\xe0\xfe\xff").startswith(bytes(other.value)[:3])
            else:
                assert one.value == other.value


@pytest.mark.parametrize(
    ("tag", "vr", "value", "fits"),
    [
        (0x00120064, "LO", b"Vendor Header Anonymizer", False),
        (0x00100010, "SQ", b"\xfe\xff\x00\xe0\0\0\0\0", False),
        (0x00280010, "LO", b"512 ", False),
        (0x00280010, "UL", b"\0\2\0\0", False),
        (0x00280010, "SS", b"\0\x82", False),
        (0x00280010, "SS", b"\0\2", True),
        (0x00281201, "US", b"\1\0\2\0", True),
        (0x00100010, "LO", b"A^B ", True),
        (0x00120064, "LO", b"", True),
        (0x00280010, "UN", b"\0\2", True),
    ],
)
def test_what_implicit_vr_cannot_carry_is_refused_by_name(
    tag: int, vr: str, value: bytes, fits: bool, tmp_path: Path
) -> None:
    """A sequence that was written as LO went out so that nobody could read it, and was reported as sent."""
    stored = _stored(tmp_path, ExplicitVRLittleEndian, (tag, vr, value))
    if not fits:
        with pytest.raises(UnusableObject, match=f"{tag >> 16:04X},{tag & 0xFFFF:04X}"):
            transcode_file(stored, ImplicitVRLittleEndian)
        return
    copy = tmp_path / "implicit.dcm"
    content = bytes(transcode_file(stored, ImplicitVRLittleEndian))
    copy.write_bytes(encode_file_header(CT, stored.header.sop_instance_uid, ImplicitVRLittleEndian) + content)
    subprocess.run([tool("dcmdump"), "-q", str(copy)], check=True, capture_output=True)
    assert value in content


@pytest.mark.parametrize(
    ("tag", "value"),
    [(0x00280010, b"\0\2"), (0x00189087, bytes(8)), (0x00081140, b"\xfe\xff\x00\xe0\0\0\0\0")],
)
@pytest.mark.parametrize(
    ("own", "target"),
    [
        (ExplicitVRBigEndian, ImplicitVRLittleEndian),
        (ExplicitVRBigEndian, ExplicitVRLittleEndian),
    ],
)
def test_a_known_element_of_un_does_not_change_its_byte_order_by_guess(
    tag: int, value: bytes, own: str, target: str, tmp_path: Path
) -> None:
    stored = _stored(tmp_path, own, (tag, "UN", value))
    with pytest.raises(UnusableObject, match=f"{tag >> 16:04X},{tag & 0xFFFF:04X}"):
        transcode_file(stored, target)


def test_a_known_element_of_un_is_swapped_as_what_it_is(tmp_path: Path) -> None:
    """In a little endian data set its byte order is known."""
    item = b"\xfe\xff\x00\xe0\x0c\0\0\0" + _element(0x00280010, "US", b"\1\2\3\4", ImplicitVRLittleEndian)
    stored = _stored(
        tmp_path,
        ExplicitVRLittleEndian,
        (0x00280011, "UN", b"\1\2"),
        (0x00081140, "UN", item),
        (0x00100010, "UN", b"A^"),
    )
    converted = bytes(transcode_file(stored, ExplicitVRBigEndian))
    for expected in (b"\0\x28\0\x11US\0\2\2\1", b"\0\x28\0\x10US\0\4\2\1\4\3", b"\0\x10\0\x10PN\0\2A^"):
        assert expected in converted


@pytest.mark.parametrize("content", [b"", b"\xfe\xff\x00\xe0\0\0\0\0"])
def test_a_private_sequence_stays_a_sequence_in_implicit_vr(content: bytes, tmp_path: Path) -> None:
    """Nothing there says what it is but its undefined length."""
    creator = (0x00290010, "LO", b"MINE")
    stored = _stored(tmp_path, ExplicitVRLittleEndian, creator, (0x00291001, "SQ", content))
    copy = tmp_path / "implicit.dcm"
    converted = bytes(transcode_file(stored, ImplicitVRLittleEndian))
    copy.write_bytes(
        encode_file_header(CT, stored.header.sop_instance_uid, ImplicitVRLittleEndian) + converted
    )
    shown = subprocess.run([tool("dcmdump"), str(copy)], check=True, capture_output=True, text=True).stdout
    assert ("(0029,1001) SQ" in shown) == bool(content)
    assert "(0029,1001)" in shown


def _stored(folder: Path, syntax: str, *elements: tuple[int, str, bytes]) -> StoredObject:
    path = folder / "own.dcm"
    encoded = {tag: _element(tag, vr, value, syntax) for tag, vr, value in elements}
    low = [encoded[tag] for tag in sorted(encoded) if tag < 0x0020000D]
    high = [encoded[tag] for tag in sorted(encoded) if tag > 0x0020000D]
    path.write_bytes(_object(1, syntax, *high, before=low))
    return open_object(path)
