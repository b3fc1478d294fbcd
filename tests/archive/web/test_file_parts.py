"""Parts of files in responses: what the system sends itself is, to a client, as if it had been read."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from random import Random

import pytest
import uvloop
from tests.archive.web.served import Served, served
from tests.faults.objects import study_uid, uid, write_objects

from dicomnet.archive.web.http.file_parts import LONGEST, FilePart, Outlet, file_parts, in_bytes
from dicomnet.archive.web.http.problems import CutOff

LARGE = 3 * LONGEST + 12_345
STUDIES = 3
_PATIENCE = 20.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that is longer than what a socket holds."""
    path = tmp_path / "file"
    path.write_bytes(Random(1).randbytes(LARGE))
    return path


class _Sender(asyncio.Protocol):
    """A server of one answer: bytes, parts of a file, and bytes, one after another as each is gone."""

    def __init__(self, pieces: Iterator[bytes | FilePart]) -> None:
        self.pieces = pieces
        self.is_paused = False
        self.is_lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.outlet = Outlet(transport, self)  # type: ignore[arg-type]
        self.go_on()

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        if not self.outlet.resumed():
            self.is_paused = False
            self.go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self.outlet.drop()
        self.is_lost.set()

    def go_on(self) -> None:
        while not self.is_paused and not self.outlet.is_closing():
            piece = next(self.pieces, None)
            if piece is None:
                self.outlet.close()
                return
            self.outlet.write(piece)


def _read_all(port: int, pause: Callable[[], object]) -> bytes:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        client.settimeout(_PATIENCE)
        client.connect(("127.0.0.1", port))
        pause()
        received = bytearray()
        while some := client.recv(1 << 16):
            received += some
        return bytes(received)


