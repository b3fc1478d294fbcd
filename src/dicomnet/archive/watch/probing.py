"""Checks that may hang, as when a file system or a database does not answer: whoever asks for them is not held up.

Each is run in a thread of its own when somebody wants to know, and what it found last is kept with its age.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, wait
from enum import IntEnum
from time import monotonic

from ...errors import DicomnetError
from ...values import field, frozen

_log = logging.getLogger(__name__)

# How long a page waits for checks, in seconds; what they found before has to do then.
PATIENCE = 0.5
# After how long a check that has not come back has failed, in seconds.
OVERDUE = 5.0
# How old what it found may be, in seconds, before it is run again.
FRESH = 1.0


class Level(IntEnum):
    """How well something is, the worst last."""

    OK = 0
    WARNING = 1
    FAILED = 2

    @property
    def word(self) -> str:
        """As a page says it."""
        return self.name.lower()


@frozen
class Finding:
    """What a check found.

    Parameters
    ----------
    level
        How well it is.
    message
        In words, without paths, and without anything of a patient.
    values
        What was measured, by the names of `series.GAUGES`, and by the value of the label.
    """

    level: Level
    message: str
    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@frozen
class Result:
    """What is known of a check.

    Parameters
    ----------
    name
        Of the check.
    finding
        What it found last; what its silence means where it does not come back.
    age
        Of its last answer, in seconds; None if it has never given one.
    """

    name: str
    finding: Finding
    age: float | None


class Probe:
    """A check, and what it found last.

    Parameters
    ----------
    name
        Of the check.
    check
        Makes it, and may take long; a `DicomnetError` and an `OSError` are failures of what is checked.
    fresh
        How old what it found may be before it is run again, in seconds.
    """

    def __init__(self, name: str, check: Callable[[], Finding], *, fresh: float = FRESH) -> None:
        self.name = name
        self._check = check
        self._fresh = fresh
        self._lock = threading.Lock()
        self._running: Future[None] | None = None
        self._begun = 0.0
        self._found: Finding | None = None
        self._found_at = 0.0
        self._failure = ""

    def begin(self) -> Future[None] | None:
        """Run the check, unless that was done a moment ago; what is worth waiting for, if anything is."""
        with self._lock:
            now = monotonic()
            if self._running is not None:
                # One that has been waited for in vain is not waited for again.
                return self._running if now - self._begun < PATIENCE else None
            if self._found is not None and now - self._found_at < self._fresh:
                return None
            running: Future[None] = Future()
            # Who gives up waiting does not cancel it.
            running.set_running_or_notify_cancel()
            self._running, self._begun = running, now
        # Not one of a pool, whose threads keep the process from ending.
        thread = threading.Thread(
            target=self._run, args=(running,), name=f"dicomnet-{self.name}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            self._end(running, Finding(Level.FAILED, "the system has no thread to check it with"))
        return running

    def wait(self, seconds: float) -> None:
        """Wait until it does not run."""
        running = self._running
        if running is not None:
            wait((running,), seconds)

    def result(self) -> Result:
        """What is known now."""
        with self._lock:
            now = monotonic()
            silence = now - self._begun if self._running is not None else 0.0
            age = None if self._found is None else now - self._found_at
            found = self._found or Finding(Level.FAILED, "not known yet")
            if silence >= OVERDUE:
                found = Finding(Level.FAILED, f"no answer for {silence:.0f} s")
        return Result(self.name, found, age)

    def _run(self, running: Future[None]) -> None:
        self._end(running, self._look())

    def _end(self, running: Future[None], found: Finding) -> None:
        with self._lock:
            self._found, self._found_at, self._running = found, monotonic(), None
        running.set_result(None)

    def _look(self) -> Finding:
        failure = ""
        try:
            found = self._check()
        except (DicomnetError, OSError) as error:
            # Its words may have a path, so they are for the log.
            found, failure = Finding(Level.FAILED, "it cannot be used now; the log says why"), str(error)
            if failure != self._failure:
                _log.warning("health: %s: %s", self.name, failure)
        except Exception as error:  # noqa: BLE001
            found, failure = Finding(Level.FAILED, "the check itself has failed"), type(error).__name__
            if failure != self._failure:
                _log.exception("health: %s cannot be checked", self.name)
        self._failure = failure
        return found


class Probes:
    """Several checks, which are run side by side.

    Parameters
    ----------
    probes
        They.
    """

    def __init__(self, probes: Sequence[Probe]) -> None:
        self._probes = tuple(probes)
        self._failed: Collection[str] = ()

    async def results(self) -> list[Result]:
        """What is known of each, after `PATIENCE` seconds at most; the log says what fails, and when all is well."""
        waited = [asyncio.wrap_future(each) for probe in self._probes if (each := probe.begin()) is not None]
        if waited:
            await asyncio.wait(waited, timeout=PATIENCE)
        results = [probe.result() for probe in self._probes]
        self._tell(results)
        return results

    def close(self) -> None:
        """Wait for those that run, but not for long; none must be begun any more."""
        end = monotonic() + PATIENCE
        for probe in self._probes:
            probe.wait(max(0.0, end - monotonic()))

    def _tell(self, results: Sequence[Result]) -> None:
        failed = {each.name: each.finding.message for each in results if each.finding.level is Level.FAILED}
        for name in failed.keys() - self._failed:
            _log.warning("not ready: %s: %s", name, failed[name])
        if self._failed and not failed:
            _log.warning("ready again")
        self._failed = failed.keys()


def is_ready(results: Sequence[Result]) -> bool:
    """Whether none of the checks failed."""
    return all(each.finding.level is not Level.FAILED for each in results)


def level_of(results: Sequence[Result]) -> Level:
    """The worst of all."""
    return max((each.finding.level for each in results), default=Level.OK)
