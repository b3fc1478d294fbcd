"""The blocking driver: plain calls, in the thread of the caller. An idle association has no thread."""

from __future__ import annotations

import logging
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import SHUT_RDWR, socket
from time import monotonic
from typing import Generic, TypeVar

from ..dimse.messages import Message
from ..errors import (
    AssociationAborted,
    AssociationClosed,
    AssociationError,
    AssociationRejected,
    DeadlineExceeded,
    DicomnetError,
    NetworkError,
    ProtocolError,
    ServiceRefusal,
    UnusableObject,
)
from ..services.provider import provide
from ..services.registry import is_pending
from ..services.steps import Cancelled, Deliver, Handle, Next, Procedure, Receive, Send, Step
from ..upper_layer.negotiation import Agreement, first_of
from ..wire.fields import Buffer
from ..wire.items import MaximumLength
from ..wire.pdu import Abort, AssociateAC, AssociateRJ, AssociateRQ, ReleaseRP, ReleaseRQ
from .connection import Connection, Happening, Observer, ProviderAbort
from .deadline import Deadline, Timeouts
from .hooks import Hooks, Phase
from .transport import (
    IOV_LIMIT,
    Address,
    borrow_buffer,
    connect,
    is_gone,
    quick_ack,
    return_buffer,
    tls_error,
    wait,
    wrap_tls,
)
from .watcher import Watch, Watcher, WorkerPool

_log = logging.getLogger(__name__)

Value = TypeVar("Value")

# How long a thread stays with a connection that has fallen silent, in seconds, before it goes back to the watcher.
_LINGER = 0.05
# How many happenings may wait while a request is performed, before the peer has to wait too.
_INBOX_LIMIT = 64

_idle_watcher: Watcher | None = None
_workers: WorkerPool | None = None
_start_lock = threading.Lock()


def process_watcher() -> tuple[Watcher, WorkerPool]:
    """The watcher of all idle requestors of this process, and the threads that serve what it notices."""
    global _idle_watcher, _workers
    with _start_lock:
        if _idle_watcher is None or _workers is None:
            _idle_watcher = Watcher("dicomnet-idle")
            _workers = WorkerPool("dicomnet-worker")
        return _idle_watcher, _workers


