"""Objects that could not be given out in some form: a response that was cut off for them is not cut off again.

That the pixel data of an object cannot be decompressed shows when that is done, in the middle of a response. Whoever
asks again is told beforehand that the response lacks it, and gets all the others.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from time import monotonic
from typing import TypeVar

from ....errors import UnusableObject

Chunk = TypeVar("Chunk")

# For how long that is remembered, in seconds, as it may have been for want of memory or time; and of how many.
_SECONDS = 300.0
_MOST = 10_000


class Unusable:
    """Which objects could not be given out lately, and why. It may be shared between threads.

    Parameters
    ----------
    clock
        Gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # By what tells the content of the object and the form from others.
        self._reasons: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def reason(self, version: str | None) -> str | None:
        """Why an object could not be given out; None if nothing is known of that.

        Parameters
        ----------
        version
            What differs where the content of the object differs, or the form in which it is given out; None where that
            is not known.
        """
        with self._lock:
            at, reason = self._reasons.get(version or "", (0.0, None))
        return None if reason is None or self._clock() - at > _SECONDS else reason

    def watched(self, version: str | None, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """The chunks of an object; that it turns out to be unusable is remembered. Parameters as of `reason`."""
        try:
            yield from chunks
        except UnusableObject as error:
            if version is not None:
                self._remember(version, str(error))
            raise

    def _remember(self, version: str, reason: str) -> None:
        with self._lock:
            self._reasons.pop(version, None)
            self._reasons[version] = self._clock(), reason
            while len(self._reasons) > _MOST:
                self._reasons.popitem(last=False)


# What was found out for one response holds for all.
UNUSABLE = Unusable()
