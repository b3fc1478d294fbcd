"""What blocks, such as the catalogue and files, is called in threads, of which each process has a limited number."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

Found = TypeVar("Found")

# How many calls may be under way at once in a process, and how many readings of bodies; others wait for their turn.
_THREADS, _READING = 16, 8


class _Threads(ThreadPoolExecutor):
    """The threads of a loop, and those that read bodies, so that who wants little does not wait for who wants much."""

    def __init__(self) -> None:
        super().__init__(_THREADS, "dicomnet-web")
        self.reading = ThreadPoolExecutor(_READING, "dicomnet-web-reading")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End all of them."""
        self.reading.shutdown(wait, cancel_futures=cancel_futures)
        super().shutdown(wait, cancel_futures=cancel_futures)


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Threads] = WeakKeyDictionary()


def have_threads() -> None:
    """Give the running loop its threads, which end with it."""
    loop = asyncio.get_running_loop()
    threads = _of_loops[loop] = _Threads()
    loop.set_default_executor(threads)


def reading(function: Callable[..., Found], *values: Any) -> asyncio.Future[Found]:
    """What a function will give that reads some of the body of a response."""
    loop = asyncio.get_running_loop()
    threads = _of_loops.get(loop)
    return loop.run_in_executor(None if threads is None else threads.reading, function, *values)


async def in_thread(function: Callable[..., Found], *values: Any) -> Found:
    """What a function gives that blocks, such as one that reads the catalogue or a file."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *values)


async def from_thread(iterator: Iterator[Found]) -> AsyncIterator[Found]:
    """The items of an iterator that blocks; each is asked for in a thread when it is wanted."""
    end: Any = object()
    loop = asyncio.get_running_loop()
    pending = loop.run_in_executor(None, next, iterator, end)
    try:
        while (item := await asyncio.shield(pending)) is not end:
            yield item
            pending = loop.run_in_executor(None, next, iterator, end)
    finally:
        await ended(pending, iterator)


async def ended(pending: asyncio.Future[Any], iterator: Iterator[object]) -> None:
    """Close an iterator when the item is there that is on its way, before which it cannot be closed.

    That is done also where the one who waits for it is cancelled, as often as he is, so that no file stays open that
    the iterator has open.
    """
    close = getattr(iterator, "close", None)
    if close is None:
        return

    async def close_behind() -> None:
        await asyncio.wait((pending,))
        await in_thread(close)

    closing = asyncio.ensure_future(close_behind())
    _CLOSING.add(closing)
    closing.add_done_callback(_CLOSING.discard)
    await asyncio.shield(closing)


# A loop has weak references only to what it does.
_CLOSING: set[asyncio.Future[None]] = set()
