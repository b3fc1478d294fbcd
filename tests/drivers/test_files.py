"""Looking at files: the complete way as the oracle of the learned one, and what is no file."""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dicomnet.drivers import files
from dicomnet.drivers.files import fill, open_file, open_object, read_header, read_object
from dicomnet.encoding import known_files as header_layout
from dicomnet.encoding.file_header import PREFIX_LENGTH, FileHeader, encode_file_header
from dicomnet.encoding.known_files import learn, recognize
from dicomnet.encoding.transfer_syntaxes import transfer_syntax
from dicomnet.errors import UnusableObject

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
_DATA = Path(pydicom.__file__).parent / "data"
REAL = [
    path.read_bytes()
    for folder in ("charset_files", "test_files")
    for path in sorted((_DATA / folder).rglob("*.dcm"))
]


@pytest.fixture(autouse=True)
def _nothing_learned() -> Iterator[None]:
    header_layout._layouts.clear()
    yield
    header_layout._layouts.clear()


def completely(content: bytes) -> FileHeader | None:
    """What the complete way says of a file, None where it cannot be sent."""
    try:
        header, prefix = read_header(BytesIO(content), content[:PREFIX_LENGTH])  # type: ignore[arg-type]
        return files._identify(header, memoryview(prefix)[header.offset :])
    except UnusableObject:
        return None


def learn_from(content: bytes) -> None:
    header = completely(content)
    if header is not None and not (syntax := transfer_syntax(header.transfer_syntax_uid)).is_deflated:
        start = content[:PREFIX_LENGTH]
        learn(start, header, is_implicit=syntax.is_implicit, is_little_endian=syntax.is_little_endian)


def element(tag: int, vr: bytes, value: bytes, syntax: str) -> bytes:
    order = ">" if syntax == BIG else "<"
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT:
        return head + struct.pack("<L", len(value)) + value
    if vr in (b"OB", b"UN", b"UT", b"SQ"):
        return head + vr + bytes(2) + struct.pack(order + "L", len(value)) + value
    return head + vr + struct.pack(order + "H", len(value)) + value


def object_of(syntax: str, instance: bytes, *, sop_class: bytes = b"1.2.840", more: bytes = b"") -> bytes:
    return (
        encode_file_header("1.2.840", "1.2.3", syntax, "SENDER")
        + element(0x00080005, b"CS", b"ISO_IR 100", syntax)
        + more
        + element(0x00080008, b"CS", b"ORIGINAL", syntax)
        + element(0x00080016, b"UI", sop_class, syntax)
        + element(0x00080018, b"UI", instance, syntax)
        + element(0x00080020, b"DA", b"20200101", syntax)
        + element(0x00100010, b"PN", b"Doe^John", syntax)
    )


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_the_next_file_of_a_series_is_recognized(syntax: str) -> None:
    first, second = object_of(syntax, b"1.2.3.10"), object_of(syntax, b"1.2.3.9\0")
    other = object_of(syntax, b"1.2.3.11", sop_class=b"1.2.841")
    assert recognize(first) is None
    learn_from(first)
    for content in (first, second):
        header = recognize(content)
        assert header is not None
        assert header == completely(content)
    assert recognize(other) is None
    # With as many bytes as the complete way needs, and not with fewer.
    end = first.index(b"20200101") - 8
    assert recognize(first[: end + 8]) is not None
    assert recognize(first[: end + 7]) is None


