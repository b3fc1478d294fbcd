"""Responses that answer no request: a peer that sends them for ever, and one that answers in the wrong kind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest
from tests.drivers.blocking.test_link import answer
from tests.sockets import RawPeer, raw_server

from dicomnet import Peer, aio
from dicomnet.dimse.codec import encode_command
from dicomnet.dimse.messages import C_ECHO_RSP, C_STORE_RSP, MessageType
from dicomnet.drivers.deadline import Timeouts
from dicomnet.errors import AssociationAborted, DeadlineExceeded, DicomnetError
from dicomnet.wire.fragmenter import fragment


def response(kind: MessageType, message_id: int) -> bytes:
    command = {"MessageIDBeingRespondedTo": message_id, "Status": 0x0000}
    return b"".join(fragment(1, encode_command(kind, command, False), 0, is_command=True))


def echo(port: int, seconds: float) -> None:
    with Peer(f"127.0.0.1:{port}", timeouts=Timeouts(message=seconds)) as peer:
        peer.echo()


def aio_echo(port: int, seconds: float) -> None:
    async def run() -> None:
        async with aio.Peer(f"127.0.0.1:{port}", timeouts=Timeouts(message=seconds)) as peer:
            await peer.echo()

    asyncio.run(run())


@pytest.mark.parametrize("ask", [echo, aio_echo])
def test_a_flood_of_strange_responses_held_a_call_for_ever(ask: Callable[[int, float], None]) -> None:
    """M032."""

    def serve(peer: RawPeer) -> None:
        answer(peer)
        peer.read_pdu()
        # It goes on until the other side has enough.
        with contextlib.suppress(OSError):
            while True:
                peer.send(response(C_ECHO_RSP, 4242))

    # No time-out ends it.
    with raw_server(serve) as port, pytest.raises(AssociationAborted, match="not asked"):
        ask(port, 60.0)


@pytest.mark.parametrize("ask", [echo, aio_echo])
def test_a_response_of_another_service_was_taken_for_the_answer(ask: Callable[[int, float], None]) -> None:
    """M032."""

    def serve(peer: RawPeer) -> None:
        answer(peer)
        peer.read_pdu()
        peer.send(response(C_STORE_RSP, 1))
        with contextlib.suppress(OSError, DicomnetError):
            peer.read_pdu()

    with raw_server(serve) as port, pytest.raises(DeadlineExceeded):
        ask(port, 1.0)
