"""Which operations a service class has, who performs them, and what is answered where it is not so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.grids import grid

from dicomnet.dimse.messages import MESSAGE_TYPES, Message
from dicomnet.services.provider import provide
from dicomnet.services.registry import OPERATIONS
from dicomnet.services.service_classes import SERVICE_CLASSES, offers
from dicomnet.services.service_names import ServiceName
from dicomnet.services.sop_classes import SOP_CLASSES
from dicomnet.services.steps import Answer, Cancelled, Handle, Next, Send
from dicomnet.upper_layer.negotiation import NegotiatedContext

# What pynetdicom 3.0.4 performs for the SOP classes of each service class, found by asking it for everything.
PERFORMED = {
    "Verification": "C-ECHO",
    "Storage": "C-STORE",
    "Query/Retrieve": "C-FIND C-GET C-MOVE",
    "Procedure Step": "N-CREATE N-EVENT-REPORT N-GET N-SET",
    "Print Management": "N-ACTION N-CREATE N-DELETE N-EVENT-REPORT N-GET N-SET",
    "Media Storage": "",
    "Storage Commitment": "N-ACTION N-EVENT-REPORT",
    "Basic Worklist Management": "C-FIND",
    "Application Event Logging": "N-ACTION",
    "Relevant Patient Information Query": "C-FIND",
    "Instance Availability Notification": "N-CREATE",
    "Media Creation Management": "N-ACTION N-CREATE N-GET",
    "Hanging Protocol Query/Retrieve": "C-FIND C-GET C-MOVE",
    "Substance Administration Query": "C-FIND",
    "Color Palette Query/Retrieve": "C-FIND C-GET C-MOVE",
    "Implant Template Query/Retrieve": "C-FIND C-GET C-MOVE",
    "Unified Procedure Step": "C-FIND N-ACTION N-CREATE N-EVENT-REPORT N-GET N-SET",
    "RT Machine Verification": "N-ACTION N-CREATE N-DELETE N-EVENT-REPORT N-GET N-SET",
    "Display System Management": "N-GET",
    "Non-Patient Object Storage": "C-STORE",
    "Defined Procedure Protocol Query/Retrieve": "C-FIND C-GET C-MOVE",
    "Protocol Approval Query/Retrieve": "C-FIND C-GET C-MOVE",
    "Inventory Query/Retrieve": "C-FIND C-GET C-MOVE",
    "Storage Management": "N-ACTION N-EVENT-REPORT",
}
REQUESTS = {
    kind.service: kind
    for kind in MESSAGE_TYPES.values()
    if not kind.is_response and kind.service != "C-CANCEL"
}
PRIVATE = "1.2.3.4"
RELEVANT_PATIENT = "1.2.840.10008.5.1.4.37.1"


def request(service: str, uid: str, **elements: Any) -> Message:
    kind = REQUESTS[service]
    command: dict[str, Any] = {"MessageID": 1}
    for keyword in kind.required:
        if keyword.endswith("ClassUID"):
            command[keyword] = uid
        elif keyword.endswith("InstanceUID"):
            command[keyword] = "1.2.3"
        elif keyword != "MessageID":
            command[keyword] = 1
    data = b"\x10\x00\x20\x00\x02\x00\x00\x00ID" if kind.data_set_required else None
    return Message(kind, command | elements, 1, data)


def context(uid: str, *, as_scu: bool = False, as_scp: bool = True) -> NegotiatedContext:
    return NegotiatedContext(1, uid, 0, "1.2.840.10008.1.2", as_scu, as_scp)


def perform(message: Message, on: NegotiatedContext, answers: Sequence[Any] = ()) -> list[int]:
    """The statuses that go out where the handler gives these answers."""
    procedure = provide(message, on, lambda *_: None)
    left = list(answers)
    statuses: list[int] = []
    outcome: object = None
    try:
        while True:
            step = procedure.send(outcome)
            outcome = None
            if isinstance(step, Handle):
                outcome = "answers" if left else Answer(0)
            elif isinstance(step, Next):
                outcome = left.pop(0) if left else None
            elif isinstance(step, Cancelled):
                outcome = False
            else:
                assert isinstance(step, Send)
                statuses.append(step.message.status)
    except StopIteration:
        return statuses


def test_every_service_class_has_a_row() -> None:
    assert set(SERVICE_CLASSES) == set(ServiceName)
    assert {str(name): row.operations for name, row in SERVICE_CLASSES.items()} == {
        name: frozenset(services.split()) for name, services in PERFORMED.items()
    }


@grid("uid", sorted(SOP_CLASSES))
def test_which_operations_a_sop_class_has(uid: str) -> None:
    row = SOP_CLASSES[uid]
    expected = set(PERFORMED[row.service].split())
    for end, service in (("Find", "C-FIND"), ("Get", "C-GET"), ("Move", "C-MOVE")):
        if row.keyword.endswith(end):
            expected = {service}
    if row.keyword == "RepositoryQuery":
        expected = {"C-FIND"}
    assert {service for service in REQUESTS if offers(uid, service)} == expected
    for service in OPERATIONS.keys() - expected:
        assert perform(request(service, uid), context(uid)) == [0x0211]


def test_a_sop_class_that_is_not_known_has_any_operation() -> None:
    assert all(offers(PRIVATE, service) for service in REQUESTS)


@pytest.mark.parametrize("service", sorted(OPERATIONS))
def test_who_performs_an_operation(service: str) -> None:
    """PS3.7 section 7.1: the SCP, but for reports, which go to the SCU; peers do not always ask for the role."""
    as_scu = perform(request(service, PRIVATE), context(PRIVATE, as_scu=True, as_scp=False))
    assert as_scu == ([0x0000] if service == "N-EVENT-REPORT" else [0x0122])


@pytest.mark.parametrize("service", sorted(OPERATIONS))
def test_a_composite_service_names_the_sop_class_of_its_context(service: str) -> None:
    statuses = perform(request(service, PRIVATE + ".5"), context(PRIVATE))
    assert statuses == ([0x0122] if service.startswith("C-") else [0x0000])


@pytest.mark.parametrize("service", [s for s in sorted(OPERATIONS) if REQUESTS[s].data_set_required])
def test_a_request_without_its_data_set(service: str) -> None:
    message = request(service, PRIVATE)
    message.data = None
    assert perform(message, context(PRIVATE)) == [0x0212]


MATCH = Answer(0xFF00, b"match")


@pytest.mark.parametrize(
    ("answers", "statuses"),
    [
        ([None], [0x0000]),
        ([MATCH], [0xFF00, 0x0000]),
        ([MATCH, Answer(0x0000)], [0xFF00, 0x0000]),
        ([MATCH, MATCH], [0xC100]),
        ([MATCH, MATCH, MATCH], [0xC100]),
        ([MATCH, Answer(0xC200)], [0xFF00, 0xC200]),
        ([Answer(0xC200)], [0xC200]),
    ],
)
def test_relevant_patient_information_is_of_one_patient(answers: list[Any], statuses: list[int]) -> None:
    """PS3.4 Annex Q: more than one match is a failure."""
    assert perform(request("C-FIND", RELEVANT_PATIENT), context(RELEVANT_PATIENT), answers) == statuses
