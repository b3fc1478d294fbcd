"""The procedure of a query, step by step."""

from __future__ import annotations

from typing import Any

import pytest

from dicomnet.dimse.messages import C_FIND_RQ, Message
from dicomnet.services.provider import provide
from dicomnet.services.steps import Answer, Cancelled, Handle, Next, Send
from dicomnet.upper_layer.negotiation import NegotiatedContext

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
CONTEXT = NegotiatedContext(1, FIND, 0, "1.2.840.10008.1.2", False, True)
MATCH = Answer(0xFF00, b"")


def statuses(answers: list[Answer], cancelled_after: int) -> list[int]:
    """What is sent where the handler gives these answers, and the cancel is noticed behind so many of them."""
    command = {"AffectedSOPClassUID": FIND, "MessageID": 7, "Priority": 2}
    procedure = provide(Message(C_FIND_RQ, command, 1, b"query"), CONTEXT)
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


def test_without_a_cancel_all_is_sent() -> None:
    assert statuses([MATCH, MATCH], 99) == [0xFF00, 0xFF00, 0x0000]
