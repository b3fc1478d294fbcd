"""Connections of clients, with limits, so that none who is slow, or does nothing, keeps others out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from typing import TYPE_CHECKING, Any, cast

from ....drivers.transport import acknowledged
from .file_parts import EXTENSION, Outlet

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Protocol
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
else:
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Protocol
    except ModuleNotFoundError:
        from uvicorn.protocols.http.h11_impl import H11Protocol as Protocol
# The other one puts together what it sends.
_TAKES_FILE_PARTS = hasattr(Protocol, "on_message_begin") and hasattr(os, "sendfile")

_LONG = 1 << 20
_NO_LINGER = struct.pack("ii", 1, 0)
# How many connections a process has at once.
CONNECTIONS = 512
# How long one stays open that has had a request and has no other one, in seconds.
KEEP_ALIVE = 30.0
# The longest head of a request, in bytes, and how long it may take to come, in seconds.
LONGEST_HEAD, HEAD_SECONDS = 1 << 16, 10.0
# How long a TLS handshake may take, in seconds; nobody counts the connections that are in one.
HANDSHAKE_SECONDS = 10.0
# How many bytes of a request's body, or of a response, have to pass in so many seconds.
LEAST, STALL_SECONDS = 1 << 16, 60.0
# How many requests a client may send behind one that is not answered yet.
AHEAD = 64
# In the scope of a request: what of its body had come and was not asked for when the client went.
REST = "dicomnet.rest"


class Connection(Protocol):
    """A connection with a client."""

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        # What strangers send that is not HTTP is nothing to warn of; what fails here, the application logs.
        self.logger = _quiet
        # With a handler at the root of all logs, it would be on in spite of the configuration.
        self.access_log = False
        # It is ended here, and not by a timer of its own.
        self.timeout_keep_alive = _LONG
        # Since when it has done too little, and how many bytes passed since then.
        self.since = self.loop.time()
        self._moved = 0
        self._acknowledged: int | None = None
        # How many bytes of a head have come; a connection that never had a request is about to have one.
        self._head = 0
        self._has_asked = False
        self._outlet: Outlet | None = None
        # Requests without a complete answer, the first of which is being answered; and whether no more are read.
        self._unanswered: list[RequestResponseCycle] = []
        self._is_deaf = False
        # How many bytes of fields have come behind the body of a request.
        self._trailers: int | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether it has no request, or only a part of its head."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if _TAKES_FILE_PARTS and transport.get_extra_info("sslcontext") is None:
            self._outlet = Outlet(transport, self)
            self.transport = self._outlet  # type: ignore[assignment]
        if len(self.connections) > CONNECTIONS:
            waiting = [each for each in self.connections if isinstance(each, Connection) and each.is_waiting]
            # This one, too, is waiting.
            min(waiting, key=lambda each: each.since).cut()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf or self.transport.is_closing():
            return
        if self.is_waiting and not self._head:
            self.since = self.loop.time()
        super().data_received(data)
        if self.is_waiting:
            self._head += len(data)
            if self._head > LONGEST_HEAD:
                self.transport.write(_TOO_LONG)
                self.transport.close()
        else:
            self._head, self._has_asked = 0, True
            self._pass(len(data))

    def on_message_begin(self) -> None:
        self._trailers = None
        super().on_message_begin()
        if self._outlet is not None:
            self.scope["extensions"] = {EXTENSION: {}}

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._trailers is None:
            super().on_header(name, value)
            return
        # Nobody reads what stands behind a body in chunks, and the parser knows no limit for it.
        self._trailers += len(name) + len(value)
        if self._trailers > LONGEST_HEAD:
            raise _TooMuch

    def on_headers_complete(self) -> None:
        self._unanswered = [each for each in self._unanswered if not each.response_complete]
        if len(self._unanswered) > AHEAD:
            raise _TooMuch
        super().on_headers_complete()
        self._unanswered.append(self.cycle)
        self._trailers = 0

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read; behind requests that are not answered yet, it is passed over, and the end."""
        first = next((each for each in self._unanswered if not each.response_complete), None)
        is_of_it = first is self.cycle and self.cycle is not None and self.cycle.more_body
        if first is None or (is_of_it and not first.response_started):
            super().send_400_response(msg)
        elif self.cycle.more_body:
            # Of a body in the middle of which it came.
            self.cut()
        else:
            # It must not come into the middle of an answer.
            self._is_deaf = True
            self.cycle.keep_alive = False

    def connection_lost(self, exc: Exception | None) -> None:
        # The protocol knows of the last one only.
        for each in (*self._unanswered, *((self.cycle,) if self.cycle is not None else ())):
            if not each.response_complete:
                each.disconnected = True
                cast(dict[str, Any], each.scope)[REST] = bytes(each.body)
                each.message_event.set()
        super().connection_lost(exc)
        if self._outlet is not None:
            self._outlet.drop()

    def check(self, now: float) -> None:
        """Cut it off if it does too little."""
        if self.transport.is_closing():
            limit = STALL_SECONDS
        elif self.is_waiting:
            limit = HEAD_SECONDS if self._head or not self._has_asked else KEEP_ALIVE
        elif self.cycle.more_body and not self.flow.read_paused:
            limit = STALL_SECONDS
        elif self.flow.write_paused:
            self._look()
            limit = STALL_SECONDS
        else:
            # It waits for us.
            self.since = now
            limit = STALL_SECONDS
        if now - self.since > limit:
            self.cut()

    def cut(self) -> None:
        """End it at once; what the client has not read yet is lost, as the system would keep it for long."""
        sock = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()

    def resume_writing(self) -> None:
        self._pass(LEAST)
        if self._outlet is None or not self._outlet.resumed():
            super().resume_writing()

    def _look(self) -> None:
        """See how much of a response has reached the client, where the system tells."""
        found = acknowledged(self.transport.get_extra_info("socket"))
        if found is not None:
            if self._acknowledged is not None:
                self._pass(found - self._acknowledged)
            self._acknowledged = found

    def _pass(self, count: int) -> None:
        self._moved += count
        if self._moved >= LEAST:
            self.since, self._moved = self.loop.time(), 0


class _TooMuch(Exception):
    """A client sends more than anybody needs to; the parser ends over it as over what it cannot read."""


_TOO_LONG = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Cache-Control: no-store\r\nConnection: close\r\n\r\nthe head of the request is longer than 64 KiB\n"
)
_quiet = logging.getLogger(f"{__name__}.http")
_quiet.setLevel(logging.CRITICAL)
