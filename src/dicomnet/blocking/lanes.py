"""One plan of objects on several associations side by side, each in a thread; `aio_lanes` is the same with tasks."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator

from ..drivers.blocking.link import Link
from ..errors import AssociationClosed, AssociationError, NetworkError
from ..exchange.results import StoreResult
from ..exchange.storing import RESULTS_LIMIT, StoreQueue

_log = logging.getLogger(__name__)


# Sends what it can on one association: tells of the association when it has it, then of each result. Raises if there
# is none to be had.
Use = Callable[[StoreQueue, Callable[[Link], None], Callable[[StoreResult], None]], None]


class Lanes:
    """Threads that send what waits in a queue. The others start when the first one has its association.

    A lane that gets no association ends, and leaves its objects to the others. One that has nothing to send waits, as
    another may lose its association and leave it something.

    Parameters
    ----------
    queue
        What is to be sent.
    count
        How many associations there may be.
    use
        What a lane does, again and again, as long as there is something to send.
    """

    def __init__(self, queue: StoreQueue, count: int, use: Use) -> None:
        self._queue = queue
        self._count = count
        self._use = use
        self._changed = threading.Condition()
        self._ready: deque[StoreResult] = deque()
        self._links: set[Link] = set()
        self._threads: list[threading.Thread] = []
        self._going = self._sending = 0
        self._refusal: NetworkError | AssociationError | None = None
        self._failure: BaseException | None = None
        self._is_over = self._is_aborted = False

    def results(self, may_raise: bool) -> Iterator[StoreResult]:
        """Begin, and give each result as it comes.

        Parameters
        ----------
        may_raise
            Whether it is an error if there is no association to be had at all; else that is in the results.

        Raises
        ------
        NetworkError, AssociationError
            Why there was none.
        """
        try:
            self._start()
            while (result := self._next()) is not None:
                yield result
            if self._failure is not None:
                raise self._failure
            if not self._queue.is_empty:
                if self._refusal is not None and may_raise and not self._links:
                    raise self._refusal
                self._queue.fail(self._refusal or AssociationClosed())
            yield from self._queue.results()
        except GeneratorExit:
            # Whether the loop was left or an interrupt ends it cannot be told here, so nothing is waited for.
            self._end()
            raise
        except Exception:
            self.stop()
            raise
        except BaseException:
            # Ctrl-C does not wait for answers that are outstanding.
            self.abort()
            raise

    def stop(self) -> None:
        """Send nothing more, and wait for the answers that are outstanding."""
        self._end()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def abort(self) -> None:
        """Send nothing more, and end the associations at once."""
        self._is_aborted = True
        self._end()
        # Each may have to wait a moment for its lane.
        aborting = [threading.Thread(target=link.abort) for link in list(self._links)]
        for thread in aborting:
            thread.start()
        for thread in aborting:
            thread.join()

    def _end(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        self._queue.fail(AssociationClosed())

    def _start(self) -> None:
        thread = threading.Thread(
            target=self._run, args=(self._queue.beside(),), name="dicomnet-store", daemon=True
        )
        with self._changed:
            self._going += 1
            self._threads.append(thread)
        thread.start()

    def _next(self) -> StoreResult | None:
        with self._changed:
            self._changed.wait_for(lambda: self._ready or not self._going)
            self._changed.notify_all()
            return self._ready.popleft() if self._ready else None

    def _run(self, queue: StoreQueue) -> None:
        try:
            while self._has_work(queue):
                try:
                    self._use(queue, self._opened, self._report)
                except (NetworkError, AssociationError) as error:
                    _log.info("an association beside the others was not to be had: %s", error)
                    self._refusal = error
                    break
                finally:
                    with self._changed:
                        self._sending -= 1
                        self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001
            # It belongs to whoever takes the results.
            self._failure = error
            queue.fail(AssociationClosed())
        finally:
            with self._changed:
                self._going -= 1
                self._changed.notify_all()

    def _has_work(self, queue: StoreQueue) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: not queue.is_empty or not self._sending or self._is_over)
            if queue.is_empty or self._is_over:
                return False
            self._sending += 1
            return True

    def _opened(self, link: Link) -> None:
        is_first = not self._links
        self._links.add(link)
        if self._is_aborted:
            link.abort()
        elif is_first and not self._is_over:
            for _ in range(self._count - 1):
                self._start()

    def _report(self, result: StoreResult) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._ready) < RESULTS_LIMIT or self._is_over)
            self._ready.append(result)
            self._changed.notify_all()
