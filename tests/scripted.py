"""SCPs that do what a test tells them to, faults included, made of the wire's own functions."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

from dicomnet.dimse.codec import decode_command
from dicomnet.dimse.messages import Message
from dicomnet.upper_layer.negotiation import (
    Acceptor,
    SupportedContext,
    accept,
    identification_items,
)
from dicomnet.wire.pdu import AssociateRJ, AssociateRQ, decode_pdu

from .sockets import RELEASE_RP, RawPeer, message_pdus


class Arrived:
    """A request that arrived.

    Parameters
    ----------
    connection
        Which connection it came on, from 0.
    index
        Which request of that connection it is, from 0.
    """

    def __init__(self, connection: int, index: int, context_id: int, pdu: bytes) -> None:
        message_type, self.command, self.has_data = decode_command(pdu[12:])
        self.connection = connection
        self.index = index
        self.context_id = context_id
        self._type = message_type

    @property
    def instance(self) -> str:
        """The SOP Instance UID of a C-STORE-RQ."""
        return str(self.command["AffectedSOPInstanceUID"])

    def response(self, status: int = 0, data: bytes | None = None, **elements: Any) -> bytes:
        """An answer to it, with further elements of its command set."""
        command: dict[str, Any] = {
            "AffectedSOPClassUID": self.command["AffectedSOPClassUID"],
            "MessageIDBeingRespondedTo": self.command["MessageID"],
            "Status": status,
            **elements,
        }
        if "AffectedSOPInstanceUID" in self.command:
            command.setdefault("AffectedSOPInstanceUID", self.instance)
        return message_pdus(Message(self._type.response, command, self.context_id, data))


# What is sent for a request, None to end the connection.
React = Callable[[Arrived], bytes | None]


class Scp:
    """Serves with `serve`, for `tests.sockets.raw_server`.

    Parameters
    ----------
    react
        Told of each complete request.
    window
        How many requests may be outstanding.
    answers
        For the connections in turn, what to send instead of an acceptance; None accepts.
    """

    def __init__(
        self, react: React, window: int = 16, answers: list[AssociateRJ | bytes | None] | None = None
    ) -> None:
        self.react = react
        self.window = window
        self.answers = answers or []
        self.proposed: list[AssociateRQ] = []
        self.arrived: list[Arrived] = []
        self.released = threading.Event()
        self.aborted = threading.Event()
        self._peers: list[RawPeer] = []

    def end(self) -> None:
        """End what is still open."""
        for peer in self._peers:
            with contextlib.suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)

    def serve(self, peer: RawPeer) -> None:
        self._peers.append(peer)
        connection = len(self.proposed)
        if not self._greet(peer, connection):
            return
        index = 0
        request: Arrived | None = None
        while True:
            pdu = peer.read_pdu()
            if pdu[:1] == b"\x05":
                peer.send(RELEASE_RP)
                self.released.set()
                return
            if pdu[:1] == b"\x07":
                self.aborted.set()
            if pdu[:1] != b"\x04":
                return
            if pdu[11] & 1:
                request = Arrived(connection, index, pdu[10], pdu)
            assert request is not None
            if pdu[11] & 2 and bool(pdu[11] & 1) != request.has_data:
                self.arrived.append(request)
                index += 1
                answer = self.react(request)
                if answer is None:
                    return
                peer.send(answer)

    def _greet(self, peer: RawPeer, connection: int) -> bool:
        asked = read_request(peer)
        if asked is None:
            return False
        self.proposed.append(asked)
        answer = self.answers[connection] if connection < len(self.answers) else None
        if answer is not None:
            peer.send(answer if isinstance(answer, bytes) else answer.encode())
            return False
        peer.send(acceptance(asked, self.window))
        return True


def read_request(peer: RawPeer) -> AssociateRQ | None:
    """The association request of a peer, None where it closes without one."""
    pdu = peer.read_pdu()
    if not pdu:
        return None
    asked = decode_pdu(pdu[0], memoryview(pdu)[6:])
    assert isinstance(asked, AssociateRQ)
    return asked


def acceptance(asked: AssociateRQ, window: int = 16) -> bytes:
    """An A-ASSOCIATE-AC that accepts all that is proposed."""
    syntaxes: dict[str, tuple[str, ...]] = {}
    for context in asked.contexts:
        syntaxes[context.abstract_syntax] = (
            syntaxes.get(context.abstract_syntax, ()) + context.transfer_syntaxes
        )
    supported = {uid: SupportedContext(each) for uid, each in syntaxes.items()}
    items = identification_items(16384, "1.2.3", None)
    return accept(asked, Acceptor(supported, items, performed_window=window))[0].encode()


def accepting(then: Callable[[RawPeer], Any]) -> Callable[[RawPeer], None]:
    """For `tests.sockets.raw_server`: accept what is proposed, and then do what a test says."""

    def serve(peer: RawPeer) -> None:
        asked = read_request(peer)
        assert asked is not None
        peer.send(acceptance(asked))
        then(peer)

    return serve
