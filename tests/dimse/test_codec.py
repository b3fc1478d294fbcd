"""The command-set codec against pydicom's reader and writer, pynetdicom's messages, and PS3.7 section 6.3.1."""

from __future__ import annotations

import pickle
import random
import struct
import tracemalloc
import warnings
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pynetdicom import dimse_messages, dimse_primitives
from pynetdicom.dsutils import decode as pynetdicom_decode
from pynetdicom.dsutils import encode as pynetdicom_encode

from dicomnet.dimse import codec, messages
from dicomnet.dimse.codec import (
    FAILED_LIST,
    MalformedCommand,
    UnknownCommand,
    decode_command,
    encode_command,
)
from dicomnet.dimse.messages import MESSAGE_TYPES, MessageType
from dicomnet.dimse.parameters import COMMAND_ELEMENTS, PARAMETERS
from dicomnet.errors import ProtocolError

TYPES = list(MESSAGE_TYPES.values())
SAMPLES: dict[str, Any] = {
    "AffectedSOPClassUID": "1.2.840.10008.1.1",
    "RequestedSOPClassUID": "1.2.840.10008.5.1.1.1",
    "MessageID": 7,
    "MessageIDBeingRespondedTo": 65535,
    "MoveDestination": "STORE_SCP",
    "Priority": 1,
    "Status": 0xFF00,
    "OffendingElement": [0x00100010, 0x7FE00010],
    "ErrorComment": "no room",
    "ErrorID": 258,
    "AffectedSOPInstanceUID": "1.2.3",
    "RequestedSOPInstanceUID": "1.2.3.4",
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
ECHO = {"MessageID": 1, "AffectedSOPClassUID": "1.2.840.10008.1.1"}


def full(message_type: MessageType) -> dict[str, Any]:
    return {row.parameter.keyword: SAMPLES[row.parameter.keyword] for row in message_type.parameters}


def element(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


def us(tag: int, value: int) -> bytes:
    return element(tag, value.to_bytes(2, "little"))


def command_set(*parts: bytes) -> bytes:
    body = b"".join(parts)
    return element(0, struct.pack("<L", len(body))) + body


def echo_request(*extra: bytes) -> bytes:
    return command_set(
        element(0x02, b"1.2.840.10008.1.1\0"), us(0x100, 0x30), us(0x110, 1), us(0x800, 0x0101), *extra
    )


def as_python(dataset: Dataset) -> dict[str, Any]:
    def plain(value: Any, vr: str) -> Any:
        if vr == "AT":
            return [
                int(tag)
                for tag in (
                    value if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]
                )
            ]
        return int(value) if vr in ("US", "UL") else str(value)

    return {item.keyword: plain(item.value, item.VR) for item in dataset if item.value not in (None, "")}


def with_data_set(message_type: MessageType) -> list[bool]:
    if message_type.data_set_required:
        return [True]
    return [False, True] if message_type.data_set else [False]


CASES = [(t, has) for t in TYPES for has in with_data_set(t)]


@pytest.mark.parametrize(("message_type", "has_data_set"), CASES, ids=str)
def test_pydicom_reads_what_is_encoded(message_type: MessageType, has_data_set: bool) -> None:
    """M001 M002."""
    encoded = encode_command(message_type, full(message_type), has_data_set)
    dataset = read_dataset(BytesIO(encoded), is_implicit_VR=True, is_little_endian=True)
    assert as_python(dataset) == full(message_type) | {
        "CommandGroupLength": len(encoded) - 12,
        "CommandField": message_type.command_field,
        "CommandDataSetType": 0x0001 if has_data_set else 0x0101,
    }
    assert len(encoded) % 2 == 0
    assert encoded[:8] == b"\0\0\0\0\x04\0\0\0"


@pytest.mark.parametrize(("message_type", "has_data_set"), CASES, ids=str)
def test_pydicom_writes_the_same_bytes(message_type: MessageType, has_data_set: bool) -> None:
    dataset = Dataset()
    for keyword, value in full(message_type).items():
        setattr(dataset, keyword, value)
    dataset.CommandField = message_type.command_field
    dataset.CommandDataSetType = 0x0001 if has_data_set else 0x0101
    body = pynetdicom_encode(dataset, True, True)
    assert body is not None
    encoded = encode_command(message_type, full(message_type), has_data_set)
    assert encoded == element(0, struct.pack("<L", len(body))) + body


@pytest.mark.parametrize(("message_type", "has_data_set"), CASES, ids=str)
def test_decode_inverts_encode(message_type: MessageType, has_data_set: bool) -> None:
    encoded = encode_command(message_type, full(message_type), has_data_set)
    for data in (encoded, bytearray(encoded), memoryview(encoded)):
        got_type, command, got_has = decode_command(data)
        assert got_type is message_type
        assert (command, got_has) == (full(message_type), has_data_set)


def pynetdicom_message(message_type: MessageType) -> tuple[Any, dict[str, Any]]:
    """A message of this type filled by way of pynetdicom's primitive, and what was put in."""
    primitive = getattr(dimse_primitives, message_type.service.replace("-", "_"))()
    message = getattr(dimse_messages, message_type.name.replace("-", "_"))()
    sent = {item.keyword for item in message.command_set}
    filled = {keyword: value for keyword, value in full(message_type).items() if keyword in sent}
    for keyword, value in filled.items():
        setattr(primitive, keyword, value)
    if message_type.data_set is not None:
        setattr(primitive, message_type.data_set, BytesIO(b"\x08\0\x18\0\0\0\0\0"))
    message.primitive_to_message(primitive)
    return message, filled


@pytest.mark.parametrize("message_type", TYPES, ids=lambda t: t.name)
def test_decodes_what_pynetdicom_sends(message_type: MessageType) -> None:
    message, filled = pynetdicom_message(message_type)
    fragments = [
        value[1:]
        for primitive in message.encode_msg(1, 100)
        for _, value in primitive.presentation_data_value_list
        if value[0] & 1
    ]
    got_type, command, has_data_set = decode_command(b"".join(fragments))
    assert got_type is message_type
    assert command == filled
    assert has_data_set == (message_type.data_set is not None)


@pytest.mark.parametrize("message_type", TYPES, ids=lambda t: t.name)
def test_pynetdicom_decodes_what_is_sent(message_type: MessageType) -> None:
    message, filled = pynetdicom_message(message_type)
    has_data_set = message_type.data_set is not None
    ours = encode_command(message_type, filled, has_data_set)
    theirs = pynetdicom_encode(message.command_set, True, True)
    assert ours == theirs
    received = pynetdicom_decode(BytesIO(ours), True, True)
    assert {k: v for k, v in as_python(received).items() if k in filled} == filled


def values(vr: str) -> st.SearchStrategy[Any]:
    title = st.text(
        st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\\"),
        min_size=1,
        max_size=16,
    )
    components = st.lists(st.integers(0, 10**6), min_size=1, max_size=9)
    return {
        "US": st.integers(0, 0xFFFF),
        "UI": components.map(lambda parts: ".".join(map(str, parts))),
        "AE": title,
        "LO": title,
        "AT": st.lists(st.integers(0, 0xFFFFFFFF), min_size=1, max_size=9),
    }[vr]


@st.composite
def commands(draw: st.DrawFn) -> tuple[MessageType, dict[str, Any], bool]:
    message_type = draw(st.sampled_from(TYPES))
    command = {
        row.parameter.keyword: draw(values(row.parameter.vr))
        for row in message_type.parameters
        if row.is_required or draw(st.booleans())
    }
    return message_type, command, draw(st.sampled_from(with_data_set(message_type)))


@given(commands())
def test_round_trip(case: tuple[MessageType, dict[str, Any], bool]) -> None:
    assert decode_command(encode_command(*case)) == case


@given(commands(), st.randoms(use_true_random=False))
def test_order_of_elements_does_not_matter(
    case: tuple[MessageType, dict[str, Any], bool], shuffler: random.Random
) -> None:
    """M001."""
    encoded = encode_command(*case)
    parts, position = [], 0
    while position < len(encoded):
        end = position + 8 + int.from_bytes(encoded[position + 4 : position + 8], "little")
        parts.append(encoded[position:end])
        position = end
    shuffler.shuffle(parts)
    assert decode_command(b"".join(parts)) == case


@given(st.binary(max_size=300))
def test_any_bytes_give_a_message_or_a_protocol_error(data: bytes) -> None:
    attempt(data)


@settings(max_examples=300)
@given(
    commands(), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6), st.integers(0, 400)
)
def test_a_damaged_command_set_gives_a_message_or_a_protocol_error(
    case: tuple[MessageType, dict[str, Any], bool], edits: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(encode_command(*case))
    for position, value in edits:
        data[position % len(data)] = value
    attempt(bytes(data))
    attempt(bytes(data[: cut % len(data)]))
    attempt(bytes(data) + bytes([value for _, value in edits]))


@given(
    st.sampled_from(TYPES),
    st.lists(st.tuples(st.sampled_from(COMMAND_ELEMENTS), st.binary(max_size=12)), max_size=6),
)
def test_well_framed_nonsense_gives_a_message_or_a_protocol_error(
    message_type: MessageType, elements: list[tuple[Any, bytes]]
) -> None:
    head = us(0x100, message_type.command_field) + us(0x800, 0x0101)
    attempt(head + b"".join(element(row.tag, value) for row, value in elements))


def attempt(data: bytes) -> None:
    refusal = None
    try:
        message_type, command, has_data_set = decode_command(data)
    except ProtocolError as error:
        refusal = error
    if refusal is not None:
        assert (refusal.source, refusal.reason) == (2, 6)
        assert str(refusal).isascii()
    else:
        assert message_type.required <= command.keys() <= message_type.keywords
        assert isinstance(has_data_set, bool)
        assert has_kinds(command)


def has_kinds(command: dict[str, Any]) -> bool:
    kinds = {"US": int, "UI": str, "AE": str, "LO": str, "AT": list}
    return all(type(value) is kinds[PARAMETERS[keyword].vr] for keyword, value in command.items())


def test_every_truncation_is_refused() -> None:
    command = {keyword: SAMPLES[keyword] for keyword in messages.C_STORE_RQ.required}
    encoded = encode_command(messages.C_STORE_RQ, command, True)
    for cut in range(len(encoded)):
        with pytest.raises(ProtocolError, match=r"ends within|lacks|is missing"):
            decode_command(encoded[:cut])


@pytest.mark.parametrize("length", [0, 1, 0xFFFFFFFF])
def test_group_length_of_a_peer_is_not_trusted(length: int) -> None:
    """M002."""
    data = bytearray(echo_request())
    data[8:12] = struct.pack("<L", length)
    assert decode_command(data) == (messages.C_ECHO_RQ, ECHO, False)


def test_group_length_may_be_absent() -> None:
    assert decode_command(echo_request()[12:]) == (messages.C_ECHO_RQ, ECHO, False)


def test_unknown_retired_and_foreign_elements_are_skipped() -> None:
    foreign = (
        element(0x0001, b"\0\0\0\0"),
        element(0x0200, b"PEER"),
        us(0x5170, 1),
        us(0x0700, 9),
        us(0xFFFF, 1),
    )
    assert decode_command(echo_request(*foreign)) == (messages.C_ECHO_RQ, ECHO, False)


def test_a_malformed_foreign_element_is_skipped() -> None:
    assert decode_command(echo_request(element(0x0700, b"\1"))) == (messages.C_ECHO_RQ, ECHO, False)


@pytest.mark.parametrize("value", [0x0000, 0x0001, 0x0100, 0x0102, 0xFFFF])
def test_any_data_set_type_but_0101_announces_a_data_set(value: int) -> None:
    """M003."""
    data = bytearray(echo_request())
    data[-2:] = value.to_bytes(2, "little")
    assert decode_command(data) == (messages.C_ECHO_RQ, ECHO, True)


@pytest.mark.parametrize("tag", [0x0110, 0x5170])
def test_an_element_twice_with_one_value_is_there_once(tag: int) -> None:
    """M001."""
    again = us(tag, 1)
    for _ in range(2):
        assert decode_command(echo_request(again, again)) == (messages.C_ECHO_RQ, ECHO, False)


@pytest.mark.parametrize("keyword", ["AffectedSOPClassUID", "AffectedSOPInstanceUID"])
def test_an_element_with_two_values_has_none(keyword: str) -> None:
    """M001."""
    encoded = encode_command(messages.C_STORE_RQ, full(messages.C_STORE_RQ), True)
    with pytest.raises(MalformedCommand, match=f"{keyword} of C-STORE-RQ is malformed") as refusal:
        decode_command(encoded + element(PARAMETERS[keyword].tag, b"9\0"))
    assert refusal.value.can_be_answered
    assert keyword not in refusal.value.command


@pytest.mark.parametrize(
    "tag", [PARAMETERS[k].tag for k in ("CommandField", "CommandDataSetType", "MessageID")]
)
def test_what_a_command_set_is_known_by_has_one_value(tag: int) -> None:
    """M001."""
    with pytest.raises(ProtocolError, match="malformed") as refusal:
        decode_command(echo_request(us(tag, 0x8030)))
    assert not getattr(refusal.value, "can_be_answered", False)


def test_a_message_id_twice_cannot_be_answered() -> None:
    with pytest.raises(MalformedCommand) as refusal:
        decode_command(echo_request(us(0x110, 2)))
    assert not refusal.value.can_be_answered


@pytest.mark.parametrize("tag", [0x00080018, 0x00020010, 0xFFFE0000, 0x7FE00010])
def test_an_element_of_another_group_is_skipped(tag: int) -> None:
    """M001."""
    for _ in range(2):
        decoded = decode_command(echo_request(element(tag, b"1.2\0")))
        assert decoded == (messages.C_ECHO_RQ, ECHO, False)


@pytest.mark.parametrize("message_type", [messages.C_GET_RSP, messages.C_MOVE_RSP], ids=lambda t: t.name)
def test_a_failed_list_in_the_command_set_is_kept(message_type: MessageType) -> None:
    encoded = encode_command(message_type, full(message_type), False)
    for value in (b"1.2\\1.3\0", b"1.2 "):
        _, command, _ = decode_command(encoded + element(0x00080058, value))
        assert command == full(message_type) | {FAILED_LIST: value.decode().strip(" \0")}


@pytest.mark.parametrize("value", [b"\1", b"\1\0\0", b"\1\0\0\0"])
@pytest.mark.parametrize(
    "keyword", [row.keyword for row in COMMAND_ELEMENTS if row.vr == "US" and row.keyword in SAMPLES]
)
def test_a_us_of_wrong_length_is_left_out_or_refused(keyword: str, value: bytes) -> None:
    """M011."""
    for message_type in (t for t in TYPES if keyword in t.keywords):
        others = full(message_type)
        del others[keyword]
        tag = PARAMETERS[keyword].tag
        data = us(0x100, message_type.command_field) + us(0x800, 0x0101) + element(tag, value)
        data += b"".join(map(raw_sample, others))
        if keyword == "Priority":
            assert decode_command(data) == (message_type, {**others, keyword: 0}, False)
            continue
        if keyword not in message_type.required:
            assert decode_command(data) == (message_type, others, False)
            continue
        with pytest.raises(
            MalformedCommand, match=f"{keyword} of {message_type.name} is malformed"
        ) as refusal:
            decode_command(data)
        assert refusal.value.reason == 6
        assert refusal.value.can_be_answered is (message_type.has_response and keyword != "MessageID")
        again = pickle.loads(pickle.dumps(refusal.value))
        assert (again.command, again.malformed, again.missing) == (others, (keyword,), (keyword,))


@pytest.mark.parametrize("keyword", ["CommandField", "CommandDataSetType"])
@pytest.mark.parametrize("value", [None, b"", b"\1", b"\1\0\0\0"])
def test_a_command_set_needs_its_field_and_data_set_type(keyword: str, value: bytes | None) -> None:
    given = {
        "CommandField": b"\x30\0",
        "CommandDataSetType": b"\x01\x01",
        "MessageID": b"\1\0",
        keyword: value,
    }
    data = b"".join(element(PARAMETERS[key].tag, raw) for key, raw in given.items() if raw is not None)
    with pytest.raises(ProtocolError, match=f"{keyword} is (missing|malformed)") as refusal:
        decode_command(data)
    assert type(refusal.value) is ProtocolError


@pytest.mark.parametrize("keyword", ["AffectedSOPClassUID", "AffectedSOPInstanceUID"])
@pytest.mark.parametrize(
    "raw", [b"\xe4" * 8, b"1" * 66, b"1.2." + b"3" * 61 + b"\0"], ids=["Latin-1", "66", "65"]
)
def test_a_uid_that_is_none_is_kept_as_it_came(keyword: str, raw: bytes) -> None:
    """Of a request it is a fault, which is told without repeating it; a response is not the worse for it."""
    text = raw.decode("latin-1").rstrip("\0")
    for message_type in (messages.C_STORE_RQ, messages.C_STORE_RSP):
        others = {key: value for key, value in full(message_type).items() if key != keyword}
        data = us(0x100, message_type.command_field) + us(0x800, 1 if message_type.data_set else 0x0101)
        data += element(PARAMETERS[keyword].tag, raw) + b"".join(map(raw_sample, others))
        if message_type.is_response:
            for _ in range(2):
                decoded = decode_command(data)
                assert decoded == (message_type, {**others, keyword: text}, False)
            again = encode_command(*decoded)
            assert decode_command(again) == decoded
            assert raw in again
            continue
        with pytest.raises(MalformedCommand, match=f"{keyword} of C-STORE-RQ is malformed") as refusal:
            decode_command(data)
        assert text not in str(refusal.value)
        assert refusal.value.command[keyword] == text
        assert refusal.value.can_be_answered


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"AET ", "AET"),
        (b" AET", "AET"),
        (b"AET\0", "AET"),
        (b"A B ", "A B"),
        (b"\xc4\xff", "Äÿ"),
        (b"A" * 20, "A" * 20),
        (b"ODD", "ODD"),
    ],
)
def test_an_ae_title_is_taken_without_its_padding(raw: bytes, expected: str) -> None:
    body = us(0x100, 0x21) + us(0x110, 1) + us(0x700, 0) + us(0x800, 1) + element(0x02, b"1.2\0")
    assert decode_command(body + element(0x600, raw))[1]["MoveDestination"] == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [(b"1.2\0", "1.2"), (b"1.2 ", "1.2"), (b"1.2", "1.2"), (b"1.2\0\0\0", "1.2"), (b" 1.2 \0", " 1.2")],
)
def test_a_uid_is_taken_without_its_padding(raw: bytes, expected: str) -> None:
    body = us(0x100, 0x30) + us(0x110, 1) + us(0x800, 0x0101)
    assert decode_command(body + element(0x02, raw))[1]["AffectedSOPClassUID"] == expected


