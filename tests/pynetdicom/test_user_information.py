"""The user information classes against pynetdicom 3.0.4: attributes, and the bytes of their items."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pynetdicom.pdu_primitives as reference
import pytest
from pydicom.uid import UID

from dicomnet.pynetdicom import user_information
from dicomnet.pynetdicom.user_information import (
    ServiceParameter,
    SOPClassCommonExtendedNegotiation,
    UserIdentityNegotiation,
    view_of,
)
from dicomnet.wire import items

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = [
    "MaximumLengthNotification",
    "ImplementationClassUIDNotification",
    "ImplementationVersionNameNotification",
    "AsynchronousOperationsWindowNegotiation",
    "SCP_SCU_RoleSelectionNegotiation",
    "SOPClassExtendedNegotiation",
    "SOPClassCommonExtendedNegotiation",
    "UserIdentityNegotiation",
]
ATTRIBUTES = [
    (name, attribute)
    for name in NAMES
    for attribute, value in vars(getattr(reference, name)).items()
    if isinstance(value, property)
]
VALUES: list[Any] = [
    *(
        None,
        0,
        1,
        2,
        3,
        4,
        5,
        6,
        -1,
        65535,
        True,
        False,
        1.0,
        1.5,
        "1",
        "",
        " ",
        b"",
        b"\x01",
        b"1.2",
        "1.2.3",
    ),
    *("1.2.840.10008.1.1", "abc", "1.2.03", "1" * 64, "1" * 65, "A" * 16, "A" * 17, b"A" * 17, "  AB  "),
    *(b"  AB ", "é", b"\xff", "A\\B", "A\nB", [], [""], [b"1.2"], ["1.2.3"], ["1.2.3", "1.2.3"], ["abc"]),
    *([1], [None], ("1.2.3",), [UID("1.2.3")], UID("1.2.3"), b"x" * 70000, ["1" * 65]),
]


def outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a call gives: its value, or the type of what it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about UIDs that break the rules
        try:
            return function(*arguments)
        except (TypeError, ValueError, AttributeError) as error:
            return type(error)


def filled(module: Any, name: str, values: dict[str, Any]) -> Any:
    primitive = getattr(module, name)()
    for attribute, value in values.items():
        setattr(primitive, attribute, value)
    return primitive


def held(module: Any, name: str, attribute: str, value: Any) -> Any:
    return getattr(filled(module, name, {attribute: value}), attribute)


def test_there_are_attributes_to_compare() -> None:
    assert len(ATTRIBUTES) == 18


def test_the_value_before_one_is_set() -> None:
    for name, attribute in ATTRIBUTES:
        ours, theirs = getattr(user_information, name)(), getattr(reference, name)()
        assert getattr(ours, attribute) == getattr(theirs, attribute), f"{name}.{attribute}"


@pytest.mark.parametrize(("name", "attribute"), ATTRIBUTES)
def test_what_an_attribute_takes(name: str, attribute: str) -> None:
    for value in VALUES:
        ours = outcome(held, user_information, name, attribute, value)
        theirs = outcome(held, reference, name, attribute, value)
        assert (type(ours), ours) == (type(theirs), theirs), f"{value!r:.60}"


FIRST_TOO_LARGE = [
    ("MaximumLengthNotification", "maximum_length_received", 1 << 32),
    ("AsynchronousOperationsWindowNegotiation", "maximum_number_operations_invoked", 1 << 16),
    ("AsynchronousOperationsWindowNegotiation", "maximum_number_operations_performed", 1 << 16),
]


def test_a_number_that_its_field_cannot_hold_is_refused() -> None:
    for name, attribute, value in FIRST_TOO_LARGE:
        row = f"{name}.{attribute}"
        assert outcome(held, user_information, name, attribute, value) is ValueError, row
        assert held(user_information, name, attribute, value - 1) == value - 1, row


ROLE = "SCP_SCU_RoleSelectionNegotiation"
EXTENDED = "SOPClassExtendedNegotiation"
COMMON = "SOPClassCommonExtendedNegotiation"
IDENTITY = "UserIdentityNegotiation"
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in NAMES),
    ("MaximumLengthNotification", {"maximum_length_received": 0}),
    ("MaximumLengthNotification", {"maximum_length_received": 0xFFFFFFFF}),
    ("ImplementationClassUIDNotification", {"implementation_class_uid": "1.2.3"}),
    ("ImplementationVersionNameNotification", {"implementation_version_name": " A B_1"}),
    ("AsynchronousOperationsWindowNegotiation", {"maximum_number_operations_invoked": 65535}),
    ("AsynchronousOperationsWindowNegotiation", {"maximum_number_operations_performed": 0}),
    (ROLE, {"sop_class_uid": "1.2.3"}),
    (ROLE, {"sop_class_uid": "1.2.3", "scu_role": True}),
    (ROLE, {"sop_class_uid": "1.2.3", "scp_role": True, "scu_role": False}),
    (ROLE, {"sop_class_uid": "1.2.3", "scp_role": False, "scu_role": False}),
    (ROLE, {"scp_role": True, "scu_role": True}),
    (EXTENDED, {"sop_class_uid": "1.2.3"}),
    (EXTENDED, {"service_class_application_information": b"\x01"}),
    (EXTENDED, {"sop_class_uid": "1.2.3", "service_class_application_information": b""}),
    (EXTENDED, {"sop_class_uid": "1.2.3", "service_class_application_information": b"\x01\x00\x01"}),
    (COMMON, {"sop_class_uid": "1.2.3"}),
    (COMMON, {"service_class_uid": "1.2.3"}),
    (COMMON, {"sop_class_uid": "1.2.3", "service_class_uid": "1.2.840.10008.4.2"}),
    (
        COMMON,
        {
            "sop_class_uid": "1.2.3",
            "service_class_uid": "1.2.4",
            "related_general_sop_class_identification": ["1.2.5", "1.2.67"],
        },
    ),
    (IDENTITY, {"user_identity_type": 1}),
    (IDENTITY, {"primary_field": b"user"}),
    (IDENTITY, {"user_identity_type": 1, "primary_field": b"user"}),
    (IDENTITY, {"user_identity_type": 1, "primary_field": b"user", "positive_response_requested": True}),
    (IDENTITY, {"user_identity_type": 2, "primary_field": b"user"}),
    (IDENTITY, {"user_identity_type": 2, "primary_field": b"user", "secondary_field": b"passcode"}),
    (IDENTITY, {"user_identity_type": 5, "primary_field": b"token"}),
    (IDENTITY, {"server_response": b"ticket"}),
    (IDENTITY, {"server_response": b""}),
    (IDENTITY, {"server_response": b"ticket", "user_identity_type": 1, "primary_field": b"user"}),
]


def test_the_item_has_the_bytes_of_pynetdicoms() -> None:
    def ours(name: str, values: dict[str, Any]) -> Any:
        return filled(user_information, name, values).to_item().encode()

    def theirs(name: str, values: dict[str, Any]) -> Any:
        return filled(reference, name, values).from_primitive().encode()

    for case in CASES:
        assert outcome(ours, *case) == outcome(theirs, *case), case


def is_complete(name: str, values: dict[str, Any]) -> bool:
    return outcome(lambda: filled(reference, name, values).from_primitive()) is not ValueError


def test_an_item_is_shown_as_what_made_it() -> None:
    complete = [case for case in CASES if is_complete(*case)]
    assert {name for name, _ in complete} == set(NAMES)
    for name, values in complete:
        row = f"{name} with {values}"
        item = filled(user_information, name, values).to_item()
        shown = view_of(item)
        assert (type(shown).__name__, shown.to_item()) == (name, item), row
        theirs = filled(reference, name, values).from_primitive().to_primitive()
        for _, attribute in [pair for pair in ATTRIBUTES if pair[0] == name]:
            assert getattr(shown, attribute) == getattr(theirs, attribute), f"{row}: {attribute}"


def test_no_passcode_is_sent_as_an_empty_one() -> None:
    values = {"user_identity_type": 1, "primary_field": b"jane", "secondary_field": None}
    assert filled(user_information, IDENTITY, values).to_item() == items.UserIdentityRQ(1, b"jane")


def test_every_kind_of_wire_item_has_a_view() -> None:
    assert set(items.USER_ITEMS.values()) == set(user_information._VIEWS)


def test_a_peers_faulty_uid_is_shown_without_a_warning() -> None:
    shown = view_of(items.ImplementationClassUID("1.2.03"))
    assert shown == view_of(items.ImplementationClassUID("1.2.03"))
    assert repr(shown) == "ImplementationClassUIDNotification(implementation_class_uid='1.2.03')"


def test_equality_goes_by_class_and_values() -> None:
    made = [
        filled(user_information, name, values) for name, values in CASES if "secondary_field" not in values
    ]
    for index, one in enumerate(made):
        for other_index, other in enumerate(made):
            assert (one == other) == (index == other_index)
        assert one != 1
        with pytest.raises(TypeError):
            hash(one)


def test_a_list_of_uids_belongs_to_one_primitive() -> None:
    one, other = SOPClassCommonExtendedNegotiation(), SOPClassCommonExtendedNegotiation()
    one.related_general_sop_class_identification.append(UID("1.2.3"))
    assert other.related_general_sop_class_identification == []
    assert "['1.2.3']" in repr(one)


def test_who_the_user_is_reaches_no_log() -> None:
    identity = filled(
        user_information,
        IDENTITY,
        {"user_identity_type": 2, "primary_field": b"jane", "secondary_field": b"s3cret"},
    )
    assert "jane" not in repr(identity)
    assert "s3cret" not in f"{identity} {identity!r}"
    assert "secondary_field=<6 bytes>" in repr(identity)
    assert "server_response=None" in repr(UserIdentityNegotiation())


def test_the_base_shows_its_rows_on_the_class() -> None:
    assert issubclass(UserIdentityNegotiation, ServiceParameter)
    assert UserIdentityNegotiation.primary_field.name == "Primary Field"
