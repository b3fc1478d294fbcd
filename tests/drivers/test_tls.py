"""Which certificates our client accepts, with every version of Python, and how what goes wrong is told."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from pynetdicom import AE as ForeignAE  # noqa: N811
from tests.interop.peers import aio_server
from tests.sockets import Certificates, RawPeer, make_certificates, raw_server
from tests.support import dicomnet, free_port, is_listening, run_tool, running_process, tool, wait_until

from dicomnet import AE, Peer, aio
from dicomnet.drivers.deadline import Timeouts
from dicomnet.drivers.tls import ClientCertificate, ServerCertificate, client_context, load_certificate
from dicomnet.errors import TLSFailed

VERIFICATION = "1.2.840.10008.1.1"
TIMEOUTS = Timeouts(association=10)
TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("plain"), is_plain=True)


# -- SCPs and SCUs


@contextmanager
def ae_scp(context: ssl.SSLContext, ae: Any = None) -> Iterator[int]:
    ae = ae or AE()
    ae.add_supported_context(VERIFICATION)
    server = ae.start_server(("127.0.0.1", 0), block=False, ssl_context=context)
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@contextmanager
def pynetdicom_scp(context: ssl.SSLContext) -> Iterator[int]:
    with ae_scp(context, ForeignAE()) as port:
        yield port


@contextmanager
def aio_scp(context: ssl.SSLContext) -> Iterator[int]:
    with aio_server([VERIFICATION], {}, tls=context) as port:
        yield port


def echo_by_peer(address: str, context: ssl.SSLContext) -> int:
    with Peer(address, tls=context, timeouts=TIMEOUTS) as peer:
        peer.echo()
        return 0


def echo_by_aio(address: str, context: ssl.SSLContext) -> int:
    async def echo() -> int:
        async with aio.Peer(address, tls=context, timeouts=TIMEOUTS) as peer:
            await peer.echo()
            return 0

    return asyncio.run(echo())


def echo_by_ae(address: str, context: ssl.SSLContext) -> int:
    host, _, port = address.rpartition(":")
    ae = AE()
    ae.add_requested_context(VERIFICATION)
    assoc = ae.associate(host, int(port), tls_args=(context, host))
    if not assoc.is_established:
        assert assoc.failure is not None
        raise assoc.failure
    status: int = assoc.send_c_echo().Status
    assoc.release()
    return status


Echo = Callable[[str, ssl.SSLContext], int]
SCPS = {"AE": ae_scp, "aio": aio_scp, "pynetdicom": pynetdicom_scp}
ECHOES: list[Echo] = [echo_by_peer, echo_by_aio, echo_by_ae]
scps = pytest.mark.parametrize("scp", SCPS)
echoes = pytest.mark.parametrize("echo", ECHOES)


# -- which certificates are accepted


@scps
@echoes
def test_a_certificate_without_extensions_is_accepted(echo: Echo, scp: str, plain: Certificates) -> None:
    """As hospitals and devices have them; the default context of Python 3.13 refuses them."""
    with SCPS[scp](plain.server()) as port:
        assert echo(f"localhost:{port}", client_context(plain.authority)) == 0


def test_it_is_pythons_default_context_that_refuses_it(plain: Certificates) -> None:
    """So the certificate is as plain as the tests say."""
    with ae_scp(plain.server()) as port:
        if sys.version_info >= (3, 13):
            with pytest.raises(TLSFailed, match="not trusted"):
                echo_by_peer(f"localhost:{port}", plain.client())
        else:
            assert echo_by_peer(f"localhost:{port}", plain.client()) == 0


@echoes
def test_the_certificate_itself_may_be_what_is_trusted(echo: Echo, plain: Certificates) -> None:
    """Also where another one has signed it, whose certificate nobody has at hand."""
    with ae_scp(plain.server()) as port:
        assert echo(f"localhost:{port}", client_context(plain.certificate)) == 0


@scps
@echoes
def test_a_certificate_of_somebody_else_is_refused(
    echo: Echo, scp: str, plain: Certificates, full: Certificates
) -> None:
    with SCPS[scp](plain.server()) as port:
        for context in (client_context(full.authority), client_context(full.certificate), client_context()):
            with pytest.raises(TLSFailed, match=r"the peer's certificate is not trusted \("):
                echo(f"localhost:{port}", context)


@echoes
def test_a_certificate_for_another_name_is_refused(echo: Echo, plain: Certificates) -> None:
    with ae_scp(plain.server()) as port:
        with pytest.raises(TLSFailed, match=r"not trusted \(.*mismatch.*127\.0\.0\.1"):
            echo(f"127.0.0.1:{port}", client_context(plain.authority))


@pytest.mark.parametrize("is_plain", [True, False])
@echoes
def test_an_expired_certificate_is_refused(echo: Echo, is_plain: bool, tmp_path: Path) -> None:
    expired = make_certificates(tmp_path, timedelta(minutes=-1), is_plain=is_plain)
    with ae_scp(expired.server()) as port:
        with pytest.raises(TLSFailed, match=r"not trusted \(certificate has expired\)"):
            echo(f"localhost:{port}", client_context(expired.authority))


def test_what_the_context_verifies() -> None:
    context = client_context()
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.cert_store_stats() == ssl.create_default_context().cert_store_stats()


# -- a peer that wants a certificate of ours


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
@scps
@echoes
def test_a_peer_that_wants_a_certificate_of_ours(
    echo: Echo, scp: str, version: ssl.TLSVersion, full: Certificates
) -> None:
    """With TLS 1.3 it says so behind the handshake, when the association has been asked for."""
    wanting = full.server(mutual=True)
    wanting.maximum_version = version
    with SCPS[scp](wanting) as port:
        with pytest.raises(TLSFailed, match="the peer wants a certificate of ours"):
            echo(f"localhost:{port}", client_context(full.authority))
        context = client_context(full.authority)
        load_certificate(context, full.certificate, full.key)
        assert echo(f"localhost:{port}", context) == 0


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
@scps
@echoes
def test_a_peer_that_does_not_accept_our_certificate(
    echo: Echo, scp: str, version: ssl.TLSVersion, full: Certificates, tmp_path: Path
) -> None:
    strange = make_certificates(tmp_path)
    wanting = full.server(mutual=True)
    wanting.maximum_version = version
    with SCPS[scp](wanting) as port:
        context = client_context(full.authority)
        load_certificate(context, strange.certificate, strange.key)
        with pytest.raises(TLSFailed, match="the peer does not accept our certificate"):
            echo(f"localhost:{port}", context)


@pytest.mark.parametrize("command", ["echo", "diagnose"])
def test_the_commands_say_what_dcmtk_wants(command: str, full: Certificates, tmp_path: Path) -> None:
    port = free_port()
    scp = [tool("storescp"), "+tls", str(full.key), str(full.certificate), "+cf", str(full.authority)]
    with running_process([*scp, "-od", str(tmp_path), str(port)], tmp_path):
        wait_until(lambda: is_listening(port), what="storescp listens")
        call = (command, f"localhost:{port}", "--tls-ca", full.authority)
        done = run_tool(dicomnet(*call))
        assert done.returncode == 1
        assert "the peer wants a certificate of ours" in done.stdout + done.stderr
        done = run_tool(dicomnet(*call, "--tls-cert", full.certificate, "--tls-key", full.key))
        assert done.returncode == 0, done.stdout + done.stderr


# -- versions that are too old

ALERT = bytes.fromhex("15030100020246")
# TLS 1.0, which old devices choose whatever the client offers.
SERVER_HELLO = bytes.fromhex("160301002a020000260301") + bytes(32) + bytes.fromhex("00002f00")
NO_VERSION = "no version of TLS in common, as with one that has only TLS 1.0 or 1.1: enable TLS 1.2 there"


def old_server(answer: bytes) -> Callable[[RawPeer], None]:
    def serve(peer: RawPeer) -> None:
        if peer.sock.recv(4096):
            peer.send(answer)
            peer.read_to_end()

    return serve


@pytest.mark.parametrize("answer", [ALERT, SERVER_HELLO], ids=["alert", "ServerHello"])
@echoes
def test_a_peer_of_an_old_version_was_not_told_from_others(
    echo: Echo, answer: bytes, full: Certificates
) -> None:
    with raw_server(old_server(answer)) as port, pytest.raises(TLSFailed, match=NO_VERSION):
        echo(f"localhost:{port}", client_context(full.authority))


@pytest.mark.parametrize("answer", [ALERT, SERVER_HELLO], ids=["alert", "ServerHello"])
@pytest.mark.parametrize("command", ["echo", "diagnose"])
def test_the_commands_say_what_to_do_about_an_old_version(command: str, answer: bytes) -> None:
    with raw_server(old_server(answer)) as port:
        done = run_tool(dicomnet(command, f"localhost:{port}", "--tls"))
        assert done.returncode == 1
        assert NO_VERSION in done.stdout + done.stderr


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
@pytest.mark.parametrize("old", ["client", "server"])
@scps
def test_what_speaks_tls_1_1_alone_is_told_of_the_version(
    scp: str, old: str, full: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    server, client = full.server(), client_context(full.authority)
    context = server if old == "server" else client
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    caplog.set_level(logging.INFO, "dicomnet")
    # Some servers, as those of asyncio, close before their alert is on its way.
    told = f"{NO_VERSION}|or has only TLS 1.0 or 1.1"
    with SCPS[scp](server) as port:
        with pytest.raises(TLSFailed, match=told):
            echo_by_peer(f"localhost:{port}", client)
        if scp != "pynetdicom":
            wait_until(lambda: NO_VERSION in caplog.text, what="the server tells it, too")


# -- a key with a passphrase


def with_passphrase(made: Certificates, folder: Path) -> Path:
    key = serialization.load_pem_private_key(made.key.read_bytes(), None)
    path = folder / "encrypted.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    return path


# Runs a command in a terminal of its own, on which OpenSSL would ask.
TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


@pytest.mark.parametrize("is_one_file", [True, False])
def test_a_key_with_a_passphrase_is_named_and_nobody_is_asked(
    is_one_file: bool, full: Certificates, tmp_path: Path
) -> None:
    key = with_passphrase(full, tmp_path)
    options = ["--tls-cert", str(full.certificate), "--tls-key", str(key)]
    if is_one_file:
        both = tmp_path / "both.pem"
        both.write_bytes(full.certificate.read_bytes() + key.read_bytes())
        options = ["--tls-cert", str(both)]
    command = dicomnet("echo", "localhost:1", "--tls-ca", full.authority, *options)
    done = run_tool([sys.executable, "-c", TERMINAL, *command])
    assert done.returncode == 2, done.stdout + done.stderr
    assert "the key has a passphrase" in done.stdout
    assert "openssl pkey" in done.stdout
    assert "pass phrase" not in done.stdout


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (None, "there is no private key (PEM) in the file of the certificate; name the file that has it"),
        ("folder", "the key cannot be read: Is a directory: "),
        ("missing.pem", "the key cannot be read: No such file or directory: "),
        ("authority", "there is no private key (PEM) in "),
    ],
)
@pytest.mark.parametrize(
    "load",
    [
        lambda *files: load_certificate(client_context(None), *files),
        lambda *files: ServerCertificate(*files).context(),
        lambda *files: ClientCertificate(None, *files).context(),
    ],
    ids=["a context", "a server", "a client"],
)
def test_a_key_that_is_not_there_was_blamed_on_the_certificate(
    key: str | None, said: str, load: Any, full: Certificates, tmp_path: Path
) -> None:
    """OpenSSL said "not PEM", or "is a directory", and the option for the certificate was named with it."""
    (tmp_path / "folder").mkdir()
    certificate = str(full.certificate)
    path = None if key is None else str(full.authority) if key == "authority" else str(tmp_path / key)
    with pytest.raises(ValueError, match=re.escape(said)):
        load(certificate, path)


def test_a_passphrase_in_the_library(full: Certificates, tmp_path: Path) -> None:
    context = client_context(full.authority)
    with pytest.raises(ValueError, match="passphrase"):
        load_certificate(context, full.certificate, with_passphrase(full, tmp_path))
    load_certificate(context, full.certificate, full.key)


def test_a_server_goes_on_after_clients_without_certificate(full: Certificates) -> None:
    """Several of them at once, among those that have one."""
    good = client_context(full.authority)
    load_certificate(good, full.certificate, full.key)
    outcomes: list[str] = []

    def call(port: int, context: ssl.SSLContext) -> None:
        try:
            echo_by_peer(f"localhost:{port}", context)
            outcomes.append("ok")
        except TLSFailed as error:
            outcomes.append(error.cause)

    with ae_scp(full.server(mutual=True)) as port:
        contexts = [good, client_context(full.authority)] * 8
        threads = [threading.Thread(target=call, args=(port, context)) for context in contexts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outcomes.count("ok") == 8
    assert sum("wants a certificate" in each for each in outcomes) == 8
