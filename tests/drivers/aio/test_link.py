"""Links in a loop: turns of tasks, cancellation, deadlines, and what arrives while nobody waits."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import tracemalloc
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.associations import ct_image, match, query
from tests.loops import StreamPeer, in_loop, over_time, stream_server, until
from tests.sockets import (
    ABORT_BY_USER,
    CT_IMAGE_STORAGE,
    PATIENT_ROOT_FIND,
    RELEASE_RP,
    RELEASE_RQ,
    VERIFICATION,
    cancel_pdus,
    descriptors,
    echo_pdus,
    find_pdus,
    make_certificates,
    message_pdus,
    request_pdu,
    status_of,
    store_pdus,
)
from tests.support import PROMPT

from dicomnet import aio
from dicomnet.dimse.codec import decode_command
from dicomnet.dimse.messages import C_ECHO_RSP, C_FIND_RSP, Message
from dicomnet.drivers.aio.link import Link
from dicomnet.drivers.deadline import Timeouts
from dicomnet.errors import (
    AssociationAborted,
    AssociationClosed,
    AssociationRejected,
    ConnectionFailed,
    DeadlineExceeded,
    ServiceRefusal,
    TLSFailed,
    UnusableObject,
)
from dicomnet.wire.pdu import Abort, AssociateRJ

CONTEXTS = (VERIFICATION, CT_IMAGE_STORAGE, PATIENT_ROOT_FIND)
SHORT = Timeouts(connect=5, association=0.3, message=0.3, idle=10)
# QueryRetrieveLevel and PatientComments in Explicit VR Little Endian.
QUERY = bytes.fromhex("08005200 4353 0800") + b"PATIENT "
P_DATA_NOT_LAST = bytes.fromhex("0400 00000008 00000004 0100 0000")
LARGE_MATCH = QUERY + bytes.fromhex("10000040 4C54 401F") + b"x" * 8000

Handlers = dict[str, Callable[[aio.Request], Any]]


def serving(handlers: Handlers | None = None, **options: Any) -> Any:
    return aio.serve(("127.0.0.1", 0), CONTEXTS, handlers, **options)


@contextlib.asynccontextmanager
async def associated(port: int, timeouts: Timeouts | None = None, **options: Any) -> AsyncIterator[Any]:
    assoc = await aio.connect(f"SCP@127.0.0.1:{port}", CONTEXTS, timeouts=timeouts, **options)
    try:
        yield assoc
    finally:
        assoc.abort()
        # The peers of these tests do not close when they are told of an abort.
        assoc._link.close()
        await assoc._link.closed.wait()


def echo_response(message_id: int, status: int = 0) -> bytes:
    command = {
        "AffectedSOPClassUID": VERIFICATION,
        "MessageIDBeingRespondedTo": message_id,
        "Status": status,
    }
    return message_pdus(Message(C_ECHO_RSP, command, 1))


def find_response(message_id: int, status: int, data: bytes | None = None) -> bytes:
    command = {
        "AffectedSOPClassUID": PATIENT_ROOT_FIND,
        "MessageIDBeingRespondedTo": message_id,
        "Status": status,
    }
    return message_pdus(Message(C_FIND_RSP, command, 5, data))


def command_of(pdu: bytes) -> dict[str, Any]:
    return decode_command(pdu[12:])[1]


async def read_command(peer: StreamPeer) -> dict[str, Any]:
    """The command set of the next message; its data set, of one PDU, is left out."""
    while True:
        pdu = await peer.read_pdu()
        assert pdu[:1] == b"\x04", pdu
        if pdu[11] & 1:
            return command_of(pdu)


async def asks_to_be_refused(peer: StreamPeer) -> None:
    """Ask a requestor that offers nothing; its refusal is the next that it says, ahead of what it holds back."""
    peer.send(echo_pdus())
    assert status_of(await peer.read_pdu()) == 0x0122


def has_to_wait(sender: StreamPeer | None, *links: Link) -> bool:
    """Whether a link reads no more, and what its peer sends has nowhere to go."""
    transports = [link._transport for link in links if link._transport is not None]
    is_read = not transports or any(each.is_reading() for each in transports)
    return not is_read and sender is not None and sender.writer.transport.get_write_buffer_size() > 0


# -- what arrives while nobody waits


@in_loop
async def test_a_peer_that_aborts_while_nobody_waits_is_noticed() -> None:
    go = asyncio.Event()

    async def serve(peer: StreamPeer) -> None:
        await peer.accept()
        await go.wait()
        peer.send(Abort(2, 1).encode())
        await peer.read_to_end()

    async with stream_server(serve) as port, associated(port) as assoc:
        go.set()
        await until(lambda: not assoc.is_established)
        with pytest.raises(AssociationClosed) as raised:
            await assoc.send_c_echo()
        cause = raised.value.__cause__
        assert isinstance(cause, AssociationAborted)
        assert (cause.source, cause.reason) == (2, 1)


@in_loop
async def test_a_peer_that_releases_while_nobody_waits_is_answered() -> None:
    said: list[bytes] = []

    async def serve(peer: StreamPeer) -> None:
        await peer.accept()
        peer.send(RELEASE_RQ)
        said.append(await peer.read_pdu())

    async with stream_server(serve) as port, associated(port) as assoc:
        await until(lambda: not assoc.is_established)
        await until(lambda: bool(said))
    assert said == [RELEASE_RP]


@in_loop
async def test_a_peer_that_closes_while_nobody_waits_is_noticed() -> None:
    async def serve(peer: StreamPeer) -> None:
        await peer.accept()

    async with stream_server(serve) as port, associated(port) as assoc:
        await until(lambda: not assoc.is_established)


@in_loop
async def test_a_request_to_a_requestor_that_offers_nothing_is_refused() -> None:
    refused = asyncio.Event()

    async def serve(peer: StreamPeer) -> None:
        await peer.accept()
        await asks_to_be_refused(peer)
        refused.set()
        await peer.read_to_end()

    async with stream_server(serve) as port, associated(port):
        await refused.wait()


@in_loop
async def test_a_release_collision_is_resolved_by_the_requestor() -> None:
    """PS3.8 section 7.2.2: the requestor answers first."""
    said: list[bytes] = []

    async def serve(peer: StreamPeer) -> None:
        await peer.accept()
        assert await peer.read_pdu() == RELEASE_RQ
        peer.send(RELEASE_RQ)
        said.append(await peer.read_pdu())
        peer.send(RELEASE_RP)
        said.append(await peer.read_to_end())

    async with stream_server(serve) as port, associated(port) as assoc:
        await assoc.release()
        await until(lambda: len(said) == 2)
    assert said == [RELEASE_RP, b""]


@in_loop
async def test_responses_behind_a_release_request_of_ours_are_not_an_error() -> None:
    async def serve(peer: StreamPeer) -> None:
        await peer.accept()
        assert await peer.read_pdu() == RELEASE_RQ
        peer.send(echo_response(9) + RELEASE_RP)
        await peer.read_to_end()

    async with stream_server(serve) as port, associated(port) as assoc:
        await assoc.release()
        assert not assoc.is_established


# -- the end, while we wait


@pytest.mark.parametrize("last", [ABORT_BY_USER, b"", b"GET / HTTP/1.1\r\n\r\n"])
def test_the_end_of_the_association_ends_a_wait(last: bytes) -> None:
    @in_loop
    async def test() -> None:
        async def serve(peer: StreamPeer) -> None:
            await peer.accept()
            await peer.read_pdu()
            peer.send(last)

        async with stream_server(serve) as port, associated(port) as assoc:
            with pytest.raises(AssociationAborted):
                await assoc.send_c_echo()

    test()


@pytest.mark.parametrize("last", [ABORT_BY_USER, b"nonsense"])
def test_the_end_of_the_association_ends_a_write(last: bytes) -> None:
    """The peer does not read, so that our message fills the network's buffers."""

    @in_loop
    async def test() -> None:
        over = asyncio.Event()

        async def serve(peer: StreamPeer) -> None:
            await peer.accept()
            await peer.reader.readexactly(1 << 20)
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            peer.send(last)
            await over.wait()

        async with stream_server(serve) as port, associated(port) as assoc:
            with pytest.raises(AssociationAborted):
                await assoc.send_c_store(ct_image(64 << 20))
            over.set()

    test()


