"""Queries of an index of many studies: time to the first match and to the last one.

    python -m benchmarks.catalogue FOLDER --studies N [--postgresql] [--served [--cold] | --pages | --intake | --starts]

The index is written by the functions that intake uses for the rows above an instance, with 2 series of 5 instances in
each study, random UIDs and 1.5 % of the names MUELL*. It is kept in the folder for the next run.
With ``--postgresql`` it is in a server that is started for it, which has its data in the folder, too.
With ``--served`` a node has it, see `benchmarks.served`, and with ``--pages`` one with pages, see `benchmarks.pages`;
for ``--intake`` and ``--starts`` see `benchmarks.filled`.
``--cold`` and ``--starts`` drop the kernel's caches, and need root.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.catalogue.query import find

from . import filled, pages, served
from .databases import database
from .studies import fill, requests


def measure(index: Index, request: Dataset) -> tuple[float, float, int]:
    """Seconds to the first answer, to the last one, and the number of answers."""
    model: Any = "PATIENT" if request.QueryRetrieveLevel == "PATIENT" else "STUDY"
    begin = time.perf_counter()
    answers = find(index, model, request)
    count = 1 if next(answers, None) is not None else 0
    first = time.perf_counter() - begin
    count += sum(1 for _ in answers)
    return first, time.perf_counter() - begin, count


def main() -> None:
    """Fill the index if it is empty, and print a table in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--studies", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--served", action="store_true")
    parser.add_argument("--pages", action="store_true")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--intake", action="store_true")
    parser.add_argument("--starts", action="store_true")
    options = parser.parse_args()
    with database(options.folder, str(options.studies), on_postgresql=options.postgresql) as where:
        with Index(where.url) as index:
            if not index.is_complete:
                begin, used = time.perf_counter(), time.process_time()
                fill(index, options.studies)
                index.complete()
                each = (
                    1e6 * taken / options.studies
                    for taken in (time.perf_counter() - begin, time.process_time() - used)
                )
                print("filled: {:.0f} µs a study, {:.0f} of them processor time of ours".format(*each))
            asked = dict(requests(index))
            cold = served.singles(index, options.rounds) if options.cold else []
            if not (options.served or options.pages or options.intake or options.starts):
                _print_queries(index, asked, options.rounds)
        if options.served:
            served.measure(where, options.folder, asked, cold, options.rounds)
        if options.pages:
            pages.measure(where, options.folder, options.rounds)
        if options.intake:
            filled.measure_intake(where, options.folder, options.rounds)
        if options.starts:
            filled.measure_starts(where, options.folder, asked["PatientID exact"], options.rounds)


def _print_queries(index: Index, asked: Mapping[str, Dataset], rounds: int) -> None:
    for name, request in asked.items():
        each = [measure(index, request)]
        if each[0][1] < 1:
            each += [measure(index, request) for _ in range(rounds - 1)]
        first, whole = (1e3 * statistics.median(one[at] for one in each) for at in (0, 1))
        worst = 1e3 * max(one[0] for one in each)
        print(f"{name:40} {first:8.1f} {whole:9.1f} ({each[0][2]})  worst first {worst:.1f}")


if __name__ == "__main__":
    main()
