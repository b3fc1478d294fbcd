"""Connections over real sockets: whoever is slow, idle or sends nonsense keeps nobody else out."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydicom import dcmread
from tests.archive.web.served import Served, sample, served
from tests.support import wait_until

from dicomnet.archive.web import serving
from dicomnet.archive.web.http import connections, streams

REQUEST = b"GET /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("connections")
    with served(folder / "store") as node:
        node.store([sample("CT_small.dcm")])
        yield node


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_TICK", 0.05)


def opened(archive: Served) -> socket.socket:
    return socket.create_connection(archive.address, 20)


def is_answered_soon(archive: Served) -> bool:
    begin = time.monotonic()
    assert archive.get("/studies").status == 200
    return time.monotonic() - begin < 5


def rest_of(client: socket.socket) -> bytes:
    """What the node sends until it ends the connection."""
    found = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(1 << 16):
            found += part
    return bytes(found)


def test_five_hundred_who_say_nothing(archive: Served) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    try:
        with ExitStack() as stack:
            for _ in range(600):
                stack.enter_context(opened(archive))
            assert is_answered_soon(archive)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_where_there_are_too_many_the_one_that_waits_longest_goes(
    archive: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(opened(archive))
        # A loop's clock may stand still between connections that come together.
        assert is_answered_soon(archive)
        second = stack.enter_context(opened(archive))
        assert is_answered_soon(archive)
        monkeypatch.setattr(connections, "CONNECTIONS", 2)
        with opened(archive) as third:
            third.sendall(REQUEST)
            assert third.recv(100).startswith(b"HTTP/1.1 200")
            assert rest_of(first) == b""
            second.sendall(REQUEST)
            assert second.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("has_asked", [False, True])
@pytest.mark.parametrize("sent", [b"", b"GET /dicom-web/stud"])
def test_a_head_that_does_not_come(
    archive: Served, monkeypatch: pytest.MonkeyPatch, has_asked: bool, sent: bytes
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(connections, "KEEP_ALIVE", 1)
    with opened(archive) as client:
        if has_asked:
            client.sendall(REQUEST)
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
        client.sendall(sent)
        assert rest_of(client) == b""


def test_a_head_by_the_byte(archive: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is for all of it."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    begin = time.monotonic()
    with opened(archive) as client, contextlib.suppress(OSError):
        client.settimeout(0.02)
        client.sendall(b"GET /")
        while time.monotonic() - begin < 20:
            client.sendall(b"G")
            with contextlib.suppress(TimeoutError):
                assert client.recv(1) == b""
                break
    assert time.monotonic() - begin < 10


def test_a_head_without_end(archive: Served) -> None:
    with opened(archive) as client:
        client.sendall(b"GET /dicom-web/studies HTTP/1.1\r\nX: ")
        with pytest.raises(OSError):
            client.sendall(b"x" * 100_000_000)
    assert is_answered_soon(archive)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"\x01\x00\x00\x00\x00\x10" + bytes(20),
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /%zz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    ],
)
def test_nonsense_is_refused(archive: Served, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with opened(archive) as client:
        client.sendall(sent)
        assert b" 400 " in rest_of(client)[:20]
    assert not caplog.records
    assert is_answered_soon(archive)


def test_nonsense_behind_a_request_leaves_it_its_answer(archive: Served) -> None:
    with opened(archive) as client:
        client.sendall(REQUEST.replace(b"localhost", b"localhost\r\nAccept: application/json") + b"\0\r\n")
        answer = rest_of(client)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
def test_a_body_that_nobody_reads_is_refused(archive: Served, method: str) -> None:
    head = f"{method} /dicom-web/studies/1.2.3 HTTP/1.1\r\nHost: localhost\r\n"
    for length in ("Content-Length: 5000000000", "Transfer-Encoding: chunked"):
        with opened(archive) as client:
            client.sendall(f"{head}{length}\r\n\r\n".encode())
            answer = rest_of(client)
            assert answer.startswith(b"HTTP/1.1 413")
            assert method == "HEAD" or answer.endswith(
                f"with the method {method} has no body here\n".encode()
            )


def test_a_method_that_is_not_answered_with_a_body_that_nobody_reads_ends_the_connection(
    archive: Served,
) -> None:
    with opened(archive) as client:
        client.sendall(
            b"DELETE /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000000\r\n\r\n"
        )
        assert rest_of(client).startswith(b"HTTP/1.1 405")


def test_requests_without_end_behind_one_that_is_answered_are_not_kept(archive: Served) -> None:
    """A client that sent a megabyte of them, and read nothing, cost 40 MB, and kept all others waiting."""
    count = 20_000
    with opened(archive) as client:
        client.sendall(REQUEST + b"GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n" * count)
        answers = rest_of(client)
    assert answers.startswith(b"HTTP/1.1 200")
    assert 0 < answers.count(b"HTTP/1.1 404") <= connections.AHEAD
    assert is_answered_soon(archive)


def test_some_requests_at_once_are_answered_in_their_order(archive: Served) -> None:
    paths = [b"/dicom-web/studies" if number % 2 else b"/none" for number in range(40)]
    with opened(archive) as client:
        client.sendall(b"".join(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path for path in paths))
        found = b""
        while found.count(b"HTTP/1.1 ") < len(paths):
            part = client.recv(1 << 16)
            assert part
            found += part
    statuses = [each[:3] for each in found.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200" if number % 2 else b"404" for number in range(40)]


def test_fields_without_end_behind_a_body_in_chunks_are_not_kept(archive: Served) -> None:
    with opened(archive) as client:
        client.sendall(
            b"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: multipart/related; type=application/dicom; boundary=b\r\n\r\n0\r\n"
        )
        with pytest.raises(OSError):
            client.sendall((b"x: " + b"y" * 10_000 + b"\r\n") * 1000)
    assert is_answered_soon(archive)


# -- slow ones


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    """An archive with an object that no buffers of a connection hold, and its path."""
    folder = tmp_path_factory.mktemp("large")
    image = dcmread(sample("CT_small.dcm"))
    image.PixelData = bytes(40_000_000)
    image.Rows, image.Columns = 4000, 5000
    image.save_as(folder / "large.dcm")
    path = (
        f"/studies/{image.StudyInstanceUID}/series/{image.SeriesInstanceUID}/instances/{image.SOPInstanceUID}"
    )
    with served(folder / "store") as node:
        node.store([folder / "large.dcm"])
        yield node, path


def _asking(node: Served, path: str) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    client.settimeout(20)
    client.connect(node.address)
    client.sendall(f"GET /dicom-web{path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n".encode())
    return client


def test_who_stops_reading_is_cut_off(large: tuple[Served, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.5)
    node, path = large
    with _asking(node, path) as client:
        assert client.recv(10)
        assert is_answered_soon(node)

        def is_gone() -> bool:
            # Nothing is read: the reset shows in an error of the socket.
            return client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

        wait_until(is_gone, 20, "the connection is cut off")


def test_who_reads_slowly_is_not(large: tuple[Served, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough in each part of the time, which is shorter here: 64 KiB in 2 s."""
    monkeypatch.setattr(connections, "STALL_SECONDS", 2.0)
    node, path = large
    begin, length = time.monotonic(), 0
    with _asking(node, path) as client:
        while time.monotonic() - begin < 5:
            part = client.recv(1 << 14)
            assert part
            length += len(part)
            time.sleep(0.05)
            assert is_answered_soon(node)
    assert length < 30_000_000


