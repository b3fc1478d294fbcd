"""What blocks is called in threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from dicomnet.archive.web.http.threads import from_thread


def test_items_come_one_by_one_and_an_error_as_it_is() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError

    found = []

    async def read() -> None:
        async for item in from_thread(items()):
            found.append(item)  # noqa: PERF401

    with pytest.raises(LookupError):
        asyncio.run(read())
    assert found == [1, 2]


def test_one_who_leaves_while_an_item_is_on_its_way_ends_the_iterator() -> None:
    """It is closed after that item, in which it cannot be, and not before."""
    is_waiting, may_go_on = threading.Event(), threading.Event()
    ended: list[str] = []

    def items() -> Iterator[int]:
        try:
            yield 1
            is_waiting.set()
            may_go_on.wait(20)
            yield 2
            ended.append("went on")
        finally:
            ended.append("closed")

    async def read() -> None:
        async def wait() -> None:
            async for _ in from_thread(items()):
                pass

        reading = asyncio.create_task(wait())
        await asyncio.to_thread(is_waiting.wait, 20)
        reading.cancel()
        await asyncio.sleep(0)
        may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await reading

    asyncio.run(read())
    assert ended == ["closed"]
