"""PDUs, messages and identifiers in words: whatever a peer may send gives lines that are printable and not too long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnet.dimse.messages import C_FIND_RSP, C_GET_RSP, C_STORE_RQ, C_STORE_RSP, MESSAGE_TYPES, Message
from dicomnet.errors import ProtocolError
from dicomnet.services.descriptions import (
    describe_elements,
    describe_message,
    describe_outcome,
    describe_pdu,
    describe_status,
    shown,
)
from dicomnet.wire.items import ProposedContext, UserIdentityAC, UserIdentityRQ
from dicomnet.wire.pdu import Abort, AssociateRQ, decode_pdu

VERIFICATION, CT, IMPLICIT, EXPLICIT = (
    "1.2.840.10008.1.1",
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("PACS", "PACS"),
        ("A\nB", "A\\nB"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\u2028b\x85", "a\\u2028b\\x85"),
        ("\u202eabc", "\\u202eabc"),
        ("x" * 129, "x" * 128 + "…"),
        ("Müller", "Müller"),
    ],
)
def test_text_from_outside_is_one_line(text: str, line: str) -> None:
    assert shown(text) == line


@given(st.sampled_from([1, 2, 3, 7]), st.binary(max_size=300))
def test_whatever_pdu_is_decoded_can_be_described(kind: int, body: bytes) -> None:
    try:
        pdu = decode_pdu(kind, memoryview(body))
    except ProtocolError:
        return
    assert all(line.isprintable() and len(line) < 10_000 for line in describe_pdu(pdu, {}))


@given(
    st.sampled_from([*MESSAGE_TYPES.values()]),
    st.dictionaries(
        st.sampled_from(
            ["MessageID", "Status", "AffectedSOPClassUID", "ErrorComment", "OffendingElement", "Priority"]
        ),
        st.one_of(st.none(), st.integers(0, 65535), st.text(max_size=200), st.lists(st.integers(0, 1 << 32))),
    ),
)
def test_whatever_message_is_received_can_be_described(kind: object, command: dict[str, object]) -> None:
    assert describe_message(Message(kind, command, 1)).isprintable()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "sop_class", "status", "words"),
    [
        (C_STORE_RSP, CT, 0x0000, "0x0000 (success)"),
        (C_STORE_RSP, CT, 0xA700, "0xA700 (failure: refused: out of resources)"),
        (
            C_STORE_RSP,
            "",
            0xB007,
            "0xB007 (warning: stored, though the data set does not match its SOP class)",
        ),
        (C_FIND_RSP, "", 0xFE00, "0xFE00 (cancel"),
        (C_FIND_RSP, "", 0xC123, "0xC123 (failure: unable to process)"),
        (C_FIND_RSP, "", 0x1234, "0x1234 (unknown)"),
    ],
)
def test_a_status_has_words(kind: object, sop_class: str, status: int, words: str) -> None:
    message = Message(kind, {"AffectedSOPClassUID": sop_class, "Status": status}, 1)  # type: ignore[arg-type]
    assert describe_status(message).startswith(words)


def test_an_outcome_has_counts_reason_and_offending_elements() -> None:
    command = {
        "Status": 0xB000,
        "NumberOfCompletedSuboperations": 2,
        "NumberOfFailedSuboperations": 1,
        "ErrorComment": "no\nway",
        "OffendingElement": [0x00100020],
    }
    assert describe_outcome(Message(C_GET_RSP, command, 1)).endswith(
        ", 2 completed, 1 failed, reason: no\\nway, offending: (0010,0020)"
    )


def test_a_message_is_described_by_its_fields_and_not_by_its_data() -> None:
    command = {"MessageID": 7, "AffectedSOPClassUID": CT, "AffectedSOPInstanceUID": "1.2.3", "Priority": 1}
    assert describe_message(Message(C_STORE_RQ, command, 3, b"PATIENT")) == (
        "C-STORE-RQ 7 in context 3: Affected SOP Class UID 1.2.840.10008.5.1.4.1.1.2 (CTImageStorage),"
        " Priority 1 (high), Affected SOP Instance UID 1.2.3"
    )


def test_secrets_of_a_user_are_not_described() -> None:
    items = (UserIdentityRQ(2, b"name", b"pass", True), UserIdentityAC(b"ticket"))
    request = AssociateRQ("A", "B", (ProposedContext(1, VERIFICATION, (IMPLICIT,)),), items)
    lines = list(describe_pdu(request, {}))
    assert lines[1:] == [
        "  context 1: Verification in Implicit VR Little Endian",
        "  user identity: user name and passcode, response asked for: yes",
        "  user identity: a response of 6 bytes",
    ]


def test_a_pdu_of_many_items_is_cut_off() -> None:
    contexts = tuple(ProposedContext(1, VERIFICATION, (IMPLICIT,)) for _ in range(1000))
    request = decode_pdu(1, memoryview(AssociateRQ("A", "B", contexts[:1], ()).encode())[6:])
    object.__setattr__(request, "contexts", contexts)
    lines = list(describe_pdu(request, {}))
    assert (len(lines), lines[-1]) == (257, "  and 745 further items")


def test_an_abort_names_source_and_reason() -> None:
    assert list(describe_pdu(Abort(0), {})) == ["A-ABORT: by the service user"]
    assert list(describe_pdu(Abort(2, 6), {})) == [
        "A-ABORT: by the service provider, reason: invalid PDU parameter value"
    ]


@pytest.mark.parametrize(
    ("data", "syntax", "lines"),
    [
        (b"\x10\0\x20\0LO\x02\0P1", EXPLICIT, ["(0010,0020) LO [P1]"]),
        (b"\x10\0\x20\0\x02\0\0\0P1", IMPLICIT, ["(0010,0020) [P1]"]),
        (b"\x10\0\x20\0LO\x04\0A\nB ", EXPLICIT, ["(0010,0020) LO [A\\nB]"]),
        (
            b"\x10\0\x20\0LO\x02\0P1\x10\0",
            EXPLICIT,
            ["(0010,0020) LO [P1]", "and an element that is cut off"],
        ),
        (b"abc", "1.2.840.10008.1.2.1.99", ["3 bytes, deflated"]),
    ],
)
def test_elements_have_lines(data: bytes, syntax: str, lines: list[str]) -> None:
    assert list(describe_elements(data, syntax)) == lines
