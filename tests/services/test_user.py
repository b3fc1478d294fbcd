"""The SCU's procedures: what is sent when, whatever order the peer answers in."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnet.dimse.messages import C_FIND_RQ, C_FIND_RSP, C_STORE_RQ, C_STORE_RSP, Message
from dicomnet.errors import UnusableObject
from dicomnet.services.steps import Deliver, Receive, Send, Work
from dicomnet.services.user import many_replies, one_reply, pipeline

CT = "1.2.840.10008.5.1.4.1.1.2"


def store(number: int, data: object = b"object") -> Message:
    command = {
        "AffectedSOPClassUID": CT,
        "MessageID": number,
        "Priority": 0,
        "AffectedSOPInstanceUID": f"1.2.{number}",
    }
    return Message(C_STORE_RQ, command, 1, data)


def stored(number: int, status: int = 0x0000) -> Message:
    return Message(C_STORE_RSP, {"MessageIDBeingRespondedTo": number, "Status": status}, 1)


class Peer:
    """Performs the steps of a procedure as a driver does, and answers outstanding requests in an order of its own."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.sent: list[Message] = []
        self.delivered: list[Message] = []
        self.outstanding: list[int] = []
        self.most = 0

    def perform(self, procedure: Any) -> Any:
        outcome: Any = None
        error: Exception | None = None
        while True:
            try:
                step = procedure.throw(error) if error else procedure.send(outcome)
            except StopIteration as end:
                return end.value
            outcome, error = None, None
            match step:
                case Send(message):
                    self.sent.append(message)
                    self.outstanding.append(message.message_id)
                    self.most = max(self.most, len(self.outstanding))
                case Work(function):
                    try:
                        outcome = function()
                    except UnusableObject as unusable:
                        error = unusable
                case Receive(message_ids):
                    # A peer answers what it was asked, and nothing else is waited for.
                    assert set(message_ids) == set(self.outstanding)
                    outcome = stored(self.outstanding.pop(self.random.randrange(len(self.outstanding))))
                case Deliver(message):
                    self.delivered.append(message)


def no_object() -> bytes:
    raise UnusableObject("it is not there")


@given(
    st.lists(st.sampled_from(["bytes", "work", "unusable"]), max_size=30),
    st.integers(1, 8),
    st.randoms(use_true_random=False),
)
def test_no_more_than_the_window_is_outstanding_and_each_response_is_delivered_once(
    kinds: list[str], window: int, random: Random
) -> None:
    data: dict[str, Any] = {"bytes": b"object", "work": Work(lambda: b"made"), "unusable": Work(no_object)}
    requests = [store(number, data[kind]) for number, kind in enumerate(kinds, 1)]
    refused: list[int] = []
    peer = Peer(random)
    peer.perform(pipeline(iter(requests), window, lambda request, _: refused.append(request.message_id)))
    usable = [number for number, kind in enumerate(kinds, 1) if kind != "unusable"]
    assert [message.message_id for message in peer.sent] == usable
    assert [message.data for message in peer.sent] == [
        b"made" if kind == "work" else b"object" for kind in kinds if kind != "unusable"
    ]
    answered = [message.command["MessageIDBeingRespondedTo"] for message in peer.delivered]
    assert sorted(answered) == usable
    assert refused == [number for number, kind in enumerate(kinds, 1) if kind == "unusable"]
    assert peer.most <= window
    # The window is used, not only kept.
    assert peer.most == min(window, len(usable))


def test_a_request_is_taken_only_when_there_is_room_for_it() -> None:
    """Files are opened one at a time, not all before the first is sent."""
    taken: list[int] = []

    def requests() -> Any:
        for number in range(1, 6):
            taken.append(number)
            yield store(number)

    procedure = pipeline(requests(), 2, lambda *_: None)
    assert isinstance(next(procedure), Send)
    assert isinstance(next(procedure), Send)
    assert isinstance(next(procedure), Receive)
    assert taken == [1, 2]
    assert isinstance(procedure.send(stored(2)), Deliver)
    assert taken == [1, 2]
    assert isinstance(next(procedure), Send)
    assert taken == [1, 2, 3]


def test_work_on_what_comes_next_is_done_where_there_is_no_room_for_it_yet() -> None:
    work = iter([Work(lambda: b""), None])
    procedure = pipeline([store(1), store(2), store(3)], 2, lambda *_: None, lambda: next(work))
    assert isinstance(next(procedure), Send)
    assert isinstance(next(procedure), Send)
    assert isinstance(next(procedure), Work)
    assert isinstance(next(procedure), Receive)
    assert isinstance(procedure.send(stored(2)), Deliver)
    assert isinstance(next(procedure), Send)
    assert isinstance(next(procedure), Receive)


def test_the_end_of_the_association_ends_the_pipeline() -> None:
    """Only an object that cannot be read is passed over; what else fails is not."""
    told: list[object] = []
    procedure = pipeline([store(1), store(2)], 1, lambda *args: told.append(args))
    next(procedure)
    with pytest.raises(ConnectionError):
        procedure.throw(ConnectionError("gone"))
    assert told == []


@pytest.mark.parametrize("final", [0x0000, 0xA700, 0xFE00])
def test_responses_are_delivered_up_to_the_final_one(final: int) -> None:
    """PS3.7 Annex C: only 0xFF00 and 0xFF01 say that more follow."""
    request = Message(C_FIND_RQ, {"AffectedSOPClassUID": CT, "MessageID": 9, "Priority": 0}, 1, b"query")
    procedure = many_replies(request)
    first = next(procedure)
    assert isinstance(first, Send)
    assert first.message is request
    delivered = []
    for status in (0xFF00, 0xFF01, final):
        waiting = next(procedure)
        assert isinstance(waiting, Receive)
        assert list(waiting.message_ids) == [9]
        response = Message(C_FIND_RSP, {"MessageIDBeingRespondedTo": 9, "Status": status}, 1)
        step = procedure.send(response)
        assert isinstance(step, Deliver)
        delivered.append(step.message.status)
    with pytest.raises(StopIteration):
        next(procedure)
    assert delivered == [0xFF00, 0xFF01, final]


def test_one_reply_gives_the_response() -> None:
    peer = Peer(Random(0))
    response = peer.perform(one_reply(store(3, Work(lambda: b"made"))))
    assert response == stored(3)
    assert [message.data for message in peer.sent] == [b"made"]
    assert peer.delivered == []


def test_one_reply_of_what_cannot_be_read_sends_nothing() -> None:
    peer = Peer(Random(0))
    with pytest.raises(UnusableObject):
        peer.perform(one_reply(store(3, Work(no_object))))
    assert peer.sent == []
