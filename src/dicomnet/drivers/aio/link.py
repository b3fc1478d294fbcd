"""The asyncio driver: the same names as the blocking one, with await.

A `Link` is put together from `Life` (phase and meaning, shared with the blocking driver), `Carrier` (the transport), an
`Outlet` and two `Alarm`s.
All of it belongs to one event loop; only `notice`, `abort_later` and `is_cancelled` may be called from other threads.
Its locks, in the order in which they are taken:

Link._lock     protects  the conversation and the iterations: one task at a time uses the association
               taken by  `exchange`; the task that serves what nobody waits for, too
               may call  all hooks; may wait for the peer
Outlet.turn    protects  the order of bytes: one message goes out at a time
               taken by  a message that cannot go out in one piece, `interject` without `Link._lock`
               may call  nothing; waits for the network, never for `Link._lock`
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from time import monotonic
from types import CoroutineType, TracebackType
from typing import Any

from ...dimse.messages import Message
from ...errors import (
    AssociationClosed,
    DeadlineExceeded,
    UnusableObject,
)
from ...services import steps
from ...values import Buffer
from ..acse import Handshake, Negotiate, accept, after_others, begin
from ..connection import Connection, Happening
from ..course import LAST_LOOKS, LOOK_EVERY, Arrive, Value
from ..deadline import Deadline, Timeouts
from ..hooks import Hooks, Phase
from ..life import Accept, Perform
from ..links import PERFORMERS, Section, Serving
from .carrier import Carrier
from .run import Iteration, Responses, Run

_log = logging.getLogger(__name__)


# The longest data set that is sent in one piece, in bytes.
_SMALL = 1 << 16
# How long a match may wait for others to share the segment and the peer's attention, in seconds.
_LINGER = 0.01
# After how many turns of the loop what is in the network has arrived: the first asks for it, the second takes it.
_ARRIVAL_TURNS = 2
# asyncio wants a time-out of its own for TLS handshakes, in seconds; it is longer than any deadline of ours.
TLS_NEVER = 1e6


class Link(Carrier):
    """One association over one transport, used from one event loop. Several tasks take turns.

    Parameters
    ----------
    sock
        Connected and not blocking.
    connection
        The protocol side.
    hooks
        The user's side. What takes many answers may have an `aclose`, which is awaited in the end.
    timeouts
        One deadline a stage.
    on_closed
        Called once, when the transport is closed and nothing is performed any more.
    """

    def __init__(
        self,
        sock: socket.socket,
        connection: Connection,
        hooks: Hooks,
        timeouts: Timeouts,
        on_closed: Callable[[Link], None] | None = None,
    ) -> None:
        super().__init__(sock, connection, hooks, timeouts, on_closed)
        self._lock = asyncio.Lock()
        self._answers: dict[int, Any] = {}

    def cancel_serving(self) -> None:
        """Cancel the handler that is performing a request, if there is one."""
        if self._task is not None:
            self._task.cancel()

    async def run(self, procedure: Generator[Any, Any, Value], deadline: Deadline | None = None) -> Value:
        """Run a procedure to its end, when its turn has come. Cancelled, its response is dropped when it comes."""
        async with self.exchange():
            # Where it has not been established, the procedure finds out why.
            if self.phase is not Phase.ESTABLISHED and self.connection.agreement is not None:
                raise self.what_closed() from self.failure
            return await self._finish(after_others(self, procedure))

    async def iterate(self, procedure: steps.Procedure[None], cancel: Message | None = None) -> Responses:
        iteration = Iteration(self, Run(self, procedure), cancel, self.notice)
        await self.run(begin(self, iteration))
        return Responses(iteration)

    async def interject(self, message: Message) -> None:
        """Send a message that has no response, between those of whatever else goes on.

        Raises
        ------
        AssociationError, NetworkError
            If the association is over.
        """
        await self._send(self.connection.send(message), message)

    def is_cancelled(self, message_id: int) -> bool:
        """Whether the peer has cancelled a request that is being performed, or the association is over."""
        return (
            self.talk.is_cancelled(message_id)
            or self.connection.must_close
            or self.phase is not Phase.ESTABLISHED
        )

    def _perform_send(self, step: steps.Send) -> object:
        message, data = step.message, step.message.data
        batches = self.connection.send(message)
        is_small = data is None or (type(data) is bytes and len(data) <= _SMALL)
        if not (is_small and self._can_send_now()):
            return self._send(batches, message)
        buffers = [buffer for batch in batches for buffer in batch]
        if message.type.has_response:
            self.talk.expect(message)
        elif step.more or self.talk.inbox:
            # Where another request is here already, its response can share the segment and the peer's attention.
            if self._outlet.put(buffers, _LINGER if step.more else 0.0):
                return None
            buffers = []
        self._outlet.hand_over(buffers)
        # What the kernel did not take has to be waited for, and nothing else is left to write.
        return self._send(iter(([],)), message) if self._outlet.is_full else None

    def _perform_respond(self, step: steps.Respond) -> object:
        batches = self.connection.send(*step.responses)
        if not self._can_send_now():
            return self._send(batches)
        self._outlet.hand_over([buffer for batch in batches for buffer in batch])
        return self._send(iter(([],))) if self._outlet.is_full else None

    def _can_send_now(self) -> bool:
        return self.connection.is_established and not self._must_stop_writing() and self._outlet.is_free

    def _perform_receive(self, step: steps.Receive) -> object:
        response = self.talk.take_response(step.message_ids)
        while response is None and self.talk.inbox:
            first = self.talk.inbox[0]
            if not (isinstance(first, Message) and first.type.is_response):
                break
            self._pop()
            consequence = self.take(first)
            if consequence is not None:
                # Too many answer nothing, and nobody need wait to say so.
                self.performers[type(consequence)](self, consequence)
            response = self.talk.take_response(step.message_ids)
        return self._receive_response(step) if response is None else response

    async def _perform_handle(self, step: steps.Handle) -> object:
        answers = await _awaited(self.hooks.handle(step.message, step.context))
        if hasattr(answers, "aclose"):
            self._answers[step.message.message_id] = answers
        return answers

    def _perform_cancelled(self, step: steps.Cancelled) -> object:
        if monotonic() < self._next_look:
            return self.is_cancelled(step.message_id)
        return self._look(step.message_id)

    async def _look(self, message_id: int) -> bool:
        # Lets in a C-CANCEL that is waiting in the network, and other associations have their turn.
        await asyncio.sleep(0)
        self._next_look = monotonic() + LOOK_EVERY
        return self.is_cancelled(message_id)

    async def _perform_arrive(self, step: Arrive) -> None:
        for _ in range(LAST_LOOKS):
            before = self._received
            for _ in range(_ARRIVAL_TURNS):
                await asyncio.sleep(0)
            if self._received == before:
                return

    async def _perform_more(self, step: steps.MoreStores) -> steps.Part:
        while not self.talk.inbox and step.batch.reads_on(monotonic()):
            before = self._received
            for _ in range(_ARRIVAL_TURNS):
                await asyncio.sleep(0)
            if self._received == before:
                break
        part = self.next_part(step.batch)
        self._emptied()
        return part

    async def _perform_requests(self, step: Perform) -> None:
        try:
            await self._finish(step.procedure)
        finally:
            try:
                for request in step.requests:
                    if (answers := self._answers.pop(request.message_id, None)) is not None:
                        await answers.aclose()
            finally:
                self.talk.finish(step.requests)

    async def _perform_accept(self, step: Accept) -> None:
        self._silence.set(None)
        await self._finish(accept(self, step.request))

    def notice(self) -> None:
        """Look, soon, whether there is something to do. May be called from any thread."""
        self._soon(self._wake)

    def abort_later(self) -> None:
        """Abort, soon. May be called from any thread."""
        self._soon(self.abort)

    def _soon(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):
            # The loop may be closed, and then there is nothing to do.
            self._loop.call_soon_threadsafe(call)

    async def _finish(self, procedure: Generator[Any, Any, Value]) -> Value:
        run = Run(self, procedure)
        try:
            await run.advance()
            if not run.is_over:
                raise TypeError("this procedure delivers responses and has to be iterated")
        finally:
            run.abandon()
        return run.value

    async def _send(self, batches: Iterator[list[Buffer]], message: Message | None = None) -> None:
        request = message if message is not None and message.type.has_response else None
        if request is not None:
            self.talk.expect(request)
        deadline = self.message_deadline()
        is_begun = False
        try:
            async with self._outlet.turn:
                for batch in batches:
                    is_begun = True
                    await self._write(batch, deadline)
        except AssociationClosed:
            raise self._why_not_sent() from None
        except asyncio.CancelledError:
            # What was handed over goes out; a message of which something is missing ends the association.
            if is_begun and not _is_exhausted(batches):
                self.abort()
            if request is not None and not is_begun:
                self.talk.forget((request.message_id,))
            raise
        except BaseException as error:
            if request is not None:
                self.talk.forget((request.message_id,))
            if is_begun:
                self._abort_for(error)
            raise

    async def _receive_response(self, step: steps.Receive) -> Message:
        deadline = self.message_deadline()
        while True:
            response = self.talk.take_response(step.message_ids)
            if response is not None:
                return response
            happening = await self._next(deadline)
            if isinstance(happening, Message) and not happening.type.is_response:
                deadline = self.message_deadline()
            await self._serve(happening)

    async def _attend(self) -> None:
        """Serve what has arrived."""
        try:
            with Serving(self):
                async with self.exchange():
                    for iteration in [each for each in self.iterations if each.is_abandoned]:
                        await self._finish(iteration.drain())
                    while self.talk.inbox and self.is_live:
                        await self._serve(self._pop())
        except Exception:  # noqa: BLE001
            _log.exception("an association could not be served")

    def _attended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled():
            self.abort()
        self._wake()
        self._conclude()

    async def _serve(self, happening: Happening) -> None:
        """Do what follows from a happening that nobody is waiting for."""
        consequence = self.take(happening)
        if consequence is not None:
            outcome = self.performers[type(consequence)](self, consequence)
            if isinstance(outcome, CoroutineType):
                await outcome

    def exchange(self) -> Turn:
        """Have the association to oneself. A nested use by the same task goes ahead."""
        return Turn(self)

    async def begin_turn(self) -> bool:
        """The current task begins to use the association; False where it does already. `Turn` calls it."""
        task = asyncio.current_task()
        if self._owner is task:
            return False
        await self._lock.acquire()
        self._owner = task
        self._watch()
        return True

    def end_turn(self, error: BaseException | None) -> None:
        """It does not use it any more; `Turn` calls it."""
        if isinstance(error, DeadlineExceeded):
            self.abort(failure=error)
        self._owner = None
        self._lock.release()
        self._watch()
        if self.talk.inbox or self.iterations:
            self._loop.call_soon(self._wake)
        self._conclude()

    def _wake(self) -> None:
        """Tell whoever waits; if nobody does, serve what arrived."""
        if self._arrived is not None:
            if not self._arrived.done():
                self._arrived.set_result(None)
        elif self._owner is None and self._task is None and self._has_work():
            self._task = self._loop.create_task(self._attend())
            self._task.add_done_callback(self._attended)
        self._outlet.look()

    def _has_work(self) -> bool:
        if self._lock.locked() or not self.is_live:
            return False
        if any(each.is_abandoned for each in self.iterations):
            return True
        # A user comes back for the responses of an iteration, which wait in the network until then.
        return bool(self.talk.inbox) and (not self.iterations or self.talk.end() is not None)


Link.performers = {
    **PERFORMERS,
    steps.Send: Link._perform_send,
    steps.Receive: Link._perform_receive,
    steps.Respond: Link._perform_respond,
    steps.Handle: Link._perform_handle,
    steps.PlaceStores: lambda link, step: _in_thread(step.batch.stores.place, step.requests),
    steps.MoreStores: Link._perform_more,
    steps.SettleStores: lambda link, step: _in_thread(step.batch.stores.settle, step.requests),
    steps.Next: lambda link, step: _coroutine(link.hooks.next_answer(step.answers)),
    steps.Cancelled: Link._perform_cancelled,
    steps.Work: lambda link, step: asyncio.to_thread(step.function),
    steps.Store: lambda link, step: _coroutine(link.hooks.store(step.retrieval, step.sub_operation)),
    steps.Finish: lambda link, step: _coroutine(link.hooks.finish(step.retrieval)),
    Arrive: Link._perform_arrive,
    # asyncio has done it.
    Handshake: lambda link, step: None,
    Negotiate: lambda link, step: _coroutine(link.hooks.negotiate(step.request)),
    Accept: Link._perform_accept,
    Perform: Link._perform_requests,
}


class Turn(Section[Link]):
    """A task's use of a link, as an asynchronous context manager."""

    __slots__ = ("_is_outermost",)

    async def __aenter__(self) -> None:
        self._is_outermost = await self._link.begin_turn()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_outermost:
            self._link.end_turn(error)


def _coroutine(result: Any) -> Any:
    """What a user's hook gave, as a coroutine where it is to be awaited."""
    return (
        result if isinstance(result, CoroutineType) or not inspect.isawaitable(result) else _awaited(result)
    )


async def _awaited(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


async def _in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Await a coroutine function, or run a plain function in a thread.

    Cancelled, this ends when the thread has, since what that works on is let go of afterwards.
    """
    if inspect.iscoroutinefunction(function):
        return await function(*args)
    work = asyncio.ensure_future(asyncio.to_thread(function, *args))
    try:
        return await _awaited(await asyncio.shield(work))
    except asyncio.CancelledError:
        await asyncio.wait((work,))
        if not work.cancelled() and (error := work.exception()) is not None:
            _log.debug("what was given up failed as well: %s", error)
        raise


def _is_exhausted(batches: Iterator[list[Buffer]]) -> bool:
    try:
        return next(batches, None) is None
    except UnusableObject:
        return False
