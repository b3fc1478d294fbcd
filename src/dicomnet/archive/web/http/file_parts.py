"""Parts of files that go from the system's cache to a client without being copied through this process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from io import BufferedReader
from typing import Any, Final

from .problems import CutOff

_log = logging.getLogger(__name__)

EXTENSION: Final = "dicomnet.file_parts"
"""The extension of an ASGI scope by which a connection says that bodies may have `FilePart`s in them."""
LONGEST: Final = 4 << 20
"""How many bytes a part has at most: about so much is read from the medium before the client gets it."""
CHUNK: Final = 120 << 10
"""About how many bytes are given to the server at once; smaller parts are joined.

Larger chunks take twice the time, as their memory is not in the processor's cache any more when they are sent, and
is new from the system each time.
"""
_ENDS_BEFORE = "its file has fewer bytes than before"
# On Linux, what follows may go out in the same segment.
_MORE = getattr(socket, "MSG_MORE", 0)
# How many bytes the system is given at once, so that other connections have their turn between.
_AT_ONCE = 1 << 20


class FilePart:
    """Some bytes of a file, in the place of these bytes in the body of a response.

    It is closed when nobody has it any more, or before.

    Parameters
    ----------
    file
        The file, which may be closed before this is.
    offset, length
        Which of its bytes.

    Attributes
    ----------
    before
        Bytes that come before those of the file.

    Raises
    ------
    OSError
        If it is no file of the system's, or no descriptor is free.
    """

    __slots__ = ("_descriptor", "_end", "_offset", "before")

    def __init__(self, file: BufferedReader, offset: int, length: int) -> None:
        self.before: bytes | memoryview = b""
        self._offset, self._end = offset, offset + length
        self._descriptor = -1
        self._descriptor = os.dup(file.fileno())

    def __del__(self) -> None:
        self.close()

    def __len__(self) -> int:
        """How many bytes of it are still to be sent."""
        return len(self.before) + self._end - self._offset

    def warm(self) -> None:
        """Have the system read it from the medium now, so that sending it waits for the client only.

        Raises
        ------
        OSError
            If the system cannot.
        """
        with open(os.devnull, "wb", buffering=0) as nowhere:
            offset = self._offset
            while offset < self._end and (
                count := os.sendfile(nowhere.fileno(), self._descriptor, offset, self._end - offset)
            ):
                offset += count

    def send(self, to: socket.socket) -> None:
        """Give the system as much of it as it takes now.

        Parameters
        ----------
        to
            The socket, which does not block.

        Raises
        ------
        BlockingIOError
            If it takes nothing now.
        ConnectionError
            If the client is gone, or this is closed.
        EOFError
            If the file ends before.
        OSError
            If the file cannot be read.
        """
        if self._descriptor < 0:
            raise ConnectionAbortedError
        if self.before:
            self.before = memoryview(self.before)[to.send(self.before, _MORE) :]
            if self.before:
                return
        count = os.sendfile(
            to.fileno(), self._descriptor, self._offset, min(_AT_ONCE, self._end - self._offset)
        )
        if not count:
            raise EOFError
        self._offset += count

    def read(self) -> Iterator[bytes]:
        """What is left of it, as bytes, some at a time.

        Raises
        ------
        CutOff
            If the file ends before.
        OSError
            If it cannot be read.
        """
        if self.before:
            yield bytes(self.before)
            self.before = b""
        while self._offset < self._end:
            chunk = os.pread(self._descriptor, min(CHUNK, self._end - self._offset), self._offset)
            if not chunk:
                raise CutOff(_ENDS_BEFORE)
            self._offset += len(chunk)
            yield chunk

    def close(self) -> None:
        """Let go of the file. A second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def file_parts(file: BufferedReader, length: int) -> Iterator[FilePart | bytes]:
    """A file in parts; as bytes from where that cannot be done, such as where no descriptor is free.

    Parameters
    ----------
    file
        The file.
    length
        How many bytes it has.
    """
    offset = 0
    while offset < length:
        try:
            part = FilePart(file, offset, min(LONGEST, length - offset))
            part.warm()
        except OSError:
            break
        offset += len(part)
        yield part
    file.seek(offset)
    while chunk := file.read(CHUNK):
        yield chunk


def in_bytes(chunks: Iterator[FilePart | bytes]) -> Iterator[bytes]:
    """The chunks of a body as bytes."""
    for chunk in chunks:
        if isinstance(chunk, FilePart):
            with contextlib.closing(chunk):
                yield from chunk.read()
        else:
            yield chunk


class Outlet:
    """The transport of a connection, which takes a `FilePart`, too, where it takes bytes.

    From then on the protocol is paused, and resumed when the part is with the system: nothing may be written meanwhile.
    What cannot be sent to its end ends the connection.

    Parameters
    ----------
    transport
        The transport; it is not encrypted.
    protocol
        What is paused and resumed.
    """

    def __init__(self, transport: asyncio.Transport, protocol: asyncio.Protocol) -> None:
        self._transport, self._protocol = transport, protocol
        self._loop = asyncio.get_running_loop()
        self._part: FilePart | None = None
        # One of its own: loops let nobody else wait for the descriptor of a transport.
        self._socket: socket.socket | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes | FilePart) -> None:
        """Send some bytes, or begin to send a part."""
        if not isinstance(data, FilePart):
            self._transport.write(data)
            return
        if self._transport.is_closing():
            return
        try:
            self._own_socket()
        except OSError:
            # There is no descriptor left.
            self._transport.writelines(data.read())
            return
        self._part = data
        if self._transport.get_write_buffer_size():
            self._protocol.pause_writing()
            # When there is nothing before it any more, the protocol is resumed.
            self._transport.set_write_buffer_limits(0)
            return
        self._send()
        if self._part is not None:
            self._protocol.pause_writing()
            self._wait()

    def resumed(self) -> bool:
        """Go on as the transport's buffer is empty; whether there is a part, so that the protocol has to wait."""
        if self._part is None:
            return False
        self._transport.set_write_buffer_limits()
        self._wait()
        return True

    def drop(self) -> None:
        """Let go of all, as the connection is lost."""
        self._let_go()
        if self._socket is not None:
            self._socket.close()

    def _wait(self) -> None:
        """Send the part as the client takes it, and resume the protocol then."""
        if not self._transport.is_closing():
            self._loop.add_writer(self._own_socket(), self._go_on)

    def _go_on(self) -> None:
        self._send()
        if self._part is None and not self._transport.is_closing():
            self._protocol.resume_writing()

    def _send(self) -> None:
        """Send as much of the part as can be sent now."""
        part = self._part
        assert part is not None
        try:
            part.send(self._own_socket())
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, EOFError) as error:
            if not isinstance(error, ConnectionError):
                reason = _ENDS_BEFORE if isinstance(error, EOFError) else error
                _log.warning("a response is cut off: %s", reason)
            self._let_go()
            self._transport.abort()
            return
        if not len(part):
            self._let_go()

    def _own_socket(self) -> socket.socket:
        if self._socket is None:
            descriptor = os.dup(self._transport.get_extra_info("socket").fileno())
            self._socket = socket.socket(fileno=descriptor)
        return self._socket

    def _let_go(self) -> None:
        if self._socket is not None:
            self._loop.remove_writer(self._socket)
        if self._part is not None:
            self._part.close()
            self._part = None
