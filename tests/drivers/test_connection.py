"""The protocol side of one association: the standard's table, limits, and the one A-ABORT that each fault deserves."""

from __future__ import annotations

from collections.abc import Callable
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.grids import grid
from tests.sockets import (
    CT_IMAGE_STORAGE,
    IMPLICIT_VR_LE,
    RELEASE_RP,
    RELEASE_RQ,
    VERIFICATION,
    cancel_pdus,
    echo_pdus,
    store_pdus,
)

from dicomnet.dimse.codec import encode_command
from dicomnet.dimse.datasets import FileRange, MemorySink
from dicomnet.dimse.messages import C_ECHO_RQ, C_FIND_RSP, C_STORE_RQ, Message
from dicomnet.drivers.connection import Connection, Happening, ProviderAbort
from dicomnet.drivers.reading import stamp_of, stamp_of_stream
from dicomnet.errors import AssociationClosed, ProtocolError, UnusableObject
from dicomnet.upper_layer.machine import Machine
from dicomnet.upper_layer.negotiation import (
    Acceptor,
    SupportedContext,
    accept,
    identification_items,
)
from dicomnet.upper_layer.table import TABLE, Event, State
from dicomnet.wire.items import ProposedContext
from dicomnet.wire.pdu import Abort, AssociateAC, AssociateRJ, AssociateRQ, ReleaseRP, ReleaseRQ
from dicomnet.wire.scanner import PDU_EXCESS

ARTIM = 30.0
LIMIT = 4096
IDENTIFICATION = identification_items(LIMIT, "1.2.3", None)
REQUEST = AssociateRQ(
    "CALLED",
    "CALLING",
    (
        ProposedContext(1, VERIFICATION, (IMPLICIT_VR_LE,)),
        ProposedContext(3, CT_IMAGE_STORAGE, (IMPLICIT_VR_LE,)),
        ProposedContext(5, "1.2.3.4.5", (IMPLICIT_VR_LE,)),
    ),
    IDENTIFICATION,
)
SUPPORTED = dict.fromkeys((VERIFICATION, CT_IMAGE_STORAGE), SupportedContext((IMPLICIT_VR_LE,)))
ANSWER, AGREEMENT = accept(REQUEST, Acceptor(SUPPORTED, IDENTIFICATION))
REJECTION = AssociateRJ(1, 1, 1)
# (0010,0020) PatientID in Implicit VR Little Endian.
DATA_SET = b"\x10\x00\x20\x00\x02\x00\x00\x00ID"


