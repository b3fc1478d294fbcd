"""The reading of many files beside a working node: no faster than is allowed, and with a look at each whole object."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from time import sleep
from typing import BinaryIO

from ...encoding.scan import HeaderScanner
from ...errors import ServiceRefusal, UnusableObject
from ...exchange.pacing import Allowance
from ...values import frozen
from ..entries import Entry, entry_of
from .task import Reporter, in_words

_BLOCK = 1 << 20
_NAP = 0.1


class CannotRead(OSError):
    """A file that is open cannot be read."""


class Pace:
    """The pace at which a task reads, and the place where it learns that it is to stop.

    Parameters
    ----------
    reporter
        Where it reports.
    rate
        The most bytes in a second; None for as many as there are.

    Attributes
    ----------
    reporter
        As above.
    done, total
        How many of the things are done that the task is about, and how many there are, None where that is not known.
    count
        How many bytes were read.
    """

    def __init__(self, reporter: Reporter, rate: float | None = None) -> None:
        self.reporter = reporter
        # What was not used in the last moment may be used now.
        self._allowance = None if rate is None else Allowance(rate, _NAP)
        self.done = self.count = 0
        self.total: int | None = None

    def tick(self) -> None:
        """Report progress; raises TaskStopped if the task is to stop."""
        total = self.total
        self.reporter.progress(self.done, None if total is None else max(self.done, total))

    def step(self) -> None:
        """One more thing is done."""
        self.done += 1
        self.tick()

    def blocks(self, file: BinaryIO) -> Iterator[bytes]:
        """The content of a file, block by block.

        Raises
        ------
        CannotRead
            If it cannot be read.
        """
        while block := _block(file):
            yield block
            self.took(len(block))

    def took(self, count: int) -> None:
        """So many bytes were read; returns when more may be."""
        self.count += count
        self.tick()
        if self._allowance is None:
            return
        self._allowance.took(count)
        while left := self._allowance.wait():
            sleep(min(left, _NAP))
            self.tick()


class Watch:
    """Tells a database that reads for long whether the task is to stop.

    Parameters
    ----------
    pace
        Of the task.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._raised: BaseException | None = None

    def __call__(self) -> bool:
        """Whether to stop. Nothing is raised, as that would not pass through the database."""
        try:
            self._pace.tick()
        except BaseException as error:  # noqa: BLE001
            self._raised = error
        return self._raised is not None

    def pass_on(self) -> None:
        """Raise why it was to stop, if it was."""
        if self._raised is not None:
            raise self._raised


def _block(file: BinaryIO) -> bytes:
    try:
        return file.read(_BLOCK)
    except OSError as error:
        raise CannotRead(error.errno, error.strerror or str(error)) from error


@frozen
class Examined:
    """What was found in a file.

    Parameters
    ----------
    size, digest
        Its length in bytes, and its SHA-256 as hexadecimal digits.
    entry
        The object in it; None if it is not one from its first byte to its last.
    cause
        Why it is not.
    """

    size: int
    digest: str
    entry: Entry | None
    cause: str = ""


def examine(opened: Callable[[], BinaryIO], scanner: HeaderScanner, pace: Pace) -> Examined:
    """Read a whole file.

    Parameters
    ----------
    opened
        Opens it.
    scanner
        Finds what is wanted of the object in it.
    pace
        How fast it is read.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    with opened() as file:
        for block in pace.blocks(file):
            digest.update(block)
            size += len(block)
        file.seek(0)
        try:
            return Examined(size, digest.hexdigest(), entry_of(file, scanner))
        except (UnusableObject, ServiceRefusal) as error:
            return Examined(size, digest.hexdigest(), None, in_words(error))
