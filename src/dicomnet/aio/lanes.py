"""The tasks of lanes: several associations that send the objects of one plan side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial

from ..exchange.lanes import Lanes, StartedLanes
from ..exchange.operations import Outcome
from ..exchange.results import StoreResult


class LaneTasks(StartedLanes[AsyncGenerator[StoreResult, None]]):
    """Lanes that have a task each. Parameters as of `StartedLanes`."""

    def __init__(
        self, lanes: Lanes, perform: Callable[[LaneTasks], AsyncGenerator[StoreResult, None]]
    ) -> None:
        super().__init__(lanes, perform)
        self._changed = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin one more lane."""
        self._lanes.started()
        self._tasks.append(asyncio.get_running_loop().create_task(self._run()))

    async def wait(self, attempt: Callable[[], Outcome | None]) -> Outcome:
        """Try, each time that another lane has changed something, until it is no longer None."""
        async with self._changed:
            while (outcome := attempt()) is None:
                await self._changed.wait()
            self._changed.notify_all()
            return outcome

    def end(self) -> None:
        """Send nothing more."""
        self._lanes.stop()

    async def stop(self) -> None:
        """Send nothing more, and do not wait for the answers that are outstanding."""
        self.end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        failure: BaseException | None = None
        try:
            async with aclosing(self._perform(self)) as results:
                async for result in results:
                    await self.wait(partial(self._lanes.put, result))
        except Exception as error:  # noqa: BLE001
            # It is raised to whoever takes the results.
            failure = error
        finally:
            await self.wait(partial(self._lanes.ended, failure))
