"""Turning on the log of what happens on associations."""

from __future__ import annotations

import logging


def debug_logger() -> None:
    """Write the package's log to standard error, down to debug level. Patients' data is not logged."""
    logger = logging.getLogger("dicomnet")
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname).1s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
