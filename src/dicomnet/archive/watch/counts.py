"""What is counted while a node runs, in memory that its processes share: `Counts`, and the peers by their numbers.

A process writes only to its own part, and the one in its place goes on there, so nothing is lost with a process that is
killed.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterable

from ..access import forms_of
from .series import LENGTH, OTHER, PEERS, STARTS, place

# Behind what is counted: how many associations are open, and the process itself, 0 where there is none.
_OPEN, _PROCESS = LENGTH, LENGTH + 1
_PART = LENGTH + 2
# A title has up to 16 characters.
_NAME = 64


class Counts:
    """The counts of all processes of a node.

    Parameters
    ----------
    processes
        How many there will be: this one, and the workers.

    Attributes
    ----------
    memory, sums
        The part of this process, in the order of `series.place`; both are the same, of whole numbers and of sums of
        seconds.
    lock
        To be held while it is changed.
    """

    def __init__(self, processes: int) -> None:
        self._all = memoryview(mmap.mmap(-1, 8 * _PART * processes))
        self._processes = processes
        self.peers = Peers()
        self.lock = threading.Lock()
        self.memory, self.sums = self._part(0)

    def be_process(self, number: int) -> None:
        """Be another process of the node, after a fork."""
        self.lock = threading.Lock()
        self.memory, self.sums = self._part(number)
        self.memory[_OPEN] = 0
        self.memory[_PROCESS] = os.getpid()
        self.add(place(STARTS))

    def leave(self) -> None:
        """This process ends in order."""
        self.memory[_OPEN] = self.memory[_PROCESS] = 0

    def add(self, at: int, count: int = 1) -> None:
        """Count something, at its place."""
        with self.lock:
            self.memory[at] += count

    def opened(self) -> None:
        """An association is open."""
        self.add(_OPEN)

    def closed(self) -> None:
        """It is not any more."""
        self.add(_OPEN, -1)

    def totals(self) -> tuple[list[int], list[float]]:
        """What all processes have counted, together; as whole numbers, and as sums of seconds."""
        parts = [self._part(number) for number in range(self._processes)]
        numbers = [part.tolist() for part, _ in parts]
        sums = [part.tolist() for _, part in parts]
        return list(map(sum, zip(*numbers, strict=True))), list(map(sum, zip(*sums, strict=True)))

    @property
    def open(self) -> int:
        """How many associations are open."""
        return sum(self._part(number)[0][_OPEN] for number in range(self._processes))

    @property
    def workers(self) -> dict[int, int]:
        """The workers that should be there, by their numbers from 0: the process of each, 0 where there is none."""
        return {number - 1: self._part(number)[0][_PROCESS] for number in range(1, self._processes)}

    def _part(self, number: int) -> tuple[memoryview[int], memoryview[float]]:
        part = self._all[8 * _PART * number : 8 * _PART * (number + 1)]
        return part.cast("Q"), part.cast("d")


class Peers:
    """The AE titles that are told apart, each with its number, for all processes of a node.

    The one that made it adds titles, before others hear of them. One that the configuration no longer has keeps its
    number, so that what is counted goes on when it comes back.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _NAME * PEERS)
        self._owner = os.getpid()
        self._numbers: dict[str, int] = {}
        self._memory[: len(OTHER)] = OTHER.encode()
        self.titles: tuple[str, ...] = (OTHER,)

    def adopt(self, titles: Iterable[str]) -> int:
        """Tell peers of these titles apart from now on; how many of them there is no room for."""
        known = self._read()
        left = 0
        if os.getpid() == self._owner:
            for title in sorted(set(titles) - set(known)):
                if len(known) == PEERS:
                    left += 1
                    continue
                at, name = _NAME * len(known), title.encode()
                self._memory[at : at + len(name)] = name
                known.append(title)
        self._numbers = {form: number for number, title in enumerate(known) for form in forms_of(title)}
        self.titles = tuple(known)
        return left

    def number_of(self, title: str) -> int:
        """The number of a peer by the title that it calls itself; 0 for one that is not told apart."""
        return self._numbers.get(title, 0)

    def _read(self) -> list[str]:
        names = (self._memory[at : at + _NAME].rstrip(b"\0") for at in range(0, _NAME * PEERS, _NAME))
        return [name.decode() for name in names if name]
