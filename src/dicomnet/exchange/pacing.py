"""How fast something goes, and at which times of the day: whether it may go on now, and how long it has to wait."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import datetime, time, timedelta, tzinfo
from time import monotonic
from time import time as seconds_since_1970

from ..values import frozen

_RATE = re.compile(r"(\d+(?:\.\d+)?) ?([kKMG]?)(i?[bB])?(/s)?")
_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}
_TIMES = re.compile(r"([01]?\d|2[0-3]):([0-5]\d) ?- ?([01]?\d|2[0-3]):([0-5]\d)")
# For how many seconds what was not used may be used later, so that answers which are waited for do not make it slower.
CREDIT = 0.25


@frozen
class Rate:
    """How much in a second.

    Parameters
    ----------
    amount
        Objects or bytes.
    is_bytes
        Which of them.
    """

    amount: float
    is_bytes: bool

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Objects (``50/s``) or bytes (``10MB/s``; kB, MB and GB are powers of 1000).

        Raises
        ------
        ValueError
            If it is neither.
        """
        found = _RATE.fullmatch(text.strip())
        amount = _amount(found)
        is_bytes = bool(found and (found[2] or found[3]))
        if not found or not amount or not (is_bytes or found[4]):
            raise ValueError(
                f"{text!r} is not a rate; it is a number of objects, such as 50/s, or of bytes, such as 10MB/s"
            )
        return cls(amount, is_bytes)


def bytes_a_second(text: str) -> float:
    """A number of bytes in a second, as of `Rate.parse`; a number alone is one of bytes.

    Raises
    ------
    ValueError
        If it is none.
    """
    amount = _amount(_RATE.fullmatch(text.strip()))
    if not amount:
        raise ValueError(f"{text!r} is not a rate; it is a number with kB, MB or GB, such as 50MB/s")
    return amount


def _amount(found: re.Match[str] | None) -> float:
    return float(found[1]) * _UNITS[found[2].upper()] if found else 0.0


class Allowance:
    """So much in a second on average: what is taken has to be waited for before the next may be. For several threads.

    Parameters
    ----------
    rate
        How much in a second.
    credit
        For how many seconds what was not used may be used later.
    clock
        The time in seconds, of a clock that is never set.
    """

    def __init__(self, rate: float, credit: float = CREDIT, clock: Callable[[], float] = monotonic) -> None:
        self._rate = rate
        self._credit = credit
        self._clock = clock
        # None until it begins with what is taken first.
        self._free_at: float | None = None
        self._lock = threading.Lock()

    def took(self, amount: float) -> None:
        """So much was done."""
        with self._lock:
            now = self._clock()
            begin = now if self._free_at is None else max(self._free_at, now - self._credit)
            self._free_at = begin + amount / self._rate

    def wait(self) -> float:
        """For how many seconds nothing may be done; 0 where something may be now."""
        return 0.0 if self._free_at is None else max(0.0, self._free_at - self._clock())


@frozen
class Times:
    """A part of each day, by the clock on the wall; over midnight where it ends before it begins.

    Parameters
    ----------
    begin, end
        The first minute of it, and the first one after it.
    zone
        Whose clock; None for the local one.
    """

    begin: time
    end: time
    zone: tzinfo | None = None

    @classmethod
    def parse(cls, text: str) -> Times:
        """``HH:MM-HH:MM``.

        Raises
        ------
        ValueError
            If it is not that.
        """
        found = _TIMES.fullmatch(text.strip())
        if not found or (times := cls(*_times(found))).begin == times.end:
            raise ValueError(f"{text!r} is not a part of the day; it is two times, such as 19:00-06:00")
        return times

    def wait(self, now: float) -> float:
        """How many seconds after a moment (seconds since 1970) it begins; 0 inside of it.

        It may begin earlier than that where the clock on the wall is put forward: ask again meanwhile.
        """
        local = datetime.fromtimestamp(now, self.zone)
        clock = local.time()
        is_over_midnight = self.end < self.begin
        if (self.begin <= clock or clock < self.end) if is_over_midnight else self.begin <= clock < self.end:
            return 0.0
        day = local.date() if clock < self.begin else local.date() + timedelta(days=1)
        begin = datetime.combine(day, self.begin, self.zone).timestamp()
        # Where the clock is put back past the beginning, that has been already and comes again.
        return max(begin - now, 1.0)


def _times(found: re.Match[str]) -> tuple[time, time]:
    hour, minute, last_hour, last_minute = map(int, found.groups())
    return time(hour, minute), time(last_hour, last_minute)


class Pacing:
    """How fast, and at which times of the day, objects are sent. May be shared between threads.

    Parameters
    ----------
    rate
        The most objects or bytes in a second; None for as many as there are.
    times
        The part of the day; None for all of it.
    clock, now
        The time in seconds, of a clock that is never set, and since 1970.
    """

    def __init__(
        self,
        rate: Rate | None = None,
        times: Times | None = None,
        *,
        clock: Callable[[], float] = monotonic,
        now: Callable[[], float] = seconds_since_1970,
    ) -> None:
        self.rate = rate
        self._is_bytes = rate is not None and rate.is_bytes
        self._allowance = None if rate is None else Allowance(rate.amount, clock=clock)
        self._times = times
        self._now = now

    def rest(self) -> float:
        """For how many seconds nothing may be sent because of the rate."""
        return 0.0 if self._allowance is None else self._allowance.wait()

    def wait(self) -> float:
        """For how many seconds nothing may be sent, as far as it is known now; 0 where something may be."""
        wait = self.rest()
        return wait if self._times is None else max(wait, self._times.wait(self._now()))

    def took(self, length: int) -> None:
        """An object of so many bytes was sent, or received."""
        if self._allowance is not None:
            self._allowance.took(length if self._is_bytes else 1)

    def took_some(self, length: int) -> None:
        """So many bytes were, of an object for which `took_one` follows."""
        if self._allowance is not None and self._is_bytes:
            self._allowance.took(length)

    def took_one(self) -> None:
        """An object was whose bytes have been told by `took_some`."""
        if self._allowance is not None and not self._is_bytes:
            self._allowance.took(1)


def pacing(rate: str | Rate | None, between: str | None) -> Pacing | None:
    """That of a rate and a part of the day as they are typed, or parsed; None where there is neither.

    Raises
    ------
    ValueError
        If one of them is not valid, see `Rate.parse` and `Times.parse`.
    """
    if rate is None and between is None:
        return None
    return Pacing(
        Rate.parse(rate) if isinstance(rate, str) else rate, None if between is None else Times.parse(between)
    )
