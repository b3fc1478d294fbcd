"""What is counted of the messages of one association, each after the tables of PS3.7."""

from __future__ import annotations

from time import monotonic

import pytest

from dicomnet.archive.watch import series
from dicomnet.archive.watch.association import Tally, class_of
from dicomnet.archive.watch.counts import Counts
from dicomnet.archive.watch.series import Family, place
from dicomnet.dimse.messages import (
    C_CANCEL_RQ,
    C_FIND_RQ,
    C_FIND_RSP,
    C_GET_RQ,
    C_STORE_RQ,
    C_STORE_RSP,
    N_GET_RQ,
    N_GET_RSP,
    Message,
    MessageType,
)


@pytest.fixture
def counts() -> Counts:
    return Counts(1)


def request(kind: MessageType, number: int) -> Message:
    return Message(kind, {"MessageID": number}, 1)


def response(kind: MessageType, number: int, status: int) -> Message:
    return Message(kind, {"MessageIDBeingRespondedTo": number, "Status": status}, 1)


def count(counts: Counts, family: Family, *labels: str) -> int:
    """How many requests a histogram has."""
    at = place(family, *labels)
    return sum(counts.totals()[0][at : at + family.width - 1])


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (0x0000, "success"),
        (0xB000, "warning"),
        (0x0107, "warning"),
        (0xFE00, "cancel"),
        (0xA700, "failure"),
        (0x0124, "failure"),
        (0x7777, "failure"),
        (None, "failure"),
    ],
)
def test_the_classes_of_statuses(status: int | None, name: str) -> None:
    """PS3.7 section C.1; what the standard does not define has failed."""
    assert class_of(status) == name


def test_a_query_is_one_request_whatever_it_matches(counts: Counts) -> None:
    tally = Tally(counts)
    tally.came(request(C_FIND_RQ, 7), monotonic() - 0.3, 0)
    for _ in range(5):
        tally.goes(response(C_FIND_RSP, 7, 0xFF00))
    tally.goes(response(C_FIND_RSP, 7, 0xFF01))
    assert count(counts, series.FIND, "success") == 0
    tally.came(Message(C_CANCEL_RQ, {"MessageIDBeingRespondedTo": 7}, 1), monotonic(), 0)
    tally.goes(response(C_FIND_RSP, 7, 0xFE00))
    numbers, sums = counts.totals()
    assert numbers[place(series.MATCHES)] == 6
    at = place(series.FIND, "cancel")
    # From 0.25 to 0.5 s.
    assert numbers[at + series.FIND.bounds.index(0.5)] == 1
    assert 0.3 <= sums[at + series.FIND.width - 1] < 5


def test_the_length_of_objects_alone_is_counted(counts: Counts) -> None:
    tally = Tally(counts)
    tally.came(request(C_FIND_RQ, 1), monotonic(), 100)
    tally.came(request(C_STORE_RQ, 2), monotonic(), 1000)
    tally.goes(response(C_STORE_RSP, 2, 0))
    tally.goes(response(C_FIND_RSP, 1, 0))
    assert counts.totals()[0][place(series.RECEIVED)] == 1000


def test_a_refusal_of_a_second_request_with_a_message_id_is_not_the_answer_to_the_first(
    counts: Counts,
) -> None:
    tally = Tally(counts)
    for _ in range(2):
        tally.came(request(C_STORE_RQ, 3), monotonic(), 10)
    tally.goes(response(C_STORE_RSP, 3, 0x0210))
    assert count(counts, series.STORE, "failure") == 0
    tally.goes(response(C_STORE_RSP, 3, 0))
    assert count(counts, series.STORE, "success") == 1


def test_what_we_ask_the_peer_is_not_what_it_asks_us(counts: Counts) -> None:
    """Those of a C-GET, on the same association; nor do requests count that are never answered, or of other kinds."""
    tally = Tally(counts)
    tally.came(request(C_GET_RQ, 1), monotonic(), 0)
    tally.goes(request(C_STORE_RQ, 1))
    tally.came(response(C_STORE_RSP, 1, 0), monotonic(), 0)
    tally.came(request(N_GET_RQ, 9), monotonic(), 0)
    tally.goes(response(N_GET_RSP, 9, 0x0211))
    assert not any(counts.totals()[0])
