"""A deadline in an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from ...errors import DeadlineExceeded
from ..deadline import Deadline


class Alarm:
    """Rings when a deadline passes. Setting and lifting it is cheap, because its timer is left running.

    Parameters
    ----------
    ring
        Called with the deadline that has passed.
    """

    __slots__ = ("_handle", "_ring", "deadline")

    def __init__(self, ring: Callable[[Deadline], None]) -> None:
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None
        self.deadline: Deadline | None = None

    def set(self, deadline: Deadline | None) -> None:
        """Ring at this deadline instead of another; None is never."""
        self.deadline = deadline
        wakes_at = None if deadline is None else deadline.asks_at
        if wakes_at is None:
            return
        loop = asyncio.get_running_loop()
        at = loop.time() + wakes_at - monotonic()
        if self._handle is not None and self._handle.when() > at:
            self._handle.cancel()
            self._handle = None
        if self._handle is None:
            self._handle = loop.call_at(at, self._fire)

    def stop(self) -> None:
        """Never ring again."""
        self.deadline = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        deadline = self.deadline
        if deadline is None:
            return
        try:
            deadline.remaining()
        except DeadlineExceeded:
            self.deadline = None
            self._ring(deadline)
        else:
            # It was set anew, or there was progress, or what was transferred has earned more time.
            self.set(deadline)
