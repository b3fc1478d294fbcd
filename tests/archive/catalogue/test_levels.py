from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from sqlalchemy import event
from tests.archive.catalogue.asking import ask, identifier, studies

from dicomnet.archive.catalogue import levels
from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.catalogue.levels import merged
from dicomnet.archive.catalogue.query import find

Archive = tuple[Index, Callable[[Dataset], None]]
Make = Callable[..., Dataset]

VALUES = {
    "PatientName": ("Doe^Jane", "Roe^Jane", "*oe^*", "do*"),
    "PatientBirthDate": ("19700101", "19700110", "19700101-19700131", "19700101"),
    "StudyDate": ("20240101", "20240102", "20240101-20240102", "-20240101"),
    "StudyTime": ("101500", "1100", "10-12", "10-1030"),
    "AccessionNumber": ("A1", "B2", "", "A?"),
    "StudyID": ("S1", "S2", "S*", "*1"),
    "ReferringPhysicianName": ("House^G", "Wilson^J", "*o*", "*ouse*"),
    "StudyDescription": ("CHEST PA", "CHEST LAT", "CHEST*", "*ST PA"),
    "PatientSex": ("F", "O", "", "F"),
    "NameOfPhysiciansReadingStudy": ("A^B", "C^D", "", "a*"),
    "PatientComments": ("first words", "other words", "*words", "*rst*"),
}


def _objects(make: Make, keyword: str, values: list[Any]) -> list[Dataset]:
    """Objects of one study, each in the same series."""
    return [
        make(
            StudyInstanceUID="1.1",
            SeriesInstanceUID="1.1.1",
            SOPInstanceUID=f"1.1.1.{number}",
            **{keyword: value},
        )
        for number, value in enumerate(values)
    ]


@pytest.mark.parametrize("keyword", VALUES)
@pytest.mark.parametrize("empty", ["", None])
def test_what_the_first_object_left_empty_is_filled(
    archive: Archive, make: Make, keyword: str, empty: str | None
) -> None:
    index, store = archive
    first, _, _, pattern = VALUES[keyword]
    objects = _objects(make, keyword, [empty, first, empty])
    store(objects[0])
    assert studies(index, **{keyword: first}) == []
    for data_set in objects[1:]:
        store(data_set)
    assert studies(index, **{keyword: first}) == studies(index, **{keyword: pattern}) == ["1.1"]
    (answer,) = ask(index, "STUDY", QueryRetrieveLevel="STUDY", **{keyword: ""})
    assert str(answer[keyword].value) == first


@pytest.mark.parametrize("keyword", VALUES)
@pytest.mark.parametrize("in_new_series", [False, True])
def test_either_of_two_contradicting_values_matches(
    archive: Archive, make: Make, keyword: str, in_new_series: bool
) -> None:
    """Once, and with the first value in the answer."""
    index, store = archive
    first, second, both, only_first = VALUES[keyword]
    objects = _objects(make, keyword, [first, second, first])
    if in_new_series:
        objects[1].SeriesInstanceUID = "1.1.2"
    for data_set in objects:
        store(data_set)
    for key in (first, second, both, only_first):
        (answer,) = ask(index, "STUDY", QueryRetrieveLevel="STUDY", StudyInstanceUID="", **{keyword: key})
        assert str(answer[keyword].value) == first, key
    assert studies(index, **{keyword: "zz"}) == []


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("StudyDescription", "CHEST"), ("StudyDate", "20240101"), ("PatientName", "Doe^Jane"), ("StudyID", "7")],
)
def test_a_later_study_completes_the_patient(archive: Archive, make: Make, keyword: str, value: str) -> None:
    index, store = archive
    store(make(StudyInstanceUID="1.1", SOPInstanceUID="1.1.1", PatientName="", PatientBirthDate=""))
    assert ask(index, "PATIENT", QueryRetrieveLevel="PATIENT", PatientBirthDate="19700101") == []
    store(
        make(
            StudyInstanceUID="1.2", SOPInstanceUID="1.2.1", **{"PatientBirthDate": "19700101", keyword: value}
        )
    )
    (answer,) = ask(
        index, "PATIENT", QueryRetrieveLevel="PATIENT", PatientBirthDate="19700101", PatientName=""
    )
    assert answer.PatientName == "Doe^Jane"
    assert studies(index, PatientBirthDate="19700101") == ["1.2"]


