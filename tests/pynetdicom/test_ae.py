"""The application entity: properties, contexts, arguments, servers; beside pynetdicom where that is cheap."""

from __future__ import annotations

import importlib
import threading
import warnings
from typing import Any

import pytest
from tests.associations import CONTEXTS, associated, ct_image, serving_ae
from tests.scripted import accepting
from tests.sockets import (
    CT_IMAGE_STORAGE,
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    PATIENT_ROOT_FIND,
    VERIFICATION,
    RawPeer,
    raw_server,
    request_pdu,
)
from tests.support import free_port, is_listening, wait_until

import dicomnet
from dicomnet import AE, build_context, evt
from dicomnet.errors import (
    AssociationRejected,
    ConnectionFailed,
    DeadlineExceeded,
    NoAcceptedContext,
)
from dicomnet.pynetdicom.events import Event
from dicomnet.pynetdicom.pdu_primitives import MaximumLengthNotification


def outcome(package: str, act: Any) -> str:
    """What comes of it in a package, as text: a value, or the kind of exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return repr(act(importlib.import_module(package)))
        except Exception as error:  # noqa: BLE001
            return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins")


def set_and_get(name: str, value: object) -> Any:
    def act(package: Any) -> object:
        ae = package.AE()
        setattr(ae, name, value)
        return getattr(ae, name)

    return act


SETTINGS: dict[str, list[object]] = {
    "acse_timeout": [None, 5, 0.5, 0, -1, "x"],
    "dimse_timeout": [None, 5, 0.5, 0, -1, "x"],
    "network_timeout": [None, 5, 0.5, 0, -1, "x"],
    "connection_timeout": [None, 5, 0.5, 0, -1, "x"],
    "maximum_associations": [1, 50, 0, -5, "x", 2.5],
    "maximum_pdu_size": [0, -1, 16382, 1 << 20, "x"],
    "ae_title": ["A", "A" * 16, "A" * 17, "", " ", "A\\B", None, 5, " AB "],
    "implementation_class_uid": ["1.2.3", None, "", "1.2.03", "1" * 65, 5],
    "implementation_version_name": ["A", None, "", "A" * 17, 5],
    "require_called_aet": [True, False],
    "require_calling_aet": [["A"], [], ["A" * 17], [5], None, "AB"],
    "requested_contexts": [[], None, "x", ["x"]],
    "supported_contexts": [[], None, ["x"]],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in SETTINGS.items() for value in values]
)
def test_a_property_takes_what_it_takes_in_pynetdicom(name: str, value: object) -> None:
    assert outcome("dicomnet", set_and_get(name, value)) == outcome("pynetdicom", set_and_get(name, value))


@pytest.mark.parametrize("name", [*SETTINGS, "active_associations"])
def test_the_defaults_are_those_of_pynetdicom(name: str) -> None:
    own = ("ae_title", "implementation_class_uid", "implementation_version_name")
    if name not in own:
        assert outcome("dicomnet", lambda p: getattr(p.AE(), name)) == outcome(
            "pynetdicom", lambda p: getattr(p.AE(), name)
        )


def contexts(kind: str, *arguments: object, **roles: object) -> Any:
    def act(package: Any) -> object:
        ae = package.AE()
        getattr(ae, f"add_{kind}_context")(*arguments, **roles)
        return [
            (
                str(c.abstract_syntax),
                [str(s) for s in c.transfer_syntax],
                c.context_id,
                c.scu_role,
                c.scp_role,
            )
            for c in getattr(ae, f"{kind}_contexts")
        ]

    return act


@pytest.mark.parametrize("kind", ["requested", "supported"])
@pytest.mark.parametrize(
    "arguments",
    [
        (VERIFICATION,),
        (VERIFICATION, []),
        (VERIFICATION, IMPLICIT_VR_LE),
        (VERIFICATION, [IMPLICIT_VR_LE, EXPLICIT_VR_LE]),
        (VERIFICATION, [IMPLICIT_VR_LE, IMPLICIT_VR_LE]),
        (VERIFICATION, [5]),
        ("1" * 65,),
        (None,),
        (5,),
    ],
)
def test_a_context_is_added_as_in_pynetdicom(kind: str, arguments: tuple[object, ...]) -> None:
    act = contexts(kind, *arguments)
    assert outcome("dicomnet", act) == outcome("pynetdicom", act)


@pytest.mark.parametrize(
    "roles", [{}, {"scu_role": True}, {"scu_role": True, "scp_role": False}, {"scu_role": 1}]
)
def test_roles_are_supported_as_in_pynetdicom(roles: dict[str, object]) -> None:
    act = contexts("supported", VERIFICATION, **roles)
    assert outcome("dicomnet", act) == outcome("pynetdicom", act)


@pytest.mark.parametrize("kind", ["requested", "supported"])
@pytest.mark.parametrize(
    "arguments",
    [
        (VERIFICATION,),
        (VERIFICATION, IMPLICIT_VR_LE),
        (VERIFICATION, [IMPLICIT_VR_LE, EXPLICIT_VR_LE, "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"]),
        ("1.2.3",),
    ],
)
def test_a_context_is_removed_as_in_pynetdicom(kind: str, arguments: tuple[Any, ...]) -> None:
    def act(package: Any) -> object:
        ae = package.AE()
        getattr(ae, f"add_{kind}_context")(VERIFICATION)
        getattr(ae, f"remove_{kind}_context")(*arguments)
        return [[str(s) for s in c.transfer_syntax] for c in getattr(ae, f"{kind}_contexts")]

    assert outcome("dicomnet", act) == outcome("pynetdicom", act)


def test_there_is_room_for_128_contexts() -> None:
    ae = AE()
    for number in range(128):
        ae.add_requested_context(f"1.2.{number + 1}")
    with pytest.raises(ValueError):
        ae.add_requested_context(VERIFICATION)
    with pytest.raises(ValueError):
        ae.requested_contexts = [*ae.requested_contexts, build_context(VERIFICATION)]


def test_transfer_syntaxes_add_up_for_a_supported_context_only() -> None:
    ae = AE()
    for syntax in (IMPLICIT_VR_LE, EXPLICIT_VR_LE):
        ae.add_supported_context(VERIFICATION, syntax)
        ae.add_requested_context(VERIFICATION, syntax)
    assert [c.transfer_syntax for c in ae.supported_contexts] == [[IMPLICIT_VR_LE, EXPLICIT_VR_LE]]
    assert [c.transfer_syntax for c in ae.requested_contexts] == [[IMPLICIT_VR_LE], [EXPLICIT_VR_LE]]


def test_the_text_of_an_ae_has_the_lines_of_pynetdicoms() -> None:
    """pynetdicom promises its format; the names of the two packages are their own."""

    def act(package: Any) -> str:
        ae = package.AE("NAME")
        ae.require_calling_aet = ["ONE"]
        ae.add_requested_context(VERIFICATION, IMPLICIT_VR_LE)
        return "\n".join(line.split(":")[0].strip() for line in str(ae).splitlines()[1:])

    ours, theirs = (outcome(package, act) for package in ("dicomnet", "pynetdicom"))
    assert {"Requested Presentation Contexts", "Association(s)"} <= set(ours.strip("'").split("\\n"))
    assert len(ours.split("\\n")) >= len(theirs.split("\\n")) - 4


BAD_ARGUMENTS: dict[str, tuple[tuple[Any, ...], dict[str, Any], type[Exception]]] = {
    "no contexts": (("127.0.0.1", 1), {}, RuntimeError),
    "address": ((127, 1), {}, TypeError),
    "port": (("127.0.0.1", "1"), {}, TypeError),
    "context": (("127.0.0.1", 1), {"contexts": ["x"]}, ValueError),
    "long AE title": (("127.0.0.1", 1), {"ae_title": "A" * 17}, ValueError),
    "empty AE title": (("127.0.0.1", 1), {"ae_title": ""}, ValueError),
    "AE title of another type": (("127.0.0.1", 1), {"ae_title": 5}, TypeError),
    "extended negotiation": (("127.0.0.1", 1), {"ext_neg": ["x"]}, TypeError),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_a_mistake_in_associate_is_the_one_of_pynetdicom(name: str) -> None:
    """What pynetdicom 3.0.4 raises; it leaves sockets open then, so it is not run beside."""
    arguments, given, error = BAD_ARGUMENTS[name]
    ae = AE()
    if name != "no contexts":
        ae.add_requested_context(VERIFICATION)
    with pytest.raises(error):
        ae.associate(*arguments, **given)
    assert ae.active_associations == []


@pytest.mark.parametrize(
    ("host", "port"), [("127.0.0.1", None), ("no.such.host.invalid", 104), ("127.0.0.1", 70000), ("", -1)]
)
def test_a_peer_that_cannot_be_reached_is_an_aborted_association_with_a_reason(
    host: str, port: int | None
) -> None:
    ae = AE()
    ae.add_requested_context(VERIFICATION)
    assoc = ae.associate(host, port or free_port())
    assert (assoc.is_established, assoc.is_aborted, assoc.is_rejected) == (False, True, False)
    assert isinstance(assoc.failure, ConnectionFailed)
    assert not assoc.is_alive()
    assert ae.active_associations == []


def test_a_mute_peer_costs_the_acse_time_out() -> None:
    """P023."""

    def serve(peer: RawPeer) -> None:
        peer.read_to_end()

    with raw_server(serve) as port:
        with associated(port, must_be_established=False, properties={"acse_timeout": 0.1}) as assoc:
            assert assoc.is_aborted
            assert isinstance(assoc.failure, DeadlineExceeded)
            assert assoc.failure.stage == "association"


REJECTIONS: dict[str, tuple[dict[str, Any], tuple[int, int, int]]] = {
    "called AE title": ({"require_called_aet": True}, (1, 1, 7)),
    "calling AE title": ({"require_calling_aet": ["SOMEONE"]}, (1, 1, 3)),
}


@pytest.mark.parametrize("name", REJECTIONS)
def test_names_are_rejected_for_their_reasons(name: str) -> None:
    """P040."""
    properties, expected = REJECTIONS[name]
    with serving_ae(**properties) as server, associated(server, must_be_established=False) as assoc:
        assert (assoc.is_established, assoc.is_rejected, assoc.is_aborted) == (False, True, False)
        assert isinstance(assoc.failure, AssociationRejected)
        assert (assoc.failure.result, assoc.failure.source, assoc.failure.reason) == expected
        assert not assoc.is_alive()
    with serving_ae(require_called_aet=True, require_calling_aet=["CLIENT"]) as server:
        with associated(server, ae_title="SERVER") as assoc:
            assert assoc.is_established


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


def test_shutdown_aborts_what_an_ae_requested() -> None:
    with serving_ae() as server:
        ae = AE()
        ae.add_requested_context(VERIFICATION)
        with ae:
            assoc = ae.associate("127.0.0.1", server.server_address[1])
            assert assoc.is_established
        assert assoc.is_aborted


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


def test_time_outs_reach_associations_that_are_there() -> None:
    """Setting them on an association, or on its AE, had no effect."""
    with serving_ae() as server, associated(server) as assoc:
        assert (assoc.acse_timeout, assoc.dimse_timeout, assoc.network_timeout) == (30, 30, 60)
        assoc.ae.dimse_timeout = 7
        assoc.acse_timeout = 3
        assert (assoc.acse_timeout, assoc.dimse_timeout, assoc.ae.acse_timeout) == (3, 7, 30)
    with (
        raw_server(accepting(lambda peer: peer.read_to_end())) as port,
        associated(port, contexts=[build_context(VERIFICATION)]) as assoc,
    ):
        assoc.ae.dimse_timeout = 0.1
        assert "Status" not in assoc.send_c_echo()
        assert isinstance(assoc.failure, DeadlineExceeded)
        assert (assoc.failure.stage, assoc.failure.seconds) == ("message", 0.1)


def test_what_is_proposed_and_found_out_is_known() -> None:
    with serving_ae(maximum_pdu_size=4096) as server, associated(server, max_pdu=8192) as assoc:
        assert assoc.requestor.maximum_length == 8192
        assert assoc.acceptor.maximum_length == 4096
        assert assoc.acceptor.implementation_class_uid == AE().implementation_class_uid
        wait_until(lambda: len(server.active_associations) == 1)
        accepted = server.active_associations[0]
        assert (accepted.requestor.maximum_length, accepted.requestor.ae_title) == (8192, "CLIENT")
        assert [c.abstract_syntax for c in accepted.requestor.requested_contexts] == list(CONTEXTS)


def test_a_maximum_length_in_extended_negotiation_goes_before_the_argument() -> None:
    item = MaximumLengthNotification()
    item.maximum_length_received = 12345
    with serving_ae() as server, associated(server, ext_neg=[item]) as assoc:
        assert assoc.requestor.maximum_length == 12345


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


def test_the_package_names_what_users_import() -> None:
    assert dicomnet.AE is AE
    assert dicomnet.build_context is build_context
    assert {"AE", "evt", "build_context"} <= set(dir(dicomnet))


def test_the_local_address_of_a_requestor_is_known() -> None:
    with serving_ae() as server, associated(server.server_address[1]) as assoc:
        assert (assoc.requestor.address, assoc.local["address"]) == ("127.0.0.1", "127.0.0.1")
        (accepted,) = server.active_associations
        assert accepted.remote["port"] == assoc.requestor.port == assoc.local["port"]


def test_an_association_without_any_accepted_context_is_aborted() -> None:
    """As pynetdicom's users expect: nothing can be said on it."""
    with serving_ae(uids=(VERIFICATION,)) as server:
        contexts = [build_context(CT_IMAGE_STORAGE)]
        with associated(server, contexts=contexts, must_be_established=False) as assoc:
            assert (assoc.is_established, assoc.is_aborted) == (False, True)
            assert [each.result for each in assoc.rejected_contexts] == [3]
            assert isinstance(assoc.failure, NoAcceptedContext)
