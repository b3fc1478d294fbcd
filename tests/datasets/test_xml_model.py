"""The Native DICOM Model against DCMTK's, and against the words of PS3.19 section A.1."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from tests.support import run_tool

from dicomnet.datasets.json_model import from_json, to_json
from dicomnet.datasets.xml_model import NAMESPACE, from_xml, to_xml

_DATA = Path(pydicom.__file__).parent / "data"
FILES = sorted(path for name in ("test_files", "charset_files") for path in (_DATA / name).glob("*.dcm"))
# DCMTK takes an empty last group of a name for the one before it, which others of these files have.
_JUDGED = (
    "CT_small",
    "MR_small",
    "rtplan",
    "rtstruct",
    "test-SR",
    "nested_priv_SQ",
    "JPEG2000",
    "chrGreek",
    "chrRuss",
)
_NAME = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^^B", "Phonetic": "c"}, None]}}


def _same(value: Any) -> Any:
    """A model in which it does not count how a number is written, nor empty components of names."""
    if isinstance(value, dict):
        kept = {name: _same(one) for name, one in value.items()}
        return {name: one for name, one in kept.items() if one is not None} or None
    if isinstance(value, str) and value.endswith("^"):
        return value.rstrip("^") or None
    if isinstance(value, list):
        values = [_same(one) for one in value]
        return values if any(one is not None for one in values) else None
    try:
        # FL is written with nine digits by some.
        return float(f"{float(value):.8g}")
    except (TypeError, ValueError):
        return value


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")
def test_comes_back(path: Path) -> None:
    model = to_json(pydicom.dcmread(path, force=True))
    assert _same(from_xml(to_xml(model).encode())) == _same(model)


@pytest.mark.parametrize("name", _JUDGED)
@pytest.mark.filterwarnings("ignore")
def test_is_dcmtks(name: str) -> None:
    path = next(path for path in FILES if path.stem == name)
    options = ["--native-format", "--convert-to-utf8", "--encode-base64"]
    written = run_tool(["dcm2xml", *options, str(path)])
    theirs = from_xml(written.stdout.encode())
    ours = to_json(pydicom.dcmread(path, force=True))
    for model in (theirs, ours):
        # It names the character set of the document, and writes the fragments of compressed pixels in its own way.
        model.pop("7FE00010", None)
        model.pop("00080005", None)
    assert theirs.keys() == ours.keys()
    for tag, attribute in ours.items():
        if attribute["vr"] != "UN" and theirs[tag]["vr"] != "UN":
            assert _same(_without_binary(theirs[tag])) == _same(_without_binary(attribute)), tag


def test_private_elements_find_their_block_or_get_one() -> None:
    data_set = Dataset()
    for creator in ("A", "B"):
        data_set.private_block(0x0009, creator, create=True).add_new(1, "LO", creator.lower())
    model = to_json(data_set)
    # A creator may have two blocks, which must not become one.
    model["00090012"], model["00091201"] = model["00090010"], {"vr": "LO", "Value": ["c"]}
    model = dict(sorted(model.items()))
    assert from_xml(to_xml(model).encode()) == model
    alone = '<DicomAttribute tag="00110003" privateCreator="C" vr="SH"><Value number="1">x</Value></DicomAttribute>'
    assert from_xml(_document(alone)) == {
        "00110010": {"vr": "LO", "Value": ["C"]},
        "00111003": {"vr": "SH", "Value": ["x"]},
    }


def test_the_representation_may_be_left_out() -> None:
    assert from_xml(_document('<DicomAttribute tag="00280010"/>')) == {"00280010": {"vr": "US"}}


def _without_binary(value: Any) -> Any:
    if isinstance(value, dict):
        binary = ("InlineBinary", "BulkDataURI")
        kept = {name: _without_binary(one) for name, one in value.items() if name not in binary}
        return {} if kept.get("vr") in ("UN", "OB", "OW") else kept
    return [_without_binary(one) for one in value] if isinstance(value, list) else value


def test_follows_the_schema() -> None:
    item, data_set = Dataset(), Dataset()
    item.CodeMeaning = 'Left <"&> \r right'
    data_set.PatientName = "Yamada^Tarou=山田^太郎"
    data_set.ViewCodeSequence = Sequence([item])
    data_set.ImageType = ["MPG", "", "XR3"]
    data_set.private_block(0x0009, "A & B", create=True).add_new(1, "OB", b"\1\2")
    root = ElementTree.fromstring(to_xml(to_json(data_set)).encode())
    names = {"n": NAMESPACE}
    assert root.tag == f"{{{NAMESPACE}}}NativeDicomModel"
    # The example of section A.1.7.
    found = root.find(
        "n:DicomAttribute[@keyword='ViewCodeSequence']/n:Item[@number='1']"
        "/n:DicomAttribute[@keyword='CodeMeaning']/n:Value[@number='1']",
        names,
    )
    assert found is not None
    assert found.text == 'Left <"&> \r right'
    family = root.find("n:DicomAttribute[@tag='00100010']/n:PersonName/n:Ideographic/n:FamilyName", names)
    assert family is not None
    assert family.text == "山田"
    kinds = root.findall("n:DicomAttribute[@keyword='ImageType']/n:Value", names)
    assert [(each.get("number"), each.text) for each in kinds] == [("1", "MPG"), ("2", None), ("3", "XR3")]
    private = root.find("n:DicomAttribute[@tag='00090001']", names)
    assert private is not None
    assert private.get("privateCreator") == "A & B"
    assert private.find("n:InlineBinary", names) is not None


def test_what_xml_cannot_write_is_replaced() -> None:
    model = {"00104000": {"vr": "LT", "Value": ["a\x0cb\x00"]}}
    assert from_xml(to_xml(model).encode())["00104000"]["Value"] == ["a\ufffdb\ufffd"]


def test_names_bulk_data_and_special_numbers_come_back() -> None:
    model: dict[str, Any] = {
        **_NAME,
        "00189087": {"vr": "FD", "Value": ["NaN", "-Infinity", 0.1]},
        "7FE00010": {"vr": "OW", "BulkDataURI": 'https://host/a?b="c"&d'},
    }
    back = from_xml(to_xml(model).encode())
    assert back["00100010"] == model["00100010"]
    assert back["7FE00010"] == model["7FE00010"]
    numbers = from_json({"00189087": back["00189087"]})[0x00189087].value
    assert math.isnan(numbers[0])
    assert list(numbers[1:]) == [-math.inf, 0.1]
    json.dumps(back)


def _document(inside: str, before: str = "") -> bytes:
    return f'<?xml version="1.0"?>{before}<NativeDicomModel xmlns="{NAMESPACE}">{inside}</NativeDicomModel>'.encode()


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b"<a", "the XML is not well-formed"),
        (b"<a/>", "the XML is not a Native DICOM Model: it begins with a"),
        (_document("<Item/>"), "the data set has Item in place of a DicomAttribute"),
        (_document('<DicomAttribute tag="1" vr="LO"/>'), "1: a tag of eight hexadecimal digits"),
        (
            _document('<DicomAttribute tag="00100020" vr="XX"/>'),
            "00100020: 'XX' is not a value representation",
        ),
        (_document('<DicomAttribute tag="00100020" vr="LO"/>' * 2), "00100020 is there twice"),
        (
            _document('<DicomAttribute tag="00100020" vr="LO"><Value number="2">1</Value></DicomAttribute>'),
            "00100020: the value with the number 1 is missing",
        ),
        (
            _document('<DicomAttribute tag="7FE00010" vr="OB"><BulkData/></DicomAttribute>'),
            "7FE00010: BulkData has no URI",
        ),
        (_document("", '<!DOCTYPE a [<!ENTITY b "c">]>'), "the XML has a document type declaration"),
        (_document("<DicomAttribute><Item>" * 200 + "</Item></DicomAttribute>" * 200), "nested too deeply"),
    ],
    ids=range(10),
)
def test_what_is_not_the_model_is_refused_in_words(document: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        from_xml(document)
