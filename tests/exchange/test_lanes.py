"""What lanes share, without threads and tasks: who has to wait for whom, and what becomes of what is left."""

from __future__ import annotations

from itertools import count

import pytest
from tests.exchange.test_storing import AGREEMENT, answer, queue_of, requests_of, sending

from dicomnet.errors import AssociationClosed, AssociationRejected
from dicomnet.exchange import lanes as module
from dicomnet.exchange.lanes import Lanes
from dicomnet.exchange.operations import Lease, Leave, Use, Wait
from dicomnet.exchange.results import StoreResult
from dicomnet.exchange.sending import lane


def lanes_of(number: int, count: int = 3) -> Lanes:
    lanes = Lanes(queue_of(number), 4, count)
    lanes.started()
    return lanes


def send_all(lanes: Lanes) -> None:
    transmission = sending(lanes.queue)
    for request in requests_of(transmission):
        transmission.answered(answer(request))


def test_the_others_begin_when_the_first_has_its_association() -> None:
    lanes = lanes_of(5)
    assert lanes.begin()
    assert lanes.opened() == 2
    assert lanes.opened() == 0


def test_none_begins_when_nothing_more_is_to_be_sent() -> None:
    lanes = lanes_of(5)
    assert lanes.begin()
    lanes.stop()
    assert lanes.opened() == 0
    assert lanes.begin() is False


def test_a_lane_without_work_waits_for_one_that_sends() -> None:
    """It may lose its association, and leave something behind."""
    lanes = lanes_of(2)
    assert lanes.begin()
    send_all(lanes)
    assert lanes.begin() is None
    lanes.pause()
    assert lanes.begin() is False


def test_results_are_bounded_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESULTS_LIMIT", 2)
    lanes = lanes_of(0)
    result = StoreResult("path", 0)
    assert lanes.take() is None
    assert [lanes.put(result) for _ in range(3)] == [True, True, None]
    assert lanes.take() == (result,)
    assert lanes.put(result) is True
    lanes.stop()
    assert lanes.put(result) is True
    lanes.ended(None)
    assert [lanes.take() for _ in range(4)] == [(result,), (result,), (result,), ()]


def test_a_refusal_is_raised_where_no_association_could_be_opened() -> None:
    lanes = lanes_of(2)
    assert lanes.begin()
    lanes.refusal = AssociationRejected(2, 3, 2)
    with pytest.raises(AssociationRejected):
        lanes.finish(may_raise=True)


@pytest.mark.parametrize("has_opened", [True, False])
def test_what_is_left_has_failed(has_opened: bool) -> None:
    """There was an association, now or for an earlier plan, so the refusal is in the results."""
    lanes = lanes_of(2)
    assert lanes.begin()
    if has_opened:
        lanes.opened()
    lanes.refusal = AssociationRejected(2, 3, 2)
    lanes.finish(may_raise=has_opened)
    comments = [result.comment for result in iter(lanes.queue.take_result, None)]
    assert len(comments) == 2
    assert all("local limit" in comment for comment in comments)


def lease_of(*, is_reused: bool = False) -> Lease:
    return Lease(AGREEMENT, count(1).__next__, is_reused)


def test_a_lane_without_any_answer_leaves_its_objects_to_one_that_works() -> None:
    lanes = lanes_of(5)
    here, there = lanes.enter(), lanes.enter()
    lost, working = lease_of(), lease_of()
    assert here.opened(lost) == 2
    assert there.opened(working) == 0
    assert here.lost(lost) is None
    working.has_answer = True
    assert here.lost(lost) is False


@pytest.mark.parametrize("end", ["lost", "refused", "idle", "stopped"])
def test_a_lane_without_any_answer_goes_on_where_no_other_works(end: str) -> None:
    lanes = lanes_of(5)
    here, there = lanes.enter(), lanes.enter()
    lost, other = lease_of(), lease_of()
    here.opened(lost)
    there.opened(other)
    assert here.lost(lost) is None
    if end == "lost":
        assert there.lost(other) is True
    elif end == "refused":
        assert there.refused(AssociationRejected(2, 3, 2), 0.0) is True
    elif end == "idle":
        there.pause()
    else:
        lanes.stop()
    assert here.lost(lost) is True


def test_a_lane_that_waits_for_work_with_an_association_that_was_answered_on_works() -> None:
    lanes = lanes_of(5)
    here, there = lanes.enter(), lanes.enter()
    lost, working = lease_of(), lease_of()
    here.opened(lost)
    there.opened(working)
    working.has_answer = True
    there.pause()
    assert here.lost(lost) is False


def test_a_lane_that_found_nothing_to_send_on_an_association_of_before_works() -> None:
    """It was passed over, and what another lane could not send had failed."""
    lanes = lanes_of(5)
    here, there = lanes.enter(), lanes.enter()
    lost, working = lease_of(), lease_of(is_reused=True)
    here.opened(lost)
    there.opened(working)
    there.pause()
    assert here.lost(lost) is False


@pytest.mark.parametrize(("is_reused", "is_proven"), [(True, True), (False, False)])
def test_a_lane_that_found_nothing_to_send_says_whether_its_association_is_known_to_work(
    is_reused: bool, is_proven: bool
) -> None:
    lanes = lanes_of(1)
    course = lane(lanes)
    outcomes: dict[type, object] = {Wait: True, Use: lease_of(is_reused=is_reused)}
    step = next(course)
    while not isinstance(step, Leave):
        step = course.send(outcomes.get(type(step)))
    assert step.is_proven is is_proven
    course.close()


@pytest.mark.parametrize(("is_reused", "has_answer"), [(True, False), (False, True)])
def test_a_lane_whose_association_was_stale_or_worked_goes_on(is_reused: bool, has_answer: bool) -> None:
    lanes = lanes_of(5)
    here, there = lanes.enter(), lanes.enter()
    lost, working = lease_of(is_reused=is_reused), lease_of()
    here.opened(lost)
    there.opened(working)
    lost.has_answer, working.has_answer = has_answer, True
    assert here.lost(lost) is True


def test_a_lane_that_fails_ends_the_others() -> None:
    lanes = lanes_of(2)
    lanes.started()
    assert lanes.begin()
    lanes.ended(KeyError("broken"))
    assert isinstance(lanes.queue.ended, AssociationClosed)
    assert lanes.begin() is False
    lanes.ended(None)
    assert lanes.take() == ()
    with pytest.raises(KeyError):
        lanes.finish(may_raise=True)
