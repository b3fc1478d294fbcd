"""Keys of a query, from values of every kind to the Identifier as the peer reads it."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicomnet.datasets.codec import decode, encode, encode_keys
from dicomnet.datasets.queries import build_keys, build_query


def sent(query: Dataset) -> Dataset:
    """As the peer reads it, in either native transfer syntax."""
    both = []
    for is_implicit in (True, False):
        encoded = encode(query, is_implicit, True)
        assert encoded is not None
        both.append(decode(encoded, is_implicit, True))
    assert both[0] == both[1]
    return both[0]


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("PatientName", "Do?*", "Do?*"),
        ("PatientName", "山田^太郎", "山田^太郎"),
        ("PatientName", None, ""),
        ("StudyDate", "-20200101", "-20200101"),
        ("StudyDate", date(2020, 1, 2), "20200102"),
        ("StudyDate", [date(2020, 1, 2), "20200103"], ["20200102", "20200103"]),
        ("StudyTime", "10-12", "10-12"),
        ("ModalitiesInStudy", ["CT", "MR"], ["CT", "MR"]),
        ("StudyInstanceUID", ("1.2", "1.3"), ["1.2", "1.3"]),
        ("InstanceNumber", 7, 7),
        ("Rows", 512, 512),
        ("Rows", None, None),
        ("Rows", [1, 2], [1, 2]),
        ("PixelSpacing", "", None),
        ("SmallestImagePixelValue", None, None),
        ("ReferencedStudySequence", None, []),
    ],
)
def test_keys_of_every_kind(keyword: str, value: Any, expected: Any) -> None:
    query = sent(build_query("image", {keyword: value}))
    assert query.QueryRetrieveLevel == "IMAGE"
    found = query[keyword].value
    assert (list(found) if isinstance(expected, list) else found) == expected
    assert ("SpecificCharacterSet" in query) == (isinstance(value, str) and not value.isascii())


def test_a_sequence_key() -> None:
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2"
    query = sent(build_query("study", {"ReferencedStudySequence": [item]}))
    assert query.ReferencedStudySequence[0].ReferencedSOPInstanceUID == "1.2"


@pytest.mark.parametrize("level", ["patient", "STUDY", "Series", "image", "instance"])
def test_levels(level: str) -> None:
    assert build_query(level, {}).QueryRetrieveLevel in ("PATIENT", "STUDY", "SERIES", "IMAGE")


@pytest.mark.parametrize(
    ("level", "keys"),
    [
        ("hospital", {}),
        ("study", {"Patientname": "x"}),
        ("study", {"TransferSyntaxUID": "1.2"}),
        ("study", {"MessageID": 1}),
        ("study", {"QueryRetrieveLevel": "IMAGE"}),
    ],
)
def test_queries_that_make_no_sense(level: str, keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        build_query(level, keys)


def test_keys_inside_a_sequence() -> None:
    keys = build_keys({"PatientID": None, "ScheduledProcedureStepSequence": {"Modality": "CT", "Rows": None}})
    assert "QueryRetrieveLevel" not in keys
    assert "SpecificCharacterSet" not in keys
    (step,) = keys.ScheduledProcedureStepSequence
    assert step.Modality == "CT"
    assert not step.Rows


def test_the_character_set_of_an_item_is_that_of_the_data_set() -> None:
    keys = build_keys({"ScheduledProcedureStepSequence": {"ScheduledPerformingPhysicianName": "M\u00fcller"}})
    assert keys.SpecificCharacterSet == "ISO_IR 192"
    assert "SpecificCharacterSet" not in keys.ScheduledProcedureStepSequence[0]
    read = decode(encode(keys, True, True) or b"", True, True)
    assert read.ScheduledProcedureStepSequence[0].ScheduledPerformingPhysicianName == "M\u00fcller"


@pytest.mark.parametrize("keys", [{"Bogus": 1}, {"ReferencedStudySequence": {"Bogus": 1}}])
def test_keys_that_do_not_exist(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="'Bogus'"):
        build_keys(keys)


@pytest.mark.parametrize(
    "keyword", ["InstanceNumber", "PatientWeight", "Rows", "RecommendedDisplayFrameRateInFloat"]
)
@pytest.mark.parametrize("value", ["*", "**", "", None])
def test_an_asterisk_was_not_taken_as_a_number(keyword: str, value: str | None) -> None:
    """It matches everything, as an empty value does."""
    keys = build_keys({keyword: value})
    assert keys[keyword].is_empty
    assert encode_keys(keys, True, True)[4:] == bytes(4)


@pytest.mark.parametrize(("keyword", "value"), [("InstanceNumber", "1?"), ("PatientWeight", "x")])
def test_a_key_that_is_not_a_number_is_named(keyword: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"is not a value that {keyword} can have"):
        build_keys({keyword: value})
