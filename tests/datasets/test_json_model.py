"""The DICOM JSON Model against pydicom's own, over its test files, and against the words of PS3.18 Annex F."""

from __future__ import annotations

import json
import math
import warnings
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from dicomnet.datasets.json_model import from_json, to_json
from dicomnet.encoding.vrs import VRS

_DATA = Path(pydicom.__file__).parent / "data"
FILES = sorted(path for name in ("test_files", "charset_files") for path in (_DATA / name).glob("*.dcm"))


def _read(path: Path) -> Dataset:
    return pydicom.dcmread(path, force=True)


def _comparable(model: dict[str, Any], *, is_big_endian: bool) -> dict[str, Any]:
    """A model of pydicom without that in which it differs from PS3.18 Annex F, or knows private elements."""
    return {
        name: _comparable_element(name, attribute, is_big_endian=is_big_endian)
        for name, attribute in model.items()
        if not name.endswith("0000")
    }


def _comparable_element(name: str, attribute: dict[str, Any], *, is_big_endian: bool) -> Any:
    vr, values = attribute["vr"], attribute.get("Value")
    if vr == "SQ":
        return [_comparable(item, is_big_endian=is_big_endian) for item in values or []]
    if vr in ("OB", "OW", "UN") or int(name[:4], 16) % 2:
        # It leaves words in big endian, and takes private elements for what a dictionary says.
        return None if is_big_endian or int(name[:4], 16) % 2 else attribute.get("InlineBinary")
    # It leaves padding between values, and has empty ones as empty text, which Annex F.2.5 has as null.
    return vr, [one.strip(" ") or None if isinstance(one, str) else one for one in values or []]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")
def test_is_pydicoms(path: Path) -> None:
    ours = to_json(_read(path))
    assert list(ours) == sorted(ours)
    text = json.dumps(ours, allow_nan=False)
    try:
        theirs = json.loads(json.dumps(_read(path).to_json_dict()))
    except ValueError:
        # A file with a number that is none: pydicom gives up the whole of it.
        assert ours["00280008"] == {"vr": "IS", "Value": ["1A"]}
        return
    is_big_endian = _read(path).original_encoding[1] is False
    assert _comparable(ours, is_big_endian=is_big_endian) == _comparable(theirs, is_big_endian=is_big_endian)
    # What pydicom has converted is told the same.
    looked_at = _read(path)
    looked_at.walk(lambda data_set, element: None)
    assert to_json(looked_at).keys() == ours.keys()
    # And back.
    back = from_json(json.loads(text))
    assert to_json(back) == ours


def _element(vr: str, raw: bytes, tag: int = 0x00091001, **others: bytes) -> dict[str, Any]:
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = False, True
    data_set = Dataset()
    for keyword, value in others.items():
        setattr(data_set, keyword, value)
    write_dataset(stream, data_set)
    length = len(raw).to_bytes(4, "little")
    header = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + vr.encode()
    header += b"\0\0" + length if VRS[vr].has_long_length else length[:2]
    read = read_dataset(BytesIO(stream.getvalue() + header + raw), False, True)
    found: dict[str, Any] = to_json(read)[f"{tag:08X}"]
    return found


def test_values_by_their_representation() -> None:
    assert _element("DS", b"1.5\\-2\\1E3 ") == {"vr": "DS", "Value": [1.5, -2, 1000.0]}
    assert _element("DS", b"1,5\\ \\7") == {"vr": "DS", "Value": ["1,5", None, 7]}
    assert _element("IS", b"+12\\1.0\\x") == {"vr": "IS", "Value": [12, "1.0", "x"]}
    assert _element("AT", b"\x10\x00\x20\x00\xe0\x7f\x10\x00") == {
        "vr": "AT",
        "Value": ["00100020", "7FE00010"],
    }
    assert _element("UV", b"\xff" * 8) == {"vr": "UV", "Value": ["18446744073709551615"]}
    assert _element("LO", b"") == {"vr": "LO"}
    assert _element("LO", b"a\\\\b ") == {"vr": "LO", "Value": ["a", None, "b"]}
    assert _element("UT", b" a\\b  ") == {"vr": "UT", "Value": [" a\\b"]}
    assert _element("OB", b"\1\2") == {"vr": "OB", "InlineBinary": b64encode(b"\1\2").decode()}
    assert _element("OB", b"") == {"vr": "OB"}
    assert _element("SQ", b"") == {"vr": "SQ"}


