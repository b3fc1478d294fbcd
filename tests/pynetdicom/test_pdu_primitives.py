"""The upper layer primitives against pynetdicom 3.0.4: attributes, and the bytes of the PDUs that convey them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pynetdicom
import pynetdicom.pdu as their_pdus
import pynetdicom.pdu_primitives as reference
import pytest
from pydicom.uid import UID

import dicomnet
from dicomnet.drivers.connection import ProviderAbort
from dicomnet.errors import ProtocolError
from dicomnet.pynetdicom import pdu_primitives, user_information
from dicomnet.pynetdicom.pdu_primitives import (
    A_ABORT,
    A_ASSOCIATE,
    A_P_ABORT,
    A_RELEASE,
    P_DATA,
    AddressInformation,
    primitive_of,
)
from dicomnet.pynetdicom.user_information import ServiceParameter
from dicomnet.wire.pdu import (
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    ReleaseRP,
    ReleaseRQ,
    decode_pdu,
)

NAMES = ["A_ASSOCIATE", "A_RELEASE", "A_ABORT", "A_P_ABORT", "P_DATA"]
ATTRIBUTES = [
    (name, attribute)
    for name in NAMES
    for attribute, value in vars(getattr(reference, name)).items()
    if isinstance(value, property)
]
# The words are our own; that there are none before a value is set is told below.
WORDS = {"result_str", "source_str", "reason_str"}
VALUES: list[Any] = [
    *(None, *range(-1, 9), 300, 1.0, 1.5, True, "", " ", "1", "1.2.3", b"1.2", "A" * 16, "A" * 17, "1" * 65),
    *("affirmative", "negative", b"\xff", [], ["a"], [1], (1, 2), {}, object),
    *([[1, b"\x03"]], [[1, b""]], [["1", b""]], [[1, "a"]], [1, b"\x03"], ("127.0.0.1", 104), "normal"),
]


def outcome(function: Callable[[], Any]) -> Any:
    """What a call gives: its value, or the type of what it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about UIDs that break the rules
        try:
            return function()
        except (TypeError, ValueError, AttributeError) as error:
            return type(error)


def with_value(module: Any, name: str, attribute: str, value: Any) -> Any:
    primitive = getattr(module, name)()
    setattr(primitive, attribute, value)
    return getattr(primitive, attribute)


def test_there_are_attributes_to_compare() -> None:
    assert len(ATTRIBUTES) == 26


@pytest.mark.parametrize(("name", "attribute"), ATTRIBUTES)
def test_the_value_before_one_is_set(name: str, attribute: str) -> None:
    ours = outcome(lambda: getattr(getattr(pdu_primitives, name)(), attribute))
    if attribute in WORDS:
        assert ours == "(not said)"
    else:
        assert ours == outcome(lambda: getattr(getattr(reference, name)(), attribute))


@pytest.mark.parametrize(("name", "attribute"), ATTRIBUTES)
def test_what_an_attribute_takes(name: str, attribute: str) -> None:
    for value in VALUES:
        ours = outcome(lambda: with_value(pdu_primitives, name, attribute, value))  # noqa: B023
        theirs = outcome(lambda: with_value(reference, name, attribute, value))  # noqa: B023
        assert (ours, type(ours)) == (theirs, type(theirs)), value


def test_the_eight_items_are_known_here_too() -> None:
    items = [
        each
        for each in vars(user_information).values()
        if isinstance(each, type) and issubclass(each, ServiceParameter) and each is not ServiceParameter
    ]
    assert len(items) == 8
    assert all(getattr(pdu_primitives, each.__name__) is each for each in items)


def test_lists_keep_only_what_belongs_there() -> None:
    primitive = A_ASSOCIATE()
    context, item = dicomnet.build_context("1.2.3"), user_information.MaximumLengthNotification()
    given: list[Any] = [context, 5, item]
    primitive.presentation_context_definition_list = given
    primitive.user_information = given
    assert primitive.presentation_context_definition_list == [context]
    assert primitive.user_information == [item]
    assert A_ASSOCIATE().user_information == []


