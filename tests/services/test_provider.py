"""The procedures of a query and of stores that arrived together, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnet.dimse.datasets import MemorySink, Refused
from dicomnet.dimse.messages import C_FIND_RQ, C_STORE_RQ, C_STORE_RSP, Message
from dicomnet.errors import ServiceRefusal
from dicomnet.services.provider import provide, provide_stores
from dicomnet.services.steps import (
    STILL_SEARCHING,
    Answer,
    Batch,
    Cancelled,
    Handle,
    MoreStores,
    Next,
    PlaceStores,
    Respond,
    Send,
    SettleStores,
    StillSearching,
)
from dicomnet.upper_layer.negotiation import NegotiatedContext

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
CONTEXT = NegotiatedContext(1, FIND, 0, "1.2.840.10008.1.2", False, True)
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
MATCH = Answer(0xFF00, b"")


def statuses(answers: Sequence[Answer | StillSearching], cancelled_after: int) -> list[int]:
    """What is sent where the handler gives these answers, and the cancel is noticed behind so many of them."""
    command = {"AffectedSOPClassUID": FIND, "MessageID": 7, "Priority": 2}
    procedure = provide(Message(C_FIND_RQ, command, 1, b"query"), CONTEXT, lambda *_: None)
    given = 0
    sent: list[int] = []
    outcome: Any = None
    while True:
        try:
            step: Any = procedure.send(outcome)
        except StopIteration:
            return sent
        outcome = None
        match step:
            case Handle():
                outcome = answers
            case Next() if given < len(answers):
                outcome = answers[given]
                given += 1
            case Cancelled():
                outcome = given >= cancelled_after
            case Send():
                sent.append(step.message.status)


@pytest.mark.parametrize("own", [0xFE00, 0xC001])
def test_a_handler_that_looks_for_the_cancel_ends_in_its_own_way(own: int) -> None:
    """It was closed without a look where the library noticed the cancel first."""
    assert statuses([MATCH, MATCH, Answer(own)], 2) == [0xFF00, own]


@pytest.mark.parametrize("more", [[], [MATCH], [MATCH] * 5])
def test_any_other_handler_is_ended_with_the_match_that_it_was_at(more: list[Answer]) -> None:
    assert statuses([MATCH, MATCH, *more], 2) == [0xFF00, 0xFE00]


@pytest.mark.parametrize("behind", range(1, 4))
def test_a_search_that_finds_nothing_can_be_cancelled(behind: int) -> None:
    assert statuses([STILL_SEARCHING] * 9, behind) == [0xFE00]
    assert statuses([MATCH] + [STILL_SEARCHING] * 9, behind + 1) == [0xFF00, 0xFE00]
    assert statuses([STILL_SEARCHING, MATCH, STILL_SEARCHING], 99) == [0xFF00, 0x0000]


def test_without_a_cancel_all_is_sent() -> None:
    assert statuses([MATCH, MATCH], 99) == [0xFF00, 0xFF00, 0x0000]


# What a C-STORE-RQ is, and with which status it is refused before anything is stored; None if it is not.
STORES = {
    "stored": None,
    "warned of": None,
    "refused by the store": None,
    "of another class": 0x0122,
    "on a context of queries": 0x0211,
    "on a context of the other role": 0x0122,
    "refused while it arrived": 0xA701,
    "without a data set": 0x0212,
}
OUTCOMES: dict[str, Answer | ServiceRefusal] = {
    "stored": Answer(0x0000),
    "warned of": Answer(0xB000, elements={"ErrorComment": "coerced"}),
    "refused by the store": ServiceRefusal(0xA702, "no space", (0x00080018,)),
}


def store_request(kind: str, number: int) -> tuple[Message, NegotiatedContext]:
    """A C-STORE-RQ on a context of its own."""
    sop_class = FIND if kind == "on a context of queries" else CT
    sink = MemorySink(100)
    sink.write(memoryview(b"data"))
    data: object = sink
    if kind == "refused while it arrived":
        data = Refused(ServiceRefusal(0xA701, "too large"))
    elif kind == "without a data set":
        data = None
    command = {
        "AffectedSOPClassUID": MR if kind == "of another class" else sop_class,
        "MessageID": number,
        "AffectedSOPInstanceUID": f"1.2.{number}",
    }
    as_scp = kind != "on a context of the other role"
    context = NegotiatedContext(2 * number + 1, sop_class, 0, "1.2.840.10008.1.2", not as_scp, as_scp)
    return Message(C_STORE_RQ, command, context.context_id, data), context


class Elsewhere:
    """Stores that a test performs itself."""

    def place(self, requests: Sequence[Message]) -> None:
        raise AssertionError(requests)

    settle = place


def batch_of(first: Message) -> Batch:
    return Batch(Elsewhere(), first, 0.0, None)


class Store:
    """What a driver does for stores: gives the requests in parts, and notes which are to be stored."""

    def __init__(self, *parts: list[tuple[Message, NegotiatedContext]]) -> None:
        self._batch = batch_of(parts[0][0][0])
        self._procedure = provide_stores(self._batch, lambda *_: None)
        self._parts = iter(parts)
        self.placed: list[Message] = []
        self.settled: list[Message] = []
        # What the settling of all of them raises.
        self.failure: ServiceRefusal | None = None

    def run(self, outcomes: dict[int, Answer | ServiceRefusal]) -> list[Message]:
        """The responses, where stores end like this, by message ID."""
        responses: list[Message] = []
        outcome: Any = None
        while True:
            try:
                step: Any = self._procedure.send(outcome)
            except StopIteration:
                return responses
            outcome = None
            assert isinstance(step, Respond) or step.batch is self._batch
            match step:
                case PlaceStores():
                    assert not self.settled
                    self.placed += step.requests
                case MoreStores():
                    outcome = next(self._parts, ())
                case SettleStores():
                    self.settled += step.requests
                    if self.failure is not None:
                        step = self._procedure.throw(self.failure)
                        assert isinstance(step, Respond)
                        responses += step.responses
                        continue
                    outcome = [outcomes[each.message_id] for each in step.requests]
                case Respond():
                    responses += step.responses
                case _:
                    raise AssertionError(step)


@given(st.lists(st.sampled_from(list(STORES)), min_size=1, max_size=16), st.randoms())
def test_stores_that_arrive_together_are_answered_each_for_itself(kinds: list[str], random: Any) -> None:
    """In the order of the requests, and what is refused is not stored."""
    numbers = random.sample(range(1, 127), len(kinds))
    requests = [store_request(kind, number) for kind, number in zip(kinds, numbers, strict=True)]
    cuts = sorted({0, len(kinds), *(random.randrange(1, len(kinds) + 1) for _ in range(random.randrange(3)))})
    driver = Store(*(requests[begin:end] for begin, end in pairwise(cuts)))
    outcomes = {
        number: OUTCOMES[kind] for kind, number in zip(kinds, numbers, strict=True) if kind in OUTCOMES
    }
    responses = driver.run(outcomes)
    sound = [message for (message, _), kind in zip(requests, kinds, strict=True) if STORES[kind] is None]
    assert [id(message) for message in driver.placed] == [id(message) for message in sound]
    assert [id(message) for message in driver.settled] == [id(message) for message in sound]
    # What the floor above does not get is let go of here.
    for message, _ in requests:
        if isinstance(message.data, MemorySink):
            assert message.data.content == (b"data" if message in sound else b"")
    assert len(responses) == len(requests)
    for (message, context), kind, response in zip(requests, kinds, responses, strict=True):
        assert response.type is C_STORE_RSP
        assert response == alone_answered(message, context, kind)
        assert response.command["AffectedSOPInstanceUID"] == message.command["AffectedSOPInstanceUID"]
        if STORES[kind] is not None:
            assert response.status == STORES[kind]


def test_what_fails_for_all_is_answered_to_all() -> None:
    kinds = ["stored", "of another class", "stored"]
    requests = [store_request(kind, number) for number, kind in enumerate(kinds, 1)]
    driver = Store(requests)
    driver.failure = ServiceRefusal(0xA700, "no index")
    assert [(each.message_id, each.status) for each in driver.run({})] == [
        (1, 0xA700),
        (2, 0x0122),
        (3, 0xA700),
    ]
    assert [message.data.content for message, _ in requests if isinstance(message.data, MemorySink)] == [
        b""
    ] * 3


@pytest.mark.parametrize("steps", [2, 3, 4, 5])
def test_stores_whose_association_ends_are_let_go_of(steps: int) -> None:
    """Wherever the procedure is then."""
    requests = [store_request("stored", number) for number in (1, 2)]
    procedure = provide_stores(batch_of(requests[0][0]), lambda *_: None)
    outcomes = iter([None, requests[:1], None, requests[1:], None])
    for _ in range(steps):
        procedure.send(next(outcomes))
    procedure.close()
    taken = requests if steps > 3 else requests[:1]
    contents = [message.data.content for message, _ in taken if isinstance(message.data, MemorySink)]
    assert contents == [b""] * len(taken)


def alone_answered(message: Message, context: NegotiatedContext, kind: str) -> Message:
    """The response where it is the only request."""
    procedure = provide(message, context, lambda *_: None)
    step: Any = next(procedure)
    if isinstance(step, Handle):
        outcome = OUTCOMES[kind]
        step = procedure.throw(outcome) if isinstance(outcome, ServiceRefusal) else procedure.send(outcome)
    assert isinstance(step, Send)
    return step.message


def test_where_all_are_refused_nothing_is_stored_and_all_are_answered() -> None:
    driver = Store([store_request("of another class", number) for number in (1, 2)])
    assert [(each.message_id, each.status) for each in driver.run({})] == [(1, 0x0122), (2, 0x0122)]
    assert not driver.placed
