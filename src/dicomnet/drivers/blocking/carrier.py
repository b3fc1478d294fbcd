"""The transport connection of one association in the blocking driver: what is read and written, how it is watched
before and after the association, and how it ends. The locks are described in `link`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

from ...dimse.datasets import discard
from ...dimse.messages import Message
from ...errors import (
    AssociationAborted,
    DeadlineExceeded,
    DicomnetError,
    TLSFailed,
)
from ...upper_layer.table import State
from ...values import Buffer
from ...wire.pdu import Abort, AssociateRQ
from ..connection import Connection, Happening, ProviderAbort
from ..deadline import LAST_WORDS, Deadline, Timeouts
from ..hooks import Hooks, Phase
from ..links import LinkBase
from ..transport import unacknowledged
from .channel import Channel
from .idle import Idle
from .watcher import Watcher, WatcherClosed, WorkerPool
from .writer import Writer

_log = logging.getLogger(__name__)

# How long an abort waits for its turn, in seconds, before it ends the connection under the thread that uses it.
_PATIENCE = 0.2


class Carrier(LinkBase):
    """An association as far as it is carried by a socket; the base of `Link`, which adds turns and procedures.

    Parameters as of `Link`.
    """

    def __init__(
        self,
        channel: Channel,
        connection: Connection,
        hooks: Hooks,
        timeouts: Timeouts,
        watcher: Watcher,
        workers: WorkerPool,
        on_closed: Callable[[Any], None] | None = None,
    ) -> None:
        super().__init__(connection, hooks, timeouts, on_closed)
        self.lock = threading.RLock()
        self._channel = channel
        self._phase_lock = threading.Lock()
        self._writer = Writer(channel, connection)
        self._idle = Idle(channel, watcher, workers, self.attend, self._expire)
        # How many exchanges of the thread that has the lock are nested.
        self._depth = 0
        self._is_receiving = False
        self._inbox = self.talk.inbox
        self._is_closed = False
        # The peer's address, until the acceptor has notified of the connection.
        self._greeted: tuple[str, int] | None = None

    def attend(self) -> None:
        """Serve what arrives until the link is idle, in a worker's thread."""
        raise NotImplementedError

    def _expire(self) -> None:
        """The association has been idle for too long."""
        raise NotImplementedError

    def greet(self, address: tuple[str, int] = ("", 0)) -> None:
        """Wait for a request, as the acceptor, without a thread. Then a worker takes over.

        Parameters
        ----------
        address
            The peer's host and port.
        """
        self._call(partial(self._open, address))

    def abort(self, pdu: Abort | None = None, failure: DicomnetError | None = None) -> None:
        """End the association at once. From another thread, it also ends what this one is waiting for."""
        if not self.lock.acquire(timeout=_PATIENCE):
            self._abort_beside(pdu or Abort(0), failure)
            return
        try:
            if self.is_live:
                self._idle.end()
                self.connection.abort(monotonic(), pdu)
                self._flush_quietly()
                self._end(Phase.ABORTED, failure)
                if self._depth == 0:
                    self._conclude()
        finally:
            self.lock.release()

    def close(self) -> None:
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

    def unacknowledged(self) -> int:
        return unacknowledged(self._channel.sock)

    def _watch_with(self, watch: Callable[[float | None], None], deadline: float | None) -> None:
        try:
            watch(deadline)
        except WatcherClosed:
            self._change_phase(Phase.ABORTED)
            self._close()

    def _conclude(self) -> None:
        """The association is over, in whatever way its thread noticed that."""
        if self.phase is Phase.NEW and not self._is_closed:
            self.abort()
        if self.is_live:
            self._lost()
        if not self._is_closed and self._idle.watch is None:
            self._close()
        self._drop_inbox()
        self._buffer.give_back()

    def _drop_inbox(self) -> None:
        while self._inbox:
            happening = self._inbox.popleft()
            if isinstance(happening, Message) and happening.type.is_response:
                # What was answered before the end counts.
                self.talk.keep_response(happening)
            elif isinstance(happening, Message):
                discard(happening.data)

    def _call(self, call: Callable[[], None]) -> None:
        """Do in the watcher's thread, which all connections share, what cannot block, and the rest in a worker's."""
        observer = self.connection.observer
        has_handlers = observer is not None and bool(observer.names)
        if has_handlers or not self.lock.acquire(blocking=False):
            self._idle.hand_over(partial(self._call_locked, call))
            return
        try:
            call()
        finally:
            self.lock.release()

    def _call_locked(self, call: Callable[[], None]) -> None:
        with self.lock:
            call()

    def _open(self, address: tuple[str, int]) -> None:
        self.connection.trace.opened(address)
        self.connection.transport_opened(monotonic())
        self._greeted = address
        if self._channel.is_ready:
            self._notify_opened()
        if not self._is_closed:
            self._watch_greeting()

    def _notify_opened(self) -> None:
        """The connection can be used, under TLS after the handshake."""
        address, self._greeted = self._greeted, None
        observer = self.connection.observer
        if address is not None and observer is not None and "EVT_CONN_OPEN" in observer.names:
            observer.notify("EVT_CONN_OPEN", address=address)

    def _watch_greeting(self) -> None:
        self._watch_with(
            partial(
                self._idle.begin_with,
                partial(self._call, self._greeting),
                partial(self._call, self._greeting_expired),
            ),
            self.connection.artim_deadline,
        )

    def _greeting(self) -> None:
        """Read what is there of the handshake and the request, without ever waiting."""
        self._idle.watch = None
        if self._is_closed or self.phase is not Phase.NEW:
            return
        try:
            if self._try_handshake():
                self._notify_opened()
                if not self._is_closed:
                    self._receive(None)
        except DicomnetError as error:
            self.connection.trace.say(logging.INFO, "it ended before its association: %s", error)
        finally:
            self._buffer.give_back()
        if self._inbox and isinstance(self._inbox[0], AssociateRQ):
            self._idle.hand_over(self.attend)
        elif (end := self.talk.end()) is not None:
            self._inbox.clear()
            self._perform_tell(self.take_end(end))
        elif self.connection.machine.state is State.STA13:
            self._end_unserved()
        elif self.phase is Phase.NEW:
            self._watch_greeting()

    def _greeting_expired(self) -> None:
        if self.phase is Phase.NEW and not self._is_closed:
            self.connection.expire(monotonic())
            self._change_phase(Phase.ABORTED, DeadlineExceeded("association", self.timeouts.association))
            self._close()

    def _await_close(self) -> None:
        """Let the peer read our last words and close (PS3.8 section 9.2, Sta13), without a thread."""
        self._idle.end()
        if self.connection.must_close:
            self._close()
            return
        self._watch_with(
            partial(
                self._idle.begin_with,
                partial(self._call, self._last_bytes),
                partial(self._call, self._close),
            ),
            self.connection.artim_deadline or monotonic() + LAST_WORDS,
        )

    def _last_bytes(self) -> None:
        self._idle.watch = None
        if self._is_closed:
            return
        waste = bytearray(65536)
        while self._unread > 0 and not self.connection.must_close:
            count = self._channel.receive_into(waste)
            if count is None:
                self._await_close()
                return
            self._unread -= count or self._unread
            for happening in self.connection.receive(memoryview(waste)[:count], monotonic()):
                # An A-ABORT ends the wait, as the state machine says; the rest is for nobody.
                _log.debug("behind the end of the association came %s", type(happening).__name__)
        self._close()

    def _try_handshake(self) -> bool:
        was_ready = self._channel.is_ready
        try:
            is_done = self._channel.try_handshake()
        except TLSFailed as failure:
            self._end(Phase.ABORTED, failure)
            self._close()
            raise
        if is_done and not was_ready:
            self.connection.trace.secured(self._channel.tls_version)
        return is_done

    def _next(self, deadline: Deadline) -> Happening:
        while not self._inbox:
            self._receive(deadline)
        return self._inbox.popleft()

    def _receive(self, deadline: Deadline | None, *, leaves_end: bool = False) -> bool:
        """Read once; without a deadline only what is already there. False if there was nothing."""
        if self._is_closed:
            raise self.what_ended()
        if self._is_receiving:
            raise RuntimeError("a handler of what arrives cannot wait for more to arrive")
        data = self._read(deadline)
        if data is None or (leaves_end and not data):
            return False
        now = monotonic()
        if not data:
            self.refusal = self._channel.refusal()
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
        buffer = self._buffer.get()
        if deadline is None:
            count = self._channel.receive_into(buffer)
            return None if count is None else memoryview(buffer)[:count]
        count = self._channel.receive_soon(buffer, deadline)
        while count is None:
            # Many connections may wait like this at once, each in its own thread.
            self._buffer.give_back()
            self._channel.wait_for_more(deadline)
            buffer = self._buffer.get()
            count = self._channel.receive_into(buffer)
        return memoryview(buffer)[:count]

    def _flush(self, deadline: Deadline) -> None:
        buffers = self.connection.take_outgoing()
        if buffers:
            self._write(buffers, deadline)
        if self.connection.must_close:
            self._close()

    def _flush_quietly(self) -> None:
        buffers = self.connection.take_outgoing()
        try:
            if buffers and not self._is_closed and self._channel.is_ready:
                self._writer.write(buffers, Deadline("release", LAST_WORDS), self._writer.wait)
        except OSError as error:
            _log.debug("the last words could not be sent: %s", error)
        if self.connection.must_close:
            self._close()

    def _write(
        self, buffers: list[Buffer], deadline: Deadline | None, *, more: bool = False
    ) -> Deadline | None:
        """Write all of these; the deadline of the message that they belong to, once there was one to wait for."""
        if self._is_closed:
            raise self._lost()
        try:
            if left := self._writer.write_now(buffers, more=more):
                deadline = deadline or self.message_deadline()
                self._writer.write_on(left, deadline, self._wait_to_write, more=more)
            return deadline
        except DicomnetError:
            raise
        except OSError as error:
            raise self._lost() from error

    def _wait_to_write(self, deadline: Deadline) -> None:
        # A peer that aborts while we write is heard at once, and one that waits for us to read is not kept waiting.
        wants_reading = not self._is_receiving and not self.talk.is_full
        if self._channel.wait(deadline, read=wants_reading, write=True):
            self._receive(None)
            if self._is_closed or self.talk.end() is not None:
                raise self._lost()

    def _hear_the_rest(self) -> None:
        if not (self._is_closed or self._is_receiving):
            self._receive(None)

    def _give_up(self) -> None:
        self._drop_inbox()
        self._change_phase(Phase.ABORTED, AssociationAborted(None))
        if self._idle.watch is None:
            self._close()

    def _change_phase(self, phase: Phase, failure: DicomnetError | None = None) -> None:
        with self._phase_lock:
            if not self.enter(phase, failure):
                return
        self.announce(phase, failure)
        self._say_goodbye()

    def _end(self, phase: Phase, failure: DicomnetError | None = None) -> None:
        self._change_phase(phase, failure)
        if not self._is_closed:
            self._await_close()

    def _abort_beside(self, pdu: Abort, failure: DicomnetError | None) -> None:
        """Abort while another thread is in the middle of something that may take long, such as a handler."""
        if self.is_live:
            self._writer.write_beside(self.connection.abort_beside(pdu))
            # The other thread takes the end of the connection for the peer's doing, unless the phase is known by then.
            self._change_phase(Phase.ABORTED, failure)
            self._channel.shutdown()

    def _close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._idle.end()
        self.connection.transport_closed(monotonic())
        self._channel.close()
        self._say_goodbye()

    def _say_goodbye(self) -> None:
        with self._phase_lock:
            if self._is_over or not self._is_closed or self.is_live:
                return
            self._is_over = True
        self._closed()

    @property
    def channel(self) -> Channel:
        """The transport connection; reading and writing it is the link's own business."""
        return self._channel

    @property
    def local_address(self) -> tuple[str, int]:
        """The IP address and port of our end of the connection."""
        name: tuple[str, int] = self._channel.sock.getsockname()[:2]
        return name
