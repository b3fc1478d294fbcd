"""Servers of an application entity: what they accept, how many, and until when."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.associations import associated, ct_image, serving_ae
from tests.sockets import (
    CT_IMAGE_STORAGE,
    PATIENT_ROOT_FIND,
    VERIFICATION,
    RawPeer,
    request_pdu,
)
from tests.support import free_port, is_listening, wait_until

from dicomnet import AE, build_context, evt
from dicomnet.errors import (
    AssociationRejected,
)
from dicomnet.pynetdicom.association import Association
from dicomnet.pynetdicom.events import Event
from dicomnet.pynetdicom.transport import AssociationServer


def test_one_association_too_many_is_rejected_for_now() -> None:
    """P041."""
    with serving_ae(maximum_associations=2) as server, associated(server), associated(server) as second:
        with associated(server, must_be_established=False) as third:
            assert third.is_rejected
            assert isinstance(third.failure, AssociationRejected)
            assert (third.failure.result, third.failure.source, third.failure.reason) == (2, 3, 2)
        second.release()
        wait_until(lambda: len(server.active_associations) == 1)
        with associated(server) as fourth:
            assert fourth.is_established


def test_the_limit_holds_when_all_ask_at_once() -> None:
    """Each was counted before any of the others was established."""
    limit = 3
    barrier = threading.Barrier(12, timeout=10)
    together = [(evt.EVT_REQUESTED, lambda event: barrier.wait())]
    with serving_ae(together, maximum_associations=limit) as server:
        answers: list[int] = []

        def ask() -> None:
            with RawPeer.connect(server.server_address[1]) as peer:
                barrier.wait()
                peer.send(request_pdu())
                answers.append(peer.read_pdu()[0])
                barrier.wait()

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert sorted(answers) == [2] * limit + [3] * (12 - limit)


def test_a_server_knows_its_associations_and_an_ae_all_of_them() -> None:
    with serving_ae() as server, associated(server) as assoc:
        wait_until(lambda: len(server.active_associations) == 1)
        (accepted,) = server.active_associations
        assert accepted.is_acceptor
        assert not accepted.is_requestor
        assert server.ae.active_associations == [accepted]
        assert assoc.ae.active_associations == [assoc]
        assert accepted.remote["ae_title"] == assoc.local["ae_title"] == "CLIENT"
        assert assoc.remote["ae_title"] == "ANY-SCP"
        assoc.release()
        assert assoc.ae.active_associations == []
        wait_until(lambda: server.active_associations == [])


def test_start_server_blocks_until_shutdown() -> None:
    ae = AE()
    ae.add_supported_context(VERIFICATION)
    port = free_port()
    thread = threading.Thread(target=ae.start_server, args=(("127.0.0.1", port),))
    thread.start()
    wait_until(lambda: is_listening(port))
    with associated(port) as assoc:
        assert assoc.send_c_echo().Status == 0
        assoc.release()
    ae.shutdown()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("given", "error"),
    [({"contexts": []}, ValueError), ({"ae_title": "A" * 17}, ValueError), ({"ae_title": 5}, TypeError)],
)
def test_a_server_that_makes_no_sense_is_refused(given: dict[str, Any], error: type[Exception]) -> None:
    ae = AE()
    ae.add_supported_context(VERIFICATION)
    with pytest.raises(error):
        ae.make_server(("127.0.0.1", 0), **given)


def test_a_role_without_the_other_is_refused() -> None:
    ae = AE()
    ae.add_supported_context(VERIFICATION, scu_role=True)
    with pytest.raises(ValueError):
        ae.make_server(("127.0.0.1", 0))


def test_a_server_may_have_a_title_and_contexts_of_its_own() -> None:
    ae = AE("GENERAL")
    ae.require_called_aet = True
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, ae_title="SPECIAL", contexts=[build_context(CT_IMAGE_STORAGE)]
    )
    assert server is not None
    try:
        with associated(server, ae_title="SPECIAL") as assoc:
            assert [c.abstract_syntax for c in assoc.accepted_contexts] == [CT_IMAGE_STORAGE]
            assert {c.abstract_syntax for c in assoc.rejected_contexts} == {VERIFICATION, PATIENT_ROOT_FIND}
            assert {c.result for c in assoc.rejected_contexts} == {3}
        with associated(server, ae_title="GENERAL", must_be_established=False) as assoc:
            assert assoc.is_rejected
    finally:
        ae.shutdown()


def test_unrestricted_storage_takes_unknown_classes_and_no_known_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """S007: it took every abstract syntax, a query model for instance."""
    monkeypatch.setattr("dicomnet._config.UNRESTRICTED_STORAGE_SERVICE", True)
    proposed = [build_context(uid) for uid in ("1.2.3.4", CT_IMAGE_STORAGE, PATIENT_ROOT_FIND)]
    got: list[str] = []

    def store(event: Event) -> int:
        got.append(str(event.context.abstract_syntax))
        return 0

    with serving_ae([(evt.EVT_C_STORE, store)], uids=[VERIFICATION]) as server:
        with associated(server, contexts=proposed) as assoc:
            assert [str(c.abstract_syntax) for c in assoc.accepted_contexts] == ["1.2.3.4", CT_IMAGE_STORAGE]
            image = ct_image()
            image.SOPClassUID = "1.2.3.4"
            assert assoc.send_c_store(image).Status == 0
    assert got == ["1.2.3.4"]


CHANGES: dict[str, tuple[str, Any, Callable[[Association], bool]]] = {
    "maximum length": ("maximum_pdu_size", 4096, lambda assoc: assoc.acceptor.maximum_length == 4096),
    "implementation": (
        "implementation_class_uid",
        "1.2.3.4",
        lambda assoc: assoc.acceptor.implementation_class_uid == "1.2.3.4",
    ),
    "version": (
        "implementation_version_name",
        "OTHER",
        lambda assoc: assoc.acceptor.implementation_version_name == "OTHER",
    ),
    "called title": ("require_called_aet", True, lambda assoc: assoc.is_rejected),
    "calling title": ("require_calling_aet", ["SOMEBODY"], lambda assoc: assoc.is_rejected),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("when", ["before the connection", "before the answer"])
def test_a_change_of_the_ae_holds_for_associations_to_come(name: str, when: str) -> None:
    """As in pynetdicom, whose acceptor reads its AE when it negotiates."""
    attribute, value, has_effect = CHANGES[name]

    def change(event: Event) -> None:
        if when == "before the answer":
            setattr(event.assoc.ae, attribute, value)

    with serving_ae([(evt.EVT_REQUESTED, change)]) as server:
        if when == "before the connection":
            setattr(server.ae, attribute, value)
        with associated(server, ae_title="WHOEVER", must_be_established=False) as assoc:
            assert has_effect(assoc)


def test_time_outs_of_the_ae_hold_for_its_next_association() -> None:
    with serving_ae() as server:
        server.ae.acse_timeout, server.ae.dimse_timeout, server.ae.network_timeout = 5, 6, 7
        with associated(server):
            wait_until(lambda: bool(server.active_associations))
            (accepted,) = server.active_associations
            assert (accepted.acse_timeout, accepted.dimse_timeout, accepted.network_timeout) == (5, 6, 7)
            server.ae.network_timeout = 8
            assert accepted.network_timeout == 8


def test_the_limit_of_an_ae_counts_all_its_servers_and_can_be_changed() -> None:
    with serving_ae(maximum_associations=1) as server, associated(server) as first:
        second = server.ae.start_server(("127.0.0.1", 0), block=False)
        assert second is not None
        with associated(second, must_be_established=False) as assoc:
            assert assoc.is_rejected
        server.ae.maximum_associations = 2
        with associated(second) as assoc:
            assert assoc.is_established
        assert first.is_established


def test_a_rejected_association_takes_no_place() -> None:
    with serving_ae(maximum_associations=1, require_calling_aet=["CLIENT", "OTHER"]) as server:
        with RawPeer.connect(server.server_address[1]) as peer:
            peer.send(request_pdu(calling="STRANGER"))
            assert peer.read_pdu()[0] == 3
            with associated(server) as assoc:
                assert assoc.is_established


def test_a_server_class_of_the_program_is_made_as_in_pynetdicom() -> None:
    """With the arguments that pynetdicom gives it, and those of `make_server` that it does not know."""

    class Ours(AssociationServer):
        def __init__(self, *args: Any, colour: str = "") -> None:
            super().__init__(*args)
            self.colour = colour

    ae = AE("SERVER")
    ae.add_supported_context(VERIFICATION)
    server = ae.make_server(("127.0.0.1", 0), server_class=Ours, colour="red")
    try:
        server.start()
        assert isinstance(server, Ours)
        assert (server.colour, server.ae, server.ae_title) == ("red", ae, "SERVER")
        with associated(server) as assoc:
            assert assoc.send_c_echo().Status == 0
    finally:
        ae.shutdown()
