from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.archive.catalogue.asking import identifier

from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.catalogue.options import NO_OPTIONS, QueryOptions, QueryPolicy, agree
from dicomnet.archive.catalogue.query import find
from dicomnet.errors import ServiceRefusal

NUMBERS = {"CT": 1, "PT": 2, "MR": 3}
ALL = QueryOptions(relational=True, combined=True, fuzzy=True, timezone=True, empty=True, multiple=True)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (b"\1", b"\1"),
        (b"\0", b"\0"),
        (b"", b""),
        (b"\1\1\1", b"\1\1\1"),
        (b"\1\1\1\1\1", b"\1\1\1\1\0"),
        (b"\1\1\1\1\1\1\1", b"\1\1\1\1\0\1\1"),
        (b"\0\1\0\1\1\1\0", b"\0\1\0\1\0\1\0"),
        (b"\2\xff\1", b"\0\0\1"),
        (b"\1" * 9, b"\1\1\1\1\0\1\1\0\0"),
    ],
)
def test_an_answer_is_as_long_as_the_proposal(asked: bytes, answer: bytes) -> None:
    """PS3.4 section C.5.1.1: each sub-field is accepted by repeating its 1, or turned down by 0."""
    options, said = agree(asked, ALL)
    assert said == answer
    named = ("relational", "combined", "fuzzy", "timezone", "multiframe", "empty", "multiple")
    for name, value in zip(named, answer, strict=False):
        assert getattr(options, name) is bool(value)
    assert agree(asked, NO_OPTIONS)[1] == bytes(len(asked))


def test_what_always_holds_needs_no_agreement() -> None:
    policy = QueryPolicy(always=QueryOptions(relational=True))
    assert policy.options(NO_OPTIONS) == QueryOptions(relational=True)
    assert policy.options(QueryOptions(empty=True)) == QueryOptions(relational=True, empty=True)


@pytest.fixture
def index(archive: tuple[Index, Callable[[Dataset], None]], make: Callable[..., Dataset]) -> Index:
    index, store = archive
    rows = [
        ("1.1", "Doe^John", "20240101", "080000", "CT", ["O1", "O2"]),
        ("1.1", "Doe^John", "20240101", "080000", "PT", ["O1", "O2"]),
        ("1.2", "Smith^Jos\u00e9", "20240101", "220000", "CT", ["O1"]),
        ("1.3", "Meyer^Anna", "20240102", "010000", "MR", None),
        ("1.4", "", "20240103", "", "MR", []),
    ]
    for number, (uid, name, date, time, modality, others) in enumerate(rows):
        data_set = make(
            StudyInstanceUID=uid,
            SeriesInstanceUID=f"{uid}.{NUMBERS[modality]}",
            SOPInstanceUID=f"{uid}.{NUMBERS[modality]}.1",
            SpecificCharacterSet="ISO_IR 192",
            PatientName=name,
            PatientID=f"P{uid[-1]}",
            StudyDate=date,
            StudyTime=time,
            Modality=modality,
            OtherPatientIDs=others,
            InstanceNumber=str(number),
        )
        store(data_set)
    return index


def _found(index: Index, options: QueryOptions, level: str = "STUDY", **keys: Any) -> list[str]:
    keyword = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}[level]
    asked = {"SpecificCharacterSet": "ISO_IR 192", "QueryRetrieveLevel": level, keyword: ""} | keys
    return sorted(
        str(one[keyword].value) for _, one in find(index, "STUDY", identifier(**asked), options=options)
    )


@pytest.mark.parametrize(
    ("level", "keys", "found"),
    [
        ("SERIES", {}, ["1.1.1", "1.1.2", "1.2.1", "1.3.3", "1.4.3"]),
        ("SERIES", {"Modality": "CT"}, ["1.1.1", "1.2.1"]),
        ("SERIES", {"PatientID": "P1"}, ["1.1.1", "1.1.2"]),
        ("SERIES", {"StudyInstanceUID": "1.1\\1.3", "Modality": "?T"}, ["1.1.1", "1.1.2"]),
        ("SERIES", {"StudyDate": "20240102-"}, ["1.3.3", "1.4.3"]),
        ("IMAGE", {"SeriesInstanceUID": "1.1.1"}, ["1.1.1.1"]),
        ("IMAGE", {"PatientName": "*m*"}, ["1.2.1.1", "1.3.3.1"]),
        ("IMAGE", {"SOPInstanceUID": "1.1.1.1\\1.4.3.1"}, ["1.1.1.1", "1.4.3.1"]),
        ("IMAGE", {"InstanceNumber": "3"}, ["1.3.3.1"]),
    ],
)
def test_relational_queries(index: Index, level: str, keys: dict[str, str], found: list[str]) -> None:
    """S012: Without an agreement the same query is refused."""
    assert _found(index, QueryOptions(relational=True), level, **keys) == found
    with pytest.raises(ServiceRefusal) as refusal:
        _found(index, NO_OPTIONS, level, **keys)
    assert refusal.value.status == 0xA900


