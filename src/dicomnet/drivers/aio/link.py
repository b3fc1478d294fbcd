"""The asyncio driver: the same names as the blocking one, with await."""

from __future__ import annotations

import asyncio
import inspect
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic
from types import CoroutineType, TracebackType
from typing import Any, TypeVar

from ...dimse.datasets import discard
from ...dimse.messages import Message
from ...errors import (
    AssociationAborted,
    AssociationClosed,
    AssociationRejected,
    DeadlineExceeded,
    DicomnetError,
    NetworkError,
    ProtocolError,
    TLSFailed,
    UnusableObject,
)
from ...services.provider import provide, refuse_duplicate
from ...services.steps import (
    Cancelled,
    Finish,
    Handle,
    Next,
    Procedure,
    Receive,
    Send,
    Step,
    Store,
    Work,
)
from ...upper_layer.negotiation import Agreement
from ...upper_layer.table import Event, State
from ...values import Buffer
from ...wire.pdu import Abort, AssociateAC, AssociateRJ, AssociateRQ, ReleaseRP, ReleaseRQ
from ..buffers import borrow_buffer, return_buffer
from ..connection import LAST_BYTES, Connection, Happening, ProviderAbort
from ..conversation import Conversation
from ..deadline import Deadline, Timeouts
from ..hooks import Hooks, Phase
from ..tls import refused_later
from ..transport import quick_ack
from .alarm import Alarm
from .outlet import Outlet
from .run import Iteration, Responses, Run

_log = logging.getLogger(__name__)

Value = TypeVar("Value")

# How many happenings may wait, and how many bytes may come with them, before the peer has to wait too.
_INBOX_LIMIT = 64
_INBOX_BYTES = 4 << 20
# The longest data set that is sent in one piece, in bytes.
_SMALL = 1 << 16
# How long a match may wait for others to share the segment and the peer's attention, in seconds.
_LINGER = 0.01
# How often, in seconds, a query with many matches looks whether the peer has cancelled it, and lets others go ahead.
_LOOK_EVERY = 0.001
# How often what the peer said before it went is read.
_LAST_READS = 16
# How long the last words may take to leave, in seconds.
LAST_WORDS = 1.0
# asyncio wants a time-out of its own for TLS handshakes, in seconds; it is longer than any deadline of ours.
TLS_NEVER = 1e6


