"""How worker processes that accept on one listener share its connections: each leaves them to those that have fewer."""

from __future__ import annotations

import mmap
import socket
from collections.abc import Callable
from time import monotonic

from .watcher import Watcher

# How long a connection is left to a worker process that has fewer, in seconds, and how often one after the other.
_COURTESY = 0.002
_COURTESIES = 25
_ABSENT = -1


class ConnectionCounts:
    """How many connections each worker process has, in memory that they share; absent workers have none to count.

    Parameters
    ----------
    count
        How many workers there can be.
    """

    def __init__(self, count: int) -> None:
        self._connections = memoryview(mmap.mmap(-1, 4 * count)).cast("i")

    def set(self, slot: int, connections: int) -> None:
        """A worker has this many."""
        self._connections[slot] = connections

    def remove(self, slot: int) -> None:
        """A worker accepts no more, and the others need not consider it."""
        self.set(slot, _ABSENT)

    def has_fewest(self, slot: int) -> bool:
        """Whether no other worker has fewer."""
        own = self._connections[slot]
        return not any(_ABSENT < other < own for other in self._connections)


class FairShare:
    """One worker's share of the connections.

    Parameters
    ----------
    counts
        Those of all workers.
    slot
        Which of them this is.
    """

    def __init__(self, counts: ConnectionCounts, slot: int) -> None:
        self._counts = counts
        self._slot = slot
        self._courtesies = 0
        # Nothing ever comes here; it is what a pause waits for.
        self._silence = socket.socketpair()

    def now_has(self, connections: int) -> None:
        """Tell the others how many connections there are here."""
        self._counts.set(self._slot, connections)

    def leaves_next(self, watcher: Watcher, again: Callable[[], None]) -> bool:
        """Whether the next connection is left to another worker, which has fewer.

        Parameters
        ----------
        again
            Called by the watcher in a moment, to look whether it was taken.
        """
        if self._counts.has_fewest(self._slot):
            return False
        if self._courtesies == _COURTESIES:
            # Whoever was to take it does not.
            self._courtesies = 0
            return False
        self._courtesies += 1
        watcher.watch(self._silence[0], again, again, monotonic() + _COURTESY)
        return True

    def none_is_left(self) -> None:
        """No connection waits to be accepted."""
        self._courtesies = 0

    def close(self) -> None:
        """Give up what pauses wait for; the watcher has ended."""
        for sock in self._silence:
            sock.close()

    def remove(self) -> None:
        """Accept no more, and let the others know."""
        self._counts.remove(self._slot)
