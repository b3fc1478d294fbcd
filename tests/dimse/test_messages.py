"""The message tables against the tables of PS3.7 and against pynetdicom's 23 message classes."""

from __future__ import annotations

import copy
import pickle

import pytest
from pynetdicom import dimse_messages

from dicomnet.dimse import messages
from dicomnet.dimse.messages import MESSAGE_TYPES, SERVICES, Message, MessageType, Presence, respond

# Parameter, Req/ind, Rsp/conf, as the reference pages of the two primitives print them.
C_STORE_TABLE = """
    Message ID                                M  U
    Message ID Being Responded To             -  M
    Affected SOP Class UID                    M  U(=)
    Affected SOP Instance UID                 M  U(=)
    Priority                                  M  -
    Move Originator Application Entity Title  U  -
    Move Originator Message ID                U  -
    Data Set                                  M  -
    Status                                    -  M
    Offending Element                         -  C
    Error Comment                             -  C
"""
C_FIND_TABLE = """
    Message ID                                M  U
    Message ID Being Responded To             -  M
    Affected SOP Class UID                    M  U(=)
    Priority                                  M  -
    Identifier                                M  C
    Status                                    -  M
    Offending Element                         -  C
    Error Comment                             -  C
"""

# Name, Command Field, section of the service, section of the messages: PS3.7 chapters 9 and 10, Annex E.
SERVICE_FACTS = """
    C-STORE         0001  9.1.1   9.3.1
    C-FIND          0020  9.1.2   9.3.2
    C-GET           0010  9.1.3   9.3.3
    C-MOVE          0021  9.1.4   9.3.4
    C-ECHO          0030  9.1.5   9.3.5
    C-CANCEL        0FFF  9.1.2   9.3.2.3
    N-EVENT-REPORT  0100  10.1.1  10.3.1
    N-GET           0110  10.1.2  10.3.2
    N-SET           0120  10.1.3  10.3.3
    N-ACTION        0130  10.1.4  10.3.4
    N-CREATE        0140  10.1.5  10.3.5
    N-DELETE        0150  10.1.6  10.3.6
"""

# What may follow, and where PS3.7 9.3 and 10.3 have Command Data Set Type announce a data set without condition (!).
DATA_SETS = """
    C-STORE-RQ DataSet!              C-STORE-RSP -
    C-FIND-RQ Identifier!            C-FIND-RSP Identifier
    C-GET-RQ Identifier!             C-GET-RSP Identifier
    C-MOVE-RQ Identifier!            C-MOVE-RSP Identifier
    C-ECHO-RQ -                      C-ECHO-RSP -
    C-CANCEL-RQ -
    N-EVENT-REPORT-RQ EventInformation  N-EVENT-REPORT-RSP EventReply
    N-GET-RQ -                       N-GET-RSP AttributeList
    N-SET-RQ ModificationList!       N-SET-RSP AttributeList
    N-ACTION-RQ ActionInformation    N-ACTION-RSP ActionReply
    N-CREATE-RQ AttributeList        N-CREATE-RSP AttributeList
    N-DELETE-RQ -                    N-DELETE-RSP -
"""

# Elements without which a message is malformed; those of a response are the same for all.
REQUIRED_IN_REQUEST = """
    C-STORE         MessageID AffectedSOPClassUID AffectedSOPInstanceUID Priority
    C-FIND          MessageID AffectedSOPClassUID Priority
    C-GET           MessageID AffectedSOPClassUID Priority
    C-MOVE          MessageID AffectedSOPClassUID Priority MoveDestination
    C-ECHO          MessageID AffectedSOPClassUID
    C-CANCEL        MessageIDBeingRespondedTo
    N-EVENT-REPORT  MessageID AffectedSOPClassUID AffectedSOPInstanceUID EventTypeID
    N-GET           MessageID RequestedSOPClassUID RequestedSOPInstanceUID
    N-SET           MessageID RequestedSOPClassUID RequestedSOPInstanceUID
    N-ACTION        MessageID RequestedSOPClassUID RequestedSOPInstanceUID ActionTypeID
    N-CREATE        MessageID AffectedSOPClassUID
    N-DELETE        MessageID RequestedSOPClassUID RequestedSOPInstanceUID
"""

COMMON = {"CommandGroupLength", "CommandField", "CommandDataSetType"}
TYPES = list(MESSAGE_TYPES.values())


def lines(table: str) -> list[list[str]]:
    return [line.split() for line in table.splitlines() if line.strip()]


