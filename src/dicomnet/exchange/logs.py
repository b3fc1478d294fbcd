"""Turning on the log of what happens on associations, and keeping its size sane."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic

from .. import _config
from ..drivers.trace import served
from ..services.descriptions import shown
from ..values import frozen, mutable

_SHORT = "%(levelname).1s: %(message)s"
_WITH_TIME = "%(asctime)s %(levelname)s %(message)s"
# ISO 8601, with the offset from UTC.
_TIME = "%Y-%m-%dT%H:%M:%S%z"


def outermost_logger() -> logging.Logger:
    """The logger that governs what the package logs: ``dicomnet``, or ``pynetdicom`` once installed as that."""
    logger = logging.getLogger("dicomnet")
    return logger if logger.parent is None or logger.parent is logging.root else logger.parent


def debug_logger() -> None:
    """Write the package's log to standard error, down to debug level. Patients' data is not logged."""
    logger = outermost_logger()
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
    log_to_stderr(logger, logging.DEBUG)


@frozen
class Log:
    """What a program that runs on logs to standard error.

    Parameters
    ----------
    level
        As of `logging`.
    as_json
        Whether each line is an object of JSON.
    has_identifiers
        Whether keys and values of queries are logged at debug level: patients' data.
    """

    level: int = logging.WARNING
    as_json: bool = False
    has_identifiers: bool = False

    def turn_on(self) -> None:
        """Log like this from now on, and not as before."""
        logger = logging.getLogger("dicomnet")
        before = logger.handlers[:]
        _config.LOG_IDENTIFIERS = self.has_identifiers
        log_to_stderr(logger, self.level, as_service=True, as_json=self.as_json)
        for handler in before:
            logger.removeHandler(handler)


class Lines(logging.Formatter):
    """Formats a record as one line of text, in which control characters that came from outside are made visible.

    What a peer writes into an error comment, say, neither begins a line of its own nor steers a terminal.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line; what `logging` puts behind it of an exception has lines of its own."""
        line = super().formatMessage(record)
        return shown(line, len(line))


# What a record has: the peer's host, and its AE title, host and port, if it is about an association; the SOP Instance
# UID, if it is about an object.
_FIELDS = ("peer", "association", "object")


class JSONLines(logging.Formatter):
    """Formats a record as an object of JSON in a line: time, level, logger, process and message.

    With peer, association and object, where it is about them. Where a record does not say, peer and association are
    those whose requests are being performed in its thread.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        import json

        line = {
            "time": self.formatTime(record, _TIME),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
        }
        trace = served.get()
        about = {} if trace is None else trace.fields
        about |= {name: str(getattr(record, name)) for name in _FIELDS if hasattr(record, name)}
        line.update(about)
        line["message"] = record.getMessage()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_to_stderr(
    logger: logging.Logger, level: int, *, as_service: bool = False, as_json: bool = False
) -> None:
    """Write what a logger gets to standard error, from a level on.

    Parameters
    ----------
    as_service
        Whether each line has a time stamp, and what a peer can cause over and over is left out; see `RateLimit`.
    as_json
        Whether each line is an object of JSON.
    """
    handler = logging.StreamHandler()
    plain = Lines(_WITH_TIME, _TIME) if as_service else Lines(_SHORT)
    handler.setFormatter(JSONLines() if as_json else plain)
    if as_service:
        handler.addFilter(RateLimit())
    logger.addHandler(handler)
    logger.setLevel(level)


@mutable
class _Window:
    """A minute of records of one cause.

    Parameters
    ----------
    end
        When it is over, on the monotonic clock.
    passed, left_out
        How many records came, and how many of them were left out.
    """

    end: float
    passed: int = 0
    left_out: int = 0


class RateLimit(logging.Filter):
    """A filter that leaves out warnings and errors that come over and over, so that one bad peer cannot fill a disk.

    Records of one cause are those with the same text before its values are filled in, and, where the record has the
    attribute ``peer``, the same peer. The last one that passes says so, and the first one afterwards how many were left
    out.

    Parameters
    ----------
    limit
        How many records of a cause pass in a minute.
    clock
        Gives the time in seconds.
    """

    _PERIOD = 60.0
    # Of how many causes the counts are kept. Peers beyond that share one, so that many of them are no way around it.
    _MOST_CAUSES = 1000

    def __init__(self, limit: int = 60, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._limit = limit
        self._clock = clock
        self._windows: dict[tuple[str, object], _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record passes; the text of the last that does is changed to say so."""
        if record.levelno < logging.WARNING:
            return True
        window = self._window(record)
        window.passed += 1
        if window.passed > self._limit:
            window.left_out += 1
            return False
        notes = []
        if window.left_out:
            notes.append(f"{window.left_out} more like this were left out before")
            window.left_out = 0
        if window.passed == self._limit:
            notes.append(f"more like this are left out for up to {self._PERIOD:g} s")
        if notes:
            record.msg, record.args = f"{record.getMessage()} ({'; '.join(notes)})", None
        return True

    def _window(self, record: logging.LogRecord) -> _Window:
        now = self._clock()
        cause = (str(record.msg), getattr(record, "peer", None))
        if cause not in self._windows and len(self._windows) >= self._MOST_CAUSES:
            self._windows = {
                each: window for each, window in self._windows.items() if window.end > now or window.left_out
            }
            if len(self._windows) >= self._MOST_CAUSES:
                cause = (cause[0], None)
        window = self._windows.setdefault(cause, _Window(now + self._PERIOD))
        if now >= window.end:
            window.end, window.passed = now + self._PERIOD, 0
        return window
