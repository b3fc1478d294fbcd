from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import event
from tests.archive.catalogue.asking import ask, identifier, studies

from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.catalogue.query import search

Archive = tuple[Index, Callable[[Dataset], None]]
Make = Callable[..., Dataset]

TABLES = ("patient", "study", "series", "instance", "study_value")
OF_A_SERIES = {"StudyInstanceUID": "1.3", "SeriesInstanceUID": "1.3.1"}
COUNTED = {"NumberOfPatientRelatedStudies": "", "NumberOfPatientRelatedInstances": ""}
# What a department types, and how many of the ten studies, or what is below them, it finds.
TYPED: list[tuple[str, dict[str, str], int]] = [
    ("STUDY", {"PatientID": "P3"}, 1),
    ("STUDY", {"PatientID": "P*"}, 10),
    ("STUDY", {"PatientID": "*3"}, 1),
    ("STUDY", {"PatientID": "*P3*"}, 1),
    ("STUDY", {"AccessionNumber": "ACC0003"}, 1),
    ("STUDY", {"AccessionNumber": "*0003"}, 1),
    ("STUDY", {"PatientName": "MUELL*"}, 5),
    ("STUDY", {"PatientName": "*UELLER*"}, 5),
    ("STUDY", {"PatientName": "*^Ev?"}, 10),
    ("STUDY", {"PatientName": "*zzz*"}, 0),
    ("STUDY", {"PatientName": "M*"}, 5),
    ("STUDY", {"PatientName": "=山田^*"}, 0),
    ("STUDY", {"StudyDate": "20240104"}, 1),
    ("STUDY", {"StudyDate": "20240101-20240103"}, 3),
    ("STUDY", {"StudyDate": "20240104-"}, 7),
    ("STUDY", {"StudyDate": "20240101-20240103", "ModalitiesInStudy": "CT", "PatientName": "M*"}, 1),
    ("STUDY", {"ModalitiesInStudy": "CT"}, 10),
    ("STUDY", {"ModalitiesInStudy": "SR\\CT"}, 10),
    ("STUDY", {"StudyDescription": "NONE"}, 0),
    ("STUDY", {"StudyDescription": "Thorax*"}, 10),
    ("STUDY", {"PatientBirthDate": "19700101"}, 10),
    ("STUDY", {"StudyTime": "101500"}, 10),
    ("STUDY", {"StudyTime": "0900-1030"}, 10),
    ("STUDY", {"StudyID": "S3"}, 1),
    ("STUDY", {"ReferringPhysicianName": "*house*"}, 10),
    ("STUDY", {"SOPClassesInStudy": "1.2.840.10008.5.1.4.1.1.2"}, 10),
    ("STUDY", {"NumberOfStudyRelatedInstances": "1"}, 10),
    ("STUDY", {"NumberOfStudyRelatedSeries": "2"}, 0),
    ("STUDY", {"PatientSex": "M"}, 0),
    ("STUDY", {"NameOfPhysiciansReadingStudy": "X*"}, 0),
    ("STUDY", {"StudyInstanceUID": "1.3"}, 1),
    ("STUDY", {"StudyInstanceUID": "1.3\\1.4\\1.99"}, 2),
    ("STUDY", {}, 10),
    ("PATIENT", COUNTED, 10),
    ("PATIENT", {"PatientName": "MUELL*", **COUNTED}, 5),
    ("PATIENT", {"PatientName": "*UELLER*"}, 5),
    ("PATIENT", {"PatientBirthDate": "19700101"}, 10),
    ("PATIENT", {"NumberOfPatientRelatedStudies": "1"}, 10),
    ("SERIES", {"StudyInstanceUID": "1.3"}, 1),
    ("SERIES", {"StudyInstanceUID": "1.3", "Modality": "CT", "NumberOfSeriesRelatedInstances": "1"}, 1),
    ("IMAGE", OF_A_SERIES, 1),
    ("IMAGE", {**OF_A_SERIES, "SOPInstanceUID": "1.3.1.1"}, 1),
    ("IMAGE", {**OF_A_SERIES, "InstanceNumber": "7", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, 0),
]


@pytest.fixture
def filled(archive: Archive, make: Make) -> Index:
    index, store = archive
    for number in range(10):
        store(
            make(
                StudyInstanceUID=f"1.{number}",
                SeriesInstanceUID=f"1.{number}.1",
                SOPInstanceUID=f"1.{number}.1.1",
                PatientID=f"P{number}",
                PatientName="MUELLER^EVA" if number % 2 else "SCHMIDT^EVE",
                PatientBirthDate="19700101",
                StudyDate=f"202401{number + 1:02}",
                StudyTime="1015",
                StudyID=f"S{number}",
                AccessionNumber=f"ACC000{number}",
                StudyDescription="Thorax PA",
                ReferringPhysicianName="House^Gregory",
            )
        )
    return index


def _plans(index: Index, level: str, keys: dict[str, str]) -> tuple[int, list[str]]:
    """How many answers a query has, and how the database reads what the query asks it for."""
    executed: list[tuple[str, Any]] = []

    def note(*call: Any) -> None:
        executed.append((call[2], call[3]))

    event.listen(index.database._reader, "before_cursor_execute", note)
    unique = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
    asked = {"QueryRetrieveLevel": level} | ({unique[level]: ""} if level in unique else {}) | keys
    count = len(ask(index, "PATIENT" if level == "PATIENT" else "STUDY", **asked))
    event.remove(index.database._reader, "before_cursor_execute", note)
    plans = []
    with index.reading() as connection:
        for statement, values in executed:
            if statement.lstrip().startswith("SELECT"):
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
                plans += [row[3] for row in plan]
    return count, plans


@pytest.mark.parametrize(("level", "keys", "count"), TYPED)
def test_no_table_is_scanned(filled: Index, level: str, keys: dict[str, str], count: int) -> None:
    found, plans = _plans(filled, level, keys)
    assert found == count
    assert plans
    scans = [plan for plan in plans if plan.split()[0] == "SCAN" and plan.split()[1] in TABLES]
    assert not scans


def test_a_scan_would_be_seen(filled: Index) -> None:
    with filled.reading() as connection:
        plan = connection.exec_driver_sql("EXPLAIN QUERY PLAN SELECT id FROM study WHERE attributes = ''")
        assert any(row[3].split()[:2] == ["SCAN", "study"] for row in plan)


def test_the_shortest_of_several_sources_decides(archive: Archive, make: Make) -> None:
    """Each key alone has more rows than are looked at first, or than the other."""
    index, store = archive
    data_set = make(
        StudyInstanceUID="1.1", SOPInstanceUID="1.1.1", StudyDate="20240101", AccessionNumber="A1"
    )
    store(data_set)
    rows = [
        (number, tag, value)
        for number in range(2, 6_500)
        for tag, value in (
            (0x00080020, "20240101"),
            (0x00080050, f"A{number}"),
            (0x00081030, f"D{number % 7}"),
        )
    ]
    with index.database.writing() as connection:
        connection.exec_driver_sql(
            "INSERT INTO study (id, parent, uid, series_count, instance_count, attributes) WITH RECURSIVE n(i) AS"
            " (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 6499)"
            " SELECT i, 1, '2.' || i, 1, 1, json_object('0020000D', '2.' || i, '00080020', '20240101',"
            " '00080050', 'A' || i, '00081030', 'D' || (i % 7))"
            " FROM n"
        )
        connection.exec_driver_sql("INSERT INTO study_value (study, tag, value) VALUES (?, ?, ?)", rows)
    assert studies(index, StudyDate="20240101", AccessionNumber="A1") == ["1.1"]
    assert studies(index, StudyDate="20240101", AccessionNumber="A77") == ["2.77"]
    assert len(studies(index, StudyDate="20240101", AccessionNumber="A*")) == 6_499
    assert len(studies(index, StudyDate="20240101-")) == 6_499
    assert studies(index, StudyDate="20240102-", AccessionNumber="A*") == []
    ones = {f"2.{number}" for number in range(2, 6_500) if str(number)[0] == "1" and number % 7 == 3}
    for accession in ("A1*", "*A1*"):
        assert set(studies(index, StudyDescription="D3", AccessionNumber=accession)) == ones
        assert set(studies(index, StudyDate="20240101", AccessionNumber=accession)) == {"1.1"} | {
            f"2.{number}" for number in range(2, 6_500) if str(number)[0] == "1"
        }
    # Where all have many rows, the first match does not wait until they are read, and nobody waits for long.
    both = identifier(QueryRetrieveLevel="STUDY", StudyDate="20240101-", AccessionNumber="A*")
    pauses = [match is None for match in search(index, "STUDY", both).matches]
    assert pauses.count(False) == 6_499
    assert pauses.index(False) <= 10
    assert pauses.count(True) > 20