def test_nonsense_behind_a_request_does_not_come_into_its_answer(large: tuple[Served, str]) -> None:
    """What it was answered with stood in the middle of the pixel data."""
    node, path = large
    with _asking(node, path) as client:
        assert client.recv(1000)
        client.sendall(b"\0 is no request\r\n\r\n")
        answer = rest_of(client)
    assert b"Invalid HTTP" not in answer
    assert answer.endswith(b"--\r\n")


def test_a_client_that_goes_ends_all_that_it_asked_for(
    large: tuple[Served, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Only the last one of several requests was told that nobody is there."""
    node, path = large
    with _asking(node, path) as client:
        client.sendall(REQUEST)
        assert client.recv(1000)
        assert is_answered_soon(node)
    begin = time.monotonic()
    wait_until(lambda: not _open_files(".dcm"), 20, "its file is closed")
    assert time.monotonic() - begin < 15
    assert not caplog.records


def _open_files(ending: str) -> list[str]:
    """The files with this ending that this process has open."""
    found = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(each.readlink()))
    return [each for each in found if each.endswith(ending)]


def test_who_reads_nothing_costs_little_memory(
    large: tuple[Served, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them had up to a megabyte read for it."""
    monkeypatch.setattr(streams, "_TOGETHER", 4 << 20)
    node, path = large
    with ExitStack() as stack:
        for _ in range(40):
            client = stack.enter_context(_asking(node, path))
            assert client.recv(10)
        # What the last of them has is a part that was to be read anyway.
        assert streams._Held.size < (4 << 20) + 2 * streams._AT_ONCE
        assert is_answered_soon(node)
    wait_until(lambda: streams._Held.size == 0, 20, "nothing is held for clients that are gone")


def test_a_body_that_stops_is_cut_off(archive: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.5)
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    lines = (
        "POST /dicom-web/studies HTTP/1.1",
        "Host: localhost",
        f"Content-Type: {kind}",
        "Content-Length: 1000",
    )
    head = "\r\n".join((*lines, "", "--b\r\n"))
    with opened(archive) as client:
        client.sendall(head.encode())
        rest_of(client)
    assert is_answered_soon(archive)


def test_a_node_that_ends_lets_answers_go_out(tmp_path: Path) -> None:
    image = dcmread(sample("CT_small.dcm"))
    image.PixelData = bytes(40_000_000)
    image.Rows, image.Columns = 4000, 5000
    image.save_as(tmp_path / "large.dcm")
    with ExitStack() as stack:
        node = stack.enter_context(served(tmp_path / "store"))
        node.store([tmp_path / "large.dcm"])
        client = stack.enter_context(opened(node))
        client.sendall(
            f"GET /dicom-web/studies/{image.StudyInstanceUID} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        waiting = stack.enter_context(opened(node))
        found = client.recv(1000)
        assert found.startswith(b"HTTP/1.1 200")
        ending = threading.Thread(target=node.node.shutdown, args=(20.0,))
        ending.start()
        assert rest_of(waiting) == b""
        with pytest.raises(OSError):
            opened(node).close()
        found += rest_of(client)
        ending.join(30)
        assert len(found) > 40_000_000
        assert found.endswith(b"--\r\n")
