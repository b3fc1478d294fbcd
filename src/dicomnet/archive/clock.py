"""The date as far as it can be relied on: nothing may be removed as too old because somebody set the clock."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)

# How much the clock may be corrected, in seconds: more than any drift.
_CORRECTION = 2 * 3600.0


def _elapsed() -> float:
    """Seconds since some moment, by a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Date:
    """The date of this machine, and whether it has gone on since as time does.

    Parameters
    ----------
    now
        The time in seconds since 1970.
    elapsed
        The time in seconds since some moment, of a clock that is never set.
    """

    def __init__(self, now: Callable[[], float] = time.time, elapsed: Callable[[], float] = _elapsed) -> None:
        self._now = now
        self._elapsed = elapsed
        self._difference = now() - elapsed()
        self._is_told = False

    @property
    def is_reliable(self) -> bool:
        """Whether the clock was not set by more than a correction. Where it was, that is logged once."""
        difference = self._now() - self._elapsed() - self._difference
        is_reliable = abs(difference) <= _CORRECTION
        if not is_reliable and not self._is_told:
            _log.error(
                "the clock of this machine was set by %+.1f hours: no rule of retention is applied, and the trash not"
                " emptied, until the node is started again",
                difference / 3600,
            )
        self._is_told = not is_reliable
        return is_reliable
