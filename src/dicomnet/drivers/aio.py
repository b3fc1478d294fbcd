"""The asyncio driver: the same names as the blocking one, with await."""

from __future__ import annotations

import asyncio
import inspect
import logging
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, Generic, TypeVar

from ..dimse.messages import Message
from ..errors import (
    AssociationAborted,
    AssociationClosed,
    AssociationError,
    AssociationRejected,
    ConnectionFailed,
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
    listen,
    quick_ack,
    return_buffer,
    tls_error,
    tune,
)

_log = logging.getLogger(__name__)

Value = TypeVar("Value")

# How many happenings may wait before the peer has to wait too.
_INBOX_LIMIT = 64
# How long peers may take to close after an A-ABORT at shutdown, in seconds.
_LAST_WORDS = 1.0
_ACCEPT_PAUSE = 0.1


class Link(asyncio.BufferedProtocol):
    """One association over one transport, used from one event loop.

    Parameters
    ----------
    connection
        The protocol side.
    hooks
        The user's side; what `handle`, `negotiate` and `next_answer` return may be awaitable.
    timeouts
        One deadline a stage.
    on_closed
        Called once, when the transport is closed.
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
        self.closed = asyncio.Event()
        self._sock = sock
        self._is_tls = False
        self._transport: asyncio.Transport | None = None
        self._on_closed = on_closed
        self._buffer: bytearray | None = None
        self._inbox: deque[Happening] = deque()
        self._arrived: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._deadline: Deadline | None = None
        self._is_paused = False
        self._lock = asyncio.Lock()
        self._owner: asyncio.Task[Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._responses: dict[int, deque[Message]] = {}
        self._awaited: set[int] = set()
        self._cancelled: set[int] = set()
        self._iterations: list[Iteration] = []
        self._last_message_id = 0

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._is_tls = transport.get_extra_info("ssl_object") is not None
        # Each batch is written out before the next is made, so nothing piles up.
        transport.set_write_buffer_limits(0)

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._buffer is None:
            self._buffer = borrow_buffer()
        return memoryview(self._buffer)

    def buffer_updated(self, count: int) -> None:
        assert self._buffer is not None
        if not self._is_tls:
            quick_ack(self._sock)
        if self._deadline is not None:
            self._deadline.moved(count)
        data = memoryview(self._buffer)[:count]
        self._inbox.extend(self.connection.receive(data, monotonic()))
        data.release()
        if self.connection.is_between_messages and self._buffer is not None:
            return_buffer(self._buffer)
            self._buffer = None
        self._write_outgoing()
        if len(self._inbox) >= _INBOX_LIMIT and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        closed = self.connection.transport_closed(monotonic())
        if closed is not None:
            self._inbox.append(closed)
        elif self.phase in (Phase.NEW, Phase.ESTABLISHED):
            self._inbox.append(ProviderAbort(None))
        if self._buffer is not None:
            return_buffer(self._buffer)
            self._buffer = None
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._stop_idle()
        self.closed.set()
        self.hooks.closed()
        if self._on_closed is not None:
            self._on_closed(self)
        self._wake()

    def pause_writing(self) -> None:
        self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    def _wake(self) -> None:
        """Tell whoever waits; if nobody does, serve what arrived."""
        if self._arrived is not None:
            if not self._arrived.done():
                self._arrived.set_result(None)
        elif self._owner is None and self._inbox and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self.attend())

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

    def greet(self) -> None:
        """Wait for a request, as the acceptor."""
        self.connection.transport_opened(monotonic())
        self._task = asyncio.get_running_loop().create_task(self._await_request())

    async def _await_request(self) -> None:
        try:
            async with self.exchange():
                deadline = Deadline("association", self.timeouts.association)
                await self._take_acse(await self._next(deadline))
        except DicomnetError as error:
            _log.info("a connection ended before its association: %s", error)
        if self.phase is Phase.ESTABLISHED:
            await self.attend()

    async def release(self) -> None:
        """Release the association and close the connection.

        Raises
        ------
        AssociationError, NetworkError
            If it ended otherwise.
        """
        deadline = Deadline("release", self.timeouts.association)
        async with self.exchange():
            await self._drain_iterations()
            self.connection.release(monotonic())
            await self._flush(deadline)
            while self.phase is Phase.ESTABLISHED:
                happening = await self._next(deadline)
                if isinstance(happening, ReleaseRP):
                    self._end(Phase.RELEASED)
                elif isinstance(happening, ReleaseRQ):
                    self.connection.answer_release(monotonic())
                    await self._flush(deadline)
                elif not isinstance(happening, Message):
                    self._take_end(happening)
        if self.failure is not None:
            raise self.failure

    def abort(self, pdu: Abort | None = None, failure: DicomnetError | None = None) -> None:
        """End the association at once; what waits for it ends with an error."""
        if self.phase in (Phase.NEW, Phase.ESTABLISHED):
            self.connection.abort(monotonic(), pdu)
            self._write_outgoing()
            self._end(Phase.ABORTED, failure or AssociationClosed())
            self._inbox.append(ProviderAbort(None))
            self._wake()

    def close(self) -> None:
        """Close the transport, whatever the state; nothing more is sent."""
        if self._transport is not None:
            self._transport.abort()

    # -- running procedures

    def next_message_id(self) -> int:
        """A message ID that no outstanding request of ours has."""
        while True:
            self._last_message_id = self._last_message_id % 65535 + 1
            if self._last_message_id not in self._awaited:
                return self._last_message_id

    async def run(self, procedure: Procedure[Value]) -> Value:
        """Run a procedure to its end."""
        async with self.exchange():
            await self._drain_iterations()
            return await self._finish(procedure)

    async def iterate(
        self, procedure: Procedure[None], cancel: Message | None = None
    ) -> AsyncIterator[Message]:
        """Begin a procedure at once, and hand out what it delivers as it arrives.

        Left early, the rest is read away before the next use of the association.

        Parameters
        ----------
        cancel
            The C-CANCEL-RQ to send first in that case.
        """
        iteration = Iteration(self, procedure, cancel)
        async with self.exchange():
            await self._drain_iterations()
            self._iterations.append(iteration)
            await iteration.begin()
        return iteration.messages()

    async def interject(self, message: Message) -> None:
        """Send a message that has no response, between those of whatever else goes on."""
        await self._send(message)

    async def _finish(self, procedure: Procedure[Value]) -> Value:
        run = Run(self, procedure)
        if await run.advance() is not None:
            raise TypeError("this procedure delivers responses and has to be iterated")
        return run.value

    async def perform(self, step: Step) -> object:
        """Do what a procedure asks for; `Run` calls it."""
        if isinstance(step, Send):
            await self._send(step.message)
            return None
        if isinstance(step, Receive):
            return await self._receive_response(step)
        if isinstance(step, Handle):
            return await _settle(self.hooks.handle(step.message, step.context))
        if isinstance(step, Next):
            return await _settle(self.hooks.next_answer(step.answers))
        if isinstance(step, Cancelled):
            # Lets a C-CANCEL in that is waiting in the transport.
            await asyncio.sleep(0)
            return self.is_cancelled(step.message_id)
        raise TypeError(f"{type(step).__name__} is not a step")

    async def _send(self, message: Message) -> None:
        if not message.type.is_response and "MessageID" in message.command:
            self._awaited.add(message.message_id)
        deadline = Deadline("message", self.timeouts.message)
        is_partly_written = False
        try:
            for batch in self.connection.send(message):
                is_partly_written = True
                await self._write(batch, deadline)
        except UnusableObject as error:
            self._awaited.discard(message.message_id)
            if is_partly_written:
                self.abort(failure=AssociationAborted(None, 0, str(error)))
            raise
        except asyncio.CancelledError:
            # Half a message may be on the wire: nothing can follow it.
            self.abort()
            raise

    async def _receive_response(self, step: Receive) -> Message:
        deadline = Deadline("message", self.timeouts.message)
        while True:
            for message_id in step.message_ids:
                if self._responses.get(message_id):
                    message = self._responses[message_id].popleft()
                    if not is_pending(message.status):
                        self._awaited.discard(message_id)
                        del self._responses[message_id]
                    return message
            happening = await self._next(deadline)
            if isinstance(happening, Message) and not happening.type.is_response:
                deadline = Deadline("message", self.timeouts.message)
            await self._take(happening)
            if self.phase is not Phase.ESTABLISHED and not any(map(self._responses.get, step.message_ids)):
                raise self.failure or AssociationClosed()

    def is_cancelled(self, message_id: int) -> bool:
        """Whether the peer has cancelled the request that is being performed."""
        for happening in [h for h in self._inbox if isinstance(h, Message)]:
            if happening.type.name == "C-CANCEL-RQ":
                self._inbox.remove(happening)
                self._cancelled.add(happening.message_id)
        return message_id in self._cancelled

    # -- what arrives

    async def attend(self) -> None:
        """Serve what has arrived."""
        try:
            async with self.exchange():
                while self._inbox and self.phase in (Phase.NEW, Phase.ESTABLISHED):
                    await self._take(self._pop())
        except DicomnetError as error:
            _log.info("the association ended: %s", error)

    def _pop(self) -> Happening:
        happening = self._inbox.popleft()
        if self._is_paused and len(self._inbox) < _INBOX_LIMIT // 2 and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return happening

    async def _take(self, happening: Happening) -> None:
        """Serve a happening that nobody is waiting for."""
        if isinstance(happening, Message):
            if not happening.type.is_response:
                await self._take_request(happening)
            elif happening.message_id in self._awaited:
                self._responses.setdefault(happening.message_id, deque()).append(happening)
            else:
                _log.warning("ignored a %s that answers no request", happening.type.name)
        elif isinstance(happening, ReleaseRQ):
            self.connection.answer_release(monotonic())
            self._write_outgoing()
            self._end(Phase.RELEASED)
        elif self.phase is Phase.NEW:
            await self._take_acse(happening)
        else:
            self._take_end(happening)

    async def _take_request(self, message: Message) -> None:
        if message.type.name == "C-CANCEL-RQ":
            # Nothing is being performed now, so what it cancels is over (PS3.7 section 9.3.2.3).
            return
        try:
            await self._finish(provide(message, self.agreement.contexts[message.context_id]))
        finally:
            self._cancelled.discard(message.message_id)

    async def _take_acse(self, happening: Happening) -> None:
        if isinstance(happening, AssociateRQ):
            await self._answer(happening)
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

    async def _answer(self, request: AssociateRQ) -> None:
        answer = await _settle(self.hooks.negotiate(request))
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
            self.abort(Abort(2, error.reason))
            return
        self.phase = Phase.ESTABLISHED
        self.hooks.phase_changed(self.phase)
        await self._flush(Deadline("association", self.timeouts.association))

    def _take_end(self, happening: Happening) -> None:
        if isinstance(happening, Abort):
            self._end(Phase.ABORTED, AssociationAborted(happening.source, happening.reason))
        elif isinstance(happening, ProviderAbort):
            cause = str(happening.error) if happening.error else ""
            self._end(Phase.ABORTED, AssociationAborted(2 if cause else None, 0, cause))

    # -- taking turns

    @asynccontextmanager
    async def exchange(self) -> AsyncIterator[None]:
        """Have the association to oneself. A nested use by the same task goes ahead."""
        task = asyncio.current_task()
        if self._owner is task:
            yield
            return
        async with self._lock:
            self._owner = task
            self._stop_idle()
            try:
                yield
            except DeadlineExceeded as error:
                self.abort(failure=error)
                raise
            finally:
                self._owner = None
                self._rest()

    def _rest(self) -> None:
        if self.phase is not Phase.ESTABLISHED or self._iterations:
            return
        if self._inbox:
            asyncio.get_running_loop().call_soon(self._wake)
        elif self.timeouts.idle is not None:
            self._idle = asyncio.get_running_loop().call_later(self.timeouts.idle, self._expire)

    def _expire(self) -> None:
        if self.connection.is_between_messages and self._owner is None:
            self.abort(failure=DeadlineExceeded("idle", self.timeouts.idle))

    def _stop_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    # -- the transport

    async def _next(self, deadline: Deadline) -> Happening:
        while not self._inbox:
            if self.closed.is_set():
                raise self.failure or AssociationClosed()
            self._deadline = deadline
            self._arrived = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(deadline.remaining()):
                    await self._arrived
            except TimeoutError:
                # What arrived meanwhile may have earned more time.
                deadline.remaining()
            finally:
                self._arrived = self._deadline = None
        return self._pop()

    async def _flush(self, deadline: Deadline) -> None:
        buffers = self.connection.take_outgoing()
        if buffers:
            await self._write(buffers, deadline)
        if self.connection.must_close and self._transport is not None:
            self._transport.close()

    def _write_outgoing(self) -> None:
        """Hand the machine's few bytes to the transport, without waiting."""
        buffers = self.connection.take_outgoing()
        if self._transport is None or self._transport.is_closing():
            return
        if buffers:
            self.connection.sent(buffers)
            self._transport.write(b"".join(buffers))
        if self.connection.must_close:
            self._transport.close()

    async def _write(self, buffers: list[Buffer], deadline: Deadline) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise self.failure or AssociationAborted(None)
        self.connection.sent(buffers)
        if not self._is_tls and not transport.get_write_buffer_size():
            buffers = self._write_some(buffers)
        if buffers:
            deadline.moved(sum(map(len, buffers)))
            transport.write(b"".join(buffers))
            while self._drained is not None:
                try:
                    async with asyncio.timeout(deadline.remaining()):
                        await asyncio.shield(self._drained)
                except TimeoutError:
                    deadline.remaining()
        if self.closed.is_set():
            raise self._lost()

    def _write_some(self, buffers: list[Buffer]) -> list[Buffer]:
        """Write what the kernel takes at once, without a copy; the rest is for the transport."""
        at = 0
        while at < len(buffers):
            try:
                sent = self._sock.sendmsg(buffers[at : at + IOV_LIMIT])
            except OSError:
                # Full, or gone: the transport waits, or finds out.
                break
            while at < len(buffers) and sent >= len(buffers[at]):
                sent -= len(buffers[at])
                at += 1
            if sent:
                buffers[at] = memoryview(buffers[at])[sent:]
        return buffers[at:]

    def _lost(self) -> DicomnetError:
        for happening in self._inbox:
            if isinstance(happening, Abort | ProviderAbort):
                self._take_end(happening)
        return self.failure or AssociationAborted(None)

    # -- the end

    def _end(self, phase: Phase, failure: DicomnetError | None = None) -> None:
        if self.phase in (Phase.NEW, Phase.ESTABLISHED):
            self.phase = phase
            self.failure = failure
            self.hooks.phase_changed(phase)
        self._stop_idle()
        if self._transport is None or self._transport.is_closing():
            return
        if self.connection.must_close:
            self._transport.close()
            return
        # The peer closes after our last words (PS3.8 section 9.2, Sta13), or we do when ARTIM expires.
        last = self.connection.artim_deadline
        delay = 1.0 if last is None else max(0.0, last - monotonic())
        self._idle = asyncio.get_running_loop().call_later(delay, self._transport.close)

    def forget_iteration(self, iteration: Iteration) -> None:
        """The iteration has read its last response."""
        if iteration in self._iterations:
            self._iterations.remove(iteration)

    async def _drain_iterations(self) -> None:
        """Read the responses of unfinished iterations, so that a nested request gets its own."""
        for iteration in list(self._iterations):
            await iteration.drain()

    @property
    def agreement(self) -> Agreement:
        """What was negotiated; raises AssociationClosed before that."""
        if self.connection.agreement is None:
            raise AssociationClosed
        return self.connection.agreement


