"""Queries of an index of many studies: time to the first match and to the last one.

    python -m benchmarks.catalogue FOLDER --studies 200000
    python -m benchmarks.catalogue FOLDER --studies 200000 --served [--cold]

The index is written by the functions that intake uses for the rows above an instance, with 2 series of 5 instances in
each study, random UIDs and 1.5 % of the names MUELL*. It is kept in the folder for the next run.

With `--served`, a node has the index, in a process of its own. Then it is measured, too, what memory it needs for all
matches, and how soon it ends a search that is cancelled or aborted, or whose connection is closed. With `--cold`, for
which one has to be root, the kernel's caches are dropped before each query for a single value.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import select
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from sqlalchemy import insert

from dicomnet.archive.catalogue import levels, schema
from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.catalogue.query import find
from dicomnet.archive.node import Node

from .asking import PENDING, Requestor
from .processes import HOST, end, memory_of, python, start

_SERIES, _INSTANCES = 2, 5
_BATCH = 500
_MODALITIES = ("CT", "MR", "CR", "US", "DX", "MG", "NM", "PT", "XA", "SR")
_FAMILIES = (
    "SCHMIDT",
    "MEYER",
    "WAGNER",
    "BECKER",
    "HOFFMANN",
    "KOCH",
    "RICHTER",
    "KLEIN",
    "WOLF",
    "NEUMANN",
    "SCHWARZ",
    "BRAUN",
    "HOFMANN",
    "LANGE",
    "WERNER",
    "KRAUSE",
    "LEHMANN",
    "KOEHLER",
    "MAIER",
    "FUCHS",
    "PETERS",
    "SCHOLZ",
    "MOELLER",
    "WEISS",
    "JUNG",
    "HAHN",
    "VOGEL",
    "KELLER",
    "FRANK",
    "BERGER",
    "WINKLER",
    "ROTH",
    "BECK",
)
_GIVEN = (
    "ANNA",
    "BERND",
    "CLARA",
    "DIETER",
    "EVA",
    "FRANZ",
    "GRETA",
    "HANS",
    "INGA",
    "JAN",
    "KARLA",
    "LARS",
    "MARIA",
    "NILS",
    "OLGA",
    "PAUL",
    "RITA",
    "SVEN",
    "TINA",
    "UWE",
)
_DESCRIPTIONS = (
    "THORAX PA",
    "ABDOMEN",
    "SCHAEDEL NATIV",
    "KNIE LINKS",
    "LWS 2 EBENEN",
    "MAMMOGRAPHIE",
    "HERZ",
    "BECKEN",
)

QUERIES: dict[str, dict[str, str]] = {
    "PatientID exact": {"PatientID": "{patient}"},
    "AccessionNumber exact": {"AccessionNumber": "A0001234"},
    "PatientName MUELL*": {"PatientName": "MUELL*"},
    "PatientName *UELLER*": {"PatientName": "*UELLER*"},
    "PatientName *zzz* (none)": {"PatientName": "*zzz*"},
    "PatientName M*": {"PatientName": "M*"},
    "one day": {"StudyDate": "20230117"},
    "30 days": {"StudyDate": "20230101-20230130"},
    "ModalitiesInStudy=CT + day": {"ModalitiesInStudy": "CT", "StudyDate": "20230117"},
    "ModalitiesInStudy=CT": {"ModalitiesInStudy": "CT"},
    "Accession *0001234": {"AccessionNumber": "*0001234"},
    "PatientID *01234": {"PatientID": "*01234"},
    "StudyDescription=NONE": {"StudyDescription": "NONE"},
    "PatientBirthDate": {"PatientBirthDate": "19700101"},
    "NumberOfStudyRelatedInstances=10": {"NumberOfStudyRelatedInstances": "10"},
    "NumberOfStudyRelatedInstances=7 (none)": {"NumberOfStudyRelatedInstances": "7"},
    "StudyTime=1015": {"StudyTime": "1015"},
    "StudyTime=10-1059": {"StudyTime": "10-1059"},
    "SOPClassesInStudy": {"SOPClassesInStudy": "1.2.840.10008.5.1.4.1.1.4"},
    "ReferringPhysicianName *AUER^H*": {"ReferringPhysicianName": "*AUER^H*"},
    "name prefix + year + modality": {
        "PatientName": "MUELL*",
        "StudyDate": "20230101-20231231",
        "ModalitiesInStudy": "CT",
    },
    "all studies": {},
    "series of a study": {
        "QueryRetrieveLevel": "SERIES",
        "StudyInstanceUID": "{study}",
        "SeriesInstanceUID": "",
    },
    "images of a series": {
        "QueryRetrieveLevel": "IMAGE",
        "StudyInstanceUID": "{study}",
        "SeriesInstanceUID": "{series}",
        "SOPInstanceUID": "",
    },
    "all patients, three counts": {
        "QueryRetrieveLevel": "PATIENT",
        "NumberOfPatientRelatedStudies": "",
        "NumberOfPatientRelatedSeries": "",
        "NumberOfPatientRelatedInstances": "",
    },
}


def fill(index: Index, studies: int, seed: int = 12) -> None:
    """Write the rows of many studies."""
    chance = random.Random(seed)
    for begin in range(0, studies, _BATCH):
        with index.database.writing() as connection:
            rows: list[dict[str, Any]] = []
            for number in range(begin, min(begin + _BATCH, studies)):
                _study(connection, chance, number, studies, rows)
            connection.execute(insert(schema.instance), rows)


def _study(
    connection: Any, chance: random.Random, number: int, studies: int, rows: list[dict[str, Any]]
) -> None:
    patient_number = chance.randrange(max(1, studies // 2))
    person = random.Random(patient_number)
    family = "MUELLER" if person.random() < 0.015 else person.choice(_FAMILIES)
    modality = chance.choice(_MODALITIES)
    sop_class = f"1.2.840.10008.5.1.4.1.1.{_MODALITIES.index(modality) + 2}"
    patient = {
        "PatientName": f"{family}{person.choice(('', 'IN', 'MANN'))}^{person.choice(_GIVEN)}",
        "PatientID": f"P{patient_number:07}",
        "PatientBirthDate": f"{person.randrange(1930, 2015)}{person.randrange(1, 13):02}{person.randrange(1, 29):02}",
        "PatientSex": person.choice("MF"),
    }
    uid = _uid(chance)
    day = f"{chance.randrange(2014, 2025)}{chance.randrange(1, 13):02}{chance.randrange(1, 29):02}"
    clock = f"{chance.randrange(7, 19):02}{chance.randrange(60):02}{chance.randrange(60):02}"
    own = {
        "StudyDate": day,
        "StudyTime": clock,
        "AccessionNumber": f"A{number:07}",
        "StudyID": str(number),
        "StudyInstanceUID": uid,
        "ReferringPhysicianName": f"{chance.choice(_FAMILIES)}^{chance.choice(_GIVEN)}",
        "StudyDescription": chance.choice(_DESCRIPTIONS),
    }
    collected = levels.collected(sop_class, _by_tag({"Modality": modality}))
    study = levels.insert_study(connection, uid, collected, patient=_by_tag(patient), own=_by_tag(own))
    for of_study in range(_SERIES):
        series_uid = _uid(chance)
        of_series = {
            "Modality": modality,
            "SeriesNumber": str(of_study + 1),
            "SeriesInstanceUID": series_uid,
            "SeriesDescription": "AX 5.0",
            "StationName": "ROOM1",
        }
        series = levels.insert_series(connection, study, series_uid, _by_tag(of_series))
        for of_series_number in range(_INSTANCES):
            instance = _uid(chance)
            image = {
                "InstanceNumber": str(of_series_number + 1),
                "SOPInstanceUID": instance,
                "SOPClassUID": sop_class,
                "ImageType": "ORIGINAL\\PRIMARY",
                "Rows": "512",
                "Columns": "512",
            }
            rows.append(
                {
                    "parent": series,
                    "uid": instance,
                    "sop_class": sop_class,
                    "transfer_syntax": "1.2.840.10008.1.2.1",
                    "attributes": levels.to_json(_by_tag(image)),
                }
            )


def _uid(chance: random.Random) -> str:
    return f"2.25.{chance.getrandbits(122)}"


def _by_tag(attributes: dict[str, str]) -> dict[str, str]:
    return {f"{tag_for_keyword(keyword):08X}": value for keyword, value in attributes.items()}


def identifier(keys: dict[str, str]) -> Dataset:
    """A request identifier; at STUDY level if the keys do not say otherwise."""
    data_set = Dataset()
    level = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ""}
    for keyword, value in (
        keys if "QueryRetrieveLevel" in keys else level | {"PatientName": ""} | keys
    ).items():
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise ValueError(keyword)
        data_set.add(DataElement(tag, dictionary_VR(tag), value or None, validation_mode=config.IGNORE))
    return data_set


def requests(index: Index) -> Iterator[tuple[str, Dataset]]:
    """The queries, with the UIDs and the Patient ID of a study that is there."""
    with index.reading() as connection:
        study, series = connection.exec_driver_sql(
            "SELECT study.uid, series.uid FROM series JOIN study ON study.id = series.parent"
            " WHERE study.id = (SELECT max(id) / 2 FROM study) LIMIT 1"
        ).one()
    (one,) = find(index, "STUDY", identifier({"StudyInstanceUID": study, "PatientID": ""}))
    known = {"study": study, "series": series, "patient": str(one[1].PatientID)}
    for name, keys in QUERIES.items():
        yield name, identifier({keyword: value.format(**known) for keyword, value in keys.items()})


def measure(index: Index, request: Dataset) -> tuple[float, float, int]:
    """Seconds to the first answer, to the last one, and the number of answers."""
    model: Any = "PATIENT" if request.QueryRetrieveLevel == "PATIENT" else "STUDY"
    begin = time.perf_counter()
    answers = find(index, model, request)
    count = 1 if next(answers, None) is not None else 0
    first = time.perf_counter() - begin
    count += sum(1 for _ in answers)
    return first, time.perf_counter() - begin, count


def _serve(folder: Path) -> None:
    """Be the node that has an index, until a signal comes."""
    # There are no files, so it must not look whether they are what the index says.
    (folder / "lock").unlink(missing_ok=True)
    node = Node(folder, address=(HOST, 0))
    node.start()
    print(node.address[1], flush=True)
    signal.sigwait((signal.SIGTERM, signal.SIGINT))
    node.shutdown()


def _measure_served(folder: Path, asked: dict[str, Dataset], rounds: int) -> None:
    """Print tables of what a node takes that answers."""
    server = start(python("-m", "benchmarks.catalogue", folder, "--serve"), stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        requestor = Requestor(port)
        print(f"{'first response, ms':42} median      p99")
        for name, request in asked.items():
            firsts = sorted(_first(requestor, request) for _ in range(rounds))
            last = firsts[min(rounds - 1, int(0.99 * rounds))]
            print(f"{name:40} {1e3 * statistics.median(firsts):8.1f} {1e3 * last:8.1f}", flush=True)
        requestor.release()
        _measure_memory(server.pid, port, asked["all studies"])
        print(f"{'until the search ends, ms':42} cancel    abort    close")
        for name in _BROAD:
            ends = [[_end(server.pid, port, asked[name], how, at) for at in _ENDS_AT] for how in _ENDINGS]
            worst = "".join(f"{1e3 * max(each):9.1f}" for each in ends)
            print(f"{name:38}{worst}", flush=True)
    finally:
        end(server)


def _first(requestor: Requestor, request: Dataset) -> float:
    requestor.ask(request)
    return requestor.first()


def _measure_memory(server: int, port: int, everything: Dataset) -> None:
    before = memory_of(server)
    requestor = Requestor(port)
    begin = time.perf_counter()
    requestor.ask(everything)
    count = sum(status in PENDING for status in requestor.statuses())
    taken = time.perf_counter() - begin
    requestor.release()
    before_mib, peak_mib = (each / (1 << 20) for each in (before, memory_of(server, "VmHWM")))
    print(
        f"{count} matches in {taken:.1f} s, resident memory {before_mib:.0f} MiB before, {peak_mib:.0f} at its peak"
    )


# Broad queries, with and without matches, and after how many seconds they are ended.
_BROAD = (
    "all studies",
    "ModalitiesInStudy=CT",
    "NumberOfStudyRelatedInstances=7 (none)",
    "PatientName *UELLER*",
    "all patients, three counts",
)
_ENDS_AT = (0.005, 0.02, 0.1, 0.4, 1.0)
_ENDINGS = ("cancel", "abort", "close")
# A server that has used no more than this for so long, in seconds, does nothing.
_NOTHING, _LONG = 0.002, 0.15


def _end(server: int, port: int, request: Dataset, how: str, after: float) -> float:
    """Seconds from the end that a requestor makes of its query to the final response, or to the end of the work."""
    requestor = Requestor(port)
    requestor.ask(request)
    statuses = requestor.statuses()
    due = time.perf_counter() + after
    # What has come is read, so that the server is never held up.
    while (left := due - time.perf_counter()) > 0:
        if select.select([requestor.socket], [], [], left)[0] and next(statuses, None) not in PENDING:
            requestor.release()
            return 0.0
    begin = time.perf_counter()
    if how == "cancel":
        requestor.cancel()
        for _ in statuses:
            continue
        taken = time.perf_counter() - begin
        requestor.release()
        return taken
    if how == "abort":
        requestor.abort()
    else:
        requestor.socket.close()
    return _idle_since(server) - begin


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


def _measure_cold(folder: Path, index: Index, rounds: int) -> None:
    """Print the time to the first response to queries for single values with cold caches."""
    chance = random.Random()
    server = start(python("-m", "benchmarks.catalogue", folder, "--serve"), stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        requestor = Requestor(port)
        _first(requestor, identifier({"PatientID": "none"}))
        print(f"{'cold, first response, ms':42} median    worst")
        firsts: dict[str, list[float]] = {}
        for _ in range(rounds):
            for name, request in _single(index, chance):
                os.sync()
                Path("/proc/sys/vm/drop_caches").write_text("3")
                firsts.setdefault(name, []).append(_first(requestor, request))
        for name, each in firsts.items():
            print(f"{name:40} {1e3 * statistics.median(each):8.1f} {1e3 * max(each):8.1f}", flush=True)
        requestor.release()
    finally:
        end(server)


_SINGLE = ("PatientID", "AccessionNumber", "StudyDate", "PatientName", "StudyID", "PatientBirthDate")


def _single(index: Index, chance: random.Random) -> Iterator[tuple[str, Dataset]]:
    """Queries for the single values of some study."""
    with index.reading() as connection:
        last = connection.exec_driver_sql("SELECT max(id) FROM study").scalar_one()
        uid, series = connection.exec_driver_sql(
            "SELECT study.uid, series.uid FROM series JOIN study ON study.id = series.parent WHERE study.id = ?",
            (chance.randrange(1, last),),
        ).first() or ("", "")
    own = identifier(dict.fromkeys(_SINGLE, "") | {"StudyInstanceUID": uid})
    (one,) = (match for _, match in find(index, "STUDY", own))
    for keyword in (*_SINGLE, "StudyInstanceUID"):
        yield keyword, identifier({keyword: str(one[keyword].value)})
    yield "series of a study", identifier(QUERIES["series of a study"] | {"StudyInstanceUID": uid})
    yield (
        "images of a series",
        identifier(QUERIES["images of a series"] | {"StudyInstanceUID": uid, "SeriesInstanceUID": series}),
    )


def main() -> None:
    """Fill the index if it is empty, and print a table in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--studies", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--served", action="store_true")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        _serve(options.folder)
        return
    folder = options.folder / str(options.studies)
    folder.mkdir(parents=True, exist_ok=True)
    with Index(folder / "index.sqlite") as index:
        if index.is_new:
            begin = time.process_time()
            fill(index, options.studies)
            print(f"filled: {1e6 * (time.process_time() - begin) / options.studies:.0f} µs a study")
        if options.served:
            if options.cold:
                _measure_cold(folder, index, options.rounds)
            _measure_served(folder, dict(requests(index)), options.rounds)
            return
        for name, request in requests(index):
            rounds = [measure(index, request)]
            if rounds[0][1] < 1:
                rounds += [measure(index, request) for _ in range(options.rounds - 1)]
            first, whole = (1e3 * statistics.median(each[at] for each in rounds) for at in (0, 1))
            worst = 1e3 * max(each[0] for each in rounds)
            print(f"{name:40} {first:8.1f} {whole:9.1f} ({rounds[0][2]})  worst first {worst:.1f}")


if __name__ == "__main__":
    main()
