"""C-MOVE of a node to destinations that are reached by TLS: both sides prove who they are, or nothing is sent."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from tests.faults.objects import study_uid
from tests.sockets import Certificates, RawPeer, make_certificates, raw_server

from dicomnet.archive.node import Node
from dicomnet.drivers.deadline import Timeouts
from dicomnet.drivers.tls import ClientCertificate, ServerCertificate

from .retrieving import COUNT, data_sets, fill, final, moved, refusal_of, running


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"), others=["workstation"])


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Those of another authority."""
    return make_certificates(tmp_path_factory.mktemp("strange"))


@pytest.fixture(scope="module")
def expired(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("expired"), timedelta(seconds=-1))


@contextmanager
def receiving(folder: Path, tls: ssl.SSLContext | None) -> Iterator[int]:
    """A destination."""
    there = Node(folder, address=("127.0.0.1", 0), has_index=False, sync=False, tls=tls)
    there.start()
    try:
        yield there.address[1]
    finally:
        there.shutdown()


def shown(made: Certificates, name: str = "") -> ClientCertificate:
    """The authority is trusted, and our certificate is shown, if there is one of that name."""
    certificate, key = (str(made.of(name)), None) if name else (None, None)
    return ClientCertificate(str(made.authority), certificate, key)


def mutual(made: Certificates) -> ssl.SSLContext:
    """The context of a destination that asks for a certificate."""
    return ServerCertificate(
        str(made.certificate), str(made.key), None, str(made.authority), ssl.CERT_REQUIRED
    ).context()


@pytest.mark.parametrize("jobs", [1, 3])
def test_objects_go_to_a_destination_that_both_sides_have_proved(
    tmp_path: Path, certificates: Certificates, jobs: int
) -> None:
    """Small ones and one that is read in parts arrive byte for byte."""
    with receiving(tmp_path / "there", mutual(certificates)) as port:
        tls = {"THERE": shown(certificates, "workstation")}
        with running(tmp_path / "node", f"THERE@localhost:{port}", tls=tls, jobs=jobs) as node:
            fill(node, tmp_path)
            fill(node, tmp_path, 1, study=2, length=3_000_000)
            responses = moved(node, StudyInstanceUID=[study_uid(1), study_uid(2)])
            assert final(responses) == (0, COUNT + 1, 0, 0)
    assert data_sets(tmp_path / "there" / "objects") == data_sets(tmp_path / "node" / "objects")


def of_another_host(made: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.of("workstation"))
    return context


Made = dict[str, Certificates]
# The context of the destination, what the node has for it, and what the log says.
TROUBLES: dict[
    str, tuple[Callable[[Made], ssl.SSLContext | None], Callable[[Made], ClientCertificate], str]
] = {
    "another authority": (
        lambda made: made["strange"].server(),
        lambda made: shown(made["good"]),
        "the peer's certificate is not trusted",
    ),
    "a certificate that is over": (
        lambda made: made["expired"].server(),
        lambda made: shown(made["expired"]),
        "the peer's certificate is not trusted (certificate has expired)",
    ),
    "the certificate of another host": (
        lambda made: of_another_host(made["good"]),
        lambda made: shown(made["good"]),
        "the peer's certificate is not trusted (Hostname mismatch",
    ),
    "no certificate of ours": (
        lambda made: mutual(made["good"]),
        lambda made: shown(made["good"]),
        "certificate",
    ),
    "a certificate of ours that it does not trust": (
        lambda made: mutual(made["good"]),
        lambda made: ClientCertificate(
            str(made["good"].authority), str(made["strange"].certificate), str(made["strange"].key)
        ),
        "certificate",
    ),
    "no TLS": (lambda made: None, lambda made: shown(made["good"]), "TLS failed"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_nothing_is_sent_to_a_destination_that_is_not_the_one(
    trouble: str,
    tmp_path: Path,
    certificates: Certificates,
    strange: Certificates,
    expired: Certificates,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """X23: Each object has failed, the reason is said in one line, and there is no way around by plain TCP."""
    context, ours, said = TROUBLES[trouble]
    made = {"good": certificates, "strange": strange, "expired": expired}
    with (
        receiving(tmp_path / "there", context(made)) as port,
        running(
            tmp_path / "node",
            f"THERE@localhost:{port}",
            tls={"THERE": ours(made)},
            timeouts=Timeouts(association=2),
        ) as node,
    ):
        fill(node, tmp_path)
        with caplog.at_level(logging.WARNING, "dicomnet.archive.services"):
            assert final(moved(node)) == (0xA702, 0, COUNT, 0)
    (line,) = (each.getMessage() for each in caplog.records if "retrieval" in each.name)
    assert line.startswith(
        f"C-MOVE of ASKING (127.0.0.1): {COUNT} objects not sent to THERE@localhost:{port}: "
    )
    assert said in line
    assert data_sets(tmp_path / "there") == {}


def say_nothing(peer: RawPeer) -> None:
    peer.read_to_end()


def test_nothing_is_sent_by_tls_to_a_destination_that_never_shakes_hands(
    tmp_path: Path, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        raw_server(say_nothing) as port,
        running(
            tmp_path / "node",
            f"THERE@localhost:{port}",
            tls={"THERE": shown(certificates)},
            timeouts=Timeouts(association=0.3),
        ) as node,
    ):
        fill(node, tmp_path)
        assert final(moved(node)) == (0xA702, 0, COUNT, 0)
    assert sum("objects not sent" in each for each in caplog.messages) == 1


def test_the_files_for_tls_are_not_there(tmp_path: Path, certificates: Certificates) -> None:
    tls = {"THERE": ClientCertificate(str(tmp_path / "none.pem"))}
    with running(tmp_path / "node", "THERE@localhost:9", tls=tls) as node:
        fill(node, tmp_path)
        refusal = refusal_of(node, StudyInstanceUID=study_uid(1))
    assert (refusal.status, refusal.comment) == (0xA702, "the files for TLS cannot be used")