def test_a_patient_is_found_by_the_name_of_any_study(archive: Archive, make: Make) -> None:
    index, store = archive
    for number, name in enumerate(("Doe^Jane", "Roe^Jane", "Doe^Jane", "Roe^J")):
        store(make(StudyInstanceUID=f"1.{number}", SOPInstanceUID=f"1.{number}.1", PatientName=name))
    for key in ("doe*", "roe*", "*jane", "*J*"):
        (answer,) = ask(index, "PATIENT", QueryRetrieveLevel="PATIENT", PatientName=key)
        assert answer.PatientName == "Doe^Jane"
    assert studies(index, PatientName="roe*") == ["1.1", "1.3"]


def test_a_sequence_that_only_a_later_object_has(archive: Archive, make: Make) -> None:
    """Fault F9: it was not found."""
    index, store = archive
    code = identifier(CodeValue="X1", CodingSchemeDesignator="99M", CodeMeaning="it")
    other = identifier(CodeValue="X2", CodingSchemeDesignator="99M", CodeMeaning="other")
    for number, codes in enumerate(([], [code], [other], [code, other])):
        store(
            make(
                StudyInstanceUID="1.1",
                SOPInstanceUID=f"1.1.{number}",
                ProcedureCodeSequence=codes or None,
            )
        )
        for value, expected in (("X1", number > 0), ("X2", number > 1), ("X3", False)):
            key = {"ProcedureCodeSequence": [identifier(CodeValue=value)]}
            assert bool(studies(index, **key)) is expected


def test_the_modality_of_a_series_that_changes(archive: Archive, make: Make) -> None:
    index, store = archive
    for number, modality in enumerate(("", "CT", "PT")):
        store(
            make(
                StudyInstanceUID="1.1",
                SOPInstanceUID=f"1.1.{number}",
                Modality=modality,
            )
        )
    keys = {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.1", "SeriesInstanceUID": ""}
    assert [one.Modality for one in ask(index, "STUDY", **keys, Modality="PT")] == ["CT"]
    assert studies(index, ModalitiesInStudy="CT") == ["1.1"]


def test_objects_that_say_the_same_are_not_compared(archive: Archive, make: Make) -> None:
    """Nothing but the row of the instance and the count of its study is written, and nothing is read for it."""
    index, store = archive
    store(make(SOPInstanceUID="1.1", InstanceNumber="1"))
    statements: list[str] = []
    event.listen(index.database._writer, "before_cursor_execute", lambda *call: statements.append(call[2]))
    for number in range(2, 5):
        store(make(SOPInstanceUID=f"1.{number}", InstanceNumber=str(number)))
    changes = [one for one in statements if one.startswith(("INSERT", "UPDATE", "DELETE"))]
    assert {" ".join(one.split()[:3]) for one in changes} == {"INSERT INTO instance", "UPDATE study SET"}
    assert not [one for one in changes if "attributes=" in one]
    # What is looked up does not depend on how much there is above.
    read = {one for one in statements if one.startswith("SELECT")}
    assert all("state" in one or "max(instance.id)" in one for one in read)


def test_attributes_that_are_other_in_each_object_are_not_kept_without_end(
    archive: Archive, make: Make
) -> None:
    index, store = archive
    for number in range(40):
        store(make(SOPInstanceUID=f"1.{number}", StudyDescription=f"text {number}"))
    with index.reading() as connection:
        (others,) = connection.exec_driver_sql("SELECT length(others) FROM study").one()
    assert others < 300
    ((_, answer),) = find(index, "STUDY", identifier(QueryRetrieveLevel="STUDY", StudyDescription="text 1"))
    assert answer.StudyDescription == "text 0"


def test_a_cache_of_series_that_only_new_ones_came_into_grew_without_end(
    archive: Archive, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had a limit, which was looked at where a series was read from the database, not where one was new."""
    monkeypatch.setattr(levels, "_SERIES_LIMIT", 3)
    index, store = archive
    for number in range(10):
        store(
            make(
                SOPInstanceUID=f"1.{number}", SeriesInstanceUID=f"2.{number}", StudyInstanceUID=f"3.{number}"
            )
        )
        assert len(index._writer._series) <= 3
        assert len(index._writer._series._said) <= 3
    assert len(studies(index)) == 10


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.sampled_from(["", "x", "y", "z"])), max_size=6))
def test_the_first_value_is_kept_and_the_others_beside_it(said: list[dict[str, Any]]) -> None:
    attributes: dict[str, Any] = {}
    others: dict[str, list[Any]] = {}
    for one in said:
        before = (dict(attributes), {key: list(values) for key, values in others.items()})
        assert merged(attributes, others, one) is ((attributes, others) != before)
    for key in "abc":
        values = list(dict.fromkeys(one[key] for one in said if one.get(key)))
        assert [attributes[key], *others.get(key, [])] == values if values else not attributes.get(key)
