"""Attributes that a file has with another VR than the dictionary: the index keeps what the file says, or nothing."""

from __future__ import annotations

import logging
import struct

import pytest

from dicomnet.archive.catalogue.described import attributes_of
from dicomnet.encoding.scan import HeaderScanner

EXPLICIT_LE, EXPLICIT_BE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
ROWS, FRAMES, NUMBER, STUDY_ID, WEIGHT = 0x00280010, 0x00280008, 0x00200013, 0x00200010, 0x00101030
KEPT = {ROWS: "US", FRAMES: "IS", NUMBER: "IS", STUDY_ID: "SH", WEIGHT: "DS"}
LONG = ("OB", "UN", "UT")


def element(tag: int, vr: str, value: bytes, order: str = "<") -> bytes:
    """PS3.5 section 7.1.2."""
    length = struct.pack(order + "xxL" if vr in LONG else order + "H", len(value))
    return struct.pack(order + "HH", tag >> 16, tag & 0xFFFF) + vr.encode() + length + value


def kept_of(data: bytes, syntax: str = EXPLICIT_LE) -> dict[str, object]:
    # The second is read by what was learned of the first.
    scanner = HeaderScanner(KEPT)
    first, second = (attributes_of(scanner.scan(data, syntax), KEPT) for _ in range(2))
    assert first == second
    return dict(first)


@pytest.mark.parametrize(
    ("tag", "vr", "value", "text"),
    [
        (ROWS, "IS", b"12", "12"),
        (ROWS, "DS", b"7 ", "7"),
        (ROWS, "LO", b" 512", "512"),
        (ROWS, "UT", b"3 ", "3"),
        (ROWS, "UL", b"\0\2\0\0", "512"),
        (ROWS, "SS", b"\5\0", "5"),
        (ROWS, "IS", b"", ""),
        (ROWS, "OB", b"\5\0", "5"),
        (ROWS, "UN", b"\5\0", "5"),
        (ROWS, "??", b"\5\0", "5"),
        (FRAMES, "US", b"\x21\0", "33"),
        (NUMBER, "SL", b"\xff\xff\xff\xff", "-1"),
        (NUMBER, "LO", b"8 ", "8"),
        (STUDY_ID, "UL", b"AB\0\0", "16961"),
        (STUDY_ID, "CS", b"A ", "A"),
        (WEIGHT, "FL", struct.pack("<f", 70.5), "70.5"),
    ],
)
def test_a_number_was_read_from_the_bytes_of_a_text_and_a_text_from_those_of_a_number(
    tag: int, vr: str, value: bytes, text: str
) -> None:
    assert kept_of(element(tag, vr, value)) == {f"{tag:08X}": text}


def test_the_same_in_big_endian() -> None:
    assert kept_of(element(FRAMES, "US", b"\0\x21", ">"), EXPLICIT_BE) == {f"{FRAMES:08X}": "33"}
    assert kept_of(element(ROWS, "IS", b"12", ">"), EXPLICIT_BE) == {f"{ROWS:08X}": "12"}


@pytest.mark.parametrize(
    ("vr", "value"),
    [("LO", b"many"), ("IS", b"99999999"), ("SS", b"\xff\xff"), ("UL", b"\0\0\1\0"), ("DS", b"1.5 ")],
)
def test_what_its_vr_cannot_have_is_left_out_and_told(
    vr: str, value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert kept_of(element(NUMBER, "IS", b"1 ") + element(ROWS, vr, value)) == {f"{NUMBER:08X}": "1"}
    assert f"Rows has the VR {vr} and a value that US cannot have, and is not indexed" in caplog.text
