"""Names of files: whatever an object says, they lie in the folder, are possible everywhere, and are its own."""

from __future__ import annotations

import ntpath
import pathlib
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnet.fetching.names import DEFAULT_LAYOUT, Layout, folded, numbered

LAYOUT = Layout.parse("{PatientID}/{StudyDate} {PatientName}/{SeriesNumber}-{SeriesDescription}.dcm")
VALUES = st.dictionaries(
    st.sampled_from(LAYOUT.keywords),
    st.one_of(
        st.text(max_size=300),
        st.sampled_from(
            ["..", ".", "/", "../..", "\\", "\0", "CON", "aux.txt", "LPT1", "a.", "a ", "~", "-rf", "C:"]
        ),
        st.text(st.sampled_from("aA./\\ :%ß\u0130\u2028\U0001f480e\u0301"), max_size=200),
    ),
)
DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)


def is_reserved(name: str) -> bool:
    """Whether Windows has another use for a name, as Python knows it."""
    if sys.version_info >= (3, 13):
        return ntpath.isreserved(name)
    return pathlib.PureWindowsPath(name).is_reserved()


@given(VALUES, st.integers(1, 10**6))
def test_names_are_safe(values: dict[str, str], number: int) -> None:
    name = numbered(LAYOUT.name(values), number)
    assert len(name) == 3
    for component in name:
        assert component not in ("", ".", "..")
        assert not component.startswith(".")
        assert not component.endswith((".", " "))
        assert len(component.encode()) <= 255
        assert component.isprintable()
        assert not set('<>:"/\\|?*') & set(component)
        assert not DEVICE.fullmatch(component.partition(".")[0].strip())
        assert not is_reserved(component)
    assert name[-1].endswith(".dcm")
    inside = pathlib.PurePosixPath("/folder", *name)
    assert inside.parts[:2] == ("/", "folder")
    assert len(inside.parts) == 5


@given(st.text(max_size=80), st.text(max_size=80))
def test_two_values_have_two_names(one: str, other: str) -> None:
    """Patients whose IDs differ in an unsafe character only do not share a folder."""
    layout = Layout.parse("{PatientID}/{SOPInstanceUID}")
    names = [layout.name({"PatientID": each, "SOPInstanceUID": "1.2"}) for each in (one, other)]
    values = [one.strip() or "_", other.strip() or "_"]
    import unicodedata

    normal = [unicodedata.normalize("NFC", each) for each in values]
    assert (names[0] == names[1]) == (normal[0] == normal[1])


@given(VALUES)
def test_numbers_tell_apart_what_has_one_name(values: dict[str, str]) -> None:
    names = [folded(numbered(LAYOUT.name(values), number)) for number in range(1, 30)]
    assert len(set(names)) == len(names)


def test_names_that_differ_in_case_are_the_same_to_some() -> None:
    assert folded(("A", "Straße.dcm")) == folded(("a", "STRASSE.DCM"))
    assert folded(("\u00e9",)) == folded(("e\u0301",))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/{PatientID}",
        "../{PatientID}",
        "a/../{PatientID}",
        "{PatientID}/",
        "{PatientID}//{SOPInstanceUID}",
        ".x/{PatientID}",
        "{Bogus}.dcm",
        "{PatientID!r}",
        "{PatientID:>9}",
        "{PatientID.__class__}",
        "{PixelData}",
        "{TransferSyntaxUID}",
        "C:\\{PatientID}",
        "plain.dcm",
        "{PatientID",
        "{}",
    ],
)
def test_what_is_no_layout(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Layout.parse(text)


def test_the_usual_layout() -> None:
    values = {
        "PatientID": "4/2",
        "StudyInstanceUID": "1.2",
        "SeriesInstanceUID": "1.2.3",
        "SOPInstanceUID": "1.2.3.4",
    }
    assert Layout.parse(DEFAULT_LAYOUT).name(values) == ("4%2F2", "1.2", "1.2.3", "1.2.3.4.dcm")
    assert Layout.parse(DEFAULT_LAYOUT).name({}) == ("_", "_", "_", "_.dcm")
