"""A sender whose bytes were all made before: what no archive can beat at a receiver, on one association.

``PORT FOLDER WINDOW`` sends the objects of a folder to a receiver on this machine, with at most ``WINDOW`` of them
unanswered, and prints how long that took from the first byte to the last response, in seconds.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from time import perf_counter

from dicomnet.dimse.codec import encode_command
from dicomnet.dimse.messages import C_STORE_RQ
from dicomnet.drivers.files import open_object
from dicomnet.upper_layer.negotiation import conclude_as_requestor
from dicomnet.wire.fragmenter import fragment
from dicomnet.wire.items import (
    AsynchronousOperationsWindow,
    ImplementationClassUID,
    MaximumLength,
    ProposedContext,
)
from dicomnet.wire.pdu import AssociateAC, AssociateRQ, ReleaseRQ, decode_pdu

from .processes import HOST

_HEADER_LENGTH = 6


def _read(sock: socket.socket, length: int) -> bytes:
    content = b""
    while len(content) < length:
        more = sock.recv(length - len(content))
        if not more:
            raise SystemExit("the receiver has closed the connection")
        content += more
    return content


def _read_pdu(sock: socket.socket) -> tuple[int, bytes]:
    header = _read(sock, _HEADER_LENGTH)
    return header[0], _read(sock, int.from_bytes(header[2:], "big"))


def main(port: int, folder: Path, window: int) -> float:
    """Send the objects: how long that took, in seconds."""
    paths = sorted(folder.iterdir())
    first = open_object(paths[0]).header
    context = ProposedContext(1, first.sop_class_uid, (first.transfer_syntax_uid,))
    items = (MaximumLength(16384), ImplementationClassUID("1.2.3"), AsynchronousOperationsWindow(window, 1))
    request = AssociateRQ("ANY-SCP", "PREPARED", (context,), items)
    with socket.create_connection((HOST, port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(request.encode())
        kind, answer = _read_pdu(sock)
        accepted = decode_pdu(kind, memoryview(answer))
        assert isinstance(accepted, AssociateAC)
        agreement = conclude_as_requestor(request, accepted)
        messages = []
        for number, path in enumerate(paths, 1):
            header = open_object(path).header
            command = {
                "AffectedSOPClassUID": header.sop_class_uid,
                "MessageID": number,
                "Priority": 0,
                "AffectedSOPInstanceUID": header.sop_instance_uid,
            }
            maximum = agreement.peer_maximum_length
            buffers = fragment(1, encode_command(C_STORE_RQ, command, True), maximum, is_command=True)
            buffers += fragment(1, path.read_bytes()[header.offset :], maximum, is_command=False)
            messages.append(b"".join(buffers))
        begin = perf_counter()
        for number, message in enumerate(messages):
            sock.sendall(message)
            if number >= window - 1:
                _read_pdu(sock)
        for _ in range(min(window - 1, len(messages))):
            _read_pdu(sock)
        seconds = perf_counter() - begin
        sock.sendall(ReleaseRQ().encode())
        _read_pdu(sock)
    return seconds


if __name__ == "__main__":
    print(main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
