"""Queries of an index that a node has, in a process of its own: what `benchmarks.catalogue --served` measures.

That is the time to the first response and the processor time that the node needs for it; the memory that it needs for
all matches; how soon it ends a search that is cancelled or aborted, or whose connection is closed; and with cold caches
the time to the first response to queries for single values.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import select
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pydicom.dataset import Dataset

from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.catalogue.query import find

from .asking import PENDING, Requestor
from .catalogue import QUERIES, identifier
from .processes import Failed, end, memory_of, python, start

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
_CACHES = Path("/proc/sys/vm/drop_caches")

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


def measure(path: Path, asked: Mapping[str, Dataset], cold: Sequence[Named], rounds: int) -> None:
    """Print the tables, in milliseconds.

    Parameters
    ----------
    path
        The SQLite file of the index, which must not be open.
    asked
        Queries by name.
    cold
        Queries before each of which the kernel's caches are dropped.
    rounds
        How often to ask each of the others.
    """
    if cold:
        with _served(path) as (server, port):
            _measure_cold(server, port, cold)
    with _served(path) as (server, port):
        _measure_memory(server, port, asked["all studies"])
        _measure_firsts(server, port, asked, rounds)
        _measure_ends(server, port, asked)


@contextlib.contextmanager
def _served(path: Path) -> Iterator[tuple[int, int]]:
    """A node that has the index: its process ID, and its port."""
    # As the store is new, nobody looks whether it has the objects of the index.
    with TemporaryDirectory(dir=path.parent) as store:
        (Path(store) / "index.sqlite").symlink_to(path.resolve())
        serve = python("-m", "dicomnet", "serve", "--data", store, "--port", 0, "--drain", 1)
        server = start(serve, stdout=subprocess.PIPE)
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            found = re.search(r":(\d+), storing", said)
            if found is None:
                raise Failed(f"dicomnet serve said {said!r}")
            yield server.pid, int(found[1])
        finally:
            end(server)


def _measure_firsts(server: int, port: int, asked: Mapping[str, Dataset], rounds: int) -> None:
    requestor = Requestor(port)
    print(f"{'first response, ms':42} median      p99  processor")
    for name, request in asked.items():
        _first(requestor, request, server)
        each = [_first(requestor, request, server) for _ in range(rounds)]
        firsts = sorted(first for first, _ in each)
        last = firsts[min(rounds - 1, int(0.99 * rounds))]
        used = statistics.median(used for _, used in each)
        _show(name, statistics.median(firsts), last, used)
    requestor.release()


def _measure_cold(server: int, port: int, cold: Sequence[Named]) -> None:
    requestor = Requestor(port)
    _first(requestor, identifier({"PatientID": "none"}), server)
    print(f"{'first response, cold caches, ms':42} median    worst")
    firsts: dict[str, list[float]] = {}
    for name, request in cold:
        os.sync()
        _CACHES.write_text("3")
        firsts.setdefault(name, []).append(_first(requestor, request, server)[0])
    for name, each in firsts.items():
        _show(name, statistics.median(each), max(each))
    requestor.release()


def _measure_memory(server: int, port: int, everything: Dataset) -> None:
    requestor = Requestor(port)
    before = memory_of(server)
    begin = time.perf_counter()
    requestor.ask(everything)
    count = sum(status in PENDING for status in requestor.statuses)
    taken = time.perf_counter() - begin
    requestor.release()
    print(f"{count} matches in {taken:.1f} s")
    print(
        f"resident memory, MB: {before / 1e6:.0f} before, {memory_of(server, 'VmHWM') / 1e6:.0f} at its peak"
    )


def _measure_ends(server: int, port: int, asked: Mapping[str, Dataset]) -> None:
    print(f"{'until the search ends, at worst, ms':42}" + "".join(f"{how:>9}" for how in _ENDINGS))
    for name in _BROAD:
        _show(
            name,
            *(max(_end(server, port, asked[name], how, after) for after in _ENDS_AT) for how in _ENDINGS),
        )


def _show(name: str, *seconds: float) -> None:
    print(f"{name:40}" + "".join(f"{1e3 * each:9.1f}" for each in seconds), flush=True)


def _first(requestor: Requestor, request: Dataset, server: int) -> tuple[float, float]:
    """Seconds to the first response, and the processor time that the server had needed then."""
    before = _used(server)
    begin = time.perf_counter()
    requestor.ask(request)
    status = next(requestor.statuses)
    taken = time.perf_counter() - begin, _used(server) - before
    if status in PENDING:
        requestor.finish()
    return taken


def _end(server: int, port: int, request: Dataset, how: str, after: float) -> float:
    """Seconds from the end that a requestor makes of its query to the final response, or to the end of the work."""
    requestor = Requestor(port)
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
    return max(0.0, _idle_since(server) - begin)


def _idle_since(pid: int) -> float:
    """When a process used the processor for the last time, once it has not done so for a while."""
    used, since = _used(pid), time.perf_counter()
    while time.perf_counter() - since < _LONG:
        time.sleep(0.002)
        now = _used(pid)
        if now - used > _NOTHING:
            used, since = now, time.perf_counter()
    return since


def _used(pid: int) -> float:
    """The processor time of all threads of a process, in seconds."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9