async def _answer(pieces: Iterator[bytes | FilePart], pause: Callable[[], object]) -> bytes:
    """What a client gets of an answer."""
    sender = _Sender(pieces)
    server = await asyncio.get_running_loop().create_server(lambda: sender, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        received = await asyncio.to_thread(_read_all, port, pause)
        await asyncio.wait_for(sender.is_lost.wait(), _PATIENCE)
        return received
    finally:
        server.close()


LOOPS = pytest.mark.parametrize(
    "loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


@LOOPS
@pytest.mark.parametrize("length", [10, 3_000_000])
def test_bytes_and_parts_come_in_their_order(
    loop: Callable[[], asyncio.AbstractEventLoop], file: Path, length: int
) -> None:
    """With bytes before them that are gone at once, and with so many that they wait themselves."""
    content = file.read_bytes()
    before, between = b"b" * length, b"-" * length

    def pieces() -> Iterator[bytes | FilePart]:
        yield before
        with file.open("rb") as opened:
            for part in file_parts(opened, LARGE):
                assert isinstance(part, FilePart)
                part.before = between
                yield part
                yield b"|"
        yield before

    with asyncio.Runner(loop_factory=loop) as runner:
        received = runner.run(_answer(pieces(), lambda: None))
    cut = range(0, LARGE, LONGEST)
    expected = before + b"".join(between + content[at : at + LONGEST] + b"|" for at in cut) + before
    assert sha256(received).digest() == sha256(expected).digest()
    assert len(cut) == 4


@LOOPS
def test_a_file_that_is_cut_off_meanwhile_ends_the_connection(
    loop: Callable[[], asyncio.AbstractEventLoop], file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def pieces() -> Iterator[bytes | FilePart]:
        with file.open("rb") as opened:
            part = FilePart(opened, 0, LARGE)
        yield part
        yield b"the end"

    with asyncio.Runner(loop_factory=loop) as runner:
        received = runner.run(_answer(pieces(), lambda: os.truncate(file, LARGE - 1)))
    assert len(received) == LARGE - 1
    assert "fewer bytes than before" in caplog.text


@LOOPS
def test_without_a_free_descriptor_the_bytes_are_read(
    loop: Callable[[], asyncio.AbstractEventLoop], file: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def pieces() -> Iterator[bytes | FilePart]:
        with file.open("rb") as opened:
            made = list(file_parts(opened, LARGE))
        # The lowest that is free, and all beyond it, are out of reach.
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            yield from made
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(_answer(pieces(), lambda: None)) == file.read_bytes()


def test_a_part_that_nobody_sends_leaves_no_descriptor(file: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with file.open("rb") as opened:
        parts = file_parts(opened, LARGE)
        next(parts)
        del parts
    assert set(os.listdir("/proc/self/fd")) == before


def test_the_same_in_bytes(file: Path) -> None:
    with file.open("rb") as opened:
        assert b"".join(in_bytes(file_parts(opened, LARGE))) == file.read_bytes()


def test_bytes_of_a_file_that_is_cut_off_meanwhile_are_no_whole(file: Path) -> None:
    with file.open("rb") as opened:
        part = FilePart(opened, 0, LARGE)
    os.truncate(file, LARGE - 1)
    with pytest.raises(CutOff, match="fewer bytes"):
        list(part.read())


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An archive with studies of two objects: a small one, and one that no socket holds."""
    folder = tmp_path_factory.mktemp("files")
    with served(tmp_path_factory.mktemp("node")) as running:
        for number in range(1, STUDIES + 1):
            running.store(write_objects(folder, number, 1, 1000))
            running.store(write_objects(folder, number, 1, 9_000_000, first=2))
        yield running


def _path(study: int) -> str:
    return f"/studies/{study_uid(study)}"


_ANY = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def test_many_who_read_at_once_get_each_what_he_asked_for(node: Served) -> None:
    def ask(number: int) -> None:
        study = 1 + number % STUDIES
        answer = node.get(_path(study), _ANY)
        assert len(answer.body) == int(answer.headers["content-length"])
        (_, small), (_, large) = answer.parts
        for count, content in ((1, small), (2, large)):
            assert uid(study, count).encode() in content[:1000]
            alone = node.get(
                f"{_path(study)}/series/{study_uid(study)}.1/instances/{uid(study, count)}",
                "application/dicom; transfer-syntax=*",
            )
            assert alone.body == content

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(ask, range(12)))


def test_requests_that_wait_on_the_same_connection_are_answered_in_their_order(node: Served) -> None:
    def head(study: int) -> bytes:
        ends = "close" if study == STUDIES else "keep-alive"
        fields = f"Host: localhost\r\nAccept: {_ANY}\r\nConnection: {ends}"
        return f"GET /dicom-web{_path(study)} HTTP/1.1\r\n{fields}\r\n\r\n".encode()

    bodies = [node.get(_path(study), _ANY).body for study in range(1, STUDIES + 1)]
    with socket.create_connection(("127.0.0.1", node.address[1]), _PATIENCE) as client:
        client.sendall(b"".join(map(head, range(1, STUDIES + 1))))
        with client.makefile("rb") as stream:
            answers = stream.read()
    for body in bodies:
        before, end, answers = answers.partition(b"\r\n\r\n")
        assert before.startswith(b"HTTP/1.1 200")
        assert end
        assert sha256(answers[: len(body)]).digest() == sha256(body).digest()
        answers = answers[len(body) :]
    assert not answers


def test_who_leaves_in_the_middle_leaves_nothing_open(node: Served) -> None:
    def opened() -> list[str]:
        found = []
        for each in os.listdir("/proc/self/fd"):
            try:
                found.append(os.readlink(f"/proc/self/fd/{each}"))
            except FileNotFoundError:
                continue
        return [name for name in found if study_uid(1) in name]

    for _ in range(5):
        connection = HTTPConnection("127.0.0.1", node.address[1], timeout=_PATIENCE)
        connection.request("GET", f"/dicom-web{_path(1)}", headers={"Accept": _ANY})
        connection.getresponse().read(100_000)
        connection.close()
    is_due = threading.Event()
    for _ in range(400):
        if not opened():
            return
        is_due.wait(0.05)
    pytest.fail(f"still open: {opened()}")


def test_an_object_whose_file_is_cut_off_while_it_is_sent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with served(tmp_path / "node") as own:
        own.store(write_objects(tmp_path / "files", 1, 1, 30_000_000))
        (stored,) = (
            each for each in (tmp_path / "node").rglob("*") if each.is_file() and each.stat().st_size > 2e7
        )
        connection = HTTPConnection("127.0.0.1", own.address[1], timeout=_PATIENCE)
        connection.request("GET", f"/dicom-web{_path(1)}", headers={"Accept": _ANY})
        answer = connection.getresponse()
        answer.read(100_000)
        os.truncate(stored, 29_000_000)
        with pytest.raises((IncompleteRead, ConnectionResetError)):
            answer.read()
        connection.close()
    assert "cut off" in caplog.text
