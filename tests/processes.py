"""The processes that a process has started, and what holds until they are gone (Linux)."""

from __future__ import annotations

from pathlib import Path

from tests.support import wait_until


def children_of(process: int) -> list[int]:
    """The process IDs of its children."""
    try:
        return sorted(
            int(child)
            for path in Path(f"/proc/{process}/task").glob("*/children")
            for child in path.read_text().split()
        )
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_alive(process: int) -> bool:
    """Whether there is a process that has not ended; a zombie has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def workers_of(process: int, count: int = 2) -> tuple[int, list[int]]:
    """The supervisor and the workers of a server, as soon as all of them are there."""
    found: list[int] = []

    def are_there() -> bool:
        found[:] = [process for child in children_of(process) for process in (child, *children_of(child))]
        return len(found) == count + 1

    wait_until(are_there, 20, f"{count} workers are there")
    return found[0], found[1:]


def wait_for_the_end(processes: list[int]) -> None:
    """Wait until none of them is alive."""
    wait_until(lambda: not any(map(is_alive, processes)), 20, "the processes have ended")
