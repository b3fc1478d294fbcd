"""`python -m benchmarks` measures dicomnet and its peers side by side; `... profile` shows where our time is spent."""

from __future__ import annotations

import argparse
import compileall
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dicomnet

from . import (
    against,
    archives,
    audits,
    downloads,
    latency,
    messages,
    pictures,
    resources,
    retrievals,
    searches,
    storing,
    uploads,
)
from .datasets import PARTS
from .model import Case, Group, Result, Workspace
from .processes import ROOT, Absent, Failed
from .profiling import EXCHANGES, SCP, SCU, find_py_spy, profile
from .report import Results, machine, record, tables

_RAM_DISK = Path("/dev/shm")


def main() -> int:
    """Run the command; returns the exit status."""
    # Exit in the regular way on SIGTERM, so that no child processes and folders are left behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    arguments = sys.argv[1:]
    if arguments[:1] == ["profile"]:
        return _profile(arguments[1:])
    return _measure(arguments)


def _measure(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer objects and runs, some minutes")
    parser.add_argument("--only", metavar="KEYS", help="letters or keys of groups, as in a,c.small")
    parser.add_argument("--repeat", type=int, metavar="N", help="runs of each case (3, or 2 if quick)")
    parser.add_argument("--disk", action="store_true", help="store to the disk as well")
    parser.add_argument("--memory", action="store_true", help="measure the memory of a large object as well")
    parser.add_argument(
        "--against",
        metavar="DIR",
        type=Path,
        help="measure ours only (groups a, b, c, f, g, k, m), alternating with the checkout of before in DIR",
    )
    parser.add_argument(
        "--folder", metavar="DIR", type=Path, help="where stores on a disk are made (the temporary folder)"
    )
    parser.add_argument(
        "--studies",
        type=int,
        metavar="N",
        help="studies of five objects for the archives of group k (2000, or 200 if quick)",
    )
    parser.add_argument(
        "--pydcm", metavar="PYTHON", type=Path, help="an interpreter that has pydcm, for group l"
    )
    parser.add_argument("--record", action="store_true", help="keep the result in records/")
    options = parser.parse_args(arguments)
    if options.studies is not None and options.studies < PARTS:
        parser.error(f"there must be {PARTS} studies for as many senders")
    every = [
        group for module in (messages, storing, resources, latency) for group in module.groups(options.quick)
    ]
    every += archives.groups(options.studies or (200 if options.quick else 2000))
    every += storing.receiving_groups(options.pydcm)
    every += retrievals.groups()
    every += pictures.groups()
    every += searches.groups(200 if options.quick else 2000)
    every += uploads.groups()
    every += audits.groups(options.quick)
    every += downloads.groups()
    every.sort(key=lambda group: group.key[0])
    if options.against:
        if options.record:
            parser.error("a comparison is not for the records")
        every = list(against.groups(every, options.against.resolve(), ROOT))
    wanted = options.only.split(",") if options.only else []
    given = {name for name in ("disk", "memory") if getattr(options, name)}
    chosen = [group for group in every if _is_chosen(group, wanted, given)]
    if not chosen:
        parser.error(f"there are the groups {', '.join(group.key for group in every)}")
    # As it is where it was installed, and as the peers are: each start would compile it anew otherwise.
    for folder in dicomnet.__path__:
        compileall.compile_dir(folder, quiet=1)
    repeat = options.repeat or (2 if options.quick else 3)
    results: Results = []
    with _workspace(options.folder) as (workspace, disk):
        facts = machine(disk)
        print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
        print(f"run by {Path(sys.executable).resolve()}", end="\n\n", flush=True)
        for group in chosen:
            of_group = _run(workspace, group, repeat)
            results.append((group, of_group))
            print((against.table if options.against else tables)(group, of_group), flush=True)
    for path in record(results, quick=options.quick, facts=facts, is_for_keeps=options.record):
        print(f"written to {path.parent.name}/{path.name}")
    return int(any(result.failure for _, of_group in results for result in of_group))


def _is_chosen(group: Group, wanted: list[str], given: set[str]) -> bool:
    if group.key in wanted:
        return True
    return group.option in ("", *given) and (not wanted or any(group.key.startswith(key) for key in wanted))


def _run(workspace: Workspace, group: Group, repeat: int) -> list[Result]:
    """Measure all cases of a group alternately, so that a busy moment of the machine does not affect just one case."""
    results = [Result(case) for case in group.cases]
    for turn in range(repeat):
        for result in reversed(results) if turn % 2 else results:
            if turn and (result.case.is_slow or result.failure or result.absence):
                continue
            _show(f"{group.key}: {result.case.subject}, run {turn + 1}")
            _measure_once(workspace, result.case, result)
    _show("")
    return results


def _measure_once(workspace: Workspace, case: Case, result: Result) -> None:
    try:
        for key, value in case.measure(workspace).items():
            result.values.setdefault(key, []).append(value)
    except Failed as error:
        result.failure = str(error)
    except Absent as error:
        result.absence = str(error)


def _show(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


@contextmanager
def _workspace(folder: Path | None = None) -> Iterator[tuple[Workspace, Path]]:
    ram = Path(tempfile.mkdtemp(prefix="benchmark-", dir=_RAM_DISK if _RAM_DISK.is_dir() else None))
    disk = Path(tempfile.mkdtemp(prefix="benchmark-", dir=folder))
    # A database's server may run as another user.
    disk.chmod(0o711)
    try:
        yield Workspace(ram, disk), disk
    finally:
        for folder in (ram, disk):
            shutil.rmtree(folder)


def _profile(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("benchmarks profile", description="Where our time goes in an exchange.")
    parser.add_argument("exchange", choices=EXCHANGES)
    parser.add_argument("--side", choices=(SCP, SCU), default=SCP, help="which process (%(default)s)")
    parser.add_argument("--top", type=int, default=30, metavar="N", help="how many entries (%(default)s)")
    parser.add_argument(
        "--py-spy", default=find_py_spy(), metavar="PATH", help="the sampling profiler to use"
    )
    parser.add_argument("--cprofile", action="store_true", help="count calls with cProfile instead")
    options = parser.parse_args(arguments)
    with _workspace() as (workspace, _):
        py_spy = None if options.cprofile else options.py_spy
        profile(workspace, options.exchange, options.side, options.top, py_spy)
    return 0


if __name__ == "__main__":
    sys.exit(main())
