"""A connection while no thread uses it, in the blocking driver: watched in common with all others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .channel import Channel
from .watcher import Watch, Watcher, WorkerPool


class Idle:
    """Has one connection watched, and hands over to workers what it turns out to need.

    Whoever calls has the link's lock, but for `hand_over`.

    Parameters
    ----------
    channel
        The transport connection.
    watcher, workers
        Who waits, and who serves what arrives.
    serve, expire
        Called by a worker when the established association speaks, or has been idle for too long.
    """

    def __init__(
        self,
        channel: Channel,
        watcher: Watcher,
        workers: WorkerPool,
        serve: Callable[[], None],
        expire: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._watcher = watcher
        self._workers = workers
        self._ready = partial(workers.submit, serve)
        self._expired = partial(workers.submit, expire)
        self._lingering = Watch(channel.sock, self._ready, self._expired)
        self.watch: Watch | None = None
        """What watches it, also where that has just noticed something; None while a thread uses the socket."""

    def hand_over(self, call: Callable[[], None]) -> None:
        """Have a worker do something."""
        self._workers.submit(call)

    def end(self) -> None:
        """A thread uses the socket from now on."""
        if self.watch is not None:
            self._watcher.forget(self.watch)
            self.watch = None

    def linger(self, deadline: float | None) -> None:
        """Have the association watched, where it is likely to be used again at once; raises WatcherClosed."""
        self._lingering.deadline = deadline
        self.watch = self._lingering
        self._watcher.linger(self._lingering)

    def begin(self, deadline: float | None) -> None:
        """Have the association watched from now on; raises WatcherClosed."""
        self.begin_with(self._ready, self._expired, deadline)

    def begin_with(
        self, ready: Callable[[], None], expired: Callable[[], None], deadline: float | None
    ) -> None:
        """Have the connection watched for what is called in the watcher's thread; raises WatcherClosed."""
        self.watch = self._watcher.watch(
            self._channel.sock, ready, expired, deadline, writable=self._channel.wants_write
        )