@pytest.mark.parametrize("raw", [b"\0", b"\x10\0\x08", b"\x10\0\x08\0\0\0"])
def test_an_at_of_wrong_length_is_left_out_of_a_response(raw: bytes) -> None:
    body = us(0x100, 0x8030 ^ 0x31) + us(0x120, 1) + us(0x800, 0x0101) + us(0x900, 0xA900)
    command = {"MessageIDBeingRespondedTo": 1, "Status": 0xA900}
    assert decode_command(body + element(0x901, raw)) == (messages.C_STORE_RSP, command, False)


@pytest.mark.parametrize("raw", [b"\0", b"\x10\0\x08", b"\x10\0\x08\0\0\0"])
def test_an_at_of_wrong_length_is_refused_in_a_request(raw: bytes) -> None:
    """An N-GET without its list would ask for everything."""
    body = encode_command(messages.N_GET_RQ, {key: SAMPLES[key] for key in messages.N_GET_RQ.required}, False)
    with pytest.raises(MalformedCommand, match="AttributeIdentifierList of N-GET-RQ is malformed") as refusal:
        decode_command(body + element(0x1005, raw))
    assert refusal.value.can_be_answered


@pytest.mark.parametrize("message_type", TYPES, ids=lambda t: t.name)
def test_a_required_element_is_required(message_type: MessageType) -> None:
    """M010."""
    for keyword in message_type.required:
        tag = PARAMETERS[keyword].tag
        others = (p for p in message_type.parameters if p.parameter.keyword != keyword)
        data = us(0x100, message_type.command_field) + us(0x800, 0x0101)
        data += b"".join(raw_sample(row.parameter.keyword) for row in others)
        for absent in (b"", element(tag, b"")):
            if keyword == "Priority":
                assert decode_command(data + absent)[1] == full(message_type) | {keyword: 0}
                continue
            with pytest.raises(ProtocolError, match=f"{message_type.name} lacks {keyword}$"):
                decode_command(data + absent)
        with pytest.raises(ValueError, match=f"{keyword} of {message_type.name} cannot be encoded"):
            encode_command(message_type, full(message_type) | {keyword: None}, message_type.data_set_required)


