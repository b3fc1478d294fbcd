"""The tries of a store with its peer, with a clock that the test sets."""

from __future__ import annotations

import pytest

from dicomnet.exchange.retrying import Retry, is_out_of_resources


class Outage:
    """A peer that fails whenever it is tried."""

    def __init__(self, tries: int) -> None:
        self.now = 1000.0
        self.told: list[str] = []
        self.retry = Retry(tries, clock=lambda: self.now)

    def waits(self, most: int) -> list[float]:
        """How long it is waited for after each failure, until there is no further try."""
        found: list[float] = []
        while len(found) < most and self.retry.failed("no route", self.now, self.told.append):
            found.append(self.retry.wait())
            self.now += found[-1]
        return found


def test_each_wait_is_twice_the_one_before_up_to_a_minute() -> None:
    outage = Outage(9)
    assert outage.waits(100) == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert outage.told[0] == "no route; tried again in 1 s (1 of 9)"
    assert outage.told[-1] == "no route; tried again in 60 s (9 of 9)"


def test_progress_is_a_new_beginning() -> None:
    outage = Outage(3)
    assert outage.waits(2) == [1, 2]
    outage.retry.progressed()
    assert outage.waits(100) == [1, 2, 4]


def test_what_was_begun_together_is_one_failure() -> None:
    """The associations that a peer ends together, and the refusals of all that was outstanding."""
    outage = Outage(3)
    begun = outage.now
    for _ in range(16):
        assert outage.retry.failed("gone", begun, outage.told.append)
        # The answers of one peer may take longer than the wait.
        outage.now += 1
    assert len(outage.told) == 1


def test_a_peer_is_given_up_after_several_objects_in_a_row() -> None:
    retry = Retry(1)
    assert [retry.gave_up(), retry.gave_up()] == [False, False]
    retry.progressed()
    assert [retry.gave_up(), retry.gave_up(), retry.gave_up()] == [False, False, True]


@pytest.mark.parametrize(
    ("status", "is_one"), [(0xA700, True), (0xA7FF, True), (0xA900, False), (0xB000, False), (0, False)]
)
def test_which_statuses_are_out_of_resources(status: int, is_one: bool) -> None:
    assert is_out_of_resources(status) is is_one
