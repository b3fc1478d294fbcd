"""Searches by DICOMweb (QIDO-RS) in the archive node and in Orthanc with its DICOMweb plugin.

Each server is started anew for each run, with an empty store that is filled first, with studies of five objects. One
client asks for one page after another on one connection.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection
from statistics import median
from time import perf_counter

from .archives import store_command
from .model import OURS, Case, Group, Measure, Metric, Workspace
from .orthanc import ORTHANC
from .processes import HOST, Failed, at_rest, cpu_of_tree, run
from .web import STARTED

_LENGTH, _ROUNDS, _PAGE = 1_000, 60, 50
_FIELDS = "includefield=00081030%2C00080060%2C00080090%2C00100030"
_FIRST = Metric("first", f"a page of {_PAGE} of all studies, as OHIF asks, median", "ms")
_NAME = Metric("name", "the studies of one patient by name and wild card, median", "ms")
_MONTH = Metric("month", f"a page of {_PAGE} of the studies of a month, median", "ms")
_SERIES = Metric("series", "the series of a study, median", "ms")
_CPU = Metric("cpu", "the server's processor time for one of all these", "ms")


def _search(subject: str, count: int) -> Measure:
    def measure(workspace: Workspace) -> Mapping[str, float]:
        studies = workspace.objects.studies(count, _LENGTH)
        with STARTED[subject](workspace) as (pid, port, http):
            run(store_command(port, *studies.folders))
            at_rest((pid,))
            connection = HTTPConnection(HOST, http, timeout=60)

            def page(words: str) -> list[Mapping[str, Mapping[str, list[str]]]]:
                connection.request("GET", f"/dicom-web{words}", headers={"Accept": "application/dicom+json"})
                answer = connection.getresponse()
                content = answer.read()
                if answer.status != 200:
                    raise Failed(f"{words} is answered with {answer.status}")
                return list(json.loads(content))

            uids = [each["0020000D"]["Value"][0] for each in page(f"/studies?limit={_ROUNDS}")]
            rows = studies.rows[:_ROUNDS]
            asked = {
                _FIRST: [f"/studies?limit={_PAGE}&offset=0&fuzzymatching=false&{_FIELDS}"] * _ROUNDS,
                _NAME: [f"/studies?limit={_PAGE}&PatientName={row['PatientName'][:8]}*" for row in rows],
                _MONTH: [
                    f"/studies?limit={_PAGE}&StudyDate=2023{1 + at % 12:02}01-2023{1 + at % 12:02}28"
                    for at in range(_ROUNDS)
                ],
                _SERIES: [f"/studies/{uid}/series" for uid in uids],
            }
            used = cpu_of_tree(pid)
            times = {
                metric.key: median(_timed(page, each) for each in paths) for metric, paths in asked.items()
            }
            used = cpu_of_tree(pid) - used
            connection.close()
            return {**times, _CPU.key: used * 1e3 / sum(map(len, asked.values()))}

    return measure


def _timed(page: object, words: str) -> float:
    assert callable(page)
    began = perf_counter()
    page(words)
    return (perf_counter() - began) * 1e3


def groups(count: int) -> tuple[Group, ...]:
    """Group p, with so many studies."""
    return (
        Group(
            "p",
            f"searches by DICOMweb among {count} studies of 5 objects",
            (_FIRST, _NAME, _MONTH, _SERIES, _CPU),
            tuple(Case(subject, _search(subject, count)) for subject in (OURS, ORTHANC)),
        ),
    )
