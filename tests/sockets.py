"""Helpers for tests over sockets: peers that say exactly what a test tells them to, and certificates."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dicomnet.dimse.codec import decode_command, encode_command
from dicomnet.dimse.messages import C_CANCEL_RQ, C_ECHO_RQ, C_FIND_RQ, C_STORE_RQ, Message
from dicomnet.wire.fragmenter import fragment
from dicomnet.wire.items import (
    AsynchronousOperationsWindow,
    ImplementationClassUID,
    MaximumLength,
    ProposedContext,
)
from dicomnet.wire.pdu import AssociateRQ

VERIFICATION = "1.2.840.10008.1.1"
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
IMPLICIT_VR_LE = "1.2.840.10008.1.2"
EXPLICIT_VR_LE = "1.2.840.10008.1.2.1"

# How long anything may take before a test fails, in seconds; far more than it needs.
PATIENCE = 10.0


class RawPeer:
    """A TCP client or server side that says exactly what a test tells it to.

    Parameters
    ----------
    sock
        Connected.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(PATIENCE)

    @classmethod
    def connect(cls, port: int) -> RawPeer:
        """A client of the loopback interface."""
        sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(sock)

    def send(self, data: bytes) -> None:
        """Write all of it."""
        self.sock.sendall(data)

    def read_pdu(self) -> bytes:
        """The next whole PDU; shorter or empty where the connection ends before."""
        header = self._read(6)
        return header + self._read(int.from_bytes(header[2:6], "big")) if len(header) == 6 else header

    def read_to_end(self) -> bytes:
        """Everything until the connection ends, in whatever way."""
        parts = []
        with contextlib.suppress(ConnectionError):
            while part := self.sock.recv(65536):
                parts.append(part)
        return b"".join(parts)

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.sock.close()

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.sock.recv(count - len(data))
            if not part:
                break
            data += part
        return data


@contextlib.contextmanager
def raw_server(serve: Callable[[RawPeer], None]) -> Iterator[int]:
    """A server on a free port that serves one connection after another; gives its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with RawPeer(sock) as peer, contextlib.suppress(OSError):
                serve(peer)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        # Closing alone does not wake a thread that is in accept().
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(PATIENCE)


def descriptors() -> int:
    """How many file descriptors this process has open."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


class Certificates(NamedTuple):
    """Files in PEM: an authority's certificate, and what it issued for ``localhost`` and 127.0.0.1."""

    authority: Path
    certificate: Path
    key: Path

    def server(self, *, mutual: bool = False) -> ssl.SSLContext:
        """A server's context; with ``mutual``, it asks for the client's certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.authority))
        context.load_cert_chain(self.certificate, self.key)
        context.verify_mode = ssl.CERT_REQUIRED if mutual else ssl.CERT_NONE
        return context

    def client(self, *, mutual: bool = False) -> ssl.SSLContext:
        """A client's context; with ``mutual``, it shows a certificate."""
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(self.authority))
        if mutual:
            context.load_cert_chain(self.certificate, self.key)
        return context

    def of(self, name: str) -> Path:
        """Certificate and key of another one that was issued, in one file."""
        return self.authority.parent / f"{name}.pem"


def make_certificates(
    folder: Path,
    lasts: timedelta = timedelta(hours=1),
    *,
    is_plain: bool = False,
    others: Sequence[str] = (),
) -> Certificates:
    """An authority and a certificate for this machine, valid since some minutes and for an hour unless said else.

    A plain one lacks what RFC 5280 asks for and many devices leave out, such as the Authority Key Identifier. Others
    are issued for those names, of a hospital, with a subject alternative name below ``hospital.example``.
    """
    now = datetime.now(UTC)

    def issue(
        name: str,
        key: ec.EllipticCurvePrivateKey,
        issuer: str,
        signer: ec.EllipticCurvePrivateKey,
        ca: bool,
        host: str = "localhost",
    ) -> bytes:
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        if host != "localhost":
            attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Hospital"))
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(attributes))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + lasts)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        )
        if not is_plain:
            own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
            usage = x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False)
            issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
            builder = (
                builder.add_extension(own, critical=False)
                .add_extension(issued_by, critical=False)
                .add_extension(usage, critical=True)
            )
        return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    made = Certificates(folder / "authority.pem", folder / "certificate.pem", folder / "key.pem")
    made.authority.write_bytes(issue("Test authority", authority_key, "Test authority", authority_key, True))
    made.certificate.write_bytes(issue("localhost", key, "Test authority", authority_key, False))
    key_in_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    made.key.write_bytes(key_in_pem)
    for name in others:
        host = f"{name}.hospital.example".lower()
        made.of(name).write_bytes(issue(name, key, "Test authority", authority_key, False, host) + key_in_pem)
    return made