def test_what_user_information_says_is_kept_in_its_items() -> None:
    primitive = A_ASSOCIATE()
    for length, uid in ((5, "1.2.3"), (9, "1.2.4")):
        primitive.maximum_length_received = length
        primitive.implementation_class_uid = uid
        assert (primitive.maximum_length_received, primitive.implementation_class_uid) == (length, uid)
        assert len(primitive.user_information) == 2


def test_addresses_are_taken_as_address_information() -> None:
    primitive = A_ASSOCIATE()
    primitive.called_presentation_address = address = AddressInformation.from_tuple(("127.0.0.1", 104))
    assert primitive.responding_presentation_address is address
    assert (address.as_tuple, address.is_ipv4) == (("127.0.0.1", 104), True)
    assert AddressInformation("::1", 104, 0, 2).as_tuple == ("::1", 104, 0, 2)


@pytest.mark.parametrize("source", [1, 2, 3])
@pytest.mark.parametrize("reason", [1, 2, 3, 7])
def test_a_rejection_has_words_where_pynetdicom_has_some(source: int, reason: int) -> None:
    ours, theirs = A_ASSOCIATE.from_pdu(AssociateRJ(1, source, reason)), reference.A_ASSOCIATE()
    theirs.result_source, theirs.diagnostic = source, reason
    is_defined = theirs.reason_str not in ("(no value available)", "Reserved")
    assert (ours.reason_str != "(not said)") is is_defined
    assert ours.result_str == "rejected permanently"
    assert "service" in ours.source_str


def items(module: Any) -> list[Any]:
    made = [
        getattr(module, name)()
        for name in ("MaximumLengthNotification", "ImplementationClassUIDNotification")
    ]
    made[1].implementation_class_uid = UID("1.2.3")
    return made


def context(package: Any, result: int | None = None) -> Any:
    made = package.build_context("1.2.840.10008.1.1", ["1.2.840.10008.1.2"])
    made.context_id, made.result = 3, result
    return made


def requesting(module: Any, package: Any) -> Any:
    primitive = module.A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.called_ae_title, primitive.calling_ae_title = "CALLED", "CALLING"
    primitive.presentation_context_definition_list = [context(package)]
    primitive.user_information = items(module)
    return primitive


def accepting(module: Any, package: Any) -> Any:
    primitive = requesting(module, package)
    primitive.presentation_context_definition_list = []
    primitive.presentation_context_definition_results_list = [context(package, 0)]
    primitive.result, primitive.result_source = 0, 1
    return primitive


def rejecting(module: Any, _package: Any) -> Any:
    primitive = module.A_ASSOCIATE()
    primitive.result, primitive.result_source, primitive.diagnostic = 2, 3, 2
    return primitive


def asking_for_release(module: Any, _package: Any) -> Any:
    return module.A_RELEASE()


def releasing(module: Any, _package: Any) -> Any:
    primitive = module.A_RELEASE()
    primitive.result = "affirmative"
    return primitive


def aborting(module: Any, _package: Any) -> Any:
    primitive = module.A_ABORT()
    primitive.abort_source = 0
    return primitive


def aborting_as_provider(module: Any, _package: Any) -> Any:
    primitive = module.A_P_ABORT()
    primitive.provider_reason = 4
    return primitive


def carrying(module: Any, _package: Any) -> Any:
    primitive = module.P_DATA()
    primitive.presentation_data_value_list = [[1, b"\x03abc"], [255, b"\x00d"]]
    return primitive


CONVEYED: list[tuple[Callable[[Any, Any], Any], str]] = [
    (requesting, "A_ASSOCIATE_RQ"),
    (accepting, "A_ASSOCIATE_AC"),
    (rejecting, "A_ASSOCIATE_RJ"),
    (asking_for_release, "A_RELEASE_RQ"),
    (releasing, "A_RELEASE_RP"),
    (aborting, "A_ABORT_RQ"),
    (aborting_as_provider, "A_ABORT_RQ"),
    (carrying, "P_DATA_TF"),
]