async def _settle(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


async def open_link(
    address: Address,
    request: AssociateRQ,
    hooks: Hooks,
    timeouts: Timeouts,
    *,
    tls: tuple[ssl.SSLContext, str | None] | None = None,
    bind_address: tuple[str, int] | None = None,
    observer: Observer | None = None,
) -> Link:
    """Connect to a peer; `Link.request` then asks for the association. Parameters as in the blocking driver.

    Raises
    ------
    ConnectionFailed, DeadlineExceeded, TLSFailed
        If the peer cannot be reached.
    """
    loop = asyncio.get_running_loop()
    maximum = first_of(request.user_items, MaximumLength)
    connection = Connection(
        is_requestor=True,
        maximum_length=maximum.maximum_length if maximum else 0,
        open_sink=hooks.open_sink,
        artim=timeouts.association,
        observer=observer,
    )
    deadline = Deadline("connect", timeouts.connect)
    sock = await _connect(address, deadline, bind_address)
    try:
        link = Link(sock, connection, hooks, timeouts)
        await loop.create_connection(
            lambda: link,
            sock=sock,
            ssl=tls[0] if tls else None,
            server_hostname=(tls[1] or "") if tls else None,
            ssl_handshake_timeout=timeouts.association if tls else None,
        )
    except (ssl.SSLError, ConnectionError) as error:
        sock.close()
        raise tls_error(error) from error
    except BaseException:
        sock.close()
        raise
    return link


async def _connect(
    address: Address, deadline: Deadline, bind_address: tuple[str, int] | None
) -> socket.socket:
    loop = asyncio.get_running_loop()
    failure: OSError | None = None
    try:
        async with asyncio.timeout(deadline.remaining()):
            found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            for family, kind, protocol, _, target in found:
                sock = socket.socket(family, kind, protocol)
                try:
                    tune(sock)
                    if bind_address is not None:
                        sock.bind(bind_address)
                    await loop.sock_connect(sock, target)
                except OSError as error:
                    sock.close()
                    failure = error
                    continue
                except BaseException:
                    sock.close()
                    raise
                return sock
    except TimeoutError:
        raise DeadlineExceeded(deadline.stage, deadline.seconds) from None
    except (socket.gaierror, UnicodeError):
        raise ConnectionFailed(address.host, address.port, "the host name is not known") from None
    cause = (failure.strerror or str(failure)).lower() if failure else "it has no address"
    raise ConnectionFailed(address.host, address.port, cause) from failure


# Makes the link of an accepted connection: socket, address of the peer, what to call at its end.
OpenLink = Callable[[socket.socket, tuple[str, int], Callable[[Link], None]], Link]


class Server:
    """Listens on one address, in the running event loop.

    Parameters
    ----------
    address
        Host and port; port 0 is any free one.
    open_link
        Makes the link of an accepted connection.
    tls
        The TLS context of a server, or None for plain TCP.
    handshake_seconds
        How long a TLS handshake may take.

    Raises
    ------
    OSError
        If the address cannot be bound.
    """

    def __init__(
        self,
        address: tuple[str, int],
        open_link: OpenLink,
        *,
        tls: ssl.SSLContext | None = None,
        handshake_seconds: float | None = 30.0,
    ) -> None:
        self._open_link = open_link
        self._tls = tls
        self._handshake_seconds = handshake_seconds
        self._listener = listen(address)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._links: set[Link] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    @property
    def links(self) -> list[Link]:
        """The connections of this moment."""
        return list(self._links)

    def start(self) -> None:
        """Begin to accept."""
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    async def shutdown(self, drain: float = 0.0) -> None:
        """Stop accepting, and end the associations.

        Parameters
        ----------
        drain
            How long associations may go on before they are aborted, in seconds.
        """
        if self._accepting is not None:
            self._accepting.cancel()
        for task in self._opening:
            task.cancel()
        self._listener.close()
        await self._wait_for(lambda: all(link.phase is not Phase.ESTABLISHED for link in self._links), drain)
        for link in self.links:
            link.abort()
        await self._wait_for(lambda: not self._links, _LAST_WORDS)
        for link in self.links:
            link.close()
        await self._wait_for(lambda: not self._links, _LAST_WORDS)

    async def _wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            _log.debug("associations are still open after %g s", seconds)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, peer = await loop.sock_accept(self._listener)
            except OSError as error:
                _log.error("a connection could not be accepted: %s", error)
                # No descriptor is free until a connection ends; trying again at once would only spin.
                await asyncio.sleep(_ACCEPT_PAUSE)
                continue
            # A handshake takes its time, and the next connection need not wait for it.
            task = loop.create_task(self._open(sock, peer))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        link = self._open_link(sock, peer[:2], self._forget)
        try:
            tune(sock)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: link,
                sock,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_seconds if self._tls else None,
            )
        except OSError as error:
            _log.info("a connection ended before it was served: %s", error)
            sock.close()
            return
        except BaseException:
            sock.close()
            raise
        self._links.add(link)
        link.greet()

    def _forget(self, link: Link) -> None:
        self._links.discard(link)
        self._changed.set()


