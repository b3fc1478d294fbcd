"""The primitives against pynetdicom's: attributes, types, defaults, conversions and types of exceptions."""

from __future__ import annotations

import copy
import inspect
import itertools
import logging
import pickle
import warnings
from io import BytesIO
from typing import Any

import pynetdicom._config
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID
from pynetdicom import dimse_messages
from pynetdicom import dimse_primitives as theirs
from pynetdicom.pdu_primitives import P_DATA

from dicomnet import _config
from dicomnet.dimse import messages
from dicomnet.dimse.codec import decode_command, encode_command
from dicomnet.dimse.messages import MESSAGE_TYPES, SERVICES, Message, MessageType, respond
from dicomnet.pynetdicom import dimse_primitives as ours
from dicomnet.pynetdicom.dimse_primitives import (
    C_CANCEL,
    C_FIND,
    C_GET,
    C_MOVE,
    C_STORE,
    N_GET,
    DIMSEPrimitive,
)

RESPONSE_KEYWORDS = ("MessageIDBeingRespondedTo", "Status")
SUBOPERATIONS = tuple(
    f"NumberOf{kind}Suboperations" for kind in ("Remaining", "Completed", "Failed", "Warning")
)
REQUESTED = ("MessageID", "RequestedSOPClassUID", "RequestedSOPInstanceUID")
QUERY = ("MessageID", "AffectedSOPClassUID", "Priority", "Identifier")
ERROR = ("ErrorComment", "ErrorID")
KEYWORDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "C_ECHO": (("MessageID", "AffectedSOPClassUID"), ("ErrorComment",)),
    "C_STORE": (
        ("MessageID", "AffectedSOPClassUID", "AffectedSOPInstanceUID", "Priority", "DataSet"),
        ("OffendingElement", "ErrorComment"),
    ),
    "C_FIND": (QUERY, ("OffendingElement", "ErrorComment")),
    "C_GET": (QUERY, ("ErrorComment", "OffendingElement", *SUBOPERATIONS)),
    "C_MOVE": ((*QUERY, "MoveDestination"), ("ErrorComment", "OffendingElement", *SUBOPERATIONS)),
    "N_EVENT_REPORT": (
        ("MessageID", "AffectedSOPClassUID", "EventTypeID", "AffectedSOPInstanceUID"),
        ("AffectedSOPClassUID", "AffectedSOPInstanceUID", "EventTypeID", *ERROR),
    ),
    "N_GET": (REQUESTED, ("AttributeIdentifierList", *ERROR)),
    "N_SET": ((*REQUESTED, "ModificationList"), (*ERROR, "AttributeIdentifierList")),
    "N_ACTION": ((*REQUESTED, "ActionTypeID"), (*ERROR, "AttributeIdentifierList")),
    "N_CREATE": (("MessageID", "AffectedSOPClassUID"), ERROR),
    "N_DELETE": (REQUESTED, ERROR),
}
NAMES = [*KEYWORDS, "C_CANCEL"]
BUFFER = BytesIO(b"\x08\0\x16\0\0\0\0\0")
VALUES: list[Any] = [
    None, -1, 0, 1, 2, 3, 65535, 65536, 2**31, 2**32 - 1, 2**32, 2**64, True, False, 0.0, 1.0, 1.5, float("nan"), 1j,
    "", " ", "1", "1.2.3", "1.2.03", "1.2.", ".1", "abc", " 1.2 ", "1.2\0", "a" * 64, "a" * 65, "1" * 64, "1" * 65,
    "é", "\xff", "AET", " AET ", "A" * 16, "A" * 17, " " * 16, " " * 17, "A\\B", "A\nB", "A\x7f", "\t", "PatientName",
    "00100010", "(0010,0010)",
    b"", b" ", b"1", b"1.2.3", b"1.2.03", b"abc", b" 1.2 ", b"1.2\0", b"a" * 65, b"\xff", b"AET", b" AET ", b"A" * 17,
    b"A\\B", bytearray(b"1.2"), memoryview(b"1.2"),
    UID("1.2.3"), BUFFER, BytesIO(), Dataset(), Tag(0x0010, 0x0010), (8, 0x18), (0x0010, 0x0010), (), [], [None],
    [Tag(8, 0x18)], [0x00080018], [0x00080018, 0x00100010], [(8, 0x18), (0x10, 0x10)], ["PatientName"],
    ["PatientName", "nonesuch"], ["00100010"], [1.5], [-1], [2**32], [[8, 0x18]], {"a": 1}, {1: 2}, {8}, frozenset(),
    range(3), object, object(), print, NotImplemented, ..., MultiValue(int, [1, 2]), MultiValue(int, [1]),
]  # fmt: skip


