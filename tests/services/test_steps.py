"""A refusal as the response that it becomes; which C-STORE requests are settled together."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dicomnet.dimse.codec import decode_command, encode_command
from dicomnet.dimse.messages import C_STORE_RQ, C_STORE_RSP, Message
from dicomnet.errors import ServiceRefusal
from dicomnet.services.steps import TOGETHER, Batch, answer_of


@pytest.mark.parametrize(
    ("refusal", "elements"),
    [
        (ServiceRefusal(0xA700), {}),
        (ServiceRefusal(0xA900, "not this one"), {"ErrorComment": "not this one"}),
        (
            ServiceRefusal(0xC000, "what is this", offending=(0x00100020, 0x00080018)),
            {"ErrorComment": "what is this", "OffendingElement": [0x00100020, 0x00080018]},
        ),
    ],
)
def test_a_refusal_becomes_a_response_without_a_data_set(
    refusal: ServiceRefusal, elements: dict[str, object]
) -> None:
    """Its elements are such that a C-STORE-RSP takes them (PS3.7 Table 9.3-2 and section C.4.2)."""
    answer = answer_of(refusal)
    assert (answer.status, answer.data, answer.failed) == (refusal.status, None, ())
    assert answer.elements == elements
    command = {"MessageIDBeingRespondedTo": 1, "Status": answer.status, **answer.elements}
    assert decode_command(encode_command(C_STORE_RSP, command, False))[1].items() >= command.items()


class Nowhere:
    def place(self, requests: Sequence[Message]) -> None: ...

    def settle(self, requests: Sequence[Message]) -> None: ...


def store(number: int) -> Message:
    return Message(C_STORE_RQ, {"MessageID": number}, 1)


class Line:
    """A peer whose requests come one a read, and a clock that goes on with each.

    Parameters
    ----------
    has_window
        Whether the peer sends a request before it has the response to the one before.
    here, coming
        How many are in the inbox behind the first, and how many can be read.
    reading, placing
        How long it takes to read once, and to place a part, in seconds.
    """

    def __init__(
        self,
        here: int,
        coming: int = 0,
        *,
        has_window: bool = True,
        reading: float = 0.0,
        placing: float = 0.0,
        is_endless: bool = False,
    ) -> None:
        self.inbox = [store(number) for number in range(2, here + 2)]
        self.coming = [store(number) for number in range(here + 2, here + 2 + coming)]
        self.batch = Batch(Nowhere(), store(1), 100.0, here if has_window else None)
        self.now = 100.0
        self.reads = 0
        self._reading, self._placing, self._is_endless = reading, placing, is_endless

    def gather(self) -> list[list[int]]:
        """The message IDs of each part until it is time to settle."""
        parts = []
        while part := self._part():
            parts.append([message.message_id for message in part])
            self.now += self._placing
        assert [each.message_id for each in self.batch.requests] == [each for part in parts for each in part]
        return parts

    def _part(self) -> Sequence[Message]:
        while not self.inbox and self.batch.reads_on(self.now):
            self.reads += 1
            self.now += self._reading
            if self.coming:
                self.inbox.append(self.coming.pop(0))
            elif not self._is_endless:
                break
        room = max(0, self.batch.room(self.now))
        self.batch.add(self.inbox[:room])
        del self.inbox[:room]
        return self.batch.take_part()


@pytest.mark.parametrize(("coming", "together"), [(0, 1), (1, 2), (7, 8), (20, 8)])
def test_large_objects_are_gathered_as_they_come(coming: int, together: int) -> None:
    assert Line(0, coming).gather() == [[number] for number in range(1, together + 1)]


@pytest.mark.parametrize("here", [2, TOGETHER - 1, TOGETHER, 3 * TOGETHER])
def test_where_many_are_here_no_others_are_read(here: int) -> None:
    line = Line(here, 5)
    parts = line.gather()
    assert sum(map(len, parts)) == min(here + 1, TOGETHER)
    assert max(map(len, parts)) <= 4
    assert line.reads == 0


def test_nothing_is_read_where_the_peer_waits_for_each_response() -> None:
    line = Line(0, 5, has_window=False)
    assert line.gather() == [[1]]
    assert line.reads == 0


def test_the_first_does_not_wait_for_ever_while_bytes_keep_coming() -> None:
    line = Line(0, 2, reading=0.001, is_endless=True)
    assert line.gather() == [[1], [2], [3]]
    assert line.now - 100.0 < 0.1


def test_where_the_medium_is_slow_the_sender_hears_of_the_first_soon() -> None:
    line = Line(3 * TOGETHER, placing=0.06)
    assert line.gather() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert len(line.inbox) == 3 * TOGETHER - 7
