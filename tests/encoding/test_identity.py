"""What the first elements of a data set say, with pydicom as the oracle."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_files

from dicomnet.encoding.elements import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_BIG, IMPLICIT_LITTLE
from dicomnet.encoding.file_header import decode_file_header
from dicomnet.encoding.identity import guess_encoding, is_uid, read_identity
from dicomnet.encoding.transfer_syntaxes import TransferSyntax, transfer_syntax
from dicomnet.errors import UnusableObject


def _files() -> list[tuple[Path, bytes, TransferSyntax]]:
    found = []
    for path in map(Path, sorted(get_testdata_files())):
        if not path.is_file():
            continue
        whole = path.read_bytes()[:8192]
        try:
            header = decode_file_header(whole)
        except UnusableObject:
            continue
        row = transfer_syntax(header.transfer_syntax_uid)
        if header.transfer_syntax_uid and not row.is_deflated:
            found.append((path, whole[header.offset :], row))
    return found


FILES = _files()
# Its transfer syntax is not that of its data set.
LIES = {"SC_rgb_jpeg.dcm"}


def test_uids_are_those_that_pydicom_reads() -> None:
    compared = 0
    for path, data, row in FILES:
        if path.name in LIES:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(path, stop_before_pixels=True)
            expected = (str(dataset.get("SOPClassUID", "")), str(dataset.get("SOPInstanceUID", "")))
        assert read_identity(data, row.encoding) == expected, path.name
        compared += 1
    assert compared > 80


def test_of_what_is_cut_off_all_or_nothing_is_read() -> None:
    for path, data, row in FILES[::9]:
        whole = read_identity(data, row.encoding)
        for length in range(400):
            for found, complete in zip(read_identity(data[:length], row.encoding), whole, strict=True):
                assert found in ("", complete), (path.name, length)


def test_the_encoding_is_guessed_from_the_first_element() -> None:
    for path, data, row in FILES:
        if data[:2] in (b"\x08\0", b"\0\x08") and path.name not in LIES:
            assert guess_encoding(data) is row.encoding, path.name
    assert guess_encoding(b"\0\x08\0\x16\0\0\0\x08") is IMPLICIT_BIG
    assert guess_encoding(b"\x08\0\x16\0\x08\0\0\0") is IMPLICIT_LITTLE
    assert guess_encoding(b"\x08\0\x16\0UI\x08\0") is EXPLICIT_LITTLE
    assert guess_encoding(b"\0\x08\0\x16UI\0\x08") is EXPLICIT_BIG
    assert guess_encoding(b"\x08\0\x16\0UI\x08") is None
    assert guess_encoding(b"GIF89a..") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((text, True) for text in ("1.2.3", "1.02", "1" * 64)),
        *((text, False) for text in ("1" * 65, "", "1..2", "1.2.", "../1", "1.2\n", "1.\u0661")),
    ],
)
def test_the_form_of_a_uid(text: str, expected: bool) -> None:
    assert is_uid(text) is expected