class Told:
    """Remembers what an observer is told."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)
        self.events: list[tuple[str, dict[str, object]]] = []

    def notify(self, name: str, **fields: object) -> None:
        self.events.append((name, fields))


def connection(*, is_requestor: bool = False, observer: Told | None = None) -> Connection:
    return Connection(
        is_requestor=is_requestor,
        maximum_length=LIMIT,
        open_sink=lambda message, context: MemorySink(1 << 24),
        artim=ARTIM,
        observer=observer,
    )


def feed(made: Connection, data: bytes, now: float = 0.0) -> list[Happening]:
    return list(made.receive(memoryview(data), now))


def sent(made: Connection) -> bytes:
    return b"".join(made.take_outgoing())


def sta2() -> Connection:
    made = connection()
    made.transport_opened(0.0)
    return made


def sta3() -> Connection:
    made = sta2()
    feed(made, REQUEST.encode())
    return made


def sta5() -> Connection:
    made = connection(is_requestor=True)
    made.transport_opened(0.0, REQUEST)
    made.take_outgoing()
    return made


def sta6() -> Connection:
    made = sta3()
    made.accept(ANSWER, AGREEMENT, 0.0)
    made.take_outgoing()
    return made


def sta6_requestor() -> Connection:
    made = sta5()
    feed(made, ANSWER.encode())
    return made


def sta7() -> Connection:
    made = sta6_requestor()
    made.release(0.0)
    made.take_outgoing()
    return made


def sta8() -> Connection:
    made = sta6()
    feed(made, RELEASE_RQ)
    return made


def sta9() -> Connection:
    made = sta7()
    feed(made, RELEASE_RQ)
    return made


def sta10() -> Connection:
    made = sta6()
    made.release(0.0)
    made.take_outgoing()
    feed(made, RELEASE_RQ)
    return made


def sta11() -> Connection:
    made = sta9()
    made.answer_release(0.0)
    made.take_outgoing()
    return made


def sta12() -> Connection:
    made = sta10()
    feed(made, RELEASE_RP)
    return made


def sta13() -> Connection:
    made = sta3()
    made.reject(REJECTION, 0.0)
    made.take_outgoing()
    return made


STATES: dict[State, Callable[[], Connection]] = {
    State.STA2: sta2,
    State.STA3: sta3,
    State.STA5: sta5,
    State.STA6: sta6,
    State.STA7: sta7,
    State.STA8: sta8,
    State.STA9: sta9,
    State.STA10: sta10,
    State.STA11: sta11,
    State.STA12: sta12,
    State.STA13: sta13,
}
RECEIVED: dict[Event, bytes] = {
    Event.ASSOCIATE_AC: ANSWER.encode(),
    Event.ASSOCIATE_RJ: REJECTION.encode(),
    Event.ASSOCIATE_RQ: REQUEST.encode(),
    Event.DATA: echo_pdus(),
    Event.RELEASE_RQ: RELEASE_RQ,
    Event.RELEASE_RP: RELEASE_RP,
    Event.ABORT: Abort(0).encode(),
    Event.INVALID_PDU: b"\x09\x00\x00\x00\x00\x04\x00\x00\x00\x00",
}


@pytest.mark.parametrize("state", STATES)
def test_the_states_are_what_they_are_called(state: State) -> None:
    assert STATES[state]().machine.state is state


@grid("event", RECEIVED)
@grid("state", STATES)
def test_every_pdu_in_every_state_does_what_the_table_says(state: State, event: Event) -> None:
    """PS3.8 Table 9-10. P-DATA in Sta6 and Sta7 takes a short way, which must come to the same."""
    made = STATES[state]()
    oracle = Machine(made.machine.is_requestor)
    oracle.state = state
    oracle.fire(event)
    happenings = feed(made, RECEIVED[event], 5.0)
    assert made.machine.state is oracle.state
    action = TABLE[event, state]
    expected = {
        "AA1": Abort(0).encode(),
        "AA8": Abort(2, 1 if event is Event.INVALID_PDU else 2).encode(),
        "AA7": Abort(2, 1 if event is Event.INVALID_PDU else 2).encode(),
    }.get(action, b"")
    assert sent(made) == expected
    assert made.must_close == (action in ("AE4", "AR3", "AA2", "AA3"))
    if action in ("AE3", "AE4", "AE6", "AR2", "AR3", "AR8", "AR10", "AA3", "DT2", "AR6"):
        (happening,) = happenings
        assert not isinstance(happening, ProviderAbort)
    elif action == "AA8":
        (happening,) = happenings
        assert isinstance(happening, ProviderAbort)
    if action in ("AA1", "AA8"):
        assert made.artim_deadline == 5.0 + ARTIM


@pytest.mark.parametrize("state", STATES)
def test_a_lost_connection_does_what_the_table_says(state: State) -> None:
    """P022 P013."""
    made = STATES[state]()
    happening = made.transport_closed(0.0)
    assert made.machine.state is State.STA1
    assert made.must_close
    assert isinstance(happening, ProviderAbort) == (TABLE[Event.TRANSPORT_CLOSED, state] == "AA4")


@pytest.mark.parametrize("state", STATES)
def test_a_local_abort_does_what_the_table_says(state: State) -> None:
    made = STATES[state]()
    made.abort(0.0)
    action = TABLE.get((Event.ABORT_REQUEST, state))
    assert sent(made) == (Abort(0).encode() if action == "AA1" else b"")
    assert made.must_close == (action is None)


@pytest.mark.parametrize("state", STATES)
def test_after_an_abort_there_is_silence(state: State) -> None:
    """P020 M030: One A-ABORT an association, whatever the peer goes on to say."""
    made = STATES[state]()
    feed(made, RECEIVED[Event.INVALID_PDU])
    first = sent(made)
    assert first in (b"", Abort(0).encode(), Abort(2, 1).encode())
    for data in RECEIVED.values():
        assert feed(made, data) == []
        assert sent(made) == b""


def test_artim_closes_without_a_pdu() -> None:
    """PS3.8 section 9.1.5, action AA-2."""
    made = sta2()
    assert made.artim_deadline == ARTIM
    assert not made.expire(ARTIM - 0.1)
    assert made.expire(ARTIM)
    assert (made.must_close, sent(made)) == (True, b"")


def test_artim_is_not_restarted_by_the_beginning_of_a_pdu() -> None:
    """P003."""
    made = sta2()
    for at, byte in enumerate(REQUEST.encode()[:20]):
        assert feed(made, bytes([byte]), float(at)) == []
    assert made.artim_deadline == ARTIM


def test_another_protocol_version_is_rejected() -> None:
    """PS3.8 Table 9-21: rejected permanently by the ACSE provider, protocol version not supported."""
    made = sta2()
    asked = AssociateRQ("A", "B", REQUEST.contexts, IDENTIFICATION, protocol_version=2)
    assert feed(made, asked.encode()) == []
    assert sent(made) == AssociateRJ(1, 2, 2).encode()
    assert made.machine.state is State.STA13


def pdv(context_id: int, control: int, data: bytes) -> bytes:
    return (len(data) + 2).to_bytes(4, "big") + bytes((context_id, control)) + data


def p_data(*values: bytes) -> bytes:
    body = b"".join(values)
    return b"\x04\x00" + len(body).to_bytes(4, "big") + body


HALF_A_STORE = store_pdus(DATA_SET, context_id=3)[: -len(DATA_SET) - 12]
VIOLATIONS: dict[str, tuple[bytes, int]] = {
    "unknown PDU type": (b"\x42\x00\x00\x00\x00\x04", 1),
    "TLS": (b"\x16\x03\x01", 1),
    "HTTP": (b"GET / HTTP/1.1\r\n", 1),
    "a second request": (REQUEST.encode(), 2),
    "an answer to nothing": (ANSWER.encode(), 2),
    "a rejection": (REJECTION.encode(), 2),
    "an answer to a release that was not asked for": (RELEASE_RP, 2),
    "release in the middle of a message": (HALF_A_STORE + RELEASE_RQ, 2),
    "much longer than announced": (b"\x04\x00" + (LIMIT + PDU_EXCESS + 1).to_bytes(4, "big"), 6),
    "4 GiB": (b"\x04\x00\xff\xff\xff\xff", 6),
    "no value": (b"\x04\x00\x00\x00\x00\x00", 6),
    "a value of one byte": (p_data(b"\x00\x00\x00\x01\x01\x00"), 6),
    "a value that is longer than its PDU": (p_data(b"\x00\x00\x00\x20" + bytes(8)), 6),
    "release of a wrong length": (b"\x05\x00\x00\x00\x00\x05", 6),
    "context that was not proposed": (p_data(pdv(7, 3, b"xx")), 6),
    "context that was not accepted": (p_data(pdv(5, 3, b"xx")), 6),
    "even context": (p_data(pdv(2, 3, b"xx")), 6),
    "data set without command set": (p_data(pdv(1, 2, b"xx")), 6),
    "two contexts at once": (HALF_A_STORE + echo_pdus(), 6),
    "damaged command set": (p_data(pdv(1, 3, b"\x00\x00\x00\x00\x04\x00\x00")), 6),
    "unknown command field": (
        p_data(pdv(1, 3, bytes.fromhex("00000001 02000000 7777 00000008 02000000 0101"))),
        6,
    ),
    "endless command set": (p_data(pdv(1, 1, bytes(4000))) * 17, 6),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_each_violation_has_its_abort(name: str) -> None:
    """P043 P054 P065 M002 M004 M008 M031.

    PS3.8 section 9.3.8: source 2, and 1 unrecognised PDU, 2 unexpected PDU, 6 invalid parameter value.
    """
    data, reason = VIOLATIONS[name]
    made = sta6()
    happenings = feed(made, data)
    assert sent(made) == Abort(2, reason).encode()
    assert isinstance(happenings[-1], ProviderAbort)
    assert not any(isinstance(happening, Message) for happening in happenings)
    assert made.machine.state is State.STA13


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100])
def test_the_cuts_of_the_stream_do_not_matter(step: int) -> None:
    stream = (
        echo_pdus(1)
        + store_pdus(DATA_SET * 900, context_id=3, maximum_length=1000)
        + cancel_pdus(9)
        + RELEASE_RQ
    )
    made = sta6()
    happenings = [h for at in range(0, len(stream), step) for h in feed(made, stream[at : at + step])]
    messages = [h for h in happenings if isinstance(h, Message)]
    assert [m.type.name for m in messages] == ["C-ECHO-RQ", "C-STORE-RQ", "C-CANCEL-RQ"]
    assert isinstance(messages[1].data, MemorySink)
    assert bytes(messages[1].data.content) == DATA_SET * 900
    assert isinstance(happenings[-1], ReleaseRQ)
    assert made.is_between_messages


HAPPENINGS = (
    AssociateRQ,
    AssociateAC,
    AssociateRJ,
    ReleaseRQ,
    ReleaseRP,
    Abort,
    Message,
    ProviderAbort,
)


@pytest.mark.parametrize("state", STATES)
@given(data=st.data())
def test_random_bytes_have_a_documented_outcome(state: State, data: st.DataObject) -> None:
    """A happening, one A-ABORT at the most, and never an exception."""
    made = STATES[state]()
    grains = st.one_of(
        st.binary(max_size=40), st.sampled_from([*RECEIVED.values(), HALF_A_STORE, p_data(pdv(3, 2, b"x"))])
    )
    output = b""
    for grain in data.draw(st.lists(grains, max_size=6)):
        for happening in feed(made, grain):
            assert isinstance(happening, HAPPENINGS)
            if isinstance(happening, ProviderAbort):
                assert isinstance(happening.error, ProtocolError)
        output += sent(made)
    assert output in {b"", AssociateRJ(1, 2, 2).encode(), Abort(0).encode()} | {
        Abort(2, reason).encode() for reason in (1, 2, 6)
    }
    made.transport_closed(1.0)


@pytest.mark.parametrize("length", [1, 6, 7])
def test_a_maximum_length_that_nobody_can_mean_is_not_believed(
    length: int, caplog: pytest.LogCaptureFixture
) -> None:
    """P058: it leaves no room for two bytes of a message (PS3.8 Annex E.1), and costs no association."""
    items = identification_items(length, "1.2.3", None)
    made = sta5()
    (happening,) = feed(made, AssociateAC(ANSWER.contexts, items, bytes(64)).encode())
    assert isinstance(happening, AssociateAC)
    sizes = [len(each) for batch in made.send(store(bytes(100_000))) for each in batch]
    assert max(sizes) == 16384 - 6
    assert f"the maximum length is {length}" in caplog.text


ECHO = Message(C_ECHO_RQ, {"AffectedSOPClassUID": VERIFICATION, "MessageID": 1}, 1)


def store(data: object) -> Message:
    command = {
        "AffectedSOPClassUID": CT_IMAGE_STORAGE,
        "MessageID": 1,
        "Priority": 2,
        "AffectedSOPInstanceUID": "1.2",
    }
    return Message(C_STORE_RQ, command, 3, data)


@pytest.mark.parametrize("size", [0, 1, 2, LIMIT - 13, LIMIT - 12, LIMIT - 11, 3 << 20])
def test_a_message_arrives_as_it_was_sent(size: int, tmp_path: Path) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    content = content[:size]
    path = tmp_path / "file"
    path.write_bytes(b"head" + content + b"tail")
    for source in (content, bytearray(content), memoryview(content), FileRange(path, 4, size)):
        receiver = sta6()
        received = []
        for batch in sta6_requestor().send(store(source)):
            stream = b"".join(batch)
            assert len(stream) <= (1 << 20) + (1 << 15)
            received += feed(receiver, stream)
        (message,) = received
        assert isinstance(message, Message)
        assert isinstance(message.data, MemorySink)
        assert bytes(message.data.content) == content


@pytest.mark.parametrize("state", [s for s in STATES if s not in (State.STA6, State.STA8)])
def test_messages_are_sent_on_an_association_only(state: State) -> None:
    """Sta8 may still send before it answers the release (AR-7)."""
    with pytest.raises(AssociationClosed):
        list(STATES[state]().send(ECHO))


def test_messages_may_be_sent_until_the_release_is_answered() -> None:
    assert list(sta8().send(ECHO))


def test_a_file_that_cannot_be_opened_is_known_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(UnusableObject, match="cannot be read"):
        next(sta6_requestor().send(store(FileRange(tmp_path / "none", 0, 10))))


def test_a_file_that_becomes_shorter_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    with pytest.raises(UnusableObject, match="became shorter"):
        list(sta6_requestor().send(store(FileRange(path, 5, 6))))


class InMemory:
    """A file without a path."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def open(self) -> BufferedReader:
        return BufferedReader(BytesIO(self.content))

    def read(self, length: int) -> bytes | None:
        return self.content if len(self.content) == length else None

    def __str__(self) -> str:
        return "an object"


