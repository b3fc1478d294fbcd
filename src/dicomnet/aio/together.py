"""What several operations report, performed side by side in a task each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any


async def together(
    performances: Sequence[AsyncGenerator[Any, None]], stop: Callable[[], None]
) -> AsyncGenerator[Any, None]:
    """What they report, as it comes. Where one fails, the others end what they do, and it is raised.

    Parameters
    ----------
    performances
        What hands out the results of each.
    stop
        Has all of them begin with nothing further.
    """
    results: asyncio.Queue[Any] = asyncio.Queue(64)
    end = object()

    async def run(performance: AsyncGenerator[Any, None]) -> None:
        try:
            async for each in performance:
                await results.put(each)
        except Exception:
            stop()
            raise
        finally:
            await performance.aclose()
            await results.put(end)

    tasks = [asyncio.create_task(run(each)) for each in performances]
    left = len(tasks)
    try:
        while left:
            result = await results.get()
            if result is end:
                left -= 1
            else:
                yield result
    except BaseException:
        stop()
        for task in tasks:
            task.cancel()
        # What is left of the results is not wanted, and nobody waits for room for them.
        while not results.empty():
            results.get_nowait()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
