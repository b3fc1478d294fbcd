"""Conditions on series, and matches that a peer gives though they were not asked for."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from dicomnet.fetching.selecting import Agreement, Condition, Selection, agreement


def match(**values: object) -> Dataset:
    found = Dataset()
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


@pytest.mark.parametrize(
    ("condition", "is_met"),
    [
        ("Modality=CT", True),
        ("Modality=ct", True),
        ("Modality=C", False),
        ("Modality!=CT", False),
        ("Modality!=SR", True),
        ("SeriesDescription~*thin*", True),
        ("SeriesDescription~thin", False),
        ("SeriesDescription=*thin*", False),
        ("SeriesDescription!~*thick*", True),
        ("SeriesDescription~*[1]*", True),
        ("BodyPartExamined=CHEST", False),
        ("BodyPartExamined!=CHEST", True),
        ("BodyPartExamined=", True),
    ],
)
def test_conditions(condition: str, is_met: bool) -> None:
    series = match(Modality="CT", SeriesDescription="Thorax THIN [1] mm")
    assert Condition.parse(condition).is_met(series) is is_met
    assert Selection([Condition.parse(condition)]).takes(series) is is_met
    assert Selection([], [Condition.parse(condition)]).takes(series) is not is_met


@pytest.mark.parametrize("text", ["", "Modality", "=CT", "PatientID=1", "Bogus=1", "Modality>CT"])
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Condition.parse(text)


@pytest.mark.parametrize(
    ("told", "keys", "verdict"),
    [
        ({"PatientID": "1"}, {"PatientID": "1"}, Agreement.AGREES),
        ({"PatientID": "1 "}, {"PatientID": "1"}, Agreement.AGREES),
        ({"PatientID": "01"}, {"PatientID": "1"}, Agreement.DIFFERS),
        ({"AccessionNumber": "a1"}, {"AccessionNumber": "A1"}, Agreement.DIFFERS),
        ({"PatientID": ""}, {"PatientID": "1"}, Agreement.UNTOLD),
        ({}, {"PatientID": "1"}, Agreement.UNTOLD),
        ({"PatientID": "2"}, {"PatientID": "1", "StudyDate": "20260101"}, Agreement.DIFFERS),
        ({"PatientName": "DOE^JANE^^"}, {"PatientName": "Doe^Jane"}, Agreement.AGREES),
        ({"PatientName": "Doe^John"}, {"PatientName": "Doe^Jane"}, Agreement.DIFFERS),
        ({"StudyTime": "120000.000"}, {"StudyTime": "1200"}, Agreement.AGREES),
        ({"SeriesNumber": "02"}, {"SeriesNumber": "2"}, Agreement.AGREES),
        ({"ModalitiesInStudy": ["CT", "SR"]}, {"ModalitiesInStudy": "SR"}, Agreement.AGREES),
        ({"PatientID": "A17"}, {"PatientID": "A*"}, Agreement.AGREES),
        ({"PatientID": "B17"}, {"PatientID": "A*"}, Agreement.DIFFERS),
        ({"StudyInstanceUID": "1.2"}, {"StudyInstanceUID": "1.2\\1.3"}, Agreement.AGREES),
    ],
)
def test_a_peer_may_pass_over_a_key(
    told: dict[str, object], keys: dict[str, str], verdict: Agreement
) -> None:
    assert agreement(match(**told), keys)[0] is verdict