@st.composite
def damaged(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A file, and one that is like it or like another one, with some bytes changed, cut out, put in or repeated."""
    made = [
        object_of(syntax, instance, more=more)
        for syntax in (IMPLICIT, EXPLICIT, BIG, DEFLATED)
        for instance in (b"1.2.3.4", b"1.2.3.44", b"")
        for more in (b"", element(0x00080006, b"UN", b"", syntax))
    ]
    file = draw(st.sampled_from(made + REAL[::3]))
    content = bytearray(file if draw(st.booleans()) else draw(st.sampled_from(made)))
    last = min(len(content), 700)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(126, last))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            content[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
        elif kind == 1:
            del content[at : at + draw(st.integers(1, 40))]
        elif kind == 2:
            content[at:at] = content[draw(st.integers(126, last)) :][: draw(st.integers(1, 60))]
        else:
            content[at : at + 2] = draw(st.sampled_from((b"\0\0", b"\2\0", b"\xff\xff", b"\x08\0", b"UN")))
    if draw(st.booleans()):
        del content[draw(st.integers(0, last)) :]
    return file, bytes(content)


@settings(max_examples=1500)
@given(damaged())
@example((object_of(EXPLICIT, b"1.2.3.4"), object_of(EXPLICIT, b"\0" * 7)))
def test_what_is_recognized_is_what_the_complete_way_says(case: tuple[bytes, bytes]) -> None:
    header_layout._layouts.clear()
    file, content = case
    learn_from(file)
    for each in (file, content):
        for start in (each[:PREFIX_LENGTH], each):
            found = recognize(start)
            assert found is None or found == completely(start)
    learn_from(content)
    found = recognize(content[:PREFIX_LENGTH])
    assert found is None or found == completely(content)


def test_each_byte_that_tells_counts() -> None:
    """Of every file made by changing one byte or by cutting it off."""
    for syntax in (IMPLICIT, EXPLICIT, BIG):
        whole = object_of(syntax, b"1.2.3.10")
        learn_from(whole)
        for at in range(len(whole)):
            for changed in (whole[:at], whole[:at] + bytes((whole[at] ^ 0x10,)) + whole[at + 1 :]):
                found = recognize(changed)
                assert found is None or found == completely(changed)


def test_an_instance_uid_further_on_goes_before_the_first() -> None:
    """As the complete way has it where elements are repeated or out of order."""
    for syntax in (IMPLICIT, EXPLICIT, BIG):
        for tag in (0x00080016, 0x00080018, 0x00080001):
            content = object_of(syntax, b"1.2.3.10")
            at = content.index(b"1.2.3.10") + 8
            content = content[:at] + element(tag, b"UI", b"1.9.9.9 ", syntax) + content[at:]
            learn_from(content)
            assert recognize(content) == completely(content)
            plain = object_of(syntax, b"1.2.3.10")
            assert recognize(plain) in (None, completely(plain))


def test_what_is_learned_is_bounded() -> None:
    for length in range(2, 160, 2):
        for more in range(0, 40, 2):
            filler = element(0x00080006, b"LO", b"x" * more, EXPLICIT)
            content = object_of(EXPLICIT, b"1.2.3.10", more=filler)
            begin, end = content.index(b"SENDER") - 8, content.index(b"SENDER") + 6
            title = b"\x02\x00\x16\x00AE" + struct.pack("<H", length) + b"x" * length
            content = content[:begin] + title + content[end:]
            content = content[:140] + struct.pack("<L", length) + content[144:]
            learn_from(content)
            assert recognize(content) == completely(content)
    assert len(header_layout._layouts) <= header_layout._LENGTHS
    assert max(map(len, header_layout._layouts.values())) <= header_layout._LAYOUTS_A_LENGTH
    header_layout._layouts.clear()
    learn_from(object_of(EXPLICIT, b"1.2.3.10", more=element(0x00080006, b"LO", b"x" * 4000, EXPLICIT)))
    assert not header_layout._layouts


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
            stored, data = read_object(path, len(content))
            assert (stored.header, stored.length) == (expected, len(content) - expected.offset)
            assert data == (content[expected.offset :] if stored.length % 2 == 0 else None)
            sent += 1
        recognized += recognize(content[:PREFIX_LENGTH]) is not None
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


@pytest.mark.parametrize("read_at", [files._read_at, files._move_and_read])
def test_a_part_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_at: object) -> None:
    monkeypatch.setattr(files, "_read_at", read_at)
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