@pytest.mark.parametrize(("make", "kind"), CONVEYED)
def test_a_primitive_has_the_pdu_of_pynetdicoms(make: Callable[[Any, Any], Any], kind: str) -> None:
    theirs = getattr(their_pdus, kind)(make(reference, pynetdicom))
    assert make(pdu_primitives, dicomnet).to_pdu().encode() == theirs.encode()


@pytest.mark.parametrize(("make", "kind"), CONVEYED)
def test_a_pdu_is_shown_as_pynetdicom_shows_it(make: Callable[[Any, Any], Any], kind: str) -> None:
    pdu = getattr(their_pdus, kind)(make(reference, pynetdicom))
    encoded = pdu.encode()
    theirs = pdu.to_primitive()
    ours = primitive_of(decode_pdu(encoded[0], memoryview(encoded)[6:]))
    assert type(ours).__name__ == type(theirs).__name__
    assert ours.to_pdu().encode() == encoded
    for name, attribute in ATTRIBUTES:
        # An A-ASSOCIATE-AC has no field for its source, which can only be the service user.
        is_left_out = attribute in WORDS or (make is accepting and attribute == "result_source")
        if name == type(ours).__name__ and not is_left_out:
            assert comparable(outcome(lambda: getattr(ours, attribute))) == comparable(  # noqa: B023
                outcome(lambda: getattr(theirs, attribute))  # noqa: B023
            ), attribute


def comparable(value: Any) -> Any:
    """A value in terms that both libraries have."""
    if isinstance(value, list):
        return [comparable(each) for each in value]
    if isinstance(value, tuple):
        return list(value)
    if type(value).__name__ == "PresentationContext":
        return value.context_id, value.abstract_syntax, value.transfer_syntax, value.result
    if type(value).__name__.endswith("Notification"):
        return type(value).__name__, value.from_primitive().encode() if hasattr(
            value, "from_primitive"
        ) else value.to_item().encode()
    return value


def test_results_are_named_where_the_request_is_known() -> None:
    asked = requesting(pdu_primitives, dicomnet).to_pdu()
    answer = accepting(pdu_primitives, dicomnet).to_pdu()
    assert isinstance(asked, AssociateRQ)
    assert isinstance(answer, AssociateAC)
    for request, name in ((None, None), (asked, "1.2.840.10008.1.1")):
        view = primitive_of(answer, request)
        assert isinstance(view, A_ASSOCIATE)
        assert [each.abstract_syntax for each in view.presentation_context_definition_results_list] == [name]


@pytest.mark.parametrize(
    ("found", "primitive", "attribute", "value"),
    [
        (ProviderAbort(None), A_P_ABORT, "provider_reason", 0),
        (ProviderAbort(ProtocolError("a fault", 5)), A_P_ABORT, "provider_reason", 5),
        (Abort(2, 1), A_P_ABORT, "provider_reason", 1),
        (Abort(0), A_ABORT, "abort_source", 0),
        (Abort(9), A_ABORT, "abort_source", 9),
        (ReleaseRQ(), A_RELEASE, "result", None),
        (ReleaseRP(), A_RELEASE, "result", "affirmative"),
    ],
)
def test_what_ends_an_association_is_shown_as_what_it_is(
    found: Any, primitive: type[Any], attribute: str, value: Any
) -> None:
    view = primitive_of(found)
    assert type(view) is primitive
    assert getattr(view, attribute) == value


def test_what_is_missing_is_noticed_when_it_is_sent() -> None:
    rejection, parts = A_ASSOCIATE(), P_DATA()
    rejection.result = 1
    parts.presentation_data_value_list = [[1, b""]]
    for primitive in (rejection, parts, A_ABORT(), A_P_ABORT(), A_ASSOCIATE()):
        with pytest.raises(ValueError):
            primitive.to_pdu()
