"""A clock that is set must not make the archive think that everything is old."""

from __future__ import annotations

import logging

import pytest

from dicomnet.archive.clock import Date

HOUR, YEAR = 3600.0, 365.25 * 86_400


class Clocks:
    """The two clocks of a machine."""

    def __init__(self) -> None:
        self.now, self.elapsed = 1.7e9, 1000.0

    def go_on(self, seconds: float) -> None:
        self.now += seconds
        self.elapsed += seconds


@pytest.mark.parametrize("by", [10 * YEAR, -10 * YEAR, 24 * HOUR])
def test_x19_a_clock_that_is_set_is_not_relied_on_until_it_is_set_back(
    by: float, caplog: pytest.LogCaptureFixture
) -> None:
    clocks = Clocks()
    date = Date(lambda: clocks.now, lambda: clocks.elapsed)
    clocks.go_on(5 * YEAR)
    clocks.now += HOUR
    assert date.is_reliable
    clocks.now += by
    with caplog.at_level(logging.ERROR):
        assert [date.is_reliable, date.is_reliable] == [False, False]
    assert [f"{by / HOUR + 1:+.1f} hours" in each.getMessage() for each in caplog.records] == [True]
    clocks.now -= by
    assert date.is_reliable


def test_the_clocks_of_this_machine_go_on_together() -> None:
    assert Date().is_reliable