def raw_sample(keyword: str) -> bytes:
    dataset = Dataset()
    setattr(dataset, keyword, SAMPLES[keyword])
    encoded = pynetdicom_encode(dataset, True, True)
    assert encoded is not None
    return encoded


@pytest.mark.parametrize("message_type", TYPES, ids=lambda t: t.name)
def test_an_optional_element_may_be_absent_or_empty(message_type: MessageType) -> None:
    needed = {keyword: SAMPLES[keyword] for keyword in message_type.required}
    optional = message_type.keywords - message_type.required
    encoded = encode_command(message_type, needed, message_type.data_set_required)
    assert decode_command(encoded)[1] == needed
    empty = b"".join(element(PARAMETERS[keyword].tag, b"") for keyword in optional)
    assert decode_command(encoded + empty)[1] == needed
    hollow: dict[str, Any] = {"UI": "", "AE": "  ", "LO": "", "AT": [], "US": None}
    unset = {keyword: hollow[PARAMETERS[keyword].vr] for keyword in optional}
    assert encode_command(message_type, needed | unset, message_type.data_set_required) == encoded


@pytest.mark.parametrize("command_field", [0x0000, 0x0002, 0x0FFE, 0x8FFF, 0xFFFF])
@pytest.mark.parametrize(("raw_id", "message_id"), [(None, None), (b"\x05\0", 5), (b"\x05", None)])
@pytest.mark.parametrize(("data_set_type", "has_data_set"), [(0x0101, False), (0x0001, True)])
def test_an_unknown_command_can_be_answered(
    command_field: int, raw_id: bytes | None, message_id: int | None, data_set_type: int, has_data_set: bool
) -> None:
    """M008."""
    data = us(0x100, command_field) + us(0x800, data_set_type)
    data += b"" if raw_id is None else element(0x110, raw_id)
    with pytest.raises(UnknownCommand, match=f"0x{command_field:04X} is unknown") as refusal:
        decode_command(data)
    for caught in (refusal.value, pickle.loads(pickle.dumps(refusal.value))):
        assert caught.command_field == command_field
        assert caught.message_id == message_id
        assert caught.has_data_set is has_data_set


