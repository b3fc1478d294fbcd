"""What the log shows of associations in both drivers and both roles, and what it never shows: patients' data."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.associations import associated, ct_image, serving_ae
from tests.loops import in_loop, until
from tests.sockets import (
    CT_IMAGE_STORAGE,
    IMPLICIT_VR_LE,
    PATIENT_ROOT_FIND,
    VERIFICATION,
    RawPeer,
    acceptance_of,
    echo_pdus,
    make_certificates,
    raw_server,
    request_pdu,
)
from tests.support import wait_until

from dicomnet import AE, _config, aio, build_context, build_role, evt
from dicomnet.errors import AssociationAborted, AssociationRejected
from dicomnet.pynetdicom.pdu_primitives import UserIdentityNegotiation
from dicomnet.wire.pdu import AssociateRJ

GET, MOVE = "1.2.840.10008.5.1.4.1.2.1.3", "1.2.840.10008.5.1.4.1.2.1.2"
EVERYTHING = (VERIFICATION, CT_IMAGE_STORAGE, PATIENT_ROOT_FIND, GET, MOVE)
SECRETS = ("Unspeakable", "PID-4711", "19330303", "Top Secret Street", "Confidential")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "dicomnet")
    return caplog


@pytest.fixture
def identifiers() -> Iterator[None]:
    _config.LOG_IDENTIFIERS = True
    try:
        yield
    finally:
        _config.LOG_IDENTIFIERS = False
        _config.LOG_RESPONSE_IDENTIFIERS = True


def patient() -> Dataset:
    dataset = ct_image(100)
    dataset.PatientName = "Unspeakable^Name"
    dataset.PatientID = "PID-4711"
    dataset.PatientBirthDate = "19330303"
    dataset.PatientAddress = "Top Secret Street"
    dataset.PatientComments = "Confidential"
    return dataset


def key() -> Dataset:
    dataset = Dataset()
    dataset.QueryRetrieveLevel = "PATIENT"
    dataset.PatientName = "Unspeakable*"
    dataset.PatientID = "PID-4711"
    return dataset


def lines(log: pytest.LogCaptureFixture, level: int = logging.DEBUG) -> list[str]:
    return [
        each.getMessage()
        for each in log.records
        if each.name == "dicomnet.drivers.trace" and each.levelno >= level
    ]


def has(log: pytest.LogCaptureFixture, *parts: str, level: int = logging.DEBUG) -> bool:
    return any(all(part in line for part in parts) for line in lines(log, level))


def find_handler(event: evt.Event) -> Iterator[tuple[int, Dataset]]:
    yield 0xFF00, key()
    yield 0xFF00, key()


class Blocking:
    """A C-ECHO, C-STORE and C-FIND in the blocking driver, ours on both sides."""

    def __call__(self) -> None:
        handlers = [(evt.EVT_C_STORE, lambda event: 0), (evt.EVT_C_FIND, find_handler)]
        with serving_ae(handlers) as server, associated(server, ae_title="SERVER") as assoc:
            assoc.send_c_echo()
            assoc.send_c_store(patient())
            assert [status.Status for status, _ in assoc.send_c_find(key(), PATIENT_ROOT_FIND)][-1] == 0
            assoc.release()


class Aio:
    """The same in the asyncio driver."""

    def __call__(self) -> None:
        async def find(request: aio.Request) -> Any:
            yield 0xFF00, key()
            yield 0xFF00, key()

        async def run() -> None:
            handlers: dict[str, Callable[..., Any]] = {"C-STORE": lambda request: 0, "C-FIND": find}
            contexts = (VERIFICATION, CT_IMAGE_STORAGE, PATIENT_ROOT_FIND)
            async with await aio.serve(("127.0.0.1", 0), contexts, handlers, ae_title="SERVER") as server:
                address = f"SERVER@127.0.0.1:{server.address[1]}"
                async with await aio.connect(address, contexts, calling="CLIENT") as assoc:
                    await assoc.send_c_echo()
                    await assoc.send_c_store(patient())
                    async for _ in assoc.send_c_find(key(), PATIENT_ROOT_FIND):
                        pass

        asyncio.run(run())


BOTH = pytest.mark.parametrize("run", [Blocking(), Aio()], ids=["blocking", "aio"])


@BOTH
def test_debug_shows_negotiation_and_messages_on_both_sides(
    log: pytest.LogCaptureFixture, run: Callable[[], None]
) -> None:
    run()
    wait_until(lambda: sum("association released" in each for each in lines(log)) == 2, 5, "both log the end")
    wait_until(lambda: sum("connection closed" in each for each in lines(log)) == 2, 5, "both log the close")
    for verb, other in (("sent", "received"), ("received", "sent")):
        assert has(
            log, f"{verb} A-ASSOCIATE-RQ: calling AE title CLIENT, called AE title SERVER", "maximum length"
        )
        assert has(log, f"{verb}   context 1: Verification in ", "Implicit VR Little Endian")
        assert has(log, f"{other} A-ASSOCIATE-AC: maximum length", ", implementation ")
        assert has(log, f"{other}   context 3: CTImageStorage accepted in ")
        assert has(
            log, f"{verb} P-DATA-TF: C-ECHO-RQ 1 in context 1: Affected SOP Class UID", "(Verification)"
        )
        assert has(log, f"{other} P-DATA-TF: C-ECHO-RSP 1 in context 1: Status 0x0000 (success)")
        assert has(
            log, f"{verb} P-DATA-TF: C-STORE-RQ", "Affected SOP Instance UID 1.2.3.4", "; data set of "
        )
        assert has(log, f"{other} P-DATA-TF: C-FIND-RSP", "Status 0xFF00 (pending: ", "; data set of ")
        assert has(log, f"{verb} A-RELEASE-RQ")
        assert has(log, f"{other} A-RELEASE-RP")
    assert has(log, "SERVER@127.0.0.1:", "association established, our AE title CLIENT")
    assert has(log, "CLIENT@127.0.0.1:", "association established, our AE title SERVER")
    assert has(log, "connection opened by us")
    assert has(log, "connection opened by the peer")
    assert not any(secret in log.text for secret in SECRETS)


@BOTH
def test_info_has_a_line_a_step(log: pytest.LogCaptureFixture, run: Callable[[], None]) -> None:
    log.set_level(logging.INFO, "dicomnet")
    run()
    wait_until(lambda: sum("association released" in each for each in lines(log)) == 2, 5, "both log the end")
    for title, verb in (("SERVER@", "was answered"), ("CLIENT@", "answered")):
        steps = [each.partition(": ")[2] for each in lines(log) if each.startswith(title)]
        assert len(steps) == 5
        assert steps[0].startswith("association established, ")
        assert steps[1].startswith(f"C-ECHO 1, Verification {verb}: 0x0000 (success), ")
        assert f", CTImageStorage, instance 1.2.3.4 {verb}: 0x0000 (success), " in steps[2]
        assert " bytes, " in steps[2]
        assert steps[2].endswith(" ms")
        assert f"PatientRootQueryRetrieveInformationModelFind {verb}: 0x0000 (success)" in steps[3]
        assert ", 2 pending responses, " in steps[3]
        assert steps[4] == "association released"
    assert not any(secret in log.text for secret in SECRETS)


@BOTH
def test_no_line_is_made_where_nothing_is_logged(
    caplog: pytest.LogCaptureFixture, run: Callable[[], None]
) -> None:
    caplog.set_level(logging.WARNING, "dicomnet")
    run()
    assert lines(caplog) == []


@BOTH
def test_identifiers_are_logged_where_the_switch_asks_for_them(
    log: pytest.LogCaptureFixture, identifiers: None, run: Callable[[], None]
) -> None:
    run()
    assert has(log, "(0010,0020)", "[PID-4711]")
    assert has(log, "(0008,0052)", "[PATIENT]")
    # Those of objects are not.
    assert "Confidential" not in log.text
    queries, answers = (sum("[PID-4711]" in each for each in lines(log)) for _ in range(2))
    assert queries == answers == 2 + 4
    log.clear()
    _config.LOG_RESPONSE_IDENTIFIERS = False
    run()
    assert sum("[PID-4711]" in each for each in lines(log)) == 2


def test_get_and_move_show_no_patient_at_any_level(log: pytest.LogCaptureFixture) -> None:
    def get(event: evt.Event) -> Iterator[Any]:
        yield 1
        yield 0xFF00, patient()

    def move(event: evt.Event) -> Iterator[Any]:
        yield "127.0.0.1", receiver.server_address[1]
        yield 1
        yield 0xFF00, patient()

    handlers = [(evt.EVT_C_GET, get), (evt.EVT_C_MOVE, move)]
    contexts = [build_context(uid) for uid in EVERYTHING]
    roles = [build_role(CT_IMAGE_STORAGE, scp_role=True)]
    with serving_ae([(evt.EVT_C_STORE, lambda event: 0)]) as receiver:
        ae = AE("MOVER")
        for uid in EVERYTHING:
            ae.add_supported_context(uid, scu_role=True, scp_role=True)
        scp = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert scp is not None
        try:
            with associated(
                scp, [(evt.EVT_C_STORE, lambda event: 0)], contexts=contexts, ext_neg=roles
            ) as assoc:
                assert [each.Status for each, _ in assoc.send_c_get(key(), GET)][-1] == 0
                assert [each.Status for each, _ in assoc.send_c_move(key(), "THERE", MOVE)][-1] == 0
                assoc.release()
        finally:
            ae.shutdown()
    assert has(log, "C-MOVE ", "to THERE", "was answered: 0x0000 (success), 1 completed, 0 failed")
    assert has(log, "role selection: CTImageStorage, SCU no, SCP yes")
    assert has(log, "Move Originator Application Entity Title CLIENT")
    assert not any(secret in log.text for secret in SECRETS)


def test_a_rejection_is_logged_in_words_by_both_sides(log: pytest.LogCaptureFixture) -> None:
    with serving_ae(require_called_aet=True) as server:
        with associated(server, ae_title="NOBODY", must_be_established=False) as assoc:
            assert assoc.is_rejected
        wait_until(lambda: has(log, "CLIENT@127.0.0.1:", "called AE title not recognised"), 5, "it is logged")
    words = "association rejected permanently by the service user: called AE title not recognised"
    assert has(log, "NOBODY@127.0.0.1:", words, "(called AE title NOBODY)", level=logging.INFO)
    assert has(log, "CLIENT@127.0.0.1:", words, "(called AE title NOBODY)", level=logging.INFO)
    assert has(log, "sent A-ASSOCIATE-RJ: ")
    assert has(log, "received A-ASSOCIATE-RJ: ")


@pytest.mark.parametrize(
    ("pdu", "words"),
    [
        (b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00", "A-ABORT: by the service user"),
        (b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x01", "by the service provider, reason: unrecognised PDU"),
        (b"\x07\x00\x00\x00\x00\x04\x00\x00\x09\x01", "A-ABORT: by the source 9, reason: unrecognised PDU"),
        (b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x63", "by the service provider, reason: 99"),
    ],
)
def test_an_abort_of_the_peer_is_logged_with_source_and_reason(
    log: pytest.LogCaptureFixture, pdu: bytes, words: str
) -> None:
    def serve(peer: RawPeer) -> None:
        peer.send(acceptance_of(peer.read_pdu()))
        peer.read_pdu()
        peer.send(pdu)
        peer.read_to_end()

    with raw_server(serve) as port, associated(port) as assoc:
        assoc.send_c_echo()
    assert has(log, f"received {words}" if words.startswith("A-") else words)
    assert has(log, "association aborted", level=logging.INFO)


@pytest.mark.parametrize("answer", ["reject", "abort", "close"])
def test_the_asyncio_driver_logs_how_the_association_ends(log: pytest.LogCaptureFixture, answer: str) -> None:
    def serve(peer: RawPeer) -> None:
        request = peer.read_pdu()
        if answer == "reject":
            peer.send(AssociateRJ(2, 3, 1).encode())
        else:
            peer.send(acceptance_of(request))
            peer.read_pdu()
            if answer == "abort":
                peer.send(b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x02")
        if answer != "close":
            peer.read_to_end()

    @in_loop
    async def test() -> None:
        with raw_server(serve) as port:
            try:
                async with await aio.connect(f"RAW@127.0.0.1:{port}", (VERIFICATION,)) as assoc:
                    await assoc.send_c_echo()
            except (AssociationRejected, AssociationAborted):
                pass
            await until(lambda: has(log, "connection closed"))

    test()
    words = {
        "reject": "rejected for now by the service provider (presentation): temporary congestion",
        "abort": "association aborted by the peer's provider: unexpected PDU",
        "close": "association lost: the peer closed the connection",
    }
    assert has(log, "RAW@127.0.0.1:", words[answer], level=logging.INFO)


def test_a_fault_of_the_peer_is_logged_with_the_abort_that_answers_it(log: pytest.LogCaptureFixture) -> None:
    with serving_ae() as server, RawPeer.connect(server.server_address[1]) as peer:
        peer.send(request_pdu((1, VERIFICATION)))
        peer.read_pdu()
        peer.send(echo_pdus(context_id=99))
        assert peer.read_pdu()[:1] == b"\x07"
        wait_until(lambda: has(log, "association aborted: "), 5, "it is logged")
    assert has(log, "a message uses a presentation context that was not accepted", level=logging.INFO)
    assert has(log, "sent A-ABORT: by the service provider, reason: invalid PDU parameter value")


def test_the_tls_version_is_logged(log: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    with serving_ae(tls=certificates.server()) as server:
        with associated(server, tls_args=(certificates.client(), "localhost")) as assoc:
            assoc.release()
    for title in ("ANY-SCP@", "CLIENT@"):
        assert has(log, title, "association established", ", TLSv1.", level=logging.INFO)
    assert sum("TLS handshake done: TLSv1." in each for each in lines(log)) == 2


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5])
def test_nothing_of_a_users_identity_is_logged(log: pytest.LogCaptureFixture, kind: int) -> None:
    identity = UserIdentityNegotiation()
    identity.user_identity_type = kind
    identity.primary_field = b"Unspeakable"
    if kind == 2:
        identity.secondary_field = b"Confidential"
    with serving_ae([(evt.EVT_USER_ID, lambda event: (True, None))]) as server:
        with associated(server, ext_neg=[identity]) as assoc:
            assoc.release()
    assert has(log, "received   user identity: ")
    assert not any(secret in log.text for secret in SECRETS)


def test_a_peer_cannot_forge_lines(log: pytest.LogCaptureFixture) -> None:
    forged = b"EVIL\nW: all is\r\x1b[2J".ljust(16)[:16]
    raw = bytearray(request_pdu((1, VERIFICATION), (3, CT_IMAGE_STORAGE)))
    raw[26:42] = forged
    with serving_ae() as server, RawPeer.connect(server.server_address[1]) as peer:
        peer.send(bytes(raw))
        peer.read_pdu()
        wait_until(lambda: has(log, "A-ASSOCIATE-RQ"), 5, "it is logged")
    assert all(each.getMessage().isprintable() for each in log.records)
    assert has(log, "EVIL\\nW: all is")


def test_an_operation_is_logged_with_what_the_handler_answers(log: pytest.LogCaptureFixture) -> None:
    log.set_level(logging.INFO, "dicomnet")
    refusal = Dataset()
    refusal.Status = 0xA700
    refusal.ErrorComment = "the disk is full"
    with serving_ae([(evt.EVT_C_STORE, lambda event: refusal)]) as server, associated(server) as assoc:
        assert assoc.send_c_store(patient()).Status == 0xA700
        assoc.abort()
    for title in ("CLIENT@", "ANY-SCP@"):
        assert has(
            log, title, "CTImageStorage, instance 1.2.3.4", "0xA700 (failure: refused: out of resources)"
        )
        assert has(log, title, "reason: the disk is full")
    wait_until(lambda: has(log, "CLIENT@", "association aborted by the peer"), 5, "it is logged")
    assert has(log, "ANY-SCP@", "association aborted by us")
    assert not any(secret in log.text for secret in SECRETS)
    assert IMPLICIT_VR_LE not in log.text