@pytest.mark.parametrize(("name", "table"), [("C-STORE", C_STORE_TABLE), ("C-FIND", C_FIND_TABLE)])
def test_service_table_has_every_row_of_the_reference_page(name: str, table: str) -> None:
    expected = [(" ".join(words[:-2]), words[-2], words[-1]) for words in lines(table)]
    rows = SERVICES[name].rows
    assert [(row.parameter.name, row.request, row.response) for row in rows] == expected


@pytest.mark.parametrize("name", SERVICES)
def test_parameter_table_prints_every_row(name: str) -> None:
    service = SERVICES[name]
    printed = service.parameter_table().splitlines()
    assert printed[0].split() == ["Parameter", "Req/Ind", "Rsp/Conf"]
    got = [(" ".join(words[:-2]), words[-2], words[-1]) for words in map(str.split, printed[2:])]
    assert got == [(row.parameter.name, row.request, row.response) for row in service.rows]


def test_services_have_the_fields_and_sections_of_the_standard() -> None:
    expected = [
        (name, int(code, 16), service, protocol) for name, code, service, protocol in lines(SERVICE_FACTS)
    ]
    got = [(s.name, s.command_field, s.service_section, s.protocol_section) for s in SERVICES.values()]
    assert got == expected


def test_there_are_23_messages_each_a_constant_of_its_name() -> None:
    assert len(MESSAGE_TYPES) == 23
    for command_field, message_type in MESSAGE_TYPES.items():
        assert message_type.command_field == command_field
        assert getattr(messages, message_type.name.replace("-", "_")) is message_type
        assert message_type.is_response == bool(command_field & 0x8000) == message_type.name.endswith("-RSP")


@pytest.mark.parametrize("message_type", TYPES, ids=lambda t: t.name)
def test_message_holds_what_pynetdicom_sends(message_type: MessageType) -> None:
    theirs = getattr(dimse_messages, message_type.name.replace("-", "_"))()
    expected = {element.keyword: element.tag for element in theirs.command_set}
    ours = {row.parameter.keyword: row.parameter.tag for row in message_type.parameters}
    assert expected.keys() - COMMON <= ours.keys()
    # Beyond it, a response may hold the status fields of PS3.7 Annex C.
    extra = ours.keys() - expected.keys()
    assert extra <= ({"OffendingElement", "AttributeIdentifierList"} if message_type.is_response else set())
    assert all(ours[keyword] == tag for keyword, tag in expected.items() if keyword in ours)


@pytest.mark.parametrize("message_type", TYPES, ids=lambda t: t.name)
def test_fields_are_in_ascending_order_of_tags(message_type: MessageType) -> None:
    tags = [row.parameter.tag for row in message_type.parameters]
    assert tags == sorted(set(tags))
    assert message_type.keywords == {row.parameter.keyword for row in message_type.parameters}
    assert not message_type.keywords & COMMON


def test_data_sets_are_those_of_the_standard() -> None:
    words = DATA_SETS.split()
    expected = dict(zip(words[::2], words[1::2], strict=True))
    got = {t.name: (t.data_set or "-") + "!" * t.data_set_required for t in TYPES}
    assert got == expected


@pytest.mark.parametrize(
    ("name", "keywords"), [(name, keywords) for name, *keywords in lines(REQUIRED_IN_REQUEST)]
)
def test_required_fields_of_a_request(name: str, keywords: list[str]) -> None:
    message_type = MESSAGE_TYPES[SERVICES[name].command_field]
    assert message_type.required == set(keywords)


@pytest.mark.parametrize("message_type", [t for t in TYPES if t.is_response], ids=lambda t: t.name)
def test_required_fields_of_a_response(message_type: MessageType) -> None:
    assert message_type.required == {"MessageIDBeingRespondedTo", "Status"}


@pytest.mark.parametrize("service", SERVICES.values(), ids=lambda s: s.name)
def test_usage_and_presence_agree(service: messages.Service) -> None:
    for row in service.rows:
        for usage, presence in ((row.request, row.in_request), (row.response, row.in_response)):
            # A message ID in a response is retired in the protocol while the service table still has it.
            if row.parameter.keyword == "MessageID" and presence is row.in_response:
                assert presence is Presence.ABSENT
            else:
                expected = {"M": Presence.REQUIRED, "-": Presence.ABSENT}.get(usage, Presence.OPTIONAL)
                assert presence is expected, row


