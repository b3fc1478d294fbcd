"""What a handler yields, taken one at a time: async iterables in the loop, plain ones in a thread."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from tests.loops import in_loop

from dicomnet.aio.results import Results
from dicomnet.exchange.handling import END


class Handler:
    """Yields numbers in either way, and knows where it ran and whether it was ended."""

    def __init__(self) -> None:
        self.threads: set[threading.Thread] = set()
        self.is_ended = False

    async def in_loop(self) -> AsyncIterator[int]:
        try:
            for number in range(3):
                self.threads.add(threading.current_thread())
                yield number
        finally:
            self.is_ended = True

    def in_a_thread(self) -> Iterator[int]:
        try:
            for number in range(3):
                self.threads.add(threading.current_thread())
                yield number
        finally:
            self.is_ended = True


WAYS: list[Callable[[Handler], Any]] = [Handler.in_loop, Handler.in_a_thread]


@pytest.mark.parametrize("way", WAYS)
def test_all_results(way: Callable[[Handler], Any]) -> None:
    @in_loop
    async def test() -> None:
        handler = Handler()
        results = Results(way(handler))
        assert [await results.take() for _ in range(5)] == [0, 1, 2, END, END]
        assert (threading.main_thread() in handler.threads) is (way is Handler.in_loop)

    test()


@pytest.mark.parametrize("way", WAYS)
def test_a_handler_is_ended_wherever_it_is(way: Callable[[Handler], Any]) -> None:
    @in_loop
    async def test() -> None:
        handler = Handler()
        results = Results(way(handler))
        assert await results.take() == 0
        await results.aclose()
        assert handler.is_ended
        assert await results.take() is END

    test()


@in_loop
async def test_a_list_has_no_end_of_its_own() -> None:
    results = Results([1])
    await results.aclose()
    assert await results.take() == 1


def test_what_yields_nothing() -> None:
    with pytest.raises(TypeError):
        Results(5)
