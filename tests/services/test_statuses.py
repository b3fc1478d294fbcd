"""Statuses against PS3.7 Annex C and against pynetdicom's dictionaries."""

from __future__ import annotations

import pynetdicom.status as reference
import pytest

from dicomnet.services import statuses
from dicomnet.services.service_names import ServiceName
from dicomnet.services.statuses import StatusTable, category, statuses_of

NAMES = [name for name in vars(reference) if name.endswith("_STATUS") and name != "_STATUS"]


def ours(name: str) -> StatusTable:
    table = getattr(statuses, name.removesuffix("_STATUS").removesuffix("_SERVICE_CLASS"))
    assert isinstance(table, StatusTable)
    return table


def test_there_are_18_groups() -> None:
    assert len(NAMES) == 18


@pytest.mark.parametrize("name", NAMES)
def test_a_group_has_the_codes_and_categories_of_pynetdicom(name: str) -> None:
    theirs = getattr(reference, name)
    table = ours(name)
    assert {code: entry[0] for code, entry in table.items()} == {code: e[0] for code, e in theirs.items()}
    assert len(table) == len(theirs)
    assert all(code in table for code in theirs)


@pytest.mark.parametrize("name", NAMES)
def test_every_status_has_a_meaning_and_agrees_with_the_general_rule(name: str) -> None:
    for code, (status_class, meaning) in ours(name).items():
        assert meaning
        assert category(code) == status_class


def test_a_code_goes_before_a_mask() -> None:
    table = statuses.UNIFIED_PROCEDURE_STEP
    assert table[0xC300] != table[0xC2FF] == table[0xC305] == table[0xCFFF]


def test_an_unknown_code_is_a_key_error_as_with_a_dict() -> None:
    table = StatusTable(("A7xx", "Failure", "no room"), base=None)
    assert table[0xA7FF] == ("Failure", "no room")
    assert table.get(0xA800) is None
    assert list(table) == list(range(0xA700, 0xA800))
    with pytest.raises(KeyError):
        table[0x0000]


def test_a_table_adds_to_its_base_and_leaves_it_alone() -> None:
    base = StatusTable(("0000", "Success", "done"))
    table = StatusTable(("0xxx", "Failure", "not done"), base=base)
    assert (table[0], table[1]) == (("Success", "done"), ("Failure", "not done"))
    assert (len(table), len(base)) == (0x1000, 1)
    assert dict(base) == base == {0: ("Success", "done")}
    assert repr(base) == "<StatusTable of 1 codes>"


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([0x0000], "Success"),
        ([0xFF00, 0xFF01], "Pending"),
        ([0xFE00], "Cancel"),
        ([0x0001, 0x0107, 0x0116, *range(0xB000, 0xC000)], "Warning"),
        ([*range(0xA000, 0xB000), *range(0xC000, 0xD000)], "Failure"),
        (sorted({*range(0x0100, 0x0300)} - {0x0107, 0x0116}), "Failure"),
    ],
)
def test_the_status_classes_of_the_standard(codes: list[int], expected: str) -> None:
    """M017."""
    assert {category(code) for code in codes} == {expected}


def test_the_rest_is_unknown() -> None:
    rest = [*range(0x0002, 0x0100), *range(0x0300, 0xA000), *range(0xD000, 0xFE00), 0xFE01, 0xFF02, 0xFFFF]
    assert {category(code) for code in [*rest, 0x10000, 0x1A700]} == {"Unknown"}


def test_statuses_by_service_and_operation() -> None:
    assert statuses_of(ServiceName.STORAGE) is statuses.STORAGE
    assert statuses_of(ServiceName.VERIFICATION) is statuses.GENERAL
    assert statuses_of(ServiceName.QUERY_RETRIEVE, "C-MOVE") is statuses.QR_MOVE
    assert statuses_of(ServiceName.HANGING_PROTOCOL_QUERY_RETRIEVE, "C-FIND") is statuses.QR_FIND
    assert statuses_of(ServiceName.COLOR_PALETTE_QUERY_RETRIEVE, "C-GET") is statuses.QR_GET
    assert statuses_of(ServiceName.BASIC_WORKLIST_MANAGEMENT, "C-FIND") is statuses.MODALITY_WORKLIST
