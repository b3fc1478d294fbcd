"""Where our time goes: one exchange of ours, with one of its sides under py-spy if there is one, or under cProfile."""

from __future__ import annotations

import pstats
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .model import OURS, Workspace
from .processes import Command, end, free_port, run, serving
from .storing import LOADS, Load
from .subjects import CLIENTS, SERVERS, program

SCP, SCU = "scp", "scu"
_RATE = 500
_ROUNDS = 10_000

# From the workspace and the port: what serves, and what asks.
_Exchange = Callable[[Workspace, int, Path], tuple[Command, Command]]


def _store(load: Load) -> _Exchange:
    def commands(workspace: Workspace, port: int, received: Path) -> tuple[Command, Command]:
        inner = CLIENTS[OURS].inner
        assert inner is not None
        objects = workspace.objects.folder(load.count, load.length)
        client = inner(port, objects, workspace.objects.folder(1, 64, "tiny"))
        return SERVERS[OURS](port, received), client

    return commands


def _message(name: str, matches: int) -> _Exchange:
    def commands(workspace: Workspace, port: int, received: Path) -> tuple[Command, Command]:
        return program("serve", OURS, port, matches, 100), program(name, OURS, port, _ROUNDS)

    return commands


EXCHANGES: dict[str, _Exchange] = {
    **{f"store-{load.name}": _store(load) for load in LOADS},
    "echo": _message("peer-echo", 0),
    "echo-ae": _message("echo", 0),
    "associations": _message("associations", 0),
    "find": _message("find", _ROUNDS),
}


@dataclass(frozen=True, slots=True)
class _Profiler:
    """A way to profile a command.

    Parameters
    ----------
    wrap
        The command that profiles a command into a file.
    show
        Prints the top entries of that file.
    """

    wrap: Callable[[Command, Path], Command]
    show: Callable[[Path, int], None]


def profile(workspace: Workspace, name: str, side: str, top: int, py_spy: str | None) -> None:
    """Run an exchange and print where the time of a side went.

    Parameters
    ----------
    name
        Of `EXCHANGES`.
    side
        ``scp`` or ``scu``.
    top
        How many entries are printed.
    py_spy
        The program; None to use cProfile, which makes small functions look larger than they are.
    """
    profiler = _c_profile() if py_spy is None else _sampler(py_spy)
    port = free_port()
    with workspace.destination() as received, workspace.destination("profile") as folder:
        out = folder / "profile"
        server, client = EXCHANGES[name](workspace, port, received)
        if side == SCU:
            with serving(server, port):
                run(profiler.wrap(client, out))
        else:
            with serving(profiler.wrap(server, out), port) as process, _ended_by_its_child(process):
                run(client)
        profiler.show(out, top)


@contextmanager
def _ended_by_its_child(process: subprocess.Popen[str]) -> Iterator[None]:
    """A profiler that runs a server ends, with its result, when the server does."""
    yield
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    if not children:
        end(process)
        return
    subprocess.run(["kill", "-TERM", *children], check=True)
    process.wait(20)


def _c_profile() -> _Profiler:
    def wrap(command: Command, out: Path) -> Command:
        python, _, *rest = command.arguments
        return Command((python, "-m", "benchmarks.profiled", str(out), *rest), command.environment)

    def show(out: Path, top: int) -> None:
        stats = pstats.Stats(str(out), stream=sys.stdout)
        stats.sort_stats("tottime").print_stats(top)

    return _Profiler(wrap, show)


def _sampler(py_spy: str) -> _Profiler:
    def wrap(command: Command, out: Path) -> Command:
        options = ("record", "--format", "raw", "--rate", str(_RATE), "--output", str(out))
        return Command((py_spy, *options, "--", *command.arguments), command.environment)

    def show(out: Path, top: int) -> None:
        own: Counter[str] = Counter()
        within: Counter[str] = Counter()
        for line in out.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            frames = stack.split(";")
            own[frames[-1]] += int(count)
            for frame in set(frames):
                within[frame] += int(count)
        total = own.total()
        for title, counter in (("own time", own), ("time with what it calls", within)):
            print(f"{title} ({total} samples, {_RATE} a second)")
            for frame, samples in counter.most_common(top):
                print(f"  {samples / total:6.1%}  {samples / _RATE * 1e3:8.0f} ms  {frame}")

    return _Profiler(wrap, show)


def find_py_spy() -> str | None:
    """The sampling profiler, if it is installed beside this interpreter or on the path."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy")
