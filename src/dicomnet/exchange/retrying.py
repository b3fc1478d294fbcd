"""How often, and after how long, a peer is tried again that is not reached, ends associations or has no resources."""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import isinf
from time import monotonic

# The longest wait between two tries, in seconds; the first is 1 s, and each has twice the one before.
LONGEST = 60.0
# How many objects in a row may be given up, each after all its tries, before the peer is.
OBJECTS = 3
_OUT_OF_RESOURCES = 0xA700


def is_out_of_resources(status: int) -> bool:
    """Whether a C-STORE was refused for want of resources, A7xx (PS3.4 Table B.2-1): it may succeed later."""
    return status & 0xFF00 == _OUT_OF_RESOURCES


def backoff(failures: int) -> float:
    """The seconds before the next try, after so many before the last one have failed."""
    # A power of many tries is no number any more.
    return min(2.0 ** min(failures, 16), LONGEST)


class Retry:
    """The tries of one store with its peer. May be shared between threads.

    Parameters
    ----------
    tries
        How often the peer is tried again before it is given up, `math.inf` for without end. Each object that it takes
        is a new beginning.
    clock
        The time in seconds, of a clock that is never set.
    """

    def __init__(self, tries: float, clock: Callable[[], float] = monotonic) -> None:
        self.tries = tries
        self._clock = clock
        self._failures = self._exhaustions = 0
        self._until = clock()
        self._lock = threading.Lock()

    def wait(self) -> float:
        """For how many seconds it is not tried again; 0 where it may be now."""
        return max(0.0, self._until - self._clock())

    def now(self) -> float:
        """The time by its clock."""
        return self._clock()

    def failed(self, cause: object, begun: float, tell: Callable[[str], None], least: float = 0.0) -> bool:
        """A try has failed: whether there is another one.

        Parameters
        ----------
        cause
            Why: an error, or words.
        begun
            When it was begun. What was begun before the last wait has ended belongs to the try before that.
        tell
            Told of a wait.
        least
            How many seconds the peer wants to be left alone.
        """
        with self._lock:
            if begun < self._until:
                return True
            if self._failures >= self.tries:
                return False
            seconds = max(backoff(self._failures), least)
            self._failures += 1
            self._until = self._clock() + seconds
            of_all = "" if isinf(self.tries) else f" ({self._failures} of {self.tries})"
            tell(f"{cause}; tried again in {seconds:.0f} s{of_all}")
            return True

    def gave_up(self) -> bool:
        """An object was given up after all its tries: whether the peer is, too. Else the next one has as many."""
        with self._lock:
            self._failures = 0
            self._exhaustions += 1
            return self._exhaustions >= OBJECTS

    def progressed(self) -> None:
        """The peer has answered, and not for want of resources."""
        self._failures = self._exhaustions = 0