def test_numbers_that_json_does_not_have_are_strings() -> None:
    model = to_json(_with("FD", [math.nan, math.inf, -math.inf, 0.5]))
    assert model["00189087"]["Value"] == ["NaN", "Infinity", "-Infinity", 0.5]
    back = from_json(json.loads(json.dumps(model, allow_nan=False)))[0x00189087].value
    assert math.isnan(back[0])
    assert list(back[1:]) == [math.inf, -math.inf, 0.5]


def _with(vr: str, value: Any) -> Dataset:
    data_set = Dataset()
    data_set.add_new(0x00189087, vr, value)
    return data_set


def test_a_person_name_has_its_component_groups() -> None:
    raw = "Yamada^Tarou=山田^太郎=やまだ^たろう".encode()
    found = _element("PN", raw, 0x00100010, SpecificCharacterSet=b"ISO_IR 192")
    assert found == {
        "vr": "PN",
        "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}],
    }
    assert _element("PN", b"=\\A^B") == {"vr": "PN", "Value": [None, {"Alphabetic": "A^B"}]}


def test_items_have_their_own_character_set() -> None:
    inner, outer = Dataset(), Dataset()
    inner.SpecificCharacterSet = "ISO_IR 144"
    inner.PatientComments = "Привет"
    outer.SpecificCharacterSet = "ISO_IR 100"
    outer.PatientComments = "Grüße"
    outer.ReferencedPatientSequence = Sequence([inner])
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = True, True
    write_dataset(stream, outer)
    model = to_json(read_dataset(BytesIO(stream.getvalue()), True, True))
    assert model["00104000"]["Value"] == ["Grüße"]
    assert model["00081120"]["Value"][0]["00104000"]["Value"] == ["Привет"]


def test_what_is_kept_of_an_element_goes_by_its_bytes_representation_order_and_character_set() -> None:
    """The same two bytes are all of these, whatever was converted before them."""
    raw = "é".encode()
    cases = [
        (False, 0x00100020, "LO", "ISO_IR 192", "é"),
        (False, 0x00100020, "LO", "ISO_IR 100", "Ã©"),
        (False, 0x00280010, "US", "ISO_IR 100", 0xA9C3),
        (True, 0x00280010, "US", "ISO_IR 100", 0xC3A9),
        (False, 0x00189219, "SS", "ISO_IR 100", 0xA9C3 - (1 << 16)),
    ]
    for is_big_endian, tag, vr, terms, value in cases * 2:
        order: Literal["big", "little"] = "big" if is_big_endian else "little"
        encoded = b"".join(
            (at >> 16).to_bytes(2, order)
            + (at & 0xFFFF).to_bytes(2, order)
            + of.encode()
            + len(content).to_bytes(2, order)
            + content
            for at, of, content in ((0x00080005, "CS", terms.encode()), (tag, vr, raw))
        )
        read = read_dataset(BytesIO(encoded), False, not is_big_endian)
        assert to_json(read)[f"{tag:08X}"] == {"vr": vr, "Value": [value]}


def test_a_damaged_value_costs_its_element_only() -> None:
    assert _element("US", b"\1\2\3") == {"vr": "UN", "InlineBinary": b64encode(b"\1\2\3").decode()}
    data_set = _with("FD", 1.0)
    data_set[0x00189087]._value = object()
    data_set.PatientID = "1"
    assert to_json(data_set) == {"00100020": {"vr": "LO", "Value": ["1"]}, "00189087": {"vr": "FD"}}


