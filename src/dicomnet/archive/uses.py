"""When objects of a study were last given out, as far as those have to know who would remove it."""

from __future__ import annotations

import mmap
from time import time
from zlib import crc32

# So many studies are told apart; another one of the same number is taken for used, too.
_PLACES = 1 << 14


class Uses:
    """A table that processes which fork share: when objects of studies were last given out."""

    def __init__(self) -> None:
        self._moments = memoryview(mmap.mmap(-1, 8 * _PLACES)).cast("Q")

    def note(self, study: str) -> None:
        """An object of a study is given out now, by its Study Instance UID."""
        self._moments[crc32(study.encode()) % _PLACES] = int(time())

    def is_used(self, study: str, seconds: float) -> bool:
        """Whether an object of a study was given out within the last seconds."""
        return self._moments[crc32(study.encode()) % _PLACES] >= time() - seconds