@in_loop
async def test_an_abort_by_another_task_ends_a_wait() -> None:
    asked = asyncio.Event()

    async def serve(peer: StreamPeer) -> None:
        await peer.accept()
        await peer.read_pdu()
        asked.set()
        assert await peer.read_pdu() == ABORT_BY_USER

    async with stream_server(serve) as port, associated(port) as assoc:
        echo = asyncio.create_task(assoc.send_c_echo())
        await asked.wait()
        assoc.abort()
        with pytest.raises(AssociationClosed):
            await echo


# -- deadlines


@in_loop
async def test_a_peer_that_does_not_answer_the_request_in_time() -> None:
    async def serve(peer: StreamPeer) -> None:
        await peer.read_to_end()

    async with stream_server(serve) as port:
        with pytest.raises(DeadlineExceeded) as raised:
            await aio.connect(f"127.0.0.1:{port}", CONTEXTS, timeouts=SHORT)
    assert raised.value.stage == "association"


@in_loop
async def test_a_peer_that_does_not_answer_in_time() -> None:
    said: list[bytes] = []

    async def serve(peer: StreamPeer) -> None:
        await peer.accept()
        await peer.read_pdu()
        said.append(await peer.read_pdu())

    async with stream_server(serve) as port, associated(port, SHORT) as assoc:
        with pytest.raises(DeadlineExceeded) as raised:
            await assoc.send_c_echo()
        await until(lambda: bool(said))
    assert raised.value.stage == "message"
    assert said == [ABORT_BY_USER]


