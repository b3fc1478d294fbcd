"""Procedures while the asyncio driver performs them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import CoroutineType

from ...dimse.messages import Message
from ...errors import DicomnetError
from ...services.steps import Receive
from ..course import Course, Delivery, Performer, Value


class Run(Course[Value]):
    """A procedure while a link performs it."""

    _interrupted: Receive | None = None

    async def advance(self, *, once: bool = False) -> None:
        """Go on to the next response that is delivered, or to the end.

        Cancelled while it waits for a response, it can be advanced again.
        """
        link, performers = self._link, self._link.performers
        try:
            while (step := self._interrupted or self.proceed()) is not None:
                self._interrupted = step if isinstance(step, Receive) else None
                try:
                    outcome = performers[type(step)](link, step)
                    # A step that need not wait is done by now.
                    self.outcome = await outcome if isinstance(outcome, CoroutineType) else outcome
                except DicomnetError as error:
                    self.failed(step, error)
                self._interrupted = None
                if once:
                    return
        except BaseException:
            if self._interrupted is None:
                self.abandon()
            raise


class Iteration(Delivery[AbstractAsyncContextManager[None]]):
    """An operation with many responses whose user takes them one at a time.

    Parameters
    ----------
    notice
        Called, from any thread, when nobody wants the rest any more.
    """

    def __init__(
        self,
        link: Performer[AbstractAsyncContextManager[None]],
        course: Course[None],
        cancel: Message | None,
        notice: Callable[[], None],
    ) -> None:
        super().__init__(link, course, cancel)
        self._notice = notice

    def abandon(self) -> None:
        """Nobody wants the rest. May be called from any thread."""
        self.is_abandoned = True
        if not self.is_over:
            self._notice()

    async def take(self) -> Message | None:
        """The next response, None after the last.

        Raises
        ------
        AssociationError, NetworkError
            If the association ends before.
        """
        while not self.ready and not self.is_over:
            async with self._link.exchange():
                while self.has_to_advance:
                    await self.advance()
        return self.next_ready()

    async def advance(self, *, once: bool = False) -> None:
        with self:
            await self._course.advance(once=once)


class Responses:
    """The responses of an operation as they arrive, an asynchronous iterator.

    Dropped or closed before the last of them, the rest of the operation is cancelled.
    """

    def __init__(self, iteration: Iteration) -> None:
        self._iteration = iteration

    def __aiter__(self) -> Responses:
        return self

    async def __anext__(self) -> Message:
        iteration = self._iteration
        if iteration.is_abandoned:
            raise StopAsyncIteration
        message = iteration.ready.popleft() if iteration.ready else await iteration.take()
        if message is None:
            raise StopAsyncIteration
        return message

    def close(self) -> None:
        """Want no more of them."""
        if not self._iteration.is_abandoned:
            self._iteration.abandon()

    def __del__(self) -> None:
        self.close()
