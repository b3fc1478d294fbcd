"""`dicomnet diagnose`: each layer that fails is named, and nothing after it is tried."""

from __future__ import annotations

import json
import socket
import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pynetdicom
import pytest
from pynetdicom import evt as foreign_evt
from tests.cli.command import complaint, run
from tests.cli.conftest import StartPeer, StoreSCP
from tests.cli.test_main import loaded_by
from tests.sockets import Certificates, RawPeer, make_certificates, raw_server
from tests.support import free_port

from dicomnet import AE, evt
from dicomnet.diagnosing.layers import Probe, connect
from dicomnet.drivers.deadline import Timeouts
from dicomnet.exchange.addresses import PeerAddress
from dicomnet.peers.target import Target
from dicomnet.wire.pdu import AssociateRJ

LAYERS = ["name", "TCP", "TLS", "association", "presentation context", "C-ECHO"]


def layers(*arguments: str, status: int = 0) -> dict[str, dict[str, Any]]:
    """What is found out about each layer."""
    result = run("diagnose", *arguments, "--json")
    assert (result.returncode, result.stderr) == (status, ""), result.stdout
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["layer"] for row in rows] == LAYERS
    return {row["layer"]: row for row in rows}


def failure(layer: str, *arguments: str) -> str:
    """Why a layer fails, in words; those before it work, and those after it are not tried."""
    found = layers(*arguments, status=1)
    place = LAYERS.index(layer)
    assert {found[name]["outcome"] for name in LAYERS[:place]} <= {"ok", "not used"}
    assert {found[name]["outcome"] for name in LAYERS[place + 1 :]} <= {"not tried"}
    assert found[layer]["outcome"] == "failed"
    return str(found[layer]["detail"])


def test_all_is_well(storescp: StoreSCP) -> None:
    found = layers(storescp.address)
    assert [found[name]["outcome"] for name in LAYERS] == ["ok", "ok", "not used", "ok", "ok", "ok"]
    assert found["name"]["addresses"] == ["127.0.0.1"]
    assert found["TCP"]["tried"] == {"127.0.0.1": "connected"}
    assert found["association"]["implementation_version_name"].startswith("OFFIS_DCMTK_")
    assert found["association"]["implementation_class_uid"].startswith("1.2.276.0.7230010.3.0.3.")
    assert found["association"]["maximum_length"] == 16384
    assert found["presentation context"]["transfer_syntax_uid"] == "1.2.840.10008.1.2.1"
    assert all(found[name]["milliseconds"] >= 0 for name in LAYERS if name != "TLS")


def test_a_line_a_layer(storescp: StoreSCP) -> None:
    result = run("diagnose", storescp.address)
    lines = result.stdout.splitlines()
    assert (len(lines), result.stderr, result.returncode) == (6, "", 0)
    assert [line[:9].rstrip() for line in lines] == ["ok", "ok", "not used", "ok", "ok", "ok"]
    assert " ms " in lines[0]
    assert run("diagnose", storescp.address, "-q").stdout == ""


def test_only_what_failed_where_quiet_is_asked_for() -> None:
    result = run("diagnose", f"127.0.0.1:{free_port()}", "-q")
    assert (result.stdout.count("\n"), result.returncode) == (1, 1)
    assert result.stdout.startswith("failed     TCP ")


def test_an_unknown_name() -> None:
    assert "not known" in failure("name", "nowhere.invalid:104")


def test_nobody_listens() -> None:
    port = free_port()
    assert f"127.0.0.1 port {port}: connection refused" in failure("TCP", f"127.0.0.1:{port}")


def test_each_address_of_a_name_is_tried() -> None:
    """No name of this machine has several, so the lookup is done for it; the interface takes all of 127.0.0.0/8."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        target = Target(PeerAddress.parse(f"name:{port}"), "DICOMNET", None, Timeouts())
        rows = [
            row
            for host in ("127.0.0.2", "127.0.0.1")
            for row in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        ]
        finding = connect(Probe(target, rows))
    assert finding is not None
    tried = finding.values["tried"]
    assert list(tried) == ["127.0.0.2", "127.0.0.1"]
    assert "refused" in tried["127.0.0.2"]
    assert tried["127.0.0.1"] == "connected"


def test_a_peer_that_accepts_no_connection_any_more() -> None:
    """Its backlog is full, so the kernel drops what else comes."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = []
        for _ in range(3):
            each = socket.socket()
            each.setblocking(False)
            each.connect_ex(server.getsockname())
            waiting.append(each)
        said = failure("TCP", f"127.0.0.1:{server.getsockname()[1]}", "--timeout", "0.3")
        for each in waiting:
            each.close()
    assert "no answer" in said


