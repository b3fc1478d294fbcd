"""What a hostile or unlucky peer does to the blocking driver, and what must come of it."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from tests.associations import associated, link_of, links_of, match, serving_ae
from tests.sockets import (
    ABORT_BY_USER,
    CT_IMAGE_STORAGE,
    PATIENT_ROOT_FIND,
    RELEASE_RP,
    RELEASE_RQ,
    VERIFICATION,
    RawPeer,
    cancel_pdus,
    descriptors,
    echo_pdus,
    find_pdus,
    make_certificates,
    request_pdu,
    status_of,
    store_pdus,
)
from tests.support import PROMPT, wait_until

from dicomnet import evt
from dicomnet.pynetdicom.events import Event, EventHandlerType
from dicomnet.pynetdicom.transport import AssociationServer
from dicomnet.wire.pdu import Abort

ALL_CONTEXTS = ((1, VERIFICATION), (3, CT_IMAGE_STORAGE), (5, PATIENT_ROOT_FIND))
# (0010,0020) PatientID in Implicit VR Little Endian.
DATA_SET = b"\x10\x00\x20\x00\x02\x00\x00\x00ID"


class Stored:
    """A handler that remembers what it was given."""

    def __init__(self) -> None:
        self.objects: list[bytes] = []

    def __call__(self, event: Event) -> int:
        self.objects.append(event.encoded_dataset(include_meta=False))
        return 0


def port_of(server: AssociationServer) -> int:
    return server.server_address[1]


@contextlib.contextmanager
def established(server: AssociationServer, maximum_length: int = 16384) -> Iterator[RawPeer]:
    with RawPeer.connect(port_of(server)) as peer:
        peer.send(request_pdu(*ALL_CONTEXTS, maximum_length=maximum_length))
        assert peer.read_pdu()[0] == 2
        yield peer


def echo_is_quick(server: AssociationServer, **arguments: object) -> None:
    begin = monotonic()
    with associated(server, **arguments) as assoc:  # type: ignore[arg-type]
        assert assoc.send_c_echo().Status == 0
        assoc.release()
    assert monotonic() - begin < PROMPT


def all_is_over(server: AssociationServer) -> bool:
    return server.active_associations == [] and links_of(server) == []


def test_mute_tls_clients_do_not_keep_others_waiting(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    with serving_ae(tls=certificates.server()) as server, contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(RawPeer.connect(port_of(server)))
        half = stack.enter_context(RawPeer.connect(port_of(server)))
        half.send(b"\x16\x03\x01\x02\x00\x01")
        echo_is_quick(server, tls_args=(certificates.client(), "localhost"))


def test_mute_tls_clients_are_closed_at_the_deadline(tmp_path: Path) -> None:
    with serving_ae(tls=make_certificates(tmp_path).server(), acse_timeout=0.2) as server:
        with RawPeer.connect(port_of(server)) as peer:
            assert peer.read_to_end() == b""
        wait_until(lambda: all_is_over(server))


def test_idle_connections_do_not_keep_others_waiting() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096
    if soft < wanted <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    count = min(1500, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - descriptors() - 100) // 2)
    with serving_ae() as server, contextlib.ExitStack() as stack:
        before = threading.active_count()
        for _ in range(count):
            stack.enter_context(RawPeer.connect(port_of(server)))
        wait_until(lambda: len(links_of(server)) >= count)
        echo_is_quick(server)
        # One that talks has a thread, and nobody else.
        assert threading.active_count() <= before + 3
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_garbage_connections_take_no_slot() -> None:
    with serving_ae(maximum_associations=1) as server, contextlib.ExitStack() as stack:
        for data in (
            b"",
            b"\x01",
            b"GET / HTTP/1.0\r\n\r\n",
            request_pdu()[:40],
            b"\x16\x03\x01\x00\x05hello",
        ):
            stack.enter_context(RawPeer.connect(port_of(server))).send(data)
        echo_is_quick(server)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n" * 50, b"\x16\x03\x01" * 500, b"\x00" * 1000])
def test_other_protocols_get_one_abort(data: bytes) -> None:
    """pynetdicom answers a TLS hello with 84 of them."""
    with serving_ae(acse_timeout=0.2) as server, RawPeer.connect(port_of(server)) as peer:
        with contextlib.suppress(ConnectionError):
            for _ in range(5):
                peer.send(data)
        assert peer.read_to_end() in (ABORT_BY_USER, b"")
        wait_until(lambda: all_is_over(server))


class Trickle:
    """Sends bytes one after another, faster than any time-out between two of them, until nobody takes them."""

    def __init__(self, peer: RawPeer, data: bytes) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(peer, data))
        self._thread.start()

    def _run(self, peer: RawPeer, data: bytes) -> None:
        with contextlib.suppress(OSError):
            for byte in data * 1000:
                peer.send(bytes([byte]))
                if self._stop.wait(0.02):
                    return

    def __enter__(self) -> Trickle:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(10)


SLOW: dict[str, Any] = {"acse_timeout": 0.4, "dimse_timeout": 0.4, "network_timeout": 30}


def test_a_request_that_trickles_in_ends_at_the_deadline() -> None:
    """P003."""
    with serving_ae(**SLOW) as server, RawPeer.connect(port_of(server)) as peer:
        begin = monotonic()
        with Trickle(peer, request_pdu(*ALL_CONTEXTS)):
            assert peer.read_to_end() == b""
            assert 0.3 < monotonic() - begin < PROMPT
        wait_until(lambda: all_is_over(server))


def test_a_tls_handshake_that_trickles_in_ends_at_the_deadline(tmp_path: Path) -> None:
    hello = b"\x16\x03\x01\x20\x00" + bytes(100)
    with serving_ae(tls=make_certificates(tmp_path).server(), **SLOW) as server:
        with RawPeer.connect(port_of(server)) as peer, Trickle(peer, hello):
            begin = monotonic()
            peer.read_to_end()
            assert monotonic() - begin < PROMPT
        wait_until(lambda: all_is_over(server))


@pytest.mark.parametrize(
    ("name", "first", "slow"),
    [
        ("header", b"", b"\x04\x00\x00\x00\x0f\xff"),
        ("command", b"\x04\x00\x00\x00\x0f\xff\x00\x00\x0f\xfb\x01\x01", b"\x00"),
        ("data", store_pdus(bytes(4000), context_id=3)[:-3900], b"\x00"),
        ("command fragments", b"", b"\x04\x00\x00\x00\x00\x08\x00\x00\x00\x04\x01\x01\x00\x00"),
        ("release", b"", b"\x05\x00\x00\x00\x00\x04"),
    ],
)
def test_a_message_that_trickles_in_ends_at_the_deadline(name: str, first: bytes, slow: bytes) -> None:
    """X06."""
    stored = Stored()
    with serving_ae([(evt.EVT_C_STORE, stored)], **SLOW) as server, established(server) as peer:
        begin = monotonic()
        peer.send(first)
        with Trickle(peer, slow):
            said = peer.read_to_end()
            # A release is complete before the deadline.
            assert said in (ABORT_BY_USER, RELEASE_RP, b"") or said[0] == 7
            assert monotonic() - begin < PROMPT
        wait_until(lambda: all_is_over(server))
    assert stored.objects == []


def test_a_pdu_of_four_gigabytes_is_refused_from_its_header() -> None:
    with serving_ae() as server:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for header in (b"\x04\x00\xff\xff\xff\xff", b"\x05\x00\xff\xff\xff\xff"):
            with established(server) as peer:
                begin = monotonic()
                peer.send(header)
                assert peer.read_pdu() == Abort(2, 6).encode()
                assert monotonic() - begin < PROMPT
        with RawPeer.connect(port_of(server)) as peer:
            peer.send(b"\x01\x00\xff\xff\xff\xff")
            assert peer.read_pdu() == ABORT_BY_USER
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16_384


def test_an_endless_command_set_is_refused() -> None:
    """M031."""
    fragment = b"\x04\x00" + (1006).to_bytes(4, "big") + (1002).to_bytes(4, "big") + b"\x01\x01" + bytes(1000)
    with serving_ae() as server, established(server) as peer:
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 64 << 20:
                peer.send(fragment)
                sent += 1000
        assert sent < 16 << 20
        assert peer.read_to_end() in (Abort(2, 6).encode(), b"")


@pytest.mark.parametrize("other", [1, 5, 7])
def test_interleaved_contexts_end_the_association_and_nothing_is_stored(other: int) -> None:
    stored = Stored()
    whole = store_pdus(DATA_SET, context_id=3)
    data_set = whole[-len(DATA_SET) - 12 :]
    moved = data_set[:10] + bytes([other]) + data_set[11:]
    with serving_ae([(evt.EVT_C_STORE, stored)]) as server:
        with established(server) as peer:
            peer.send(whole[: -len(data_set)] + moved)
            assert peer.read_pdu() == Abort(2, 6).encode()
        with established(server) as peer:
            peer.send(whole[: -len(data_set)] + echo_pdus() + data_set)
            assert peer.read_pdu() == Abort(2, 6).encode()
    assert stored.objects == []


@pytest.mark.parametrize("end", ["reset", "close"])
@pytest.mark.parametrize("cut", [3, 9, 40, -1])
def test_a_connection_that_is_lost_inside_a_message_leaves_nothing(end: str, cut: int) -> None:
    stored = Stored()
    aborted: list[Event] = []
    handlers: list[EventHandlerType] = [(evt.EVT_C_STORE, stored), (evt.EVT_ABORTED, aborted.append)]
    with serving_ae(handlers) as server:
        with established(server) as peer:
            peer.send(store_pdus(DATA_SET, context_id=3)[:cut])
            getattr(peer, end)()
        wait_until(lambda: len(aborted) == 1)
        wait_until(lambda: all_is_over(server))
    assert stored.objects == []


def test_a_lost_connection_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does an object that is refused before a handler sees it."""
    monkeypatch.setattr("dicomnet._config.STORE_RECV_CHUNKED_DATASET", True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with serving_ae() as server:
        with established(server) as peer:
            peer.send(store_pdus(bytes(8000), context_id=3)[:-4000])
            wait_until(lambda: len(list(tmp_path.iterdir())) == 1)
        wait_until(lambda: list(tmp_path.iterdir()) == [])
        with established(server) as peer:
            peer.send(store_pdus(DATA_SET, context_id=3, sop_class=VERIFICATION))
            assert status_of(peer.read_pdu()) == 0x0122
            peer.send(store_pdus(DATA_SET, context_id=3))
            # No handler is bound.
            assert status_of(peer.read_pdu()) == 0xC211
        wait_until(lambda: list(tmp_path.iterdir()) == [])


def test_no_room_for_temporary_files_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It broke the stream, and the connection with it."""
    monkeypatch.setattr("dicomnet._config.STORE_RECV_CHUNKED_DATASET", True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with serving_ae([(evt.EVT_C_STORE, lambda event: 0)]) as server, established(server) as peer:
        peer.send(store_pdus(DATA_SET, context_id=3))
        assert status_of(peer.read_pdu()) == 0xA700
        peer.send(echo_pdus())
        assert status_of(peer.read_pdu()) == 0


def test_a_peer_that_reads_no_answers_is_waited_for_and_then_aborted() -> None:
    """Back-pressure: the handler is not asked for more than the network takes."""
    made: list[int] = []

    def find(event: Event) -> Iterator[tuple[int, object]]:
        for number in range(1_000_000):
            made.append(number)
            found = match()
            found.PatientComments = "X" * 5000
            yield 0xFF00, found

    closed: list[Event] = []
    handlers: list[EventHandlerType] = [(evt.EVT_C_FIND, find), (evt.EVT_ABORTED, closed.append)]
    with serving_ae(handlers, dimse_timeout=0.3, acse_timeout=0.3) as server, established(server) as peer:
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.send(find_pdus(context_id=5))
        wait_until(lambda: bool(closed))
        assert 0 < len(made) < 10_000
        wait_until(lambda: server.active_associations == [])


def test_a_message_may_come_byte_by_byte() -> None:
    stored = Stored()
    with serving_ae([(evt.EVT_C_STORE, stored)]) as server, RawPeer.connect(port_of(server)) as peer:
        for byte in request_pdu(*ALL_CONTEXTS):
            peer.send(bytes([byte]))
        assert peer.read_pdu()[0] == 2
        for byte in store_pdus(DATA_SET, context_id=3) + echo_pdus(2) + RELEASE_RQ:
            peer.send(bytes([byte]))
        assert [status_of(peer.read_pdu()) for _ in range(2)] == [0, 0]
        assert peer.read_pdu() == RELEASE_RP
    assert stored.objects == [DATA_SET]


def test_many_messages_may_come_in_one_segment() -> None:
    stored = Stored()
    with serving_ae([(evt.EVT_C_STORE, stored)]) as server, established(server) as peer:
        peer.send(store_pdus(DATA_SET, context_id=3) * 100 + RELEASE_RQ)
        assert [status_of(peer.read_pdu()) for _ in range(100)] == [0] * 100
        assert peer.read_pdu() == RELEASE_RP
    assert stored.objects == [DATA_SET] * 100


def test_an_abort_behind_the_data_ends_the_association() -> None:
    stored = Stored()
    closed: list[Event] = []
    handlers: list[EventHandlerType] = [(evt.EVT_C_STORE, stored), (evt.EVT_ABORTED, closed.append)]
    with serving_ae(handlers) as server, established(server) as peer:
        peer.send(store_pdus(DATA_SET, context_id=3) + ABORT_BY_USER)
        assert peer.read_to_end() == b""
        wait_until(lambda: len(closed) == 1)
        wait_until(lambda: all_is_over(server))
    assert stored.objects in ([], [DATA_SET])


def test_a_peer_that_goes_on_after_the_abort_does_not_keep_the_server_busy() -> None:
    """The watcher's thread, which all share, read what came as long as anything came."""
    with serving_ae(acse_timeout=1) as server, established(server) as peer:
        peer.send(b"\x42" * 10)
        assert peer.read_pdu() == Abort(2, 1).encode()
        stop = threading.Event()

        def flood() -> None:
            with contextlib.suppress(OSError):
                while not stop.is_set():
                    peer.send(bytes(1 << 16))

        threads = [threading.Thread(target=flood) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            echo_is_quick(server)
            wait_until(lambda: all_is_over(server))
        finally:
            stop.set()
            for thread in threads:
                thread.join(10)


def test_a_cancel_flood_needs_no_memory() -> None:
    """M013."""
    with serving_ae() as server, established(server) as peer:
        for first in range(0, 20_000, 1000):
            peer.send(b"".join(cancel_pdus(number, 5) for number in range(first, first + 1000)))
        peer.send(echo_pdus())
        assert status_of(peer.read_pdu()) == 0
        (assoc,) = server.active_associations
        assert link_of(assoc).talk._cancelled == set()


def test_a_handler_that_blocks_does_not_keep_others_waiting() -> None:
    """X20."""
    entered, leave = threading.Event(), threading.Event()

    def store(event: Event) -> int:
        entered.set()
        leave.wait(20)
        return 0

    with serving_ae([(evt.EVT_C_STORE, store)]) as server, established(server) as peer:
        peer.send(store_pdus(DATA_SET, context_id=3))
        assert entered.wait(10)
        echo_is_quick(server)
        leave.set()
        assert status_of(peer.read_pdu()) == 0


def test_a_slow_notification_handler_does_not_keep_others_waiting() -> None:
    """Handlers of what happens before the association ran in the one thread that accepts."""
    leave = threading.Event()
    slow: list[Event] = []

    def opened(event: Event) -> None:
        if not slow:
            slow.append(event)
            leave.wait(20)

    with serving_ae([(evt.EVT_CONN_OPEN, opened)]) as server, RawPeer.connect(port_of(server)):
        wait_until(lambda: bool(slow))
        echo_is_quick(server)
        leave.set()


def test_without_free_descriptors_the_server_goes_on() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with serving_ae() as server:
        echo_is_quick(server)
        peers = [socket.create_connection(("127.0.0.1", port_of(server))) for _ in range(2)]
        wait_until(lambda: len(links_of(server)) == 2)
        used = max(peer.fileno() for peer in peers) + 8
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
        try:
            with contextlib.suppress(OSError):
                while len(peers) < 22:
                    peers.append(socket.create_connection(("127.0.0.1", port_of(server)), 5))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for peer in peers:
            peer.close()
        wait_until(lambda: all_is_over(server))
        echo_is_quick(server)
