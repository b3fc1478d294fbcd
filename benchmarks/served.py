"""Queries of an index that a node has, in a process of its own: what `benchmarks.catalogue --served` measures.

That is the time to the first response and the processor time that the node needs for it; the memory that it needs for
all matches; how soon it ends a search that is cancelled or aborted, or whose connection is closed; and with cold caches
the time to the first response to queries for single values.
"""

from __future__ import annotations

import random
import select
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.catalogue.query import find

from .asking import PENDING, Requestor
from .databases import Database
from .nodes import Node, serving
from .processes import memory_of
from .studies import QUERIES, identifier

_SINGLE = ("PatientID", "AccessionNumber", "StudyDate", "PatientName", "StudyID", "PatientBirthDate")
# Broad queries, with and without matches, and after how many seconds they are ended, and how.
_BROAD = (
    "all studies",
    "ModalitiesInStudy=CT",
    "NumberOfStudyRelatedInstances=7 (none)",
    "PatientName *UELLER*",
    "all patients, three counts",
)
_ENDS_AT = (0.005, 0.02, 0.1, 0.4, 1.0)
_ENDINGS = ("cancel", "abort", "close")
# A server that has used no more processor time than this for so long does nothing, in seconds.
_NOTHING, _LONG = 0.002, 0.15

Named = tuple[str, Dataset]


def singles(index: Index, count: int) -> list[Named]:
    """Queries for the single values of some studies."""
    chance = random.Random()
    found: list[Named] = []
    for _ in range(count):
        with index.reading() as connection:
            last = connection.exec_driver_sql("SELECT max(id) FROM study").scalar_one()
            study, series = connection.exec_driver_sql(
                "SELECT study.uid, series.uid FROM series JOIN study ON study.id = series.parent"
                f" WHERE study.id = {chance.randrange(1, last)} LIMIT 1"
            ).one()
        own = identifier(dict.fromkeys(_SINGLE, "") | {"StudyInstanceUID": study})
        ((_, one),) = find(index, "STUDY", own)
        found += ((each, identifier({each: str(one[each].value)})) for each in (*_SINGLE, "StudyInstanceUID"))
        keys = {"StudyInstanceUID": study}
        found.append(("series of a study", identifier(QUERIES["series of a study"] | keys)))
        keys["SeriesInstanceUID"] = series
        found.append(("images of a series", identifier(QUERIES["images of a series"] | keys)))
    return found


def measure(
    database: Database, folder: Path, asked: Mapping[str, Dataset], cold: Sequence[Named], rounds: int
) -> None:
    """Print the tables, in milliseconds.

    Parameters
    ----------
    database
        That of the index.
    folder
        Where the stores of nodes are made.
    asked
        Queries by name.
    cold
        Queries before each of which the kernel's caches are dropped.
    rounds
        How often to ask each of the others.
    """
    if cold:
        with serving(database, folder) as node:
            _measure_cold(database, node, cold)
    with serving(database, folder) as node:
        _measure_memory(node, asked["all studies"])
        _measure_firsts(node, asked, rounds)
        _measure_ends(node, asked)


def _measure_firsts(node: Node, asked: Mapping[str, Dataset], rounds: int) -> None:
    requestor = Requestor(node.port)
    print(f"{'first response, ms':42} median      p99  processor")
    for name, request in asked.items():
        _first(requestor, request, node)
        each = [_first(requestor, request, node) for _ in range(rounds)]
        firsts = sorted(first for first, _ in each)
        last = firsts[min(rounds - 1, int(0.99 * rounds))]
        used = statistics.median(used for _, used in each)
        _show(name, statistics.median(firsts), last, used)
    requestor.release()


def _measure_cold(database: Database, node: Node, cold: Sequence[Named]) -> None:
    requestor = Requestor(node.port)
    nothing = identifier({"PatientID": "none"})
    _first(requestor, nothing, node)
    print(f"{'first response, cold caches, ms':42} median    worst")
    firsts: dict[str, list[float]] = {}
    for name, request in cold:
        database.drop_caches()
        if database.processes:
            # The node has to connect to it anew.
            _first(requestor, nothing, node)
        firsts.setdefault(name, []).append(_first(requestor, request, node)[0])
    for name, each in firsts.items():
        _show(name, statistics.median(each), max(each))
    requestor.release()


def _measure_memory(node: Node, everything: Dataset) -> None:
    requestor = Requestor(node.port)
    before = memory_of(node.pid)
    begin = time.perf_counter()
    requestor.ask(everything)
    count = sum(status in PENDING for status in requestor.statuses)
    taken = time.perf_counter() - begin
    requestor.release()
    print(f"{count} matches in {taken:.1f} s")
    print(
        f"resident memory, MB: {before / 1e6:.0f} before, {memory_of(node.pid, 'VmHWM') / 1e6:.0f} at its peak"
    )


def _measure_ends(node: Node, asked: Mapping[str, Dataset]) -> None:
    print(f"{'until the search ends, at worst, ms':42}" + "".join(f"{how:>9}" for how in _ENDINGS))
    for name in _BROAD:
        _show(
            name,
            *(max(_end(node, asked[name], how, after) for after in _ENDS_AT) for how in _ENDINGS),
        )


def _show(name: str, *seconds: float) -> None:
    print(f"{name:40}" + "".join(f"{1e3 * each:9.1f}" for each in seconds), flush=True)


def _first(requestor: Requestor, request: Dataset, node: Node) -> tuple[float, float]:
    """Seconds to the first response, and the processor time that the server had needed then."""
    before = node.used()
    begin = time.perf_counter()
    requestor.ask(request)
    status = next(requestor.statuses)
    taken = time.perf_counter() - begin, node.used() - before
    if status in PENDING:
        requestor.finish()
    return taken


def _end(node: Node, request: Dataset, how: str, after: float) -> float:
    """Seconds from the end that a requestor makes of its query to the final response, or to the end of the work."""
    requestor = Requestor(node.port)
    requestor.ask(request)
    due = time.perf_counter() + after
    # What has come is read, so that the server is never held up.
    while (left := due - time.perf_counter()) > 0:
        if select.select([requestor.socket], [], [], left)[0] and next(requestor.statuses) not in PENDING:
            requestor.release()
            return 0.0
    begin = time.perf_counter()
    if how == "cancel":
        requestor.finish()
        taken = time.perf_counter() - begin
        requestor.release()
        return taken
    if how == "abort":
        requestor.abort()
    else:
        requestor.socket.close()
    return max(0.0, _idle_since(node) - begin)


def _idle_since(node: Node) -> float:
    """When a node used the processor for the last time, once it has not done so for a while."""
    used, since = node.used(), time.perf_counter()
    while time.perf_counter() - since < _LONG:
        time.sleep(0.002)
        now = node.used()
        if now - used > _NOTHING:
            used, since = now, time.perf_counter()
    return since