# -- TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


def test_over_tls(start_peer: StartPeer, certificates: Certificates) -> None:
    port = start_peer(tls=certificates.server())
    found = layers(f"localhost:{port}", "--tls-ca", str(certificates.authority))
    assert found["TLS"]["outcome"] == "ok"
    assert found["TLS"]["protocol"] == "TLSv1.3"
    assert "GMT" in found["TLS"]["certificate_expires"]
    assert layers(f"localhost:{port}", "--tls-no-verify")["TLS"]["certificate_expires"] is None


def test_a_certificate_that_is_not_trusted(start_peer: StartPeer, certificates: Certificates) -> None:
    port = start_peer(tls=certificates.server())
    assert "--tls-ca" in failure("TLS", f"localhost:{port}", "--tls")


def test_a_certificate_for_another_name(start_peer: StartPeer, certificates: Certificates) -> None:
    port = start_peer(tls=certificates.server())
    said = failure("TLS", f"127.0.0.1:{port}", "--tls-ca", str(certificates.authority))
    assert "it is for another address" in said


def test_a_certificate_that_has_expired(start_peer: StartPeer, tmp_path: Path) -> None:
    expired = make_certificates(tmp_path, timedelta(minutes=-1))
    port = start_peer(tls=expired.server())
    assert "expired" in failure("TLS", f"localhost:{port}", "--tls-ca", str(expired.authority))


def test_a_peer_with_an_old_protocol(start_peer: StartPeer, certificates: Certificates) -> None:
    context = certificates.server()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    port = start_peer(tls=context)
    said = failure("TLS", f"localhost:{port}", "--tls-ca", str(certificates.authority))
    assert "TLS 1.2" in said


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_peer_that_wants_a_certificate_of_ours(
    start_peer: StartPeer, certificates: Certificates, version: ssl.TLSVersion
) -> None:
    context = certificates.server(mutual=True)
    context.maximum_version = version
    port = start_peer(tls=context)
    options = (f"localhost:{port}", "--tls-ca", str(certificates.authority))
    # With TLS 1.3 it is known only after the handshake.
    layer = "TLS" if version is ssl.TLSVersion.TLSv1_2 else "association"
    assert "--tls-cert" in failure(layer, *options)
    ours = ("--tls-cert", str(certificates.certificate), "--tls-key", str(certificates.key))
    assert layers(*options, *ours)["C-ECHO"]["outcome"] == "ok"


def test_tls_to_a_peer_without_it(start_peer: StartPeer, storescp: StoreSCP) -> None:
    for port in (start_peer(), storescp.port):
        assert "leave out --tls" in failure("TLS", f"127.0.0.1:{port}", "--tls-no-verify")


def test_no_tls_to_a_peer_with_it(start_peer: StartPeer, certificates: Certificates) -> None:
    port = start_peer(tls=certificates.server())
    assert failure("association", f"127.0.0.1:{port}").endswith("speaks TLS on this port; use --tls")


# -- the association


def test_a_title_that_the_peer_does_not_have(start_peer: StartPeer) -> None:
    said = failure("association", f"WRONG@127.0.0.1:{start_peer(strict=True)}")
    assert "called AE title not recognised" in said
    assert "WRONG is not the AE title of the peer" in said


@contextmanager
def pynetdicom_scp(**properties: Any) -> Iterator[str]:
    """pynetdicom's verification SCP; gives its address as a peer is written."""
    ae = pynetdicom.AE("SCP")
    ae.add_supported_context("1.2.840.10008.1.1")
    for name, value in properties.items():
        setattr(ae, name, value)
    server = ae.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    try:
        yield f"SCP@127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


def test_a_title_of_ours_that_the_peer_does_not_know() -> None:
    with pynetdicom_scp(require_calling_aet=["FRIEND"]) as address:
        said = failure("association", address, "--calling", "STRANGER")
        assert "does not know our AE title STRANGER" in said
        assert layers(address, "--calling", "FRIEND")["C-ECHO"]["outcome"] == "ok"


@pytest.mark.parametrize(
    ("rejection", "words"),
    [
        (AssociateRJ(2, 3, 1), "try again later"),
        (AssociateRJ(2, 3, 2), "reached its limit of associations"),
        (AssociateRJ(1, 1, 1), "many peers reject"),
        (AssociateRJ(1, 2, 2), "another version"),
        (AssociateRJ(1, 1, 2), "not a DICOM node"),
        (AssociateRJ(1, 1, 9), "reason 9"),
    ],
)
def test_other_rejections(rejection: AssociateRJ, words: str) -> None:
    def serve(peer: RawPeer) -> None:
        if peer.read_pdu():
            peer.send(rejection.encode())

    assert words in fails_with(serve)


