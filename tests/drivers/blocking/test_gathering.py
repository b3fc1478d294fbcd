"""Which C-STORE requests are settled together, and how long the first of them waits for the others."""

from __future__ import annotations

from time import monotonic
from typing import Any

import pytest

from dicomnet.dimse.messages import C_ECHO_RQ, C_STORE_RQ, Message
from dicomnet.drivers.blocking.gathering import Gathering
from dicomnet.drivers.conversation import TOGETHER, Conversation
from dicomnet.upper_layer.negotiation import Agreement, NegotiatedContext

CONTEXT = NegotiatedContext(1, "1.2.840.10008.5.1.4.1.1.2", 0, "1.2.840.10008.1.2", False, True)
PATIENCE = 5.0


class Line:
    """What a gathering asks of a link: a peer whose requests come one a read, until there are no more of them.

    Parameters
    ----------
    window
        How many requests the peer may have outstanding.
    here, coming
        How many are in the inbox, and how many can be read.
    is_endless
        Whether there is always more to read behind them, though no whole message.
    """

    def __init__(self, window: int, here: int, coming: int = 0, *, is_endless: bool = False) -> None:
        self.talk = Conversation()
        self.agreement = Agreement({1: CONTEXT}, performed=window)
        self.reads = 0
        self._number = 0
        self._coming = coming
        self._is_endless = is_endless
        self._end = monotonic() + PATIENCE
        for _ in range(here):
            self.talk.arrived(self._next())

    def _next(self) -> Message:
        self._number += 1
        return Message(C_STORE_RQ, {"MessageID": self._number}, 1)

    def read_ahead(self, *, leaves_end: bool) -> bool:
        assert leaves_end
        assert monotonic() < self._end
        self.reads += 1
        if self._coming:
            self._coming -= 1
            self.talk.arrived(self._next())
            return True
        return self._is_endless

    def gather(self) -> list[list[int]]:
        """The message IDs of each part until it is time to settle."""
        (first,) = self.talk.begin_next(C_STORE_RQ, 1)
        link: Any = self
        gathering = Gathering(link, link, first)
        parts: list[list[int]] = []
        while part := gathering.more():
            assert all(context is CONTEXT for _, context in part)
            parts.append([message.message_id for message, _ in part])
        begun = [number for numbers in parts for number in numbers]
        assert not any(self.talk.begin(number) for number in begun)
        gathering.finish()
        assert all(self.talk.begin(number) for number in begun)
        return parts


@pytest.mark.parametrize(("coming", "together"), [(0, 1), (1, 2), (7, 8), (20, 8)])
def test_large_objects_are_gathered_as_they_come(coming: int, together: int) -> None:
    assert Line(16, 1, coming).gather() == [[number] for number in range(1, together + 1)]


@pytest.mark.parametrize("here", [3, TOGETHER, 3 * TOGETHER])
def test_where_many_are_here_no_others_are_read(here: int) -> None:
    line = Line(16, here, 5)
    assert sum(map(len, line.gather())) == min(here, TOGETHER)
    assert line.reads == 0


def test_nothing_is_read_where_the_peer_waits_for_each_response() -> None:
    line = Line(1, 1)
    assert line.gather() == [[1]]
    assert line.reads == 0


def test_the_first_does_not_wait_for_ever_while_bytes_keep_coming() -> None:
    line = Line(0, 1, 2, is_endless=True)
    begin = monotonic()
    assert line.gather() == [[1], [2], [3]]
    assert monotonic() - begin < PATIENCE / 2


def test_what_is_no_store_ends_it() -> None:
    line = Line(16, 2, 5)
    other = Message(C_ECHO_RQ, {"MessageID": 99}, 1)
    line.talk.arrived(other)
    assert line.gather() == [[1, 2]]
    assert list(line.talk.inbox) == [other]
    assert line.reads == 0
