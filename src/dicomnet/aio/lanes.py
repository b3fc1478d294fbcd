"""One plan of objects on several associations side by side, each in a task; `lanes` is the same with threads."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable

from ..drivers.aio.link import Link
from ..errors import AssociationClosed, AssociationError, NetworkError
from ..exchange.results import StoreResult
from ..exchange.storing import RESULTS_LIMIT, StoreQueue

_log = logging.getLogger(__name__)

# Sends what it can on one association: tells of the association when it has it, then of each result. Raises if there
# is none to be had.
Use = Callable[
    [StoreQueue, Callable[[Link], None], Callable[[StoreResult], Awaitable[None]]], Awaitable[None]
]


class Lanes:
    """Tasks that send what waits in a queue. See `dicomnet.blocking.lanes.Lanes`.

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
        self._changed = asyncio.Condition()
        self._ready: deque[StoreResult] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self._going = self._sending = 0
        self._has_opened = False
        self._refusal: NetworkError | AssociationError | None = None

    async def results(self, may_raise: bool) -> AsyncGenerator[StoreResult, None]:
        """Begin, and give each result as it comes. See `dicomnet.blocking.lanes.Lanes.results`."""
        self._start()
        try:
            while (result := await self._next()) is not None:
                yield result
            for task in self._tasks:
                # What went wrong in a task belongs to whoever takes the results.
                await task
            if not self._queue.is_empty:
                if self._refusal is not None and may_raise and not self._has_opened:
                    raise self._refusal
                self._queue.fail(self._refusal or AssociationClosed())
            for result in self._queue.results():
                yield result
        finally:
            self.end()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def end(self) -> None:
        """Send nothing more."""
        self._queue.fail(AssociationClosed())

    def _start(self) -> None:
        self._going += 1
        self._tasks.append(asyncio.get_running_loop().create_task(self._run(self._queue.beside())))

    async def _next(self) -> StoreResult | None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._ready or not self._going)
            self._changed.notify_all()
            return self._ready.popleft() if self._ready else None

    async def _run(self, queue: StoreQueue) -> None:
        try:
            while await self._has_work(queue):
                try:
                    await self._use(queue, self._opened, self._report)
                except (NetworkError, AssociationError) as error:
                    _log.info("an association beside the others was not to be had: %s", error)
                    self._refusal = error
                    break
                finally:
                    async with self._changed:
                        self._sending -= 1
                        self._changed.notify_all()
        except Exception:
            queue.fail(AssociationClosed())
            raise
        finally:
            async with self._changed:
                self._going -= 1
                self._changed.notify_all()

    async def _has_work(self, queue: StoreQueue) -> bool:
        async with self._changed:
            await self._changed.wait_for(lambda: not queue.is_empty or not self._sending)
            if queue.is_empty:
                return False
            self._sending += 1
            return True

    def _opened(self, link: Link) -> None:
        if not self._has_opened:
            self._has_opened = True
            for _ in range(self._count - 1):
                self._start()

    async def _report(self, result: StoreResult) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._ready) < RESULTS_LIMIT)
            self._ready.append(result)
            self._changed.notify_all()
