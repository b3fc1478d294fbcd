"""``dicomnet.pynetdicom.status`` against pynetdicom 3.0.4."""

from __future__ import annotations

from typing import Any

import pynetdicom.status as reference
import pytest
from pydicom.dataset import Dataset

from dicomnet.pynetdicom import status
from dicomnet.pynetdicom.status import Status, code_to_category, code_to_status

DEFINED = {code for name, table in vars(reference).items() if name.endswith("_STATUS") for code in table}


@pytest.mark.parametrize("name", [name for name in vars(reference) if name.isupper() and name[0] != "_"])
def test_every_constant_of_pynetdicom_is_there(name: str) -> None:
    theirs, ours = getattr(reference, name), getattr(status, name)
    if isinstance(theirs, str):
        assert ours == theirs
    else:
        assert {code: entry[0] for code, entry in ours.items()} == {code: e[0] for code, e in theirs.items()}
        assert all(type(entry) is tuple and len(entry) == 2 for entry in ours.values())


def test_the_members_of_status_are_those_of_pynetdicom() -> None:
    ours = {name: int(member) for name, member in Status.__members__.items()}
    assert ours == {name: int(member) for name, member in reference.Status.__members__.items()}
    assert int(Status.PENDING) == 0xFF00
    assert Status(0) is Status.SUCCESS
    assert f"{Status.CANCEL}" == "65024"


def test_a_name_can_be_added_as_a_plain_int() -> None:
    Status.add("OUT_OF_FILM", 0xC123)
    try:
        assert getattr(Status, "OUT_OF_FILM") == 0xC123  # noqa: B009
        assert "OUT_OF_FILM" not in Status.__members__
    finally:
        delattr(Status, "OUT_OF_FILM")


def test_a_member_cannot_be_replaced() -> None:
    with pytest.raises(AttributeError):
        Status.add("PENDING", 0xFF01)
    with pytest.raises(AttributeError):
        reference.Status.add("PENDING", 0xFF01)
    assert int(Status.PENDING) == 0xFF00


def test_categories_agree_with_pynetdicom_for_all_codes_but_the_unassigned_ones_of_ps3_7() -> None:
    # PS3.7 Annex C makes all of 01xx and 02xx failures, pynetdicom only those that are in use.
    differing = {
        code for code in range(0x10100) if code_to_category(code) != reference.code_to_category(code)
    }
    assert differing == {*range(0x0100, 0x0300)} - DEFINED
    assert {code_to_category(code) for code in differing} == {"Failure"}


def test_a_status_data_set() -> None:
    data_set = code_to_status(0xC000)
    expected = Dataset()
    expected.Status = 0xC000
    assert data_set == expected == reference.code_to_status(0xC000)


@pytest.mark.parametrize("code", [-1, "a", None, 1.0, b"\x00"])
@pytest.mark.parametrize("function", ["code_to_status", "code_to_category"])
def test_what_is_no_code_is_a_value_error(function: str, code: Any) -> None:
    for module in (reference, status):
        with pytest.raises(ValueError):
            getattr(module, function)(code)