@pytest.mark.parametrize(
    ("date", "time", "separate", "combined"),
    [
        ("20240101-20240102", "200000-060000", [], ["1.2", "1.3"]),
        ("20240101-20240102", "070000-120000", ["1.1"], ["1.1", "1.2", "1.3"]),
        ("20240101-", "2100-", ["1.2"], ["1.2", "1.3", "1.4"]),
        ("-20240102", "-0030", [], ["1.1", "1.2"]),
        ("20240101", "0700-0900", ["1.1"], ["1.1"]),
        ("20240101-20240101", "0700-2300", ["1.1", "1.2"], ["1.1", "1.2"]),
        ("20240101-20240102", "0800", ["1.1"], ["1.1"]),
    ],
)
def test_combined_date_and_time(
    index: Index, date: str, time: str, separate: list[str], combined: list[str]
) -> None:
    """S018."""
    assert _found(index, NO_OPTIONS, StudyDate=date, StudyTime=time) == separate
    assert _found(index, QueryOptions(combined=True), StudyDate=date, StudyTime=time) == combined


@pytest.mark.parametrize(
    ("keyword", "found"),
    [
        ("PatientName", ["1.4"]),
        ("StudyTime", ["1.4"]),
        ("OtherPatientIDs", ["1.3", "1.4"]),
        ("StudyDate", []),
    ],
)
def test_an_empty_value(index: Index, keyword: str, found: list[str]) -> None:
    """S020."""
    assert _found(index, QueryOptions(empty=True), **{keyword: '""'}) == found
    assert _found(index, NO_OPTIONS, **{keyword: '""'}) == []


@pytest.mark.parametrize(
    ("keyword", "key", "every", "either"),
    [
        ("ModalitiesInStudy", "CT\\PT", ["1.1"], ["1.1", "1.2"]),
        ("ModalitiesInStudy", "PT\\CT", ["1.1"], ["1.1", "1.2"]),
        ("ModalitiesInStudy", "CT\\MR", [], ["1.1", "1.2", "1.3", "1.4"]),
        ("OtherPatientIDs", "O2\\O1", ["1.1"], ["1.1", "1.2"]),
    ],
)
def test_multiple_values(index: Index, keyword: str, key: str, every: list[str], either: list[str]) -> None:
    """S020."""
    assert _found(index, QueryOptions(multiple=True), **{keyword: key}) == every
    assert _found(index, NO_OPTIONS, **{keyword: key}) == either


def test_the_model_of_patients_and_studies_only(index: Index) -> None:
    patients = find(index, "PATIENT_STUDY_ONLY", identifier(QueryRetrieveLevel="PATIENT", PatientID="P1"))
    assert len(list(patients)) == 1
    asked = identifier(QueryRetrieveLevel="STUDY", PatientID="P1", StudyInstanceUID="")
    assert [one.StudyInstanceUID for _, one in find(index, "PATIENT_STUDY_ONLY", asked)] == ["1.1"]
    for level in ("SERIES", "IMAGE"):
        keys = {"PatientID": "P1", "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1"}
        with pytest.raises(ServiceRefusal) as refusal:
            find(index, "PATIENT_STUDY_ONLY", identifier(QueryRetrieveLevel=level, **keys))
        assert refusal.value.status == 0xA900


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("John^Doe", ["1.1"]),
        ("Jon Doh", ["1.1"]),
        ("smyth^jose", ["1.2"]),
        ("J^Doe", ["1.1"]),
        ("Myer^Ana", ["1.3"]),
    ],
)
def test_fuzzy_names(index: Index, key: str, found: list[str]) -> None:
    assert _found(index, QueryOptions(fuzzy=True), PatientName=key) == found
    assert _found(index, NO_OPTIONS, PatientName=key) == []
