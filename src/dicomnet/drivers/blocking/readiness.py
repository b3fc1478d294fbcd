"""Waiting until one socket can be read or written."""

from __future__ import annotations

import math
import select
import socket

from ..deadline import Deadline


class Readiness:
    """Waits for a socket.

    Parameters
    ----------
    sock
        Open as long as this is used.
    """

    __slots__ = ("_poll", "_sock")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        # The usual wait is one for reading, and only one thread reads.
        self._poll = _poll_for(sock, select.POLLIN) if hasattr(select, "poll") else None

    def until_readable(self, deadline: Deadline) -> None:
        """Wait until it can be read; by one thread at a time.

        Raises
        ------
        DeadlineExceeded
            If it cannot be in time.
        """
        if self._poll is None:
            self.until(deadline, read=True, write=False)
            return
        # Out of time, `Deadline.remaining` raises; or it has seen progress meanwhile.
        while not self._poll.poll(_milliseconds(deadline)):
            pass

    def until(self, deadline: Deadline, *, read: bool, write: bool) -> bool:
        """Wait until it can be read or written, as asked for; True where it can be read.

        Raises
        ------
        DeadlineExceeded
            If neither happens in time.
        """
        if not hasattr(select, "poll"):
            wanted = [self._sock]
            while True:
                reads, writes, broken = select.select(
                    wanted if read else [], wanted if write else [], wanted, deadline.remaining()
                )
                if reads or writes or broken:
                    return bool(reads or broken)
        poll = _poll_for(self._sock, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
        while not (ready := poll.poll(_milliseconds(deadline))):
            pass
        ended = select.POLLERR | select.POLLHUP | select.POLLNVAL
        return bool(read and ready[0][1] & (select.POLLIN | ended))


def _poll_for(sock: socket.socket, events: int) -> select.poll:
    poll = select.poll()
    poll.register(sock, events)
    return poll


def _milliseconds(deadline: Deadline) -> int | None:
    remaining = deadline.remaining()
    return None if remaining is None else math.ceil(remaining * 1000)
