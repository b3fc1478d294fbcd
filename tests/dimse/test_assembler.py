"""Fragments to messages."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnet.dimse.assembler import COMMAND_SET_LIMIT, Assembler
from dicomnet.dimse.codec import encode_command
from dicomnet.dimse.datasets import MemorySink, Refused
from dicomnet.dimse.messages import C_ECHO_RQ, C_FIND_RSP, C_STORE_RQ, Message
from dicomnet.errors import ProtocolError, ServiceRefusal
from dicomnet.upper_layer.negotiation import NegotiatedContext, Result
from dicomnet.wire.scanner import Fragment

CT = "1.2.840.10008.5.1.4.1.1.2"
CONTEXTS = {
    1: NegotiatedContext(1, "1.2.840.10008.1.1", Result.ACCEPTANCE, "1.2.840.10008.1.2", True, True),
    3: NegotiatedContext(3, CT, Result.ACCEPTANCE, "1.2.840.10008.1.2", True, True),
    5: NegotiatedContext(5, CT, Result.ABSTRACT_SYNTAX_NOT_SUPPORTED),
}
ECHO = encode_command(C_ECHO_RQ, {"AffectedSOPClassUID": "1.2.840.10008.1.1", "MessageID": 7}, False)
STORE = encode_command(
    C_STORE_RQ,
    {"AffectedSOPClassUID": CT, "MessageID": 8, "Priority": 2, "AffectedSOPInstanceUID": "1.2.3"},
    True,
)


class RecordingSink:
    """Keeps what it is given, and refuses from a number of bytes on."""

    def __init__(self, limit: int = 1 << 30) -> None:
        self.received = b""
        self.limit = limit
        self.aborts = 0

    def write(self, data: memoryview) -> None:
        if len(self.received) + len(data) > self.limit:
            raise ServiceRefusal(0xA700, "enough")
        self.received += data

    def abort(self) -> None:
        self.aborts += 1


def assembler(sink: object = None) -> tuple[Assembler, list[Message]]:
    opened: list[Message] = []

    def open_sink(message: Message, context: NegotiatedContext) -> MemorySink:
        assert context is CONTEXTS[message.context_id]
        opened.append(message)
        if isinstance(sink, Exception):
            raise sink
        return sink or MemorySink(1 << 20)  # type: ignore[return-value]

    return Assembler(CONTEXTS, open_sink), opened


def command(context_id: int, data: bytes, last: bool = True) -> Fragment:
    return Fragment(context_id, True, last, memoryview(data))


def data_set(context_id: int, data: bytes, last: bool = True) -> Fragment:
    return Fragment(context_id, False, last, memoryview(data))


def test_a_message_without_data_set_ends_with_its_command_set() -> None:
    made, opened = assembler()
    message = made.add(command(1, ECHO))
    assert message is not None
    assert (message.type, message.message_id, message.context_id, message.data) == (C_ECHO_RQ, 7, 1, None)
    assert made.is_idle
    assert opened == []


@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=8))
def test_a_message_is_the_same_however_it_is_cut(content: bytes, cuts: list[int]) -> None:
    def cut(data: bytes, make: object) -> list[Fragment]:
        at = sorted({0, *(min(c, len(data)) for c in cuts), len(data)})
        pieces = [data[a:b] for a, b in pairwise(at)] or [data]
        return [make(3, piece, i == len(pieces) - 1) for i, piece in enumerate(pieces)]  # type: ignore[operator]

    made, opened = assembler()
    results = [made.add(f) for f in cut(STORE, command) + cut(content, data_set)]
    assert results[:-1] == [None] * (len(results) - 1)
    message = results[-1]
    assert message is not None
    assert message.message_id == 8
    assert isinstance(message.data, MemorySink)
    assert bytes(message.data.content) == content
    assert len(opened) == 1
    assert made.is_idle


def test_what_is_incomplete_is_seen_as_such() -> None:
    made, _ = assembler()
    seen = [made.is_idle]
    for fragment in (command(3, STORE[:10], False), command(3, STORE[10:])):
        made.add(fragment)
        seen.append(made.is_idle)
    assert seen == [True, False, False]


@pytest.mark.parametrize(
    "fragments",
    [
        [command(7, ECHO)],
        [command(5, ECHO)],
        [data_set(3, b"x")],
        [command(3, STORE), data_set(1, b"x")],
        [command(3, STORE), command(1, ECHO)],
        [command(3, STORE), command(3, ECHO)],
        [command(3, STORE[:8], False), command(1, STORE[8:])],
        [command(3, STORE[:8], False), data_set(3, b"x")],
        [command(1, ECHO[:-1])],
        [command(1, b"")],
        [command(1, ECHO), data_set(1, b"late")],
    ],
    ids=[
        "context was not proposed",
        "context was not accepted",
        "data set without command set",
        "data set in another context",
        "command set inside a data set, other context",
        "command set inside a data set",
        "command set in two contexts",
        "data set inside a command set",
        "damaged command set",
        "empty command set",
        "data set that was not announced",
    ],
)
def test_a_fragment_out_of_place_is_the_peers_fault(fragments: list[Fragment]) -> None:
    """M004 P065 P063."""
    made, _ = assembler()
    for fragment in fragments[:-1]:
        assert (made.add(fragment) is None) == (fragment.data != memoryview(ECHO))
    with pytest.raises(ProtocolError) as caught:
        made.add(fragments[-1])
    assert caught.value.reason == 6


def test_a_command_set_has_a_limit() -> None:
    """M031."""
    made, _ = assembler()
    for _ in range(COMMAND_SET_LIMIT // 1024):
        made.add(command(1, bytes(1024), False))
    with pytest.raises(ProtocolError, match="longer than the limit of 65536 bytes"):
        made.add(command(1, b"\0", False))


def test_a_refused_data_set_is_read_to_its_end() -> None:
    made, _ = assembler(ServiceRefusal(0xA700, "no room"))
    made.add(command(3, STORE))
    made.add(data_set(3, b"x" * 100, False))
    message = made.add(data_set(3, b"x"))
    assert message is not None
    assert isinstance(message.data, Refused)
    assert message.data.refusal.status == 0xA700
    following = made.add(command(1, ECHO))
    assert following is not None


def test_a_sink_that_refuses_is_aborted_once() -> None:
    sink = RecordingSink(limit=5)
    made, _ = assembler(sink)
    made.add(command(3, STORE))
    for piece in (b"abc", b"defg", b"hij"):
        made.add(data_set(3, piece, False))
    message = made.add(data_set(3, b""))
    assert message is not None
    assert isinstance(message.data, Refused)
    assert (sink.received, sink.aborts) == (b"abc", 1)


@pytest.mark.parametrize("begun", [0, 1, 2])
def test_discard_forgets_what_was_begun(begun: int) -> None:
    sink = RecordingSink()
    made, _ = assembler(sink)
    for fragment in [command(3, STORE), data_set(3, b"half", False)][:begun]:
        made.add(fragment)
    made.discard()
    assert made.is_idle
    assert sink.aborts == (1 if begun else 0)
    assert made.add(command(1, ECHO)) is not None


def test_an_empty_data_set_is_a_data_set() -> None:
    made, _ = assembler()
    made.add(command(3, STORE))
    message = made.add(data_set(3, b""))
    assert message is not None
    assert isinstance(message.data, MemorySink)
    assert bytes(message.data.content) == b""


def test_matches_with_the_same_command_set_are_messages_of_their_own() -> None:
    known: dict[str, Any] = {"MessageIDBeingRespondedTo": 7, "Status": 0xFF00}
    other = known | {"OffendingElement": [0x00100010]}
    assemble, _ = assembler()
    messages = []
    for number, sent in enumerate([known, known, other, other, known, known | {"Status": 0xFF01}]):
        assert assemble.add(command(3, encode_command(C_FIND_RSP, sent, True))) is None
        message = assemble.add(data_set(3, bytes([number]) * 2))
        assert message is not None
        assert message.type is C_FIND_RSP
        assert message.command == sent
        assert isinstance(message.data, MemorySink)
        assert message.data.content == bytes([number]) * 2
        # What is done to one does not reach the next.
        message.command.get("OffendingElement", []).append(1)
        message.command["Status"] = number
        messages.append(message)
    assert [message.status for message in messages] == list(range(6))