@pytest.mark.parametrize("size", [0, 1, 2, LIMIT - 12, 3 << 20])
def test_a_file_without_a_path_is_read_forward(size: int) -> None:
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    file = InMemory(b"head" + content + b"tail")
    looked_at = FileRange(file, 4, size, stamp=stamp_of_stream(file.open(), 4))
    receiver, received = sta6(), []
    for batch in sta6_requestor().send(store(looked_at)):
        received += feed(receiver, b"".join(batch))
    (message,) = received
    assert isinstance(message, Message)
    assert isinstance(message.data, MemorySink)
    assert bytes(message.data.content) == content
    with pytest.raises(UnusableObject, match="an object became shorter"):
        list(sta6_requestor().send(store(FileRange(file, 4, size + 5))))


@pytest.mark.parametrize("other", [b"headand more", b"hea-and "])
def test_a_file_without_a_path_that_has_another_header_or_length_is_not_sent(other: bytes) -> None:
    file = InMemory(b"headtail")
    looked_at = FileRange(file, 4, 4, stamp=stamp_of_stream(file.open(), 4))
    file.content = other
    with pytest.raises(UnusableObject, match="an object was changed"):
        next(sta6_requestor().send(store(looked_at)))


@pytest.mark.parametrize("other", [b"a longer object", b"an0ther object"])
def test_a_file_that_is_replaced_after_it_was_looked_at_is_not_sent_in_its_name(
    other: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"another object")
    looked_at = FileRange(path, 4, 10, stamp=stamp_of(path.stat()))
    assert list(sta6_requestor().send(store(looked_at)))
    replacement = tmp_path / "other"
    replacement.write_bytes(other)
    replacement.replace(path)
    with pytest.raises(UnusableObject, match="was changed"):
        next(sta6_requestor().send(store(looked_at)))


