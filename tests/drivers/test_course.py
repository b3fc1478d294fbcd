"""How a procedure goes on from step to step, and what is left of it when it ends, without a socket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest

from dicomnet.dimse.messages import C_ECHO_RQ, Message, respond
from dicomnet.drivers.conversation import Conversation
from dicomnet.drivers.course import Course
from dicomnet.drivers.trace import Trace
from dicomnet.errors import AssociationAborted, DeadlineExceeded, DicomnetError, ServiceRefusal
from dicomnet.services.steps import Procedure, Receive, Send
from dicomnet.services.user import one_reply
from dicomnet.wire.pdu import Abort


class OneTalk:
    """A link of which only the messages are used; it notes what it is aborted for."""

    performers: ClassVar[Mapping[type, Callable[[Any, Any], object]]] = {}

    def __init__(self, talk: Conversation) -> None:
        self.talk = talk
        self.failures: list[DicomnetError | None] = []

    def exchange(self) -> object: ...

    def forget_iteration(self, iteration: object) -> None: ...

    def abort(self, pdu: Abort | None = None, failure: DicomnetError | None = None) -> None:
        self.failures.append(failure)


def echo(number: int) -> Message:
    return Message(C_ECHO_RQ, {"AffectedSOPClassUID": "1.2.840.10008.1.1", "MessageID": number}, 1)


def test_outcomes_go_in_and_the_value_comes_out() -> None:
    talk = Conversation(Trace(True, 20))
    course = Course(OneTalk(talk), one_reply(echo(1)))
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

    course = Course(OneTalk(Conversation(Trace(True, 20))), procedure())
    course.proceed()
    course.error = ServiceRefusal(0x0112)
    assert course.proceed().message_ids == (0x0112,)
    assert course.proceed() is None
    assert course.value == "done"


def test_what_was_answered_before_the_end_counts() -> None:
    talk = Conversation(Trace(True, 20))
    course = Course(OneTalk(talk), one_reply(echo(1)))
    course.proceed()
    talk.expect(echo(1))
    course.proceed()
    talk.arrived(respond(echo(1), 0))
    course.error = AssociationAborted(None)
    with pytest.raises(AssociationAborted):
        course.proceed()
    assert course.is_over
    assert [each.status for each in course.ready] == [0]


def test_what_is_abandoned_is_closed_and_its_response_is_for_nobody() -> None:
    talk = Conversation(Trace(True, 20))
    ends: list[Any] = []

    def procedure() -> Procedure[None]:
        try:
            yield Send(echo(1))
            yield Receive((1,))
        finally:
            ends.append("closed")

    course = Course(OneTalk(talk), procedure())
    course.proceed()
    talk.expect(echo(1))
    course.abandon()
    course.abandon()
    assert ends == ["closed"]
    assert talk.has_abandoned
    assert not talk.match_response(respond(echo(1), 0))
    assert not talk.has_abandoned


def test_an_answer_that_does_not_come_in_time_costs_the_association_also_where_that_is_caught() -> None:
    def procedure() -> Procedure[str]:
        yield Send(echo(1))
        try:
            yield Receive((1,))
        except DeadlineExceeded:
            return "caught"
        return "answered"

    link = OneTalk(Conversation(Trace(True, 20)))
    course = Course(link, procedure())
    late = DeadlineExceeded("message", 1)
    course.failed(course.proceed(), ServiceRefusal(0x0112))
    course.error = None
    assert link.failures == []
    course.failed(course.proceed(), late)
    assert link.failures == [late]
    assert course.proceed() is None
    assert course.value == "caught"
