"""TLS both ways between our SCUs and SCPs and those of DCMTK and pynetdicom, each side with a certificate."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import queue
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from pydicom import dcmread
from pynetdicom import AE as ForeignAE  # noqa: N811
from pynetdicom import evt as foreign_evt
from tests.support import (
    data_set_of,
    digest,
    digests_below,
    free_port,
    is_listening,
    run_tool,
    running_process,
    stored,
    tool,
    wait_until,
)

from dicomnet import AE, Peer, aio, build_context, evt
from dicomnet.archive.node import Node
from dicomnet.drivers.deadline import Timeouts
from dicomnet.errors import AssociationAborted, NetworkError, TLSFailed

from .corpus import sendables
from .peers import dcmtk_storescp

CT = next(each for each in sendables() if each.path.name == "CT_small.dcm")


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate for this machine, its key, and the authority that signed it."""

    authority: Path
    certificate: Path
    key: Path

    def context(self, *, is_server: bool, authority: Path | None = None) -> ssl.SSLContext:
        """A context that shows the certificate and wants one of the same authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        context.load_verify_locations(authority or self.authority)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    @property
    def dcmtk(self) -> list[str]:
        """The same for DCMTK's tools."""
        return ["+tls", str(self.key), str(self.certificate), "+cf", str(self.authority)]


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _signed(
    subject: str, key: rsa.RSAPrivateKey, issuer: str, issuer_key: rsa.RSAPrivateKey, *, is_authority: bool
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    if is_authority:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    else:
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def make_identity(folder: Path, authority: str) -> Identity:
    """A new authority, and a certificate of it."""
    folder.mkdir()
    ca_key, key = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    made = Identity(folder / "ca.pem", folder / "certificate.pem", folder / "key.pem")
    pem = serialization.Encoding.PEM
    made.authority.write_bytes(
        _signed(authority, ca_key, authority, ca_key, is_authority=True).public_bytes(pem)
    )
    made.certificate.write_bytes(
        _signed("localhost", key, authority, ca_key, is_authority=False).public_bytes(pem)
    )
    made.key.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_identity(tmp_path_factory.mktemp("tls") / "ours", "One authority")


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_identity(tmp_path_factory.mktemp("tls") / "strange", "Another authority")


# -- SCPs: each gives its port, and a function that tells the digests it has


Received = Callable[[], list[str]]


@contextlib.contextmanager
def node_scp(folder: Path, tls: Identity) -> Iterator[tuple[int, Received]]:
    """Our archive node."""
    node = Node(folder / "store", address=("127.0.0.1", 0), tls=tls.context(is_server=True))
    node.start()

    def received() -> list[str]:
        assert node.holdings.intake.wait_for_all()
        return list(stored(folder / "store").values())

    try:
        yield node.address[1], received
    finally:
        node.shutdown()


@contextlib.contextmanager
def ae_scp(folder: Path, tls: Identity, ae: Any = None, events: Any = evt) -> Iterator[tuple[int, Received]]:
    """Our AE, or that of pynetdicom."""
    ae = ae or AE()
    found: list[str] = []

    def store(event: Any) -> int:
        path = folder / f"{len(found)}.dcm"
        path.write_bytes(event.encoded_dataset())
        found.append(digest(data_set_of(path)))
        return 0x0000

    ae.add_supported_context(CT.sop_class, CT.transfer_syntax)
    server = ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        ssl_context=tls.context(is_server=True),
        evt_handlers=[(events.EVT_C_STORE, store)],
    )
    try:
        yield server.server_address[1], lambda: list(found)
    finally:
        server.shutdown()


@contextlib.contextmanager
def pynetdicom_scp(folder: Path, tls: Identity) -> Iterator[tuple[int, Received]]:
    with ae_scp(folder, tls, ForeignAE(), foreign_evt) as scp:
        yield scp