class Link:
    """One association over one socket.

    All use of the socket is under ``lock``; several threads take turns, and a nested call from a handler or from
    inside an iteration works.

    Parameters
    ----------
    sock
        Connected and not blocking; an SSLSocket before its handshake is fine.
    connection
        The protocol side.
    hooks
        The user's side.
    timeouts
        One deadline a stage.
    watcher, workers
        Who waits while the link is idle, and who serves what arrives then.
    on_closed
        Called once, when the socket is closed.
    """

    def __init__(
        self,
        sock: socket,
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
        self.phase = Phase.NEW
        self.failure: DicomnetError | None = None
        self.lock = threading.RLock()
        self._write_lock = threading.Lock()
        self._sock = sock
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self._handshaken = not self._is_tls
        self._watcher = watcher
        self._workers = workers
        self._watch: Watch | None = None
        self._depth = 0
        self._buffer: bytearray | None = None
        self._inbox: deque[Happening] = deque()
        self._responses: dict[int, deque[Message]] = {}
        self._awaited: set[int] = set()
        self._performing: set[int] = set()
        self._cancelled: set[int] = set()
        self._iterations: list[Iteration] = []
        self._wants_write = False
        self._on_closed = on_closed
        self._last_message_id = 0
        self._is_closed = False

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
            self._handshake(deadline)
            self.connection.transport_opened(monotonic(), request)
            self._flush(deadline)
            while self.phase is Phase.NEW:
                self._take_acse(self._next(deadline))

    def greet(self) -> None:
        """Wait for a request, as the acceptor, without a thread. Then a worker takes over."""
        self.connection.transport_opened(monotonic())
        self._watch = self._watcher.watch(
            self._sock, self._on_greeting, self._on_silence, self.connection.artim_deadline
        )

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
            self.connection.release(monotonic())
            self._flush(deadline)
            while self.phase is Phase.ESTABLISHED:
                happening = self._next(deadline)
                if isinstance(happening, ReleaseRP):
                    self._end(Phase.RELEASED)
                elif isinstance(happening, ReleaseRQ):
                    self.connection.answer_release(monotonic())
                    self._flush(deadline)
                elif not isinstance(happening, Message):
                    self._take_end(happening)
        if self.failure is not None:
            raise self.failure

    def abort(self, pdu: Abort | None = None, failure: DicomnetError | None = None) -> None:
        """End the association at once. From another thread, it also ends what this one is waiting for."""
        if not self.lock.acquire(timeout=0.2):
            # Another thread is in the middle of something; closing under it ends that with an error.
            self._shutdown()
            self.lock.acquire()
        try:
            if self.phase in (Phase.NEW, Phase.ESTABLISHED):
                self._wake()
                self.connection.abort(monotonic(), pdu)
                self._flush_quietly()
                self._end(Phase.ABORTED, failure)
        finally:
            self.lock.release()

    # -- running procedures

    def next_message_id(self) -> int:
        """A message ID that no outstanding request of ours has."""
        while True:
            self._last_message_id = self._last_message_id % 65535 + 1
            if self._last_message_id not in self._awaited:
                return self._last_message_id

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
        """Send a message that has no response, between the messages of whatever another thread is doing."""
        deadline = Deadline("message", self.timeouts.message)
        with self._write_lock:
            for batch in self.connection.send(message):
                self._write(batch, deadline, may_read=False)

    def is_cancelled(self, message_id: int) -> bool:
        """Whether the peer has cancelled the request that this thread is performing."""
        if len(self._inbox) < _INBOX_LIMIT:
            self._receive(None)
        for happening in [h for h in self._inbox if isinstance(h, Message)]:
            if happening.type.name == "C-CANCEL-RQ":
                self._inbox.remove(happening)
                self._cancelled.add(happening.message_id)
        return message_id in self._cancelled

    def _finish(self, procedure: Procedure[Value]) -> Value:
        run = Run(self, procedure)
        if run.advance() is not None:
            raise TypeError("this procedure delivers responses and has to be iterated")
        return run.value

    def perform(self, step: Step) -> object:
        """Do what a procedure asks for; `Run` calls it."""
        if isinstance(step, Send):
            self._send(step.message)
            return None
        if isinstance(step, Receive):
            return self._receive_response(step)
        if isinstance(step, Handle):
            return self.hooks.handle(step.message, step.context)
        if isinstance(step, Next):
            return self.hooks.next_answer(step.answers)
        if isinstance(step, Cancelled):
            return self.is_cancelled(step.message_id)
        raise TypeError(f"{type(step).__name__} is not a step")

    def _send(self, message: Message) -> None:
        if not message.type.is_response and "MessageID" in message.command:
            self._awaited.add(message.message_id)
        deadline = Deadline("message", self.timeouts.message)
        is_partly_written = False
        try:
            with self._write_lock:
                for batch in self.connection.send(message):
                    is_partly_written = True
                    self._write(batch, deadline)
        except UnusableObject as error:
            self._awaited.discard(message.message_id)
            if is_partly_written:
                self.abort(failure=AssociationAborted(None, 0, str(error)))
            raise
        except (DicomnetError, OSError):
            raise
        except BaseException:
            # Half a message is on the wire: nothing can follow it.
            self.abort()
            raise

    def _receive_response(self, step: Receive) -> Message:
        deadline = Deadline("message", self.timeouts.message)
        while True:
            for message_id in step.message_ids:
                if self._responses.get(message_id):
                    message = self._responses[message_id].popleft()
                    if not is_pending(message.status):
                        self._awaited.discard(message_id)
                        del self._responses[message_id]
                    return message
            happening = self._next(deadline)
            if isinstance(happening, Message) and happening.type.is_response:
                if happening.message_id in step.message_ids:
                    self._responses.setdefault(happening.message_id, deque()).append(happening)
                    continue
            elif isinstance(happening, Message):
                deadline = Deadline("message", self.timeouts.message)
            self._take(happening)
            self._check_open()

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

    def _next_or_idle(self) -> Happening | None:
        # A requestor's own threads must not wait for a worker that lingers.
        deadline = Deadline("idle", 0 if self.connection.machine.is_requestor else _LINGER)
        while not self._inbox:
            if deadline.stage == "idle" and not self.connection.is_between_messages:
                deadline = Deadline("message", self.timeouts.message)
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
            elif happening.message_id in self._awaited:
                self._responses.setdefault(happening.message_id, deque()).append(happening)
            else:
                _log.warning("ignored a %s that answers no request", happening.type.name)
        elif isinstance(happening, ReleaseRQ):
            self.connection.answer_release(monotonic())
            self._flush_quietly()
            self._end(Phase.RELEASED)
        elif self.phase is Phase.NEW:
            self._take_acse(happening)
        else:
            self._take_end(happening)

    def _take_request(self, message: Message) -> None:
        if message.type.name == "C-CANCEL-RQ":
            # Nothing is being performed now, so what it cancels is over (PS3.7 section 9.3.2.3).
            return
        agreement = self.connection.agreement
        assert agreement is not None
        message_id = message.message_id
        self._performing.add(message_id)
        try:
            self._finish(provide(message, agreement.contexts[message.context_id]))
        finally:
            self._performing.discard(message_id)
            self._cancelled.discard(message_id)

    def _take_acse(self, happening: Happening) -> None:
        if isinstance(happening, AssociateRQ):
            self._answer(happening)
        elif isinstance(happening, AssociateAC):
            self.phase = Phase.ESTABLISHED
            self.hooks.phase_changed(self.phase)
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
        now = monotonic()
        if isinstance(answer, AssociateRJ):
            self.connection.reject(answer, now)
            self._flush_quietly()
            self._end(Phase.REJECTED)
            return
        try:
            self.connection.accept(*answer, now)
        except ProtocolError as error:
            self.abort(Abort(2, error.reason))
            return
        self.phase = Phase.ESTABLISHED
        self.hooks.phase_changed(self.phase)
        self._flush(Deadline("association", self.timeouts.association))

    def _take_end(self, happening: Happening) -> None:
        if isinstance(happening, Abort):
            self._end(Phase.ABORTED, AssociationAborted(happening.source, happening.reason))
        elif isinstance(happening, ProviderAbort):
            cause = str(happening.error) if happening.error else ""
            self._flush_quietly()
            self._end(Phase.ABORTED, AssociationAborted(None if not cause else 2, 0, cause))

    def _check_open(self) -> None:
        if self.phase is not Phase.ESTABLISHED:
            raise self.failure or AssociationClosed()

    # -- idle

    @contextmanager
    def exchange(self, deadline: Deadline | None = None) -> Iterator[None]:
        """Hold the socket: out of the watcher's hands, with a buffer."""
        wait_for = (deadline or Deadline("message", self.timeouts.message)).remaining()
        if not self.lock.acquire(timeout=-1 if wait_for is None else wait_for):
            raise DeadlineExceeded("message", self.timeouts.message)
        self._depth += 1
        try:
            if self._depth == 1:
                self._wake()
            yield
        except DeadlineExceeded as error:
            self.abort(failure=error)
            raise
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._rest()
            self.lock.release()

    def _wake(self) -> None:
        if self._watch is not None:
            self._watcher.forget(self._watch)
            self._watch = None
        if self._buffer is None:
            self._buffer = borrow_buffer()

    def _rest(self) -> None:
        if self._buffer is not None:
            return_buffer(self._buffer)
            self._buffer = None
        if self.phase is not Phase.ESTABLISHED or self._is_closed or self._watcher.is_closed:
            return
        if self._iterations:
            # The user comes back for the responses, which wait in the network until then.
            return
        if self._inbox:
            self._workers.submit(self.attend)
            return
        idle = self.timeouts.idle
        deadline = None if idle is None else monotonic() + idle
        self._watch = self._watcher.watch(self._sock, self._on_ready, self._on_idle, deadline)

    def _on_ready(self) -> None:
        self._workers.submit(self.attend)

    def _on_idle(self) -> None:
        self._workers.submit(self._expire)

    def _expire(self) -> None:
        if self.phase is Phase.ESTABLISHED:
            self.abort(failure=DeadlineExceeded("idle", self.timeouts.idle))

    def _on_greeting(self) -> None:
        """The watcher's thread: read what is there of the handshake and the request, without ever waiting."""
        with self.lock:
            self._wake()
            try:
                if self._try_handshake():
                    self._receive(None)
            except DicomnetError as error:
                _log.info("a connection ended before its association: %s", error)
                self._end(Phase.ABORTED, error)
            if self._buffer is not None:
                return_buffer(self._buffer)
                self._buffer = None
            if self._inbox and isinstance(self._inbox[0], AssociateRQ):
                self._workers.submit(self.attend)
            elif self._inbox:
                self._take_end(self._inbox.popleft())
            elif not self._is_closed and self.phase is Phase.NEW:
                self._watch = self._watcher.watch(
                    self._sock, self._on_greeting, self._on_silence, self.connection.artim_deadline
                )

    def _on_silence(self) -> None:
        with self.lock:
            self._watch = None
            self.connection.expire(monotonic())
            self._end(Phase.ABORTED, DeadlineExceeded("association", self.timeouts.association))
            self._close()

    # -- the socket

    def _next(self, deadline: Deadline) -> Happening:
        while not self._inbox:
            self._receive(deadline)
        return self._inbox.popleft()

    def _receive(self, deadline: Deadline | None) -> None:
        """Read once; without a deadline only what is already there."""
        if self._is_closed:
            raise self.failure or AssociationClosed()
        if self._buffer is None:
            self._buffer = borrow_buffer()
        while True:
            try:
                count = self._sock.recv_into(self._buffer)
            except (BlockingIOError, ssl.SSLWantReadError):
                if deadline is None:
                    return
                wait(self._sock, read=True, write=False, deadline=deadline)
                continue
            except ssl.SSLWantWriteError:
                wait(self._sock, read=False, write=True, deadline=deadline or Deadline("message", 1))
                continue
            except OSError as error:
                if not is_gone(error):
                    raise
                count = 0
            break
        now = monotonic()
        if not count:
            closed = self.connection.transport_closed(now)
            self._inbox.append(closed or ProviderAbort(None))
            self._close()
            return
        if not self._is_tls:
            quick_ack(self._sock)
        if deadline is not None:
            deadline.moved(count)
        self._inbox.extend(self.connection.receive(memoryview(self._buffer)[:count], now))
        if self.connection.outgoing or self.connection.must_close:
            self._flush_quietly()

    def _flush(self, deadline: Deadline) -> None:
        buffers = self.connection.take_outgoing()
        if buffers:
            self._write(buffers, deadline)
        if self.connection.must_close:
            self._close()

    def _flush_quietly(self) -> None:
        """Write the machine's last words to a peer that may not want to hear them any more."""
        try:
            self._flush(Deadline("release", 1.0))
        except (DicomnetError, OSError) as error:
            _log.debug("the peer was not told: %s", error)

    def _write(self, buffers: list[Buffer], deadline: Deadline, *, may_read: bool = True) -> None:
        if self._is_closed:
            raise self.failure or AssociationClosed()
        if self.connection.observer is not None:
            self.connection.sent(buffers)
        try:
            if self._is_tls:
                self._write_tls(b"".join(buffers), deadline, may_read)
            else:
                self._write_plain(buffers, deadline, may_read)
        except OSError as error:
            if isinstance(error, DicomnetError) or not is_gone(error):
                raise
            raise self._lost() from error

    def _write_plain(self, buffers: list[Buffer], deadline: Deadline, may_read: bool) -> None:
        at = 0
        while at < len(buffers):
            try:
                sent = self._sock.sendmsg(buffers[at : at + IOV_LIMIT])
            except BlockingIOError:
                self._wait_to_write(deadline, may_read)
                continue
            deadline.moved(sent)
            while at < len(buffers) and sent >= len(buffers[at]):
                sent -= len(buffers[at])
                at += 1
            if sent:
                buffers[at] = memoryview(buffers[at])[sent:]

    def _write_tls(self, data: bytes, deadline: Deadline, may_read: bool) -> None:
        view = memoryview(data)
        while view:
            try:
                sent = self._sock.send(view)
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                self._wait_to_write(deadline, may_read)
                continue
            deadline.moved(sent)
            view = view[sent:]

    def _wait_to_write(self, deadline: Deadline, may_read: bool) -> None:
        # A peer that aborts while we write is heard at once, and one that waits for us to read is not kept waiting.
        wants_reading = may_read and len(self._inbox) < _INBOX_LIMIT
        readable, _ = wait(self._sock, read=wants_reading, write=True, deadline=deadline)
        if readable:
            self._receive(None)
            if self._is_closed or any(isinstance(h, Abort | ProviderAbort) for h in self._inbox):
                raise self._lost()

    def _lost(self) -> DicomnetError:
        """The connection broke while we wrote: find out what the peer said before."""
        if not self._is_closed:
            try:
                self._receive(None)
            except OSError as error:
                _log.debug("nothing more could be read: %s", error)
        for happening in self._inbox:
            if isinstance(happening, Abort | ProviderAbort):
                self._take_end(happening)
        self._inbox.clear()
        if self.phase is not Phase.ABORTED:
            self._end(Phase.ABORTED, AssociationAborted(None))
            self._close()
        return self.failure or AssociationAborted(None)

    def _handshake(self, deadline: Deadline) -> None:
        while not self._try_handshake():
            wait(self._sock, read=True, write=self._wants_write, deadline=deadline)

    def _try_handshake(self) -> bool:
        self._wants_write = False
        if self._handshaken:
            return True
        assert isinstance(self._sock, ssl.SSLSocket)
        try:
            self._sock.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLWantWriteError:
            self._wants_write = True
            return False
        except OSError as error:
            failure = tls_error(error)
            self._end(Phase.ABORTED, failure)
            self._close()
            raise failure from error
        self._handshaken = True
        return True

    # -- the end

    def _end(self, phase: Phase, failure: DicomnetError | None = None) -> None:
        if self.phase in (Phase.NEW, Phase.ESTABLISHED):
            self.phase = phase
            self.failure = failure
            self.hooks.phase_changed(phase)
        if not self._is_closed:
            self._await_close()

    def _await_close(self) -> None:
        """Let the peer read our last words and close (PS3.8 section 9.2, Sta13), without a thread."""
        if self.connection.must_close or self._watcher.is_closed:
            self._close()
            return
        if self._watch is not None:
            self._watcher.forget(self._watch)
        deadline = self.connection.artim_deadline or monotonic() + 1.0
        self._watch = self._watcher.watch(self._sock, self._on_last_bytes, self._on_last_deadline, deadline)

    def _on_last_bytes(self) -> None:
        with self.lock:
            self._watch = None
            if self._is_closed:
                return
            try:
                while self._sock.recv(65536):
                    pass
            except (BlockingIOError, ssl.SSLWantReadError):
                self._await_close()
                return
            except OSError as error:
                _log.debug("the connection ended: %s", error)
            self._close()

    def _on_last_deadline(self) -> None:
        with self.lock:
            self._watch = None
            self._close()

    def _shutdown(self) -> None:
        try:
            self._sock.shutdown(SHUT_RDWR)
        except OSError as error:
            _log.debug("the connection was already closed: %s", error)

    def close(self) -> None:
        """Close the socket, whatever the state; nothing is sent."""
        with self.lock:
            self._close()

    def _close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if self._watch is not None:
            self._watcher.forget(self._watch)
            self._watch = None
        self.connection.transport_closed(monotonic())
        self._sock.close()
        self.hooks.closed()
        if self._on_closed is not None:
            self._on_closed(self)

    def forget_iteration(self, iteration: Iteration) -> None:
        """The iteration has read its last response."""
        if iteration in self._iterations:
            self._iterations.remove(iteration)

    def _drain_iterations(self) -> None:
        """Read the responses of unfinished iterations, so that a nested request gets its own."""
        for iteration in list(self._iterations):
            iteration.drain()

    @property
    def agreement(self) -> Agreement:
        """What was negotiated; raises AssociationClosed before that."""
        if self.connection.agreement is None:
            raise AssociationClosed
        return self.connection.agreement


def open_link(
    address: Address,
    request: AssociateRQ,
    hooks: Hooks,
    timeouts: Timeouts,
    *,
    tls: tuple[ssl.SSLContext, str | None] | None = None,
    bind_address: tuple[str, int] | None = None,
    observer: Observer | None = None,
) -> Link:
    """Connect to a peer; `Link.request` then asks for the association.

    Parameters
    ----------
    address
        Where the peer listens.
    request
        What will be asked for; its maximum length is ours.
    tls
        A client's TLS context, and the host name that the peer's certificate must have.
    bind_address
        The local host and port to connect from.

    Raises
    ------
    ConnectionFailed, DeadlineExceeded
        If the peer cannot be reached.
    """
    sock = connect(address, Deadline("connect", timeouts.connect), bind_address=bind_address)
    try:
        if tls is not None:
            sock = wrap_tls(sock, tls[0], server_side=False, server_hostname=tls[1])
    except OSError:
        sock.close()
        raise
    maximum = first_of(request.user_items, MaximumLength)
    connection = Connection(
        is_requestor=True,
        maximum_length=maximum.maximum_length if maximum else 0,
        open_sink=hooks.open_sink,
        artim=timeouts.association,
        observer=observer,
    )
    return Link(sock, connection, hooks, timeouts, *process_watcher())


class Run(Generic[Value]):
    """A procedure while a link performs it."""

    value: Value

    def __init__(self, link: Link, procedure: Procedure[Value]) -> None:
        self._link = link
        self._procedure = procedure
        self._outcome: object = None
        self._error: DicomnetError | None = None
        self.is_over = False

    def advance(self, *, once: bool = False) -> Message | None:
        """Go on to the next response that is delivered, or to the end, which is None.

        Parameters
        ----------
        once
            Take one step only.
        """
        while True:
            try:
                if self._error is None:
                    step = self._procedure.send(self._outcome)
                else:
                    step = self._procedure.throw(self._error)
            except StopIteration as stop:
                self.is_over = True
                self.value = stop.value
                return None
            self._outcome = self._error = None
            if isinstance(step, Deliver):
                return step.message
            try:
                self._outcome = self._link.perform(step)
            except (ServiceRefusal, AssociationError, NetworkError, UnusableObject) as error:
                self._error = error
            if once:
                return None


class Iteration:
    """An operation with many responses whose user takes them one at a time."""

    def __init__(self, link: Link, procedure: Procedure[None], cancel: Message | None) -> None:
        self._link = link
        self._run = Run(link, procedure)
        self._cancel = cancel
        self._ready: deque[Message] = deque()
        self._failure: DicomnetError | None = None
        self._is_abandoned = False

    def begin(self) -> None:
        """Send the request."""
        self._advance(once=True)

    def messages(self) -> Iterator[Message]:
        """The responses, as they arrive.

        Raises
        ------
        AssociationError, NetworkError
            If the association ends before the last of them.
        """
        try:
            while True:
                if not self._ready and not self._run.is_over:
                    with self._link.exchange():
                        if not self._ready:
                            self._advance()
                if self._ready:
                    yield self._ready.popleft()
                elif self._failure is not None:
                    raise self._failure
                elif self._run.is_over:
                    return
        finally:
            self._is_abandoned = True

    def drain(self) -> None:
        """Read to the end, for those who will take the responses later, or for nobody."""
        if self._is_abandoned and self._cancel is not None and not self._run.is_over:
            self._link.perform(Send(self._cancel))
        while not self._run.is_over:
            self._advance()
            if self._is_abandoned:
                self._ready.clear()

    def _advance(self, *, once: bool = False) -> None:
        try:
            message = self._run.advance(once=once)
        except DicomnetError as error:
            self._failure = error
            self._run.is_over = True
            message = None
        if message is not None:
            self._ready.append(message)
        if self._run.is_over:
            self._link.forget_iteration(self)
