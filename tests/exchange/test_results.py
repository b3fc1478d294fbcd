"""Outcomes of requests, from responses to values and words."""

from __future__ import annotations

import pytest

from dicomnet.dimse.messages import C_MOVE_RSP, Message
from dicomnet.errors import ServiceRefusal
from dicomnet.exchange.results import RetrieveProgress, StoreResult, describe_status


def test_statuses_in_words() -> None:
    assert "resources" in describe_status(0xA700, "Storage").lower()
    assert describe_status(0x7777, "Storage") == "a status that the service does not define"


@pytest.mark.parametrize(
    ("status", "is_stored"),
    [
        (0, True),
        (0x0001, True),
        (0x0107, True),
        (0x0116, True),
        (0xB000, True),
        (0xB007, True),
        (0xBFFF, True),
        (0x0106, False),
        (0x0111, False),
        (0xA700, False),
        (0xC000, False),
        (0xFE00, False),
        (0xFF00, False),
        (0x7777, False),
        (None, False),
    ],
)
def test_what_counts_as_stored(status: int | None, is_stored: bool) -> None:
    """The status classes of PS3.7 Annex C, and PS3.4 Table B.2-1."""
    assert StoreResult("path", status).is_stored is is_stored


def response(status: int, **counts: int) -> Message:
    command = {f"NumberOf{name}Suboperations": count for name, count in counts.items()}
    return Message(C_MOVE_RSP, {"MessageIDBeingRespondedTo": 1, "Status": status, **command}, 1)


def test_the_progress_of_a_retrieval() -> None:
    """What a response leaves out has not changed, but for what remains."""
    first = RetrieveProgress(0xFF00).next(response(0xFF00, Remaining=3, Completed=2, Failed=1), ())
    assert (first.remaining, first.completed, first.failed, first.is_final) == (3, 2, 1, False)
    last = first.next(response(0xB000, Completed=5), ["1.2.3"])
    assert (last.remaining, last.completed, last.failed, last.is_final) == (None, 5, 1, True)
    assert last.failed_uids == ("1.2.3",)
    assert not last.is_complete
    assert last.comment
    last.check()


@pytest.mark.parametrize("status", [0x0001, 0x0107, 0x0116, 0xB000, 0xB123, 0xBFFF])
def test_a_retrieval_that_ended_with_an_unusual_warning_was_a_failure(status: int) -> None:
    """PS3.7 Annex C: the operation was performed. Whether all has come, the counts tell."""
    last = RetrieveProgress(0xFF00).next(response(status, Completed=1, Failed=0, Warning=1), ())
    last.check()
    assert last.is_complete
    assert not RetrieveProgress(0xFF00).next(response(status, Completed=1, Failed=1), ()).is_complete
    assert not RetrieveProgress(0xFF00).next(response(status), ()).is_complete


def test_a_retrieval_that_ends_with_a_failure() -> None:
    last = RetrieveProgress(0xFF00).next(response(0xA801), ())
    with pytest.raises(ServiceRefusal) as raised:
        last.check()
    assert raised.value.status == 0xA801
    assert "destination" in raised.value.comment.lower()
