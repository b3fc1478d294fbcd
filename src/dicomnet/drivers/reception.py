"""What the servers of both drivers share: what they need to receive a connection, and the count of those they have."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

# A server has what its requests need before the first one, for which there may be no free file descriptor to import
# it with.
from ..services import descriptions, provider, suboperations  # noqa: F401
from ..values import frozen
from ..wire.scanner import PDU_EXCESS
from .connection import Connection, Meter, Observer
from .deadline import Timeouts
from .hooks import Hooks, Phase
from .life import Life

if TYPE_CHECKING:
    import socket
    import ssl

LinkT = TypeVar("LinkT", bound=Life)

# How many connections may wait for their association request at once; the next ones wait in the kernel's queue.
PENDING_LIMIT = 8192
# How long a server without a free file descriptor waits before it accepts again, in seconds.
ACCEPT_PAUSE = 0.1


def _ignore(*_: object) -> None:
    """Do nothing."""


@frozen
class Reception:
    """The user's side of an accepted connection, and the limits that hold for it.

    Parameters
    ----------
    hooks
        The user's side.
    timeouts
        One deadline a stage; that of the association is also the ARTIM timer's.
    maximum_length
        The largest PDU-length of a P-DATA-TF that we take, in bytes; 0 is no limit.
    excess
        How many bytes longer than that a P-DATA-TF may be, which is logged; 0 ends such an association.
    observer, meter
        Take notifications, and the measure of messages, where a user wants that.
    trouble
        At which level of `logging` rejections, aborts and refused requests are logged.
    opened
        Called with the link before anything is received.
    closed
        Called when the link is closed.
    """

    hooks: Hooks
    timeouts: Timeouts
    maximum_length: int
    excess: int = PDU_EXCESS
    observer: Observer | None = None
    meter: Meter | None = None
    trouble: int = logging.INFO
    opened: Callable[[Any], object] = _ignore
    closed: Callable[[], object] = _ignore

    def parts(self) -> tuple[Connection, Hooks, Timeouts]:
        """What a link is made of besides its transport: the acceptor's protocol side, hooks and deadlines."""
        connection = Connection(
            is_requestor=False,
            maximum_length=self.maximum_length,
            open_sink=self.hooks.open_sink,
            artim=self.timeouts.association,
            observer=self.observer,
            meter=self.meter,
            excess=self.excess,
            trouble=self.trouble,
        )
        return connection, self.hooks, self.timeouts


# Receives a connection of a peer, by its host and port.
Receive = Callable[[tuple[str, int]], Reception]


class Links(set[LinkT]):
    """The connections of a server."""

    @property
    def are_too_many(self) -> bool:
        """Whether no other can be accepted, because too many have not asked for an association yet."""
        if len(self) < PENDING_LIMIT:
            return False
        return sum(link.phase is Phase.NEW for link in self) >= PENDING_LIMIT

    @property
    def any_established(self) -> bool:
        """Whether an association is open."""
        return any(link.connection.is_established for link in self)


class ServerBase(Generic[LinkT]):
    """A listener and the connections that were accepted on it.

    Parameters
    ----------
    listener
        Bound and listening, not blocking; closed by `shutdown`.
    receive
        Gives the user's side of an accepted connection.
    tls
        The TLS context of a server, or None for plain TCP.
    """

    def __init__(
        self, listener: socket.socket, receive: Receive, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.address: tuple[str, int] = listener.getsockname()[:2]
        self.tls = tls
        self._listener = listener
        self._receive = receive
        self._links: Links[LinkT] = Links()

    @property
    def links(self) -> list[LinkT]:
        """The connections of this moment."""
        return list(self._links)

    def _abort_links(self) -> None:
        for link in self.links:
            link.abort()

    def _closed(self, reception: Reception, link: LinkT) -> None:
        """A connection is closed."""
        reception.closed()
        self._forget(link)

    def _forget(self, link: LinkT) -> None:
        """Accept another connection in the place of one that is over."""
        raise NotImplementedError
