"""The profiler: runs an exchange of dicomnet with itself, one side under py-spy if installed, otherwise cProfile."""

from __future__ import annotations

import os
import pstats
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .model import OURS, Workspace
from .processes import Command, end, free_port, run, serving
from .subjects import CLIENTS, SERVERS, program

SCP, SCU = "scp", "scu"
_RATE = 1000
_END_LIMIT = 20
_ROUNDS = 10_000
# Loading modules is part of the start-up, which has a benchmark of its own.
_LOADING = "importlib._bootstrap"
# Where threads wait; py-spy takes some of them for busy.
_WAITING = (
    "EpollSelector.select",
    "Condition.wait",
    "wait (dicomnet/drivers/",
    "_serve (dicomnet/cli/listening",
)

# From the workspace, the port and a folder to receive into: what serves, and what asks.
_Commands = Callable[[Workspace, int, Path], tuple[Command, Command]]


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange that can be profiled.

    Parameters
    ----------
    commands
        Returns the commands of the two processes.
    rounds
        The number of messages, associations or matches in it.
    """

    commands: _Commands
    rounds: int


def _store(count: int, length: int, client_name: str = OURS) -> Exchange:
    def commands(workspace: Workspace, port: int, received: Path) -> tuple[Command, Command]:
        inner = CLIENTS[client_name].inner
        assert inner is not None
        objects = workspace.objects.folder(count, length)
        client = inner(port, objects, workspace.objects.folder(1, 64, "tiny"))
        return SERVERS[OURS](port, received), client

    return Exchange(commands, count)


def _message(name: str, rounds: int, matches: int = 0) -> Exchange:
    def commands(workspace: Workspace, port: int, received: Path) -> tuple[Command, Command]:
        return program("serve", OURS, port, matches, 100), program(name, OURS, port, rounds)

    return Exchange(commands, rounds)


EXCHANGES: dict[str, Exchange] = {
    "store-small": _store(10_000, 40_000),
    "store-small-ae": _store(5000, 40_000, f"{OURS} AE"),
    "store-medium": _store(2000, 500_000),
    "store-large": _store(8, 200_000_000),
    "echo": _message("peer-echo", _ROUNDS),
    "echo-ae": _message("echo", _ROUNDS),
    "associations": _message("associations", 2000),
    "find": _message("find", _ROUNDS, _ROUNDS),
}


@dataclass(frozen=True, slots=True)
class _Profiler:
    """A way to profile a command.

    Parameters
    ----------
    wrap
        The command that profiles a command into a file.
    show
        Prints the top entries of that file, given how many rounds there were.
    """

    wrap: Callable[[Command, Path], Command]
    show: Callable[[Path, int, int], None]


def profile(workspace: Workspace, name: str, side: str, top: int, py_spy: str | None) -> None:
    """Run an exchange, and print where one side spent its time.

    Parameters
    ----------
    name
        A key of `EXCHANGES`.
    side
        ``scp`` or ``scu``.
    top
        The number of entries to print.
    py_spy
        Path of py-spy; None to use cProfile, which makes small functions look slower than they are.
    """
    profiler = _c_profile() if py_spy is None else _sampler(py_spy)
    port = free_port()
    with workspace.destination() as received, workspace.destination("profile") as folder:
        out = folder / "profile"
        exchange = EXCHANGES[name]
        server, client = exchange.commands(workspace, port, received)
        if side == SCU:
            with serving(server, port):
                run(profiler.wrap(client, out))
        else:
            with serving(profiler.wrap(server, out), port) as process, _ended_by_its_child(process):
                run(client)
        profiler.show(out, top, exchange.rounds)


@contextmanager
def _ended_by_its_child(process: subprocess.Popen[str]) -> Iterator[None]:
    """A profiler that runs a server ends, with its result, when the server does."""
    children = _children(process.pid)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for child in children & _children(process.pid):
                os.kill(child, number)
            if not children:
                end(process)
            try:
                process.wait(_END_LIMIT)
                break
            except subprocess.TimeoutExpired:
                continue


def _children(pid: int) -> set[int]:
    try:
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except FileNotFoundError:
        return set()


def _c_profile() -> _Profiler:
    def wrap(command: Command, out: Path) -> Command:
        python, _, *rest = command.arguments
        return Command((python, "-m", "benchmarks.profiled", str(out), *rest), command.environment)

    def show(out: Path, top: int, rounds: int) -> None:
        print(f"{rounds} rounds")
        stats = pstats.Stats(str(out), stream=sys.stdout)
        stats.sort_stats("tottime").print_stats(top)

    return _Profiler(wrap, show)


def _sampler(py_spy: str) -> _Profiler:
    def wrap(command: Command, out: Path) -> Command:
        options = ("record", "--format", "raw", "--rate", str(_RATE), "--output", str(out))
        return Command((py_spy, *options, "--", *command.arguments), command.environment)

    def show(out: Path, top: int, rounds: int) -> None:
        own: Counter[str] = Counter()
        within: Counter[str] = Counter()
        for line in out.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            frames = stack.split(";")
            if not stack or _LOADING in stack or frames[-1].startswith(_WAITING):
                continue
            own[frames[-1]] += int(count)
            for frame in set(frames):
                within[frame] += int(count)
        total = own.total()
        for title, counter in (("own time", own), ("time with what it calls", within)):
            print(f"{title}: {total} samples, {_RATE} a second, {rounds} rounds")
            for frame, samples in counter.most_common(top):
                print(f"  {samples / total:6.1%}  {samples / _RATE / rounds * 1e6:8.1f} us each  {frame}")

    return _Profiler(wrap, show)


def find_py_spy() -> str | None:
    """Path of py-spy, the sampling profiler, if it is installed beside this interpreter or on the path."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy")
