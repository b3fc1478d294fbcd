"""The two sides of an association against pynetdicom 3.0.4, before negotiation and after it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

import pynetdicom
import pynetdicom.association
import pynetdicom.events
import pynetdicom.pdu_primitives
import pytest
from pydicom.uid import UID
from tests.sockets import CT_IMAGE_STORAGE, MR_IMAGE_STORAGE, VERIFICATION
from tests.support import wait_until

import dicomnet
import dicomnet.pynetdicom.association
import dicomnet.pynetdicom.events
import dicomnet.pynetdicom.pdu_primitives
from dicomnet.pynetdicom.pdu_primitives import A_ASSOCIATE
from dicomnet.pynetdicom.service_user import ServiceUser

LIBRARIES = {"ours": dicomnet, "theirs": pynetdicom}
PROPERTIES = [
    name for name, value in vars(pynetdicom.association.ServiceUser).items() if isinstance(value, property)
]
# Values that are each library's own.
OWN = {"implementation_class_uid", "implementation_version_name"}


def outcome(call: Any) -> Any:
    """What a call gives in terms that both libraries have: its value, or the type of what it raises."""
    try:
        return comparable(call())
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        return type(error)


def comparable(value: Any) -> Any:
    if isinstance(value, list):
        return [comparable(each) for each in value]
    if isinstance(value, dict):
        return {key: comparable(each) for key, each in value.items()}
    if type(value).__name__ == "PresentationContext":
        return value.context_id, value.abstract_syntax, list(value.transfer_syntax), value.result
    if type(value).__module__.endswith((".pdu_primitives", ".user_information")):
        return type(value).__name__
    return value


def extended_items(module: ModuleType) -> list[Any]:
    identity = module.UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field = 1, b"jane"
    window = module.AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 5, 6
    extended = module.SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = CT_IMAGE_STORAGE, b"\x01\x02"
    common = module.SOPClassCommonExtendedNegotiation()
    common.sop_class_uid, common.service_class_uid = CT_IMAGE_STORAGE, "1.2.840.10008.4.2"
    common.related_general_sop_class_identification = [UID("1.2.3")]
    role = module.SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = CT_IMAGE_STORAGE, True, True
    return [identity, window, extended, common, role]


@contextlib.contextmanager
def negotiated(library: ModuleType) -> Iterator[tuple[Any, Any]]:
    """Both sides' associations, after a negotiation of everything."""
    accepted: list[Any] = []
    events = library.events
    handlers = [
        (events.EVT_ESTABLISHED, lambda event: accepted.append(event.assoc)),
        (events.EVT_USER_ID, lambda _: (True, None)),
        (events.EVT_ASYNC_OPS, lambda _: (1, 1)),
        (events.EVT_SOP_EXTENDED, lambda event: event.app_info),
        (events.EVT_SOP_COMMON, lambda event: event.items),
    ]
    server_ae, client_ae = library.AE("SERVER"), library.AE("CLIENT")
    server_ae.add_supported_context(VERIFICATION)
    server_ae.add_supported_context(CT_IMAGE_STORAGE, scu_role=True, scp_role=True)
    for uid in (VERIFICATION, CT_IMAGE_STORAGE, MR_IMAGE_STORAGE):
        client_ae.add_requested_context(uid)
    server = server_ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    items = extended_items(library.pdu_primitives)
    assoc = client_ae.associate("127.0.0.1", server.server_address[1], ext_neg=items)
    try:
        wait_until(lambda: bool(accepted))
        yield assoc, accepted[0]
    finally:
        assoc.release()
        server_ae.shutdown()


@cache
def after(which: str) -> dict[str, dict[str, Any]]:
    """The properties of the four service users of an association."""
    found = {}
    with negotiated(LIBRARIES[which]) as (requesting, accepting):
        for where, assoc in (("requestor", requesting), ("acceptor", accepting)):
            for side in ("requestor", "acceptor"):
                user = getattr(assoc, side)
                values = {name: outcome(lambda: getattr(user, name)) for name in PROPERTIES}  # noqa: B023
                for cx_type in ("requested", "supported", "pcdl", "pcdrl", "other"):
                    values[cx_type] = outcome(lambda: user.get_contexts(cx_type))  # noqa: B023
                values["primitive"] = type(user.primitive).__name__
                values["add"] = outcome(lambda: user.add_negotiation_item(None))  # noqa: B023
                values["reset"] = outcome(user.reset_negotiation_items)
                found[f"{side} seen by the {where}"] = values
    return found


# What differs on purpose: (whose, seen by whom, what) and the reason.
DIFFERENCES = {
    "address": "the requestor's own address is known to the operating system only",
    "port": "ports are chosen by the operating system",
    "info": "it has the port",
    "pcdrl": "here the results have the abstract syntaxes of the request on both sides",
    "requested": "pynetdicom numbers the contexts that a user gave",
    "requested_contexts": "pynetdicom numbers the contexts that a user gave",
    "supported_contexts": "as pcdrl",
    "extended_negotiation": "the order is that of the PDU",
    "user_information": "the order is that of the PDU",
}


