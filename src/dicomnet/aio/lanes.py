"""The tasks of lanes: several associations that send the objects of one plan side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Any

from ..drivers.aio.link import Link
from ..errors import AssociationClosed
from ..exchange.lanes import SharedLanes, StartedLanes
from ..exchange.operations import Outcome


class LaneTasks(StartedLanes[AsyncGenerator[Any, None]]):
    """Lanes that have a task each. Parameters as of `StartedLanes`."""

    def __init__(
        self, lanes: SharedLanes[Any], perform: Callable[[LaneTasks], AsyncGenerator[Any, None]]
    ) -> None:
        super().__init__(lanes, perform)
        self._changed = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []
        self._openings: set[asyncio.Task[Link]] = set()

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
            self._give_up_openings()
            return outcome

    async def open(self, establish: Coroutine[Any, Any, Link]) -> Link:
        """Open an association for a lane. It is given up at once when nothing is left to send.

        Raises
        ------
        AssociationClosed
            If it was given up.
        AssociationError, NetworkError
            If it could not be opened.
        """
        opening = asyncio.get_running_loop().create_task(establish)
        self._openings.add(opening)
        self._give_up_openings()
        lane = asyncio.current_task()
        try:
            return await opening
        except asyncio.CancelledError:
            if lane is None or lane.cancelling():
                raise
            raise AssociationClosed() from None
        finally:
            self._openings.discard(opening)

    def _give_up_openings(self) -> None:
        if self._openings and self._lanes.is_spent:
            for opening in self._openings:
                opening.cancel()

    def end(self) -> None:
        """Send nothing more."""
        self._lanes.stop()
        self._give_up_openings()

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
