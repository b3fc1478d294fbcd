"""C-STORE: whole commands, inside an association, between different implementations, and many senders at once."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from .model import OURS, Case, Group, Measure, Metric, Workspace
from .processes import Failed, free_port, run, run_together, serving
from .subjects import CLIENTS, FLOOR, HAS_AIO, PYNETDICOM, SERVERS, Server, pydcm_server

WHOLE = Metric("command", "whole command, process start to exit", "s")
INNER = Metric("association", "inside the association", "s")
_METRICS = (WHOLE, INNER)
_TINY = 64
_MOST_OF_HEADER = 4096


@dataclass(frozen=True, slots=True)
class Load:
    """The objects to send.

    Parameters
    ----------
    name
        Its name in the key of a group.
    count
        The number of objects.
    length
        Length of the pixel data of each object, in bytes.
    sample, quick_sample
        How many of them a slow client sends.
    """

    name: str
    count: int
    length: int
    sample: int
    quick_sample: int

    @property
    def title(self) -> str:
        """Its name for people."""
        size = f"{self.length / 1e6:g} MB" if self.length >= 100_000 else f"{self.length / 1000:g} KB"
        return f"{self.count} x {size}"


LOADS = (
    Load("small", 1000, 40_000, 100, 20),
    Load("medium", 400, 500_000, 100, 20),
    Load("large", 2, 200_000_000, 2, 2),
)


@dataclass(frozen=True, slots=True)
class Transfer:
    """One client sending to one server.

    Parameters
    ----------
    client, server
        Keys of `CLIENTS` and `SERVERS`.
    load
        The objects that each sender sends.
    sample
        How many objects are really sent; the times are scaled up to all.
    senders
        How many clients send at the same time.
    on_disk
        Whether the server writes to the disk.
    """

    client: str
    server: str
    load: Load
    sample: int
    senders: int = 1
    on_disk: bool = False

    def measure(self, workspace: Workspace) -> Mapping[str, float]:
        """Both times, as far as the client measures them, scaled up to all objects."""
        client = CLIENTS[self.client]
        folders = [
            workspace.objects.folder(self.sample, self.load.length, f"sender{number}")
            for number in range(self.senders)
        ]
        tiny = workspace.objects.folder(1, _TINY, "tiny")
        scale = self.load.count / self.sample
        if client.command is None:
            return {INNER.key: self._inner(workspace, folders[0], tiny) * scale}
        whole = self._whole(workspace, folders)
        if client.inner is not None and self.senders == 1:
            inner = self._inner(workspace, folders[0], tiny)
        elif self.senders > 1 and scale == 1:
            return {WHOLE.key: whole}
        else:
            inner = whole - self._whole(workspace, [tiny] * self.senders)
        return {WHOLE.key: whole + inner * (scale - 1), INNER.key: inner * scale}

    def _whole(self, workspace: Workspace, folders: list[Path]) -> float:
        command = CLIENTS[self.client].command
        assert command is not None
        with ExitStack() as stack:
            port = self._serve(workspace, stack)
            return run_together([command(port, folder) for folder in folders]).seconds

    def _inner(self, workspace: Workspace, folder: Path, first: Path) -> float:
        inner = CLIENTS[self.client].inner
        assert inner is not None
        with ExitStack() as stack:
            return float(run(inner(self._serve(workspace, stack), folder, first)).output)

    def _serve(self, workspace: Workspace, stack: ExitStack) -> int:
        port = free_port()
        received = stack.enter_context(workspace.destination(on_disk=self.on_disk))
        stack.enter_context(serving(SERVERS[self.server](port, received), port))
        return port


# Subject, client, server, and whether it is slow.
_Pair = tuple[str, str, str, bool]

_SAME: tuple[_Pair, ...] = (
    (OURS, OURS, OURS, False),
    *(((f"{OURS} (aio)", f"{OURS} aio", OURS, False),) if HAS_AIO else ()),
    (f"{OURS} (AE)", f"{OURS} AE", OURS, False),
    (f"{OURS} to the node with an index", OURS, f"{OURS} serve", False),
    (PYNETDICOM, PYNETDICOM, PYNETDICOM, True),
    ("DCMTK", "DCMTK", "DCMTK", True),
    ("DCMTK NODELAY", "DCMTK NODELAY", "DCMTK NODELAY", False),
    ("DCMTK NODELAY, +B", "DCMTK NODELAY", "DCMTK NODELAY +B", False),
    (FLOOR, FLOOR, FLOOR, False),
)
_CROSSED: tuple[_Pair, ...] = (
    (f"{OURS} -> {OURS}", OURS, OURS, False),
    (f"DCMTK -> {OURS}", "DCMTK", OURS, False),
    (f"DCMTK NODELAY -> {OURS}", "DCMTK NODELAY", OURS, False),
    (f"{PYNETDICOM} -> {OURS}", PYNETDICOM, OURS, True),
    (f"{OURS} -> DCMTK", OURS, "DCMTK", False),
    (f"{OURS} -> DCMTK NODELAY", OURS, "DCMTK NODELAY", False),
    (f"{OURS} -> {PYNETDICOM}", OURS, PYNETDICOM, True),
)
_DISK: tuple[_Pair, ...] = (
    (f"{OURS}, each object on the medium before its response", OURS, OURS, False),
    ("DCMTK NODELAY, nothing waited for", "DCMTK NODELAY", "DCMTK NODELAY", False),
    ("DCMTK NODELAY +B, nothing waited for", "DCMTK NODELAY", "DCMTK NODELAY +B", False),
    (f"{FLOOR}, nothing waited for", FLOOR, FLOOR, False),
)
_ALONE: tuple[_Pair, ...] = (
    (OURS, OURS, OURS, False),
    ("DCMTK NODELAY, +B --fork", "DCMTK NODELAY", "DCMTK NODELAY +B --fork", False),
    (PYNETDICOM, PYNETDICOM, PYNETDICOM, True),
    (FLOOR, FLOOR, FLOOR, False),
)
_PARALLEL: tuple[_Pair, ...] = (
    (f"{OURS} --workers 2", OURS, f"{OURS} --workers 2", False),
    (OURS, OURS, OURS, False),
    (f"DCMTK NODELAY -> {OURS} --workers 2", "DCMTK NODELAY", f"{OURS} --workers 2", False),
    ("DCMTK NODELAY, +B --fork", "DCMTK NODELAY", "DCMTK NODELAY +B --fork", False),
    (PYNETDICOM, PYNETDICOM, PYNETDICOM, True),
    (FLOOR, FLOOR, FLOOR, False),
)


def _cases(
    pairs: tuple[_Pair, ...], load: Load, quick: bool, *, senders: int = 1, on_disk: bool = False
) -> tuple[Case, ...]:
    def case(subject: str, client: str, server: str, is_slow: bool) -> Case:
        sample = (load.quick_sample if quick else load.sample) if is_slow else load.count
        transfer = Transfer(client, server, load, sample, senders, on_disk)
        notes = []
        if sample < load.count:
            notes.append(f"{sample} of {load.count} objects, scaled")
        if CLIENTS[client].inner is None and senders == 1:
            notes.append("association derived")
        return Case(subject, transfer.measure, "; ".join(notes), is_slow)

    return tuple(case(*pair) for pair in pairs)


def receiving_groups(pydcm: Path | None) -> tuple[Group, ...]:
    """Group l: one foreign sender, one object after another, to servers that only receive.

    Parameters
    ----------
    pydcm
        An interpreter that has pydcm.
    """
    servers: dict[str, Server] = {
        f"DCMTK NODELAY -> {OURS} receive": SERVERS[OURS],
        "DCMTK NODELAY -> storescp +B": SERVERS["DCMTK NODELAY +B"],
        "DCMTK NODELAY -> pydcm": pydcm_server(pydcm),
    }
    return tuple(
        Group(
            f"l.{load.name}",
            f"C-STORE of {load.title} by one storescu to a RAM disk",
            (replace(WHOLE, count=load.count),),
            tuple(Case(subject, _sending(server, load)) for subject, server in servers.items()),
        )
        for load in LOADS[:2]
    )


def check_stored(stored: int, expected: int) -> None:
    """See to it that all objects have arrived.

    Raises
    ------
    Failed
        If they have not.
    """
    if stored != expected:
        raise Failed(f"{stored} of {expected} objects have been stored")


def _sending(server: Server, load: Load) -> Measure:
    def measure(workspace: Workspace) -> Mapping[str, float]:
        send = CLIENTS["DCMTK NODELAY"].command
        assert send is not None
        folder = workspace.objects.folder(load.count, load.length, "sender0")
        port = free_port()
        with workspace.destination() as received:
            with serving(server(port, received), port):
                seconds = run(send(port, folder)).seconds
            sizes = [path.stat().st_size for path in received.rglob("*") if path.is_file()]
            check_stored(
                sum(load.length < size < load.length + _MOST_OF_HEADER for size in sizes), load.count
            )
        return {WHOLE.key: seconds}

    return measure


def groups(quick: bool) -> tuple[Group, ...]:
    """Groups c, d and e."""
    parallel = Load("parallel", 50 if quick else 200, 500_000, 40, 10)
    return (
        *(
            Group(
                f"c.{load.name}",
                f"C-STORE of {load.title} to a RAM disk",
                _METRICS,
                _cases(_SAME, load, quick),
            )
            for load in LOADS
        ),
        *(
            Group(
                f"c.disk.{load.name}",
                f"C-STORE of {load.title} to the disk",
                (WHOLE,),
                _cases(_DISK, load, quick, on_disk=True),
                option="disk",
            )
            for load in LOADS
        ),
        *(
            Group(
                f"d.{load.name}",
                f"C-STORE of {load.title} between implementations",
                _METRICS,
                _cases(_CROSSED, load, quick),
            )
            for load in LOADS[:2]
        ),
        Group(
            "e.one",
            f"one sender, {parallel.title}, to the servers of group e",
            _METRICS,
            _cases(_ALONE, parallel, quick),
        ),
        Group(
            "e",
            f"8 senders at once, each {parallel.title}, to one server",
            (WHOLE,),
            _cases(_PARALLEL, parallel, quick, senders=8),
        ),
    )
