"""Procedures of the exchange performed in the asyncio face."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from types import CoroutineType
from typing import Any

from ..exchange.operations import Outcome


async def perform(
    course: Generator[Any, Any, Outcome], performers: Mapping[Any, Callable[[Any, Any], Any]], owner: object
) -> Outcome:
    """Perform a procedure to its end, and await the steps that have to wait.

    Parameters
    ----------
    performers
        By type of step, how the owner performs it.
    """
    resume: Callable[[Any], Any] = course.send
    outcome: Any = None
    while True:
        try:
            step = resume(outcome)
        except StopIteration as stop:
            value: Outcome = stop.value
            return value
        try:
            outcome = performers[type(step)](owner, step)
            if isinstance(outcome, CoroutineType):
                outcome = await outcome
            resume = course.send
        except Exception as error:  # noqa: BLE001
            resume, outcome = course.throw, error
