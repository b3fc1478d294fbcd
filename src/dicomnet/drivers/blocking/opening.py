"""Opening an association, as its requestor, in blocking code."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from ...wire.pdu import AssociateRQ
from ..connection import Connection, Observer
from ..deadline import Deadline, Timeouts
from ..hooks import Hooks
from ..transport import Address, connect
from .channel import Channel
from .link import Link
from .watcher import Watcher, WorkerPool

if TYPE_CHECKING:
    import socket
    import ssl

_idle_watcher: Watcher | None = None
_workers: WorkerPool | None = None
_start_lock = threading.Lock()


def process_watcher() -> tuple[Watcher, WorkerPool]:
    """The watcher of all idle requestors of this process, and the threads that serve what it notices."""
    global _idle_watcher, _workers
    with _start_lock:
        if _idle_watcher is None or _workers is None:
            _idle_watcher = Watcher("dicomnet-idle")
            _workers = WorkerPool("dicomnet-worker")
        return _idle_watcher, _workers


def _begin_anew() -> None:
    """A forked process has none of its parent's threads."""
    global _idle_watcher, _workers, _start_lock
    _idle_watcher = _workers = None
    _start_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def open_link(
    address: Address,
    request: AssociateRQ,
    hooks: Hooks,
    timeouts: Timeouts,
    *,
    tls: tuple[ssl.SSLContext, str | None] | None = None,
    bind_address: tuple[str, int] | None = None,
    observer: Observer | None = None,
) -> Link:
    """Connect to a peer; `Link.request` then asks for the association.

    Parameters
    ----------
    address
        Where the peer listens.
    request
        What will be asked for; its maximum length is ours.
    tls
        A client's TLS context, and the host name that the peer's certificate must have.
    bind_address
        The local host and port to connect from.

    Raises
    ------
    ConnectionFailed, DeadlineExceeded
        If the peer cannot be reached.
    """
    sock = connect(address, Deadline("connect", timeouts.connect), bind_address=bind_address)
    try:
        channel = Channel(sock) if tls is None else _secured(sock, *tls)
    except BaseException:
        sock.close()
        raise
    connection = Connection.requesting(request, hooks.open_sink, timeouts.association, observer)
    connection.trace.opened((address.host, address.port))
    return Link(channel, connection, hooks, timeouts, *process_watcher())


def _secured(sock: socket.socket, context: ssl.SSLContext, server_hostname: str | None) -> Channel:
    from .tls import TLSChannel

    return TLSChannel(sock, context, server_side=False, server_hostname=server_hostname)