def test_large_values_are_told_by_their_place() -> None:
    inner, outer = Dataset(), Dataset()
    inner.add_new(0x54001010, "OW", bytes(3000))
    outer.WaveformSequence = Sequence([Dataset(), inner])
    outer.add_new(0x7FE00010, "OW", bytes(1024))
    outer.PatientComments = "long" * 1000
    model = to_json(outer, lambda place: f"https://host/bulkdata/{place}")
    assert model["54000100"]["Value"][1]["54001010"] == {
        "vr": "OW",
        "BulkDataURI": "https://host/bulkdata/54000100/2/54001010",
    }
    assert "InlineBinary" in model["7FE00010"]
    assert "Value" in model["00104000"]
    values = {"https://host/bulkdata/54000100/2/54001010": bytes(3000)}
    back = from_json(model, lambda uri, vr: values[uri])
    assert back.WaveformSequence[1][0x54001010].value == bytes(3000)


def test_bulk_data_of_numbers_and_text_is_a_value_field() -> None:
    values = {"a": b"\1\0\2\0", "b": "Grüße".encode()}
    model = {"00281101": {"vr": "US", "BulkDataURI": "a"}, "00104000": {"vr": "LT", "BulkDataURI": "b"}}
    data_set = from_json(model, lambda uri, vr: values[uri])
    assert list(data_set[0x00281101].value) == [1, 2]
    assert data_set.PatientComments == "Grüße"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ([], "the data set is not a JSON object"),
        ({"0010": {"vr": "LO"}}, "0010: a tag of eight hexadecimal digits is expected"),
        ({"00100010": {"Value": ["A"]}}, "00100010: None is not a value representation of DICOM"),
        ({"00100020": {"vr": "LO", "Value": [1]}}, "00100020: 1 is not a string"),
        ({"00100020": {"vr": "LO", "Value": "A"}}, "00100020: Value has to be a list"),
        ({"00280010": {"vr": "US", "Value": ["x"]}}, "00280010: invalid literal"),
        ({"00280010": {"vr": "US", "Value": [1.5]}}, "00280010: 1.5 is not a whole number"),
        ({"7FE00010": {"vr": "OW", "InlineBinary": "?"}}, "7FE00010: "),
        (
            {"7FE00010": {"vr": "OW", "BulkDataURI": "x"}},
            "7FE00010: BulkDataURI names a value that is not here",
        ),
        ({"00100010": {"vr": "PN", "Value": [{"Alphabetic": 3}]}}, "00100010: a person name has to be"),
        ({"00081120": {"vr": "SQ", "Value": [{"1": {}}]}}, "00081120/1/1: a tag of eight"),
        ({"00200013": {"vr": "IS", "Value": ["1A"]}}, "00200013: "),
        (
            {"00200013": {"vr": "IS", "Value": [1], "InlineBinary": ""}},
            "00200013 has both Value and InlineBinary",
        ),
    ],
)
def test_what_is_no_model_is_refused_in_words(model: Any, said: str) -> None:
    with pytest.raises(ValueError, match="^" + said.replace("?", r"\?")):
        from_json(model)


def test_deep_nesting_is_refused() -> None:
    model: dict[str, Any] = {}
    for _ in range(200):
        model = {"00081120": {"vr": "SQ", "Value": [model]}}
    with pytest.raises(ValueError, match="nested more than"):
        from_json(model)


_TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\\=^\x00", categories=("L", "N", "P")), max_size=20
)


@settings(deadline=None)
@given(
    st.lists(_TEXT.map(lambda text: text or None), max_size=4).filter(lambda values: values != [None]),
    st.lists(st.integers(0, 65535), max_size=5),
    st.binary(max_size=20).map(lambda value: value + bytes(len(value) % 2)),
)
def test_survives_being_encoded(texts: list[str | None], numbers: list[int], binary: bytes) -> None:
    model: dict[str, Any] = {"00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}}
    if texts:
        model["00081080"] = {"vr": "LO", "Value": texts}
    if numbers:
        model["00281101"] = {"vr": "US", "Value": numbers}
    if binary:
        model["00091001"] = {"vr": "UN", "InlineBinary": b64encode(binary).decode()}
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = False, True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_dataset(stream, from_json(model))
    assert to_json(read_dataset(BytesIO(stream.getvalue()), False, True)) == model
