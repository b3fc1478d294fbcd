"""Memory that a large object takes on both sides, and the cost of idle associations to a server."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from time import perf_counter, sleep

from .model import OURS, Case, Group, Measure, Metric, Workspace
from .processes import Failed, cpu_of, end, free_port, memory_of, run, run_together, serving, start
from .subjects import CLIENTS, PYNETDICOM, SERVERS, program

_SENDER = Metric("sender", "peak of the sender above that for a tiny object", "MiB")
_RECEIVER = Metric("receiver", "peak of the receiver above idle", "MiB")
_MEMORY = Metric("memory", "an idle association, at the server", "KiB")
_CPU = Metric("cpu", "the server with idle associations, of one core", "%")
_ECHO = Metric("echo", "a C-ECHO beside the idle associations", "us")
_MIB, _KIB = 1 << 20, 1 << 10
_ECHOES = 500


def _memory(client: str, server: str, length: int) -> Measure:
    def measure(workspace: Workspace) -> Mapping[str, float]:
        send = CLIENTS[client].command
        assert send is not None
        tiny = workspace.objects.folder(1, 64, "tiny")
        large = workspace.objects.folder(1, length, "memory")
        with ExitStack() as stack:
            folder = stack.enter_context(workspace.destination())
            port = free_port()
            process = stack.enter_context(serving(SERVERS[server](port, folder), port))
            least = run_together([send(port, tiny)], looks_at_memory=True).peak
            idle = memory_of(process.pid)
            peak = run_together([send(port, large)], looks_at_memory=True).peak
            received = memory_of(process.pid, "VmHWM")
        return {_SENDER.key: (peak - least) / _MIB, _RECEIVER.key: (received - idle) / _MIB}

    return measure


def _idle(library: str, count: int, seconds: float) -> Measure:
    def measure(workspace: Workspace) -> Mapping[str, float]:
        port = free_port()
        with ExitStack() as stack:
            server = stack.enter_context(serving(program("serve", library, port, 0, count + 10), port))
            # The first association loads the modules that are imported late.
            run(program("echo", OURS, port, 1))
            empty = memory_of(server.pid)
            holder = start(program("hold", OURS, port, count), stdout=-1)
            stack.callback(end, holder)
            assert holder.stdout is not None
            if holder.stdout.readline().strip() != "ready":
                raise Failed(f"could not open {count} associations")
            full = memory_of(server.pid)
            begin, used = perf_counter(), cpu_of(server.pid)
            sleep(seconds)
            share = (cpu_of(server.pid) - used) / (perf_counter() - begin)
            echo = float(run(program("echo", OURS, port, _ECHOES)).output) / _ECHOES
        return {_MEMORY.key: (full - empty) / count / _KIB, _CPU.key: share * 100, _ECHO.key: echo * 1e6}

    return measure


def groups(quick: bool) -> tuple[Group, ...]:
    """Groups h and i."""
    length, few, seconds = (200_000_000, 100, 2.0) if quick else (1_000_000_000, 200, 4.0)
    return (
        Group(
            "h",
            f"memory for one object of {length / 1e9:g} GB",
            (_SENDER, _RECEIVER),
            (
                Case(OURS, _memory(OURS, OURS, length)),
                Case("DCMTK NODELAY, +B", _memory("DCMTK NODELAY", "DCMTK NODELAY +B", length)),
                Case("DCMTK NODELAY", _memory("DCMTK NODELAY", "DCMTK NODELAY", length)),
                Case(PYNETDICOM, _memory(PYNETDICOM, PYNETDICOM, length), is_slow=True),
            ),
            option="memory",
        ),
        Group(
            "i",
            "idle associations on a server of the library",
            (_MEMORY, _CPU, _ECHO),
            (
                Case(OURS, _idle(OURS, 1000, seconds), "1000 associations"),
                Case(PYNETDICOM, _idle(PYNETDICOM, few, seconds), f"{few} associations", is_slow=True),
            ),
        ),
    )