BAD_VALUES = [
    ("MessageID", -1),
    ("MessageID", 65536),
    ("MessageID", "1"),
    ("MessageID", 1.0),
    ("AffectedSOPClassUID", 5),
    ("AffectedSOPClassUID", "1" * 65),
    ("AffectedSOPClassUID", "1" * 66),
    ("AffectedSOPClassUID", "é"),
    ("MoveOriginatorApplicationEntityTitle", "A" * 17),
    ("MoveOriginatorApplicationEntityTitle", "A\\B"),
    ("MoveOriginatorApplicationEntityTitle", "A\nB"),
    ("MoveOriginatorApplicationEntityTitle", "é"),
    ("MoveOriginatorApplicationEntityTitle", b"AET"),
]


@pytest.mark.parametrize(("keyword", "value"), BAD_VALUES)
def test_a_value_that_cannot_be_sent_is_refused(keyword: str, value: object) -> None:
    command = full(messages.C_STORE_RQ) | {keyword: value}
    with pytest.raises(ValueError, match=f"{keyword} of C-STORE-RQ cannot be encoded"):
        encode_command(messages.C_STORE_RQ, command, True)


@pytest.mark.parametrize("value", [[-1], [0x100000000], ["x"], 5])
def test_tags_that_cannot_be_sent_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="OffendingElement of C-STORE-RSP cannot be encoded"):
        encode_command(messages.C_STORE_RSP, full(messages.C_STORE_RSP) | {"OffendingElement": value}, False)


