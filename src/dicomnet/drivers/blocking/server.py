"""The blocking driver's server: accepts connections, and hands those that talk to threads."""

from __future__ import annotations

import errno
import importlib
import logging
import os
import socket
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..deadline import LAST_WORDS
from ..reception import ACCEPT_PAUSE, Receive, ServerBase
from ..transport import FOR_PROGRESS, tune
from .channel import Channel
from .fair_share import FairShare
from .link import Link
from .watcher import Watch, Watcher, WorkerPool

if TYPE_CHECKING:
    import ssl

_log = logging.getLogger(__name__)

_ACCEPTS_A_TURN = 64
# How soon the main thread notices a signal that the system gave to another thread, in seconds: only it runs the
# handlers of signals, and a wait without an end is not woken for those.
_NOTICE = 0.5
# How long handlers may take to return at shutdown, in seconds; their threads do not keep the process from ending.
_LAST_HANDLERS = 5.0


class Server(ServerBase[Link]):
    """Accepts connections from one listener, and serves them.

    Parameters
    ----------
    listener, receive, tls
        As of `ServerBase`.
    share
        How it shares the listener with other processes, None where it has it alone.
    admit
        Called with an accepted socket and the peer's address instead of `open`: calls that, or closes the socket.
    """

    def __init__(
        self,
        listener: socket.socket,
        receive: Receive,
        *,
        tls: ssl.SSLContext | None = None,
        share: FairShare | None = None,
        admit: Callable[[socket.socket, Any], None] | None = None,
    ) -> None:
        super().__init__(listener, receive, tls=tls)
        self._admit = admit or self.open
        # When the first connection comes, there may be no free file descriptor to import it with.
        for name in (*FOR_PROGRESS, *((".tls",) if tls is not None else ())):
            importlib.import_module(name, __package__)
        self._share = share
        self._watcher = Watcher("dicomnet-server")
        self._workers = WorkerPool("dicomnet-association")
        self._changed = threading.Condition()
        self._listening: Watch | None = None
        self._is_full = False
        self._is_closing = False
        self._is_closed = threading.Event()
        self._spare = os.open(os.devnull, os.O_RDONLY)

    @property
    def listener(self) -> socket.socket:
        """The socket that connections are accepted on."""
        return self._listener

    @property
    def links(self) -> list[Link]:
        with self._changed:
            return super().links

    @property
    def is_closed(self) -> bool:
        """Whether `shutdown` has begun."""
        return self._is_closing

    def start(self) -> None:
        """Begin to accept, in a thread of its own."""
        self._watch_listener()

    def serve_forever(self) -> None:
        """Wait until another thread, or a signal's handler, shuts the server down."""
        while not self._is_closed.wait(_NOTICE):
            continue

    def shutdown(self, drain: float = 0.0) -> None:
        """Stop accepting, and end the associations.

        Parameters
        ----------
        drain
            How long associations may go on before they are aborted, in seconds.
        """
        with self._changed:
            if self._is_closing:
                return
            self._is_closing = True
            if self._listening is not None:
                self._watcher.forget(self._listening)
            self._listener.close()
            self._give_up_spare()
        end = monotonic() + drain
        with self._changed:
            self._changed.wait_for(
                lambda: not self._links.any_established,
                max(0.0, end - monotonic()),
            )
        self._abort_links()
        with self._changed:
            # Peers close when they have read the A-ABORT; closing first could take it away from them.
            self._changed.wait_for(lambda: not self._links, LAST_WORDS)
        self._watcher.close()
        if self._share is not None:
            self._share.close()
        for link in self.links:
            link.close()
        self._workers.close(timeout=_LAST_HANDLERS)
        self._is_closed.set()

    def _watch_listener(self) -> None:
        with self._changed:
            if not self._is_closing:
                self._listening = self._watcher.watch(self._listener, self._accept, self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            with self._changed:
                # `_forget` listens again.
                self._is_full = self._links.are_too_many
                if self._is_closing or self._is_full or self._leaves_it():
                    return
                try:
                    if self._spare < 0:
                        self._take_spare()
                    sock, peer = self._listener.accept()
                except BlockingIOError:
                    if self._share is not None:
                        self._share.none_is_left()
                    break
                except OSError as error:
                    self._accept_failed(error)
                    break
            self._admit(sock, peer)
        if self._spare >= 0:
            self._watch_listener()
            return
        # Nothing can be accepted, and the listener would be ready all the time.
        pause = threading.Timer(ACCEPT_PAUSE, self._watch_listener)
        pause.daemon = True
        pause.start()

    def _leaves_it(self) -> bool:
        return self._share is not None and self._share.leaves_next(self._watcher, self._watch_listener)

    def _counted(self) -> None:
        if self._share is not None:
            self._share.now_has(len(self._links))

    def _accept_failed(self, error: OSError) -> None:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            _log.info("a connection was gone before it was accepted: %s", error)
            return
        # Without a free descriptor the connection would stay ready and the loop would spin: give up one, and with it
        # take the connection and close it, so that the peer knows.
        _log.error("no file descriptor is free; a connection was refused")
        self._give_up_spare()
        try:
            self._listener.accept()[0].close()
        except OSError as again:
            _log.debug("the connection could not be taken: %s", again)
        self._take_spare()

    def _take_spare(self) -> None:
        try:
            self._spare = os.open(os.devnull, os.O_RDONLY)
        except OSError:
            # Somebody else was quicker to take what was given up; there is none until one is free again.
            self._spare = -1

    def _give_up_spare(self) -> None:
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    def open(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        """Serve a connection that was accepted, which does not wait for anything."""
        try:
            tune(sock)
            channel = Channel(sock) if self.tls is None else _secured(sock, self.tls)
        except OSError as error:
            _log.info("a connection was gone before it was served: %s", error)
            sock.close()
            return
        reception = self._receive(peer[:2])
        forget = partial(self._closed, reception)
        link = Link(channel, *reception.parts(), self._watcher, self._workers, forget)
        reception.opened(link)
        with self._changed:
            self._links.add(link)
            self._counted()
        link.greet(peer[:2])

    def _forget(self, link: Link) -> None:
        with self._changed:
            self._links.discard(link)
            self._counted()
            self._changed.notify_all()
            must_listen, self._is_full = self._is_full, False
        if must_listen:
            self._watch_listener()


def _secured(sock: socket.socket, context: ssl.SSLContext) -> Channel:
    from .tls import TLSChannel

    return TLSChannel(sock, context, server_side=True)
