"""Sockets made ready for DICOM: options, connecting, TLS."""

from __future__ import annotations

import math
import os
import select
import socket
import ssl
from dataclasses import dataclass

from ..errors import ConnectionFailed, DeadlineExceeded, TLSFailed
from .deadline import Deadline

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
# The most buffers that one sendmsg may take.
IOV_LIMIT = 1024
# More is about to follow: a segment that is not full may wait for it, on Linux for 0.2 s at most.
MSG_MORE: int = getattr(socket, "MSG_MORE", 0)
_BACKLOG = 1024


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


@dataclass(frozen=True, slots=True)
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
        for family, kind, protocol, _, target in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
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


def connect_reason(error: Exception) -> str:
    """Why a connection could not be opened, in words."""
    if isinstance(error, socket.gaierror):
        return "the host name is not known"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error)


def wrap_tls(
    sock: socket.socket, context: ssl.SSLContext, *, server_side: bool, server_hostname: str | None = None
) -> ssl.SSLSocket:
    """Put TLS over a connected socket, without the handshake."""
    return context.wrap_socket(
        sock, server_side=server_side, do_handshake_on_connect=False, server_hostname=server_hostname
    )


def tls_error(error: ssl.SSLError | OSError) -> TLSFailed:
    """The handshake's failure in words that help."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TLSFailed(f"the peer's certificate is not trusted ({error.verify_message})")
    if isinstance(error, ssl.SSLError):
        if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"):
            return TLSFailed("the peer does not speak TLS on this port")
        if error.reason and not isinstance(error, ssl.SSLEOFError):
            return TLSFailed(error.reason.replace("_", " ").lower())
    return TLSFailed(
        "the connection ended during the handshake; perhaps the peer does not speak TLS on this port"
    )


def wait(sock: socket.socket, *, read: bool, write: bool, deadline: Deadline) -> tuple[bool, bool]:
    """Wait until a socket can be read or written, as asked for.

    Returns
    -------
    tuple of bool
        Whether it can be read, and whether it can be written.

    Raises
    ------
    DeadlineExceeded
        If neither happens in time.
    """
    remaining = deadline.remaining()
    if not hasattr(select, "poll"):
        reads, writes, broken = select.select(
            [sock] if read else [], [sock] if write else [], [sock], remaining
        )
        if not (reads or writes or broken):
            raise DeadlineExceeded(deadline.stage, deadline.seconds)
        return bool(reads or broken), bool(writes)
    poll = select.poll()
    poll.register(sock, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
    ready = poll.poll(None if remaining is None else math.ceil(remaining * 1000))
    if not ready:
        raise DeadlineExceeded(deadline.stage, deadline.seconds)
    events = ready[0][1]
    ended = events & (select.POLLERR | select.POLLHUP | select.POLLNVAL)
    return bool(read and (events & select.POLLIN or ended)), bool(
        write and (events & select.POLLOUT or ended)
    )


def listen(address: tuple[str, int]) -> socket.socket:
    """A listening socket that does not block.

    Raises
    ------
    OSError
        If the address cannot be bound.
    """
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # "::" takes IPv4 connections too.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
