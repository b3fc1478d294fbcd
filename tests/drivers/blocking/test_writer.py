"""Messages on their way out, over a pair of sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from tests.sockets import PATIENCE

from dicomnet.dimse.datasets import MemorySink
from dicomnet.drivers.blocking.channel import Channel
from dicomnet.drivers.blocking.writer import Writer
from dicomnet.drivers.connection import Connection
from dicomnet.drivers.deadline import Deadline
from dicomnet.errors import DeadlineExceeded


@pytest.fixture
def ends() -> Iterator[tuple[Writer, socket.socket]]:
    """A writer, and the socket that what it writes arrives at."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE)
    connection = Connection(
        is_requestor=True, maximum_length=0, open_sink=lambda message, context: MemorySink(1), artim=None
    )
    with ours, theirs:
        yield Writer(Channel(ours), connection), theirs


def read(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (part := sock.recv(1 << 16)):
        data += part
    return data


def test_more_than_the_network_takes_at_once_arrives_whole_and_in_order(
    ends: tuple[Writer, socket.socket],
) -> None:
    writer, peer = ends
    buffers = [bytes([number % 251]) * (3000 + number) for number in range(1500)]
    whole = b"".join(buffers)
    thread = threading.Thread(
        target=writer.write, args=(list(buffers), Deadline("message", PATIENCE), writer.wait)
    )
    thread.start()
    assert read(peer, len(whole)) == whole
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_peer_that_takes_nothing_is_waited_for_until_the_deadline(
    ends: tuple[Writer, socket.socket],
) -> None:
    writer, _ = ends
    with pytest.raises(DeadlineExceeded):
        writer.write([bytes(1 << 24)], Deadline("message", 0.05), writer.wait)


def test_one_message_goes_out_at_a_time(ends: tuple[Writer, socket.socket]) -> None:
    writer, peer = ends

    def other() -> None:
        with writer:
            writer.write([b"second"], Deadline("message", PATIENCE), writer.wait)

    with writer:
        thread = threading.Thread(target=other)
        thread.start()
        # Last words do not wait for a message that is on its way, and do not come into it either.
        writer.write_beside(b"beside")
        writer.write([b"first"], Deadline("message", PATIENCE), writer.wait)
        with pytest.raises(RuntimeError), writer:
            pass
    thread.join(PATIENCE)
    writer.write_beside(b"last")
    assert read(peer, 15) == b"firstsecondlast"