def test_an_element_of_another_message_is_refused() -> None:
    with pytest.raises(ValueError, match="Priority is not an element of C-ECHO-RQ"):
        encode_command(messages.C_ECHO_RQ, ECHO | {"Priority": 1}, False)
    assert encode_command(messages.C_ECHO_RQ, ECHO | {"Priority": None}, False) == echo_request()


def test_a_data_set_that_the_message_cannot_have_is_refused() -> None:
    with pytest.raises(ValueError, match="C-ECHO-RQ has no data set"):
        encode_command(messages.C_ECHO_RQ, ECHO, True)
    with pytest.raises(ValueError, match="C-STORE-RQ must have a data set"):
        encode_command(messages.C_STORE_RQ, full(messages.C_STORE_RQ), False)


@pytest.mark.parametrize(
    ("comment", "sent"),
    [("a" * 70, "a" * 64), ("naïve\\path\nx", "na?ve?path?x"), ("a" * 63, "a" * 63)],
)
def test_an_error_comment_is_made_sendable(comment: str, sent: str) -> None:
    command = {"MessageIDBeingRespondedTo": 1, "Status": 0x0110, "ErrorComment": comment}
    encoded = encode_command(messages.C_ECHO_RSP, command, False)
    assert len(encoded) % 2 == 0
    assert decode_command(encoded)[1]["ErrorComment"] == sent


