"""Sockets made ready for DICOM: options, connecting, listening."""

from __future__ import annotations

import os
import socket
import sys
from struct import unpack

from ..errors import ConnectionFailed, DeadlineExceeded
from ..values import frozen
from .deadline import Deadline

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
# The most buffers that one sendmsg may take.
IOV_LIMIT = 1024
# More is about to follow: a segment that is not full may wait for it, on Linux for 0.2 s at most.
MSG_MORE: int = getattr(socket, "MSG_MORE", 0)
BACKLOG = 1024
"""How many connections may wait to be accepted."""
ListeningAddress = tuple[str, int] | tuple[str, int, int, int]
"""Host and port; of IPv6 also with flow info and scope ID, as `socket` has them."""


def tune(sock: socket.socket) -> None:
    """Set the options that every connection has."""
    sock.setblocking(False)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        quick_ack(sock)


def quick_ack(sock: socket.socket) -> None:
    """Acknowledge at once what arrives next.

    A peer with Nagle's algorithm on sends its second small segment only after that; the kernel forgets the option, so
    it is set again after each receive.
    """
    if _QUICKACK is not None:
        sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)


# `unacknowledged` needs these, which a requestor that waits for nothing long starts without.
FOR_PROGRESS = ("fcntl", "termios") if sys.platform == "linux" else ()


def unacknowledged(sock: socket.socket) -> int:
    """How many bytes that were written the peer's system has not acknowledged; 0 where ours does not tell."""
    if sys.platform != "linux":
        return 0
    from fcntl import ioctl
    from termios import TIOCOUTQ

    try:
        (count,) = unpack("i", ioctl(sock, TIOCOUTQ, bytes(4)))
    except (OSError, ValueError):
        # It is closed: whoever waits finds that out.
        return 0
    return int(count)


# Where the kernel's report on a connection has the number of bytes that the peer has acknowledged (tcp_info).
_BYTES_ACKNOWLEDGED = slice(120, 128)


def acknowledged(sock: socket.socket) -> int | None:
    """How many bytes the peer's system has acknowledged in all; None where ours does not tell."""
    if sys.platform != "linux":
        return None
    try:
        report = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKNOWLEDGED.stop)
    except OSError:
        # It is closed: whoever waits finds that out.
        return None
    return int.from_bytes(report[_BYTES_ACKNOWLEDGED], sys.byteorder) if len(report) >= 128 else None


@frozen
class Address:
    """Where a peer listens.

    Parameters
    ----------
    host
        Name or address.
    port
        1 to 65535.
    """

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, so that nobody on a network reads along; by its name or number alone."""
        # A requestor starts without it.
        from ipaddress import ip_address

        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            # A name, whatever digits it begins with.
            return False


def connect(
    address: Address,
    deadline: Deadline,
    *,
    bind_address: tuple[str, int] | None = None,
) -> socket.socket:
    """Open a connection to the first of the host's addresses that answers.

    Raises
    ------
    ConnectionFailed
        If none does.
    DeadlineExceeded
        If none does in time.
    """
    host, port = address.host, address.port
    failure: Exception | None = None
    try:
        for family, kind, protocol, _, target in socket.getaddrinfo(
            encoded_host(host), port, type=socket.SOCK_STREAM
        ):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(deadline.remaining())
                if bind_address is not None:
                    sock.bind(bind_address)
                sock.connect(target)
                tune(sock)
                return sock
            except BaseException as error:
                sock.close()
                # The deadline is for all addresses together; the kernel's own time-out has an error number.
                if isinstance(error, TimeoutError) and error.errno is None:
                    raise DeadlineExceeded(deadline.stage, deadline.seconds) from None
                if not isinstance(error, OSError):
                    raise
                failure = error
    except DeadlineExceeded:
        raise
    except (OSError, UnicodeError, OverflowError) as error:
        failure = error
    raise ConnectionFailed(
        host, port, connect_reason(failure) if failure else "it has no address"
    ) from failure


def encoded_host(host: str) -> str | bytes:
    """A host name as it is looked up: in bytes where it can be, since that saves loading the tables for others."""
    return host.encode() if host.isascii() else host


def connect_reason(error: Exception) -> str:
    """Why a connection could not be opened, in words."""
    if isinstance(error, socket.gaierror):
        return "the host name is not known"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error)


def new_listener(host: str) -> socket.socket:
    """A socket to listen with, which is not bound yet and can have the address of one that is just gone."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        # "::" takes IPv4 connections too.
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    return listener


def listen(address: ListeningAddress) -> socket.socket:
    """A listening socket that does not block.

    Raises
    ------
    OSError
        If the address cannot be bound.
    """
    listener = new_listener(address[0])
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
