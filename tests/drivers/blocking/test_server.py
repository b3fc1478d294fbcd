"""Accepting connections and ending them."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from time import monotonic

import pytest
from tests.associations import associated, serving_ae
from tests.sockets import RawPeer, descriptors, request_pdu
from tests.support import wait_until

from dicomnet import evt
from dicomnet.drivers.transport import listen
from dicomnet.pynetdicom.events import Event
from dicomnet.pynetdicom.transport import AssociationServer


def port_of(server: AssociationServer) -> int:
    return server.server_address[1]


def test_any_free_port_is_taken_and_known() -> None:
    with serving_ae() as server:
        assert server.server_address[0] == "127.0.0.1"
        assert port_of(server) > 0


def test_a_port_that_is_taken_is_the_callers_error() -> None:
    with serving_ae() as server, pytest.raises(OSError):
        listen(("127.0.0.1", port_of(server)))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_both_address_families_are_served(host: str) -> None:
    """P024."""
    if host == "::1" and not socket.has_ipv6:
        return
    listener = listen((host, 0))
    with listener, socket.create_connection((host, listener.getsockname()[1]), 5):
        pass


def test_a_server_comes_back_on_its_port() -> None:
    with serving_ae() as server:
        port = port_of(server)
        with associated(server) as assoc:
            assoc.release()
    listen(("127.0.0.1", port)).close()


def test_shutdown_aborts_associations_and_says_so() -> None:
    with serving_ae() as server, associated(server) as assoc, RawPeer.connect(port_of(server)) as peer:
        peer.send(request_pdu())
        assert peer.read_pdu()[0] == 2
        server.shutdown()
        assert peer.read_to_end() == bytes.fromhex("070000000004 0000 0000")
        wait_until(lambda: assoc.is_aborted)


def test_shutdown_ends_threads_and_descriptors() -> None:
    before = descriptors(), threading.active_count()
    for _ in range(3):
        with serving_ae() as server:
            with associated(server) as assoc:
                assert assoc.send_c_echo().Status == 0
                assoc.release()
    # What the process keeps for idle requestors does not grow.
    assert descriptors() <= before[0] + 4
    wait_until(lambda: threading.active_count() <= before[1] + 2)


def test_shutdown_twice_is_once() -> None:
    with serving_ae() as server:
        server.shutdown()
        server.shutdown()


def test_a_server_that_never_started_can_be_shut_down() -> None:
    from dicomnet import AE

    ae = AE()
    ae.add_supported_context("1.2.840.10008.1.1")
    ae.make_server(("127.0.0.1", 0)).shutdown()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomnet.drivers.blocking.server._LAST_HANDLERS", 0.2)


@pytest.mark.usefixtures("impatient")
def test_shutdown_from_a_handler_does_not_wait_for_itself() -> None:
    """The watcher's thread waited for the lock of the association whose handler waited for the watcher's thread."""
    done = threading.Event()
    box: list[AssociationServer] = []

    def echo(event: Event) -> int:
        box[0].shutdown()
        done.set()
        return 0

    with serving_ae([(evt.EVT_C_ECHO, echo)]) as server:
        box.append(server)
        with associated(server) as assoc:
            assoc.send_c_echo()
        assert done.wait(10)


@pytest.mark.usefixtures("impatient")
def test_shutdown_does_not_wait_for_a_handler_that_blocks() -> None:
    entered, release = threading.Event(), threading.Event()

    def echo(event: Event) -> int:
        entered.set()
        release.wait(60)
        return 0

    with serving_ae([(evt.EVT_C_ECHO, echo)]) as server, associated(server) as assoc:
        caller = threading.Thread(target=assoc.send_c_echo)
        caller.start()
        assert entered.wait(10)
        begin = monotonic()
        server.shutdown()
        assert monotonic() - begin < 10
        release.set()
        caller.join(10)
        assert assoc.is_aborted


def test_serve_forever_ends_with_shutdown() -> None:
    with serving_ae() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        server.shutdown()
        thread.join(10)
        assert not thread.is_alive()


SIGNALLED_BESIDE = """
import signal, socket, sys, threading, time
from dicomnet import AE, evt

def opened(event):
    while sys._current_frames()[threading.main_thread().ident].f_code.co_name != "wait":
        time.sleep(0.01)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

ae = AE()
ae.add_supported_context("1.2.840.10008.1.1")
server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_CONN_OPEN, opened)])
with socket.create_connection(server.server_address):
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_a_signal_that_another_thread_is_given_ends_it_too() -> None:
    """The system may give it to any thread, and only the main thread runs its handler."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED_BESIDE], timeout=60, capture_output=True, text=True, check=False
    )
    assert done.stdout == "interrupted\n", done.stderr