def attributes(name: str) -> list[str]:
    """The public attributes of pynetdicom's primitive that can be set."""
    found = []
    for attribute in dir(getattr(theirs, name)()):
        member = inspect.getattr_static(getattr(theirs, name), attribute, None)
        readable = not attribute.startswith("_") and not attribute.isupper() and not callable(member)
        if readable and not (isinstance(member, property) and member.fset is None):
            found.append(attribute)
    return found


ATTRIBUTES = [(name, attribute) for name in NAMES for attribute in attributes(name)]


def outcome(primitive: Any, attribute: str, value: object) -> tuple[object, ...]:
    """What setting an attribute leaves, or the type of what it raises, and whether bytes were called deprecated."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        raised = None
        try:
            setattr(primitive, attribute, value)
        except Exception as error:  # noqa: BLE001
            raised = type(error)
        held = getattr(primitive, attribute)
    deprecated = any(issubclass(warning.category, DeprecationWarning) for warning in caught)
    return raised, held is value, type(held), held if held == held else "nan", deprecated


def same_outcomes(name: str, only: str = "") -> None:
    """Each value has the same outcome for the attributes of a primitive whose name ends so."""
    for attribute in attributes(name):
        for value in VALUES if attribute.endswith(only) else ():
            got = outcome(getattr(ours, name)(), attribute, value)
            assert got == outcome(getattr(theirs, name)(), attribute, value), f"{attribute} = {value!r}"


@pytest.mark.parametrize("name", NAMES)
def test_each_value_has_the_same_outcome_as_in_pynetdicom(name: str) -> None:
    same_outcomes(name)


@pytest.mark.parametrize("name", KEYWORDS)
def test_each_value_has_the_same_outcome_where_uids_must_conform(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(_config, "ENFORCE_UID_CONFORMANCE", True)
    monkeypatch.setattr(pynetdicom._config, "ENFORCE_UID_CONFORMANCE", True)
    assert any(attribute.endswith("UID") for attribute in attributes(name))
    same_outcomes(name, only="UID")


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_any_value_has_the_same_outcome_as_in_pynetdicom(name: str, data: st.DataObject) -> None:
    attribute = data.draw(st.sampled_from(attributes(name)))
    scalars = (
        st.none() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=70) | st.binary(max_size=70)
    )
    value = data.draw(
        scalars | st.lists(scalars, max_size=3) | st.from_regex(r"[0-9.]{1,66}", fullmatch=True)
    )
    got = outcome(getattr(ours, name)(), attribute, value)
    assert got == outcome(getattr(theirs, name)(), attribute, value)


def test_default() -> None:
    for name, attribute in ATTRIBUTES:
        value = getattr(getattr(ours, name)(), attribute)
        assert value == (2 if attribute == "Priority" else None), f"{name}.{attribute}"
        assert value == getattr(getattr(theirs, name)(), attribute), f"{name}.{attribute}"


def test_keyword_tuples() -> None:
    def tuples(kind: Any) -> tuple[Any, ...]:
        return kind.REQUEST_KEYWORDS, kind.RESPONSE_KEYWORDS, kind.STATUS_OPTIONAL_KEYWORDS

    for name, (request, optional) in KEYWORDS.items():
        assert tuples(getattr(ours, name)) == (request, RESPONSE_KEYWORDS, optional), name
        assert tuples(getattr(ours, name)) == tuples(getattr(theirs, name)), name


def test_a_primitive_takes_no_arguments_and_equals_itself_only() -> None:
    for name in KEYWORDS:
        kind = getattr(ours, name)
        assert issubclass(kind, DIMSEPrimitive), name
        with pytest.raises(TypeError, match=name):
            kind(1)
        assert kind() != kind(), name
        primitive: Any = kind()
        primitive.SomethingElse = "any"
        assert primitive.SomethingElse == "any", name


def test_msg_type() -> None:
    for name in KEYWORDS:
        kind = getattr(ours, name)
        assert kind().msg_type == name.replace("_", "-") == getattr(theirs, name)().msg_type
        assert type("Sub", (kind,), {})().msg_type == "Sub", name
        assert type("My_Own", (kind,), {})().msg_type == "My-Own", name


def test_the_base_class_alone() -> None:
    base, reference = DIMSEPrimitive(), theirs.DIMSEPrimitive()
    assert base.RESPONSE_KEYWORDS == RESPONSE_KEYWORDS == reference.RESPONSE_KEYWORDS
    assert base.REQUEST_KEYWORDS == base.STATUS_OPTIONAL_KEYWORDS == () == reference.REQUEST_KEYWORDS
    assert base.is_valid_request is reference.is_valid_request is True
    assert base.is_valid_response is reference.is_valid_response is False
    with pytest.raises(TypeError, match="DIMSEPrimitive belongs to no DIMSE service"):
        base.to_message(1)


def test_a_cancel_has_one_attribute_and_no_checks() -> None:
    cancel = C_CANCEL()
    assert not isinstance(cancel, DIMSEPrimitive)
    for absent in (
        "REQUEST_KEYWORDS",
        "is_valid_request",
        "is_valid_response",
        "msg_type",
        "MessageID",
        "Status",
    ):
        assert not hasattr(cancel, absent)
        assert not hasattr(theirs.C_CANCEL(), absent)


def test_hidden_state_begins_as_none() -> None:
    for name in NAMES:
        primitive = getattr(ours, name)()
        hidden = primitive._context_id, primitive._dataset_path, primitive._dataset_file
        assert hidden == (None, None, None), name


SAMPLES: dict[str, Any] = {
    "MessageID": 1,
    "AffectedSOPClassUID": "1.2.1",
    "AffectedSOPInstanceUID": "1.2.2",
    "RequestedSOPClassUID": "1.2.3",
    "RequestedSOPInstanceUID": "1.2.4",
    "Priority": 1,
    "MoveDestination": "AET",
    "EventTypeID": 0,
    "ActionTypeID": 0,
    "DataSet": BytesIO(),
    "Identifier": BytesIO(),
    "ModificationList": BytesIO(),
}


def test_is_valid_request() -> None:
    for name, (keywords, _) in KEYWORDS.items():
        for absent in (None, *keywords):
            primitive = getattr(ours, name)()
            for keyword in keywords:
                if keyword != absent:
                    setattr(primitive, keyword, SAMPLES[keyword])
            # Priority has a default, so a request never lacks it.
            assert primitive.is_valid_request is (absent in (None, "Priority")), f"{name} without {absent}"


def test_is_valid_response() -> None:
    for name, message_id, status in itertools.product(KEYWORDS, (None, 0), (None, 0)):
        primitive = getattr(ours, name)()
        primitive.MessageIDBeingRespondedTo = message_id
        primitive.Status = status
        is_complete = message_id is not None and status is not None
        assert primitive.is_valid_response is is_complete, (name, message_id, status)


# The table of the two primitives whose exact behaviour is written down, case by case:
# attribute, what is given, what is held or the type of the exception.
NUMBER_CASES: list[tuple[Any, Any]] = [(0, 0), (65535, 65535), (True, True), (None, None)]
NUMBER_CASES += [(-1, ValueError), (65536, ValueError), (1.0, TypeError), ("1", TypeError)]
UID_CASES: list[tuple[Any, Any]] = [
    ("1.2.3", "1.2.3"),
    (b"1.2.3", "1.2.3"),
    (UID("1.2.3"), "1.2.3"),
    (None, None),
    ("", None),
    (b"", None),
    (" 1.2 ", "1.2"),
    ("1.2\0", "1.2\0"),
    ("1.2.03", "1.2.03"),
    ("abc", "abc"),
    ("1" * 65, ValueError),
    (b"\xff", ValueError),
    (5, TypeError),
]
DATA_SET_CASES: list[tuple[Any, Any]] = [(BUFFER, BUFFER), (None, None)]
DATA_SET_CASES += [(b"", TypeError), ("", TypeError), (Dataset(), TypeError), ([], TypeError)]
PRIORITY_CASES: list[tuple[Any, Any]] = [(0, 0), (1, 1), (2, 2), (1.0, 1.0), (True, True)]
PRIORITY_CASES += [
    (None, ValueError),
    (3, ValueError),
    (-1, ValueError),
    ("1", ValueError),
    (b"", ValueError),
]
PRIORITY_CASES += [([], ValueError), ({}, ValueError)]
TITLE_CASES: list[tuple[Any, Any]] = [
    ("AET", "AET"),
    ("  AET  ", "  AET  "),
    (" ", " "),
    ("", ""),
    (None, None),
    ("A" * 17, None),
    ("é", None),
    ("A\n", None),
    ("A\\", None),
    (5, TypeError),
]
TABLE: dict[str, list[tuple[Any, Any]]] = {
    "MessageID": NUMBER_CASES,
    "MessageIDBeingRespondedTo": NUMBER_CASES,
    "MoveOriginatorMessageID": NUMBER_CASES,
    "AffectedSOPClassUID": UID_CASES,
    "AffectedSOPInstanceUID": UID_CASES,
    "Priority": PRIORITY_CASES,
    "DataSet": DATA_SET_CASES,
    "Identifier": DATA_SET_CASES,
    "MoveOriginatorApplicationEntityTitle": TITLE_CASES,
    "Status": [
        (0, 0),
        (-1, -1),
        (0x10000, 0x10000),
        (True, True),
        (None, None),
        (1.0, TypeError),
        ("0", TypeError),
    ],
    "OffendingElement": [(5, 5), ("x", "x"), (None, None)],
    "ErrorComment": [("x" * 100, "x" * 100), (5, 5), (None, None)],
}
TABLE_CASES = [
    (kind, attribute, value, expected)
    for kind in (C_STORE, C_FIND)
    for attribute, cases in TABLE.items()
    if hasattr(kind, attribute)
    for value, expected in cases
]


def test_table_of_c_store_and_c_find() -> None:
    for kind, attribute, value, expected in TABLE_CASES:
        row = f"{kind.__name__}.{attribute} = {value!r}"
        primitive = kind()
        before = getattr(primitive, attribute)
        raised, is_the_same, type_held, held, _ = outcome(primitive, attribute, value)
        if isinstance(expected, type):
            assert (raised, held) == (expected, before), row
            continue
        assert (raised, held) == (None, expected), row
        if attribute.endswith("UID") and held is not None:
            assert type_held is UID, row
        elif held is not None:
            assert is_the_same, row


def test_every_attribute_of_c_store_and_c_find_is_in_the_table() -> None:
    for name in ("C_STORE", "C_FIND"):
        assert set(attributes(name)) <= TABLE.keys()


@pytest.mark.parametrize(
    ("kind", "attribute"), [(C_STORE, "MoveOriginatorApplicationEntityTitle"), (C_MOVE, "MoveDestination")]
)
def test_a_title_as_bytes_is_deprecated(kind: type[Any], attribute: str) -> None:
    primitive = kind()
    with pytest.warns(DeprecationWarning, match="should be given as str") as caught:
        setattr(primitive, attribute, b" AET ")
    assert getattr(primitive, attribute) == "AET"
    assert [warning.filename for warning in caught] == [__file__]
    with (
        pytest.warns(DeprecationWarning, match="should be"),
        pytest.raises(ValueError, match="can decode the bytes ff"),
    ):
        setattr(primitive, attribute, b"\xff")


def test_a_move_destination_cannot_be_impossible() -> None:
    for value in ("", " ", "A" * 17, "A\\B", "é"):
        with pytest.raises(ValueError, match="Move Destination cannot be"):
            C_MOVE().MoveDestination = value


def test_an_impossible_move_originator_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    C_STORE().MoveOriginatorApplicationEntityTitle = "A" * 17
    assert [(r.name, r.levelno) for r in caplog.records] == [
        ("dicomnet.pynetdicom.dimse_primitives", logging.ERROR)
    ]


def test_an_impossible_priority_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    primitive = C_STORE()
    with pytest.raises(ValueError, match="Priority is 0"):
        primitive.Priority = 3
    assert [(r.name, r.levelno) for r in caplog.records] == [
        ("dicomnet.pynetdicom.dimse_primitives", logging.WARNING)
    ]


def test_uids_are_decoded_with_the_configured_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_config, "CODECS", ("ascii", "utf-8"))
    primitive = C_STORE()
    primitive.AffectedSOPClassUID = "1.\u200b2".encode()
    assert primitive.AffectedSOPClassUID == "1.2"


def test_tag_list_forms() -> None:
    primitive = N_GET()
    for given_, expected in [
        ([], []),
        ([0x00100010], Tag(0x0010, 0x0010)),
        ("(no tag)"[:0], []),
        ([(8, 0x18), "PatientName"], [Tag(8, 0x18), Tag(0x0010, 0x0010)]),
        (Tag(8, 0x18), Tag(8, 0x18)),
        (0x00080018, Tag(8, 0x18)),
    ]:
        primitive.AttributeIdentifierList = given_
        held = primitive.AttributeIdentifierList
        assert held == expected
        assert isinstance(held, (list, BaseTag))


def test_docstring_has_the_table_and_the_sections() -> None:
    for name in NAMES:
        service = SERVICES[name.replace("_", "-")]
        documentation = inspect.getdoc(getattr(ours, name)) or ""
        assert service.parameter_table() in documentation, name
        sections = f"PS3.7 sections {service.service_section} and {service.protocol_section}"
        assert sections in documentation, name
        assert set(attributes(name)) <= {row.parameter.keyword for row in service.rows}, name


def test_an_attribute_has_a_docstring_on_the_class() -> None:
    for name, attribute in ATTRIBUTES:
        descriptor = getattr(getattr(ours, name), attribute)
        assert isinstance(descriptor, ours.Attribute), f"{name}.{attribute}"
        assert descriptor.keyword == attribute
        assert descriptor.name in (descriptor.__doc__ or ""), f"{name}.{attribute}"


WIRE: dict[str, Any] = {
    "MessageID": 7,
    "MessageIDBeingRespondedTo": 65535,
    "AffectedSOPClassUID": "1.2.840.10008.1.1",
    "AffectedSOPInstanceUID": "1.2.3",
    "RequestedSOPClassUID": "1.2.840.10008.5.1.1.1",
    "RequestedSOPInstanceUID": "1.2.3.4",
    "MoveDestination": "STORE_SCP",
    "Priority": 1,
    "Status": 0xFF00,
    "OffendingElement": [0x00100010, 0x7FE00010],
    "ErrorComment": "no room",
    "ErrorID": 258,
    "EventTypeID": 1,
    "AttributeIdentifierList": [0x00080018],
    "ActionTypeID": 0,
    "NumberOfRemainingSuboperations": 0,
    "NumberOfCompletedSuboperations": 65535,
    "NumberOfFailedSuboperations": 3,
    "NumberOfWarningSuboperations": 4,
    "MoveOriginatorApplicationEntityTitle": "MOVE_SCU1",
    "MoveOriginatorMessageID": 12,
}
TYPES = list(MESSAGE_TYPES.values())


def message_of(message_type: MessageType) -> Message:
    command = {keyword: WIRE[keyword] for keyword in message_type.keywords}
    return Message(message_type, command, 3, b"\x08\0\x16\0\0\0\0\0" if message_type.data_set else None)


@pytest.mark.parametrize("message_type", TYPES, ids=lambda t: t.name)
def test_a_message_survives_the_primitive(message_type: MessageType) -> None:
    message = message_of(message_type)
    primitive = (
        DIMSEPrimitive.from_message(message)
        if message_type.service != "C-CANCEL"
        else C_CANCEL.from_message(message)
    )
    assert type(primitive).__name__ == message_type.service.replace("-", "_")
    assert primitive._context_id == 3
    again = primitive.to_message(5)
    assert again.type is message_type
    assert (again.command, again.data, again.context_id) == (message.command, message.data, 5)
    assert all(type(value) in (int, str, list) for value in again.command.values())
    for keyword, value in message.command.items():
        if keyword.endswith("UID"):
            assert type(getattr(primitive, keyword)) is UID
            assert getattr(primitive, keyword) == value


@pytest.mark.parametrize("message_type", TYPES, ids=lambda t: t.name)
def test_a_received_primitive_equals_pynetdicoms(message_type: MessageType) -> None:
    reference = getattr(dimse_messages, message_type.name.replace("-", "_"))()
    sent = {item.keyword for item in reference.command_set}
    message = message_of(message_type)
    message.command = {keyword: value for keyword, value in message.command.items() if keyword in sent}
    encoded = encode_command(message_type, message.command, message.data is not None)
    fragments: list[bytes] = [b"\x03" + encoded]
    if isinstance(message.data, bytes):
        fragments.append(b"\x02" + message.data)
    for fragment in fragments:
        transfer: Any = P_DATA()
        transfer.presentation_data_value_list = [[3, fragment]]
        reference.decode_msg(transfer)
    expected = reference.message_to_primitive()
    decoded = Message(*decode_command(encoded)[:2], 3, message.data)
    kind = getattr(ours, message_type.service.replace("-", "_"))
    got = kind.from_message(decoded)
    for attribute in attributes(kind.__name__):
        mine, other = getattr(got, attribute), getattr(expected, attribute)
        if not isinstance(other, BytesIO):
            assert mine == other, attribute
            assert type(mine) is type(other) or isinstance(other, MultiValue), attribute
        elif attribute == message_type.data_set:
            assert mine.getvalue() == other.getvalue()


def test_a_primitive_with_both_ids_is_a_response() -> None:
    for message_type in TYPES:
        if message_type.is_response:
            primitive = DIMSEPrimitive.from_message(message_of(message_type))
            primitive.MessageID = 1
            assert primitive.to_message(1).type is message_type


def test_a_request_becomes_its_response() -> None:
    request = message_of(messages.N_SET_RQ)
    primitive = ours.N_SET.from_message(respond(request, 0x0107, b"\0\0", ErrorComment="x"))
    assert primitive.is_valid_response
    assert primitive.AffectedSOPClassUID == WIRE["RequestedSOPClassUID"]
    assert primitive.AffectedSOPInstanceUID == WIRE["RequestedSOPInstanceUID"]
    assert primitive.AttributeList is not None
    assert primitive.AttributeList.getvalue() == b"\0\0"
    assert primitive.ErrorComment == "x"


def test_a_message_of_another_service_is_refused() -> None:
    with pytest.raises(ValueError, match="C_FIND cannot show a C-STORE-RQ message"):
        C_FIND.from_message(message_of(messages.C_STORE_RQ))
    with pytest.raises(ValueError, match="DIMSEPrimitive cannot show a C-CANCEL-RQ message"):
        DIMSEPrimitive.from_message(message_of(messages.C_CANCEL_RQ))


def test_a_subclass_shows_the_messages_of_its_service() -> None:
    class Sub(C_STORE):
        pass

    primitive = Sub.from_message(message_of(messages.C_STORE_RQ))
    assert type(primitive) is Sub
    assert primitive.to_message(1).type is messages.C_STORE_RQ
    assert type(DIMSEPrimitive.from_message(message_of(messages.C_STORE_RQ))) is C_STORE


def test_a_received_value_is_shown_as_it_came() -> None:
    command = {"MessageID": 1, "AffectedSOPClassUID": "1" * 70, "Priority": 9, "MoveDestination": "Ä" * 20}
    primitive = C_MOVE.from_message(Message(messages.C_MOVE_RQ, command, 1, b""))
    shown = {keyword: getattr(primitive, keyword) for keyword in command}
    assert shown == command
    assert primitive.is_valid_request


def test_data_sets_of_a_received_message() -> None:
    command = dict.fromkeys(messages.C_STORE_RQ.required, 1) | {
        "AffectedSOPClassUID": "1.2",
        "AffectedSOPInstanceUID": "1.2",
    }
    shared = BytesIO(b"abcd")
    for data, expected in (
        (b"ab", b"ab"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        (object(), b""),
    ):
        primitive = C_STORE.from_message(Message(messages.C_STORE_RQ, command, 1, data))
        assert primitive.DataSet is not None
        assert primitive.DataSet.getvalue() == expected
    assert C_STORE.from_message(Message(messages.C_STORE_RQ, command, 1, shared)).DataSet is shared
    assert C_STORE.from_message(Message(messages.C_STORE_RQ, command, 1, None)).DataSet is None


@pytest.mark.parametrize(("short", "sent"), [(True, "AET"), (False, "AET".ljust(16))])
def test_long_ae_titles_on_request(monkeypatch: pytest.MonkeyPatch, short: bool, sent: str) -> None:
    monkeypatch.setattr(_config, "USE_SHORT_DIMSE_AET", short)
    primitive = C_MOVE()
    primitive.MoveDestination = "AET"
    assert primitive.to_message(1).command["MoveDestination"] == sent


@pytest.mark.parametrize(
    "given_",
    [
        0x00100010,
        Tag(0x0010, 0x0010),
        (0x0010, 0x0010),
        "PatientName",
        [0x00100010],
        ["PatientName"],
        MultiValue(int, [0x00100010]),
    ],
)
def test_forms_of_an_offending_element(given_: Any) -> None:
    primitive = C_GET()
    primitive.MessageIDBeingRespondedTo = 1
    primitive.Status = 0xA900
    primitive.OffendingElement = given_
    message = primitive.to_message(1)
    assert message.command["OffendingElement"] == [0x00100010]
    encoded = encode_command(message.type, message.command, False)
    assert decode_command(encoded)[1]["OffendingElement"] == [0x00100010]


def test_copies() -> None:
    primitive = C_STORE.from_message(message_of(messages.C_STORE_RQ))
    for copied in (copy.deepcopy(primitive), pickle.loads(pickle.dumps(primitive))):
        assert copied.to_message(3) == primitive.to_message(3)
        assert copied._context_id == 3
    copied.MessageID = 100
    assert primitive.MessageID == 7