@pytest.mark.parametrize(
    "which",
    [
        f"{side} seen by the {where}"
        for side in ("requestor", "acceptor")
        for where in ("requestor", "acceptor")
    ],
)
def test_after_negotiation(which: str) -> None:
    ours, theirs = after("ours")[which], after("theirs")[which]
    assert set(ours) == set(theirs)
    for name in set(ours) - OWN - set(DIFFERENCES):
        assert ours[name] == theirs[name], name
    for name in ("pcdrl", "requested", "requested_contexts", "supported_contexts"):
        is_list = isinstance(theirs[name], list)
        assert isinstance(ours[name], list) is is_list, name
        if is_list:
            assert [each[3] for each in ours[name]] == [each[3] for each in theirs[name]]
    for name in ("extended_negotiation", "user_information"):
        assert sorted(ours[name]) == sorted(theirs[name])


def before(library: ModuleType, mode: str) -> Any:
    return library.association.ServiceUser(library.association.Association(library.AE(), "requestor"), mode)


def ours_before(mode: str) -> ServiceUser:
    return ServiceUser(None, mode)


@pytest.mark.parametrize("mode", ["requestor", "acceptor"])
@pytest.mark.parametrize("name", [name for name in PROPERTIES if name not in OWN])
def test_before_negotiation(mode: str, name: str) -> None:
    ours, theirs = ours_before(mode), before(pynetdicom, mode)
    if name == "supported_contexts" and mode == "acceptor":
        # An acceptor that supports nothing yet has an empty list here.
        assert ours.supported_contexts == []
    else:
        assert outcome(lambda: getattr(ours, name)) == outcome(lambda: getattr(theirs, name))


SET: list[tuple[str, Any]] = [
    *(("ae_title", value) for value in ("X", " X ", None, 5, "", "A" * 17)),
    *(("address", value) for value in ("127.0.0.1", None)),
    *(("port", value) for value in (104, None)),
    *(("maximum_length", value) for value in (0, 5, -1, "x", None)),
    *(("implementation_class_uid", value) for value in ("1.2.3", None, 5)),
    *(("implementation_version_name", value) for value in ("A", None, 5, "A" * 17)),
    ("requested_contexts", []),
    ("mode", "acceptor"),
    ("writeable", False),
]


@pytest.mark.parametrize(("name", "value"), SET)
def test_what_can_be_set_before_negotiation(name: str, value: Any) -> None:
    results = []
    for user in (ours_before("requestor"), before(pynetdicom, "requestor")):

        def put(user: Any = user) -> Any:
            setattr(user, name, value)
            return getattr(user, name)

        results.append(outcome(put))
    assert results[0] == results[1]


def test_items_of_extended_negotiation_come_and_go_as_in_pynetdicom() -> None:
    sides: list[tuple[Any, Any]] = [
        (ours_before("requestor"), dicomnet.pynetdicom.pdu_primitives),
        (before(pynetdicom, "requestor"), pynetdicom.pdu_primitives),
    ]
    for user, module in sides:
        items = extended_items(module)
        for item in items:
            user.add_negotiation_item(item)
        assert [type(each).__name__ for each in user.extended_negotiation] == [
            "SCP_SCU_RoleSelectionNegotiation",
            "AsynchronousOperationsWindowNegotiation",
            "UserIdentityNegotiation",
            "SOPClassExtendedNegotiation",
            "SOPClassCommonExtendedNegotiation",
        ]
        assert user.asynchronous_operations == (5, 6)
        assert user.user_identity is items[0]
        user.remove_negotiation_item(items[0])
        assert user.user_identity is None
        assert len(user.user_information) == 6
        for wrong in (5, module.MaximumLengthNotification(), module.A_ABORT()):
            for act in (user.add_negotiation_item, user.remove_negotiation_item):
                with pytest.raises(TypeError):
                    act(wrong)
        user.reset_negotiation_items()
        assert len(user.user_information) == 2


def test_nothing_can_be_changed_after_negotiation() -> None:
    with negotiated(dicomnet) as (assoc, _):
        user = assoc.requestor
        assert not user.writeable
        for name, value in (("ae_title", "X"), ("maximum_length", 1), ("requested_contexts", [])):
            with pytest.raises(RuntimeError):
                setattr(user, name, value)


def test_the_mode_is_one_of_two() -> None:
    with pytest.raises(ValueError):
        ServiceUser(None, "other")


def test_a_rejection_is_the_acceptors_primitive() -> None:
    ae = dicomnet.AE("SERVER")
    ae.require_called_aet = True
    ae.add_supported_context(VERIFICATION)
    server = ae.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    try:
        client = dicomnet.AE("CLIENT")
        client.add_requested_context(VERIFICATION)
        assoc = client.associate("127.0.0.1", server.server_address[1])
        primitive = assoc.acceptor.primitive
        assert isinstance(primitive, A_ASSOCIATE)
        assert (primitive.result, primitive.result_source, primitive.diagnostic) == (1, 1, 7)
    finally:
        ae.shutdown()
