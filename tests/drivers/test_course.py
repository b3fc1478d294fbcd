"""How a procedure goes on from step to step, and what is left of it when it ends, without a socket."""

from __future__ import annotations

from typing import Any

import pytest

from dicomnet.dimse.messages import C_ECHO_RQ, Message, respond
from dicomnet.drivers.conversation import Conversation
from dicomnet.drivers.course import Course
from dicomnet.errors import AssociationAborted, ServiceRefusal
from dicomnet.services.steps import Procedure, Receive, Send
from dicomnet.services.user import one_reply


def echo(number: int) -> Message:
    return Message(C_ECHO_RQ, {"AffectedSOPClassUID": "1.2.840.10008.1.1", "MessageID": number}, 1)


def test_outcomes_go_in_and_the_value_comes_out() -> None:
    talk = Conversation()
    course = Course(one_reply(echo(1)), talk)
    assert isinstance(course.proceed(), Send)
    talk.expect(echo(1))
    course.outcome = None
    assert isinstance(course.proceed(), Receive)
    course.outcome = respond(echo(1), 0)
    assert course.proceed() is None
    assert course.is_over
    assert course.value.status == 0
    assert talk.free_message_id(1) == 1


def test_an_error_is_raised_in_the_procedure_once() -> None:
    def procedure() -> Procedure[str]:
        try:
            yield Send(echo(1))
        except ServiceRefusal as refusal:
            yield Receive((refusal.status,))
        return "done"

    course = Course(procedure(), Conversation())
    course.proceed()
    course.error = ServiceRefusal(0x0112)
    assert course.proceed().message_ids == (0x0112,)
    assert course.proceed() is None
    assert course.value == "done"


def test_what_was_answered_before_the_end_counts() -> None:
    talk = Conversation()
    course = Course(one_reply(echo(1)), talk)
    course.proceed()
    talk.expect(echo(1))
    course.proceed()
    talk.arrived(respond(echo(1), 0))
    course.error = AssociationAborted(None)
    with pytest.raises(AssociationAborted):
        course.proceed()
    assert course.is_over
    assert [each.status for each in course.arrived] == [0]


def test_what_is_abandoned_is_closed_and_its_response_is_for_nobody() -> None:
    talk = Conversation()
    ends: list[Any] = []

    def procedure() -> Procedure[None]:
        try:
            yield Send(echo(1))
            yield Receive((1,))
        finally:
            ends.append("closed")

    course = Course(procedure(), talk)
    course.proceed()
    talk.expect(echo(1))
    course.abandon()
    course.abandon()
    assert ends == ["closed"]
    assert talk.has_abandoned
    assert not talk.match_response(respond(echo(1), 0))
    assert not talk.has_abandoned
