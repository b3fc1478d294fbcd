"""The threads of lanes: several associations that send the objects of one plan side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial

from ..drivers.blocking.link import Link
from ..exchange.lanes import Lanes, StartedLanes
from ..exchange.operations import Outcome
from ..exchange.results import StoreResult


class LaneThreads(StartedLanes[Iterator[StoreResult]]):
    """Lanes that have a thread each. Parameters as of `StartedLanes`."""

    def __init__(self, lanes: Lanes, perform: Callable[[LaneThreads], Iterator[StoreResult]]) -> None:
        super().__init__(lanes, perform)
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._links: set[Link] = set()
        self._is_aborted = False

    def start(self) -> None:
        """Begin one more lane."""
        thread = threading.Thread(target=self._run, name="dicomnet-store", daemon=True)
        with self._changed:
            self._lanes.started()
            self._threads.append(thread)
        thread.start()

    def wait(self, attempt: Callable[[], Outcome | None]) -> Outcome:
        """Try, each time that another lane has changed something, until it is no longer None."""
        with self._changed:
            while (outcome := attempt()) is None:
                self._changed.wait()
            self._changed.notify_all()
            return outcome

    def opened(self, link: Link) -> None:
        """A lane has opened an association."""
        self._links.add(link)
        if self._is_aborted:
            link.abort()

    def leave(self, error: BaseException) -> None:
        """Whoever takes the results has left, because of an error."""
        if isinstance(error, GeneratorExit):
            # Whether the loop was left or an interrupt ends it cannot be known here, so nothing is waited for.
            self.end()
        elif isinstance(error, Exception):
            self.stop()
        else:
            # Ctrl-C does not wait for answers that are outstanding.
            self.abort()

    def stop(self) -> None:
        """Send nothing more, and wait for the answers that are outstanding."""
        self.end()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def abort(self) -> None:
        """Send nothing more, and end the associations at once."""
        self._is_aborted = True
        self.end()
        # Each may have to wait a moment for its lane.
        aborting = [threading.Thread(target=link.abort) for link in list(self._links)]
        for thread in aborting:
            thread.start()
        for thread in aborting:
            thread.join()

    def end(self) -> None:
        with self._changed:
            self._lanes.stop()
            self._changed.notify_all()

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            for result in self._perform(self):
                self.wait(partial(self._lanes.put, result))
        except BaseException as error:  # noqa: BLE001
            # It is raised to whoever takes the results.
            failure = error
        finally:
            self.wait(partial(self._lanes.ended, failure))
