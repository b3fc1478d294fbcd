"""What goes out over an asyncio transport: everything, in order, whatever the kernel takes at once."""

from __future__ import annotations

import asyncio
import socket

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.loops import in_loop

from dicomnet.drivers.aio.outlet import Outlet
from dicomnet.drivers.deadline import Deadline
from dicomnet.values import Buffer


class Way(asyncio.Protocol):
    """A connection with an outlet at one end; small buffers make it fill up."""

    def __init__(self) -> None:
        self.sock, self.peer = socket.socketpair()
        for sock in (self.sock, self.peer):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
        self.told: list[Buffer] = []
        self.outlet = Outlet(self.sock, self.told.extend, lambda: False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.outlet.open(transport, False)

    def pause_writing(self) -> None:
        self.outlet.pause()

    def resume_writing(self) -> None:
        self.outlet.resume()

    async def open(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, sock=self.sock)

    async def read(self) -> bytes:
        """What arrives until the end."""
        received = bytearray()
        while part := await asyncio.get_running_loop().sock_recv(self.peer, 65536):
            received += part
        self.peer.close()
        return bytes(received)


pieces = st.lists(st.integers(1, 9000).map(lambda n: bytes((n % 251,)) * n), min_size=1, max_size=3)
operations = st.lists(st.tuples(st.sampled_from(("put", "hand_over", "write", "turn")), pieces), max_size=12)


@settings(deadline=None, max_examples=60)
@given(operations)
def test_everything_goes_out_in_order(steps: list[tuple[str, list[bytes]]]) -> None:
    async def run() -> None:
        way = Way()
        await way.open()
        reading = asyncio.create_task(way.read())
        expected = b""
        for kind, buffers in steps:
            if kind == "turn":
                await asyncio.sleep(0)
                continue
            expected += b"".join(buffers)
            if kind == "put":
                way.outlet.put(buffers)
            elif kind == "hand_over":
                way.outlet.hand_over(buffers)
            else:
                assert await way.outlet.write(buffers, Deadline("message", 30))
                assert not way.outlet.is_full
        way.outlet.flush()
        way.transport.close()
        assert await reading == expected
        assert b"".join(way.told) == expected

    asyncio.run(run())


@in_loop
async def test_what_waits_for_more_goes_in_the_next_turn_of_the_loop() -> None:
    way = Way()
    await way.open()
    assert way.outlet.put([b"one "])
    assert way.outlet.put([b"two"])
    assert way.told == []
    await asyncio.sleep(0)
    assert way.peer.recv(100) == b"one two"
    way.transport.close()
    assert await way.read() == b""


@in_loop
async def test_what_may_wait_goes_all_the_same() -> None:
    way = Way()
    await way.open()
    assert way.outlet.put([b"one"], 0.01)
    await asyncio.sleep(0)
    assert way.told == []
    assert await asyncio.get_running_loop().sock_recv(way.peer, 100) == b"one"
    way.transport.close()
    assert await way.read() == b""


@in_loop
async def test_a_long_line_has_to_go() -> None:
    way = Way()
    await way.open()
    assert way.outlet.put([bytes(60_000)])
    assert not way.outlet.put([bytes(10_000)])
    way.outlet.flush()
    assert way.outlet.is_full
    reading = asyncio.create_task(way.read())
    assert await way.outlet.write((), Deadline("message", 30))
    way.transport.close()
    assert await reading == bytes(70_000)


@in_loop
async def test_nothing_is_written_to_a_transport_that_is_gone() -> None:
    way = Way()
    assert not await way.outlet.write([b"early"], Deadline("message", 30))
    await way.open()
    way.outlet.put([b"late"])
    way.transport.abort()
    assert not way.outlet.is_open
    assert not await way.outlet.write([b"later"], Deadline("message", 30))
    assert await way.read() == b""
