"""The threads of lanes: several associations that send the objects of one plan side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ..drivers.blocking.changes import Changes
from ..drivers.blocking.link import Link
from ..errors import AssociationClosed
from ..exchange.lanes import SharedLanes, StartedLanes
from ..exchange.operations import Outcome


class Opening:
    """An association while a thread of its own opens it, as a host name or a connection can take its time.

    Parameters
    ----------
    changed
        What its lanes wait for.
    """

    def __init__(self, changed: Changes) -> None:
        self._changed = changed
        self._is_given_up = False
        self.link: Link | None = None
        self.error: BaseException | None = None
        self.is_over = False

    def connected(self, link: Link) -> None:
        """The peer was reached.

        Raises
        ------
        AssociationClosed
            If the association is not needed any more.
        """
        with self._changed.lock:
            self._check()
            self.link = link

    def established(self) -> None:
        """The association is there. Raises as `connected`."""
        with self._changed.lock:
            self._check()
            self.is_over = True
            self._changed.notify_all()

    def failed(self, error: BaseException) -> None:
        """It could not be opened."""
        with self._changed.lock:
            self.error = error
            self.is_over = True
            self._changed.notify_all()

    def finish(self, *, may_wait: bool) -> bool | None:
        """Whether it has come to its end; None as long as it may still be waited for."""
        if not self.is_over and may_wait:
            return None
        self._is_given_up = not self.is_over
        return self.is_over

    def _check(self) -> None:
        if self._is_given_up:
            raise AssociationClosed()


class LaneThreads(StartedLanes[Iterator[Any]]):
    """Lanes that have a thread each. Parameters as of `StartedLanes`."""

    def __init__(self, lanes: SharedLanes[Any], perform: Callable[[LaneThreads], Iterator[Any]]) -> None:
        super().__init__(lanes, perform)
        self._changed = Changes()
        self._threads: list[threading.Thread] = []
        self._links: set[Link] = set()
        self._is_aborted = False

    def start(self) -> None:
        """Begin one more lane."""
        thread = threading.Thread(target=self._run, name="dicomnet-store", daemon=True)
        with self._changed.lock:
            self._lanes.started()
            self._threads.append(thread)
        thread.start()

    def wait(self, attempt: Callable[[], Outcome | None]) -> Outcome:
        """Try, each time that another lane has changed something, until it is no longer None."""
        with self._changed.lock:
            while (outcome := attempt()) is None:
                self._changed.wait()
            self._changed.notify_all()
            return outcome

    def open(self, establish: Callable[[Opening], Link]) -> Link:
        """Open an association for a lane. It is given up at once when nothing is left to send.

        Parameters
        ----------
        establish
            Opens it, and says how far it is.

        Raises
        ------
        AssociationClosed
            If it was given up.
        AssociationError, NetworkError
            If it could not be opened.
        """
        opening = Opening(self._changed)
        threading.Thread(
            target=self._establish, args=(opening, establish), name="dicomnet-opening", daemon=True
        ).start()
        is_over = self.wait(lambda: opening.finish(may_wait=not self._lanes.is_spent))
        if opening.error is not None:
            raise opening.error
        link = opening.link
        if link is not None and not is_over:
            link.abort()
        if link is None or not is_over:
            raise AssociationClosed()
        self._links.add(link)
        if self._is_aborted:
            link.abort()
        return link

    @staticmethod
    def _establish(opening: Opening, establish: Callable[[Opening], Link]) -> None:
        try:
            establish(opening)
        except BaseException as error:  # noqa: BLE001
            # It is raised to the lane.
            opening.failed(error)

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
        with self._changed.lock:
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
