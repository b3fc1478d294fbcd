"""Runs programs that import pynetdicom, in processes of their own: with pynetdicom itself, or dicomnet in its place."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"
OURS, THEIRS = "dicomnet", "pynetdicom"
_LAUNCH = {OURS: (sys.executable, "-m", "dicomnet.as_pynetdicom"), THEIRS: (sys.executable,)}
PATIENCE = 60.0

# What each program wrote, by its name.
Outcome = dict[str, list[str]]


def casts(parties: int) -> list[tuple[str, ...]]:
    """Who runs with dicomnet: each party alone, and all of them."""
    alone = [tuple(OURS if here == there else THEIRS for here in range(parties)) for there in range(parties)]
    return [*alone, (OURS,) * parties]


def play(
    programs: Sequence[str],
    packages: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Run a scenario.

    Parameters
    ----------
    programs
        The servers in the order in which they start, then the client. Each is given the ports of those before it.
    packages
        With what each of them runs.
    folder
        Where they may write; each gets a folder of its own.
    """
    outcome: Outcome = {}
    with contextlib.ExitStack() as stack:
        ports: list[str] = []
        servers: list[subprocess.Popen[str]] = []
        for name, package in zip(programs, packages, strict=True):
            process = stack.enter_context(_running(name, package, ports, folder, environment or {}))
            if name == programs[-1]:
                outcome[name] = _finish(process, name, folder)
                continue
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port.isdecimal(), _complaint(name, folder)
            ports.append(port)
            servers.append(process)
        for name, process in reversed(list(zip(programs, servers, strict=False))):
            outcome[name] = _finish(process, name, folder)
    return outcome


@contextlib.contextmanager
def _running(
    name: str, package: str, ports: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    home = folder / name
    home.mkdir(parents=True)
    with (home / "errors.txt").open("w") as errors:
        process = subprocess.Popen(
            [*_LAUNCH[package], str(PROGRAMS / f"{name}.py"), *ports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=home,
            env={**os.environ, **environment},
        )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _finish(process: subprocess.Popen[str], name: str, folder: Path) -> list[str]:
    try:
        written, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{name} does not end: {_complaint(name, folder)}") from None
    assert process.returncode == 0, _complaint(name, folder)
    return written.splitlines()


def _complaint(name: str, folder: Path) -> str:
    return f"{name}: " + (folder / name / "errors.txt").read_text()


def compare(programs: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run a scenario with pynetdicom alone, then with each party on dicomnet; all must write the same."""

    def outcome(packages: tuple[str, ...]) -> Outcome:
        return play(programs, packages, folder / "-".join(packages), environment)

    expected = outcome((THEIRS,) * len(programs))
    assert all(expected.values())
    for packages in casts(len(programs)):
        found = outcome(packages)
        assert found == expected, f"with {packages}:\n{found}\ninstead of\n{expected}"
