"""The application entity: properties, contexts, arguments, servers; beside pynetdicom where that is cheap."""

from __future__ import annotations

from typing import Any

import pytest
from tests.associations import CONTEXTS, associated, serving_ae
from tests.outcomes import outcome
from tests.scripted import accepting
from tests.sockets import (
    CT_IMAGE_STORAGE,
    IMPLICIT_VR_LE,
    VERIFICATION,
    RawPeer,
    raw_server,
)
from tests.support import free_port, wait_until

import dicomnet
from dicomnet import AE, build_context
from dicomnet.errors import (
    AssociationRejected,
    ConnectionFailed,
    DeadlineExceeded,
    NoAcceptedContext,
)
from dicomnet.pynetdicom.pdu_primitives import MaximumLengthNotification


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


def test_shutdown_aborts_what_an_ae_requested() -> None:
    with serving_ae() as server:
        ae = AE()
        ae.add_requested_context(VERIFICATION)
        with ae:
            assoc = ae.associate("127.0.0.1", server.server_address[1])
            assert assoc.is_established
        assert assoc.is_aborted


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
