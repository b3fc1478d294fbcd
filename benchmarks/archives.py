"""The archive node beside Orthanc: durable intake of many small objects and of CT slices, and queries among them.

Both servers write to the same disk, answer when an object is on the medium, and have Nagle's algorithm turned off. Each
run has a new store, which is kept until the end of the session. The client is always that of this checkout.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Protocol

from dicomnet.drivers.medium import is_in_memory

from .databases import OfServer, postgresql
from .model import OURS, Case, Group, Measure, Metric, Workspace
from .orthanc import ORTHANC, orthanc
from .processes import (
    HOST,
    ROOT,
    Command,
    Failed,
    checkout,
    cpu_of_ended,
    cpu_of_tree,
    free_port,
    python,
    run,
    run_together,
    serving,
    started_from,
)
from .queries import KINDS, query_files, write_queries
from .storing import WHOLE, check_stored
from .subjects import TUNED

_SMALL, _SLICE, _SLICES = 4_000, 500_000, 400
_QUERIES = 100
_TRIES = 3
_CPU = Metric("cpu", "the server's processor time an object, until it has ended", "ms")
_STOP = Metric("stop", "from the end of the senders to that of the server", "s")
_FIND = (
    Metric("id", "Patient ID", "ms"),
    Metric("name", "the first four letters of Patient's Name", "ms"),
    Metric("date", "Study Date", "ms"),
    Metric("accession", "Accession Number", "ms"),
)


@dataclass(slots=True)
class Running:
    """A server that runs.

    Parameters
    ----------
    port
        The port of its DICOM server.
    pids
        Its process, and that of the server of its database, if it has one.
    stored
        How many objects its store has; known when it has ended.
    ended
        When it ended, without its database, by `perf_counter`.
    """

    port: int
    pids: tuple[int, ...]
    stored: int = 0
    ended: float = 0.0


class Archive(Protocol):
    """Starts a server."""

    def __call__(
        self, folder: Path, destinations: Mapping[str, int] = MappingProxyType({})
    ) -> AbstractContextManager[Running]:
        """A server with its store in a folder, which can move objects to ports of this machine, by AE title."""
        ...


def _node(*options: object, on_postgresql: bool = False) -> Archive:
    @contextmanager
    def running(folder: Path, destinations: Mapping[str, int] = MappingProxyType({})) -> Iterator[Running]:
        port = free_port()
        to = [
            word for title, at in destinations.items() for word in ("--destination", f"{title}@{HOST}:{at}")
        ]
        command = python(
            "-m", "dicomnet", "serve", "--data", folder, "--port", port, "--quiet", *to, *options
        )
        with ExitStack() as stack:
            arguments, pids = command.arguments, tuple[int, ...]()
            if on_postgresql:
                # Databases of the runs before stay in it, as stores stay on the disk.
                server = stack.enter_context(postgresql(folder.parent / "postgresql"))
                database = OfServer(server, folder.name.lower().replace("-", "_"))
                arguments, pids = (*arguments, "--database", database.url), (server.pid,)
            with serving(Command(arguments, TUNED), port) as process:
                found = Running(port, (process.pid, *pids))
                yield found
            found.ended = perf_counter()
        found.stored = sum(path.is_file() for path in (folder / "objects").rglob("*.dcm"))

    return running


@contextmanager
def _orthanc(folder: Path, destinations: Mapping[str, int] = MappingProxyType({})) -> Iterator[Running]:
    installed = orthanc()
    port, http = free_port(), free_port()
    settings = {
        "Name": "benchmark",
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "StorageCompression": False,
        "SyncStorageArea": True,
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "TcpNoDelay": True,
        "DicomAet": "NODE",
        "DicomPort": port,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DicomModalities": {title: [title, HOST, at] for title, at in destinations.items()},
        "Plugins": [],
    }
    configuration = folder.with_suffix(".json")
    configuration.write_text(json.dumps(settings))
    with serving(installed.started_with(configuration), port, http) as process:
        found = Running(port, (process.pid,))
        yield found
        connection = HTTPConnection(HOST, http, timeout=20)
        connection.request("GET", "/statistics")
        found.stored = json.loads(connection.getresponse().read())["CountInstances"]
        connection.close()
    found.ended = perf_counter()


ARCHIVES: Mapping[str, Archive] = {
    f"{OURS} serve": _node(),
    f"{OURS} serve --workers 2": _node("--workers", 2),
    f"{OURS} serve on PostgreSQL": _node(on_postgresql=True),
    ORTHANC: _orthanc,
}


def _storescu(port: int, *folders: Path) -> Command:
    return Command(("storescu", "-q", "-xe", "-R", "+sd", HOST, str(port), *map(str, folders)), TUNED)


def store_command(port: int, *folders: Path) -> Command:
    """Our sender."""
    return python("-m", "dicomnet", "store", f"{HOST}:{port}", *folders, "--quiet")


def new_folder(workspace: Workspace, subject: str) -> Path:
    """An empty folder on the disk for the store of a subject."""
    folder = workspace.kept(subject.replace(" ", "-"))
    if is_in_memory(folder):
        raise Failed("the folder for stores is on a RAM disk; --folder names another one")
    # What is left of the run before would be written in this one.
    os.sync()
    return folder


def _intake(
    subject: str,
    send: Callable[..., Command],
    folders: Callable[[Workspace], tuple[tuple[Path, ...], ...]],
    count: int,
) -> Measure:
    """Store objects in a new archive; ``folders`` are those of each sender."""

    def measure(workspace: Workspace) -> Mapping[str, float]:
        of_senders = folders(workspace)
        with ExitStack() as stack:
            running = stack.enter_context(ARCHIVES[subject](new_folder(workspace, subject)))
            used_before = sum(map(cpu_of_tree, running.pids))
            with started_from(ROOT):
                seconds = run_together([send(running.port, *each) for each in of_senders]).seconds
            used_by_others = cpu_of_ended()
            begin = perf_counter()
            stack.close()
            used = cpu_of_ended() - used_by_others - used_before
        check_stored(running.stored, count)
        return {WHOLE.key: seconds, _CPU.key: used / count * 1e3, _STOP.key: running.ended - begin}

    return measure


class _Querying:
    """Queries of archives that are filled before their first run."""

    def __init__(self, studies: int) -> None:
        self._studies = studies
        self._filled: dict[tuple[str, Path], Path] = {}
        self._files: Path | None = None

    def measure(self, workspace: Workspace, subject: str) -> Mapping[str, float]:
        studies = workspace.objects.studies(self._studies, _SMALL)
        folder = self._filled.get((subject, checkout()))
        if folder is None:
            folder = new_folder(workspace, subject)
            with ARCHIVES[subject](folder) as running, started_from(ROOT):
                run(store_command(running.port, *studies.folders))
            check_stored(running.stored, studies.objects)
            self._filled[subject, checkout()] = folder
        if self._files is None:
            self._files = workspace.kept("queries", on_disk=False)
            write_queries(self._files, studies.rows, _QUERIES)
        with ARCHIVES[subject](folder) as running, started_from(ROOT):
            run(python("-m", "benchmarks.queries", running.port, self._files))
            return {kind: _milliseconds(running.port, self._files, kind) for kind in KINDS}

    def of(self, subject: str) -> Measure:
        """The measurement of one archive."""
        return lambda workspace: self.measure(workspace, subject)


def _milliseconds(port: int, folder: Path, kind: str) -> float:
    """The mean time of a query, by the time of all on one association less that of the first alone."""
    files = query_files(folder, kind)

    def seconds(some: list[Path]) -> float:
        return run(Command(("findscu", "-q", "-S", HOST, str(port), *map(str, some)), TUNED)).seconds

    all_of_them, one = seconds(files), min(seconds(files[:1]) for _ in range(_TRIES))
    return (all_of_them - one) / (len(files) - 1) * 1e3


def groups(studies: int) -> tuple[Group, ...]:
    """Group k.

    Parameters
    ----------
    studies
        How many studies of five small objects are sent.
    """
    count = studies * 5
    small = f"{count} x {_SMALL / 1000:g} KB of {studies} studies"

    def together(workspace: Workspace) -> tuple[tuple[Path, ...], ...]:
        return (workspace.objects.studies(studies, _SMALL).folders,)

    def apart(workspace: Workspace) -> tuple[tuple[Path, ...], ...]:
        return tuple((folder,) for folder in workspace.objects.studies(studies, _SMALL).folders)

    def slices(workspace: Workspace) -> tuple[tuple[Path, ...], ...]:
        return ((workspace.objects.folder(_SLICES, _SLICE, "sender0"),),)

    def group(
        name: str,
        title: str,
        send: Callable[..., Command],
        folders: Callable[[Workspace], tuple[tuple[Path, ...], ...]],
        of: int,
    ) -> Group:
        whole = replace(WHOLE, count=of)
        cases = tuple(Case(subject, _intake(subject, send, folders, of)) for subject in ARCHIVES)
        return Group(f"k.{name}", title, (whole, _CPU, _STOP), cases)

    querying = _Querying(studies)
    return (
        group("dcmtk", f"durable intake of {small}, one storescu", _storescu, together, count),
        group("dcmtk4", f"durable intake of {small}, four storescu", _storescu, apart, count),
        group("ours", f"durable intake of {small}, one dicomnet store", store_command, together, count),
        group("ours4", f"durable intake of {small}, four dicomnet store", store_command, apart, count),
        group("ct", f"durable intake of {_SLICES} x 0.5 MB, one storescu", _storescu, slices, _SLICES),
        Group(
            "k.find",
            f"C-FIND among {studies} studies, mean of {_QUERIES} by one findscu",
            _FIND,
            tuple(Case(subject, querying.of(subject)) for subject in ARCHIVES),
        ),
    )