def test_what_pydicom_warns_of_does_not_warn_here() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoded = encode_command(messages.C_ECHO_RQ, ECHO | {"AffectedSOPClassUID": "1.02.x"}, False)
        assert decode_command(encoded)[1]["AffectedSOPClassUID"] == "1.02.x"


def outcome(data: bytes) -> object:
    """What becomes of a command set."""
    try:
        return decode_command(data)
    except ProtocolError as error:
        return type(error), str(error)


def test_what_was_learned_of_one_command_set_does_not_mislead_about_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Command sets of one length that differ in single bytes, beside a decoder that learns nothing."""
    sample = encode_command(messages.C_STORE_RSP, full(messages.C_STORE_RSP), False)
    cases = [sample]
    for at in range(len(sample)):
        cases += [
            sample[:at] + bytes((value,)) + sample[at + 1 :] for value in (0, 1, 0xFF, sample[at] ^ 0x80)
        ]
    learned = [outcome(case) for case in [*cases, *reversed(cases)]]
    monkeypatch.setattr(codec, "_LONGEST_LEARNED", 0)
    monkeypatch.setattr(codec, "_layouts", {})
    assert learned == [outcome(case) for case in [*cases, *reversed(cases)]]


def test_what_is_learned_of_strangers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    layouts: dict[int, list[codec._Layout]] = {}
    monkeypatch.setattr(codec, "_layouts", layouts)
    for length in range(0, 4000, 2):
        decode_command(echo_request(element(0x0001, bytes(length))))
    for tag in range(0x4000, 0x4100):
        decode_command(echo_request(element(tag, b"")))
    assert layouts
    assert max(layouts) <= codec._LONGEST_LEARNED
    assert max(map(len, layouts.values())) <= codec._LAYOUTS_A_LENGTH


def test_command_sets_with_thousands_of_elements_are_not_kept_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was learned of one of 64 KiB took 1.8 MB."""
    monkeypatch.setattr(codec, "_layouts", {})
    unknown = b"".join(element(tag, b"") for tag in range(0x4000, 0x5F00))
    tracemalloc.start()
    try:
        for length in range(0, 40, 2):
            decode_command(echo_request(unknown + element(0x3FFE, bytes(length))))
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