@contextlib.contextmanager
def aio_scp(folder: Path, tls: Identity) -> Iterator[tuple[int, Received]]:
    """Our asyncio face."""
    found: list[str] = []
    started: queue.SimpleQueue[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = queue.SimpleQueue()

    async def store(request: aio.Request) -> int:
        found.append(digest(bytes(request.data)))
        return 0x0000

    async def serve() -> None:
        over = asyncio.Event()
        context = tls.context(is_server=True)
        async with await aio.serve(
            ("127.0.0.1", 0), [CT.sop_class], {"C-STORE": store}, tls=context
        ) as server:
            started.put((server.address[1], asyncio.get_running_loop(), over))
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    port, loop, over = started.get(timeout=10)
    try:
        yield port, lambda: list(found)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
    assert not thread.is_alive()


@contextlib.contextmanager
def dcmtk_scp(folder: Path, tls: Identity) -> Iterator[tuple[int, Received]]:
    """DCMTK's storescp."""
    received = folder / "received"
    received.mkdir()
    port = free_port()
    arguments = [tool("storescp"), *tls.dcmtk, "--bit-preserving", "--accept-all", "-od", str(received)]
    with running_process([*arguments, str(port)], folder):
        wait_until(lambda: is_listening(port), what="storescp listens")
        yield port, lambda: list(digests_below(received).values())


# -- SCUs: each sends the one file, and returns the status


def by_peer(port: int, tls: ssl.SSLContext) -> int | None:
    with Peer(f"127.0.0.1:{port}", tls=tls, timeouts=Timeouts(association=2)) as peer:
        return next(iter(peer.store(CT.path))).status


def by_aio_peer(port: int, tls: ssl.SSLContext) -> int | None:
    async def send() -> int | None:
        async with aio.Peer(f"127.0.0.1:{port}", tls=tls, timeouts=Timeouts(association=2)) as peer:
            (status,) = [result.status async for result in peer.store(CT.path)]
            return status

    return asyncio.run(send())


def by_ae(port: int, tls: ssl.SSLContext) -> int | None:
    context = build_context(CT.sop_class, [CT.transfer_syntax])
    assoc = AE().associate("127.0.0.1", port, [context], tls_args=(tls, "localhost"))
    if not assoc.is_established:
        assert assoc.failure is not None
        raise assoc.failure
    status: int = assoc.send_c_store(CT.path).Status
    assoc.release()
    return status


OUR_SCUS = {"Peer": by_peer, "aio.Peer": by_aio_peer, "AE": by_ae}
OUR_SCPS = {"node": node_scp, "AE": ae_scp, "aio": aio_scp}
FOREIGN_SCPS = {"DCMTK": dcmtk_scp, "pynetdicom": pynetdicom_scp}


@pytest.mark.parametrize("scp", OUR_SCPS | FOREIGN_SCPS)
@pytest.mark.parametrize("scu", OUR_SCUS)
def test_our_scu(scu: str, scp: str, ours: Identity, tmp_path: Path) -> None:
    with (OUR_SCPS | FOREIGN_SCPS)[scp](tmp_path, ours) as (port, received):
        assert OUR_SCUS[scu](port, ours.context(is_server=False)) == 0x0000
        assert received() == [CT.digest]


@pytest.mark.parametrize("scp", OUR_SCPS)
def test_dcmtk_scu(scp: str, ours: Identity, strange: Identity, tmp_path: Path) -> None:
    with OUR_SCPS[scp](tmp_path, ours) as (port, received):
        begin = [tool("storescu"), "-v"]
        end = ["127.0.0.1", str(port), str(CT.path)]
        # Without TLS, and with a certificate of another authority, there is no association.
        assert run_tool([*begin, *end]).returncode != 0
        assert run_tool([*begin, *strange.dcmtk, *end]).returncode != 0
        assert received() == []
        done = run_tool([*begin, *ours.dcmtk, *end])
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(received()) == 1


@pytest.mark.parametrize("scp", OUR_SCPS)
def test_pynetdicom_scu(scp: str, ours: Identity, tmp_path: Path) -> None:
    with OUR_SCPS[scp](tmp_path, ours) as (port, received):
        ae = ForeignAE()
        ae.add_requested_context(CT.sop_class, CT.transfer_syntax)
        assoc = ae.associate("127.0.0.1", port, tls_args=(ours.context(is_server=False), "localhost"))
        assert assoc.is_established
        assert assoc.send_c_store(dcmread(CT.path)).Status == 0x0000
        assoc.release()
        assert len(received()) == 1


@pytest.mark.parametrize("scp", OUR_SCPS | FOREIGN_SCPS)
@pytest.mark.parametrize("scu", OUR_SCUS)
def test_strange_peers_are_refused(
    scu: str, scp: str, ours: Identity, strange: Identity, tmp_path: Path
) -> None:
    """Neither side goes on with a certificate of an authority that it does not know (X23)."""
    with (OUR_SCPS | FOREIGN_SCPS)[scp](tmp_path, ours) as (port, received):
        with pytest.raises(TLSFailed):
            OUR_SCUS[scu](port, ours.context(is_server=False, authority=strange.authority))
        # Here it is the server that refuses, which the client of TLS 1.3 learns when it first reads.
        with pytest.raises((TLSFailed, AssociationAborted, NetworkError)):
            OUR_SCUS[scu](port, strange.context(is_server=False, authority=ours.authority))
        assert OUR_SCUS[scu](port, ours.context(is_server=False)) == 0x0000
        assert received() == [CT.digest]


@pytest.mark.parametrize("scu", OUR_SCUS)
def test_no_tls_on_the_other_side(scu: str, ours: Identity, tmp_path: Path) -> None:
    """There is no way back to plain text."""
    with dcmtk_storescp(tmp_path / "scp") as (port, received):
        with pytest.raises(NetworkError):
            OUR_SCUS[scu](port, ours.context(is_server=False))
        assert not list(received.iterdir())
