"""How often somebody has failed to prove who he is, and for how long he is not heard therefore."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

# How many failures in a row cost nothing, and the longest time that one more costs, in seconds.
_FREE, _LONGEST = 5, 60.0
# For how many addresses and names failures are remembered.
_REMEMBERED = 10_000


class Failures:
    """The failures of one process, counted for each address and for each name. Used by its loop only.

    Parameters
    ----------
    clock
        Gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._rows: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait(self, *keys: str) -> float:
        """For how many seconds whoever has one of these keys is not heard."""
        now = self._clock()
        return max((self._rows[key][1] - now for key in keys if key in self._rows), default=0.0)

    def failed(self, *keys: str) -> None:
        """Whoever has these keys has failed."""
        now = self._clock()
        for key in keys:
            count = self._rows.pop(key, (0, 0.0))[0] + 1
            self._rows[key] = count, now + min(_LONGEST, 2.0 ** (count - _FREE) if count >= _FREE else 0.0)
        while len(self._rows) > _REMEMBERED:
            self._rows.popitem(last=False)

    def succeeded(self, *keys: str) -> None:
        """Whoever has these keys has proved who he is."""
        for key in keys:
            self._rows.pop(key, None)
