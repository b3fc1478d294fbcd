"""The scan of files: what the scan of their bytes says."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file, get_testdata_files

from dicomnet.drivers.scanning import scan_file, scan_stream
from dicomnet.encoding.file_header import decode_file_header
from dicomnet.encoding.scan import Header, HeaderScanner, scan
from dicomnet.errors import ServiceRefusal, UnusableObject

TAGS = {
    0x00080018: "UI",
    0x00081140: "SQ",
    0x00100020: "LO",
    0x300A0070: "SQ",
    0x00200013: "IS",
    0x00280010: "US",
}


def _split(path: Path) -> tuple[bytes, int, str]:
    whole = path.read_bytes()
    header = decode_file_header(whole)
    return whole[header.offset :], header.offset, header.transfer_syntax_uid


def _files() -> list[tuple[str, bytes, str]]:
    found = []
    for path in map(Path, sorted(get_testdata_files())):
        if path.is_file():
            try:
                data, _, syntax = _split(path)
            except UnusableObject:
                continue
            if syntax:
                found.append((path.name, data, syntax))
    return found


def _outcome(data: bytes, syntax: str) -> Header | tuple[int, str]:
    try:
        return scan(data, syntax, TAGS)
    except ServiceRefusal as refusal:
        return refusal.status, str(refusal)


def _outcome_of_file(path: Path, syntax: str, scanner: HeaderScanner) -> Header | tuple[int, str]:
    try:
        with path.open("rb") as file:
            return scan_file(scanner, file.fileno(), 0, syntax)
    except ServiceRefusal as refusal:
        return refusal.status, str(refusal)


def test_a_known_file_scans_alike_whatever_is_there_of_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "data"
    learned = HeaderScanner(TAGS)
    long = [(name, data, syntax) for name, data, syntax in _files() if len(data) > 1 << 15]
    assert len(long) > 20
    for name, data, syntax in long:
        for content in (data, data, data[:-1], data[:-2], data + b"\0\0", data[: len(data) // 2], data):
            path.write_bytes(content)
            expected = _outcome(content, syntax)
            assert _outcome_of_file(path, syntax, learned) == expected, (name, len(content))


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_bigendian.dcm", "rtplan.dcm", "image_dfl.dcm"])
def test_a_file_reads_as_its_bytes_do(name: str) -> None:
    found = get_testdata_file(name)
    assert isinstance(found, str)
    data, offset, syntax = _split(Path(found))
    wanted = {0x00080016: "UI", 0x00080018: "UI", 0x00100010: "PN"}
    with open(found, "rb") as file:
        assert scan_file(HeaderScanner(wanted), file.fileno(), offset, syntax) == scan(data, syntax, wanted)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    scanner = HeaderScanner({0x00080018: "UI"})
    for _ in range(2):
        with path.open("rb") as file, pytest.raises(ServiceRefusal, match="empty"):
            scan_file(scanner, file.fileno(), 0, "1.2.840.10008.1.2.1")


def _outcome_of_stream(
    whole: bytes, offset: int, syntax: str, scanner: HeaderScanner
) -> Header | tuple[int, str]:
    try:
        return scan_stream(scanner, BytesIO(whole), offset, syntax)
    except ServiceRefusal as refusal:
        return refusal.status, str(refusal)


def test_a_stream_that_is_no_file_scans_as_its_bytes_do() -> None:
    """Whether its layout is known from an earlier one, or all of it has to be read; and wherever it was read before."""
    learned = HeaderScanner(TAGS)
    for name, data, syntax in _files():
        for content in (data, data, data[:-1]):
            for start in (b"", b"what is before it"):
                found = _outcome_of_stream(start + content, len(start), syntax, learned)
                assert found == _outcome(content, syntax), (name, len(content))
    with pytest.raises(ServiceRefusal, match="empty"):
        scan_stream(learned, BytesIO(), 0, "1.2.840.10008.1.2.1")


def test_a_stream_of_a_file_scans_as_the_file_does() -> None:
    found = get_testdata_file("CT_small.dcm")
    assert isinstance(found, str)
    data, offset, syntax = _split(Path(found))
    with open(found, "rb") as file:
        file.read(100)
        assert scan_stream(HeaderScanner(TAGS), file, offset, syntax) == scan(data, syntax, TAGS)
