"""The element rows against pydicom's data dictionary, an independent copy of PS3.7 Annex E."""

from __future__ import annotations

import pytest
from pydicom.datadict import dictionary_description, dictionary_keyword, dictionary_VM, dictionary_VR

from dicomnet.dimse.parameters import COMMAND_ELEMENTS, DATA_SET_PARAMETERS, PARAMETERS, Parameter


@pytest.mark.parametrize("row", COMMAND_ELEMENTS, ids=lambda row: row.keyword)
def test_row_equals_the_data_dictionary(row: Parameter) -> None:
    assert row.tag >> 16 == 0
    assert row.keyword == dictionary_keyword(row.tag)
    assert row.name == dictionary_description(row.tag)
    assert row.vr == dictionary_VR(row.tag)
    assert row.vm == dictionary_VM(row.tag)


def test_rows_are_in_ascending_order_of_tags_and_unique() -> None:
    tags = [row.tag for row in COMMAND_ELEMENTS]
    assert tags == sorted(set(tags))
    assert len(PARAMETERS) == len(COMMAND_ELEMENTS) == 24


def test_every_element_of_the_registry_that_is_in_use_has_a_row() -> None:
    # PS3.7 Table E.1-1
    registry = """
        0000 0002 0003 0100 0110 0120 0600 0700 0800 0900 0901 0902 0903 1000 1001 1002 1005 1008
        1020 1021 1022 1023 1030 1031
    """
    assert [f"{row.tag:04X}" for row in COMMAND_ELEMENTS] == registry.split()


def test_data_set_parameters_have_no_tag_of_their_own() -> None:
    assert not DATA_SET_PARAMETERS.keys() & PARAMETERS.keys()
    for keyword, row in DATA_SET_PARAMETERS.items():
        assert row.keyword == keyword == row.name.replace(" ", "")
