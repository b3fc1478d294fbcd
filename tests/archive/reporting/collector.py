"""A syslog server by TLS (RFC 5425) that appends the messages that come to a file, each in a line.

Arguments: the port, the file of its certificate, that of its key, that of the authority of clients, and the file.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys


def messages(connection: ssl.SSLSocket, out: int) -> None:
    """Read frames to the end of the connection."""
    left = b""
    while data := connection.recv(1 << 16):
        left += data
        while True:
            length, blank, rest = left.partition(b" ")
            if not blank or len(rest) < int(length):
                break
            os.write(out, rest[: int(length)] + b"\n")
            left = rest[int(length) :]
    assert not left
    # TLS is ended in order.
    connection.unwrap()


def main(port: str, certificate: str, key: str, authority: str, path: str) -> None:
    """Take one connection after another."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
    out = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with socket.create_server(("127.0.0.1", int(port))) as server:
        print("listening", flush=True)
        while True:
            plain, _ = server.accept()
            try:
                with context.wrap_socket(plain, server_side=True) as connection:
                    messages(connection, out)
            except OSError:
                plain.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
