"""A requestor of queries that reads as fast as it can: of each response it looks at the status only."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from pydicom.dataset import Dataset

from dicomnet.datasets.codec import encode
from dicomnet.dimse.codec import encode_command
from dicomnet.dimse.messages import C_CANCEL_RQ, C_FIND_RQ
from dicomnet.exchange.contexts import FIND_MODELS
from dicomnet.wire.items import ImplementationClassUID, MaximumLength, ProposedContext
from dicomnet.wire.pdu import Abort, AssociateRQ, DataValue, PDataTF, ReleaseRQ

from .processes import HOST, Failed

PENDING = frozenset((0xFF00, 0xFF01))
_EXPLICIT_LE = "1.2.840.10008.1.2.1"
_CONTEXTS = {1: FIND_MODELS["study"], 3: FIND_MODELS["patient"]}
_ASSOCIATE_AC, _P_DATA_TF = 2, 4
_STATUS = 0x0900
_BLOCK = 1 << 18
_PATIENCE = 120.0


class Requestor:
    """An association with the contexts of queries. The bytes that came stay in the socket while nothing is read.

    Parameters
    ----------
    port
        Of the acceptor.

    Attributes
    ----------
    statuses
        The status of each response to the request, up to the final one.
    """

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), _PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self._message_id = self._context = 0
        self.statuses: Iterator[int] = iter(())
        contexts = tuple(ProposedContext(number, uid, (_EXPLICIT_LE,)) for number, uid in _CONTEXTS.items())
        items = (MaximumLength(1 << 16), ImplementationClassUID("1.2.3.4"))
        self.socket.sendall(AssociateRQ("ARCHIVE", "ASKING", contexts, items).encode())
        if self._pdu()[0] != _ASSOCIATE_AC:
            raise Failed("the association was not accepted")

    def ask(self, identifier: Dataset) -> None:
        """Send a request."""
        context = self._context = 3 if identifier.QueryRetrieveLevel == "PATIENT" else 1
        self._message_id += 1
        command = {
            "AffectedSOPClassUID": _CONTEXTS[context],
            "MessageID": self._message_id,
            "Priority": 0,
        }
        data = encode(identifier, False, True)
        if data is None:
            raise Failed("the identifier cannot be encoded")
        values = (
            DataValue(context, True, True, encode_command(C_FIND_RQ, command, True)),
            DataValue(context, False, True, data),
        )
        self.socket.sendall(PDataTF(values).encode())
        self.statuses = self._statuses()

    def cancel(self) -> None:
        """Cancel the request."""
        command = encode_command(C_CANCEL_RQ, {"MessageIDBeingRespondedTo": self._message_id}, False)
        self.socket.sendall(PDataTF((DataValue(self._context, True, True, command),)).encode())

    def finish(self) -> None:
        """Cancel the request, and read what comes until it is over."""
        self.cancel()
        for _ in self.statuses:
            continue

    def release(self) -> None:
        """End the association and close the connection."""
        self.socket.sendall(ReleaseRQ().encode())
        self._pdu()
        self.socket.close()

    def abort(self) -> None:
        """Abort the association and close the connection."""
        self.socket.sendall(Abort(0, 0).encode())
        self.socket.close()

    def _statuses(self) -> Iterator[int]:
        status = 0xFF00
        while status in PENDING:
            kind, body = self._pdu()
            if kind != _P_DATA_TF:
                raise Failed(f"a PDU of type {kind} came instead of a response")
            at = 0
            while at < len(body):
                length, _, header = struct.unpack_from(">LBB", body, at)
                if header & 1:
                    status = _status(body, at + 6)
                    yield status
                at += 4 + length

    def _pdu(self) -> tuple[int, bytes]:
        while True:
            if len(self._received) >= 6:
                length = 6 + int.from_bytes(self._received[2:6], "big")
                if len(self._received) >= length:
                    pdu = bytes(self._received[:length])
                    del self._received[:length]
                    return pdu[0], pdu[6:]
            block = self.socket.recv(_BLOCK)
            if not block:
                raise Failed("the connection was closed")
            self._received += block


def _status(body: bytes, at: int) -> int:
    """The status in the command set that begins there."""
    while True:
        _, element, length = struct.unpack_from("<HHL", body, at)
        if element == _STATUS:
            status: int = struct.unpack_from("<H", body, at + 8)[0]
            return status
        at += 8 + length
