"""The port of the pages, and what strangers may do to it: nothing but read."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from time import monotonic

import pytest
from tests.archive.watch.pages import ask, health
from tests.sockets import RawPeer
from tests.support import PROMPT

from dicomnet.archive.watch import web
from dicomnet.archive.watch.counts import Counts
from dicomnet.archive.watch.probing import PATIENCE, Finding, Level, Probe
from dicomnet.archive.watch.web import Pages, Web

WELL = Finding(Level.OK, "well")


@contextmanager
def serving(*probes: Probe) -> Iterator[int]:
    """The pages of a node that there is not; gives their port."""
    made = Web(("127.0.0.1", 0), Pages(Counts(1), probes or (Probe("x", lambda: WELL),)))
    made.start()
    try:
        yield made.address[1]
    finally:
        made.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as number:
        # Its first answer comes after what it logs of its start.
        assert health(number)[0] == 200
        yield number


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/health/live", "/metrics"])
def test_a_page_can_be_read_and_nothing_else(port: int, path: str) -> None:
    page, body = ask(port, path)
    head, nothing = ask(port, path, "HEAD")
    assert (page.status, head.status, nothing) == (200, 200, b"")
    assert int(page.headers["content-length"]) == len(body) > 0
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["connection"] == "close"
    assert "server" not in page.headers
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "STRANGE"):
        assert ask(port, path, method)[0].status == 405


@pytest.mark.parametrize(
    "path", ["/", "/metrics/", "/health/../etc/passwd", "/%2e%2e/", "/metrics%00", "/x" * 1000]
)
def test_there_is_no_other_page(port: int, path: str) -> None:
    assert ask(port, path)[0].status == 404


@pytest.mark.parametrize(
    "accept", ["", "*/*", "text/plain;version=x", "application/openmetrics-text; version=abc;;=", "\xff,,"]
)
def test_any_wish_for_a_format_has_an_answer(port: int, accept: str) -> None:
    response, _ = ask(port, "/metrics", accept=accept)
    assert response.status == 200
    is_open = "openmetrics" in accept
    assert response.headers["content-type"].startswith(
        "application/openmetrics-text" if is_open else "text/plain"
    )


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    ],
)
def test_a_request_with_a_body_is_refused(port: int, head: bytes) -> None:
    with RawPeer.connect(port) as peer:
        peer.send(head)
        assert peer.read_to_end().startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x01\x00\x00\x00\x00\xcd" + bytes(200),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000,
        b"GET /" + b"y" * 20_000,
        b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_what_is_not_http_is_ended_and_not_logged(
    port: int, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), RawPeer.connect(port) as peer:
        peer.send(garbage)
        peer.sock.shutdown(socket.SHUT_WR)
        said = peer.read_to_end()
        assert not said or said.startswith(b"HTTP/1.1 400 "), said
    assert not caplog.records
    assert health(port)[0] == 200


def test_a_request_for_another_protocol_is_answered_as_any(port: int) -> None:
    with RawPeer.connect(port) as peer:
        peer.send(
            b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        assert peer.read_to_end().startswith(b"HTTP/1.1 200 ")


def test_a_second_request_on_a_connection_is_not_answered(port: int) -> None:
    with RawPeer.connect(port) as peer:
        peer.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        assert peer.read_to_end().count(b"HTTP/1.1 200 ") == 1


def test_slow_clients_keep_nobody_out(port: int) -> None:
    """Many that send the beginning of a request and no more: the oldest go."""
    with ExitStack() as stack:
        slow = [stack.enter_context(RawPeer.connect(port)) for _ in range(3 * 64)]
        for peer in slow:
            # Some are cut off by now.
            with suppress(ConnectionError):
                peer.send(b"GET /health HTTP/1.1\r\nHo")
        begun = monotonic()
        assert health(port)[0] == 200
        assert monotonic() - begun < PROMPT
        assert slow[0].read_to_end() == b""


def test_a_connection_has_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_LIFETIME", 0.3)
    with serving() as port, RawPeer.connect(port) as mute, RawPeer.connect(port) as slow:
        slow.send(b"GET /health HT")
        assert mute.read_to_end() == b""
        assert slow.read_to_end() == b""


def test_ending_waits_for_nobody_who_is_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle, in the middle of a request, in the middle of an answer, and with a check that hangs."""
    monkeypatch.setattr(web, "_END", 2 * PROMPT)
    goes_on = threading.Event()

    def hang() -> Finding:
        goes_on.wait()
        return WELL

    with ExitStack() as stack:
        made = Web(("127.0.0.1", 0), Pages(Counts(1), [Probe("x", hang)]))
        made.start()
        port = made.address[1]
        idle, partial, waiting = (stack.enter_context(RawPeer.connect(port)) for _ in range(3))
        partial.send(b"GET /health HT")
        waiting.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert ask(port, "/health/live")[0].status == 200
        begun = monotonic()
        made.close()
        assert monotonic() - begun < PROMPT
        for peer in (idle, partial, waiting):
            peer.read_to_end()
        with pytest.raises(ConnectionRefusedError):
            RawPeer.connect(port)
        goes_on.set()


def test_a_check_that_hangs_is_on_the_page_in_a_moment() -> None:
    goes_on = threading.Event()

    def hang() -> Finding:
        goes_on.wait()
        return WELL

    try:
        with serving(Probe("x", hang), Probe("y", lambda: WELL)) as port:
            begun = monotonic()
            status, said = health(port)
            assert monotonic() - begun < PATIENCE + PROMPT
            assert status == 503
            assert said["status"] == "failed"
            assert said["ready"] is False
            assert said["checks"]["x"] == {
                "status": "failed",
                "message": "not known yet",
                "age_seconds": None,
            }
            assert said["checks"]["y"]["status"] == "ok"
            assert health(port, "/health/live") == (200, {"status": "ok"})
    finally:
        goes_on.set()


def test_a_port_that_is_taken_is_named(port: int) -> None:
    with pytest.raises(OSError, match="in use") as caught:
        Web(("127.0.0.1", port), Pages(Counts(1), []))
    assert caught.value.filename == f"127.0.0.1:{port}"
