"""How long who could not prove who he is has to wait, and who has not."""

from __future__ import annotations

import pytest

from dicomnet.archive.web.access.failures import Failures

HERE, THERE = "10.0.0.1", "10.0.0.2"


class Time:
    """A clock."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def failures(time: Time) -> Failures:
    return Failures(time)


def test_each_further_failure_costs_more(failures: Failures, time: Time) -> None:
    waits = []
    for _ in range(14):
        failures.failed(HERE)
        waits.append(failures.wait(HERE, "alice"))
    assert waits[:4] == [0.0] * 4
    assert waits[4:10] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    assert set(waits[10:]) == {60.0}
    assert failures.wait(THERE) == 0.0
    time.now = 61.0
    assert failures.wait(HERE) <= 0.0
    failures.failed(HERE)
    assert failures.wait(HERE) == 60.0


def test_failures_of_a_whole_day_are_a_number_that_can_be_counted_with(failures: Failures) -> None:
    """Two to the power of their number was none any more from the 1029th on, and each request an error of our own."""
    for _ in range(3000):
        failures.failed(HERE, "alice")
    assert failures.wait(HERE) == failures.wait(THERE, "alice") == 60.0


def test_failures_are_forgotten_after_a_while(failures: Failures, time: Time) -> None:
    """Five wrong passwords of a year would else cost the sixth its time."""
    for _ in range(4):
        failures.failed(HERE, "alice")
    time.now = 1000.0
    failures.failed(HERE, "alice")
    assert failures.wait(HERE, "alice") == 0.0


def test_a_password_is_guessed_from_many_addresses_no_faster(failures: Failures) -> None:
    for number in range(8):
        failures.failed(f"10.0.1.{number}", "alice")
    assert failures.wait(HERE, "alice") == 8.0
    assert failures.wait(HERE, "bob") == 0.0


def test_a_stranger_keeps_no_user_out_who_has_logged_in_from_where_he_is(failures: Failures) -> None:
    failures.succeeded(HERE, "alice")
    for _ in range(20):
        failures.failed(THERE, "alice")
        failures.failed(HERE, "bob")
    # Neither under her name, nor behind her address.
    assert failures.wait(HERE, "alice") == 0.0
    assert failures.wait(THERE, "alice") == failures.wait(HERE, "bob") == 60.0
    # What is guessed there counts all the same.
    for _ in range(6):
        failures.failed(HERE, "alice")
    assert failures.wait(HERE, "alice") == 2.0


def test_one_who_has_a_password_guesses_no_others_between(failures: Failures) -> None:
    """His success had all be forgotten that came from his address."""
    for _ in range(20):
        failures.failed(HERE, "alice")
        failures.failed(HERE, "bob")
        failures.succeeded(HERE, "mallory")
    assert failures.wait(HERE, "carol") == failures.wait(HERE, "alice") == 60.0


def test_who_has_mistyped_and_then_not_starts_anew(failures: Failures) -> None:
    for _ in range(4):
        failures.failed(HERE, "alice")
    failures.succeeded(HERE, "alice")
    for _ in range(4):
        failures.failed(HERE, "alice")
    assert failures.wait(HERE, "alice") == failures.wait(HERE) == failures.wait(THERE, "alice") == 0.0


def test_one_has_a_whole_network_of_ipv6_addresses(failures: Failures) -> None:
    for number in range(8):
        failures.failed(f"2001:db8:0:1::{number:x}")
    assert failures.wait("2001:db8:0:1:ffff::1") == 8.0
    assert failures.wait("2001:db8:0:2::1") == 0.0
    # A socket for both families shows IPv4 so; these are not one network.
    for number in range(8):
        failures.failed(f"::ffff:10.0.3.{number}")
    assert failures.wait("::ffff:10.0.3.99") == 0.0


def test_of_what_strangers_make_us_remember_the_oldest_goes(failures: Failures, time: Time) -> None:
    """And not what was remembered last, however many there are."""
    for number in range(8000):
        time.now += 0.01
        failures.failed(f"10.1.{number >> 8}.{number & 255}", f"user{number}")
        failures.succeeded(f"10.2.{number >> 8}.{number & 255}", f"user{number}")
    for _ in range(8):
        failures.failed(HERE, "alice")
    for number in range(500):
        failures.failed(f"10.3.{number >> 8}.{number & 255}", f"stranger{number}")
    assert failures.wait(HERE) == failures.wait(THERE, "alice") == 8.0


def test_one_who_has_failed_often_has_one_guess_at_a_time_wherever_he_makes_it(failures: Failures) -> None:
    """Several processes had each looked at one at the same moment."""
    assert not failures.begins(HERE, "alice")
    for _ in range(4):
        failures.failed(HERE, "alice")
    assert failures.wait(HERE, "alice") == 0.0
    assert failures.begins(HERE, "alice")
    assert failures.wait(HERE, "alice") == failures.wait(THERE, "alice") == 1.0
    # His success takes all of that back.
    failures.succeeded(HERE, "alice")
    assert failures.wait(HERE, "bob") == failures.wait(THERE, "alice") == 0.0
    assert not failures.begins(HERE, "alice")
