"""Results of a handler, taken one at a time without blocking the event loop."""

from __future__ import annotations

import asyncio
from typing import Any

from ..exchange.handling import END


class Results:
    """The results of a handler: an async iterable, or an iterable, which runs in a thread.

    Raises
    ------
    TypeError
        If it is neither.
    """

    def __init__(self, results: Any) -> None:
        self._is_async = hasattr(results, "__aiter__")
        self._results: Any = aiter(results) if self._is_async else iter(results)

    async def take(self) -> Any:
        """The next one, `END` after the last."""
        if self._is_async:
            return await anext(self._results, END)
        return await asyncio.to_thread(next, self._results, END)

    async def aclose(self) -> None:
        """Let the handler end, wherever it is."""
        if self._is_async and hasattr(self._results, "aclose"):
            await self._results.aclose()
        elif not self._is_async and hasattr(self._results, "close"):
            await asyncio.to_thread(self._results.close)