@pytest.mark.parametrize("message_type", [t for t in TYPES if not t.is_response], ids=lambda t: t.name)
def test_response_of_a_request(message_type: MessageType) -> None:
    """M005."""
    if message_type is messages.C_CANCEL_RQ:
        with pytest.raises(ValueError, match="C-CANCEL-RQ has no response"):
            _ = message_type.response
    else:
        assert message_type.response.name == message_type.service + "-RSP"


def test_a_response_has_no_response() -> None:
    with pytest.raises(ValueError, match="C-ECHO-RSP has no response"):
        _ = messages.C_ECHO_RSP.response


def test_missing_names_required_elements_in_order() -> None:
    assert messages.C_STORE_RQ.missing({"Priority": 0, "MessageID": None}) == [
        "AffectedSOPClassUID",
        "MessageID",
        "AffectedSOPInstanceUID",
    ]
    assert messages.C_ECHO_RSP.missing({"Status": 0, "MessageIDBeingRespondedTo": 0}) == []


def test_copies_of_a_message_keep_its_type() -> None:
    message = Message(messages.C_ECHO_RQ, {"MessageID": 1, "AffectedSOPClassUID": "1.2"}, 1)
    for copied in (copy.deepcopy(message), pickle.loads(pickle.dumps(message))):
        assert copied == message
        assert copied.type is messages.C_ECHO_RQ
        assert copied.command is not message.command


def test_message_id_and_status() -> None:
    request = Message(messages.C_ECHO_RQ, {"MessageID": 7, "AffectedSOPClassUID": "1.2"}, 1)
    assert request.message_id == 7
    with pytest.raises(KeyError):
        _ = request.status
    response = Message(messages.C_ECHO_RSP, {"MessageIDBeingRespondedTo": 9, "Status": 0x0122}, 1)
    assert (response.message_id, response.status) == (9, 0x0122)
    assert Message(messages.C_CANCEL_RQ, {"MessageIDBeingRespondedTo": 3}, 5).message_id == 3


def request_of(message_type: MessageType) -> Message:
    values: dict[str, object] = {
        "MessageID": 11,
        "AffectedSOPClassUID": "1.2.1",
        "RequestedSOPClassUID": "1.2.1",
        "AffectedSOPInstanceUID": "1.2.2",
        "RequestedSOPInstanceUID": "1.2.2",
        "EventTypeID": 3,
        "ActionTypeID": 4,
        "MoveDestination": "AET",
        "Priority": 1,
    }
    command = {keyword: value for keyword, value in values.items() if keyword in message_type.keywords}
    return Message(message_type, command, 17, b"\0\0")


REQUESTS = [t for t in TYPES if not t.is_response and t is not messages.C_CANCEL_RQ]


@pytest.mark.parametrize("message_type", REQUESTS, ids=lambda t: t.name)
def test_respond_repeats_class_and_instance_as_affected(message_type: MessageType) -> None:
    """M007 M028."""
    response = respond(request_of(message_type), 0xA700)
    expected = {"MessageIDBeingRespondedTo": 11, "Status": 0xA700, "AffectedSOPClassUID": "1.2.1"}
    if any(keyword.endswith("SOPInstanceUID") for keyword in message_type.keywords):
        expected["AffectedSOPInstanceUID"] = "1.2.2"
    assert response == Message(message_type.response, expected, 17, None)
    assert response.command.keys() <= response.type.keywords


@pytest.mark.parametrize(
    ("message_type", "keyword", "value"),
    [(messages.N_EVENT_REPORT_RQ, "EventTypeID", 3), (messages.N_ACTION_RQ, "ActionTypeID", 4)],
)
def test_respond_repeats_the_type_with_a_reply(message_type: MessageType, keyword: str, value: int) -> None:
    assert respond(request_of(message_type), 0, b"\0\0").command[keyword] == value
    assert keyword not in respond(request_of(message_type), 0).command


def test_respond_takes_further_elements() -> None:
    request = Message(messages.N_CREATE_RQ, {"MessageID": 1, "AffectedSOPClassUID": "1.2"}, 1)
    response = respond(request, 0x0107, AffectedSOPInstanceUID="1.2.3", ErrorComment="why", ErrorID=None)
    assert response.command == {
        "MessageIDBeingRespondedTo": 1,
        "Status": 0x0107,
        "AffectedSOPClassUID": "1.2",
        "AffectedSOPInstanceUID": "1.2.3",
        "ErrorComment": "why",
    }


def test_respond_refuses_a_cancel() -> None:
    with pytest.raises(ValueError, match="has no response"):
        respond(Message(messages.C_CANCEL_RQ, {"MessageIDBeingRespondedTo": 1, "MessageID": 1}, 1), 0)
