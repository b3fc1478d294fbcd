"""The blocking driver: plain calls, in the thread of the caller. An idle association has no thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Any, ClassVar, TypeVar

from ...dimse.datasets import discard
from ...dimse.messages import C_STORE_RQ, Message
from ...errors import (
    AssociationAborted,
    AssociationClosed,
    AssociationRejected,
    DeadlineExceeded,
    DicomnetError,
    NetworkError,
    ProtocolError,
    TLSFailed,
)
from ...services.provider import provide, provide_stores, refuse_duplicate
from ...services.steps import (
    Cancelled,
    Finish,
    Handle,
    MoreStores,
    Next,
    PlaceStores,
    Procedure,
    Receive,
    Respond,
    Send,
    SettleStores,
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
from .channel import Channel
from .gathering import Gathering
from .run import Iteration, Run
from .watcher import Watch, Watcher, WatcherClosed, WorkerPool

_log = logging.getLogger(__name__)

Value = TypeVar("Value")

# How long a thread stays with a connection that has fallen silent, in seconds, before it goes back to the watcher.
_STAY = 0.05
# How many happenings may wait while a request is performed, before the peer has to wait too.
_INBOX_LIMIT = 64
# How often, in seconds, a query with many matches looks whether the peer has cancelled it.
_LOOK_EVERY = 0.001
# How long an abort waits for its turn, in seconds, before it ends the connection under the thread that uses it.
_PATIENCE = 0.2


class Link:
    """One association over one socket.

    All use of the socket is under ``lock``; several threads take turns, and a nested call from a handler or from
    inside an iteration works.

    Parameters
    ----------
    channel
        The transport connection; under TLS its handshake may be to come.
    connection
        The protocol side.
    hooks
        The user's side.
    timeouts
        One deadline a stage; may be replaced at any time.
    watcher, workers
        Who waits while the link is idle, and who serves what arrives then.
    on_closed
        Called once, when the association is over and the socket is closed.
    """

    performers: ClassVar[dict[type[Step], Callable[[Link, Any], object]]]
    """How a procedure's steps are done, for `Run`."""

    def __init__(
        self,
        channel: Channel,
        connection: Connection,
        hooks: Hooks,
        timeouts: Timeouts,
        watcher: Watcher,
        workers: WorkerPool,
        on_closed: Callable[[Link], None] | None = None,
    ) -> None:
        self.connection = connection
        self.hooks = hooks
        self.timeouts = timeouts
        self.releases_when_idle = False
        self.phase = Phase.NEW
        self.failure: DicomnetError | None = None
        self.lock = threading.RLock()
        self._channel = channel
        self._phase_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._writer = 0
        self._watcher = watcher
        self._workers = workers
        self._watch: Watch | None = None
        self._idle_watch = Watch(channel.sock, self._on_ready, self._on_idle)
        self._turn = Turn(self)
        self._depth = 0
        self._buffer: bytearray | None = None
        self._is_receiving = False
        self.talk = Conversation()
        self._inbox = self.talk.inbox
        self._iterations: list[Iteration] = []
        # The innermost one is last: a handler may wait for messages, and they are served meanwhile.
        self._gatherings: list[Gathering] = []
        self._on_closed = on_closed
        self._unread = LAST_BYTES
        self._next_look = 0.0
        self._is_closed = False
        self._is_over = False

    # -- the life of an association

    def request(self, request: AssociateRQ) -> None:
        """Ask for the association and wait for the answer.

        Raises
        ------
        AssociationRejected, AssociationAborted, NetworkError
            If it is not established.
        """
        deadline = Deadline("association", self.timeouts.association)
        with self.exchange(deadline):
            while not self._try_handshake():
                self._channel.wait(deadline, read=True, write=self._channel.wants_write)
            self.connection.transport_opened(monotonic(), request)
            self._flush(deadline)
            while self.phase is Phase.NEW:
                self._take_acse(self._next(deadline))

    def greet(self, address: tuple[str, int] = ("", 0)) -> None:
        """Wait for a request, as the acceptor, without a thread. Then a worker takes over.

        Parameters
        ----------
        address
            The peer's host and port.
        """
        self._serve(partial(self._open, address))

    def release(self) -> None:
        """Release the association and close the connection.

        Raises
        ------
        AssociationError, NetworkError
            If it ended otherwise.
        """
        deadline = Deadline("release", self.timeouts.association)
        with self.exchange(deadline):
            self._drain_iterations()
            self._check_established()
            if self.connection.machine.allows(Event.RELEASE_REQUEST):
                self.connection.release(monotonic())
                self._flush(deadline)
            while self.phase is Phase.ESTABLISHED:
                happening = self._next(deadline)
                if isinstance(happening, ReleaseRQ | ReleaseRP):
                    self._take_release(happening)
                elif isinstance(happening, Message):
                    discard(happening.data)
                else:
                    self._take_end(happening)
        if self.failure is not None:
            raise self.failure

    def abort(self, pdu: Abort | None = None, failure: DicomnetError | None = None) -> None:
        """End the association at once. From another thread, it also ends what this one is waiting for."""
        if not self.lock.acquire(timeout=_PATIENCE):
            self._abort_beside(pdu or Abort(0), failure)
            return
        try:
            if self.phase in (Phase.NEW, Phase.ESTABLISHED):
                self._wake()
                self.connection.abort(monotonic(), pdu)
                self._flush_quietly()
                self._end(Phase.ABORTED, failure)
                if self._depth == 0:
                    self._conclude()
        finally:
            self.lock.release()

    def close(self) -> None:
        """Close the socket, whatever the state; nothing is sent."""
        if not self.lock.acquire(timeout=_PATIENCE):
            # The thread that uses it closes it as soon as it notices.
            self._change_phase(Phase.ABORTED)
            self._channel.shutdown()
            return
        try:
            self._change_phase(Phase.ABORTED)
            self._close()
        finally:
            self.lock.release()

    # -- running procedures

    def next_message_id(self) -> int:
        """A message ID that no outstanding request of ours has."""
        return self.talk.next_message_id()

    def free_message_id(self, wanted: int) -> int:
        """This message ID, or another one if a request of ours has it that goes on beside the next one.

        Raises
        ------
        AssociationError, NetworkError
            If the association ends while earlier responses are read away.
        """
        if self.talk.free_message_id(wanted) == wanted:
            return wanted
        with self.exchange():
            self._drain_iterations()
            return self.talk.free_message_id(wanted)

    def run(self, procedure: Procedure[Value]) -> Value:
        """Run a procedure to its end."""
        with self.exchange():
            self._drain_iterations()
            return self._finish(procedure)

    def iterate(self, procedure: Procedure[None], cancel: Message | None = None) -> Iterator[Message]:
        """Begin a procedure at once, and hand out what it delivers as it arrives.

        Left early, the rest is read away before the next use of the association.

        Parameters
        ----------
        cancel
            The C-CANCEL-RQ to send first in that case.
        """
        iteration = Iteration(self, procedure, cancel)
        with self.exchange():
            self._drain_iterations()
            self._iterations.append(iteration)
            iteration.begin()
        return iteration.messages()

    def interject(self, message: Message) -> None:
        """Send a message that has no response, between the messages of whatever another thread is doing.

        Raises
        ------
        AssociationError, NetworkError
            If the association is over.
        """
        deadline = Deadline("message", self.timeouts.message)
        failure: NetworkError | AssociationAborted
        try:
            self._begin_message()
            try:
                for batch in self.connection.send(message):
                    self._transmit(batch, deadline, may_read=False)
            finally:
                self._end_message()
            return
        except NetworkError as error:
            failure = error
        except OSError:
            failure = AssociationAborted(None)
        self.abort(failure=failure)
        raise failure

    def is_cancelled(self, message_id: int) -> bool:
        """Whether the peer has cancelled a request that is being performed, or the association is over."""
        # Another thread than the one that performs it knows what that one has seen.
        if self._depth and self.lock.acquire(blocking=False):
            try:
                self.read_ahead()
            finally:
                self.lock.release()
        is_over = self._is_closed or self.phase is not Phase.ESTABLISHED
        return is_over or self.talk.is_cancelled(message_id)

    def read_ahead(self, *, leaves_end: bool = False) -> bool:
        """Read, without waiting, what is there while a request is being performed; False if there was nothing.

        Parameters
        ----------
        leaves_end
            The end of the connection is nothing: it is found again behind what is to be written yet.
        """
        if self._is_closed or self._is_receiving or len(self._inbox) >= _INBOX_LIMIT:
            return False
        return self._receive(None, leaves_end=leaves_end)

    def send(self, message: Message, more: bool = False) -> None:
        """Write a message, between those of a procedure that goes on.

        Raises
        ------
        AssociationError, NetworkError
            If the association is over, or ends meanwhile.
        """
        if not message.type.has_response:
            # Another request may be here already, whose response can share the segment and the peer's attention.
            self._put(self.connection.send(message), more or (message.type.is_response and bool(self._inbox)))
            return
        self.talk.expect(message)
        try:
            self._put(self.connection.send(message), more)
        except BaseException:
            self.talk.forget((message.message_id,))
            raise

    def _perform_respond(self, step: Respond) -> None:
        self._put(self.connection.send(*step.responses), False)

    def _perform_receive(self, step: Receive) -> Message:
        try:
            return self._receive_response(step)
        except DeadlineExceeded as error:
            # Whoever waits for an answer may catch this, and still the association is of no use any more.
            self.abort(failure=error)
            raise

    def _perform_cancelled(self, step: Cancelled) -> bool:
        now = monotonic()
        if now < self._next_look:
            return self.talk.is_cancelled(step.message_id) or self.phase is not Phase.ESTABLISHED
        self._next_look = now + _LOOK_EVERY
        return self.is_cancelled(step.message_id)

    def forget_iteration(self, iteration: Iteration) -> None:
        """The iteration has read its last response."""
        if iteration in self._iterations:
            self._iterations.remove(iteration)

    def read_away(self) -> None:
        """Wait for the final responses to requests that nobody is interested in any more."""
        deadline = Deadline("message", self.timeouts.message)
        while self.talk.has_abandoned and self.phase is Phase.ESTABLISHED:
            self._take(self._next(deadline))

    def _finish(self, procedure: Procedure[Value]) -> Value:
        run = Run(self, procedure)
        if run.advance() is not None:
            raise TypeError("this procedure delivers responses and has to be iterated")
        return run.value

    def _drain_iterations(self) -> None:
        """Read the responses of unfinished iterations, so that a nested request gets its own."""
        for iteration in list(self._iterations):
            iteration.drain()

    def _put(self, batches: Iterable[list[Buffer]], more: bool) -> None:
        deadline = Deadline("message", self.timeouts.message)
        is_partly_written = False
        try:
            self._begin_message()
            try:
                for batch in batches:
                    is_partly_written = True
                    self._write(batch, deadline, more=more)
            finally:
                self._end_message()
        except AssociationClosed:
            if self.phase is Phase.ESTABLISHED:
                raise self._lost() from None
            raise
        except BaseException as error:
            if is_partly_written:
                # Part of a message is on the wire: nothing can follow it.
                lost = AssociationAborted(None, 0, str(error))
                self.abort(failure=error if isinstance(error, NetworkError) else lost)
            raise

    def _receive_response(self, step: Receive) -> Message:
        deadline: Deadline | None = None
        while (response := self.talk.take_response(step.message_ids)) is None:
            if deadline is None:
                deadline = Deadline("message", self.timeouts.message)
            happening = self._next(deadline)
            if isinstance(happening, Message) and happening.type.is_response:
                if self._settle(happening):
                    if happening.message_id in step.message_ids:
                        return happening
                    self.talk.keep_answer(happening)
                continue
            self._take(happening)
            if isinstance(happening, Message):
                # The peer has asked for something meanwhile, and the time that took was ours.
                deadline = None
            self._check_established()
        return response

    def _check_established(self) -> None:
        if self.phase is not Phase.ESTABLISHED:
            raise self.failure or AssociationClosed()

    # -- what arrives

    def attend(self) -> None:
        """Serve what arrives until the link is idle, in a worker's thread."""
        try:
            with self.exchange():
                while self.phase in (Phase.NEW, Phase.ESTABLISHED):
                    happening = self._next_or_idle()
                    if happening is None:
                        return
                    self._take(happening)
        except DicomnetError as error:
            _log.info("the association ended: %s", error)
        except Exception as error:
            self.abort(failure=AssociationAborted(None, 0, str(error)))
            raise

    def _next_or_idle(self) -> Happening | None:
        deadline: Deadline | None = None
        while not self._inbox:
            if not self.connection.is_between_messages:
                if deadline is None or deadline.stage == "idle":
                    deadline = Deadline("message", self.timeouts.message)
            elif self.connection.machine.is_requestor:
                # Its own threads must not wait for a worker that lingers.
                if not self._receive(None):
                    return None
                continue
            elif deadline is None:
                deadline = Deadline("idle", _STAY)
            try:
                self._receive(deadline)
            except DeadlineExceeded:
                if deadline.stage == "idle":
                    return None
                raise
        return self._inbox.popleft()

    def _take(self, happening: Happening) -> None:
        """Serve a happening that nobody is waiting for."""
        if isinstance(happening, Message):
            if not happening.type.is_response:
                self._take_request(happening)
            elif self._settle(happening):
                self.talk.keep_answer(happening)
        elif isinstance(happening, ReleaseRQ):
            self._take_release(happening)
        elif self.phase is Phase.NEW:
            self._take_acse(happening)
        else:
            self._take_end(happening)

    def _settle(self, response: Message) -> bool:
        """A response came: whether somebody waits for it. Too many that nobody waits for are the end."""
        if self.talk.settle(response):
            return True
        try:
            self.talk.check_strays()
        except ProtocolError as error:
            self.abort(Abort(2, error.reason), AssociationAborted(None, 0, str(error)))
            self._check_established()
        return False

    def _take_request(self, message: Message) -> None:
        message_id = message.message_id
        if not self.talk.begin(message_id):
            self._finish(refuse_duplicate(message))
            return
        if message.type is C_STORE_RQ and self.hooks.stores is not None:
            self._gatherings.append(Gathering(self, self.hooks.stores, message))
            try:
                self._finish(provide_stores())
            finally:
                self._gatherings.pop().finish()
            return
        try:
            self._finish(provide(message, self.agreement.contexts[message.context_id]))
        finally:
            self.talk.finish(message_id)

    def _take_release(self, happening: ReleaseRQ | ReleaseRP) -> None:
        """The peer asked for release, or answered ours, or both at once (PS3.8 section 7.2.2)."""
        machine = self.connection.machine
        answers = machine.allows(Event.RELEASE_RESPONSE)
        if answers:
            self.connection.answer_release(monotonic())
            self._flush_quietly()
        if isinstance(happening, ReleaseRP) or (answers and machine.state is State.STA13):
            self._end(Phase.RELEASED)

    def _take_acse(self, happening: Happening) -> None:
        if isinstance(happening, AssociateRQ):
            self._answer(happening)
        elif isinstance(happening, AssociateAC):
            self._change_phase(Phase.ESTABLISHED)
        elif isinstance(happening, AssociateRJ):
            self._end(
                Phase.REJECTED, AssociationRejected(happening.result, happening.source, happening.reason)
            )
        else:
            self._take_end(happening)
        if self.failure is not None:
            raise self.failure

    def _answer(self, request: AssociateRQ) -> None:
        answer = self.hooks.negotiate(request)
        if self.phase is not Phase.NEW:
            # It was aborted in the meantime.
            return
        now = monotonic()
        if isinstance(answer, AssociateRJ):
            self.connection.reject(answer, now)
            self._flush_quietly()
            self._end(Phase.REJECTED)
            return
        try:
            self.connection.accept(*answer, now)
        except ProtocolError as error:
            self.abort(Abort(2, error.reason), AssociationAborted(None, 0, str(error)))
            return
        self._flush(Deadline("association", self.timeouts.association))
        self._change_phase(Phase.ESTABLISHED)

    def _take_end(self, happening: Happening) -> None:
        if isinstance(happening, Abort):
            self._end(Phase.ABORTED, AssociationAborted(happening.source, happening.reason))
        elif isinstance(happening, ProviderAbort):
            cause = str(happening.error) if happening.error else ""
            self._flush_quietly()
            self._end(Phase.ABORTED, self._channel.refusal() or AssociationAborted(None, 0, cause))

    # -- idle

    def exchange(self, deadline: Deadline | None = None) -> Turn:
        """Hold the socket until the end of the block: out of the watcher's hands, with a buffer.

        Parameters
        ----------
        deadline
            By when another thread must have done with it, by default that of a message.
        """
        if not self.lock.acquire(blocking=False):
            wait_for = (deadline or Deadline("message", self.timeouts.message)).remaining()
            if not self.lock.acquire(timeout=-1 if wait_for is None else wait_for):
                raise DeadlineExceeded("message", self.timeouts.message)
        try:
            if self._depth == 0:
                self._wake()
        except BaseException:
            self.lock.release()
            raise
        self._depth += 1
        return self._turn

    def end_turn(self, error: BaseException | None) -> None:
        """The thread that has the lock does not use the socket any more; `Turn` calls it."""
        try:
            if isinstance(error, DeadlineExceeded):
                self.abort(failure=error)
        finally:
            self._depth -= 1
            try:
                if self._depth == 0:
                    self._rest()
            finally:
                self.lock.release()

    def _wake(self) -> None:
        if self._watch is not None:
            self._watcher.forget(self._watch)
            self._watch = None

    def _rest(self) -> None:
        """Nobody uses the socket now: leave it to the watcher, or to the end."""
        self._give_back()
        if self.phase is not Phase.ESTABLISHED or self._is_closed:
            self._conclude()
        elif self._iterations:
            # The user comes back for the responses, which wait in the network until then.
            return
        elif self._inbox:
            self._workers.submit(self.attend)
        elif self.connection.machine.is_requestor:
            self._leave_to_watcher()
        else:
            # Its worker has lingered already, and the next request must not wait.
            self._watch_for(self._on_ready, self._on_idle, self.timeouts.idle)

    def _leave_to_watcher(self) -> None:
        idle = self.timeouts.idle
        watch = self._idle_watch
        watch.deadline = None if idle is None else monotonic() + idle
        self._watch = watch
        try:
            self._watcher.linger(watch)
        except WatcherClosed:
            self._change_phase(Phase.ABORTED)
            self._close()

    def _conclude(self) -> None:
        """The association is over, in whatever way its thread noticed that."""
        if self.phase is Phase.NEW and not self._is_closed:
            self.abort()
        if self.phase in (Phase.NEW, Phase.ESTABLISHED):
            self._lost()
        if not self._is_closed and self._watch is None:
            self._close()
        self._drop_inbox()
        self._give_back()

    def _give_back(self) -> None:
        if self._buffer is not None:
            return_buffer(self._buffer)
            self._buffer = None

    def _drop_inbox(self) -> None:
        while self._inbox:
            happening = self._inbox.popleft()
            if isinstance(happening, Message) and happening.type.is_response:
                # What was answered before the end counts.
                self.talk.keep_response(happening)
            elif isinstance(happening, Message):
                discard(happening.data)

    def _watch_for(
        self,
        ready: Callable[[], None],
        expired: Callable[[], None],
        seconds: float | None = None,
        *,
        at: float | None = None,
    ) -> None:
        if seconds is not None:
            at = monotonic() + seconds
        try:
            self._watch = self._watcher.watch(
                self._channel.sock, ready, expired, at, writable=self._channel.wants_write
            )
        except WatcherClosed:
            self._change_phase(Phase.ABORTED)
            self._close()

    def _on_ready(self) -> None:
        self._workers.submit(self.attend)

    def _on_idle(self) -> None:
        self._workers.submit(self._expire)

    def _expire(self) -> None:
        with self.lock:
            if self._watch is None or self._watch.is_active or self.phase is not Phase.ESTABLISHED:
                # It was used since.
                return
            if not self.releases_when_idle:
                self.abort(failure=DeadlineExceeded("idle", self.timeouts.idle))
                return
            try:
                self.release()
            except DicomnetError as error:
                _log.info("the association ended: %s", error)

    # -- before the association and after it: nobody's thread

    def _serve(self, call: Callable[[], None]) -> None:
        """Do in the watcher's thread, which all connections share, what cannot block, and the rest in a worker's."""
        observer = self.connection.observer
        has_handlers = observer is not None and bool(observer.names)
        if has_handlers or not self.lock.acquire(blocking=False):
            self._workers.submit(partial(self._serve_locked, call))
            return
        try:
            call()
        finally:
            self.lock.release()

    def _serve_locked(self, call: Callable[[], None]) -> None:
        with self.lock:
            call()

    def _open(self, address: tuple[str, int]) -> None:
        self.connection.transport_opened(monotonic())
        observer = self.connection.observer
        if observer is not None and "EVT_CONN_OPEN" in observer.names:
            observer.notify("EVT_CONN_OPEN", address=address)
        if not self._is_closed:
            self._watch_greeting()

    def _watch_greeting(self) -> None:
        self._watch_for(
            partial(self._serve, self._greeting),
            partial(self._serve, self._silence),
            at=self.connection.artim_deadline,
        )

    def _greeting(self) -> None:
        """Read what is there of the handshake and the request, without ever waiting."""
        self._watch = None
        if self._is_closed or self.phase is not Phase.NEW:
            return
        try:
            if self._try_handshake():
                self._receive(None)
        except DicomnetError as error:
            _log.info("a connection ended before its association: %s", error)
        finally:
            self._give_back()
        if self._inbox and isinstance(self._inbox[0], AssociateRQ):
            self._workers.submit(self.attend)
        elif self._inbox:
            self._take_end(self._inbox.popleft())
        elif self.connection.machine.state is State.STA13:
            refused = isinstance(self.connection.answer, AssociateRJ)
            self._end(Phase.REJECTED if refused else Phase.ABORTED)
        elif self.phase is Phase.NEW:
            self._watch_greeting()

    def _silence(self) -> None:
        if self.phase is Phase.NEW and not self._is_closed:
            self.connection.expire(monotonic())
            self._change_phase(Phase.ABORTED, DeadlineExceeded("association", self.timeouts.association))
            self._close()

    def _await_close(self) -> None:
        """Let the peer read our last words and close (PS3.8 section 9.2, Sta13), without a thread."""
        self._wake()
        if self.connection.must_close:
            self._close()
            return
        self._watch_for(
            partial(self._serve, self._last_bytes),
            partial(self._serve, self._close),
            at=self.connection.artim_deadline or monotonic() + 1.0,
        )

    def _last_bytes(self) -> None:
        self._watch = None
        if self._is_closed:
            return
        waste = bytearray(65536)
        while self._unread > 0:
            count = self._channel.receive_into(waste)
            if count is None:
                self._await_close()
                return
            self._unread -= count or self._unread
        self._close()

    # -- the socket

    def _try_handshake(self) -> bool:
        try:
            return self._channel.try_handshake()
        except TLSFailed as failure:
            self._end(Phase.ABORTED, failure)
            self._close()
            raise

    def _next(self, deadline: Deadline) -> Happening:
        while not self._inbox:
            self._receive(deadline)
        return self._inbox.popleft()

    def _receive(self, deadline: Deadline | None, *, leaves_end: bool = False) -> bool:
        """Read once; without a deadline only what is already there. False if there was nothing."""
        if self._is_closed:
            raise self.failure or AssociationClosed()
        if self._is_receiving:
            raise RuntimeError("a handler that is told what arrives cannot wait for more to arrive")
        data = self._read(deadline)
        if data is None or (leaves_end and not data):
            return False
        now = monotonic()
        if not data:
            self._inbox.append(self.connection.transport_closed(now) or ProviderAbort(None))
            self._close()
            return True
        self._is_receiving = True
        try:
            for happening in self.connection.receive(data, now):
                self.talk.arrived(happening)
        except BaseException as error:
            # A sink failed, and what it was given is lost: the stream makes no sense any more.
            self.abort(failure=AssociationAborted(None, 0, str(error)))
            raise
        finally:
            self._is_receiving = False
        if deadline is not None:
            deadline.moved(len(data))
        if self.connection.outgoing or self.connection.must_close:
            self._flush_quietly()
        return True

    def _read(self, deadline: Deadline | None) -> memoryview | None:
        """What is there, nothing at the end of the connection; None where nothing is and no deadline to wait for."""
        buffer = self._buffer = self._buffer or borrow_buffer()
        if deadline is None:
            count = self._channel.receive_into(buffer)
            return None if count is None else memoryview(buffer)[:count]
        count = self._channel.receive_soon(buffer, deadline)
        while count is None:
            # Many connections may wait like this at once, each in its own thread.
            self._give_back()
            self._channel.wait_for_more(deadline)
            buffer = self._buffer = borrow_buffer()
            count = self._channel.receive_into(buffer)
        return memoryview(buffer)[:count]

    def _flush(self, deadline: Deadline) -> None:
        buffers = self.connection.take_outgoing()
        if buffers:
            self._write(buffers, deadline)
        if self.connection.must_close:
            self._close()

    def _flush_quietly(self) -> None:
        """Write the machine's last words to a peer that may not want to hear them any more."""
        buffers = self.connection.take_outgoing()
        try:
            if buffers and not self._is_closed and self._channel.is_ready:
                self._transmit(buffers, Deadline("release", 1.0), may_read=False)
        except OSError as error:
            _log.debug("the peer was not told: %s", error)
        if self.connection.must_close:
            self._close()

    def _begin_message(self) -> None:
        """Let one message go out at a time."""
        thread = threading.get_ident()
        if self._writer == thread:
            raise RuntimeError("a handler that is told what is sent cannot send in between")
        self._write_lock.acquire()
        self._writer = thread

    def _end_message(self) -> None:
        self._writer = 0
        self._write_lock.release()

    def _write(self, buffers: list[Buffer], deadline: Deadline, *, more: bool = False) -> None:
        if self._is_closed:
            raise self._lost()
        try:
            self._transmit(buffers, deadline, may_read=True, more=more)
        except DicomnetError:
            raise
        except OSError as error:
            raise self._lost() from error

    def _transmit(
        self, buffers: list[Buffer], deadline: Deadline, *, may_read: bool, more: bool = False
    ) -> None:
        if self.connection.observer is not None:
            self.connection.sent(buffers)
        buffers = self._channel.prepare(buffers)
        at = 0
        while True:
            sent = self._channel.send(buffers[at:] if at else buffers, more=more)
            if sent is None:
                self._wait_to_write(deadline, may_read)
                continue
            if not at and sent == sum(map(len, buffers)):
                return
            deadline.moved(sent)
            while at < len(buffers) and sent >= len(buffers[at]):
                sent -= len(buffers[at])
                at += 1
            if at == len(buffers):
                return
            if sent:
                buffers[at] = memoryview(buffers[at])[sent:]

    def _wait_to_write(self, deadline: Deadline, may_read: bool) -> None:
        # A peer that aborts while we write is heard at once, and one that waits for us to read is not kept waiting.
        wants_reading = may_read and not self._is_receiving and len(self._inbox) < _INBOX_LIMIT
        if self._channel.wait(deadline, read=wants_reading, write=True):
            self._receive(None)
            if self._is_closed or self.talk.end() is not None:
                raise self._lost()

    def _lost(self) -> DicomnetError:
        """The connection broke while we used it: find out what the peer said before."""
        if not (self._is_closed or self._is_receiving):
            self._receive(None)
        end = self.talk.end()
        if end is not None:
            self._take_end(end)
        self._drop_inbox()
        self._change_phase(Phase.ABORTED, AssociationAborted(None))
        if self._watch is None:
            self._close()
        return self.failure or AssociationClosed()

    # -- the end

    def _change_phase(self, phase: Phase, failure: DicomnetError | None = None) -> None:
        with self._phase_lock:
            if self.phase not in (Phase.NEW, Phase.ESTABLISHED):
                return
            self.phase, self.failure = phase, failure
        self.hooks.phase_changed(phase)
        self._say_goodbye()

    def _end(self, phase: Phase, failure: DicomnetError | None = None) -> None:
        self._change_phase(phase, failure)
        if not self._is_closed:
            self._await_close()

    def _abort_beside(self, pdu: Abort, failure: DicomnetError | None) -> None:
        """Abort while another thread is in the middle of something that may take long, such as a handler."""
        if self.phase in (Phase.NEW, Phase.ESTABLISHED):
            last_words = self.connection.abort_beside(pdu)
            if self._channel.is_ready and self._write_lock.acquire(blocking=False):
                try:
                    self._channel.send([last_words])
                except OSError as error:
                    _log.debug("the peer was not told: %s", error)
                finally:
                    self._write_lock.release()
            self._channel.shutdown()
            self._change_phase(Phase.ABORTED, failure)

    def _close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._wake()
        self.connection.transport_closed(monotonic())
        self._channel.close()
        self._say_goodbye()

    def _say_goodbye(self) -> None:
        with self._phase_lock:
            if self._is_over or not self._is_closed or self.phase in (Phase.NEW, Phase.ESTABLISHED):
                return
            self._is_over = True
        self.hooks.closed()
        if self._on_closed is not None:
            self._on_closed(self)

    @property
    def channel(self) -> Channel:
        """The transport connection; reading and writing it is the link's own business."""
        return self._channel

    @property
    def local_address(self) -> tuple[str, int]:
        """The IP address and port of our end of the connection."""
        name: tuple[str, int] = self._channel.sock.getsockname()[:2]
        return name

    @property
    def agreement(self) -> Agreement:
        """What was negotiated; raises AssociationClosed before that."""
        if self.connection.agreement is None:
            raise AssociationClosed
        return self.connection.agreement


Link.performers = {
    Send: lambda link, step: link.send(step.message, step.more),
    Receive: Link._perform_receive,
    Respond: Link._perform_respond,
    Handle: lambda link, step: link.hooks.handle(step.message, step.context),
    PlaceStores: lambda link, step: link._gatherings[-1].stores.place(step.requests),
    MoreStores: lambda link, step: link._gatherings[-1].more(),
    SettleStores: lambda link, step: link._gatherings[-1].stores.settle(step.requests),
    Next: lambda link, step: link.hooks.next_answer(step.answers),
    Cancelled: Link._perform_cancelled,
    Work: lambda link, step: step.function(),
    Store: lambda link, step: link.hooks.store(step.retrieval, step.sub_operation),
    Finish: lambda link, step: link.hooks.finish(step.retrieval),
}


class Turn:
    """A thread's use of a link, as a context manager. It has begun already."""

    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link.end_turn(error)
