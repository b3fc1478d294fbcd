"""Opening an association, as its requestor, in asyncio."""

from __future__ import annotations

import asyncio
import socket
import ssl

from ...errors import ConnectionFailed, DeadlineExceeded
from ...wire.pdu import AssociateRQ
from ..connection import Connection, Observer
from ..deadline import LAST_WORDS, Deadline, Timeouts
from ..hooks import Hooks
from ..tls import tls_error
from ..transport import Address, connect_reason, tune
from .link import TLS_NEVER, Link


async def open_link(
    address: Address,
    request: AssociateRQ,
    hooks: Hooks,
    timeouts: Timeouts,
    *,
    tls: tuple[ssl.SSLContext, str | None] | None = None,
    bind_address: tuple[str, int] | None = None,
    observer: Observer | None = None,
) -> Link:
    """Connect to a peer; `Link.request` then asks for the association. Parameters as in the blocking driver.

    Raises
    ------
    ConnectionFailed, DeadlineExceeded, TLSFailed
        If the peer cannot be reached.
    """
    connection = Connection.requesting(request, hooks.open_sink, timeouts.association, observer)
    sock = await _connect(address, Deadline("connect", timeouts.connect), bind_address)
    connection.trace.opened((address.host, address.port))
    link = Link(sock, connection, hooks, timeouts)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeouts.association):
            await loop.create_connection(
                lambda: link,
                sock=sock,
                ssl=tls[0] if tls else None,
                server_hostname=(tls[1] or "") if tls else None,
                ssl_handshake_timeout=TLS_NEVER if tls else None,
                ssl_shutdown_timeout=LAST_WORDS if tls else None,
            )
    except BaseException as error:
        sock.close()
        if isinstance(error, TimeoutError):
            raise DeadlineExceeded("association", timeouts.association) from None
        if isinstance(error, OSError):
            raise tls_error(error) from error
        raise
    return link


async def _connect(
    address: Address, deadline: Deadline, bind_address: tuple[str, int] | None
) -> socket.socket:
    loop = asyncio.get_running_loop()
    failure: OSError | None = None
    try:
        async with asyncio.timeout(deadline.remaining()):
            found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            for family, kind, protocol, _, target in found:
                sock = socket.socket(family, kind, protocol)
                try:
                    tune(sock)
                    if bind_address is not None:
                        sock.bind(bind_address)
                    await loop.sock_connect(sock, target)
                except OSError as error:
                    sock.close()
                    failure = error
                    continue
                except BaseException:
                    sock.close()
                    raise
                return sock
    except TimeoutError:
        raise DeadlineExceeded(deadline.stage, deadline.seconds) from None
    except (socket.gaierror, UnicodeError):
        raise ConnectionFailed(address.host, address.port, "the host name is not known") from None
    raise ConnectionFailed(
        address.host, address.port, connect_reason(failure) if failure else "it has no address"
    ) from failure
