"""What goes out over an asyncio transport: at once where the kernel takes it, several small messages together."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable

from ...values import Buffer
from ..deadline import Deadline
from ..transport import IOV_LIMIT

# How many bytes wait for more to come.
_LINE_LENGTH = 1 << 16


class Outlet:
    """The way out of one association.

    Parameters
    ----------
    sock
        Connected and not blocking.
    sent
        Told of the buffers that are written.
    must_stop
        Says whether nothing that is left to write matters any more.
    """

    def __init__(
        self, sock: socket.socket, sent: Callable[[list[Buffer]], None], must_stop: Callable[[], bool]
    ) -> None:
        self.turn = asyncio.Lock()
        """Held while a message goes out in several pieces."""
        self._sock = sock
        self._sent = sent
        self._must_stop = must_stop
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._is_tls = False
        self._drained: asyncio.Future[None] | None = None
        self._line: list[Buffer] = []
        self._line_length = 0

    def open(self, transport: asyncio.Transport, is_tls: bool) -> None:
        """The transport is there."""
        self._transport = transport
        self._is_tls = is_tls
        # Each batch is written out before the next is made, so nothing piles up.
        transport.set_write_buffer_limits(1 if is_tls else 0)

    @property
    def is_open(self) -> bool:
        """Whether the transport takes anything."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_free(self) -> bool:
        """Whether a message can go out at once: it is open, no other message is on its way, and nothing has to wait."""
        return self._drained is None and not self.turn.locked() and self.is_open

    @property
    def is_full(self) -> bool:
        """Whether the transport has something left to write."""
        return self._drained is not None

    # -- asyncio's side

    def pause(self) -> None:
        """The transport has more than it should."""
        self._drained = self._loop.create_future()

    def resume(self) -> None:
        """The transport has written it, or never will."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    def look(self) -> None:
        """Wake who waits to write, if what waits does not matter any more."""
        if self._drained is not None and not self._drained.done() and self._must_stop():
            self._drained.set_result(None)

    # -- writing

    def put(self, buffers: Iterable[Buffer], seconds: float = 0.0) -> bool:
        """Let a message wait for others; False where there are enough of them to go.

        Parameters
        ----------
        buffers
            Their content must not change any more.
        seconds
            How long it may wait, where no other does yet; 0 is up to the next turn of the loop.
        """
        # Also where whoever makes the next message has to wait for something, this one does not.
        if not self._line and seconds:
            self._loop.call_later(seconds, self.flush)
        elif not self._line:
            self._loop.call_soon(self.flush)
        before = len(self._line)
        self._line += buffers
        self._line_length += sum(map(len, self._line[before:]))
        return self._line_length < _LINE_LENGTH

    def flush(self) -> None:
        """Write what waits, without waiting."""
        if self._line:
            self.hand_over(())

    def hand_over(self, buffers: Iterable[Buffer]) -> int:
        """Write these, behind what waits: how many bytes the kernel took. The transport keeps the rest."""
        waiting: list[Buffer] = [*self._line, *buffers]
        self._line.clear()
        self._line_length = 0
        transport = self._transport
        if not waiting or transport is None or transport.is_closing():
            return 0
        self._sent(waiting)
        count = 0
        if not self._is_tls and not transport.get_write_buffer_size():
            count = self._write_some(waiting)
        if waiting:
            transport.write(b"".join(waiting))
        return count

    async def write(self, buffers: Iterable[Buffer], deadline: Deadline) -> bool:
        """Write these and wait until the transport has; False where nothing can be written any more.

        Raises
        ------
        DeadlineExceeded
            If it takes too long.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if count := self.hand_over(buffers):
            deadline.moved(count)
        while self._drained is not None:
            before = transport.get_write_buffer_size()
            await asyncio.wait((self._drained,), timeout=deadline.remaining())
            if self._must_stop():
                return False
            deadline.moved(max(0, before - transport.get_write_buffer_size()))
        return not self._must_stop()

    def _write_some(self, buffers: list[Buffer]) -> int:
        """Write what the kernel takes at once, without a copy, and take it out of the list."""
        total = at = 0
        while at < len(buffers):
            try:
                sent = self._sock.sendmsg(buffers[at : at + IOV_LIMIT])
            except OSError:
                # Full, or gone: the transport waits, or finds out.
                break
            total += sent
            while at < len(buffers) and sent >= len(buffers[at]):
                sent -= len(buffers[at])
                at += 1
            if sent:
                buffers[at] = memoryview(buffers[at])[sent:]
        del buffers[:at]
        return total
