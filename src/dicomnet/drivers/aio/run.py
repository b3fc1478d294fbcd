"""Procedures while the asyncio driver performs them."""

from __future__ import annotations

from collections import deque
from types import CoroutineType
from typing import TYPE_CHECKING, Generic, TypeVar

from ...dimse.messages import Message
from ...errors import (
    AssociationClosed,
    AssociationError,
    DicomnetError,
    NetworkError,
    ServiceRefusal,
    UnusableObject,
)
from ...services.steps import Deliver, Procedure, Receive, Send, Step
from ..conversation import TOGETHER

if TYPE_CHECKING:
    from .link import Link

Value = TypeVar("Value")


class Run(Generic[Value]):
    """A procedure while a link performs it."""

    value: Value

    def __init__(self, link: Link, procedure: Procedure[Value]) -> None:
        self._link = link
        self._procedure = procedure
        self._outcome: object = None
        self._error: DicomnetError | None = None
        self._step: Step | None = None
        self._sent: set[int] = set()
        self.arrived: list[Message] = []
        self.is_over = False

    @property
    def has_early_response(self) -> bool:
        """Whether the next thing to be served is a response to this, and not the last one."""
        return not self.is_over and self._link.talk.has_early_response(self._sent)

    async def advance(self, *, once: bool = False) -> Message | None:
        """Go on to the next response that is delivered, or to the end, which is None.

        Cancelled while it waits for a response, it can be advanced again.

        Parameters
        ----------
        once
            Take one step only.
        """
        try:
            while True:
                step = self._step or self._next_step()
                if isinstance(step, Deliver):
                    return step.message
                self._step = step if isinstance(step, Receive) else None
                if isinstance(step, Send) and not step.message.type.is_response:
                    self._sent.add(step.message.message_id)
                try:
                    outcome = self._link.perform(step)
                    # A step that need not wait is done by now.
                    self._outcome = await outcome if isinstance(outcome, CoroutineType) else outcome
                except (ServiceRefusal, AssociationError, NetworkError, UnusableObject) as error:
                    self._error = error
                self._step = None
                if once:
                    return None
        except StopIteration as stop:
            self.is_over = True
            self.value = stop.value
            self._link.talk.forget(self._sent)
            return None
        except DicomnetError:
            # The association is over; what was answered before that counts.
            self.arrived = self._link.talk.take_arrived(self._sent)
            self.abandon()
            raise
        except BaseException:
            if self._step is None:
                self.abandon()
            raise

    def abandon(self) -> None:
        """Go no further; the responses that still come are for nobody."""
        if not self.is_over:
            self.is_over = True
            self._procedure.close()
            self._link.talk.abandon(self._sent)

    def _next_step(self) -> Step:
        outcome, error = self._outcome, self._error
        self._outcome = self._error = None
        return self._procedure.send(outcome) if error is None else self._procedure.throw(error)


class Iteration:
    """An operation with many responses whose user takes them one at a time."""

    def __init__(self, link: Link, procedure: Procedure[None], cancel: Message | None) -> None:
        self._link = link
        self._run = Run(link, procedure)
        self._cancel = cancel
        self.ready: deque[Message] = deque()
        self._failure: DicomnetError | None = None
        self._is_advancing = False
        self.is_abandoned = False

    async def begin(self) -> None:
        """Send the request."""
        await self._advance(once=True)

    def abandon(self) -> None:
        """Nobody wants the rest. May be called from any thread."""
        self.is_abandoned = True
        if not self._run.is_over:
            self._link.notice()

    async def take(self) -> Message | None:
        """The next response, None after the last.

        Raises
        ------
        AssociationError, NetworkError
            If the association ends before.
        """
        while not self.ready and not self._run.is_over:
            async with self._link.exchange():
                if not self.ready and not self._run.is_over:
                    await self._advance()
                # One turn for all the responses that are here.
                while len(self.ready) < TOGETHER and self._run.has_early_response:
                    await self._advance()
        if self.ready:
            return self.ready.popleft()
        if self._failure is not None:
            raise self._failure
        return None

    async def settle(self) -> None:
        """Make room for another request: cancel what nobody wants, read to the end what somebody does."""
        if self._is_advancing:
            # This is a request from a handler that was called while the iteration waits; both get their own.
            return
        if self.is_abandoned:
            await self.give_up()
        while not self._run.is_over:
            await self._advance()

    async def give_up(self) -> None:
        """End it, with a C-CANCEL if the operation has one. What still comes is dropped on arrival."""
        if self._run.is_over:
            return
        if self.is_abandoned:
            self.ready.clear()
        else:
            self._failure = AssociationClosed()
        self._run.abandon()
        self._link.forget_iteration(self)
        if self._cancel is not None:
            await self._link.interject(self._cancel)

    async def _advance(self, *, once: bool = False) -> None:
        self._is_advancing = True
        message = None
        try:
            message = await self._run.advance(once=once)
        except DicomnetError as error:
            self._failure = error
            self.ready.extend(self._run.arrived)
        finally:
            self._is_advancing = False
            if self._run.is_over:
                self._link.forget_iteration(self)
        if message is not None:
            self.ready.append(message)


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
