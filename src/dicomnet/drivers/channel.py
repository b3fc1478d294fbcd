"""A connected socket that never blocks, with one way to read and one to write. `tls` has the same over TLS."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence

from ..wire.fields import Buffer
from .deadline import Deadline
from .readiness import Readiness
from .transport import IOV_LIMIT, MSG_MORE, quick_ack

_log = logging.getLogger(__name__)


class Channel:
    """One transport connection.

    Parameters
    ----------
    sock
        Connected and not blocking.
    """

    __slots__ = ("_acknowledges", "_is_drained", "_readiness", "is_ready", "sock", "wants_write")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._acknowledges = sock.family in (socket.AF_INET, socket.AF_INET6)
        self._readiness = Readiness(sock)
        self._is_drained = False
        self.is_ready = True
        self.wants_write = False

    def try_handshake(self) -> bool:
        """Go on with the TLS handshake, without waiting; True once it is done, and where there is none.

        Raises
        ------
        TLSFailed
            If it failed.
        """
        return True

    def receive_into(self, buffer: bytearray) -> int | None:
        """Read what is there: how many bytes, None for none yet, 0 where the connection is no more."""
        try:
            count = self.sock.recv_into(buffer)
        except BlockingIOError:
            return None
        except OSError as error:
            _log.debug("the connection ended: %s", error)
            return 0
        # There was no more, so to read again without waiting would be in vain.
        self._is_drained = count < len(buffer)
        self._acknowledge(count)
        return count

    def _acknowledge(self, count: int) -> None:
        if count and self._acknowledges:
            try:
                quick_ack(self.sock)
            except OSError as error:
                _log.debug("the connection ended behind the last bytes: %s", error)

    def prepare(self, buffers: list[Buffer]) -> list[Buffer]:
        """The buffers in the form in which they are best written."""
        return buffers

    def send(self, buffers: Sequence[Buffer], *, more: bool = False) -> int | None:
        """Write the beginning of prepared buffers: how many bytes, None where none can be written now.

        Parameters
        ----------
        more
            More is about to follow: a segment that is not full may wait for it, on Linux for 0.2 s at most.

        Raises
        ------
        OSError
            If the connection is no more.
        """
        try:
            return self.sock.sendmsg(buffers[:IOV_LIMIT], (), MSG_MORE if more else 0)
        except BlockingIOError:
            return None

    def wait_for_more(self, deadline: Deadline) -> None:
        """Wait until there may be something to read: at once, or where nothing was left, when it comes.

        Raises
        ------
        DeadlineExceeded
            If nothing comes in time.
        """
        if self._is_drained:
            self._readiness.until_readable(deadline)
            self._is_drained = False

    def receive_in_time(self, buffer: bytearray, deadline: Deadline) -> int:
        """Wait until something can be read, and read it: how many bytes, 0 where the connection is no more.

        Raises
        ------
        DeadlineExceeded
            If nothing comes in time.
        """
        self.wait_for_more(deadline)
        while (count := self.receive_into(buffer)) is None:
            if self.wants_write:
                self.wait(deadline, read=True, write=True)
            else:
                self._readiness.until_readable(deadline)
        return count

    def wait(self, deadline: Deadline, *, read: bool = False, write: bool = False) -> bool:
        """Wait until it can be read or written, as asked for; True where it can be read."""
        return self._readiness.until(deadline, read=read, write=write)

    def shutdown(self) -> None:
        """End the connection under another thread that uses it, which then sees it gone."""
        try:
            # That of SSLSocket would let this thread read ciphertext.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        except OSError as error:
            _log.debug("the connection was already closed: %s", error)

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()
