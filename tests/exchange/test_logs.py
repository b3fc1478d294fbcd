"""A log's lines, and the rate limit of a service's: what one bad peer can cause, whatever it does."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnet.exchange.logs import Lines, RateLimit


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(clock: Clock) -> Iterator[Kept]:
    handler = Kept()
    handler.addFilter(RateLimit(3, clock))
    logger = logging.getLogger("test_logs")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    logger.propagate = False
    yield handler
    logger.removeHandler(handler)


def warn(text: str, value: object = "", peer: str | None = None) -> None:
    logging.getLogger("test_logs").warning(text, value, extra={"peer": peer})


def test_what_comes_over_and_over_is_left_out_and_counted(kept: Kept, clock: Clock) -> None:
    for number in range(1000):
        warn("refused %s", number)
    assert kept.lines == ["refused 0", "refused 1", "refused 2 (more like this are left out for up to 60 s)"]
    clock.now = 61.0
    warn("refused %s", "again")
    assert kept.lines[3:] == ["refused again (997 more like this were left out before)"]
    clock.now = 140.0
    warn("refused %s", "later")
    assert kept.lines[4:] == ["refused later"]


def test_other_causes_and_other_peers_are_logged_all_the_same(kept: Kept) -> None:
    for number in range(10):
        warn("refused %s", number, "10.0.0.1")
    warn("refused %s", "other", "10.0.0.2")
    warn("aborted %s", "too", "10.0.0.1")
    assert kept.lines[3:] == ["refused other", "aborted too"]


def test_many_peers_are_no_way_around_it(kept: Kept) -> None:
    for number in range(5000):
        warn("refused %s", number, f"10.0.{number // 256}.{number % 256}")
    assert len(kept.lines) == 1000 + 3


def test_what_was_asked_for_is_not_limited(kept: Kept) -> None:
    for number in range(100):
        logging.getLogger("test_logs").info("stored %d", number)
        logging.getLogger("test_logs").debug("received %d", number)
    assert len(kept.lines) == 200


def test_a_value_of_a_peer_is_no_cause_of_its_own(kept: Kept) -> None:
    for number in range(100):
        warn("%s: refused", f"%s %d {number}")
    assert len(kept.lines) == 3


@given(st.text())
def test_a_record_is_one_line_whatever_a_peer_has_written(text: str) -> None:
    """A line break of an error comment began another line, and an escape sequence steered the terminal."""
    record = logging.makeLogRecord({"msg": "refused: %s", "args": (text,)})
    line = Lines().format(record)
    assert line.isprintable()
    assert (line == f"refused: {text}") == text.isprintable()


def test_an_exception_has_lines_of_its_own() -> None:
    try:
        raise ValueError("bad")
    except ValueError as error:
        record = logging.makeLogRecord({"msg": "a handler raised", "exc_info": (type(error), error, None)})
    assert Lines().format(record).splitlines() == ["a handler raised", "ValueError: bad"]
