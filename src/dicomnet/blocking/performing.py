"""Procedures of the exchange performed in the blocking face."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

from ..exchange.operations import Outcome


def perform(
    course: Generator[Any, Any, Outcome], performers: Mapping[Any, Callable[[Any, Any], Any]], owner: object
) -> Outcome:
    """Perform a procedure to its end.

    Parameters
    ----------
    performers
        By type of step, how the owner performs it.
    """
    resume: Callable[[Any], Any] = course.send
    outcome: Any = None
    try:
        while True:
            step = resume(outcome)
            try:
                resume, outcome = course.send, performers[type(step)](owner, step)
            except Exception as error:  # noqa: BLE001
                resume, outcome = course.throw, error
    except StopIteration as stop:
        value: Outcome = stop.value
        return value
