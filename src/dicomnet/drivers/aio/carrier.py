"""The transport connection of one association in asyncio: what is read and written, the deadlines while nobody waits,
and how it ends."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from ...errors import (
    AssociationAborted,
    DeadlineExceeded,
    DicomnetError,
)
from ...values import Buffer
from ...wire.pdu import Abort
from ..connection import Connection, Happening
from ..deadline import LAST_WORDS, Deadline, Timeouts
from ..hooks import Hooks, Phase
from ..links import LinkBase
from ..tls import refused_later
from ..transport import quick_ack, unacknowledged
from .alarm import Alarm
from .outlet import Outlet

_log = logging.getLogger(__name__)

# How many bytes may come with what waits in the inbox, before the peer has to wait too.
_INBOX_BYTES = 4 << 20
# How often what the peer said before it went is read.
_LAST_READS = 16


class Carrier(LinkBase, asyncio.BufferedProtocol):
    """An association as far as it is carried by a transport; the base of `Link`, which adds turns and procedures.

    Parameters as of `Link`.
    """

    def __init__(
        self,
        sock: socket.socket,
        connection: Connection,
        hooks: Hooks,
        timeouts: Timeouts,
        on_closed: Callable[[Any], None] | None = None,
    ) -> None:
        super().__init__(connection, hooks, timeouts, on_closed)
        self.closed = asyncio.Event()
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._is_tls = False
        self._transport: asyncio.Transport | None = None
        self._arrived: asyncio.Future[None] | None = None
        self._waiting = Alarm(self._waited_too_long)
        self._silence = Alarm(self._was_silent)
        self._unserved = 0
        self._received = 0
        self._is_paused = False
        self._outlet = Outlet(sock, connection.sent, self._must_stop_writing)
        # The task that uses the association, and the one that serves what nobody waits for.
        self._owner: asyncio.Task[Any] | None = None
        self._task: asyncio.Task[None] | None = None

    def _wake(self) -> None:
        """Tell whoever waits; if nobody does, serve what arrived."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._is_tls = transport.get_extra_info("ssl_object") is not None
        self._outlet.open(transport, self._is_tls)
        if self._is_tls:
            self.connection.trace.secured(transport.get_extra_info("ssl_object").version() or "")
        if not self.connection.machine.is_requestor:
            self.connection.transport_opened(monotonic())
            self._silence.set(self._artim("association"))

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._buffer.get())

    def buffer_updated(self, count: int) -> None:
        if not self.is_live:
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
        self._received += count
        try:
            for happening in self.connection.receive(memoryview(self._buffer.get())[:count], monotonic()):
                self.talk.arrived(happening)
        except Exception as error:  # noqa: BLE001
            # A sink failed, and what it was given is lost: the stream makes no sense any more.
            _log.exception("a data set could not be taken")
            self.abort(failure=AssociationAborted(None, 0, str(error)))
        if self.connection.is_between_messages:
            self._buffer.give_back()
        self._flush_quietly()
        if self.connection.must_close:
            self._close_soon()
        if self.talk.inbox:
            self._pause_when_full()
        else:
            self._unserved = 0
        if self._is_turned_away and not self.talk.inbox:
            self._end_unserved()
        self._watch()
        self._wake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None and not self._is_tls:
            self._read_the_rest()
        if self._is_tls:
            is_answered = not self.connection.is_requestor or self.phase is not Phase.NEW
            self.refusal = refused_later(error, is_answered=is_answered)
        end = self.connection.transport_closed(monotonic())
        if end is not None:
            self.talk.arrived(end)
        self._buffer.give_back()
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

    def abort(self, pdu: Abort | None = None, failure: DicomnetError | None = None) -> None:
        if self.is_live:
            self.connection.abort(monotonic(), pdu)
            self._flush_quietly()
            self._end(Phase.ABORTED, failure)
            self._wake()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def unacknowledged(self) -> int:
        waiting = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return waiting + unacknowledged(self._sock)

    def _watch(self) -> None:
        """Set the deadline of what goes on now."""
        if self.phase is not Phase.ESTABLISHED or self.closed.is_set():
            return
        if not (self.connection.is_between_messages or self._is_paused):
            stage = self._silence.deadline and self._silence.deadline.stage
            if stage != "message":
                self._silence.set(Deadline("message", self.timeouts.message))
        elif self._owner is None and not self.iterations:
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

    def _waited_too_long(self, deadline: Deadline) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_exception(DeadlineExceeded(deadline.stage, deadline.seconds))

    async def _next(self, deadline: Deadline) -> Happening:
        while not self.talk.inbox:
            if self.closed.is_set():
                raise self._lost()
            if not self.is_live:
                raise self.what_ended()
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
        self._emptied()
        return happening

    def _emptied(self) -> None:
        """Something was taken out of the inbox; once it is empty, the peer may go on."""
        if not self.talk.inbox:
            self._unserved = 0
            self._resume()

    def _pause_when_full(self) -> None:
        if self._is_paused or self._transport is None or self.connection.must_close:
            return
        if self.talk.is_full or self._unserved >= _INBOX_BYTES:
            self._is_paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
            self._watch()

    async def _flush(self, deadline: Deadline) -> None:
        buffers = self.connection.take_outgoing()
        if buffers:
            async with self._outlet.turn:
                await self._write(buffers, deadline)

    def _flush_quietly(self) -> None:
        """Hand the machine's few bytes to the transport, without waiting."""
        if self.connection.outgoing:
            self._outlet.hand_over(self.connection.take_outgoing())

    async def _write(self, buffers: list[Buffer], deadline: Deadline) -> None:
        if not await self._outlet.write(buffers, deadline):
            raise self._lost()

    def _must_stop_writing(self) -> bool:
        return self.closed.is_set() or not self.is_live or self.talk.end() is not None

    def _give_up(self) -> None:
        self._end(Phase.ABORTED, AssociationAborted(None))

    def _change_phase(self, phase: Phase, failure: DicomnetError | None = None) -> bool:
        is_new = self.enter(phase, failure)
        if is_new:
            self.announce(phase, failure)
        return is_new

    def _end(self, phase: Phase, failure: DicomnetError | None = None) -> None:
        if self._change_phase(phase, failure):
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
        self._closed()