@in_loop
async def test_a_peer_that_does_not_answer_the_release_in_time() -> None:
    async def serve(peer: StreamPeer) -> None:
        await peer.accept()
        await peer.read_to_end()

    async with stream_server(serve) as port, associated(port, SHORT) as assoc:
        with pytest.raises(DeadlineExceeded) as raised:
            await assoc.release()
    assert raised.value.stage == "release"


@in_loop
async def test_a_peer_that_never_reads_ends_by_the_deadline() -> None:
    over = asyncio.Event()

    async def serve(peer: StreamPeer) -> None:
        await peer.accept()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await over.wait()

    async with stream_server(serve) as port, associated(port, SHORT) as assoc:
        begin = asyncio.get_running_loop().time()
        image = ct_image(32 << 20)
        # What the buffers take earns time of its own; it must not be more than that.
        with pytest.raises(DeadlineExceeded):
            await asyncio.wait_for(assoc.send_c_store(image), 600)
        assert asyncio.get_running_loop().time() - begin < 600
        over.set()


@pytest.mark.parametrize("what", ["request", "message", "idle"])
def test_a_trickle_ends_at_the_total_deadline(what: str) -> None:
    @in_loop
    async def test() -> None:
        async with await serving(timeouts=Timeouts(association=0.3, message=0.3, idle=0.3)) as server:
            async with await StreamPeer.connect(server.address[1]) as peer:
                if what != "request":
                    peer.send(request_pdu())
                    assert (await peer.read_pdu())[0] == 2
                loop = asyncio.get_running_loop()
                begin = loop.time()
                trickle = {"request": request_pdu(), "message": echo_pdus(), "idle": b""}[what]

                async def drip() -> None:
                    with contextlib.suppress(ConnectionError):
                        async for byte in over_time(trickle * 10, 0.02):
                            peer.send(bytes((byte,)))
                            await peer.writer.drain()

                dripping = asyncio.create_task(drip())
                said = await peer.read_to_end()
                assert 0.2 < loop.time() - begin < PROMPT
                assert said == (b"" if what == "request" else ABORT_BY_USER)
                dripping.cancel()
                await asyncio.gather(dripping, return_exceptions=True)
            await until(lambda: not server._server.links)

    test()


@in_loop
async def test_an_association_in_use_is_not_idle() -> None:
    """Each request takes as long as another association takes to end for being idle."""
    timeouts = Timeouts(idle=0.2)

    async def echo(request: aio.Request) -> int:
        async with associated(server.address[1], timeouts) as idle:
            await until(lambda: not idle.is_established)
        return 0

    async with await serving({"C-ECHO": echo}, timeouts=timeouts) as server:
        async with associated(server.address[1], timeouts) as assoc:
            assert (await assoc.send_c_echo()).Status == 0
            assert (await assoc.send_c_echo()).Status == 0
            await until(lambda: not assoc.is_established)


