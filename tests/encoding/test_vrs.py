"""The table of value representations beside pydicom's tables."""

from __future__ import annotations

import struct

from pydicom import filewriter, valuerep
from pydicom.valuerep import VR

from dicomnet.encoding.vrs import ENCAPSULATED, LONG_LENGTH, NUMBERS, SHORT_LENGTH, VRS


def test_the_rows_are_the_vrs_of_the_standard() -> None:
    assert set(VRS) == set(map(str, valuerep.STANDARD_VR))
    assert all(name == row.name for name, row in VRS.items())


def test_the_length_field_is_as_long_as_for_pydicom() -> None:
    assert set(map(str, valuerep.EXPLICIT_VR_LENGTH_16)) == SHORT_LENGTH
    assert set(map(str, valuerep.EXPLICIT_VR_LENGTH_32)) == LONG_LENGTH


def test_text_is_what_pydicom_takes_for_text() -> None:
    assert {row.name for row in VRS.values() if row.is_text} == set(map(str, valuerep.STR_VR))
    local = set(map(str, valuerep.CUSTOMIZABLE_CHARSET_VR))
    assert {row.name for row in VRS.values() if row.has_character_set} == local


def test_values_are_separated_where_pydicom_separates_them() -> None:
    """In UR, which has one value, pydicom splits all the same (PS3.5 section 6.4 does not)."""
    whole = {str(vr) for vr in valuerep.STR_VR & valuerep.ALLOW_BACKSLASH} | {"UR"}
    assert {row.name for row in VRS.values() if row.is_text and not row.is_separated} == whole


def test_numbers_are_written_as_by_pydicom() -> None:
    found = {}
    for vr, (_, letter) in filewriter.writers.items():
        if isinstance(letter, str):
            found[str(vr)] = letter.replace("L", "I").replace("l", "i")
    assert found == NUMBERS
    for name, letter in NUMBERS.items():
        assert struct.calcsize(f"<{letter}") == struct.calcsize(letter) == VRS[name].unit


def test_words_have_the_size_that_their_names_say() -> None:
    """PS3.5 section 7.3: what is swapped in the big endian encoding."""
    sizes = {"AT": 2, "OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
    for row in VRS.values():
        assert row.unit == sizes.get(row.name, row.unit if row.number else 1), row.name


def test_padding_is_that_of_pydicom() -> None:
    for row in VRS.values():
        if row.is_text:
            assert row.padding == (b"\0" if row.name == VR.UI else b" ")
        else:
            assert row.padding == b"\0"


def test_fragments_are_for_other_vrs() -> None:
    assert {str(vr) for vr in valuerep.BYTES_VR} - {"UN"} == ENCAPSULATED
