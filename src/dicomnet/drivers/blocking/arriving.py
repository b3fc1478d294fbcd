"""Waiting for what arrives at a receiver of this process after the peer has answered."""

from __future__ import annotations

from collections.abc import Callable

from .changes import Changes


def wait_for_late_objects(
    changed: Changes, is_all: Callable[[], bool], progress: Callable[[], object], limit: float | None
) -> None:
    """Wait until all objects have arrived, or nothing has come of any for a time.

    A peer may end a C-MOVE before the last object is on its way: the order is between two associations.

    Parameters
    ----------
    changed
        Notified of each object.
    is_all
        Whether all have arrived; never, where nobody knows how many there are.
    progress
        A measure that changes while objects arrive, also within a large one.
    limit
        Seconds without a change; None is without end.
    """
    with changed.lock:
        seen: object = None
        while not is_all() and (now := progress()) != seen:
            seen = now
            changed.wait(limit)
