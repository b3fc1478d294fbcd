"""Whether two files have the same object, and whether one is only the beginning of the other."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import BytesIO

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicomnet.archive.storage import comparison as module
from dicomnet.archive.storage.comparison import Comparison, compared, is_beginning, read_file_header
from dicomnet.encoding.file_header import encode_file_header
from dicomnet.errors import UnusableObject

CLASS, INSTANCE = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4.5"
IMPLICIT, EXPLICIT, BIG, DEFLATED = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2", ".1.99"))

Make = Callable[..., Dataset]
Encode = Callable[..., bytes]


def _file(data: bytes, syntax: str = EXPLICIT, sender: str = "A") -> bytes:
    return encode_file_header(CLASS, INSTANCE, syntax, sender) + data


def _compare(one: bytes, other: bytes) -> Comparison:
    """Both ways round, which must be the same."""
    there, back = compared(BytesIO(one), BytesIO(other)), compared(BytesIO(other), BytesIO(one))
    assert there is back
    return there


@pytest.mark.parametrize("pixels", [16, 3 * module._BLOCK + 2])
def test_who_sent_an_object_does_not_matter(make: Make, encode: Encode, pixels: int) -> None:
    data = encode(make(PixelData=bytes(pixels)))
    files = [_file(data, sender=sender) for sender in ("A", "B", "SENDER OF SIXTEE")]
    assert len(set(files)) == 3
    assert {_compare(files[0], each) for each in files} == {Comparison.SAME}


@pytest.mark.parametrize("first", [IMPLICIT, EXPLICIT, DEFLATED])
@pytest.mark.parametrize("second", [IMPLICIT, EXPLICIT, DEFLATED])
def test_the_same_object_in_another_transfer_syntax(
    make: Make, encode: Encode, first: str, second: str
) -> None:
    one = _file(encode(make(), first), first)
    expected = Comparison.SAME if first == second else Comparison.SAME_IN_ANOTHER_FORM
    assert _compare(one, _file(encode(make(), second), second)) is expected
    for change in ({"PatientID": "P2"}, {"PatientName": None}, {"Rows": 1}, {"PixelData": bytes(16)}):
        assert _compare(one, _file(encode(make(**change), second), second)) is Comparison.OTHER


def test_one_byte_anywhere_makes_another_object(make: Make, encode: Encode) -> None:
    """Of a value at least: the bytes of the form are compared by `encoding.comparison`, which has its own tests."""
    pixels = bytes(range(250)) * 9_000
    data = encode(make(PixelData=pixels))
    whole = _file(data)
    begin = len(whole) - len(pixels)
    assert whole[begin:] == pixels
    for at in (begin, begin + module._BLOCK - 1, begin + module._BLOCK, len(whole) - 1):
        changed = bytearray(whole)
        changed[at] ^= 1
        assert _compare(whole, bytes(changed)) is Comparison.OTHER


@pytest.mark.parametrize("damaged", [b"", bytes(132), _file(b"")[:150], b"no file of DICOM at all" * 20])
def test_what_is_damaged_is_another_object_also_than_itself(
    make: Make, encode: Encode, damaged: bytes
) -> None:
    assert _compare(_file(encode(make())), damaged) is Comparison.OTHER
    assert _compare(damaged, damaged) is Comparison.OTHER
    with pytest.raises(UnusableObject):
        read_file_header(BytesIO(damaged))


def test_a_file_that_was_cut_off_is_another_object(make: Make, encode: Encode) -> None:
    for syntax in (EXPLICIT, IMPLICIT, DEFLATED):
        whole, other = _file(encode(make())), _file(encode(make(), syntax), syntax)
        for length in (*range(0, len(other), 7), len(other) - 1):
            assert _compare(whole, other[:length]) is Comparison.OTHER


@given(st.binary(max_size=40), st.binary(max_size=40))
@example(b"", b"")
@example(b"", b"a")
@example(b"ab", b"abc")
@example(b"abc", b"abd")
def test_a_beginning_is_shorter_and_the_same_as_far_as_it_goes(one: bytes, other: bytes) -> None:
    expected = len(one) < len(other) and other.startswith(one)
    assert is_beginning(BytesIO(one), BytesIO(other)) is expected
    assert is_beginning(BytesIO(one), BytesIO(one + other)) is bool(other)


@pytest.mark.parametrize("at", [0, 1, module._BLOCK - 1, module._BLOCK, 2 * module._BLOCK + 4])
def test_a_beginning_of_many_blocks(at: int) -> None:
    """Wherever the two files were left after an earlier comparison."""
    whole = os.urandom(2 * module._BLOCK + 5)
    one, other = BytesIO(whole[:-1]), BytesIO(whole)
    one.seek(at)
    other.seek(0, os.SEEK_END)
    assert is_beginning(one, other)
    assert not is_beginning(other, one)
    changed = bytearray(whole[:-1])
    changed[min(at, len(changed) - 1)] ^= 1
    assert not is_beginning(BytesIO(bytes(changed)), BytesIO(whole))