@in_loop
async def test_a_large_object_over_a_slow_line_is_in_time() -> None:
    """Each byte earns its share of a second, though the whole takes longer than the deadline."""
    received: list[int] = []

    async def store(request: aio.Request) -> int:
        received.append(len(request.data))
        return 0

    async with await serving({"C-STORE": store}, timeouts=Timeouts(message=0.2)) as server:
        async with await StreamPeer.connect(server.address[1]) as peer:
            peer.send(request_pdu((1, CT_IMAGE_STORAGE)))
            await peer.read_pdu()
            data = store_pdus(bytes(200_000))
            async for at in over_time(range(0, len(data), 20_000), 0.06):
                peer.send(data[at : at + 20_000])
            assert status_of(await peer.read_pdu()) == 0
    assert received == [200_000]


# -- cancellation


@in_loop
async def test_a_late_response_is_not_taken_for_that_of_another_request() -> None:
    go = asyncio.Event()
    order: list[str] = []

    async def serve(peer: StreamPeer) -> None:
        await peer.accept()
        first = await read_command(peer)
        await go.wait()
        await asks_to_be_refused(peer)
        order.append("first response")
        peer.send(echo_response(first["MessageID"], 0x0211))
        second = await read_command(peer)
        order.append("second request")
        assert second["MessageID"] != first["MessageID"]
        peer.send(echo_response(second["MessageID"]))
        await peer.read_to_end()

    async with stream_server(serve) as port, associated(port) as assoc:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await assoc.send_c_echo()
        assert assoc.is_established
        second = asyncio.create_task(assoc.send_c_echo())
        go.set()
        assert (await second).Status == 0
    # No window was negotiated, so one request is outstanding at a time.
    assert order == ["first response", "second request"]


@in_loop
async def test_a_late_response_that_comes_while_nobody_waits_is_dropped() -> None:
    go = asyncio.Event()

    async def serve(peer: StreamPeer) -> None:
        await peer.accept()
        first = await read_command(peer)
        await go.wait()
        peer.send(echo_response(first["MessageID"], 0x0211))
        second = await read_command(peer)
        peer.send(echo_response(second["MessageID"]))
        await peer.read_to_end()

    async with stream_server(serve) as port, associated(port) as assoc:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(assoc.send_c_echo(), 0.05)
        go.set()
        await until(lambda: not assoc._link.talk.has_abandoned)
        assert (await assoc.send_c_echo()).Status == 0


@in_loop
async def test_a_message_that_is_cancelled_in_the_middle_ends_the_association() -> None:
    over = asyncio.Event()

    async def serve(peer: StreamPeer) -> None:
        await peer.accept()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await over.wait()

    async with stream_server(serve) as port, associated(port) as assoc:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await assoc.send_c_store(ct_image(64 << 20))
        assert not assoc.is_established
        over.set()


@in_loop
async def test_a_turn_that_is_cancelled_leaves_the_others_alone() -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def echo(request: aio.Request) -> int:
        asked.set()
        await go.wait()
        return 0

    async with await serving({"C-ECHO": echo}) as server, associated(server.address[1]) as assoc:
        first, second, third = (asyncio.create_task(assoc.send_c_echo()) for _ in range(3))
        await asked.wait()
        second.cancel()
        go.set()
        assert ((await first).Status, (await third).Status) == (0, 0)
        assert second.cancelled()


