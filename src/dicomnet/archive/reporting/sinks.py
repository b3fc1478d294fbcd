"""Where audit messages go: a file, a syslog server by TLS (RFC 5425), or one by UDP (RFC 5426)."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from time import monotonic

from ...drivers.tls import tls_error
from ..audit import AuditEntry, EventOutcome, SyslogServer, SyslogTransport
from .messages import Origin, message
from .syslog import framed, syslog_message

Numbered = tuple[int, AuditEntry]

# How long connecting may take, sending, and the end of a connection in order, in seconds.
_CONNECTING, _PATIENCE, _FAREWELL = 5.0, 10.0, 2.0
# For how long a connection must have lived on behind a message before that counts as received, in seconds.
_SETTLED = 10.0


class Sink(ABC):
    """Somebody who is told of entries, in one thread."""

    @abstractmethod
    def send(self, entries: Sequence[Numbered]) -> None:
        """Tell of entries; raises OSError if that cannot be done now, and then all that is not received comes again."""

    @abstractmethod
    def received(self) -> int:
        """The number of the last entry that is known to have been received; 0 for none since it was connected.

        Raises
        ------
        OSError
            If it is noticed that what is not received is lost.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of it; what is not received comes again. It may be used again."""

    def end(self) -> int:
        """Close it in order, and give what is received then."""
        received = self.received()
        self.close()
        return received


class FileSink(Sink):
    """A file with a message in each line, which is made anew where it was moved away.

    Parameters
    ----------
    path
        The file.
    origin
        Who tells.
    """

    def __init__(self, path: str, origin: Origin) -> None:
        self._path = path
        self._origin = origin
        self._descriptor: int | None = None
        self._received = 0

    def send(self, entries: Sequence[Numbered]) -> None:
        """Append messages; they are on the medium at the end."""
        content = b"".join(message(entry, self._origin) + b"\n" for _, entry in entries)
        try:
            descriptor = self._opened()
            left = memoryview(content)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        except OSError:
            self.close()
            raise
        self._received = entries[-1][0]

    def received(self) -> int:
        """The last that was written."""
        return self._received

    def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _opened(self) -> int:
        """The file under its name, whatever became of the one before."""
        if self._descriptor is not None:
            with contextlib.suppress(FileNotFoundError):
                there, ours = os.stat(self._path), os.fstat(self._descriptor)
                if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                    return self._descriptor
            self.close()
        # It has patients' data.
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
        length = os.fstat(self._descriptor).st_size
        if length and os.pread(self._descriptor, 1, length - 1) != b"\n":
            # Somebody was killed while he wrote; that message comes again.
            os.write(self._descriptor, b"\n")
        return self._descriptor


class _SyslogSink(Sink):
    """What both transports have in common."""

    def __init__(self, server: SyslogServer, origin: Origin) -> None:
        self._server = server
        self._origin = origin
        self._received = 0

    def _message(self, numbered: Numbered) -> bytes:
        number, entry = numbered
        is_warning = entry.event.outcome is not EventOutcome.SUCCESS
        content = message(entry, self._origin)
        return syslog_message(content, self._origin, number, entry.last_at, is_warning=is_warning)


class UdpSink(_SyslogSink):
    """A syslog server by UDP: each message is a datagram, and nobody says whether it came.

    Parameters
    ----------
    server
        It.
    origin
        Who tells.
    """

    def __init__(self, server: SyslogServer, origin: Origin) -> None:
        super().__init__(server, origin)
        self._socket: socket.socket | None = None

    def send(self, entries: Sequence[Numbered]) -> None:
        """Send messages."""
        try:
            if self._socket is None:
                place = self._server.host, self._server.port
                kind, *_, address = socket.getaddrinfo(*place, type=socket.SOCK_DGRAM)[0]
                self._socket = socket.socket(kind, socket.SOCK_DGRAM)
                # What the other side says of a datagram before is an error of the next one.
                self._socket.connect(address)
            for each in entries:
                self._socket.send(self._message(each))
        except OSError:
            self.close()
            raise
        self._received = entries[-1][0]

    def received(self) -> int:
        """The last that was sent."""
        return self._received

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class TlsSink(_SyslogSink):
    """A syslog server by TLS.

    It says nothing of messages, so that one counts as received when the server's machine has acknowledged all bytes
    and the connection has lived on for a while, or when the server has ended TLS in order behind it.

    Parameters
    ----------
    server
        It.
    origin
        Who tells.
    settled
        For how long a connection must live on, in seconds.
    """

    def __init__(self, server: SyslogServer, origin: Origin, settled: float = _SETTLED) -> None:
        super().__init__(server, origin)
        self._settled = settled
        self._socket: ssl.SSLSocket | None = None
        # What was sent when.
        self._sent: deque[tuple[int, float]] = deque()

    def send(self, entries: Sequence[Numbered]) -> None:
        """Send messages."""
        try:
            self.received()
            opened = self._connected()
            opened.sendall(b"".join(framed(self._message(each)) for each in entries))
        except OSError:
            self.close()
            raise
        self._sent.append((entries[-1][0], monotonic()))

    def received(self) -> int:
        """The last that counts as received."""
        if self._socket is not None:
            try:
                self._look(self._socket)
            except OSError:
                is_lost = bool(self._sent)
                self.close()
                if is_lost:
                    raise
                # Some end a connection on which nothing comes.
                return self._received
            if not _unacknowledged(self._socket):
                before = monotonic() - self._settled
                while self._sent and self._sent[0][1] <= before:
                    self._received = self._sent.popleft()[0]
        return self._received

    def close(self) -> None:
        """End the connection at once."""
        opened, self._socket = self._socket, None
        self._sent.clear()
        if opened is not None:
            opened.close()

    def end(self) -> int:
        """End the connection as TLS does: who answers that has read all before."""
        opened, sent = self._socket, self._sent[-1][0] if self._sent else 0
        if opened is not None and sent:
            with contextlib.suppress(OSError, ValueError):
                opened.settimeout(_FAREWELL)
                opened.unwrap().close()
                self._received = sent
        self.close()
        return self._received

    def _connected(self) -> ssl.SSLSocket:
        if self._socket is None:
            server = self._server
            plain = socket.create_connection((server.host, server.port), _CONNECTING)
            try:
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if sys.platform == "linux":
                    # Somebody whose machine is gone is noticed in time.
                    wait = round(1000 * _PATIENCE)
                    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, wait)
                context = server.certificate.context()
                self._socket = context.wrap_socket(plain, server_hostname=server.host)
            except ssl.SSLError as error:
                plain.close()
                raise OSError(str(tls_error(error))) from error
            except ValueError as error:
                plain.close()
                raise OSError(str(error)) from error
            except OSError:
                plain.close()
                raise
            self._received = 0
        return self._socket

    @staticmethod
    def _look(opened: ssl.SSLSocket) -> None:
        """Raise OSError if the server has ended the connection: it has perhaps not read what was sent."""
        opened.settimeout(0)
        try:
            # Servers send nothing but what belongs to TLS, and an alert where they do not take our certificate.
            while opened.recv(4096):
                pass
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            raise OSError(str(tls_error(error))) from error
        finally:
            opened.settimeout(_PATIENCE)
        raise ConnectionResetError("the server has ended the connection")


def _unacknowledged(opened: socket.socket) -> bool:
    """Whether the other machine has not acknowledged all bytes, as far as the system tells."""
    if sys.platform != "linux":
        return False
    import fcntl
    import termios

    (count,) = struct.unpack("i", fcntl.ioctl(opened, termios.TIOCOUTQ, bytes(4)))
    return bool(count)


def syslog_sink(server: SyslogServer, origin: Origin) -> Sink:
    """What sends to a syslog server by its transport."""
    return (TlsSink if server.transport is SyslogTransport.TLS else UdpSink)(server, origin)
