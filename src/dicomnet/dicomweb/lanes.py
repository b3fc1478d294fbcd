"""Several requests at a time: lanes that take the next piece of work from one place, and stop together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..exchange.lanes import SharedLanes
from ..exchange.operations import Operation, Report, Spawn, Wait


class RequestLanes(SharedLanes[Any]):
    """The results of several lanes, and whether they are to stop.

    Parameters
    ----------
    stop
        Called when nothing more is to be begun.
    """

    def __init__(self, stop: Callable[[], object]) -> None:
        super().__init__()
        self._stop = stop
        self._is_ended = False

    @property
    def is_ended(self) -> bool:
        """Whether nothing more is to be begun."""
        return self._is_ended

    def stop(self) -> None:
        """Begin nothing more."""
        if not self._is_ended:
            self._is_ended = True
            self._stop()

    @property
    def failure(self) -> BaseException | None:
        """What a lane raised."""
        return self._failure


def side_by_side(
    course: Callable[[], Operation[None]], count: int, stop: Callable[[], object]
) -> Operation[None]:
    """Perform the same operation several times at once, each in a lane. Reports what they report.

    Parameters
    ----------
    course
        Makes the operation, which takes its work from a place that all share.
    count
        How many; with one there is no lane.
    stop
        Called when they are to come to their end: there is nothing more to take then.

    Raises
    ------
    Exception
        What one of them raised.
    """
    if count <= 1:
        yield from course()
        return
    lanes = RequestLanes(stop)
    for _ in range(count):
        yield Spawn(lanes, course)
    while taken := (yield Wait(lanes.take)):
        yield Report(taken[0])
    if lanes.failure is not None:
        raise lanes.failure
