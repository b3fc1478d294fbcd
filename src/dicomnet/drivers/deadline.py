"""One absolute point in time for a stage, instead of timers."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from ..errors import DeadlineExceeded
from ..values import frozen

# What a transfer must achieve at least, in bytes per second: each byte that moves buys this share of a second, so a
# large object over a slow line is in time and a trickle is not.
MINIMUM_RATE = 16_384
# How long last words may take to leave, and a peer to close after them, in seconds.
LAST_WORDS = 1.0
# How often progress is looked for within the time of a stage.
_LOOKS = 8


class Deadline:
    """A stage of a connection and when it must be over.

    Parameters
    ----------
    stage
        For the error: ``connect``, ``TLS``, ``association``, ``message``, ``idle`` or ``release``.
    seconds
        From now; None is never.
    progress
        Measures what the peer has done that shows in no byte from it. Whenever the measure has changed, the stage has
        all its time again.
    """

    __slots__ = ("_measured", "_next_look", "_progress", "at", "seconds", "stage")

    def __init__(
        self, stage: str, seconds: float | None, progress: Callable[[], object] | None = None
    ) -> None:
        self.stage = stage
        self.seconds = seconds
        self.at = self._next_look = None if seconds is None else monotonic() + seconds
        self._progress = progress
        self._measured: object = None
        if progress is not None and seconds is not None and self.at is not None:
            self._next_look = self.at - seconds + seconds / _LOOKS

    def remaining(self) -> float | None:
        """Seconds until it has to be asked again, None for no end.

        Raises
        ------
        DeadlineExceeded
            If the stage is over.
        """
        if self.at is None:
            return None
        now = monotonic()
        left = self.at - now
        if self._progress is not None:
            left = self._look(now)
        if left <= 0:
            raise DeadlineExceeded(self.stage, self.seconds)
        return left

    @property
    def asks_at(self) -> float | None:
        """When `remaining` has to be asked again, at the latest; None is never."""
        if self.at is None or self._next_look is None or self._progress is None:
            return self.at
        return min(self.at, self._next_look)

    def _look(self, now: float) -> float:
        """Look for progress where it is time to; seconds until the next look or the end."""
        assert self.at is not None
        assert self._next_look is not None
        if now >= self._next_look or now >= self.at:
            assert self._progress is not None
            assert self.seconds is not None
            measured = self._progress()
            # What was there before the first look counts for nothing.
            if self._measured is not None and measured != self._measured:
                self.at = now + self.seconds
            self._measured = measured
            self._next_look = now + self.seconds / _LOOKS
        return min(self.at, self._next_look) - now if now < self.at else 0.0

    def waited(self, seconds: float) -> None:
        """So long nobody here wanted anything, which is not the peer's time."""
        if self.at is not None:
            self.at += seconds
        if self._next_look is not None:
            self._next_look += seconds

    def moved(self, count: int) -> None:
        """Give a message the time that ``count`` transferred bytes earn, though never more than it had to begin with.

        What the system takes at once into its buffers has not reached the peer, and must not earn hours.
        """
        if self.stage == "message" and self.at is not None and self.seconds is not None:
            self.at = min(self.at + count / MINIMUM_RATE, monotonic() + self.seconds)


@frozen
class Timeouts:
    """How long each stage may take in all, in seconds; None is without end.

    Parameters
    ----------
    connect
        Opening the transport connection.
    association
        TLS handshake, negotiation and release, each; also the ARTIM timer.
    message
        Waiting for a response, and sending or receiving a message beyond what its size earns.
    idle
        An established association on which nothing happens.
    progress
        Called while a response is waited for: whenever it returns something else than before, the time for the message
        begins anew. For what the peer does elsewhere, such as sending to us the objects of a C-MOVE.
    """

    connect: float | None = 10.0
    association: float | None = 30.0
    message: float | None = 30.0
    idle: float | None = 60.0
    progress: Callable[[], object] | None = None