class Run(Generic[Value]):
    """A procedure while a link performs it."""

    value: Value

    def __init__(self, link: Link, procedure: Procedure[Value]) -> None:
        self._link = link
        self._procedure = procedure
        self._outcome: object = None
        self._error: DicomnetError | None = None
        self.is_over = False

    async def advance(self, *, once: bool = False) -> Message | None:
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
                self._outcome = await self._link.perform(step)
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

    async def begin(self) -> None:
        """Send the request."""
        await self._advance(once=True)

    async def messages(self) -> AsyncIterator[Message]:
        """The responses, as they arrive.

        Raises
        ------
        AssociationError, NetworkError
            If the association ends before the last of them.
        """
        try:
            while True:
                if not self._ready and not self._run.is_over:
                    async with self._link.exchange():
                        if not self._ready:
                            await self._advance()
                if self._ready:
                    yield self._ready.popleft()
                elif self._failure is not None:
                    raise self._failure
                elif self._run.is_over:
                    return
        finally:
            self._is_abandoned = True

    async def drain(self) -> None:
        """Read to the end, for those who will take the responses later, or for nobody."""
        if self._is_abandoned and self._cancel is not None and not self._run.is_over:
            await self._link.perform(Send(self._cancel))
        while not self._run.is_over:
            await self._advance()
            if self._is_abandoned:
                self._ready.clear()

    async def _advance(self, *, once: bool = False) -> None:
        try:
            message = await self._run.advance(once=once)
        except DicomnetError as error:
            self._failure = error
            self._run.is_over = True
            message = None
        if message is not None:
            self._ready.append(message)
        if self._run.is_over:
            self._link.forget_iteration(self)
