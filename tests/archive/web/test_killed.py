"""A node that is killed in the middle of an upload: what was answered is there, and nothing is there by half."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from tests.archive.web.clients import PATIENCE, ask, content_type, multipart
from tests.archive.web.processes import connected_elsewhere, serving_web, store_files, worker_of
from tests.faults.objects import file_of, study_uid, uid, write_objects
from tests.processes import wait_for_the_end, workers_of
from tests.support import ServedNode, wait_until

WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


def _kill(node: ServedNode, workers: str) -> None:
    """Kill all processes of a node at once."""
    children: list[int] = []
    if workers != "1":
        supervisor, those = workers_of(node.process.pid, int(workers))
        children = [supervisor, *those]
    for each in (node.process.pid, *children):
        os.kill(each, signal.SIGKILL)
    node.process.wait(PATIENCE)
    wait_for_the_end(children)


def _objects(node: ServedNode) -> dict[str, Path]:
    """The files in the store, by SOP Instance UID."""
    return {path.stem: path for path in (node.store / "objects").rglob("*.dcm")}


@WORKERS
@pytest.mark.parametrize("length", [2_000, 100_000])
def test_what_was_answered_survives_kill_9_and_nothing_is_stored_by_half(
    tmp_path: Path, workers: str, length: int
) -> None:
    answered = write_objects(tmp_path / "in1", 1, 20, length)
    begun = write_objects(tmp_path / "in2", 2, 300, length)
    expected = {uid(1, number) for number in range(1, 21)}
    with serving_web(tmp_path, "--workers", workers) as (node, address):
        answer = store_files(address, answered)
        assert (answer.status, set(answer.stored)) == (200, expected)
        body = multipart([path.read_bytes() for path in begun], is_closed=False)
        with socket.create_connection(address, PATIENCE) as connection:
            head = (
                f"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type()}\r\n"
                f"Content-Length: {2 * len(body)}\r\n\r\n"
            )
            connection.sendall(head.encode() + body)
            # Groups of it were committed, others wait, and the last object is not whole.
            wait_until(lambda: len(_objects(node)) > 20, PATIENCE, "some of it is stored")
            _kill(node, workers)
    with serving_web(tmp_path, "--workers", workers) as (node, address):
        found = _objects(node)
        assert expected <= found.keys()
        assert len(found) > 20
        for instance, path in found.items():
            assert dcmread(BytesIO(path.read_bytes())).SOPInstanceUID == instance
        assert not [path for path in (node.store / "staging").iterdir() if path.stat().st_size]
        # The client sends all of it once more.
        answer = store_files(address, begun)
        assert answer.status == 200
        assert len(answer.stored) == len(begun)
        node.end()
    assert len(_objects(node)) == 20 + len(begun)


@pytest.mark.parametrize("accept", ['multipart/related; type="application/dicom"', "application/zip"])
def test_a_worker_that_is_killed_while_it_sends_leaves_no_body_that_looks_whole(
    tmp_path: Path, accept: str
) -> None:
    paths = write_objects(tmp_path / "in", 1, 8, 2_000_000)
    with serving_web(tmp_path, "--workers", "2") as (node, address):
        assert store_files(address, paths).status == 200
        _, workers = workers_of(node.process.pid)
        asking = http.client.HTTPConnection(*address, timeout=PATIENCE)
        asking.request("GET", f"/dicom-web/studies/{study_uid(1)}", headers={"Accept": accept})
        assert asking.sock is not None
        killed = worker_of(asking.sock, workers)
        other = http.client.HTTPConnection(*address)
        other.sock = connected_elsewhere(address, killed, workers)
        answer = asking.getresponse()
        assert answer.read(100_000)
        os.kill(killed, signal.SIGKILL)
        assert not _is_whole(answer)
        other.request("GET", "/dicom-web/studies")
        assert other.getresponse().read().startswith(b"[")
        wait_until(lambda: killed not in workers_of(node.process.pid)[1], PATIENCE, "another one has come")
        assert ask(address, "GET", f"/studies/{study_uid(1)}", headers={"Accept": accept}).status == 200
        for connection in (asking, other):
            connection.close()
        node.end()
        assert f"worker process {killed} was ended by signal 9" in (tmp_path / "output.txt").read_text()


def test_a_worker_that_is_killed_during_an_upload_costs_only_that(tmp_path: Path) -> None:
    """Those that go to another worker go on, and what was not answered can be sent again."""
    paths = write_objects(tmp_path / "in", 1, 60, 100_000)
    with serving_web(tmp_path, "--workers", "2") as (node, address):
        _, workers = workers_of(node.process.pid)
        body = multipart([path.read_bytes() for path in paths])
        head = (
            f"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type()}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(address, PATIENCE) as first:
            killed = worker_of(first, workers)
            with connected_elsewhere(address, killed, workers) as second:
                for each in (first, second):
                    each.sendall(head.encode() + body[: len(body) // 2])
                os.kill(killed, signal.SIGKILL)
                second.sendall(body[len(body) // 2 :])
                assert second.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
            with contextlib.suppress(ConnectionError):
                assert first.recv(1 << 16) == b""
        answer = store_files(address, paths)
        assert (answer.status, len(answer.stored)) == (200, len(paths))
        wait_until(lambda: killed not in workers_of(node.process.pid)[1], PATIENCE, "another one has come")
        node.end()
    assert _objects(node).keys() == {uid(1, number) for number in range(1, 61)}
    assert not [path for path in (node.store / "staging").iterdir() if path.stat().st_size]


def _is_whole(answer: http.client.HTTPResponse) -> bool:
    """Whether a client that reads the rest of an answer takes it for whole."""
    try:
        while answer.read(1 << 20):
            pass
    except (http.client.IncompleteRead, ConnectionResetError):
        return False
    return not answer.length


def test_an_upload_of_5_gb_takes_little_memory_and_leaves_nothing_by_half(tmp_path: Path) -> None:
    """Killed in the middle; what was answered before is there."""
    length, count = 5_000_000, 1000
    answered = write_objects(tmp_path / "in1", 1, 20, 2_000)
    with serving_web(tmp_path) as (node, address):
        assert store_files(address, answered).status == 200
        before = _memory(node.process.pid)
        with socket.create_connection(address, 10 * PATIENCE) as connection:
            head = (
                f"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type()}\r\n"
                f"Content-Length: {count * length}\r\n\r\n"
            )
            connection.sendall(head.encode())
            for number in range(1, count // 2 + 1):
                connection.sendall(multipart([file_of(2, number, length)], is_closed=False))
        assert _memory(node.process.pid) < max(150, before + 20)
        _kill(node, "1")
    with serving_web(tmp_path) as (node, address):
        found = _objects(node)
        assert {uid(1, number) for number in range(1, 21)} <= found.keys()
        assert len(found) > 100
        for number in range(1, count + 1):
            path = found.get(uid(2, number))
            if path is not None:
                assert dcmread(path).PixelData == bytes([number % 251]) * length
        assert not [path for path in (node.store / "staging").iterdir() if path.stat().st_size]


def _memory(process: int) -> int:
    """The most memory that a process has had, in MB."""
    found = re.search(r"VmHWM:\s+([0-9]+) kB", Path(f"/proc/{process}/status").read_text())
    assert found is not None
    return int(found[1]) // 1000
