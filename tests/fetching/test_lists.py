"""Lists as people have them, and the rows that nothing may be asked for."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dicomnet.fetching.lists import ListError, Row, read_list

UID = "1.2.840.1"


def rows(text: str, encoding: str = "utf-8", *, wildcards: bool = False, **columns: str) -> list[Row]:
    return list(read_list(text.encode(encoding), columns, wildcards=wildcards).rows)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_the_forms_of_a_table(encoding: str, delimiter: str, ending: str) -> None:
    cells = [["PatientName", "AccessionNumber"], ["Müller^Jürgen", "A1"], ["Doe", "0007"]]
    text = ending.join(delimiter.join(line) for line in cells) + ending
    assert rows(text, encoding) == [
        Row(2, {"PatientName": "Müller^Jürgen", "AccessionNumber": "A1"}),
        Row(3, {"PatientName": "Doe", "AccessionNumber": "0007"}),
    ]


def test_excel_says_its_separator_in_a_line() -> None:
    (row,) = rows("sep=;\r\nAccessionNumber;PatientName\r\nA1;Doe, Jane\r\n")
    assert row == Row(3, {"AccessionNumber": "A1", "PatientName": "Doe, Jane"})


def test_lines_of_json() -> None:
    text = '{"accession": "A1", "mrn": 42}\n\n[1]\n{"mrn": 1.5}\n{"mrn": "1", "mrn": "2"}\nx\n{"accession": "A2"}\n'
    listing = read_list(text.encode(), {})
    assert listing.understood == {"accession": "AccessionNumber", "mrn": "PatientID"}
    assert listing.rows[0] == Row(1, {"AccessionNumber": "A1", "PatientID": "42"})
    assert [(each.line, bool(each.fault)) for each in listing.rows] == [
        (1, False),
        (3, True),
        (4, True),
        (5, True),
        (6, True),
        (7, False),
    ]


@pytest.mark.parametrize(
    ("heading", "keyword"),
    [
        ("accession", "AccessionNumber"),
        ("Accession Number", "AccessionNumber"),
        ("accession_number", "AccessionNumber"),
        ("MRN", "PatientID"),
        ("Patient's Name", "PatientName"),
        ("study date", "StudyDate"),
        ("StudyDate", "StudyDate"),
        ("(0008,0050)", "AccessionNumber"),
        ("00200010", "StudyID"),
    ],
)
def test_common_spellings(heading: str, keyword: str) -> None:
    value = "20260131" if keyword == "StudyDate" else "1"
    listing = read_list(f"{heading}\tPatientID\n{value}\t1\n".encode(), {})
    assert listing.rows[0].keys[keyword] == value
    assert listing.understood == ({} if heading == keyword else {heading: keyword})


@pytest.mark.parametrize("text", ["", " \n", "AccessionNumber\n", "\0\1\2", "AccessionNumber,\nA1\n,x\n,,\n"])
def test_what_is_no_list(text: str) -> None:
    if text.count("\n") > 1:
        assert rows(text)[1].fault
        return
    with pytest.raises(ListError):
        rows(text)


@pytest.mark.parametrize("heading", ["note", "Rows", "PixelData", "NumberOfStudyRelatedSeries", ""])
def test_a_column_that_nothing_can_be_asked_by(heading: str) -> None:
    """It may be a key that is misspelt; passed over, more would be retrieved than was meant."""
    with pytest.raises(ListError, match="column"):
        rows(f"{heading},AccessionNumber\n1,A1\n")


def test_a_column_is_named_or_passed_over() -> None:
    text = "Fall,note\nA1,x\n"
    assert rows(text, Fall="AccessionNumber", note="") == [Row(2, {"AccessionNumber": "A1"})]


def test_a_quotation_mark_that_is_never_closed_takes_no_rows_away() -> None:
    with pytest.raises(ListError, match="line 3"):
        rows('AccessionNumber,PatientID\nA1,1\nA2,"2\nA3,3\n')


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("AccessionNumber\nA*\n", "wild card"),
        ("AccessionNumber\nA?\n", "wild card"),
        (f"StudyInstanceUID\n{UID}\\1.2\n", "wild card"),
        ("StudyInstanceUID\n1.2.x\n", "not a UID"),
        ("StudyInstanceUID\n1.23457E+15\n", "not a UID"),
        ("AccessionNumber\n1.23457E+15\n", "spreadsheet"),
        ("AccessionNumber\n12345678901234567\n", "16"),
        ("PatientID,StudyDate\n1,31.01.2026\n", "date"),
        ("PatientID,StudyDate\n1,20260101-\n", "date"),
        ("PatientID,StudyDate\n1,\n", "StudyDate is empty"),
        ("PatientID,AccessionNumber\n1,\n", "AccessionNumber is empty"),
        (f"StudyInstanceUID,SeriesInstanceUID\n{UID},\n", "SeriesInstanceUID is empty"),
        (f"StudyInstanceUID,Modality\n{UID},\n", "Modality is empty"),
        (f"SeriesInstanceUID\n{UID}\n", "StudyInstanceUID"),
        (f"StudyInstanceUID,SOPInstanceUID\n{UID},{UID}\n", "together"),
        ("accession,AccessionNumber\n1,2\n", "different"),
        ("AccessionNumber,PatientID\nA1\n", "cells"),
        ("AccessionNumber\n1\x07\n", "control"),
    ],
)
def test_rows_that_nothing_may_be_asked_for(text: str, words: str) -> None:
    (row,) = rows(text)
    assert words in row.fault


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (f"StudyInstanceUID,PatientID\n{UID},\n", {"StudyInstanceUID": UID}),
        ("AccessionNumber,StudyDate\nA1,\n", {"AccessionNumber": "A1"}),
        ("PatientID,StudyDate\n1,2026-01-31\n", {"PatientID": "1", "StudyDate": "20260131"}),
        ("PatientID,StudyDate\n1,2026-01-31 00:00:00\n", {"PatientID": "1", "StudyDate": "20260131"}),
    ],
)
def test_rows_that_are_asked_for(text: str, keys: dict[str, str]) -> None:
    assert rows(text) == [Row(2, keys)]


def test_wild_cards_where_they_are_wanted() -> None:
    (row,) = rows("PatientID,StudyDate\nA*,20260101-20260131\n", wildcards=True)
    assert row == Row(2, {"PatientID": "A*", "StudyDate": "20260101-20260131"})


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), max_size=20),
            st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
        ),
        min_size=1,
        max_size=10,
    )
)
def test_each_row_is_asked_for_as_it_is_or_refused(cells: list[tuple[str, str]]) -> None:
    """Whatever is in a cell, it never becomes a key that matches more than itself."""
    assume(any(part.strip() for each in cells for part in each))
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["PatientID", "AccessionNumber"])
    writer.writerows(cells)
    lines = "\n".join(
        json.dumps(dict(zip(("PatientID", "AccessionNumber"), each, strict=True))) for each in cells
    )
    for found in (rows(table.getvalue()), rows(lines)):
        asked = [each for each in found if not each.fault]
        for each in asked:
            assert "AccessionNumber" in each.keys
            assert all(value and not set("*?\\") & set(value) for value in each.keys.values())
        simple = [each for each in cells if all(part.isalnum() and len(part) <= 16 for part in each)]
        assert len(asked) >= len([each for each in simple if "e" not in each[0].lower() + each[1].lower()])
