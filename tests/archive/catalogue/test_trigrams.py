from __future__ import annotations

from collections.abc import Callable

import pytest
from pydicom.dataset import Dataset
from tests.archive.catalogue.asking import studies

from dicomnet.archive.catalogue import trigrams
from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.storage.store import ObjectName

NAMES = [
    "Müller^Eva",
    "Muller^Eva",
    'O"Brien^Pat',
    "Strauß^Ana",
    "山田太郎^花子",
    "Ab^Cd",
    "X AND Y^Z",
    "%_^*x",
]
FOUND = [
    ("*ller*", {0, 1}),
    ("*ÜLLE*", {0}),
    ('*"BRI*', {2}),
    ("*rien^pa*", {2}),
    ("*AUSS^A*", {3}),
    ("*田太郎*", {4}),
    ("*b^C*", {5}),
    ("*AND Y*", {6}),
    ("*?ND*", {6}),
    ("*zzz*", set()),
    ("*ller*^?va", {0, 1}),
]


@pytest.mark.parametrize("filled", [0, 1, 5, len(NAMES)])
def test_a_part_of_a_name_is_found_wherever_it_is_kept(
    archive: tuple[Index, Callable[[Dataset], None]],
    make: Callable[..., Dataset],
    filled: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some of the values are in the table of trigrams, the others wait."""
    index, store = archive
    monkeypatch.setattr(trigrams, "WAITING", 1)
    for number, name in enumerate(NAMES):
        if number == filled:
            _fill(index)
        data_set = make(
            StudyInstanceUID=f"1.{number}", SOPInstanceUID=f"1.{number}.1", PatientID=f"P{number}"
        )
        data_set.SpecificCharacterSet = "ISO_IR 192"
        data_set.PatientName = name
        store(data_set)
    if filled == len(NAMES):
        _fill(index)
    for key, numbers in FOUND:
        expected = sorted(f"1.{number}" for number in numbers)
        assert studies(index, PatientName=key, SpecificCharacterSet="ISO_IR 192") == expected, key


def _fill(index: Index) -> None:
    with index.database.writing() as connection:
        trigrams.fill(connection)


def test_row_numbers_that_are_given_again_are_indexed_again(
    archive: tuple[Index, Callable[[Dataset], None]],
    make: Callable[..., Dataset],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index, store = archive
    monkeypatch.setattr(trigrams, "WAITING", 1)
    store(
        make(StudyInstanceUID="1.1", SOPInstanceUID="1.1.1", PatientName="Before^It", StudyDescription="MANY")
    )
    _fill(index)
    index.forget(ObjectName("1.1", make().SeriesInstanceUID, "1.1.1"))
    assert studies(index, PatientName="*fore*") == []
    store(
        make(
            StudyInstanceUID="1.2",
            SOPInstanceUID="1.2.1",
            PatientName="Thereafter^It",
            StudyDescription="FEW",
        )
    )
    assert studies(index, PatientName="*reaft*") == ["1.2"]
    _fill(index)
    assert studies(index, PatientName="*reaft*") == ["1.2"]


@pytest.mark.parametrize("key", ["*abc\0def*", "*\0*abc*", "*abc\0", "*a\0b*"])
def test_a_key_with_a_nul_finds_nothing_and_is_no_failure_of_the_index(
    archive: tuple[Index, Callable[[Dataset], None]], make: Callable[..., Dataset], key: str
) -> None:
    """The database took the NUL for the end of what it looks for, and the quote behind it was missing."""
    index, store = archive
    store(make(PatientName="Xabcdef^Eva", PatientID="Xabcdef"))
    for keyword in ("PatientName", "PatientID", "StudyDescription"):
        assert studies(index, **{keyword: key}) == []