def request_pdu(
    *contexts: tuple[int, str],
    maximum_length: int = 16384,
    calling: str = "RAW",
    called: str = "ANY-SCP",
    window: int = 1,
) -> bytes:
    """An A-ASSOCIATE-RQ for contexts of (ID, abstract syntax), all with Implicit VR Little Endian."""
    items = (MaximumLength(maximum_length), ImplementationClassUID("1.2.3.4"))
    return AssociateRQ(
        called,
        calling,
        tuple(
            ProposedContext(number, uid, (IMPLICIT_VR_LE,))
            for number, uid in contexts or ((1, VERIFICATION),)
        ),
        items if window == 1 else (*items, AsynchronousOperationsWindow(window, 1)),
    ).encode()


def acceptance_of(request: bytes, *, window: int = 1) -> bytes:
    """The A-ASSOCIATE-AC that accepts what an A-ASSOCIATE-RQ proposes, each context with its first transfer syntax.

    Laid out by hand after PS3.8 section 9.3.3, so that it shares no fault with the code that reads it.
    """
    contexts = b""
    for kind, content in _items(request[74:]):
        if kind == 0x20:
            first = next(value for sub_kind, value in _items(content[4:]) if sub_kind == 0x40)
            contexts += _item(0x21, content[:1] + bytes(3) + _item(0x40, first))
    user = _item(0x51, (16384).to_bytes(4, "big")) + _item(0x52, b"1.2.3")
    if window != 1:
        user += _item(0x53, window.to_bytes(2, "big") + b"\0\x01")
    body = request[6:74] + _item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + _item(0x50, user)
    return b"\x02\0" + len(body).to_bytes(4, "big") + body


def _item(kind: int, content: bytes) -> bytes:
    return bytes((kind, 0)) + len(content).to_bytes(2, "big") + content


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        length = int.from_bytes(data[2:4], "big")
        yield data[0], data[4 : 4 + length]
        data = data[4 + length :]


def message_pdus(message: Message, maximum_length: int = 16384) -> bytes:
    """A message as P-DATA-TF PDUs."""
    data = message.data
    assert data is None or isinstance(data, bytes)
    command = encode_command(message.type, message.command, data is not None)
    buffers = fragment(message.context_id, command, maximum_length, is_command=True)
    if data is not None:
        buffers += fragment(message.context_id, data, maximum_length, is_command=False)
    return b"".join(buffers)


def echo_pdus(message_id: int = 1, context_id: int = 1) -> bytes:
    """A C-ECHO-RQ."""
    command = {"AffectedSOPClassUID": VERIFICATION, "MessageID": message_id}
    return message_pdus(Message(C_ECHO_RQ, command, context_id))


def store_pdus(
    data: bytes,
    *,
    message_id: int = 1,
    context_id: int = 1,
    maximum_length: int = 16384,
    sop_class: str = "",
    instance: str = "1.2.3.4.5",
) -> bytes:
    """A C-STORE-RQ of a CT image."""
    command = {
        "AffectedSOPClassUID": sop_class or CT_IMAGE_STORAGE,
        "MessageID": message_id,
        "Priority": 2,
        "AffectedSOPInstanceUID": instance,
    }
    return message_pdus(Message(C_STORE_RQ, command, context_id, data), maximum_length)


def find_pdus(data: bytes = b"", *, message_id: int = 1, context_id: int = 1) -> bytes:
    """A C-FIND-RQ."""
    command = {"AffectedSOPClassUID": PATIENT_ROOT_FIND, "MessageID": message_id, "Priority": 2}
    return message_pdus(Message(C_FIND_RQ, command, context_id, data or QUERY))


def cancel_pdus(message_id: int = 1, context_id: int = 1) -> bytes:
    """A C-CANCEL-RQ."""
    return message_pdus(Message(C_CANCEL_RQ, {"MessageIDBeingRespondedTo": message_id}, context_id))


# (0008,0052) QueryRetrieveLevel = PATIENT in Implicit VR Little Endian.
QUERY = bytes.fromhex("08005200 08000000") + b"PATIENT "
ABORT_BY_USER = bytes.fromhex("070000000004 0000 0000")
RELEASE_RQ = bytes.fromhex("050000000004 00000000")
RELEASE_RP = bytes.fromhex("060000000004 00000000")


def status_of(pdu: bytes) -> int:
    """The status of a response whose command set is the one value of a P-DATA-TF."""
    assert pdu[:1] == b"\x04", pdu
    return int(decode_command(pdu[12:])[1]["Status"])