class Link(asyncio.BufferedProtocol):
    """One association over one transport, used from one event loop. Several tasks take turns.

    Parameters
    ----------
    sock
        Connected and not blocking.
    connection
        The protocol side.
    hooks
        The user's side; what `handle`, `negotiate`, `next_answer`, `store` and `finish` return may be awaitable. What
        takes many answers may have an `aclose`, which is awaited in the end.
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
        self.connection = connection
        self.hooks = hooks
        self.timeouts = timeouts
        self.phase = Phase.NEW
        self.failure: DicomnetError | None = None
        # Why the peer has ended the connection behind the TLS handshake, if it said so.
        self._refusal: TLSFailed | None = None
        self.talk = Conversation()
        self.closed = asyncio.Event()
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._is_tls = False
        self._transport: asyncio.Transport | None = None
        self._on_closed = on_closed
        self._buffer: bytearray | None = None
        self._arrived: asyncio.Future[None] | None = None
        self._waiting = Alarm(self._waited_too_long)
        self._silence = Alarm(self._was_silent)
        self._unread = LAST_BYTES
        self._unserved = 0
        self._next_look = 0.0
        self._is_paused = False
        self._turn = asyncio.Lock()
        self._outlet = Outlet(sock, connection.sent, self._must_stop_writing)
        self._owner: asyncio.Task[Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self._iterations: list[Iteration] = []
        self._answers: dict[int, Any] = {}
        self._is_over = False

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._is_tls = transport.get_extra_info("ssl_object") is not None
        self._outlet.open(transport, self._is_tls)
        if not self.connection.machine.is_requestor:
            self.connection.transport_opened(monotonic())
            self._silence.set(self._artim("association"))

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._buffer is None:
            self._buffer = borrow_buffer()
        return memoryview(self._buffer)

    def buffer_updated(self, count: int) -> None:
        assert self._buffer is not None
        if self.phase not in (Phase.NEW, Phase.ESTABLISHED):
            self._unread -= count
            if self._unread < 0:
                # The peer has had its chance to read our last words, and goes on talking.
                self.close()
                return
        if not self._is_tls:
            with suppress(OSError):
                quick_ack(self._sock)
        for alarm in (self._waiting, self._silence):
            if alarm.deadline is not None and alarm.deadline.stage == "message":
                alarm.deadline.moved(count)
        self._unserved += count
        try:
            for happening in self.connection.receive(memoryview(self._buffer)[:count], monotonic()):
                self.talk.arrived(happening)
        except Exception as error:  # noqa: BLE001
            # A sink failed, and what it was given is lost: the stream makes no sense any more.
            _log.exception("a data set could not be taken")
            self.abort(failure=AssociationAborted(None, 0, str(error)))
        if self.connection.is_between_messages:
            self._give_back()
        self._flush_quietly()
        if self.talk.inbox:
            self._pause_when_full()
        else:
            self._unserved = 0
        if self.phase is Phase.NEW and self.connection.machine.state is State.STA13 and not self.talk.inbox:
            refused = isinstance(self.connection.answer, AssociateRJ)
            self._end(Phase.REJECTED if refused else Phase.ABORTED)
        self._watch()
        self._wake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None and not self._is_tls:
            self._read_the_rest()
        if self._is_tls:
            is_answered = not self.connection.is_requestor or self.phase is not Phase.NEW
            self._refusal = refused_later(error, is_answered=is_answered)
        end = self.connection.transport_closed(monotonic())
        if end is not None:
            self.talk.arrived(end)
        self._give_back()
        self._silence.stop()
        self.closed.set()
        self._outlet.resume()
        self._wake()
        self._conclude()

    def _read_the_rest(self) -> None:
        """Writing failed; what the peer said before it went may still wait to be read."""
        for _ in range(_LAST_READS):
            try:
                count = self._sock.recv_into(self.get_buffer(-1))
            except OSError:
                return
            if not count:
                return
            self.buffer_updated(count)

    def pause_writing(self) -> None:
        self._outlet.pause()

    def resume_writing(self) -> None:
        self._outlet.resume()

    # -- the life of an association

    async def request(self, request: AssociateRQ) -> None:
        """Ask for the association and wait for the answer.

        Raises
        ------
        AssociationRejected, AssociationAborted, NetworkError
            If it is not established.
        """
        deadline = Deadline("association", self.timeouts.association)
        async with self.exchange():
            self.connection.transport_opened(monotonic(), request)
            await self._flush(deadline)
            while self.phase is Phase.NEW:
                await self._take_acse(await self._next(deadline))

    async def release(self) -> None:
        """Release the association and close the connection. What iterations have not read yet is given up.

        Raises
        ------
        AssociationError, NetworkError
            If it ended otherwise.
        """
        deadline = Deadline("release", self.timeouts.association)
        async with self.exchange():
            self._check_usable()
            for iteration in list(self._iterations):
                await iteration.give_up()
            await self._settle(deadline)
            if self.connection.machine.allows(Event.RELEASE_REQUEST):
                self.connection.release(monotonic())
                await self._flush(deadline)
            while self.phase is Phase.ESTABLISHED:
                happening = await self._next(deadline)
                if isinstance(happening, ReleaseRQ | ReleaseRP):
                    self._take_release(happening)
                elif isinstance(happening, Message):
                    discard(happening.data)
                else:
                    self._take_end(happening)
        if self.failure is not None:
            raise self.failure

    def abort(self, pdu: Abort | None = None, failure: DicomnetError | None = None) -> None:
        """End the association at once; what waits for it ends with an error."""
        if self.phase in (Phase.NEW, Phase.ESTABLISHED):
            self.connection.abort(monotonic(), pdu)
            self._write_outgoing()
            self._end(Phase.ABORTED, failure)
            self._wake()

    def close(self) -> None:
        """Close the transport, whatever the state; nothing more is sent."""
        if self._transport is not None:
            self._transport.abort()

    def cancel_serving(self) -> None:
        """Cancel the handler that is performing a request, if there is one."""
        if self._task is not None:
            self._task.cancel()

    # -- running procedures

    def next_message_id(self) -> int:
        """A message ID that no outstanding request of ours has."""
        return self.talk.next_message_id()

    async def run(self, procedure: Procedure[Value]) -> Value:
        """Run a procedure to its end. Cancelled, its response is dropped when it comes."""
        async with self.exchange():
            self._check_usable()
            await self._settle()
            return await self._finish(procedure)

    async def iterate(self, procedure: Procedure[None], cancel: Message | None = None) -> Responses:
        """Begin a procedure at once, and hand out what it delivers as it arrives.

        Left early, the rest is read away before the next use of the association.

        Parameters
        ----------
        cancel
            The C-CANCEL-RQ to send first in that case.
        """
        iteration = Iteration(self, procedure, cancel)
        async with self.exchange():
            self._check_usable()
            await self._settle()
            self._iterations.append(iteration)
            await iteration.begin()
        return Responses(iteration)

    async def interject(self, message: Message) -> None:
        """Send a message that has no response, between those of whatever else goes on.

        Raises
        ------
        AssociationError, NetworkError
            If the association is over.
        """
        await self._send(message, self.connection.send(message))

    def is_cancelled(self, message_id: int) -> bool:
        """Whether the peer has cancelled a request that is being performed, or the association is over."""
        return (
            self.talk.is_cancelled(message_id)
            or self.connection.must_close
            or self.phase is not Phase.ESTABLISHED
        )

    def perform(self, step: Step) -> object:
        """Do what a procedure asks for, or give the coroutine that does where it has to wait; `Run` calls it."""
        return _PERFORMERS[type(step)](self, step)

    def _perform_send(self, step: Send) -> object:
        message, data = step.message, step.message.data
        batches = self.connection.send(message)
        is_small = data is None or (type(data) is bytes and len(data) <= _SMALL)
        can_be_sent = self.connection.is_established and not self._must_stop_writing()
        if not (is_small and can_be_sent and self._outlet.is_free):
            return self._send(message, batches)
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
        return self._send(message, iter(([],))) if self._outlet.is_full else None

    def _perform_receive(self, step: Receive) -> object:
        response = self.talk.take_response(step.message_ids)
        while response is None and self.talk.inbox:
            first = self.talk.inbox[0]
            if not (isinstance(first, Message) and first.type.is_response):
                break
            self._pop()
            self._take_response(first)
            response = self.talk.take_response(step.message_ids)
        return self._await_response(step) if response is None else response

    async def _await_response(self, step: Receive) -> Message:
        try:
            return await self._receive_response(step)
        except DeadlineExceeded as error:
            # Whoever waits for an answer may catch this, and still the association is of no use any more.
            self.abort(failure=error)
            raise

    async def _perform_handle(self, step: Handle) -> object:
        answers = await _settled(self.hooks.handle(step.message, step.context))
        if hasattr(answers, "aclose"):
            self._answers[step.message.message_id] = answers
        return answers

    def _perform_cancelled(self, step: Cancelled) -> object:
        if monotonic() < self._next_look:
            return self.is_cancelled(step.message_id)
        return self._look(step.message_id)

    async def _look(self, message_id: int) -> bool:
        # Lets in a C-CANCEL that is waiting in the network, and other associations have their turn.
        await asyncio.sleep(0)
        self._next_look = monotonic() + _LOOK_EVERY
        return self.is_cancelled(message_id)

    def forget_iteration(self, iteration: Iteration) -> None:
        """The iteration has read its last response."""
        if iteration in self._iterations:
            self._iterations.remove(iteration)

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

    async def _finish(self, procedure: Procedure[Value]) -> Value:
        run = Run(self, procedure)
        try:
            if await run.advance() is not None:
                raise TypeError("this procedure delivers responses and has to be iterated")
        finally:
            run.abandon()
        return run.value

    async def _settle(self, deadline: Deadline | None = None) -> None:
        """Read the responses to earlier requests, so that the next one gets its own."""
        for iteration in list(self._iterations):
            await iteration.settle()
        while self.talk.has_abandoned and self.phase is Phase.ESTABLISHED:
            await self._take(await self._next(deadline or Deadline("message", self.timeouts.message)))
        self._check_established()

    def _check_usable(self) -> None:
        if self.phase is not Phase.ESTABLISHED:
            raise AssociationClosed from self.failure

    def _check_established(self) -> None:
        if self.phase is not Phase.ESTABLISHED:
            raise self.failure or AssociationClosed()

    async def _send(self, message: Message, batches: Iterator[list[Buffer]]) -> None:
        is_request = message.type.has_response
        if is_request:
            self.talk.expect(message)
        deadline = Deadline("message", self.timeouts.message)
        is_begun = False
        try:
            async with self._outlet.turn:
                for batch in batches:
                    is_begun = True
                    await self._write(batch, deadline)
        except AssociationClosed:
            if self.phase is Phase.ESTABLISHED:
                raise self._lost() from None
            raise
        except asyncio.CancelledError:
            # What was handed over goes out; a message of which something is missing ends the association.
            if is_begun and not _is_exhausted(batches):
                self.abort()
            if is_request and not is_begun:
                self.talk.forget((message.message_id,))
            raise
        except BaseException as error:
            if is_request:
                self.talk.forget((message.message_id,))
            if is_begun:
                lost = AssociationAborted(None, 0, str(error))
                self.abort(failure=error if isinstance(error, NetworkError) else lost)
            raise

    async def _receive_response(self, step: Receive) -> Message:
        deadline = Deadline("message", self.timeouts.message)
        while True:
            response = self.talk.take_response(step.message_ids)
            if response is not None:
                return response
            happening = await self._next(deadline)
            if isinstance(happening, Message) and not happening.type.is_response:
                deadline = Deadline("message", self.timeouts.message)
            await self._take(happening)

    # -- what arrives

    async def _attend(self) -> None:
        """Serve what has arrived."""
        try:
            async with self.exchange():
                for iteration in [each for each in self._iterations if each.is_abandoned]:
                    await iteration.give_up()
                while self.talk.inbox and self.phase in (Phase.NEW, Phase.ESTABLISHED):
                    await self._take(self._pop())
        except DicomnetError as error:
            _log.info("the association ended: %s", error)
        except Exception as error:  # noqa: BLE001
            _log.exception("an association could not be served")
            self.abort(failure=AssociationAborted(None, 0, str(error)))

    def _attended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled():
            self.abort()
        self._wake()
        self._conclude()

    async def _take(self, happening: Happening) -> None:
        """Serve a happening that nobody is waiting for."""
        if isinstance(happening, Message):
            if happening.type.is_response:
                self._take_response(happening)
            else:
                await self._take_request(happening)
        elif isinstance(happening, ReleaseRQ | ReleaseRP):
            self._take_release(happening)
        elif self.phase is Phase.NEW:
            await self._take_acse(happening)
        else:
            self._take_end(happening)

    def _take_response(self, response: Message) -> None:
        self.talk.keep_response(response)
        try:
            self.talk.check_strays()
        except ProtocolError as error:
            self.abort(Abort(2, error.reason), AssociationAborted(None, 0, str(error)))
            raise self.failure or AssociationClosed() from error

    async def _take_request(self, message: Message) -> None:
        message_id = message.message_id
        if not self.talk.begin(message_id):
            await self._finish(refuse_duplicate(message))
            return
        try:
            await self._finish(provide(message, self.agreement.contexts[message.context_id]))
        finally:
            try:
                answers = self._answers.pop(message_id, None)
                if answers is not None:
                    await answers.aclose()
            finally:
                self.talk.finish(message_id)

    def _take_release(self, happening: ReleaseRQ | ReleaseRP) -> None:
        """The peer asked for release, or answered ours, or both at once (PS3.8 section 7.2.2)."""
        machine = self.connection.machine
        answers = machine.allows(Event.RELEASE_RESPONSE)
        if answers:
            self.connection.answer_release(monotonic())
            self._write_outgoing()
        if isinstance(happening, ReleaseRP) or (answers and machine.state is State.STA13):
            self._end(Phase.RELEASED)

    async def _take_acse(self, happening: Happening) -> None:
        if isinstance(happening, AssociateRQ):
            await self._answer(happening)
        elif isinstance(happening, AssociateAC):
            self._establish()
        elif isinstance(happening, AssociateRJ):
            self._end(
                Phase.REJECTED, AssociationRejected(happening.result, happening.source, happening.reason)
            )
        else:
            self._take_end(happening)
        if self.failure is not None:
            raise self.failure

    async def _answer(self, request: AssociateRQ) -> None:
        self._silence.set(None)
        answer = await _settled(self.hooks.negotiate(request))
        if self.phase is not Phase.NEW or not self.connection.machine.allows(Event.ACCEPT):
            # It was aborted in the meantime.
            return
        now = monotonic()
        if isinstance(answer, AssociateRJ):
            self.connection.reject(answer, now)
            self._write_outgoing()
            self._end(Phase.REJECTED)
            return
        acceptance, agreement = answer
        try:
            self.connection.accept(acceptance, agreement, now)
        except ProtocolError as error:
            self.abort(Abort(2, error.reason), AssociationAborted(None, 0, str(error)))
            return
        self._establish()
        await self._flush(Deadline("association", self.timeouts.association))

    def _establish(self) -> None:
        self.phase = Phase.ESTABLISHED
        self.hooks.phase_changed(self.phase)

    def _take_end(self, happening: Happening) -> None:
        if isinstance(happening, Abort):
            self._end(Phase.ABORTED, AssociationAborted(happening.source, happening.reason))
        elif isinstance(happening, ProviderAbort):
            cause = str(happening.error) if happening.error else ""
            self._end(Phase.ABORTED, self._refusal or AssociationAborted(None, 0, cause))

    # -- taking turns

    def exchange(self) -> Turn:
        """Have the association to oneself. A nested use by the same task goes ahead."""
        return Turn(self)

    async def begin_turn(self) -> bool:
        """The current task begins to use the association; False where it does already. `Turn` calls it."""
        task = asyncio.current_task()
        if self._owner is task:
            return False
        await self._turn.acquire()
        self._owner = task
        self._watch()
        return True

    def end_turn(self, error: BaseException | None) -> None:
        """It does not use it any more; `Turn` calls it."""
        if isinstance(error, DeadlineExceeded):
            self.abort(failure=error)
        self._owner = None
        self._turn.release()
        self._watch()
        if self.talk.inbox or self._iterations:
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
        if self._turn.locked() or self.phase not in (Phase.NEW, Phase.ESTABLISHED):
            return False
        if any(each.is_abandoned for each in self._iterations):
            return True
        # A user comes back for the responses of an iteration, which wait in the network until then.
        return bool(self.talk.inbox) and (not self._iterations or self.talk.end() is not None)

    # -- deadlines while nobody waits

    def _watch(self) -> None:
        """Set the deadline of what goes on now."""
        if self.phase is not Phase.ESTABLISHED or self.closed.is_set():
            return
        if not (self.connection.is_between_messages or self._is_paused):
            stage = self._silence.deadline and self._silence.deadline.stage
            if stage != "message":
                self._silence.set(Deadline("message", self.timeouts.message))
        elif self._owner is None and not self._iterations:
            self._silence.set(Deadline("idle", self.timeouts.idle))
        else:
            self._silence.set(None)

    def _was_silent(self, deadline: Deadline) -> None:
        if self.phase is Phase.ESTABLISHED:
            self.abort(failure=DeadlineExceeded(deadline.stage, deadline.seconds))
            return
        self.connection.expire(monotonic())
        if self.phase is Phase.NEW:
            self._end(Phase.ABORTED, DeadlineExceeded(deadline.stage, deadline.seconds))
        self.close()

    def _artim(self, stage: str) -> Deadline:
        """ARTIM's time that is left; a short while where it does not run."""
        at = self.connection.artim_deadline
        if at is None:
            return Deadline(stage, None if self.phase is Phase.NEW else LAST_WORDS)
        deadline = Deadline(stage, self.timeouts.association)
        deadline.at = at
        return deadline

    # -- the transport

    def _waited_too_long(self, deadline: Deadline) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_exception(DeadlineExceeded(deadline.stage, deadline.seconds))

    async def _next(self, deadline: Deadline) -> Happening:
        while not self.talk.inbox:
            if self.closed.is_set():
                raise self._lost()
            if self.phase not in (Phase.NEW, Phase.ESTABLISHED):
                raise self.failure or AssociationClosed()
            deadline.remaining()
            self._arrived = self._loop.create_future()
            self._waiting.set(deadline)
            try:
                await self._arrived
            finally:
                self._arrived = None
                self._waiting.set(None)
        return self._pop()

    def _pop(self) -> Happening:
        happening = self.talk.inbox.popleft()
        if not self.talk.inbox:
            self._unserved = 0
            self._resume()
        return happening

    def _pause_when_full(self) -> None:
        if self._is_paused or self._transport is None or self.connection.must_close:
            return
        if len(self.talk.inbox) >= _INBOX_LIMIT or self._unserved >= _INBOX_BYTES:
            self._is_paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
            self._watch()

    def _give_back(self) -> None:
        if self._buffer is not None:
            return_buffer(self._buffer)
            self._buffer = None

    async def _flush(self, deadline: Deadline) -> None:
        buffers = self.connection.take_outgoing()
        if buffers:
            async with self._outlet.turn:
                await self._write(buffers, deadline)

    def _flush_quietly(self) -> None:
        self._write_outgoing()
        if self.connection.must_close:
            self._close_soon()

    def _write_outgoing(self) -> None:
        """Hand the machine's few bytes to the transport, without waiting."""
        if self.connection.outgoing:
            self._outlet.hand_over(self.connection.take_outgoing())

    async def _write(self, buffers: list[Buffer], deadline: Deadline) -> None:
        if not await self._outlet.write(buffers, deadline):
            raise self._lost()

    def _must_stop_writing(self) -> bool:
        return (
            self.closed.is_set()
            or self.phase not in (Phase.NEW, Phase.ESTABLISHED)
            or self.talk.end() is not None
        )

    def _lost(self) -> DicomnetError:
        """The connection broke while we used it: find out what the peer said before."""
        end = self.talk.end()
        if end is not None:
            self._take_end(end)
        self._end(Phase.ABORTED, AssociationAborted(None))
        return self.failure or AssociationClosed()

    # -- the end

    def _end(self, phase: Phase, failure: DicomnetError | None = None) -> None:
        if self.phase in (Phase.NEW, Phase.ESTABLISHED):
            self.phase = phase
            self.failure = failure
            self.hooks.phase_changed(phase)
            self._resume()
            self._close_soon()

    def _close_soon(self) -> None:
        """Close, after the peer has (PS3.8 section 9.2, Sta13) or when ARTIM expires."""
        if self._transport is None or self.closed.is_set():
            return
        if not self.connection.must_close:
            self._silence.set(self._artim("release"))
        elif self._transport.get_write_buffer_size():
            # What is left to write is for a peer that does not listen any more.
            self._transport.abort()
        else:
            self._transport.close()
            self._silence.set(Deadline("release", LAST_WORDS))

    def _conclude(self) -> None:
        """The association is over, and nobody uses it: let go of everything."""
        if self._is_over or not self.closed.is_set() or self._owner is not None or self._task is not None:
            return
        self._is_over = True
        self._lost()
        self._waiting.stop()
        self._silence.stop()
        self.talk.drop_requests()
        self.hooks.closed()
        if self._on_closed is not None:
            self._on_closed(self)

    @property
    def agreement(self) -> Agreement:
        """What was negotiated; raises AssociationClosed before that."""
        if self.connection.agreement is None:
            raise AssociationClosed
        return self.connection.agreement


_PERFORMERS: dict[type[Step], Callable[[Link, Any], object]] = {
    Send: Link._perform_send,
    Receive: Link._perform_receive,
    Handle: Link._perform_handle,
    Next: lambda link, step: _coroutine(link.hooks.next_answer(step.answers)),
    Cancelled: Link._perform_cancelled,
    Work: lambda link, step: asyncio.to_thread(step.function),
    Store: lambda link, step: _coroutine(link.hooks.store(step.retrieval, step.sub_operation)),
    Finish: lambda link, step: _coroutine(link.hooks.finish(step.retrieval)),
}


class Turn:
    """A task's use of a link, as an asynchronous context manager."""

    __slots__ = ("_is_outermost", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._is_outermost = False

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
        result if isinstance(result, CoroutineType) or not inspect.isawaitable(result) else _settled(result)
    )


async def _settled(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


def _is_exhausted(batches: Iterator[list[Buffer]]) -> bool:
    try:
        return next(batches, None) is None
    except UnusableObject:
        return False