def test_the_observer_is_told_what_it_asked_for() -> None:
    told = Told("EVT_DATA_RECV", "EVT_PDU_RECV", "EVT_DIMSE_RECV", "EVT_FSM_TRANSITION")
    made = connection(observer=told)
    made.transport_opened(0.0)
    feed(made, REQUEST.encode())
    made.accept(ANSWER, AGREEMENT, 0.0)
    stream = echo_pdus()
    feed(made, stream[:9])
    feed(made, stream[9:])
    assert [fields["data"] for name, fields in told.events if name == "EVT_DATA_RECV"] == [
        REQUEST.encode(),
        stream[:9],
        stream[9:],
    ]
    pdus = [fields["pdu"] for name, fields in told.events if name == "EVT_PDU_RECV"]
    assert [type(pdu).__name__ for pdu in pdus] == ["AssociateRQ", "PDataTF"]
    assert sum(name == "EVT_DIMSE_RECV" for name, _ in told.events) == 1
    transitions = [
        (f["current_state"], f["fsm_event"], f["next_state"])
        for name, f in told.events
        if name == "EVT_FSM_TRANSITION"
    ]
    assert transitions[:3] == [("Sta1", "Evt5", "Sta2"), ("Sta2", "Evt6", "Sta3"), ("Sta3", "Evt7", "Sta6")]


def test_matches_are_sent_with_their_own_command_sets() -> None:
    scp = sta6()
    first: dict[str, Any] = {"MessageIDBeingRespondedTo": 7, "Status": 0xFF00}
    other = first | {"OffendingElement": [0x00100010]}
    for command in (first, first, other, other, first, first | {"Status": 0xFF01}):
        expected = encode_command(C_FIND_RSP, command, True)
        buffers = [
            bytes(each) for batch in scp.send(Message(C_FIND_RSP, command, 1, b"ab")) for each in batch
        ]
        assert buffers[1::2] == [expected, b"ab"]
        # What is done to it afterwards does not reach the next.
        command.get("OffendingElement", []).append(1)
        command["Status"] = command["Status"] ^ 1
