"""Child processes: started on free ports, watched through /proc, ended by the pid they were started with."""

from __future__ import annotations

import os
import resource
import select
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter, sleep

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[1]
_POLL = 0.005
_REST = 0.3
_START_LIMIT = 20.0
# A node may have to file what it has acknowledged.
_END_LIMIT = 60.0
_RUN_LIMIT = 600.0
_LISTENING = "0A"
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
# The checkouts whose turn it is, the innermost last; without one it is what our own interpreter imports.
_checkouts: list[Path] = []


class Failed(Exception):
    """A child process did not do what it was started for."""


class Absent(Exception):
    """A program that is to be measured is not installed."""


@dataclass(frozen=True, slots=True)
class Command:
    """How to start a process.

    Parameters
    ----------
    arguments
        The program and its arguments.
    environment
        Variables that are set in addition to our own environment.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def python(*arguments: object) -> Command:
    """This interpreter with arguments."""
    return Command((sys.executable, *map(str, arguments)))


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that ended well.

    Parameters
    ----------
    seconds
        Time from its start to its end, in seconds.
    output
        What it wrote to standard output.
    peak
        The most resident memory that was seen, in bytes; 0 if it was not watched.
    """

    seconds: float
    output: str
    peak: int = 0


def free_port() -> int:
    """A TCP port that is not in use now."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def started_from(checkout: Path) -> Iterator[None]:
    """Start processes with `dicomnet` and `benchmarks` of another checkout of the repository."""
    _checkouts.append(checkout)
    try:
        yield
    finally:
        _checkouts.pop()


def checkout() -> Path:
    """The checkout that processes are started from."""
    return _checkouts[-1] if _checkouts else ROOT


def start(command: Command, *, stdout: int | None = None, stderr: int | None = None) -> subprocess.Popen[str]:
    """Start a process in the repository's root, or in that of `started_from`; the caller ends it."""
    path = {"PYTHONPATH": str(_checkouts[-1] / "src")} if _checkouts else {}
    return subprocess.Popen(
        command.arguments,
        cwd=checkout(),
        env={**os.environ, **path, **command.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if stdout is None else stdout,
        stderr=subprocess.DEVNULL if stderr is None else stderr,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    """End a process that we started, if it has not ended."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_END_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def run(command: Command) -> Finished:
    """Run a process to its end.

    Raises
    ------
    Failed
        If its exit status is not 0.
    """
    return run_together([command])


def run_together(commands: Sequence[Command], *, looks_at_memory: bool = False) -> Finished:
    """Run processes side by side. The time is from the first start to the last end, the output that of the first one.

    Raises
    ------
    Failed
        If an exit status is not 0.
    """
    with ExitStack() as stack:
        logs = [stack.enter_context(TemporaryFile("w+")) for _ in commands]
        outputs = [stack.enter_context(TemporaryFile("w+")) for _ in commands]
        begin = perf_counter()
        processes = []
        for command, output, log in zip(commands, outputs, logs, strict=True):
            process = start(command, stdout=output.fileno(), stderr=log.fileno())
            stack.callback(end, process)
            processes.append(process)
        peak = _watch_memory(processes[0]) if looks_at_memory else 0
        for process in processes:
            _await(process)
        seconds = perf_counter() - begin
        for process, log in zip(processes, logs, strict=True):
            if process.wait():
                log.seek(0)
                raise Failed(f"{_name(process)} ended with {process.returncode}: {log.read()[-400:].strip()}")
        outputs[0].seek(0)
        return Finished(seconds, outputs[0].read(), peak)


@contextmanager
def serving(command: Command, *ports: int) -> Iterator[subprocess.Popen[str]]:
    """Run a server process; yields it once it listens on its ports.

    Raises
    ------
    Failed
        If it does not listen in time.
    """
    with TemporaryFile("w+") as log:
        process = start(command, stderr=log.fileno())
        try:
            limit = perf_counter() + _START_LIMIT
            while not all(_is_listening(process.pid, port) for port in ports):
                if process.poll() is not None or perf_counter() > limit:
                    log.seek(0)
                    raise Failed(f"{_name(process)} does not listen: {log.read()[-400:].strip()}")
                sleep(_POLL)
            yield process
        finally:
            end(process)


def _is_listening(pid: int, port: int) -> bool:
    """Whether a process or one of its children listens on a port, according to the system.

    A test connection would disturb the server, and another process may have taken the port.
    """
    listeners = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                listeners.add(f"socket:[{fields[9]}]")
    return bool(listeners) and any(listeners & _open_files(each) for each in (pid, *descendants(pid)))


def _open_files(pid: int) -> set[str]:
    """What the descriptors of a process are; nothing once it has ended."""
    found = set()
    try:
        for descriptor in os.scandir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):
                found.add(os.readlink(descriptor.path))
    except (FileNotFoundError, ProcessLookupError):
        return set()
    return found


def descendants(pid: int) -> Iterator[int]:
    """The processes that a process has started, and theirs."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in map(int, path.read_text().split()):
                yield child
                yield from descendants(child)


def at_rest(pids: Sequence[int]) -> None:
    """Wait until processes have used no processor time for a while, so that their start is over.

    Raises
    ------
    Failed
        If they do not come to rest.
    """
    limit = perf_counter() + _START_LIMIT
    used = sum(map(cpu_of_tree, pids))
    while perf_counter() < limit:
        sleep(_REST)
        before, used = used, sum(map(cpu_of_tree, pids))
        if used - before < _REST / 20:
            return
    raise Failed("the server has not come to rest")


def memory_of(pid: int, name: str = "VmRSS") -> int:
    """Resident memory of a process in bytes: now (``VmRSS``) or at its peak (``VmHWM``); 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)


def cpu_of(pid: int) -> float:
    """The processor time that a process has used, in seconds."""
    return _cpu_times_of(pid, 2)


def cpu_of_tree(pid: int) -> float:
    """The processor time that a process and those that it has started have used, in seconds."""
    return _cpu_times_of(pid, 4) + sum(_cpu_times_of(child, 4) for child in descendants(pid))


def cpu_of_ended() -> float:
    """The processor time of our child processes that have ended, and of theirs, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cpu_times_of(pid: int, count: int) -> float:
    """The sum of user and system time of a process, and then of its children that have ended, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 11 + count])) / _CLOCK_TICKS


def _await(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    # `Popen.wait` with a time-out looks every 50 ms, which is more than much of what is measured here.
    descriptor = os.pidfd_open(process.pid)
    try:
        if not select.select([descriptor], [], [], _RUN_LIMIT)[0]:
            raise Failed(f"{_name(process)} did not end in {_RUN_LIMIT:g} s")
    finally:
        os.close(descriptor)


def _watch_memory(process: subprocess.Popen[str]) -> int:
    # The peak that wait4 returns includes that of the parent before exec, so it is read while the process lives.
    peak = 0
    while process.poll() is None:
        peak = max(peak, memory_of(process.pid, "VmHWM"))
        sleep(_POLL)
    return peak


def _name(process: subprocess.Popen[str]) -> str:
    return " ".join(os.path.basename(str(word)) for word in list(process.args)[:4])  # type: ignore[arg-type]
