"""Turning on the log of what happens on associations."""

from __future__ import annotations

import logging


def outermost_logger() -> logging.Logger:
    """The logger that governs what the package logs: ``dicomnet``, or ``pynetdicom`` once installed as that."""
    logger = logging.getLogger("dicomnet")
    return logger if logger.parent is None or logger.parent is logging.root else logger.parent


def debug_logger() -> None:
    """Write the package's log to standard error, down to debug level. Patients' data is not logged."""
    logger = outermost_logger()
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname).1s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
