"""The way out of one association in the blocking driver: one message at a time, as fast as the network takes it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ...values import Buffer
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
        if self._connection.observer is not None:
            self._connection.sent(buffers)
        buffers = self._channel.prepare(buffers)
        at = 0
        while True:
            sent = self._channel.send(buffers[at:] if at else buffers, more=more)
            if sent is None:
                wait(deadline)
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
