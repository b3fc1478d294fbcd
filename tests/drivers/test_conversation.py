"""The bookkeeping of messages that both drivers share."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnet.dimse.messages import (
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_FIND_RQ,
    C_FIND_RSP,
    C_STORE_RQ,
    Message,
    MessageType,
)
from dicomnet.drivers.connection import Happening, ProviderAbort
from dicomnet.drivers.conversation import Conversation
from dicomnet.drivers.trace import Trace
from dicomnet.services.steps import TOGETHER
from dicomnet.wire.pdu import Abort, ReleaseRQ


class Staged:
    """A sink that remembers whether it was given up."""

    is_aborted = False

    def write(self, data: memoryview) -> None: ...

    def abort(self) -> None:
        self.is_aborted = True


def response(message_id: int, status: int = 0, data: object = None) -> Message:
    return Message(C_FIND_RSP, {"MessageIDBeingRespondedTo": message_id, "Status": status}, 1, data)


def request(message_id: int, data: object = None) -> Message:
    return Message(C_ECHO_RQ, {"MessageID": message_id}, 1, data)


def cancel(message_id: int) -> Message:
    return Message(C_CANCEL_RQ, {"MessageIDBeingRespondedTo": message_id}, 1)


def question(message_id: int) -> Message:
    return Message(C_FIND_RQ, {"MessageID": message_id}, 1)


def store(message_id: int) -> Message:
    return Message(C_STORE_RQ, {"MessageID": message_id}, 1)


def begun(talk: Conversation, kind: MessageType, *happenings: Happening, limit: int = TOGETHER) -> list[int]:
    """The message IDs of the requests that are begun together where all this has arrived."""
    for happening in happenings:
        talk.arrived(happening)
    return [each.message_id for each in talk.begin_next(kind, limit)]


def test_message_ids_are_not_used_twice_at_a_time() -> None:
    """M006."""
    talk = Conversation(Trace(True, 20))
    used = [talk.next_message_id() for _ in range(3)]
    assert used == [1, 2, 3]
    talk.expect(question(2))
    rest = [talk.next_message_id() for _ in range(65535)]
    assert 2 not in rest
    assert set(rest) == set(range(1, 65536)) - {2}
    talk.keep_response(response(2))
    assert 2 in [talk.next_message_id() for _ in range(65535)]


@given(st.permutations([(n, k) for n in range(1, 4) for k in range(3)]))
def test_responses_come_to_the_one_who_asked_in_their_order(order: list[tuple[int, int]]) -> None:
    talk = Conversation(Trace(True, 20))
    for number in range(1, 4):
        talk.expect(question(number))
    seen: dict[int, int] = dict.fromkeys(range(1, 4), 0)
    for number, _ in order:
        seen[number] += 1
        talk.keep_response(response(number, 0xFF00 if seen[number] < 3 else 0))
    for number in (3, 1, 2):
        statuses = [talk.take_response((number,)) for _ in range(4)]
        assert [each and each.status for each in statuses] == [0xFF00, 0xFF00, 0, None]


def test_a_response_that_nobody_asked_for_is_dropped(caplog: Any) -> None:
    """M032."""
    talk, data = Conversation(Trace(True, 20)), Staged()
    talk.keep_response(response(1, data=data))
    assert data.is_aborted
    assert talk.take_response((1,)) is None
    assert "answers no request" in caplog.text


def test_an_abandoned_request_is_outstanding_until_its_final_response() -> None:
    talk, kept, late = Conversation(Trace(True, 20)), Staged(), Staged()
    talk.expect(question(1))
    talk.keep_response(response(1, 0xFF00, kept))
    talk.abandon((1, 2))
    assert kept.is_aborted
    assert talk.has_abandoned
    talk.keep_response(response(1, 0xFF00, late))
    assert late.is_aborted
    states = [talk.has_abandoned]
    talk.keep_response(response(1))
    assert [*states, talk.has_abandoned] == [True, False]
    assert talk.take_response((1, 2)) is None


def test_cancels_count_for_what_is_performed_or_waits_only() -> None:
    """M013."""
    talk = Conversation(Trace(True, 20))
    talk.arrived(cancel(7))
    talk.arrived(request(8))
    talk.arrived(cancel(8))
    assert [type(each) for each in talk.inbox] == [Message]
    talk.begin(7)
    assert not talk.is_cancelled(7)
    talk.arrived(cancel(7))
    assert talk.is_cancelled(7)
    talk.finish([request(7)])
    talk.begin(7)
    assert not talk.is_cancelled(7)
    talk.finish([request(7)])
    talk.begin(8)
    assert talk.is_cancelled(8)


def test_the_end_and_what_came_before_it() -> None:
    talk, staged = Conversation(Trace(True, 20)), Staged()
    talk.expect(question(1))
    talk.expect(question(2))
    talk.arrived(request(5, staged))
    talk.arrived(response(1))
    assert talk.end() is None
    talk.arrived(Abort(0))
    talk.arrived(ProviderAbort(None))
    assert talk.end() == Abort(0)
    assert [each.message_id for each in talk.take_arrived((1, 2))] == [1]
    talk.drop_requests()
    assert staged.is_aborted
    assert list(talk.inbox) == [Abort(0), ProviderAbort(None)]


def test_only_a_response_in_front_of_the_rest_with_more_to_come_is_early() -> None:
    talk = Conversation(Trace(True, 20))
    talk.expect(question(1))
    assert not talk.has_early_response({1})
    for happening, expected in (
        (response(1, 0xFF00), True),
        (response(1, 0xFF01), True),
        (response(2, 0xFF00), False),
        # The final response waits until the user asks for it: then the association is idle.
        (response(1), False),
        (request(1), False),
        (Abort(0), False),
        (ProviderAbort(None), False),
    ):
        talk.inbox.clear()
        talk.arrived(happening)
        talk.arrived(response(1, 0xFF00))
        assert talk.has_early_response({1}) is expected
    talk.expect(question(2))
    talk.inbox.clear()
    talk.arrived(response(1))
    # That of the other request is to come.
    assert talk.has_early_response({1, 2})


@pytest.mark.parametrize(
    "other",
    [request(8), question(8), response(8), Abort(0), ProviderAbort(None), ReleaseRQ()],
    ids=["C-ECHO-RQ", "C-FIND-RQ", "C-FIND-RSP", "A-ABORT", "lost", "A-RELEASE-RQ"],
)
def test_requests_are_begun_together_up_to_another_happening(other: Happening) -> None:
    talk = Conversation(Trace(True, 20))
    assert begun(talk, C_STORE_RQ, store(1), store(2), store(3), other, store(4)) == [1, 2, 3]
    # Nothing is taken out of its order.
    assert list(talk.inbox) == [other, store(4)]
    assert [talk.begin(number) for number in (1, 2, 3, 4)] == [False, False, False, True]


@pytest.mark.parametrize("used", [1, 2, 3, 9])
def test_of_one_message_id_one_request_is_begun_at_a_time(used: int) -> None:
    """It is that of one of the group, or of one that is performed beside it."""
    talk = Conversation(Trace(True, 20))
    assert talk.begin(9)
    again = store(used)
    assert begun(talk, C_STORE_RQ, store(1), store(2), store(3), again, store(4)) == [1, 2, 3]
    assert list(talk.inbox) == [again, store(4)]
    talk.finish(map(store, (1, 2, 3, 9)))
    assert begun(talk, C_STORE_RQ) == [used, 4]
    assert not talk.inbox


@pytest.mark.parametrize("count", [1, 2, TOGETHER - 1, TOGETHER, TOGETHER + 1, 3 * TOGETHER])
def test_a_turn_takes_so_many_requests_at_most(count: int) -> None:
    talk = Conversation(Trace(True, 20))
    first = min(count, TOGETHER)
    assert begun(talk, C_STORE_RQ, *map(store, range(1, count + 1))) == list(range(1, first + 1))
    # What was not begun can be.
    assert [each.message_id for each in talk.inbox if isinstance(each, Message)] == list(
        range(first + 1, count + 1)
    )
    assert all(talk.begin(number) for number in range(first + 1, count + 1))


def test_what_is_begun_with_others_can_be_cancelled_and_finished() -> None:
    talk = Conversation(Trace(True, 20))
    assert begun(talk, C_FIND_RQ, question(1), question(2)) == [1, 2]
    talk.arrived(cancel(2))
    assert [talk.is_cancelled(number) for number in (1, 2)] == [False, True]
    talk.finish([question(2)])
    assert [talk.begin(number) for number in (1, 2)] == [False, True]
    assert not talk.is_cancelled(2)