@in_loop
async def test_an_iteration_goes_on_after_a_time_out() -> None:
    go = asyncio.Event()

    async def find(request: aio.Request) -> AsyncIterator[tuple[int, Any]]:
        yield 0xFF00, match("A")
        await go.wait()
        yield 0xFF00, match("B")

    async with await serving({"C-FIND": find}) as server, associated(server.address[1]) as assoc:
        found = assoc.send_c_find(query(), PATIENT_ROOT_FIND)
        names = [str((await anext(found))[1].PatientName)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(found)
        go.set()
        names += [str(each.PatientName) async for _, each in found if each is not None]
    assert names == ["A", "B"]


# -- several at a time


@in_loop
async def test_several_tasks_take_turns() -> None:
    active = most = 0

    async def echo(request: aio.Request) -> int:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(0)
        active -= 1
        return 0

    async with await serving({"C-ECHO": echo}) as server, associated(server.address[1]) as assoc:
        statuses = await asyncio.gather(*(assoc.send_c_echo() for _ in range(50)))
    assert [each.Status for each in statuses] == [0] * 50
    assert most == 1


async def find_three(request: aio.Request) -> AsyncIterator[tuple[int, Any]]:
    for name in "ABC":
        yield 0xFF00, match(name)


@in_loop
async def test_a_request_inside_an_iteration_gets_its_own_response() -> None:
    async with await serving({"C-FIND": find_three}) as server, associated(server.address[1]) as assoc:
        names = []
        async for status, each in assoc.send_c_find(query(), PATIENT_ROOT_FIND):
            assert (await assoc.send_c_echo()).Status == 0
            names.append(each and str(each.PatientName))
            assert status.Status == (0xFF00 if each else 0)
    assert names == ["A", "B", "C", None]


@in_loop
async def test_two_iterations_at_once_each_get_their_own() -> None:
    async with await serving({"C-FIND": find_three}) as server, associated(server.address[1]) as assoc:
        first = assoc.send_c_find(query(), PATIENT_ROOT_FIND)
        second = assoc.send_c_find(query(), PATIENT_ROOT_FIND)
        pairs = [(await anext(first), await anext(second)) for _ in range(4)]
    assert [(a[0].Status, b[0].Status) for a, b in pairs] == [(0xFF00, 0xFF00)] * 3 + [(0, 0)]


@in_loop
async def test_an_iteration_left_early_cancels_and_reads_the_rest_away() -> None:
    seen: list[str] = []

    async def serve(peer: StreamPeer) -> None:
        await peer.accept()
        request = await read_command(peer)
        number = request["MessageID"]
        for _ in range(20):
            peer.send(find_response(number, 0xFF00, QUERY))
        cancel = await read_command(peer)
        assert cancel["MessageIDBeingRespondedTo"] == number
        seen.append("cancel")
        await asks_to_be_refused(peer)
        seen.append("final")
        peer.send(find_response(number, 0xFE00))
        echo = await read_command(peer)
        seen.append("echo")
        peer.send(echo_response(echo["MessageID"]))
        await peer.read_to_end()

    async with stream_server(serve) as port, associated(port) as assoc:
        async for _, each in assoc.send_c_find(query(), PATIENT_ROOT_FIND):
            assert each is not None
            break
        assert (await assoc.send_c_echo()).Status == 0
    assert seen == ["cancel", "final", "echo"]


@in_loop
async def test_an_iteration_that_is_dropped_is_cancelled_without_another_use() -> None:
    cancelled = asyncio.Event()

    async def find(request: aio.Request) -> AsyncIterator[tuple[int, Any]]:
        try:
            while True:
                yield 0xFF00, match()
                await asyncio.sleep(0)
        finally:
            assert request.is_cancelled
            cancelled.set()

    async with await serving({"C-FIND": find}) as server, associated(server.address[1]) as assoc:
        found = assoc.send_c_find(query(), PATIENT_ROOT_FIND)
        await anext(found)
        del found
        await cancelled.wait()
        assert (await assoc.send_c_echo()).Status == 0


@in_loop
async def test_the_rest_of_an_iteration_is_read_before_the_release() -> None:
    """As in the blocking driver. What was left of it was an error."""
    async with await serving({"C-FIND": find_three}) as server, associated(server.address[1]) as assoc:
        found = assoc.send_c_find(query(), PATIENT_ROOT_FIND)
        await anext(found)
        await assoc.release()
        assert [status.Status async for status, _ in found] == [0xFF00, 0xFF00, 0x0000]


@in_loop
async def test_matches_wait_in_the_network_for_a_slow_user() -> None:
    """Two gigabytes of matches; the peer has to wait."""
    sent = 0
    sender: StreamPeer | None = None

    async def serve(peer: StreamPeer) -> None:
        nonlocal sent, sender
        sender = peer
        await peer.accept()
        number = (await read_command(peer))["MessageID"]
        response = find_response(number, 0xFF00, LARGE_MATCH) * 128
        for _ in range(2000):
            peer.send(response)
            await peer.writer.drain()
            sent += len(response)

    async with stream_server(serve) as port, associated(port) as assoc:
        found = assoc.send_c_find(query(), PATIENT_ROOT_FIND)
        await anext(found)
        await until(lambda: has_to_wait(sender, assoc._link))
        assert sent < 64 << 20
        await found.aclose()


# -- as the acceptor


@in_loop
async def test_a_cancel_stops_a_find_while_the_handler_works() -> None:
    answered = 0

    async def find(request: aio.Request) -> AsyncIterator[tuple[int, Any]]:
        nonlocal answered
        while not request.is_cancelled:
            answered += 1
            yield 0xFF00, match()
            await asyncio.sleep(0)
        yield 0xFE00, None

    async with await serving({"C-FIND": find}) as server:
        async with await StreamPeer.connect(server.address[1]) as peer:
            peer.send(request_pdu((1, PATIENT_ROOT_FIND)))
            await peer.read_pdu()
            peer.send(find_pdus(message_id=7))
            assert status_of(await peer.read_pdu()) == 0xFF00
            # Of another request, and of this one.
            peer.send(cancel_pdus(8) + cancel_pdus(7))
            statuses: list[int] = []
            while not statuses or statuses[-1] == 0xFF00:
                pdu = await peer.read_pdu()
                if pdu[11] & 1:
                    statuses.append(status_of(pdu))
            assert statuses[-1] == 0xFE00


@in_loop
async def test_a_cancel_of_nothing_does_not_cancel_a_later_request() -> None:
    async with await serving({"C-FIND": find_three}) as server:
        async with await StreamPeer.connect(server.address[1]) as peer:
            peer.send(request_pdu((1, PATIENT_ROOT_FIND)))
            await peer.read_pdu()
            peer.send(cancel_pdus(7))
            peer.send(find_pdus(message_id=7))
            statuses: list[int] = []
            while not statuses or statuses[-1] == 0xFF00:
                pdu = await peer.read_pdu()
                if pdu[11] & 1:
                    statuses.append(status_of(pdu))
    assert statuses == [0xFF00] * 3 + [0]


@in_loop
async def test_requests_wait_in_the_network_for_a_slow_handler() -> None:
    go = asyncio.Event()
    performed = 0

    async def store(request: aio.Request) -> int:
        nonlocal performed
        await go.wait()
        performed += 1
        return 0

    async with await serving({"C-STORE": store}) as server:
        async with await StreamPeer.connect(server.address[1]) as peer:
            peer.send(request_pdu((1, CT_IMAGE_STORAGE)))
            await peer.read_pdu()
            request = store_pdus(bytes(100_000))
            sent = 0

            async def send() -> None:
                nonlocal sent
                for _ in range(500):
                    peer.send(request)
                    await peer.writer.drain()
                    sent += 1

            tracemalloc.start()
            sending = asyncio.create_task(send())
            await until(lambda: has_to_wait(peer, *server._server.links))
            used = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert sent < 400
            assert used < 32 << 20
            go.set()
            for _ in range(500):
                assert status_of(await peer.read_pdu()) == 0
            await sending
    assert performed == 500


class StagedSink:
    """Counts the data sets that were begun, and those that were given up."""

    begun = aborted = 0

    def __init__(self) -> None:
        StagedSink.begun += 1

    def write(self, data: memoryview) -> None:
        if bytes(data[:4]) == b"fail":
            raise OSError("disk is gone")

    def abort(self) -> None:
        StagedSink.aborted += 1


@pytest.mark.parametrize("end", [ABORT_BY_USER, b"", b"nonsense"])
def test_sinks_that_nobody_will_read_are_aborted(end: bytes) -> None:
    @in_loop
    async def test() -> None:
        StagedSink.begun = StagedSink.aborted = 0
        go = asyncio.Event()

        async def store(request: aio.Request) -> int:
            await go.wait()
            return 0

        async with await serving({"C-STORE": store}, open_sink=lambda *_: StagedSink()) as server:
            async with await StreamPeer.connect(server.address[1]) as peer:
                peer.send(request_pdu((1, CT_IMAGE_STORAGE)))
                await peer.read_pdu()
                # One is performed, three wait, and one is not complete.
                for number in range(1, 5):
                    peer.send(store_pdus(b"data", message_id=number))
                peer.send(store_pdus(bytes(100), message_id=6)[: -12 - 100])
                peer.send(P_DATA_NOT_LAST)
                await until(lambda: StagedSink.begun == 5)
                peer.send(end)
                if not end:
                    peer.writer.write_eof()
                await until(lambda: StagedSink.aborted >= 1)
                go.set()
            await until(lambda: not server._server.links)
            assert StagedSink.aborted == 4

    test()


def test_a_sink_that_fails_ends_the_association_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def test() -> None:
        async with await serving(open_sink=lambda *_: StagedSink()) as server:
            async with await StreamPeer.connect(server.address[1]) as peer:
                peer.send(request_pdu((1, CT_IMAGE_STORAGE)))
                await peer.read_pdu()
                peer.send(store_pdus(b"fail"))
                assert await peer.read_pdu() == ABORT_BY_USER
            async with associated(server.address[1]) as assoc:
                assert (await assoc.send_c_echo()).Status == 0

    with caplog.at_level(logging.ERROR):
        test()
    assert "disk is gone" in caplog.text


@in_loop
async def test_garbage_connections_take_no_slot_and_leave_nothing() -> None:
    async with await serving(maximum_associations=1, timeouts=Timeouts(association=5)) as server:
        idle = [await StreamPeer.connect(server.address[1]) for _ in range(50)]
        for _ in range(20):
            async with await StreamPeer.connect(server.address[1]) as peer:
                peer.send(b"GET / HTTP/1.1\r\n\r\n")
                assert await peer.read_pdu() in (Abort(0).encode(), Abort(2, 1).encode())
        async with associated(server.address[1]) as assoc:
            assert (await assoc.send_c_echo()).Status == 0
            with pytest.raises(AssociationRejected) as raised:
                await aio.connect(f"127.0.0.1:{server.address[1]}", CONTEXTS)
            assert (raised.value.result, raised.value.source, raised.value.reason) == (2, 3, 2)
        for peer in idle:
            peer.reset()
        await until(lambda: not server._server.links)


@in_loop
async def test_a_request_of_another_protocol_version_is_rejected() -> None:
    """PS3.8 section 9.3.4: source 2, reason 2."""
    async with await serving() as server:
        async with await StreamPeer.connect(server.address[1]) as peer:
            pdu = bytearray(request_pdu())
            pdu[6:8] = b"\x00\x02"
            peer.send(bytes(pdu))
            assert await peer.read_pdu() == AssociateRJ(1, 2, 2).encode()
        await until(lambda: not server._server.links)


@in_loop
async def test_an_abort_right_behind_a_request_ends_the_association() -> None:
    async with await serving() as server:
        async with await StreamPeer.connect(server.address[1]) as peer:
            peer.send(request_pdu())
            await peer.read_pdu()
            peer.send(echo_pdus() + ABORT_BY_USER)
            await peer.read_to_end()
        await until(lambda: not server._server.links)


# -- shutdown


@in_loop
async def test_shutdown_lets_associations_finish() -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def echo(request: aio.Request) -> int:
        asked.set()
        await go.wait()
        return 0

    server = await serving({"C-ECHO": echo})
    assoc = await aio.connect(f"127.0.0.1:{server.address[1]}", CONTEXTS)

    async def use() -> int:
        status = int((await assoc.send_c_echo()).Status)
        await assoc.release()
        return status

    using = asyncio.create_task(use())
    await asked.wait()
    shutting = asyncio.create_task(server.shutdown(drain=5))
    await until(lambda: server._server._listener.fileno() < 0)
    assert not shutting.done()
    go.set()
    await shutting
    assert await using == 0
    with pytest.raises(ConnectionFailed):
        await aio.connect(f"127.0.0.1:{server.address[1]}", CONTEXTS)


@in_loop
async def test_shutdown_ends_what_does_not_finish() -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def echo(request: aio.Request) -> int:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 0

    server = await serving({"C-ECHO": echo})
    async with associated(server.address[1]) as assoc:
        asking = asyncio.create_task(assoc.send_c_echo())
        await asked.wait()
        await server.shutdown()
        with pytest.raises(AssociationAborted):
            await asking
    assert ended.is_set()


@in_loop
async def test_associations_leave_nothing_behind() -> None:
    def links() -> int:
        gc.collect()
        return sum(type(each).__name__ == "Link" for each in gc.get_objects())

    links_before = links()
    async with await serving({"C-FIND": find_three}) as server:
        before = 0
        for number in range(120):
            async with associated(server.address[1]) as assoc:
                await assoc.send_c_echo()
                if number % 2:
                    await assoc.release()
            if number == 20:
                await until(lambda: not server._server.links)
                before = descriptors()
        await until(lambda: not server._server.links)
        await until(lambda: descriptors() <= before)
        del assoc
        assert links() <= links_before


# -- objects


@in_loop
async def test_a_file_that_is_not_there_is_the_callers_mistake_only() -> None:
    async with await serving({"C-STORE": lambda request: 0}) as server:
        async with associated(server.address[1]) as assoc:
            with pytest.raises(FileNotFoundError):
                await assoc.send_c_store("no such file")
            with pytest.raises(UnusableObject):
                await assoc.send_c_store(__file__)
            assert (await assoc.send_c_echo()).Status == 0


# -- TLS


def test_tls_both_ways_and_neither(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)

    @in_loop
    async def test() -> None:
        server = await serving(
            {"C-STORE": lambda request: 0, "C-FIND": find_three},
            tls=certificates.server(mutual=True),
            timeouts=Timeouts(association=1),
        )
        async with server:
            port = server.address[1]
            secured = certificates.client(mutual=True)
            assoc = await aio.connect(f"localhost:{port}", CONTEXTS, tls=secured)
            async with assoc:
                assert (await assoc.send_c_echo()).Status == 0
                assert (await assoc.send_c_store(ct_image(5_000_000))).Status == 0
                found = assoc.send_c_find(query(), PATIENT_ROOT_FIND)
                assert [status.Status async for status, _ in found] == [0xFF00] * 3 + [0]
            with pytest.raises((AssociationAborted, DeadlineExceeded)):
                await aio.connect(f"localhost:{port}", CONTEXTS, timeouts=SHORT)
        async with await serving() as plain:
            with pytest.raises(TLSFailed):
                await aio.connect(f"localhost:{plain.address[1]}", CONTEXTS, tls=secured)

    test()


def test_a_mute_tls_client_blocks_nobody(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)

    @in_loop
    async def test() -> None:
        timeouts = Timeouts(association=0.5)
        async with await serving(tls=certificates.server(), timeouts=timeouts) as server:
            async with await StreamPeer.connect(server.address[1]) as mute:
                async with await aio.connect(
                    f"localhost:{server.address[1]}", CONTEXTS, tls=certificates.client()
                ) as assoc:
                    assert (await assoc.send_c_echo()).Status == 0
                assert await mute.read_to_end() == b""

    test()


def test_a_mute_tls_server_ends_by_the_deadline(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)

    @in_loop
    async def test() -> None:
        async def serve(peer: StreamPeer) -> None:
            await peer.read_to_end()

        async with stream_server(serve) as port:
            with pytest.raises(DeadlineExceeded):
                await aio.connect(f"localhost:{port}", CONTEXTS, tls=certificates.client(), timeouts=SHORT)

    test()


@in_loop
async def test_who_cannot_be_reached() -> None:
    with pytest.raises(ConnectionFailed, match="refused"):
        await aio.connect("127.0.0.1:1", CONTEXTS)
    with pytest.raises(ConnectionFailed, match="not known"):
        await aio.connect("no.such.host.invalid:104", CONTEXTS)


@in_loop
async def test_a_refusal_of_an_operation_carries_its_status() -> None:
    async def store(request: aio.Request) -> int:
        raise ServiceRefusal(0xA700, "no room")

    async with await serving({"C-STORE": store}) as server, associated(server.address[1]) as assoc:
        status = await assoc.send_c_store(ct_image())
        assert (status.Status, status.ErrorComment) == (0xA700, "no room")
