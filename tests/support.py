"""What tests of several folders need: processes that end with the test, DCMTK's tools, and digests of stored files."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from pydicom.filereader import _read_file_meta_info, read_preamble

# DCMTK leaves Nagle's algorithm on, which costs 40 ms an object, unless this is set.
TOOL_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}

# What waits for nobody takes less, in seconds, however busy the machine is; deadlines are 10 s and more.
PROMPT = 5.0


def wait_until(condition: Callable[[], bool], seconds: float = 20.0, what: str = "") -> None:
    """Wait for a condition; fails if it does not come true in time."""
    begun = monotonic()
    while not condition():
        waited = monotonic() - begun
        assert waited < seconds, f"not in {seconds} s: {what or condition}"
        # Many conditions read files, and those that are waited for need the processor.
        sleep(min(max(waited / 20, 0.002), 0.02))


def _ports() -> Iterator[int]:
    """Ports in turn, of which tests in processes side by side have different ones.

    They are below those that the system gives to whoever asks for any, as tests do all the time: one of those may
    belong to another test a moment later.
    """
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = range(20_000 + process, 32_768, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    # Another run of the tests on this machine begins elsewhere.
    begin = os.getpid() % len(ports)
    return itertools.cycle([*ports[begin:], *ports[:begin]])


_PORTS = _ports()


def free_port() -> int:
    """A port that nobody listens on, for peers that cannot choose one themselves, and for those that are not there."""
    for port in _PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("the ports have no end")


def is_listening(port: int) -> bool:
    """Whether something accepts connections."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def running_process(
    arguments: Sequence[str], folder: Path, *, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended with the block. What it says is in ``output.txt`` of a folder."""
    with (folder / "output.txt").open("ab") as output:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment or TOOL_ENVIRONMENT,
            cwd=folder,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def run_tool(
    arguments: Sequence[str],
    *,
    seconds: float = 60.0,
    cwd: Path | None = None,
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        arguments,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        env=environment or TOOL_ENVIRONMENT,
        cwd=cwd,
        check=False,
    )


def tool(name: str) -> str:
    """Where a program of the system is; pynetdicom installs scripts of the same names as DCMTK's."""
    scripts = {os.path.realpath(sysconfig.get_path("scripts")), os.path.realpath(Path(sys.executable).parent)}
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin", "/usr/sbin", "/usr/local/bin"]
    path = os.pathsep.join(each for each in folders if os.path.realpath(each) not in scripts)
    found = shutil.which(name, path=path)
    assert found is not None, f"{name} is not installed"
    return found


def dicomnet(*arguments: str | os.PathLike[str]) -> list[str]:
    """The command line of `dicomnet`."""
    return [sys.executable, "-m", "dicomnet", *(os.fspath(each) for each in arguments)]


@dataclass(frozen=True, slots=True)
class ServedNode:
    """A running ``dicomnet serve``."""

    process: subprocess.Popen[bytes]
    port: int
    store: Path

    @property
    def address(self) -> str:
        """As a peer is written."""
        return f"NODE@127.0.0.1:{self.port}"

    def end(self) -> None:
        """End it in order; then all that it has acknowledged has its files."""
        self.process.terminate()
        assert self.process.wait(30) == 0


_READY = re.compile(rb"listening on .*:(\d+).*\n")


@contextlib.contextmanager
def serving(
    folder: Path,
    *options: str,
    command: str = "serve",
    under: Sequence[str] = (),
    environment: dict[str, str] | None = None,
) -> Iterator[ServedNode]:
    """A ``dicomnet serve`` on any free port, whose store is ``store`` in a folder; ready when the block begins.

    It is run by the command line ``under``, where that is given.
    """
    folder.mkdir(exist_ok=True, parents=True)
    output = folder / "output.txt"
    output.unlink(missing_ok=True)
    where = ["--data", "store"] if command == "serve" else ["store"]
    arguments = [*under, *dicomnet(command, *where, "--port", "0", *options)]
    with running_process(arguments, folder, environment=environment) as process:
        ready: list[int] = []

        def is_ready() -> bool:
            found = _READY.search(output.read_bytes())
            ready.extend([int(found[1])] if found else [])
            assert process.poll() is None, output.read_text()
            return bool(ready)

        wait_until(is_ready, 60, "dicomnet serve is ready")
        yield ServedNode(process, ready[0], folder / "store")


def data_set_of(path: Path) -> bytes:
    """What is behind preamble and file meta information, as it lies in the file."""
    with path.open("rb") as file:
        read_preamble(file, force=True)
        _read_file_meta_info(file)
        return file.read()


def digest(data: bytes) -> str:
    """SHA-256."""
    return hashlib.sha256(data).hexdigest()


def digests_below(folder: Path) -> dict[Path, str]:
    """The digest of the data set of each file below a folder."""
    return {path: digest(data_set_of(path)) for path in sorted(folder.rglob("*")) if path.is_file()}


def stored(store: Path) -> dict[str, str]:
    """The digests of the objects of a store by their SOP Instance UID."""
    return {path.stem: value for path, value in digests_below(store / "objects").items()}


def wait_for_files(store: Path, count: int) -> None:
    """Wait until a running node, which gives objects their files after it has answered, has so many."""
    wait_until(lambda: len(list((store / "objects").rglob("*.dcm"))) == count, what=f"{count} files")


def staged(store: Path) -> list[Path]:
    """The staged files of a store that have content; a running node keeps some empty ones ready."""
    found = []
    for path in (store / "staging").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.extend([path] if path.stat().st_size else [])
    return found


def quarantined(store: Path) -> set[tuple[str, str]]:
    """SOP Instance UID and digest of what a store has in quarantine."""
    return {(path.parent.name, value) for path, value in digests_below(store / "quarantine").items()}
