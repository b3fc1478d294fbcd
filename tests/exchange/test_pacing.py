"""Rates and times of the day, with clocks that the test sets."""

from __future__ import annotations

from datetime import datetime, time
from zoneinfo import ZoneInfo

import pytest

from dicomnet.exchange.pacing import Allowance, Pacing, Rate, Times, bytes_a_second

BERLIN = ZoneInfo("Europe/Berlin")


class Clock:
    """A clock that stands still unless it is set."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("50/s", Rate(50, False)),
        ("0.5/s", Rate(0.5, False)),
        ("10MB/s", Rate(10e6, True)),
        ("10 MB/s", Rate(10e6, True)),
        ("1.5G", Rate(1.5e9, True)),
        ("200kB", Rate(200e3, True)),
        ("64B/s", Rate(64, True)),
    ],
)
def test_a_rate_is_objects_or_bytes(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate


@pytest.mark.parametrize("text", ["", "50", "0/s", "-1/s", "fast", "10MB/h", "1e3/s", "0MB/s", "/s"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        Rate.parse(text)


def test_a_number_alone_is_bytes_where_only_bytes_can_be() -> None:
    assert (bytes_a_second("500"), bytes_a_second("500/s"), bytes_a_second("5kB/s")) == (500, 500, 5000)


@pytest.mark.parametrize("latency", [0.0, 0.05, 0.2])
def test_an_allowance_holds_on_average_however_long_answers_take(latency: float) -> None:
    """After each object that may be sent at once, its answer is waited for: what was missed meanwhile may follow."""
    clock = Clock()
    allowance = Allowance(50, clock=clock)
    begin, taken = clock.now, 0
    while clock.now < begin + 20:
        while not allowance.wait():
            allowance.took(1)
            taken += 1
        clock.now += latency
        clock.now += allowance.wait()
    assert 20 * 50 * 0.95 <= taken <= 20 * 50 * 1.05


def test_what_comes_before_the_first_is_no_credit() -> None:
    clock = Clock()
    allowance = Allowance(10, clock=clock)
    clock.now += 3600
    allowance.took(1)
    assert allowance.wait() == pytest.approx(0.1)


def test_an_outage_is_not_made_up_for() -> None:
    clock = Clock()
    allowance = Allowance(10, credit=1.0, clock=clock)
    allowance.took(1)
    clock.now += 3600
    taken = 0
    while not allowance.wait():
        allowance.took(1)
        taken += 1
    assert taken <= 11


def moment(text: str, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp()


def test_a_part_of_the_day_over_midnight() -> None:
    night = Times(time(19), time(6), BERLIN)
    assert night.wait(moment("2024-05-01 18:59:00")) == 60
    assert night.wait(moment("2024-05-01 19:00:00")) == 0
    assert night.wait(moment("2024-05-02 00:00:00")) == 0
    assert night.wait(moment("2024-05-02 05:59:59")) == 0
    assert night.wait(moment("2024-05-02 06:00:00")) == 13 * 3600


def test_a_part_of_the_day_within_it() -> None:
    noon = Times(time(12, 30), time(13), BERLIN)
    assert noon.wait(moment("2024-05-01 12:00:00")) == 1800
    assert noon.wait(moment("2024-05-01 12:30:00")) == 0
    assert noon.wait(moment("2024-05-01 13:00:00")) == 23.5 * 3600


def test_the_clock_is_put_forward_and_back_meanwhile() -> None:
    """In Berlin the 31st of March 2024 has 23 hours, the 27th of October 25."""
    morning = Times(time(6), time(7), BERLIN)
    assert morning.wait(moment("2024-03-31 00:00:00")) == 5 * 3600
    assert morning.wait(moment("2024-10-27 00:00:00")) == 7 * 3600
    night = Times(time(19), time(6), BERLIN)
    assert night.wait(moment("2024-10-26 19:00:00")) == 0
    # 11 hours by the clock on the wall, 12 by any other.
    assert night.wait(moment("2024-10-26 19:00:00") + 11.9 * 3600) == 0
    assert night.wait(moment("2024-10-26 19:00:00") + 12 * 3600) > 0


def test_times_that_a_day_does_not_have_or_has_twice() -> None:
    early = Times(time(2, 30), time(4), BERLIN)
    # At 2 o'clock it is 3 o'clock already.
    assert early.wait(moment("2024-03-31 01:59:59") + 1) == 0
    twice = Times(time(2, 30), time(2, 45), BERLIN)
    assert twice.wait(moment("2024-10-27 02:30:00", fold=0)) == 0
    assert twice.wait(moment("2024-10-27 02:50:00", fold=0)) > 0
    assert twice.wait(moment("2024-10-27 02:30:00", fold=1)) == 0


@pytest.mark.parametrize(
    "text", ["", "19-6", "19:00", "24:00-06:00", "19:00-19:00", "19:60-20:00", "7pm-6am"]
)
def test_what_is_no_part_of_the_day(text: str) -> None:
    with pytest.raises(ValueError, match="is not a part of the day"):
        Times.parse(text)


def test_a_part_of_the_day_as_it_is_typed() -> None:
    assert Times.parse(" 7:05-19:30 ") == Times(time(7, 5), time(19, 30))


def test_both_have_to_allow_it() -> None:
    clock, now = Clock(), Clock(moment("2024-05-01 18:59:00"))
    pacing = Pacing(Rate(1, False), Times(time(19), time(6), BERLIN), clock=clock, now=now)
    assert pacing.wait() == 60
    now.now += 60
    assert pacing.wait() == 0
    pacing.took(10**9)
    assert pacing.wait() == 1
    by_bytes = Pacing(Rate(1e6, True), clock=clock)
    by_bytes.took(3_000_000)
    assert 2 <= by_bytes.wait() <= 3
