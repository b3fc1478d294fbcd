"""An association as pynetdicom's users know it: services, handlers, cancelling, time-outs, TLS."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pynetdicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from tests.associations import associated, ct_image, match, query, serving_ae
from tests.scripted import Arrived, accepting
from tests.sockets import (
    ABORT_BY_USER,
    CT_IMAGE_STORAGE,
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    MR_IMAGE_STORAGE,
    PATIENT_ROOT_FIND,
    RELEASE_RP,
    RELEASE_RQ,
    VERIFICATION,
    Certificates,
    RawPeer,
    make_certificates,
    raw_server,
)
from tests.support import wait_until

from dicomnet import AE, build_context, evt
from dicomnet.errors import (
    AssociationAborted,
    DeadlineExceeded,
    NoAcceptedContext,
    TLSFailed,
    UnusableObject,
)
from dicomnet.pynetdicom.association import Association
from dicomnet.pynetdicom.events import Event, EventHandlerType

JPEG = "1.2.840.10008.1.2.4.50"


class Keep:
    """A handler for C-STORE that keeps something of each event, and succeeds."""

    def __init__(self, take: Any = lambda event: event.dataset) -> None:
        self.take = take
        self.got: list[Any] = []

    def __call__(self, event: Event) -> int:
        self.got.append(self.take(event))
        return 0


def flags(assoc: Association) -> tuple[bool, bool, bool, bool]:
    return assoc.is_established, assoc.is_rejected, assoc.is_aborted, assoc.is_released


def test_the_flags_through_a_life() -> None:
    with serving_ae() as server, associated(server) as assoc:
        assert flags(assoc) == (True, False, False, False)
        assert (assoc.is_requestor, assoc.is_acceptor, assoc.mode) == (True, False, "requestor")
        assert assoc.is_alive()
        assoc.release()
        assert flags(assoc) == (False, False, False, True)
        assoc.join(10)
        assert not assoc.is_alive()
        # Neither a second release nor an abort changes what is over.
        assoc.release()
        assoc.abort()
        assert flags(assoc) == (False, False, False, True)


def test_the_flags_after_an_abort() -> None:
    with serving_ae() as server, associated(server) as assoc:
        wait_until(lambda: any(each.is_established for each in server.active_associations))
        (accepted,) = server.active_associations
        assoc.abort()
        assert flags(assoc) == (False, False, True, False)
        wait_until(lambda: flags(accepted) == (False, False, True, False))
        assert isinstance(accepted.failure, AssociationAborted)
        assert accepted.failure.source == 0


def test_nothing_is_sent_on_an_association_that_is_over() -> None:
    with serving_ae() as server, associated(server) as assoc:
        assoc.release()
        for call in (
            assoc.send_c_echo,
            lambda: assoc.send_c_store(ct_image()),
            lambda: assoc.send_c_find(query(), PATIENT_ROOT_FIND),
            lambda: assoc.send_c_cancel(1, 1),
        ):
            with pytest.raises(RuntimeError):
                call()


def test_a_cancel_ends_a_query() -> None:
    """M014: PS3.7 section 9.1.2: the final status is 0xFE00."""
    asked = threading.Event()
    seen: list[bool] = []

    def find(event: Event) -> Iterator[Any]:
        yield 0xFF00, match()
        asked.set()
        wait_until(lambda: event.is_cancelled)
        seen.append(event.is_cancelled)
        yield 0xFE00, None

    with serving_ae([(evt.EVT_C_FIND, find)]) as server, associated(server) as assoc:
        responses = assoc.send_c_find(query(), PATIENT_ROOT_FIND, msg_id=3)
        assert next(responses)[0].Status == 0xFF00
        assert asked.wait(10)
        assoc.send_c_cancel(3, query_model=PATIENT_ROOT_FIND)
        assert [response.Status for response, _ in responses] == [0xFE00]
        assert seen == [True]
        assert assoc.send_c_echo().Status == 0


def test_a_cancel_ends_a_query_whose_handler_does_not_look() -> None:
    """M014."""
    go = threading.Event()

    def find(event: Event) -> Iterator[Any]:
        yield 0xFF00, match()
        go.wait(10)
        for _ in range(1000):
            yield 0xFF00, match()

    with serving_ae([(evt.EVT_C_FIND, find)]) as server, associated(server) as assoc:
        responses = assoc.send_c_find(query(), PATIENT_ROOT_FIND, msg_id=3)
        next(responses)
        context = next(c for c in assoc.accepted_contexts if c.abstract_syntax == PATIENT_ROOT_FIND)
        assoc.send_c_cancel(3, context.context_id)
        go.set()
        statuses = [response.Status for response, _ in responses]
        assert statuses[-1] == 0xFE00
        assert len(statuses) < 1000


def test_a_late_cancel_does_no_harm() -> None:
    """M013 M015."""
    with serving_ae([(evt.EVT_C_FIND, lambda event: iter([(0xFF00, match())]))]) as server:
        with associated(server) as assoc:
            for _ in range(3):
                assert [s.Status for s, _ in assoc.send_c_find(query(), PATIENT_ROOT_FIND)] == [0xFF00, 0]
                assoc.send_c_cancel(1, query_model=PATIENT_ROOT_FIND)
            assert assoc.send_c_echo().Status == 0


@pytest.mark.parametrize("given", [{"context_id": 99}, {"query_model": "1.2.3"}, {}, {"context_id": 2}])
def test_a_cancel_on_no_context_is_the_callers_mistake(given: dict[str, Any]) -> None:
    with serving_ae() as server, associated(server) as assoc:
        with pytest.raises(ValueError):
            assoc.send_c_cancel(1, **given)


def test_a_handler_may_ask_the_peer_in_turn() -> None:
    """On the same association, where the roles allow that, and on another one."""
    with serving_ae() as other:

        def store(event: Event) -> int:
            with associated(other) as assoc:
                answer = assoc.send_c_echo()
                assoc.release()
                return int(answer.Status)

        with serving_ae([(evt.EVT_C_STORE, store)]) as server, associated(server) as assoc:
            assert assoc.send_c_store(ct_image()).Status == 0


def test_a_handler_may_abort_its_association() -> None:
    with serving_ae([(evt.EVT_C_ECHO, lambda event: event.assoc.abort() or 0)]) as server:
        with associated(server) as assoc:
            assert "Status" not in assoc.send_c_echo()
            assert assoc.is_aborted
            wait_until(lambda: server.active_associations == [])


def test_a_handler_may_release_its_association() -> None:
    with serving_ae([(evt.EVT_ESTABLISHED, lambda event: event.assoc.release())]) as server:
        with associated(server, must_be_established=False) as assoc:
            wait_until(lambda: assoc.is_released)


@pytest.mark.parametrize("size", [0, 2, 16368, 16370, 1 << 20])
def test_an_object_arrives_as_it_was(size: int) -> None:
    keep = Keep()
    image = ct_image(size)
    with serving_ae([(evt.EVT_C_STORE, keep)]) as server, associated(server) as assoc:
        assert assoc.send_c_store(image).Status == 0
    assert keep.got == [image]


@pytest.mark.parametrize("as_path", [True, False])
def test_a_file_arrives_byte_for_byte(tmp_path: Path, as_path: bool) -> None:
    image = ct_image(100_000)
    path = tmp_path / "image.dcm"
    image.save_as(path, enforce_file_format=True)
    keep = Keep(lambda event: event.encoded_dataset(include_meta=False))
    with serving_ae([(evt.EVT_C_STORE, keep)]) as server, associated(server) as assoc:
        assert assoc.send_c_store(path if as_path else str(path)).Status == 0
    (data_set,) = keep.got
    assert path.read_bytes().endswith(data_set)
    assert len(data_set) > 100_000


def test_a_native_object_is_sent_in_another_native_encoding() -> None:
    image = ct_image(100)
    image.file_meta.TransferSyntaxUID = UID(EXPLICIT_VR_LE)
    keep = Keep(lambda event: (event.context.transfer_syntax, event.dataset))
    proposed = [build_context(CT_IMAGE_STORAGE, IMPLICIT_VR_LE)]
    with serving_ae([(evt.EVT_C_STORE, keep)]) as server, associated(server, contexts=proposed) as assoc:
        assert assoc.send_c_store(image).Status == 0
    ((syntax, dataset),) = keep.got
    assert syntax == IMPLICIT_VR_LE
    assert dataset.PatientName == "Test^Image"


def test_a_compressed_object_is_not_sent_as_something_else() -> None:
    image = ct_image()
    image.file_meta.TransferSyntaxUID = UID(JPEG)
    with serving_ae() as server, associated(server) as assoc:
        with pytest.raises(NoAcceptedContext) as caught:
            assoc.send_c_store(image)
        assert isinstance(caught.value, ValueError)
        assert caught.value.transfer_syntax == JPEG
        assert assoc.send_c_echo().Status == 0


def broken(change: Any) -> Dataset:
    image = ct_image()
    change(image)
    return image


@pytest.mark.parametrize(
    ("dataset", "error"),
    [
        (broken(lambda d: d.__delattr__("SOPClassUID")), AttributeError),
        (broken(lambda d: d.__delattr__("SOPInstanceUID")), AttributeError),
        (broken(lambda d: setattr(d, "file_meta", FileMetaDataset())), AttributeError),
        (broken(lambda d: setattr(d, "SOPClassUID", MR_IMAGE_STORAGE)), ValueError),
        ("/no/such/file.dcm", FileNotFoundError),
    ],
)
def test_an_object_that_cannot_be_sent_is_the_callers_mistake(dataset: Any, error: type[Exception]) -> None:
    with serving_ae() as server, associated(server) as assoc:
        with pytest.raises(error):
            assoc.send_c_store(dataset)
        assert assoc.send_c_echo().Status == 0


def test_a_file_that_is_not_dicom_is_the_callers_mistake(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no image at all" * 100)
    with serving_ae() as server, associated(server) as assoc:
        with pytest.raises(UnusableObject):
            assoc.send_c_store(path)
        assert assoc.send_c_echo().Status == 0


def test_a_query_without_an_accepted_context_is_the_callers_mistake() -> None:
    with serving_ae(uids=[VERIFICATION]) as server, associated(server) as assoc:
        with pytest.raises(ValueError):
            assoc.send_c_find(query(), PATIENT_ROOT_FIND)
        with pytest.raises(ValueError):
            assoc.send_c_store(ct_image())


def test_a_missing_response_costs_the_dimse_time_out() -> None:
    said: list[bytes] = []

    def then(peer: RawPeer) -> None:
        peer.read_pdu()
        said.append(peer.read_pdu())

    with raw_server(accepting(then)) as port, associated(port, properties={"dimse_timeout": 0.1}) as assoc:
        begin = monotonic()
        assert "Status" not in assoc.send_c_echo()
        assert monotonic() - begin < 3
        assert assoc.is_aborted
        assert isinstance(assoc.failure, DeadlineExceeded)
        assert assoc.failure.stage == "message"
        wait_until(lambda: said == [ABORT_BY_USER])


def test_a_missing_match_costs_the_dimse_time_out_and_ends_the_iteration() -> None:
    def then(peer: RawPeer) -> None:
        peer.read_pdu()
        peer.read_pdu()
        peer.read_pdu()

    with raw_server(accepting(then)) as port, associated(port, properties={"dimse_timeout": 0.1}) as assoc:
        responses = list(assoc.send_c_find(query(), PATIENT_ROOT_FIND))
        assert [len(response) for response, _ in responses] == [0]
        assert assoc.is_aborted


def test_a_missing_release_costs_the_acse_time_out() -> None:
    def then(peer: RawPeer) -> None:
        peer.read_pdu()
        peer.read_pdu()

    with raw_server(accepting(then)) as port, associated(port) as assoc:
        assoc.acse_timeout = 0.1
        begin = monotonic()
        assoc.release()
        assert monotonic() - begin < 3
        assert (assoc.is_released, assoc.is_aborted) == (False, True)
        assert isinstance(assoc.failure, DeadlineExceeded)


@pytest.mark.parametrize(("response", "said"), [("A-ABORT", ABORT_BY_USER), ("A-RELEASE", RELEASE_RQ)])
def test_the_end_of_an_idle_association_can_be_chosen(response: str, said: bytes) -> None:
    """The choice had no effect."""
    heard: list[bytes] = []

    def then(peer: RawPeer) -> None:
        peer.send(Arrived(0, 0, 1, peer.read_pdu()).response())
        heard.append(peer.read_pdu())
        peer.send(RELEASE_RP)

    with raw_server(accepting(then)) as port, associated(port) as assoc:
        assoc.network_timeout_response = response
        assoc.network_timeout = 0.1
        # It counts from the next message on.
        assert assoc.send_c_echo().Status == 0
        wait_until(lambda: bool(heard) and not assoc.is_established)
        assert heard == [said]
        assert assoc.is_released == (response == "A-RELEASE")


def test_the_end_of_an_idle_association_is_one_of_two() -> None:
    with serving_ae() as server, associated(server) as assoc:
        assert assoc.network_timeout_response == "A-ABORT"
        with pytest.raises(ValueError):
            assoc.network_timeout_response = "A-NAP"


def test_a_lost_connection_is_an_empty_status() -> None:
    """M030."""

    def then(peer: RawPeer) -> None:
        peer.read_pdu()
        peer.reset()

    with raw_server(accepting(then)) as port, associated(port) as assoc:
        assert len(assoc.send_c_echo()) == 0
        assert isinstance(assoc.failure, AssociationAborted)
        assert assoc.failure.source is None


def test_a_small_maximum_length_of_the_peer_is_kept() -> None:
    lengths: list[int] = []
    keep = Keep()
    handlers: list[EventHandlerType] = [
        (evt.EVT_PDU_RECV, lambda event: lengths.append(len(event.pdu.encode()) - 6)),
        (evt.EVT_C_STORE, keep),
    ]
    image = ct_image(5000)
    with serving_ae(handlers, maximum_pdu_size=128) as server, associated(server) as assoc:
        lengths.clear()
        assert assoc.send_c_store(image).Status == 0
        assert max(lengths) <= 128
    assert keep.got == [image]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("mutual", [False, True])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_associations_over_tls(certificates: Certificates, mutual: bool, version: ssl.TLSVersion) -> None:
    keep = Keep()
    image = ct_image(1 << 20)
    client = certificates.client(mutual=mutual)
    client.maximum_version = version
    handlers: list[EventHandlerType] = [
        (evt.EVT_C_STORE, keep),
        (evt.EVT_C_FIND, lambda event: iter([(0xFF00, match(f"M^{n}")) for n in range(50)])),
    ]
    with serving_ae(handlers, tls=certificates.server(mutual=mutual)) as server:
        with associated(server, tls_args=(client, "localhost")) as assoc:
            assert assoc.send_c_echo().Status == 0
            assert assoc.send_c_store(image).Status == 0
            assert len(list(assoc.send_c_find(query(), PATIENT_ROOT_FIND))) == 51
            threads = [threading.Thread(target=assoc.send_c_echo, args=(n,)) for n in range(2, 8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
            assoc.release()
            assert assoc.is_released
    assert keep.got == [image]


def test_pynetdicom_over_tls(certificates: Certificates) -> None:
    with serving_ae(tls=certificates.server()) as server:
        ae = pynetdicom.AE()
        ae.add_requested_context(VERIFICATION)
        assoc = ae.associate(
            "127.0.0.1", server.server_address[1], tls_args=(certificates.client(), "localhost")
        )
        assert assoc.is_established
        assert assoc.send_c_echo().Status == 0
        assoc.release()
        assert assoc.is_released


def tls_failure(port: int, tls: tuple[ssl.SSLContext, str] | None) -> Association:
    with associated(port, tls_args=tls, must_be_established=False, properties={"acse_timeout": 2}) as assoc:
        assert flags(assoc) == (False, False, True, False)
        return assoc


def test_a_client_without_a_certificate_is_refused(certificates: Certificates) -> None:
    with serving_ae(tls=certificates.server(mutual=True)) as server:
        # With TLS 1.3 the refusal comes after the client's side of the handshake is done.
        tls_failure(server.server_address[1], (certificates.client(), "localhost"))


def test_a_certificate_that_is_not_trusted_is_refused(certificates: Certificates) -> None:
    with serving_ae(tls=certificates.server()) as server:
        assoc = tls_failure(server.server_address[1], (ssl.create_default_context(), "localhost"))
        assert isinstance(assoc.failure, TLSFailed)
        assert "not trusted" in str(assoc.failure)


def test_a_certificate_of_another_host_is_refused(certificates: Certificates) -> None:
    with serving_ae(tls=certificates.server()) as server:
        assoc = tls_failure(server.server_address[1], (certificates.client(), "elsewhere"))
        assert isinstance(assoc.failure, TLSFailed)


def test_a_tls_client_on_a_plain_port_knows_why(certificates: Certificates) -> None:
    with serving_ae() as server:
        assoc = tls_failure(server.server_address[1], (certificates.client(), "localhost"))
        assert isinstance(assoc.failure, TLSFailed)
        assert "does not speak TLS" in str(assoc.failure)


def test_a_plain_client_on_a_tls_port_ends_with_an_error(
    certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dicomnet")
    with serving_ae(tls=certificates.server()) as server:
        assoc = tls_failure(server.server_address[1], None)
        assert isinstance(assoc.failure, AssociationAborted)
    assert "does not speak TLS" in caplog.text


def test_a_context_that_cannot_be_used_leaves_no_socket(certificates: Certificates) -> None:
    """The socket stayed open, which a ResourceWarning told later."""
    with serving_ae(tls=certificates.server()) as server:
        ae = AE()
        ae.add_requested_context(VERIFICATION)
        with pytest.raises(ValueError):
            # A host name is needed to check it.
            ae.associate("127.0.0.1", server.server_address[1], tls_args=(certificates.client(), ""))
        assert ae.active_associations == []


def test_what_an_ae_says_of_transcoding_holds_where_a_call_does_not_say() -> None:
    with serving_ae() as server, associated(server, properties={"transcode": "if-needed"}) as assoc:
        assert assoc.transcode == "if-needed"
        assoc.ae.transcode = "never"
        assert assoc.transcode == "never"
        with pytest.raises(ValueError):
            assoc.ae.transcode = "always"
        assert assoc.transcode == "never"
