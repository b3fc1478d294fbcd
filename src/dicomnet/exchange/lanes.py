"""Lanes: several associations that send the objects of one plan side by side, each by a thread or task of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ..errors import AssociationClosed, AssociationError, NetworkError
from .results import StoreResult
from .storing import StoreQueue

# How many results may wait for whoever takes them before nothing more is sent.
RESULTS_LIMIT = 256

Results = TypeVar("Results")


class Lanes:
    """The state that the lanes of one plan share. Its methods are called by one lane at a time.

    `begin`, `put`, `take`, `pause` and `ended` are attempts: they give None as long as the caller has to wait for
    other lanes.

    Parameters
    ----------
    queue
        What is to be sent.
    window
        How many requests may be outstanding on each association.
    count
        How many associations there may be.
    """

    def __init__(self, queue: StoreQueue, window: int, count: int) -> None:
        self.queue = queue
        self.window = window
        self.refusal: NetworkError | AssociationError | None = None
        self._count = count
        self._results: deque[StoreResult] = deque()
        self._running = self._sending = 0
        self._has_opened = False
        self._failure: BaseException | None = None

    def started(self) -> None:
        """Another lane has been started."""
        self._running += 1

    def ended(self, failure: BaseException | None) -> bool:
        """A lane has ended.

        Parameters
        ----------
        failure
            What it raised. It is raised again by `finish`.
        """
        self._running -= 1
        if failure is not None:
            self._failure = failure
            self.stop()
        return True

    def stop(self) -> None:
        """Send nothing more."""
        self.queue.fail(AssociationClosed())

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left to send, so that no further association is needed. What is outstanding on another
        lane is that lane's own."""
        return self.queue.ended is not None or self.queue.is_empty

    def opened(self) -> int:
        """A lane has its association: how many further lanes there are to be now."""
        if self._has_opened or self.queue.ended is not None:
            return 0
        self._has_opened = True
        return self._count - 1

    def begin(self) -> bool | None:
        """There is something to send: True; False where there never will be."""
        if self.queue.ended is None and not self.queue.is_empty:
            self._sending += 1
            return True
        return False if self.queue.ended is not None or not self._sending else None

    def pause(self) -> bool:
        """A lane has nothing to send for the time being, or no association to send on."""
        self._sending -= 1
        return True

    def put(self, result: StoreResult) -> bool | None:
        """Hand a result over, as soon as there is room for it."""
        if len(self._results) >= RESULTS_LIMIT and self.queue.ended is None:
            return None
        self._results.append(result)
        return True

    def take(self) -> tuple[StoreResult, ...] | None:
        """The next result; an empty tuple when there is none left and the last lane has ended."""
        if self._results:
            return (self._results.popleft(),)
        return None if self._running else ()

    def finish(self, *, may_raise: bool) -> None:
        """Fail what is left when all lanes have ended.

        Parameters
        ----------
        may_raise
            Whether it is an error if no association could be opened at all; else that is in the results.

        Raises
        ------
        NetworkError, AssociationError
            Why there was none.
        """
        if self._failure is not None:
            raise self._failure
        if self.refusal is not None and may_raise and not self._has_opened and self.queue.ended is None:
            raise self.refusal
        self.queue.fail(self.refusal or AssociationClosed())


class StartedLanes(Generic[Results]):
    """Lanes with what runs them: the base of the threads, and of the tasks.

    Parameters
    ----------
    lanes
        What they share.
    perform
        Performs one of them, and gives its results.
    """

    def __init__(self, lanes: Lanes, perform: Callable[[Any], Results]) -> None:
        self._lanes = lanes
        self._perform = perform

    def start(self) -> None:
        """Begin one more lane."""
        raise NotImplementedError

    def wait(self, attempt: Callable[[], Any]) -> Any:
        """Try, each time that another lane has changed something, until it is no longer None.

        What it gives may have to be awaited.
        """
        raise NotImplementedError

    def end(self) -> None:
        """Send nothing more."""
        raise NotImplementedError