def fails_with(serve: Callable[[RawPeer], None], *options: str) -> str:
    with raw_server(serve) as port:
        return failure("association", f"127.0.0.1:{port}", *options)


def test_a_peer_that_closes() -> None:
    def serve(peer: RawPeer) -> None:
        peer.read_pdu()

    assert "it may not be a DICOM node" in fails_with(serve)


def test_a_peer_that_is_mute() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        said = failure("association", f"127.0.0.1:{mute.getsockname()[1]}", "--timeout", "0.3")
    assert "association stage within 0.3 s" in said


def test_a_peer_that_does_not_speak_dicom() -> None:
    def serve(peer: RawPeer) -> None:
        if peer.read_pdu():
            peer.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    assert "abort" in fails_with(serve)


def test_a_peer_without_verification() -> None:
    ae = AE("SCP")
    ae.add_supported_context("1.2.840.10008.5.1.4.1.1.2")
    server = ae.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    try:
        address = f"127.0.0.1:{server.server_address[1]}"
        said = failure("presentation context", address)
        told = run("diagnose", address, "--contexts")
    finally:
        ae.shutdown()
    assert "does not support the SOP class" in said
    assert told.stdout.splitlines()[-1].startswith("the peer accepts 1 of ")
    assert told.returncode == 1


def test_a_status_that_is_no_success(start_peer: StartPeer) -> None:
    port = start_peer([(evt.EVT_C_ECHO, lambda event: 0x0122)])
    assert "0x0122" in failure("C-ECHO", f"127.0.0.1:{port}")


def test_a_peer_that_hangs_up_at_the_echo() -> None:
    ae = pynetdicom.AE("SCP")
    ae.add_supported_context("1.2.840.10008.1.1")

    def echo(event: Any) -> int:
        event.assoc.abort()
        return 0

    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(foreign_evt.EVT_C_ECHO, echo)])
    assert server is not None
    try:
        assert "abort" in failure("C-ECHO", f"127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()


# -- what the peer takes


def test_contexts_of_dcmtk(storescp: StoreSCP) -> None:
    result = run("diagnose", storescp.address, "--contexts", "--json")
    assert result.returncode == 0
    rows = [json.loads(line) for line in result.stdout.splitlines()][len(LAYERS) :]
    taken = {row["sop_class"]: row["transfer_syntax_uids"] for row in rows}
    # What DCMTK's documentation says of its default: any storage class, uncompressed.
    uncompressed = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}
    assert set(taken["CTImageStorage"]) == uncompressed
    assert taken["StorageCommitmentPushModel"] == []
    lines = run("diagnose", storescp.address, "--contexts").stdout.splitlines()
    (line,) = [each for each in lines if each.startswith("CTImageStorage ")]
    assert line.split("  ")[-1] == "Explicit LE, Implicit LE, Explicit BE"
    assert lines[-1].startswith("the peer accepts ")
    assert lines[-1].endswith(" common SOP classes")


def test_contexts_of_a_peer_that_rejects_the_second_association(start_peer: StartPeer) -> None:
    """What is known so far is told, and then the failure."""
    requested: list[evt.Event] = []

    def reject(event: evt.Event) -> None:
        requested.append(event)
        if len(requested) > 1:
            event.assoc.acse.send_reject(2, 3, 2)

    port = start_peer([(evt.EVT_REQUESTED, reject)])
    result = run("diagnose", f"127.0.0.1:{port}", "--contexts")
    assert result.returncode == 1
    assert result.stdout.count("\n") == 6
    assert "local limit exceeded" in result.stderr


def test_it_starts_without_what_is_slow(start_peer: StartPeer) -> None:
    loaded = loaded_by("diagnose", f"127.0.0.1:{start_peer()}")
    assert loaded.isdisjoint(
        {"pydicom", "numpy", "rich", "asyncio", "sqlalchemy", "json", "ssl", "dicomnet.pynetdicom.ae"}
    )


@pytest.mark.parametrize(
    ("arguments", "named"), [((), "PEER"), (("host",), "'host'"), (("127.0.0.1:1", "--bogus"), "--bogus")]
)
def test_a_wrong_command_line_is_one_line_and_status_2(arguments: tuple[str, ...], named: str) -> None:
    assert named in complaint(run("diagnose", *arguments), 2)
