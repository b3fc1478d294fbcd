"""The lower bound: the bytes of an exchange over bare sockets, without a protocol and without checks.

A message is a header of 80 bytes, as long as a C-ECHO-RQ, that begins with the length of the content after it. The
content is written to a file, and answered with 80 bytes. The programs are ``serve PORT FOLDER``, ``echo PORT COUNT``
and ``store PORT FOLDER``.
"""

from __future__ import annotations

import itertools
import os
import socket
import sys
import threading
from struct import Struct
from time import perf_counter

from .processes import HOST

_HEADER = Struct(">Q72x")
_BUFFER = 1 << 18
_BATCH = 1 << 20
_WINDOW = 16
_numbers = itertools.count()


def _read_exactly(sock: socket.socket, view: memoryview) -> bool:
    while view:
        count = sock.recv_into(view)
        if not count:
            return False
        view = view[count:]
    return True


def _serve_connection(sock: socket.socket, folder: str) -> None:
    view = memoryview(bytearray(_BUFFER))
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while _read_exactly(sock, view[: _HEADER.size]):
            (left,) = _HEADER.unpack(view[: _HEADER.size])
            if left:
                with open(os.path.join(folder, f"{next(_numbers)}"), "wb", buffering=0) as file:
                    while left:
                        count = sock.recv_into(view, min(left, _BUFFER))
                        file.write(view[:count])
                        left -= count
            sock.sendall(_HEADER.pack(0))


def serve(port: int, folder: str) -> None:
    """Write received content to files in ``folder``, until the process is ended."""
    with socket.create_server((HOST, port)) as listener:
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=_serve_connection, args=(sock, folder), daemon=True).start()


def _connect(port: int) -> socket.socket:
    sock = socket.create_connection((HOST, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def echo(port: int, count: int) -> float:
    """Time of ``count`` round trips, in seconds."""
    view = memoryview(bytearray(_HEADER.size))
    with _connect(port) as sock:
        begin = perf_counter()
        for _ in range(count):
            sock.sendmsg([_HEADER.pack(0)])
            _read_exactly(sock, view)
        return perf_counter() - begin


def store(port: int, folder: str) -> float:
    """Time to send all files of a folder, with up to 16 of them unanswered, in seconds."""
    answer = memoryview(bytearray(_HEADER.size))
    piece = memoryview(bytearray(_BATCH))
    names = sorted(os.listdir(folder))
    with _connect(port) as sock:
        begin = perf_counter()
        for index, name in enumerate(names):
            with open(os.path.join(folder, name), "rb", buffering=0) as file:
                head = _HEADER.pack(os.fstat(file.fileno()).st_size)
                while count := file.readinto(piece):
                    sent = sock.sendmsg([head, piece[:count]])
                    rest = sent - len(head)
                    sock.sendall(head[sent:])
                    sock.sendall(piece[max(rest, 0) : count])
                    head = b""
            if index >= _WINDOW - 1:
                _read_exactly(sock, answer)
        for _ in range(min(len(names), _WINDOW - 1)):
            _read_exactly(sock, answer)
        return perf_counter() - begin


if __name__ == "__main__":
    _what, _port, *_rest = sys.argv[1:]
    if _what == "serve":
        serve(int(_port), _rest[0])
    else:
        print(echo(int(_port), int(_rest[0])) if _what == "echo" else store(int(_port), _rest[0]))
