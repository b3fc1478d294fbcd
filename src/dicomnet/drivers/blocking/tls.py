"""TLS in the blocking driver: a channel over it, and what its failures mean. Apart, since `ssl` is slow to import."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import TLSFailed
from ...values import Buffer
from ..tls import refused_later, tls_error
from .channel import Channel

_log = logging.getLogger(__name__)


class TLSChannel(Channel):
    """One transport connection with TLS (PS3.15 Annex B), whose handshake is still to be made.

    Parameters
    ----------
    sock
        Connected and not blocking.
    context
        A server's TLS context or a client's.
    server_hostname
        As a client, the name that the peer's certificate must have.
    """

    __slots__ = ("_error", "_is_answered", "_lock", "_tls")

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
    ) -> None:
        self._tls = context.wrap_socket(
            sock, server_side=server_side, do_handshake_on_connect=False, server_hostname=server_hostname
        )
        super().__init__(self._tls)
        self._error: OSError | None = None
        self._is_answered = server_side
        # An OpenSSL connection is not made for two threads, and one may read while another one writes.
        self._lock = threading.Lock()
        self.is_ready = False

    def try_handshake(self) -> bool:
        """Go on with the handshake, without waiting; True once it is done."""
        self.wants_write = False
        if self.is_ready:
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

    @property
    def peer_certificate(self) -> Mapping[str, Any]:
        """The peer's verified certificate, as `ssl.SSLSocket.getpeercert` gives it; empty without one."""
        return self._tls.getpeercert() or {} if self.is_ready else {}

    @property
    def tls_version(self) -> str:
        """The version of TLS that was negotiated, for instance ``TLSv1.3``; empty before that."""
        return self._tls.version() or ""

    def _let_reads_wait(self) -> None:
        """No read waits: OpenSSL may have to write for it, and other threads may have to write beside it."""

    def _receive(self, buffer: bytearray, flags: int) -> int | None:
        self.wants_write = False
        try:
            with self._lock:
                count = self._tls.recv_into(buffer)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLWantWriteError:
            self.wants_write = True
            return None
        except OSError as error:
            _log.debug("the connection ended: %s", error)
            self._error = error
            return 0
        self._is_answered = self._is_answered or count > 0
        self._acknowledge(count)
        return count

    def refusal(self) -> TLSFailed | None:
        """Why the peer has ended the connection, where that was for TLS."""
        return refused_later(self._error, is_answered=self._is_answered)

    def prepare(self, buffers: list[Buffer]) -> list[Buffer]:
        """One buffer: a TLS record is made of each."""
        return [b"".join(buffers)]

    def send(self, buffers: Sequence[Buffer], *, more: bool = False) -> int | None:
        """Write the beginning of prepared buffers: how many bytes, None where none can be written now."""
        try:
            with self._lock:
                return self._tls.send(buffers[0])
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return None

    def close(self) -> None:
        """Tell the peer that nothing is missing, and close the socket."""
        if self.is_ready:
            try:
                with self._lock:
                    self._tls.unwrap()
            except (OSError, ValueError) as error:
                _log.debug("TLS was not ended in order: %s", error)
        super().close()
