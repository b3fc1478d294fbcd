"""A connected socket: ways to read and to write that do not wait, and ways to wait. `tls` has the same over TLS."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Mapping, Sequence
from struct import pack
from typing import Any

from ...errors import TLSFailed
from ...values import Buffer
from ..deadline import Deadline
from ..transport import IOV_LIMIT, MSG_MORE, quick_ack
from .readiness import Readiness

_log = logging.getLogger(__name__)

# Where one call may block and the next one not, an answer that comes soon is waited for by reading it.
_MAY_BLOCK = sys.platform == "linux"
_NO_WAIT: int = socket.MSG_DONTWAIT if _MAY_BLOCK else 0
# How long such a read waits, in seconds; the system rounds it up to a tick or two of its clock. A signal makes the wait
# begin anew, so it is to be shorter than the time between signals.
_MOMENT = 0.001
# Nearer deadlines are not left to it.
_SOON = 0.03


class Channel:
    """One transport connection.

    Parameters
    ----------
    sock
        Connected and not blocking. It is the channel's from now on.
    """

    __slots__ = ("_acknowledges", "_readiness", "is_ready", "sock", "wants_write")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._acknowledges = sock.family in (socket.AF_INET, socket.AF_INET6)
        self._readiness = Readiness(sock)
        self.is_ready = True
        self.wants_write = False
        self._let_reads_wait()

    def _let_reads_wait(self) -> None:
        if not _MAY_BLOCK:
            return
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, pack("ll", 0, int(_MOMENT * 1e6)))
        except OSError as error:
            # Where C has times of 64 bits and a long of 32. Reads do not wait then, which is right, too.
            _log.debug("reads cannot wait: %s", error)
            return
        self.sock.setblocking(True)

    def try_handshake(self) -> bool:
        """Go on with the TLS handshake, without waiting; True once it is done, and where there is none.

        Raises
        ------
        TLSFailed
            If it failed.
        """
        return True

    @property
    def peer_certificate(self) -> Mapping[str, Any]:
        """The peer's verified certificate, as `ssl.SSLSocket.getpeercert` gives it; empty without one."""
        return {}

    @property
    def tls_version(self) -> str:
        """The version of TLS that was negotiated, empty where there is none."""
        return ""

    def receive_into(self, buffer: bytearray) -> int | None:
        """Read what is there: how many bytes, None for none yet, 0 where the connection is no more."""
        return self._receive(buffer, _NO_WAIT)

    def receive_soon(self, buffer: bytearray, deadline: Deadline) -> int | None:
        """As `receive_into`, but what comes within a moment is waited for where that is the shorter way.

        Raises
        ------
        DeadlineExceeded
            If the deadline has passed.
        """
        remaining = deadline.remaining()
        return self._receive(buffer, 0 if remaining is None or remaining > _SOON else _NO_WAIT)

    def _receive(self, buffer: bytearray, flags: int) -> int | None:
        try:
            count = self.sock.recv_into(buffer, 0, flags)
        except BlockingIOError:
            return None
        except OSError as error:
            _log.debug("the connection ended: %s", error)
            return 0
        self._acknowledge(count)
        return count

    def _acknowledge(self, count: int) -> None:
        if count and self._acknowledges:
            try:
                quick_ack(self.sock)
            except OSError as error:
                _log.debug("the connection ended behind the last bytes: %s", error)

    def refusal(self) -> TLSFailed | None:
        """Why the peer has ended the connection, where that was for TLS."""
        return None

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
            return self.sock.sendmsg(buffers[:IOV_LIMIT], (), MSG_MORE | _NO_WAIT if more else _NO_WAIT)
        except BlockingIOError:
            return None

    def wait_for_more(self, deadline: Deadline) -> None:
        """Wait until there may be something to read.

        Raises
        ------
        DeadlineExceeded
            If nothing comes in time.
        """
        if self.wants_write:
            self.wait(deadline, read=True, write=True)
        else:
            self._readiness.until_readable(deadline)

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
