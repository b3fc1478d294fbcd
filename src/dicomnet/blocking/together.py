"""What several operations report, performed side by side in a thread each."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Any

from ..errors import AssociationClosed

# How long threads have to end that nobody wants any more, in seconds.
_END_SECONDS = 5.0


class _End(Exception):
    """A thread has come to its end."""


def together(performances: Sequence[Iterator[Any]], stop: Callable[[], None]) -> Iterator[Any]:
    """What they report, as it comes. Where one fails, the others end what they do, and it is raised.

    Parameters
    ----------
    performances
        What hands out the results of each.
    stop
        Has all of them begin with nothing further.
    """
    if len(performances) == 1:
        yield from performances[0]
        return
    results: queue.Queue[Any] = queue.Queue(64)
    is_left = threading.Event()
    failures: list[BaseException] = []

    def put(result: Any) -> None:
        while not is_left.is_set():
            try:
                return results.put(result, timeout=0.2)
            except queue.Full:
                continue
        raise AssociationClosed()

    def run(performance: Iterator[Any]) -> None:
        try:
            for each in performance:
                put(each)
        except BaseException as error:  # noqa: BLE001
            # It is raised to whoever takes the results.
            stop()
            failures.append(error)
        finally:
            if not is_left.is_set():
                put(_End)

    threads = [
        threading.Thread(target=run, args=(each,), name="dicomnet-fetch", daemon=True)
        for each in performances
    ]
    for each in threads:
        each.start()
    left = len(threads)
    try:
        while left:
            result = results.get()
            if result is _End:
                left -= 1
            else:
                yield result
    finally:
        stop()
        is_left.set()
        end = monotonic() + _END_SECONDS
        for each in threads:
            each.join(max(0.0, end - monotonic()))
    if failures:
        raise failures[0]
