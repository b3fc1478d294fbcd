"""`dicomnet echo`, and how a peer that cannot be reached is told."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.cli.command import complaint, run
from tests.cli.conftest import StartPeer, StoreSCP
from tests.support import dicomnet, free_port

from dicomnet import evt


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        built.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def server_context(certificate: Path, *, asks: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificate)
    return context


def test_dcmtk_answers(storescp: StoreSCP) -> None:
    result = run("echo", storescp.address, "--repeat", "3")
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{storescp.address} answered in ") for line in lines)
    assert (result.stderr, result.returncode) == ("", 0)


def test_quiet_says_nothing_and_debug_says_more(storescp: StoreSCP) -> None:
    quiet = run("echo", storescp.address, "-q")
    assert (quiet.stdout, quiet.stderr, quiet.returncode) == ("", "", 0)
    assert run("echo", storescp.address, "-d").returncode == 0


@pytest.mark.parametrize(
    ("peer", "options", "called", "calling"),
    [
        ("127.0.0.1", (), b"ANY-SCP", b"DICOMNET"),
        ("PACS@127.0.0.1", ("--calling", "US"), b"PACS", b"US"),
        ("PACS@127.0.0.1", ("-aet", "US", "-aec", "OTHER"), b"OTHER", b"US"),
    ],
)
def test_the_peer_is_told_the_titles(
    peer: str, options: tuple[str, ...], called: bytes, calling: bytes
) -> None:
    """They are at fixed places of the A-ASSOCIATE-RQ PDU (PS3.8 Table 9-11)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"{peer}:{server.getsockname()[1]}"
        with subprocess.Popen(dicomnet("echo", address, *options), stderr=subprocess.PIPE) as process:
            connection, _ = server.accept()
            with connection:
                server.close()
                request = connection.recv(74, socket.MSG_WAITALL)
            process.communicate(timeout=20)
    assert request[10:26] == called.ljust(16)
    assert request[26:42] == calling.ljust(16)


def test_nobody_listens() -> None:
    port = free_port()
    assert complaint(run("echo", f"127.0.0.1:{port}"), 1) == (
        f"dicomnet echo: cannot connect to 127.0.0.1 port {port}: connection refused"
    )


def test_the_host_is_unknown() -> None:
    assert "host name is not known" in complaint(run("echo", "nowhere.invalid:104"), 1)


def test_a_rejection_is_told_in_words(start_peer: StartPeer) -> None:
    port = start_peer(strict=True)
    said = complaint(run("echo", f"WRONG@127.0.0.1:{port}"), 1)
    assert "rejected permanently" in said
    assert "called AE title not recognised" in said


def test_a_status_is_told_in_words(start_peer: StartPeer) -> None:
    port = start_peer([(evt.EVT_C_ECHO, lambda event: 0x0122)])
    said = complaint(run("echo", f"127.0.0.1:{port}"), 1)
    assert "0x0122" in said
    assert "SOP class is not supported" in said


def test_a_mute_peer_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        said = complaint(run("echo", f"127.0.0.1:{mute.getsockname()[1]}", "--timeout", "0.3"), 1)
    assert "association stage within 0.3 s" in said


def test_what_does_not_speak_dicom() -> None:
    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        server.close()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            while connection.recv(1000):
                pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        said = complaint(run("echo", f"127.0.0.1:{port}", "--timeout", "5"), 1)
    thread.join()
    assert "abort" in said


def test_over_tls(start_peer: StartPeer, certificate: Path) -> None:
    port = start_peer(tls=server_context(certificate))
    assert run("echo", f"127.0.0.1:{port}", "--tls", "--tls-ca", certificate).returncode == 0
    assert run("echo", f"127.0.0.1:{port}", "--tls-ca", certificate).returncode == 0
    assert run("echo", f"127.0.0.1:{port}", "--tls-no-verify").returncode == 0


def test_over_tls_with_a_certificate_of_ours(start_peer: StartPeer, certificate: Path) -> None:
    port = start_peer(tls=server_context(certificate, asks=True))
    trusted = ("echo", f"127.0.0.1:{port}", "--tls-ca", certificate)
    assert run(*trusted, "--tls-cert", certificate).returncode == 0
    assert run(*trusted, "--tls-cert", certificate, "--tls-key", certificate).returncode == 0
    complaint(run(*trusted), 1)


def test_a_certificate_that_nobody_vouches_for(start_peer: StartPeer, certificate: Path) -> None:
    port = start_peer(tls=server_context(certificate))
    assert "not trusted" in complaint(run("echo", f"127.0.0.1:{port}", "--tls"), 1)


def test_a_tls_port_without_tls_is_named(start_peer: StartPeer, certificate: Path) -> None:
    port = start_peer(tls=server_context(certificate))
    assert complaint(run("echo", f"127.0.0.1:{port}"), 1).endswith("speaks TLS on this port; use --tls")


def test_tls_on_a_plain_port_is_named(start_peer: StartPeer, storescp: StoreSCP) -> None:
    for port in (start_peer(), storescp.port):
        assert "does not speak TLS on this port" in complaint(run("echo", f"127.0.0.1:{port}", "--tls"), 1)
