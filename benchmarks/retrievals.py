"""The archive node beside Orthanc: how fast a study comes out, by C-MOVE and C-GET, to DCMTK's receivers and ours.

The archives are filled before their first run, and started anew for each, which begins when their start is over; what
they give out goes to the RAM disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from pydicom import dcmread

from .archives import ARCHIVES, new_folder, store_command
from .model import OURS, Case, Group, Measure, Metric, Workspace
from .orthanc import ORTHANC
from .processes import (
    HOST,
    ROOT,
    Command,
    at_rest,
    checkout,
    cpu_of_tree,
    free_port,
    python,
    run,
    serving,
    started_from,
)
from .storing import LOADS, WHOLE, Load, check_stored
from .subjects import SERVERS, TUNED, Server

_LOADS = tuple(load for load in LOADS if load.name in ("small", "medium"))
_SUBJECTS = (f"{OURS} serve", f"{OURS} serve on PostgreSQL", ORTHANC)
# What no archive can beat; its time is that inside the association, without a command's start.
_PREPARED = "bytes made before"
_TITLE = "THERE"
_CPU = Metric("cpu", "the archive's processor time an object", "ms")
# Commands of requestors, from the port of the archive, the Study Instance UID and a folder.
Request = Callable[[int, str, Path], Command]


def _dcmtk(name: str, *options: str) -> Request:
    def command(port: int, study: str, folder: Path) -> Command:
        where = ("-od", str(folder)) if name == "getscu" else ("-aem", _TITLE)
        keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
        return Command((name, "-q", "-S", *options, *where, *keys, HOST, str(port)), TUNED)

    return command


def _get(port: int, study: str, folder: Path) -> Command:
    keys = ("-L", "study", "-k", f"StudyInstanceUID={study}")
    return python("-m", "dicomnet", "get", f"{HOST}:{port}", "--quiet", "--to", folder, *keys)


# By the key of a group: who asks, and who receives if it is another.
_WAYS: Mapping[str, tuple[str, Request, Server | None]] = {
    "move.dcmtk": ("C-MOVE by movescu to storescp +B", _dcmtk("movescu"), SERVERS["DCMTK NODELAY +B"]),
    "move.ours": ("C-MOVE by movescu to dicomnet receive", _dcmtk("movescu"), SERVERS[OURS]),
    "get.dcmtk": ("C-GET by getscu +B", _dcmtk("getscu", "+B"), None),
    "get.ours": ("C-GET by dicomnet get", _get, None),
}


class _Filled:
    """Archives with the objects of one load."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._folders: dict[tuple[str, Path], Path] = {}
        self._study = ""

    def measure(
        self, workspace: Workspace, subject: str, request: Request, receiver: Server | None
    ) -> Mapping[str, float]:
        """How long the command takes that asks for the study, and what it costs the archive."""
        store = self._store(workspace, subject)
        port = free_port()
        with workspace.destination() as folder, ExitStack() as stack:
            if receiver is not None:
                stack.enter_context(serving(receiver(port, folder), port))
            running = stack.enter_context(ARCHIVES[subject](store, {_TITLE: port}))
            at_rest(running.pids)
            used = sum(map(cpu_of_tree, running.pids))
            with started_from(ROOT):
                seconds = run(request(running.port, self._study, folder)).seconds
            used = sum(map(cpu_of_tree, running.pids)) - used
            stack.close()
            received = sum(
                path.stat().st_size > self._load.length for path in folder.rglob("*") if path.is_file()
            )
        check_stored(received, self._load.count)
        return {WHOLE.key: seconds, _CPU.key: used / self._load.count * 1e3}

    def prepared(self, receiver: Server, window: int) -> Measure:
        """The measurement of a sender whose bytes were made before."""

        def measure(workspace: Workspace) -> Mapping[str, float]:
            objects = workspace.objects.folder(self._load.count, self._load.length, "sender0")
            port = free_port()
            with workspace.destination() as folder, serving(receiver(port, folder), port):
                sent = run(python("-m", "benchmarks.prepared", port, objects, window))
            return {WHOLE.key: float(sent.output)}

        return measure

    def of(self, subject: str, request: Request, receiver: Server | None) -> Measure:
        """The measurement of one archive."""
        return lambda workspace: self.measure(workspace, subject, request, receiver)

    def _store(self, workspace: Workspace, subject: str) -> Path:
        key = subject, checkout()
        if key not in self._folders:
            objects = workspace.objects.folder(self._load.count, self._load.length, "sender0")
            self._study = str(dcmread(next(objects.iterdir()), stop_before_pixels=True).StudyInstanceUID)
            store = new_folder(workspace, subject)
            with ARCHIVES[subject](store) as running, started_from(ROOT):
                run(store_command(running.port, objects))
            check_stored(running.stored, self._load.count)
            self._folders[key] = store
        return self._folders[key]


def groups() -> tuple[Group, ...]:
    """Group m."""
    filled = {load.name: _Filled(load) for load in _LOADS}

    def cases(way: str, load: Load) -> tuple[Case, ...]:
        _, request, receiver = _WAYS[way]
        found = [Case(each, filled[load.name].of(each, request, receiver)) for each in _SUBJECTS]
        if receiver is not None:
            window = 16 if receiver is SERVERS[OURS] else 1
            found.append(Case(_PREPARED, filled[load.name].prepared(receiver, window)))
        return tuple(found)

    return tuple(
        Group(
            f"m.{way}.{load.name}",
            f"{title}: {load.title}",
            (replace(WHOLE, count=load.count), _CPU),
            cases(way, load),
        )
        for way, (title, _, _) in _WAYS.items()
        for load in _LOADS
    )
