"""A node whose index has many studies: its intake beside that of a node with an empty index, and its starts."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from pydicom.dataset import Dataset

from .asking import PENDING, Requestor
from .databases import Database
from .datasets import ObjectMaker, Studies
from .nodes import Node, running, serving
from .processes import HOST, Command, Failed, end, python, run, start
from .subjects import TUNED

_STUDIES, _LENGTH = 400, 4_000
_SENDERS: dict[str, Callable[[int, Studies], Command]] = {
    "dicomnet store": lambda port, studies: python(
        "-m", "dicomnet", "store", f"{HOST}:{port}", *studies.folders, "--quiet"
    ),
    "storescu": lambda port, studies: Command(
        ("storescu", "-q", "-xe", "-R", "+sd", HOST, str(port), *map(str, studies.folders)), TUNED
    ),
}
# After how many seconds of an intake a node is killed.
_KILLED_AFTER = 1.0


def measure_intake(database: Database, folder: Path, rounds: int) -> None:
    """Print how many objects a second nodes take that have a copy of an index and an empty one, in turns.

    Parameters
    ----------
    database
        That of the index, which stays as it is.
    folder
        Where the stores are.
    rounds
        How often, for each sender. A first round of each is not counted.
    """
    with ExitStack() as stack:
        objects = ObjectMaker(Path(stack.enter_context(TemporaryDirectory(dir="/dev/shm"))))
        nodes = {
            name: stack.enter_context(serving(stack.enter_context(of()), folder))
            for name, of in (("full", database.copy), ("empty", database.empty))
        }
        print(
            f"{'objects a second: median, best':36}{'full':>16}{'empty':>16}   by each other    processor, ms an object"
        )
        turns = itertools.count(_LENGTH)
        for sender, send in _SENDERS.items():
            rates: dict[str, list[float]] = {name: [] for name in nodes}
            costs: dict[str, list[float]] = {name: [] for name in nodes}
            for number in range(rounds + 1):
                for name in reversed(nodes) if number % 2 else nodes:
                    rate, cost = _intake(nodes[name], send, objects.studies(_STUDIES, next(turns)))
                    if number:
                        rates[name].append(rate)
                        costs[name].append(cost)
            cells = [f"{statistics.median(each):8.0f}{max(each):8.0f}" for each in rates.values()]
            cells += [f"{of(rates['full']) / of(rates['empty']):8.2f}" for of in (statistics.median, max)]
            cells += [f"{1e3 * statistics.median(each):8.2f}" for each in costs.values()]
            print(f"{sender:36}{''.join(cells)}", flush=True)


def _intake(node: Node, send: Callable[[int, Studies], Command], studies: Studies) -> tuple[float, float]:
    """Objects a second until all of them can be found, and the processor time of each."""
    os.sync()
    used, begin = node.used(), time.perf_counter()
    run(send(node.port, studies))
    requestor = Requestor(node.port)
    _ask(requestor, _one_patient())
    taken = time.perf_counter() - begin
    requestor.release()
    return studies.objects / taken, (node.used() - used) / studies.objects


def _one_patient() -> Dataset:
    request = Dataset()
    request.QueryRetrieveLevel, request.PatientID, request.StudyInstanceUID = "STUDY", "P0000001", ""
    return request


def measure_starts(database: Database, folder: Path, request: Dataset, rounds: int) -> None:
    """Print how long starts take, from that of the process, after clean stops and after kills in the midst of intake.

    Before each start the caches are dropped.

    Parameters
    ----------
    database
        That of the index; objects are added to a copy.
    folder
        Where the stores are.
    request
        A query with few matches.
    rounds
        How often.
    """
    with ExitStack() as stack:
        objects = ObjectMaker(Path(stack.enter_context(TemporaryDirectory(dir="/dev/shm"))))
        copy = stack.enter_context(database.copy())
        store = Path(stack.enter_context(TemporaryDirectory(dir=folder)))
        print(f"{'from the start of the process, s':40}  accepts  has answered a query: median, worst")
        clean = [_start(copy, store, request) for _ in range(rounds)]
        _show("after a clean stop, caches dropped", clean)
        killed = []
        for turn in range(rounds):
            _kill(copy, store, objects.studies(_STUDIES, _LENGTH + turn))
            killed.append(_start(copy, store, request))
        _show("after kill -9, caches dropped", killed)


def _show(name: str, each: list[tuple[float, float]]) -> None:
    accepts, answers = zip(*each, strict=True)
    print(
        f"{name:40} {statistics.median(accepts):8.2f} {max(accepts):6.2f}"
        f" {statistics.median(answers):8.2f} {max(answers):6.2f}",
        flush=True,
    )


def _start(database: Database, store: Path, request: Dataset) -> tuple[float, float]:
    database.drop_caches()
    with running(database, store) as node:
        requestor = Requestor(node.port)
        accepted = time.perf_counter() - node.began
        _ask(requestor, request)
        answered = time.perf_counter() - node.began
        requestor.release()
    return accepted, answered


def _kill(database: Database, store: Path, studies: Studies) -> None:
    with running(database, store) as node:
        sender = start(_SENDERS["dicomnet store"](node.port, studies))
        try:
            time.sleep(_KILLED_AFTER)
            node.process.kill()
            node.process.wait()
        finally:
            end(sender)


def _ask(requestor: Requestor, request: Dataset) -> None:
    requestor.ask(request)
    last = [*requestor.statuses][-1]
    if last in PENDING or last:
        raise Failed(f"the query ended with {last:04X}")
