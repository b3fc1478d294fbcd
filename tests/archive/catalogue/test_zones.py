"""Queries in the time zone of who asks (PS3.4 sections C.2.2.2.1.3 and C.2.2.2.5)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from tests.archive.catalogue.asking import identifier

from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.catalogue.options import NO_OPTIONS, QueryOptions
from dicomnet.archive.catalogue.query import find
from dicomnet.archive.catalogue.zones import minutes_of, shifted, widened
from dicomnet.errors import ServiceRefusal

ZONED = QueryOptions(timezone=True)

# The studies: offset from UTC, date, time, and acquisition date and time of their one object.
STUDIES = {
    "1.1": ("+0100", "20240101", "003000", "20240101003000"),
    "1.2": ("-0500", "20231231", "183000", "20231231183000"),
    "1.3": ("", "20240101", "003000", "20240101003000"),
    "1.4": ("+0530", "20240101", "05", "20240101003000+0100"),
    "1.5": ("+0100", "20240101", "", "20240101"),
    "1.6": ("+1400", "20240101", "1330", ""),
    "1.7": ("+1400", "20240102", "003000.5", ""),
}


@pytest.fixture
def index(archive: tuple[Index, Callable[[Dataset], None]], make: Callable[..., Dataset]) -> Index:
    index, store = archive
    for uid, (offset, date, time, moment) in STUDIES.items():
        data_set = make(
            StudyInstanceUID=uid,
            SeriesInstanceUID=f"{uid}.1",
            SOPInstanceUID=f"{uid}.1.1",
            StudyDate=date,
            StudyTime=time,
            SeriesDate=date,
            SeriesTime=time,
            AcquisitionDateTime=moment,
            PatientBirthDate="19700101",
            PatientID=uid,
        )
        if offset:
            data_set.TimezoneOffsetFromUTC = offset
        store(data_set)
    return index


def _answers(index: Index, options: QueryOptions, **keys: Any) -> dict[str, Dataset]:
    asked = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ""} | keys
    found = find(index, "STUDY", identifier(**asked), options=options)
    return {str(answer.StudyInstanceUID): answer for _, answer in found}


def _said(answer: Dataset) -> tuple[str, ...]:
    keywords = ("StudyDate", "StudyTime", "TimezoneOffsetFromUTC")
    return tuple(str(answer.get(keyword, "-") or "") for keyword in keywords)


# 1.1, 1.2, 1.4 and 1.6 are of the same moment; 1.3 and 1.5 are not moved.
SAME = ["1.1", "1.2", "1.4", "1.6"]


@pytest.mark.parametrize(
    ("offset", "date", "time", "found"),
    [
        ("+0000", "20231231", "2330", SAME),
        ("+0000", "20231231", "", SAME),
        ("+0000", "", "2330", SAME),
        ("+0000", "20231231", "2300-2345", SAME),
        ("+0000", "20231231", "2331-", []),
        ("+0000", "20240101", "0030", ["1.3"]),
        ("+0000", "20240101", "", ["1.3", "1.5", "1.7"]),
        ("+0900", "20240101", "083000", SAME),
        ("-0930", "20231231", "14", SAME),
        ("-0930", "20231231", "1400-1401", SAME),
        ("+1400", "20240102", "", ["1.7"]),
        ("+1400", "20240101-20240102", "1330", SAME),
        ("-1200", "-20231231", "", [*SAME, "1.7"]),
        ("-1200", "20231231", "223000.5", ["1.7"]),
        ("+0100", "20240101-", "0030", ["1.1", "1.2", "1.3", "1.4", "1.6"]),
        ("+0100", "20240101\\20230505", "0030", ["1.1", "1.2", "1.3", "1.4", "1.6"]),
    ],
)
def test_moments_are_compared_in_the_time_zone_of_the_request(
    index: Index, offset: str, date: str, time: str, found: list[str]
) -> None:
    """S024."""
    answers = _answers(index, ZONED, TimezoneOffsetFromUTC=offset, StudyDate=date, StudyTime=time)
    assert sorted(answers) == found


def test_moments_are_returned_in_the_time_zone_of_the_request(index: Index) -> None:
    """S024: C.2.2.2 has the offset of a response say how its dates and times are read."""
    answers = _answers(index, ZONED, TimezoneOffsetFromUTC="-0930", StudyDate="", StudyTime="")
    assert {uid: _said(answer) for uid, answer in answers.items()} == {
        "1.1": ("20231231", "140000", "-0930"),
        "1.2": ("20231231", "140000", "-0930"),
        "1.3": ("20240101", "003000", "-"),
        "1.4": ("20231231", "14", "-0930"),
        "1.5": ("20240101", "", "-0930"),
        "1.6": ("20231231", "1400", "-0930"),
        "1.7": ("20240101", "010000.5", "-0930"),
    }


@pytest.mark.parametrize("asked", [{}, {"TimezoneOffsetFromUTC": ""}])
def test_without_a_time_zone_in_the_request_each_object_says_its_own(
    index: Index, asked: dict[str, str]
) -> None:
    answers = _answers(index, ZONED, StudyDate="20240101", StudyTime="", **asked)
    assert sorted(answers) == ["1.1", "1.3", "1.4", "1.5", "1.6"]
    assert _said(answers["1.1"]) == ("20240101", "003000", "+0100")
    assert _said(answers["1.3"]) == ("20240101", "003000", "-")


def test_nothing_is_moved_without_an_agreement(index: Index) -> None:
    """S024."""
    every: list[dict[str, str]] = [{}, {"TimezoneOffsetFromUTC": "+0000"}, {"TimezoneOffsetFromUTC": "odd"}]
    for keys in every:
        answers = _answers(index, NO_OPTIONS, StudyDate="20240101", StudyTime="", **keys)
        assert sorted(answers) == ["1.1", "1.3", "1.4", "1.5", "1.6"]
        assert _said(answers["1.1"]) == ("20240101", "003000", "-")


@pytest.mark.parametrize("offset", ["0100", "+1", "+01:00", "Z", "-1500", "+0060"])
def test_a_time_zone_that_is_none_is_refused(index: Index, offset: str) -> None:
    with pytest.raises(ServiceRefusal) as refusal:
        _answers(index, ZONED, TimezoneOffsetFromUTC=offset, StudyDate="20240101")
    assert refusal.value.status == 0xC000


@pytest.mark.parametrize(
    ("offset", "moment", "found"),
    [
        ("+0000", "20231231233000", ["1.1", "1.2", "1.4"]),
        ("+0100", "20240101003000", ["1.1", "1.2", "1.3", "1.4"]),
        ("+0000", "20240101003000", ["1.3"]),
        ("+0900", "20240101003000+0100", ["1.1", "1.2", "1.4"]),
        ("+0000", "20231231232959-20231231233001", ["1.1", "1.2", "1.4"]),
        ("+0000", "20231231232959-20240101003000+0000", ["1.1", "1.2", "1.3", "1.4"]),
        ("+0000", "20231231230000", ["1.5"]),
    ],
)
def test_moments_of_one_attribute(index: Index, offset: str, moment: str, found: list[str]) -> None:
    """A moment (DT) that says its own time zone has that, and any other the one of its object."""
    keys = {"QueryRetrieveLevel": "IMAGE", "TimezoneOffsetFromUTC": offset, "AcquisitionDateTime": moment}
    options = QueryOptions(timezone=True, relational=True)
    answers = _answers(index, options, **keys)
    assert sorted(answers) == found
    if "1.1" in found:
        assert answers["1.1"].AcquisitionDateTime == "20240101003000+0100"


def test_the_series_is_moved_and_the_birth_is_not(index: Index) -> None:
    keys = {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.1", "SeriesInstanceUID": ""}
    dates = {
        "StudyDate": "20231231",
        "SeriesDate": "20231231",
        "SeriesTime": "",
        "PatientBirthDate": "19700101",
    }
    (answer,) = _answers(index, ZONED, TimezoneOffsetFromUTC="+0000", **keys, **dates).values()
    assert (answer.SeriesDate, answer.SeriesTime, answer.StudyDate) == ("20231231", "233000", "20231231")
    assert answer.PatientBirthDate == "19700101"


def test_with_combined_ranges(index: Index) -> None:
    """The midnight between 1.1 as it is stored and 1.1 as it is asked for."""
    keys = {"StudyDate": "20231231-20240101", "StudyTime": "2300-0030", "TimezoneOffsetFromUTC": "+0000"}
    assert sorted(_answers(index, QueryOptions(timezone=True, combined=True), **keys)) == [
        "1.1",
        "1.2",
        "1.3",
        "1.4",
        "1.5",
        "1.6",
    ]
    assert sorted(_answers(index, QueryOptions(timezone=True), **keys)) == []


def test_objects_of_one_study_in_two_time_zones(
    archive: tuple[Index, Callable[[Dataset], None]], make: Callable[..., Dataset]
) -> None:
    index, store = archive
    for number, (offset, date, time) in enumerate(
        [("+0100", "20240101", "0030"), ("+0000", "20231231", "2330")]
    ):
        data_set = make(StudyInstanceUID="1.1", SOPInstanceUID=f"1.{number}", StudyDate=date, StudyTime=time)
        data_set.TimezoneOffsetFromUTC = offset
        store(data_set)
    keys = {"StudyDate": "20231231", "StudyTime": "2330"}
    (answer,) = _answers(index, ZONED, TimezoneOffsetFromUTC="+0000", **keys).values()
    assert _said(answer) == ("20231231", "2330", "+0000")


@given(
    st.datetimes(datetime(1900, 1, 3), datetime(2100, 1, 1)),
    st.integers(-26 * 60, 26 * 60),
    st.sampled_from(["%H%M%S", "%H%M", "%H:%M:%S", "%H%M%S.%f"]),
)
def test_a_moved_moment_is_what_a_clock_shows(moment: datetime, minutes: int, form: str) -> None:
    there = moment + timedelta(minutes=minutes)
    day, clock = shifted(moment.strftime("%Y%m%d"), moment.strftime(form), minutes)
    assert day == there.strftime("%Y%m%d")
    assert clock.replace(":", "") == there.strftime(form).replace(":", "")
    assert shifted("", moment.strftime(form), minutes)[1] == clock
    assert widened(day).split("-")[0] <= moment.strftime("%Y%m%d") <= widened(day).split("-")[1]


@pytest.mark.parametrize(
    ("day", "clock", "minutes"),
    [
        ("20240230", "0100", 90),
        ("2024", "0100", 90),
        ("20240101", "25", 90),
        ("20240101", "", 90),
        ("20240101", "0100", 0),
        ("00010101", "00", -90),
        ("99991231", "23", 90),
    ],
)
def test_what_cannot_be_moved_stays(day: str, clock: str, minutes: int) -> None:
    assert shifted(day, clock, minutes) == (day, clock)


@pytest.mark.parametrize(
    ("key", "wider"),
    [
        ("20240301", "20240228-20240303"),
        ("20240301-", "20240228-"),
        ("-20240301", "-20240303"),
        ("2024.03.01-20240310", "20240228-20240312"),
        ("20240301\\20230505", "20240228-20240303\\20230503-20230507"),
        ("x", "x"),
        ("99991231", "99991229-"),
        ("00010101-", ""),
    ],
)
def test_dates_that_some_time_zone_makes_of_a_key(key: str, wider: str) -> None:
    assert widened(key) == wider


def test_offsets() -> None:
    assert [minutes_of(each) for each in ("+0000", "-0930", "+1400", "", "0100")] == [
        0,
        -570,
        840,
        None,
        None,
    ]
