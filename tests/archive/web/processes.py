"""A ``dicomnet serve`` with DICOMweb in processes of its own, and which of them has which connection.

It is not imported by a conftest, which would be before the environment of processes is known.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.archive.web.clients import PATIENCE, Answer, ask, content_type, multipart
from tests.support import TOOL_ENVIRONMENT, ServedNode, serving, wait_until


@contextlib.contextmanager
def serving_web(
    folder: Path, *options: str, **variables: str
) -> Iterator[tuple[ServedNode, tuple[str, int]]]:
    """A ``dicomnet serve`` with DICOMweb, and where that is; options are those of its command line."""
    environment = {**TOOL_ENVIRONMENT, **variables}
    with serving(folder, "--http", "127.0.0.1:0", *options, environment=environment) as node:
        output = folder / "output.txt"
        wait_until(lambda: "DICOMweb: http://" in output.read_text(), PATIENCE, "it says where DICOMweb is")
        found = re.search(r"DICOMweb: http://([0-9.]+):([0-9]+)/", output.read_text())
        assert found is not None
        yield node, (found[1], int(found[2]))


def store_files(address: tuple[str, int], paths: Sequence[Path]) -> Answer:
    """Store files by one request."""
    body = multipart([path.read_bytes() for path in paths])
    return ask(address, "POST", "/studies", body, {"Content-Type": content_type()})


def worker_of(connection: socket.socket, workers: list[int]) -> int:
    """The worker that has accepted a connection (Linux)."""
    here, there = (f":{each[1]:04X}" for each in (connection.getsockname(), connection.getpeername()))
    found: list[int] = []

    def is_found() -> bool:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        links = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(there) and row[2].endswith(here)}
        found[:] = [each for each in workers if links & set(_links(each))]
        return bool(found)

    wait_until(is_found, PATIENCE, "a worker has accepted it")
    return found[0]


def _links(process: int) -> Iterator[str]:
    for each in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield os.readlink(each)


def connected_elsewhere(address: tuple[str, int], worker: int, workers: list[int]) -> socket.socket:
    """A connection that another worker has accepted."""
    while True:
        connection = socket.create_connection(address, PATIENCE)
        if worker_of(connection, workers) != worker:
            return connection
        connection.close()
