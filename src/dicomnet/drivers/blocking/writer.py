"""The way out of one association in the blocking driver: one message at a time, as fast as the network takes it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ...values import Buffer
from ..buffers import without_first
from ..connection import Connection
from ..deadline import Deadline
from .channel import Channel

_log = logging.getLogger(__name__)


class Writer:
    """Writes to a channel. As a context manager it lets one message out, so that no other comes in between.

    Parameters
    ----------
    channel
        The transport connection.
    connection
        Reports to its observer what is written.
    """

    def __init__(self, channel: Channel, connection: Connection) -> None:
        self._channel = channel
        self._connection = connection
        self._lock = threading.Lock()
        # Identifies the thread that has the lock; 0 where none has.
        self._thread = 0

    def __enter__(self) -> None:
        thread = threading.get_ident()
        if self._thread == thread:
            raise RuntimeError("a handler of what is sent cannot send in between")
        self._lock.acquire()
        self._thread = thread

    def __exit__(self, *_: object) -> None:
        self._thread = 0
        self._lock.release()

    def write(
        self,
        buffers: list[Buffer],
        deadline: Deadline,
        wait: Callable[[Deadline], object],
        *,
        more: bool = False,
    ) -> None:
        """Write all of these.

        Parameters
        ----------
        wait
            Waits until the channel takes more.
        more
            More is about to follow.

        Raises
        ------
        OSError
            If the connection is no more; also what ``wait`` raises.
        """
        self.write_on(self.write_now(buffers, more=more), deadline, wait, more=more)

    def write_now(self, buffers: list[Buffer], *, more: bool = False) -> list[Buffer]:
        """Write of these what the channel takes at once: what is left for `write_on`. Raises as `write`."""
        if self._connection.observer is not None:
            self._connection.sent(buffers)
        buffers = self._channel.prepare(buffers)
        sent = self._channel.send(buffers, more=more)
        if sent is None:
            return buffers
        return [] if sent == sum(map(len, buffers)) else without_first(buffers, sent)

    def write_on(
        self,
        left: list[Buffer],
        deadline: Deadline,
        wait: Callable[[Deadline], object],
        *,
        more: bool = False,
    ) -> None:
        """Write what `write_now` has left. Parameters and exceptions as of `write`."""
        while left:
            sent = self._channel.send(left, more=more)
            if sent is None:
                wait(deadline)
                continue
            deadline.moved(sent)
            left = without_first(left, sent)

    def wait(self, deadline: Deadline) -> None:
        """Wait until the channel takes more, and read nothing meanwhile."""
        self._channel.wait(deadline, write=True)

    def write_beside(self, last_words: bytes) -> None:
        """Write these if no message is on its way, without waiting; for a thread that does not have the link."""
        if not (self._channel.is_ready and self._lock.acquire(blocking=False)):
            return
        try:
            self._channel.send([last_words])
        except OSError as error:
            _log.debug("the last words could not be sent: %s", error)
        finally:
            self._lock.release()
