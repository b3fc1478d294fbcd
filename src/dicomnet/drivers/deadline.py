"""One absolute point in time for a stage, instead of timers."""

from __future__ import annotations

from time import monotonic

from ..errors import DeadlineExceeded
from ..values import frozen

# What a transfer must achieve at least, in bytes per second: each byte that moves buys this share of a second, so a
# large object over a slow line is in time and a trickle is not.
MINIMUM_RATE = 16_384
# How long last words may take to leave, and a peer to close after them, in seconds.
LAST_WORDS = 1.0


class Deadline:
    """A stage of a connection and when it must be over.

    Parameters
    ----------
    stage
        For the error: ``connect``, ``TLS``, ``association``, ``message``, ``idle`` or ``release``.
    seconds
        From now; None is never.
    """

    __slots__ = ("at", "seconds", "stage")

    def __init__(self, stage: str, seconds: float | None) -> None:
        self.stage = stage
        self.seconds = seconds
        self.at = None if seconds is None else monotonic() + seconds

    def remaining(self) -> float | None:
        """Seconds left, None for no end.

        Raises
        ------
        DeadlineExceeded
            If none are left.
        """
        if self.at is None:
            return None
        left = self.at - monotonic()
        if left <= 0:
            raise DeadlineExceeded(self.stage, self.seconds)
        return left

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
    """

    connect: float | None = 10.0
    association: float | None = 30.0
    message: float | None = 30.0
    idle: float | None = 60.0
