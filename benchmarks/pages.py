"""The first page of searches on the pages of a node: what `benchmarks.catalogue --pages` measures."""

from __future__ import annotations

import re
import statistics
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

from .databases import Database
from .nodes import serving

# What is typed into which field, and how it is called in the table.
_SEARCHES: tuple[dict[str, str], ...] = (
    {},
    {"name": "m"},
    {"name": "mu"},
    {"name": "muell"},
    {"name": "muell", "modality": "CT"},
    {"name": "ueller"},
    {"name": "KLEIN, ANNA"},
    {"name": "nobody"},
    {"id": "01234"},
    {"id": "none"},
    {"accession": "0001234"},
    {"accession": "A0001234"},
    {"from": "2023-01-17", "to": "2023-01-17"},
    {"from": "2023-01-01", "to": "2023-01-30"},
    {"from": "2020-01-01"},
    {"to": "2010-01-01"},
    {"modality": "CT"},
    {"modality": "ZZ"},
    {"description": "thorax"},
    {"description": "knie", "modality": "MR"},
    {"description": "nothing"},
    {"name": "muell", "from": "2023-01-01", "to": "2023-12-31", "modality": "CT"},
    {"modality": "CT", "from": "2023-01-17", "to": "2023-01-17"},
    {"skip": "1000"},
    {"modality": "MR", "skip": "1000"},
)


def measure(database: Database, folder: Path, rounds: int) -> None:
    """Print a table in milliseconds.

    Parameters
    ----------
    database
        That of the index.
    folder
        Where the store of the node is made.
    rounds
        How often to ask each.
    """
    with serving(database, folder, has_web=True) as node:
        connection = HTTPConnection("127.0.0.1", node.web_port)
        medians = []
        print(f"{'first page, ms':60} median    worst  processor")
        for search in _SEARCHES:
            address = "/?" + urlencode(search)
            taken, used = [], []
            for _ in range(rounds + 1):
                begin, before = time.perf_counter(), node.used()
                connection.request("GET", address)
                response = connection.getresponse()
                text = response.read().decode()
                taken.append(1e3 * (time.perf_counter() - begin))
                used.append(1e3 * (node.used() - before))
                if response.status != 200:
                    raise RuntimeError(f"{address} is answered with {response.status}")
            shown = len(re.findall('href="/studies/', text))
            name = f"{', '.join(f'{key} {value}' for key, value in search.items()) or 'all'} ({shown})"
            medians.append(statistics.median(taken[1:]))
            print(
                f"{name:60} {medians[-1]:7.1f} {max(taken):8.1f} {statistics.median(used[1:]):9.1f}",
                flush=True,
            )
        connection.close()
        print(f"{'the slowest of the medians':60} {max(medians):7.1f}")
