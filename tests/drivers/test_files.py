"""Looking at files: what is read of them, and what is not a file."""

from __future__ import annotations

import os
import signal
import socket
import sys
import zlib
from pathlib import Path

import pytest
from tests.encoding.made_files import EXPLICIT, REAL, completely, element, object_of

from dicomnet.drivers import files, reading
from dicomnet.drivers.files import object_in, open_object, read_object
from dicomnet.drivers.reading import fill, open_file
from dicomnet.encoding.file_header import PREFIX_LENGTH, FileHeader, encode_file_header
from dicomnet.encoding.known_files import KnownFiles
from dicomnet.errors import UnusableObject


@pytest.fixture(autouse=True)
def _nothing_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_known", KnownFiles())


def test_real_files_are_looked_at_alike_twice(tmp_path: Path) -> None:
    path = tmp_path / "file"
    sent = recognized = 0
    for content in REAL:
        path.write_bytes(content)
        expected = completely(content)
        for _ in range(2):
            if expected is None or len(content) <= expected.offset:
                with pytest.raises(UnusableObject):
                    open_object(path)
                continue
            # Some of them are cut off.
            stored, data = read_object(path, len(content), is_whole=True)
            assert (stored.header, stored.length) == (expected, len(content) - expected.offset)
            assert data == (content[expected.offset :] if stored.length % 2 == 0 else None)
            sent += 1
        recognized += files._known.recognize(content[:PREFIX_LENGTH]) is not None
    assert sent > 120
    assert recognized > 50


def test_bytes_like_an_implicit_big_endian_data_set_were_an_error_of_the_whole_store(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\0\x08\0\x16\0\0\0\x08" + b"1.2.840 " * 4)
    with pytest.raises(UnusableObject, match="not a DICOM file"):
        open_object(path)


def test_the_data_set_of_a_small_file_only_is_read_at_once(tmp_path: Path) -> None:
    content = object_of(EXPLICIT, b"1.2.3.10")
    for size, limit, is_read in (
        (4096, 4096, True),
        (4096, 4095, False),
        (4097, 9999, False),
        (1000, 0, False),
    ):
        path = tmp_path / str(size)
        path.write_bytes(content.ljust(size, b"\0"))
        stored, data = read_object(path, limit)
        assert (data is not None) == is_read
        assert stored.length == size - stored.header.offset
        if data is not None:
            assert bytes(data) == path.read_bytes()[stored.header.offset :]


def test_a_long_header_is_read_on(tmp_path: Path) -> None:
    content = object_of(EXPLICIT, b"1.2.3.10")
    at = content.index(b"1.2.840.10008.1.2.1") - 8
    private = element(0x00020102, b"OB", b"x" * 5000, EXPLICIT)
    path = tmp_path / "file"
    path.write_bytes(content[:at] + private + content[at:])
    for _ in range(2):
        stored = open_object(path)
        assert stored.header.sop_instance_uid == "1.2.3.10"
        assert stored.header.offset == completely(content).offset + len(private)  # type: ignore[union-attr]


@pytest.mark.skipif(sys.platform == "win32", reason="there are none")
def test_what_is_no_file_is_neither_read_nor_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.getcwd()
        os.chdir(tmp_path)
        try:
            listener.bind("socket")
        finally:
            os.chdir(folder)
        for path in (tmp_path / "pipe", tmp_path / "socket", Path(os.devnull)):
            with pytest.raises(UnusableObject, match="not a file"):
                open_object(path)
    with pytest.raises(IsADirectoryError):
        open_object(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_object(tmp_path / "none")


@pytest.mark.skipif(sys.platform != "linux", reason="leases are Linux's")
def test_a_file_with_a_lease_on_it_is_waited_for(tmp_path: Path) -> None:
    """A file server that has leased it gives it up when it is asked to; opening at once would fail before."""
    import fcntl

    path = tmp_path / "file"
    path.write_bytes(object_of(EXPLICIT, b"1.2.3.10"))
    holder = os.open(path, os.O_RDWR)
    before = signal.signal(signal.SIGIO, lambda *_: fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_UNLCK))
    try:
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        assert open_object(path).header.sop_instance_uid == "1.2.3.10"
    finally:
        os.close(holder)
        signal.signal(signal.SIGIO, before)


@pytest.mark.parametrize("read_at", [reading._read_at, reading._move_and_read])
def test_a_part_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_at: object) -> None:
    monkeypatch.setattr(reading, "_read_at", read_at)
    path = tmp_path / "file"
    path.write_bytes(bytes(range(100)))
    descriptor = open_file(path)
    try:
        buffer = bytearray(40)
        assert fill(memoryview(buffer), descriptor, 60)
        assert buffer == bytes(range(60, 100))
        assert fill(memoryview(buffer)[:2], descriptor, 5)
        assert buffer[:3] == bytes((5, 6, 62))
        assert not fill(memoryview(buffer), descriptor, 61)
        assert fill(memoryview(b""), descriptor, 1000)
    finally:
        os.close(descriptor)


DEFLATED = "1.2.840.10008.1.2.1.99"
NATIVE = "1.2.840.10008.1.2.1"


def deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


@pytest.mark.parametrize(
    ("syntax", "data", "said"),
    [
        (DEFLATED, deflated(b""), "the data set is empty"),
        (DEFLATED, deflated(b"") + b"\0", "the data set is empty"),
        (DEFLATED, bytes.fromhex("010000ffff00"), "the data set is empty"),
        (DEFLATED, b"\x4b", "the deflated data set ends too early"),
        (DEFLATED, deflated(bytes(range(40)))[:20], "the deflated data set ends too early"),
        (DEFLATED, b"\x08\0\x16\0UI\x02\0", "the data set is not a deflate stream"),
        (DEFLATED, b"", "the file has no data set"),
        (NATIVE, b"", "the file has no data set"),
        (NATIVE, b"\x08", "the data set is cut off"),
        (NATIVE, b"\x08\0\x16\0UI", "the data set is cut off"),
        (NATIVE, b"\x02\0\x16\0UI", "the file meta information is cut off"),
    ],
)
def test_a_file_with_next_to_no_data_set_was_blamed_on_its_meta_information(
    syntax: str, data: bytes, said: str, tmp_path: Path
) -> None:
    """Also one with a value of file meta information that is cut off is told from it."""
    path = tmp_path / "file.dcm"
    content = encode_file_header("1.2.840.10008.5.1.4.1.1.7", "1.2.3", syntax) + data
    path.write_bytes(content)
    with pytest.raises(UnusableObject, match=said):
        open_object(path)
    with pytest.raises(UnusableObject, match=said):
        object_in(content, path)


def test_a_file_that_becomes_shorter_while_its_end_is_looked_for_ends_that() -> None:
    head = encode_file_header("1.2.840.10008.5.1.4.1.1.7", "1.2.3", NATIVE)
    start = head + b"\x10\0\x10\0PN\4\0A^B "
    header = FileHeader("1.2.840.10008.5.1.4.1.1.7", "1.2.3", NATIVE, len(head))
    assert not files.check_end(header, start, 1 << 20, lambda size, at: b"")
    assert not files.check_end(header, start, 1 << 20, lambda size, at: b"\x10\0")


def test_a_short_data_set_that_is_whole_is_an_object(tmp_path: Path) -> None:
    path = tmp_path / "file.dcm"
    element = b"\x10\0\x10\0PN\0\0"
    for syntax, data in ((NATIVE, element), (DEFLATED, deflated(element))):
        path.write_bytes(encode_file_header("1.2.840.10008.5.1.4.1.1.7", "1.2.3", syntax) + data)
        assert open_object(path).length == len(data)
