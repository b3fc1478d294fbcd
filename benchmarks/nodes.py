"""A node with an empty store that has the index of many studies, in a process of its own."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from .databases import Database
from .processes import Failed, end, python, start


@dataclass(slots=True)
class Node:
    """A node that runs.

    Parameters
    ----------
    process
        Its process.
    port
        Its port.
    database
        That of its index.
    began
        When it was started, by `time.perf_counter`.
    web_port
        Its port for HTTP; 0 for none.
    """

    process: subprocess.Popen[str]
    port: int
    database: Database
    began: float = field(default_factory=time.perf_counter)
    web_port: int = 0

    @property
    def pid(self) -> int:
        """Its process ID."""
        return self.process.pid

    def used(self) -> float:
        """The processor time of all threads of the node and of its database's server, in seconds."""
        return sum(map(_used, (self.pid, *self.database.processes)))


@contextlib.contextmanager
def serving(database: Database, folder: Path, *, has_web: bool = False) -> Iterator[Node]:
    """A node that has an index, with a new store in a folder."""
    # As the store is new, nobody looks whether it has the objects of the index.
    with TemporaryDirectory(dir=folder) as store, running(database, Path(store), has_web=has_web) as node:
        yield node


@contextlib.contextmanager
def running(
    database: Database, store: Path, *, has_web: bool = False, environment: Mapping[str, str] | None = None
) -> Iterator[Node]:
    """A node that has an index and a store, once it accepts connections; also by HTTP if that is asked for."""
    options = ("--data", store, "--port", 0, "--drain", 1, "--database", database.url)
    serve = python("-m", "dicomnet", "serve", *options, "--http", "0" if has_web else "off")
    began = time.perf_counter()
    process = start(replace(serve, environment=environment or {}), stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        found = re.search(r":(\d+), storing", said)
        if found is None:
            raise Failed(f"dicomnet serve said {said!r}")
        node = Node(process, int(found[1]), database, began)
        while has_web and not node.web_port:
            said = process.stdout.readline()
            if not said:
                raise Failed("dicomnet serve said no port for HTTP")
            at = re.search(r"DICOMweb: http://.*:(\d+)/", said)
            node.web_port = int(at[1]) if at is not None else 0
        yield node
    finally:
        end(process)


def _used(pid: int) -> float:
    total = 0
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9
