"""Lanes: several associations that send the objects of one plan side by side, each by a thread or task of its own."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from ..errors import AssociationClosed, AssociationError, NetworkError
from .results import StoreResult
from .storing import StoreQueue

_log = logging.getLogger(__name__)

# How many results may wait for whoever takes them before nothing more is sent.
RESULTS_LIMIT = 256

Result = TypeVar("Result")
Results = TypeVar("Results")


class SharedLanes(Generic[Result]):
    """What lanes share that work side by side: their results. Its methods are called by one lane at a time.

    `put` and `take` are attempts: they give None as long as the caller has to wait for other lanes.
    """

    def __init__(self) -> None:
        self._results: deque[Result] = deque()
        self._running = 0
        self._failure: BaseException | None = None

    @property
    def is_ended(self) -> bool:
        """Whether nothing more is to be begun, whatever is left."""
        raise NotImplementedError

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left to begin, so that no further association is needed."""
        return self.is_ended

    def stop(self) -> None:
        """Begin nothing more."""
        raise NotImplementedError

    def started(self) -> None:
        """Another lane has been started."""
        self._running += 1

    def ended(self, failure: BaseException | None) -> bool:
        """A lane has ended.

        Parameters
        ----------
        failure
            What it raised. It is raised again to whoever takes the results.
        """
        self._running -= 1
        if failure is not None:
            self._failure = self._failure or failure
            self.stop()
        return True

    def put(self, result: Result) -> bool | None:
        """Hand a result over, as soon as there is room for it."""
        if len(self._results) >= RESULTS_LIMIT and not self.is_ended:
            return None
        self._results.append(result)
        return True

    def take(self) -> tuple[Result, ...] | None:
        """The next result; an empty tuple when there is none left and the last lane has ended."""
        if self._results:
            return (self._results.popleft(),)
        return None if self._running else ()


class Lanes(SharedLanes[StoreResult]):
    """The state that the lanes of one plan share. `begin`, too, and the methods of a `Place` are attempts.

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
        super().__init__()
        self.queue = queue
        self.window = window
        self.refusal: NetworkError | AssociationError | None = None
        self._count = count
        self._sending = 0
        self._places: list[Place] = []
        self._has_opened = False

    def enter(self) -> Place:
        """A lane begins: its place among the others."""
        place = Place(self)
        self._places.append(place)
        return place

    @property
    def is_ended(self) -> bool:
        """Whether nothing more is to be sent."""
        return self.queue.ended is not None

    def stop(self) -> None:
        """Send nothing more."""
        self.queue.fail(AssociationClosed())

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left to send, so that no further association is needed. What is outstanding on another
        lane is that lane's own."""
        return self.queue.ended is not None or self.queue.is_empty

    def opened(self) -> int:
        """A lane has an association: how many further lanes there are to be now."""
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

    def has_others(self, asking: Place) -> bool:
        """Whether another lane has an association."""
        return any(each is not asking and each.lease is not None for each in self._places)

    def works(self, asking: Place) -> bool | None:
        """Whether another lane has an association that the peer answers on; None where that may turn out yet."""
        others = [each.lease for each in self._places if each is not asking and each.lease is not None]
        if self.queue.ended is not None or not others:
            return False
        return True if any(each.is_known_to_work for each in others) else None

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
        if not self.queue.is_empty:
            self.queue.unreachable(self.refusal or AssociationClosed())


class Used(Protocol):
    """An association that a lane uses, as far as the others need it."""

    @property
    def is_known_to_work(self) -> bool:
        """Whether the peer answers on it, or has done so in an earlier use of it."""
        ...


class Place:
    """One lane among the others: the association that it has, or has left to be used again.

    Parameters
    ----------
    lanes
        What it shares with the others.

    Attributes
    ----------
    lease
        That association, None where there is none that is known to work, or may turn out to.
    """

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self.lease: Used | None = None

    def opened(self, lease: Used) -> int:
        """The lane has an association: how many further lanes there are to be now."""
        self.lease = lease
        return self._lanes.opened()

    def refused(self, error: NetworkError | AssociationError, begun: float) -> bool:
        """The lane gets no association: whether that is its end.

        Parameters
        ----------
        begun
            When it began to ask for one, by the clock of its queue.
        """
        self.lease = None
        self._lanes.pause()
        if self._lanes.is_spent:
            # It was not needed any more, unless another lane loses its own now.
            return False
        if not self._lanes.has_others(self) and self._lanes.queue.tries_again(error, begun):
            return False
        _log.info("no further association could be opened: %s", error)
        self._lanes.refusal = error
        return True

    def lost(self, lease: Used) -> bool | None:
        """The association is over before everything was answered: whether the lane is to have another.

        Not where nothing was answered on it, and something was on that of another lane: the peer accepts more
        associations than it bears. None while that may turn out yet.
        """
        self.lease = None
        if lease.is_known_to_work:
            return True
        works = self._lanes.works(self)
        return None if works is None else not works

    def pause(self) -> bool:
        """The lane has nothing to send for the time being."""
        if self.lease is not None and not self.lease.is_known_to_work:
            self.lease = None
        return self._lanes.pause()


class StartedLanes(Generic[Results]):
    """Lanes with what runs them: the base of the threads, and of the tasks.

    Parameters
    ----------
    lanes
        What they share.
    perform
        Performs one of them, and gives its results.
    """

    def __init__(self, lanes: SharedLanes[Any], perform: Callable[[Any], Results]) -> None:
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
