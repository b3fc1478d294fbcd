"""What goes on in a node, for people who look: open associations, and what was refused lately, of all its processes.

It is in memory that processes share. Each writes only to its own part; one who reads a row just while it is written may
see it in part, which costs nothing but that look.
"""

from __future__ import annotations

import mmap
import struct
import threading
from collections.abc import Callable, Iterator
from itertools import count
from time import time

from ..values import frozen

# How many associations of a process are shown, and how many refusals of it are remembered.
_OPEN, _REFUSED = 512, 128
# When it was, who calls, whom, from where, an object, and a sentence.
_ROW = struct.Struct("d64s64s64s64s248s")
_PART = (_OPEN + _REFUSED) * _ROW.size


@frozen
class Row:
    """An open association, or a refusal.

    Parameters
    ----------
    at
        When it was opened or refused, in seconds since 1970.
    calling, called
        AE titles, as the peer gave them; empty where they are not known.
    address
        Where the peer is.
    instance
        SOP Instance UID of a refused object, as the peer gave it; else empty.
    reason
        Why it was refused, without values of patients.
    """

    at: float
    calling: str
    called: str
    address: str
    instance: str = ""
    reason: str = ""


class Activity:
    """What goes on in a node. It is made before its worker processes are forked.

    Parameters
    ----------
    processes
        How many processes it will have: this one, and the workers.
    clock
        The seconds since 1970.
    """

    def __init__(self, processes: int, clock: Callable[[], float] = time) -> None:
        self._memory = mmap.mmap(-1, _PART * processes)
        self._processes = processes
        self._clock = clock
        self.be_process(0)

    def be_process(self, number: int) -> None:
        """Be another process of the node, after a fork; what one before it with this number had open is over."""
        self._lock = threading.Lock()
        self._base = number * _PART
        self._free = list(range(_OPEN - 1, -1, -1))
        self._refusals = count()
        self._memory[self._base : self._base + _OPEN * _ROW.size] = bytes(_OPEN * _ROW.size)

    def opened(self, calling: str, called: str, address: str) -> int | None:
        """An association is open: its number, None where there are too many to show."""
        with self._lock:
            number = self._free.pop() if self._free else None
        if number is not None:
            self._write(number, Row(self._clock(), calling, called, address))
        return number

    def closed(self, number: int) -> None:
        """An association is over."""
        at = self._base + number * _ROW.size
        self._memory[at : at + _ROW.size] = bytes(_ROW.size)
        with self._lock:
            self._free.append(number)

    def refused(
        self, reason: str, *, calling: str = "", called: str = "", address: str = "", instance: str = ""
    ) -> None:
        """An association or an object was refused."""
        with self._lock:
            number = _OPEN + next(self._refusals) % _REFUSED
        self._write(number, Row(self._clock(), calling, called, address, instance, reason))

    @property
    def open(self) -> list[Row]:
        """The associations that are open, the newest first."""
        return self._rows(0, _OPEN)

    @property
    def refusals(self) -> list[Row]:
        """What was refused lately, the newest first."""
        return self._rows(_OPEN, _OPEN + _REFUSED)

    def _write(self, number: int, row: Row) -> None:
        texts = (row.calling, row.called, row.address, row.instance, row.reason)
        content = _ROW.pack(row.at, *(text.encode(errors="replace") for text in texts))
        at = self._base + number * _ROW.size
        self._memory[at : at + _ROW.size] = content

    def _rows(self, first: int, end: int) -> list[Row]:
        def found() -> Iterator[Row]:
            for base in range(0, self._processes * _PART, _PART):
                part = self._memory[base + first * _ROW.size : base + end * _ROW.size]
                for at, *texts in _ROW.iter_unpack(part):
                    if at:
                        yield Row(at, *(text.rstrip(b"\0").decode(errors="replace") for text in texts))

        return sorted(found(), key=lambda row: row.at, reverse=True)
