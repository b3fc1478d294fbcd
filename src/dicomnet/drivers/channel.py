"""A connected socket that never blocks, plain or TLS, with one way to read and one to write."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Sequence

from ..wire.fields import Buffer
from .deadline import Deadline
from .transport import IOV_LIMIT, MSG_MORE, quick_ack, tls_error, wait

_log = logging.getLogger(__name__)


class Channel:
    """One transport connection.

    Parameters
    ----------
    sock
        Connected and not blocking; an SSLSocket before its handshake is fine.
    """

    __slots__ = ("_acknowledges", "_tls", "_tls_lock", "is_ready", "sock", "wants_write")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._tls = sock if isinstance(sock, ssl.SSLSocket) else None
        # An OpenSSL connection is not made for two threads, and one may read while another one writes.
        self._tls_lock = threading.Lock()
        self._acknowledges = sock.family in (socket.AF_INET, socket.AF_INET6)
        self.is_ready = self._tls is None
        self.wants_write = False

    @property
    def is_secure(self) -> bool:
        """Whether this is TLS."""
        return self._tls is not None

    def try_handshake(self) -> bool:
        """Go on with the TLS handshake, without waiting; True once it is done.

        Raises
        ------
        TLSFailed
            If it failed.
        """
        self.wants_write = False
        if self._tls is None or self.is_ready:
            return True
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLWantWriteError:
            self.wants_write = True
            return False
        except OSError as error:
            raise tls_error(error) from error
        self.is_ready = True
        return True

    def receive_into(self, buffer: bytearray) -> int | None:
        """Read what is there: how many bytes, None for none yet, 0 where the connection is no more."""
        self.wants_write = False
        try:
            if self._tls is None:
                count = self.sock.recv_into(buffer)
            else:
                with self._tls_lock:
                    count = self._tls.recv_into(buffer)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except ssl.SSLWantWriteError:
            self.wants_write = True
            return None
        except OSError as error:
            _log.debug("the connection ended: %s", error)
            return 0
        if count and self._acknowledges:
            try:
                quick_ack(self.sock)
            except OSError as error:
                _log.debug("the connection ended behind the last bytes: %s", error)
        return count

    def prepare(self, buffers: list[Buffer]) -> list[Buffer]:
        """The buffers in the form in which they are best written."""
        return [b"".join(buffers)] if self._tls is not None else buffers

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
            if self._tls is None:
                return self.sock.sendmsg(buffers[:IOV_LIMIT], (), MSG_MORE if more else 0)
            with self._tls_lock:
                return self._tls.send(buffers[0])
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return None

    def wait(self, deadline: Deadline, *, read: bool = False, write: bool = False) -> bool:
        """Wait until it can be read or written, as asked for; True where it can be read."""
        return wait(self.sock, read=read, write=write, deadline=deadline)[0]

    def shutdown(self) -> None:
        """End the connection under another thread that uses it, which then sees it gone."""
        try:
            # SSLSocket's own would let that thread read ciphertext.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        except OSError as error:
            _log.debug("the connection was already closed: %s", error)

    def close(self) -> None:
        """Close the socket; under TLS the peer is told that nothing is missing."""
        if self._tls is not None and self.is_ready:
            try:
                self._tls.unwrap()
            except (OSError, ValueError) as error:
                _log.debug("TLS was not ended in order: %s", error)
        self.sock.close()
