"""A C-STORE SCU that sends whatever it is told, however wrong it is."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from dicomnet.dimse.messages import C_STORE_RQ, Message
from dicomnet.drivers.blocking.link import Link
from dicomnet.drivers.blocking.opening import open_link
from dicomnet.drivers.deadline import Timeouts
from dicomnet.exchange.addresses import PeerAddress, association_request
from dicomnet.exchange.requesting import RequestorHooks
from dicomnet.services import user

from .objects import CT_IMAGE_STORAGE, EXPLICIT

# How each A-ABORT begins.
ABORT = bytes.fromhex("070000000004")


@dataclass(frozen=True, slots=True)
class RawScu:
    """An association for one SOP class and transfer syntax."""

    link: Link

    def store(self, data: bytes, instance: str, sop_class: str = CT_IMAGE_STORAGE) -> Message:
        """Send a C-STORE request, and return the response."""
        command = {
            "AffectedSOPClassUID": sop_class,
            "MessageID": self.link.next_message_id(),
            "Priority": 0,
            "AffectedSOPInstanceUID": instance,
        }
        return self.link.run(user.one_reply(Message(C_STORE_RQ, command, 1, data)))


@contextlib.contextmanager
def raw_scu(port: int, syntax: str = EXPLICIT, sop_class: str = CT_IMAGE_STORAGE) -> Iterator[RawScu]:
    """Open an association, and release it if it is still there."""
    peer = PeerAddress.parse(f"127.0.0.1:{port}")
    request = association_request(peer, "RAW", [(sop_class, (syntax,))], 1)
    link = open_link(peer.address, request, RequestorHooks(), Timeouts())
    try:
        link.request(request)
        yield RawScu(link)
        link.release()
    finally:
        link.close()


def answer_to(port: int, sent: bytes, seconds: float = 5.0) -> bytes:
    """Send bytes on a connection of their own, and read until the peer aborts or closes it."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as sock:
        sock.sendall(sent)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := sock.recv(65536):
                answer += part
                if answer[-10:-4] == ABORT:
                    break
        return answer


@contextlib.contextmanager
def established(port: int) -> Iterator[socket.socket]:
    """The socket of an association for CT images."""
    peer = PeerAddress.parse(f"127.0.0.1:{port}")
    request = association_request(peer, "RAW", [(CT_IMAGE_STORAGE, (EXPLICIT,))], 1)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        sock.sendall(bytes(request.encode()))
        assert sock.recv(65536)[0] == 2
        yield sock
