"""Links: turns of threads, what arrives while nobody calls, and what is left when they are over."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from time import monotonic, process_time

import pytest
from tests.associations import associated, ct_image, link_of, match, query, serving_ae
from tests.sockets import (
    ABORT_BY_USER,
    PATIENT_ROOT_FIND,
    RELEASE_RP,
    RELEASE_RQ,
    VERIFICATION,
    RawPeer,
    acceptance_of,
    descriptors,
    echo_pdus,
    message_pdus,
    raw_server,
    request_pdu,
    status_of,
)
from tests.support import wait_until

from dicomnet import build_context, evt
from dicomnet.dimse.messages import C_ECHO_RQ, C_FIND_RSP, Message, respond
from dicomnet.drivers.blocking import channel
from dicomnet.drivers.blocking.watcher import WorkerPool
from dicomnet.errors import AssociationAborted, AssociationClosed, DeadlineExceeded
from dicomnet.pynetdicom.association import Association
from dicomnet.pynetdicom.events import Event
from dicomnet.wire.pdu import Abort, ReleaseRP, ReleaseRQ, decode_pdu


def answer(peer: RawPeer) -> None:
    """Accept what is proposed, by bytes that no library of ours has made."""
    peer.send(acceptance_of(peer.read_pdu()))


def threads_named(prefix: str) -> int:
    return sum(thread.name.startswith(prefix) for thread in threading.enumerate())


def test_a_peer_that_aborts_while_nobody_calls_is_noticed() -> None:
    go = threading.Event()

    def serve(peer: RawPeer) -> None:
        answer(peer)
        go.wait(10)
        peer.send(Abort(2, 1).encode())
        peer.read_to_end()

    with raw_server(serve) as port, associated(port) as assoc:
        go.set()
        wait_until(lambda: assoc.is_aborted)
        assert isinstance(assoc.failure, AssociationAborted)
        assert (assoc.failure.source, assoc.failure.reason) == (2, 1)
        with pytest.raises(RuntimeError):
            assoc.send_c_echo()


def test_a_peer_that_releases_while_nobody_calls_is_answered() -> None:
    answers: list[bytes] = []

    def serve(peer: RawPeer) -> None:
        answer(peer)
        peer.send(RELEASE_RQ)
        answers.append(peer.read_pdu())

    with raw_server(serve) as port, associated(port) as assoc:
        wait_until(lambda: assoc.is_released)
        wait_until(lambda: bool(answers))
    assert answers == [RELEASE_RP]


def test_a_release_collision_is_resolved_by_the_requestor() -> None:
    """PS3.8 section 7.2.2: the requestor answers first."""
    said: list[bytes] = []

    def serve(peer: RawPeer) -> None:
        answer(peer)
        assert peer.read_pdu() == RELEASE_RQ
        peer.send(RELEASE_RQ)
        said.append(peer.read_pdu())
        peer.send(RELEASE_RP)
        said.append(peer.read_to_end())

    with raw_server(serve) as port, associated(port) as assoc:
        assoc.release()
        assert assoc.is_released
        wait_until(lambda: len(said) == 2)
    assert said == [RELEASE_RP, b""]


def test_a_release_collision_is_resolved_by_the_acceptor() -> None:
    """It answered the peer's request before the peer's answer was there, which the table does not allow."""
    accepted: list[Association] = []
    with serving_ae([(evt.EVT_ESTABLISHED, lambda event: accepted.append(event.assoc))]) as server:
        with RawPeer.connect(server.server_address[1]) as peer:
            peer.send(request_pdu())
            assert peer.read_pdu()[0] == 2
            wait_until(lambda: bool(accepted))
            releasing = threading.Thread(target=accepted[0].release)
            releasing.start()
            assert peer.read_pdu() == RELEASE_RQ
            peer.send(RELEASE_RQ)
            peer.send(RELEASE_RP)
            assert peer.read_pdu() == RELEASE_RP
            peer.close()
            releasing.join(10)
            wait_until(lambda: accepted[0].is_released)


def test_a_peer_that_answers_its_own_release_breaks_the_protocol() -> None:
    """PS3.8 Table 9-10: A-RELEASE-RP in Sta9. It was taken for a release."""
    said: list[bytes] = []

    def serve(peer: RawPeer) -> None:
        answer(peer)
        peer.read_pdu()
        peer.send(RELEASE_RQ + RELEASE_RP)
        said.append(peer.read_pdu())

    with raw_server(serve) as port, associated(port) as assoc:
        assoc.release()
        assert assoc.is_aborted
        assert not assoc.is_released
        wait_until(lambda: said == [Abort(2, 2).encode()])


def test_an_abort_right_behind_a_request_ends_the_association() -> None:
    """The answer could not be sent, and the association then stayed established for ever."""
    over: list[bool] = []
    handlers = [(evt.EVT_ABORTED, lambda event: over.append(event.assoc.is_aborted))]
    with serving_ae(handlers) as server, RawPeer.connect(server.server_address[1]) as peer:
        peer.send(request_pdu())
        peer.read_pdu()
        peer.send(echo_pdus() + ABORT_BY_USER)
        wait_until(lambda: over == [True])
        wait_until(lambda: server.active_associations == [])


def test_several_threads_take_turns() -> None:
    with serving_ae() as server, associated(server) as assoc:
        statuses: list[int] = []

        def echo(first: int) -> None:
            for number in range(20):
                statuses.append(assoc.send_c_echo(msg_id=first + number).Status)
                statuses.append(assoc.send_c_echo(msg_id=first + number).Status)

        threads = [threading.Thread(target=echo, args=(1000 * n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert statuses == [0] * 240


def test_an_abort_from_another_thread_ends_a_wait() -> None:
    entered, leave = threading.Event(), threading.Event()

    def echo(event: Event) -> int:
        entered.set()
        leave.wait(20)
        return 0

    with serving_ae([(evt.EVT_C_ECHO, echo)]) as server, associated(server) as assoc:
        statuses: list[object] = []
        caller = threading.Thread(target=lambda: statuses.append(assoc.send_c_echo()))
        caller.start()
        assert entered.wait(10)
        begin = monotonic()
        assoc.abort()
        caller.join(5)
        assert monotonic() - begin < 5
        assert len(statuses) == 1
        assert assoc.is_aborted
        leave.set()


def test_an_abort_does_not_wait_for_a_handler_that_blocks() -> None:
    """It waited for the handler, and the peer heard nothing until then."""
    entered, leave = threading.Event(), threading.Event()
    accepted: list[Association] = []

    def echo(event: Event) -> int:
        accepted.append(event.assoc)
        entered.set()
        leave.wait(20)
        return 0

    with serving_ae([(evt.EVT_C_ECHO, echo)]) as server, RawPeer.connect(server.server_address[1]) as peer:
        peer.send(request_pdu())
        peer.read_pdu()
        peer.send(echo_pdus())
        assert entered.wait(10)
        begin = monotonic()
        accepted[0].abort()
        assert monotonic() - begin < 3
        assert peer.read_to_end() == ABORT_BY_USER
        assert accepted[0].is_aborted
        leave.set()
        wait_until(lambda: server.active_associations == [])


def test_an_idle_association_is_aborted_at_its_time_out() -> None:
    with serving_ae() as server, associated(server, properties={"network_timeout": 0.1}) as assoc:
        wait_until(lambda: assoc.is_aborted)
        assert isinstance(assoc.failure, DeadlineExceeded)
        assert assoc.failure.stage == "idle"


def test_an_idle_acceptor_aborts_at_its_time_out() -> None:
    with serving_ae(network_timeout=0.1) as server, associated(server) as assoc:
        wait_until(lambda: assoc.is_aborted)
        assert isinstance(assoc.failure, AssociationAborted)
        assert assoc.failure.source == 0


def test_an_association_that_is_used_is_not_idle() -> None:
    """An idle time-out that had passed ended the request that began just then."""
    with serving_ae() as server, associated(server, properties={"network_timeout": 0.05}) as assoc:
        link = link_of(assoc)
        with link.exchange():
            assert link._idle.watch is None
            link._expire()
        link._expire()
        assert assoc.is_established
        assert assoc.send_c_echo().Status == 0


def test_a_request_that_cannot_be_encoded_is_the_callers_mistake_only() -> None:
    """The association was aborted for it."""
    with serving_ae() as server, associated(server) as assoc:
        with pytest.raises(ValueError):
            assoc.send_c_echo(msg_id=70000)
        with pytest.raises(ValueError):
            assoc.send_c_find(query(), PATIENT_ROOT_FIND, msg_id=-1)
        assert assoc.send_c_echo().Status == 0


def find_some(event: Event) -> Iterator[tuple[int, object]]:
    for number in range(5):
        yield 0xFF00, match(f"M^{number}")


def test_a_request_inside_an_iteration_gets_its_own_response() -> None:
    with serving_ae([(evt.EVT_C_FIND, find_some)]) as server, associated(server) as assoc:
        names = []
        last = 0
        for status, identifier in assoc.send_c_find(query(), PATIENT_ROOT_FIND):
            last = status.Status
            assert assoc.send_c_echo(msg_id=7).Status == 0
            if identifier is not None:
                names.append(str(identifier.PatientName))
        assert names == [f"M^{number}" for number in range(5)]
        assert last == 0


def test_an_iteration_left_early_does_not_spoil_the_next_request() -> None:
    with serving_ae([(evt.EVT_C_FIND, find_some)]) as server, associated(server) as assoc:
        for _ in assoc.send_c_find(query(), PATIENT_ROOT_FIND):
            break
        assert assoc.send_c_echo().Status == 0
        assert [status.Status for status, _ in assoc.send_c_find(query(), PATIENT_ROOT_FIND)] == [
            0xFF00
        ] * 5 + [0]
        assoc.send_c_find(query(), PATIENT_ROOT_FIND)
        assoc.release()
        assert assoc.is_released


def test_two_iterations_at_once_each_get_their_own() -> None:
    with serving_ae([(evt.EVT_C_FIND, find_some)]) as server, associated(server) as assoc:
        first = assoc.send_c_find(query(), PATIENT_ROOT_FIND, msg_id=1)
        second = assoc.send_c_find(query(), PATIENT_ROOT_FIND, msg_id=2)
        pairs = [(a[0].Status, b[0].Status) for a, b in zip(first, second, strict=True)]
        assert pairs == [(0xFF00, 0xFF00)] * 5 + [(0, 0)]


def test_a_cancel_of_nothing_does_not_cancel_a_later_request() -> None:
    """A C-CANCEL of an unknown Message ID was remembered, and ended the request that had the ID later."""
    seen: list[bool] = []

    def find(event: Event) -> Iterator[tuple[int, object]]:
        wait_until(lambda: link_of(event.assoc).is_cancelled(event.message_id) or bool(ready.wait(10)))
        seen.append(event.is_cancelled)
        yield 0xFF00, match()

    ready = threading.Event()
    with serving_ae([(evt.EVT_C_FIND, find)]) as server, associated(server) as assoc:
        responses = assoc.send_c_find(query(), PATIENT_ROOT_FIND, msg_id=4)
        assoc.send_c_cancel(5, query_model=PATIENT_ROOT_FIND)
        ready.set()
        assert [status.Status for status, _ in responses] == [0xFF00, 0]
        again = assoc.send_c_find(query(), PATIENT_ROOT_FIND, msg_id=5)
        assert [status.Status for status, _ in again] == [0xFF00, 0]
    assert seen == [False, False]


def test_a_handler_that_is_told_what_is_sent_cannot_deadlock() -> None:
    """A message sent from it waited for the one that was being sent, for ever."""
    errors: list[Exception] = []

    def told(event: Event) -> None:
        try:
            event.assoc.send_c_cancel(1, query_model=PATIENT_ROOT_FIND)
        except RuntimeError as error:
            errors.append(error)

    with serving_ae() as server, associated(server, [(evt.EVT_DIMSE_SENT, told)]) as assoc:
        assert assoc.send_c_echo().Status == 0
    assert len(errors) == 1


def test_a_handler_that_is_told_what_arrives_cannot_deadlock() -> None:
    errors: list[Exception] = []

    def told(event: Event) -> None:
        assoc = event.assoc
        assoc.unbind(evt.EVT_DIMSE_RECV, told)
        try:
            assoc.send_c_echo()
        except RuntimeError as error:
            errors.append(error)

    with serving_ae() as server, associated(server, [(evt.EVT_DIMSE_RECV, told)]) as assoc:
        assoc.send_c_echo()
    assert len(errors) == 1


def test_a_sink_that_fails_ends_the_association_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """It left the stream in the middle of a message, and the connection ready for ever."""

    def open_sink(*given: object) -> object:
        raise ZeroDivisionError("a bug in a sink")

    with serving_ae() as server:
        server._open_sink = open_sink  # type: ignore[assignment]
        with associated(server) as assoc:
            assert "Status" not in assoc.send_c_store(ct_image())
            assert assoc.is_aborted
        with associated(server) as assoc:
            assert assoc.send_c_echo().Status == 0
    assert "a bug in a sink" in caplog.text


def test_idle_requestors_own_no_thread_and_use_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomnet.drivers.blocking.server.WorkerPool", partial(WorkerPool, linger=0.1))
    with serving_ae(maximum_associations=100) as server:
        before = threading.active_count()
        links = [associated(server) for _ in range(30)]
        associations = [link.__enter__() for link in links]
        wait_until(lambda: threading.active_count() <= before + 2)
        begin = process_time()
        threading.Event().wait(0.5)
        assert process_time() - begin < 0.1
        assert all(assoc.send_c_echo().Status == 0 for assoc in associations)
        for link in links:
            link.__exit__(None, None, None)


def test_three_hundred_associations_leave_nothing_behind() -> None:
    with serving_ae(maximum_associations=50) as server:
        with associated(server) as assoc:
            assoc.send_c_echo()
        wait_until(lambda: server.active_associations == [])
        base = descriptors(), threading.active_count()
        for number in range(300):
            with associated(server) as assoc:
                if number % 3:
                    assoc.release()
        wait_until(lambda: server.active_associations == [])
        wait_until(lambda: descriptors() <= base[0])
        assert threading.active_count() <= base[1] + 4


@pytest.mark.parametrize("kind", ["abort", "close"])
def test_what_is_kept_of_an_association_holds_no_buffer(kind: str) -> None:
    with serving_ae() as server, associated(server) as assoc:
        assert assoc.send_c_echo().Status == 0
        link = link_of(assoc)
        getattr(link, kind)()
        wait_until(lambda: link._is_over)
        assert not link._buffer.is_held
        with pytest.raises(AssociationClosed):
            link.release()


def test_a_request_behind_a_response_is_served_by_the_watcher() -> None:
    """What arrives in one segment with the answer that a caller takes must not wait for the next call."""
    statuses: list[int] = []

    def serve(peer: RawPeer) -> None:
        answer(peer)
        peer.read_pdu()
        reply = _echo_response()
        peer.send(reply + RELEASE_RQ)
        statuses.append(peer.read_pdu()[0])

    with raw_server(serve) as port, associated(port) as assoc:
        assert assoc.send_c_echo().Status == 0
        wait_until(lambda: assoc.is_released)
        wait_until(lambda: statuses == [ReleaseRP.pdu_type])


def _echo_response(message_id: int = 1, status: int = 0) -> bytes:
    asked = Message(C_ECHO_RQ, {"AffectedSOPClassUID": VERIFICATION, "MessageID": message_id}, 1)
    return message_pdus(respond(asked, status))


def test_responses_to_other_requests_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    def serve(peer: RawPeer) -> None:
        answer(peer)
        peer.read_pdu()
        peer.send(_echo_response(99) + _echo_response(1, 0x0122))
        peer.read_pdu()

    with raw_server(serve) as port, associated(port) as assoc:
        assert assoc.send_c_echo(msg_id=1).Status == 0x0122
    assert "answers no request" in caplog.text


FORK = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
sys.path.insert(0, {root!r})
from tests.associations import associated, link_of, serving_ae
with serving_ae(maximum_associations=20) as server:
    with associated(server) as assoc:
        assert assoc.send_c_echo().Status == 0
    port = server.server_address[1]
    child = os.fork()
    if child == 0:
        with associated(port) as assoc:
            ok = assoc.send_c_echo().Status == 0
            peers = link_of(assoc)._idle._watcher
        os._exit(0 if ok and peers._thread.is_alive() else 1)
    assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_process_has_a_watcher_of_its_own(pytestconfig: pytest.Config) -> None:
    """It had the parent's, whose thread a fork does not copy, so that nothing idle was ever noticed."""
    script = FORK.format(root=str(pytestconfig.rootpath))
    done = subprocess.run(
        [sys.executable, "-c", script], timeout=60, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_release_of_an_acceptor_ends_the_association() -> None:
    accepted: list[Association] = []
    with serving_ae([(evt.EVT_ESTABLISHED, lambda event: accepted.append(event.assoc))]) as server:
        with associated(server) as assoc:
            wait_until(lambda: bool(accepted))
            accepted[0].release()
            assert accepted[0].is_released
            wait_until(lambda: assoc.is_released)


def test_status_of_reads_what_was_answered() -> None:
    assert status_of(_echo_response(1, 0x0210)) == 0x0210
    assert decode_pdu(5, memoryview(RELEASE_RQ)[6:]) == ReleaseRQ()


def test_what_is_left_of_a_query_may_take_longer_than_one_message_as_long_as_it_flows() -> None:
    """The peer ignores the cancel. The deadline of one message was that of all that were read away."""
    pace = threading.Event()

    def serve(peer: RawPeer) -> None:
        answer(peer)
        command = {"AffectedSOPClassUID": PATIENT_ROOT_FIND, "MessageIDBeingRespondedTo": 1}
        found = message_pdus(Message(C_FIND_RSP, {**command, "Status": 0xFF00}, 1, bytes(500)))
        end = monotonic() + 1.2
        while monotonic() < end:
            peer.send(found)
            pace.wait(0.005)
        peer.send(message_pdus(Message(C_FIND_RSP, {**command, "Status": 0}, 1)))
        peer.send(_echo_response(2))
        peer.read_to_end()

    contexts = [build_context(PATIENT_ROOT_FIND), build_context(VERIFICATION)]
    slow = {"dimse_timeout": 0.4}
    with raw_server(serve) as port, associated(port, contexts=contexts, properties=slow) as assoc:
        next(assoc.send_c_find(query(), PATIENT_ROOT_FIND))
        assert assoc.send_c_echo(msg_id=2).Status == 0
        assert assoc.is_established


def test_a_connection_whose_reads_cannot_wait_works_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where C has times of 64 bits and a long of 32, the system refuses the time-out."""
    monkeypatch.setattr(channel, "pack", lambda *_: b"\0" * 4)
    with serving_ae() as server, associated(server) as assoc:
        assert link_of(assoc).channel.sock.gettimeout() == 0
        assert assoc.send_c_echo().Status == 0
