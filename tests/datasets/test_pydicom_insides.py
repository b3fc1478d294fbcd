"""The structure of pydicom's classes that we rely on. Where one of these fails, a new pydicom has another one."""

from __future__ import annotations

from io import BytesIO

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.valuerep import PersonName

from dicomnet.datasets import pydicom_insides
from dicomnet.datasets.pydicom_insides import (
    RAW_DEFAULTS,
    Template,
    bytes_of_name,
    dataset_of,
    directory_record_type,
    is_read_in,
    raw_element,
    template_of_read,
)

WHICH = (
    f"pydicom {pydicom.__version__} has another structure than dicomnet.datasets.pydicom_insides relies on"
)
ENCODINGS = [(True, True), (False, True), (False, False)]


def test_a_raw_element_is_a_tuple_of_the_fields_that_we_fill() -> None:
    assert issubclass(RawDataElement, tuple), WHICH
    assert RawDataElement._fields[:7] == (
        "tag",
        "VR",
        "length",
        "value",
        "value_tell",
        "is_implicit_VR",
        "is_little_endian",
    ), WHICH
    assert RawDataElement._fields[7:] == tuple(RawDataElement._field_defaults), WHICH
    made = raw_element((BaseTag(0x00100020), "LO", 2, b"ID", 8, False, True, *RAW_DEFAULTS))
    assert made == RawDataElement(BaseTag(0x00100020), "LO", 2, b"ID", 8, False, True)
    assert type(made) is RawDataElement


def test_the_state_of_a_data_set_is_its_dictionary_and_its_elements_are_one_attribute() -> None:
    assert not any("__slots__" in vars(base) for base in Dataset.__mro__), WHICH
    assert vars(Dataset.__new__(Dataset)) == {}, WHICH
    elements: dict[BaseTag, DataElement | RawDataElement] = {}
    assert [name for name, value in vars(Dataset(elements)).items() if value is elements] == ["_dict"], WHICH
    containers = [name for name, value in vars(Dataset()).items() if isinstance(value, dict | list | set)]
    for name in containers:
        # A shallow copy has to do.
        assert not any(isinstance(each, dict | list | set) for each in vars(Dataset())[name]), WHICH


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_template_makes_what_the_reader_makes(encoding: tuple[bool, bool]) -> None:
    expected = read_dataset(BytesIO(), *encoding)
    made = template_of_read(*encoding).make({})
    assert type(made) is type(expected) is Dataset, WHICH
    assert vars(made) == vars(expected), WHICH
    assert is_read_in(made, encoding)
    assert not is_read_in(Dataset(), encoding)


def test_nothing_that_can_change_is_shared() -> None:
    """All of the state that is neither a container, copied for each, nor constant would be shared between data sets."""
    for example in (Dataset(), read_dataset(BytesIO(), True, True)):
        template = Template(example)
        one, other = template.make({}), template.make({})
        for name, value in vars(one).items():
            is_constant = value is None or isinstance(value, bool | int | str | bytes | tuple)
            assert is_constant or value is not vars(other)[name], f"{WHICH}: {name}"


def test_data_sets_of_elements_are_those_of_the_constructor() -> None:
    element = DataElement(0x00100020, "LO", "ID")
    assert dataset_of((element,)) == Dataset({element.tag: element})
    assert vars(dataset_of(())).keys() == vars(Dataset()).keys()


def test_the_character_set_of_the_elements_is_known() -> None:
    assert Dataset()._character_set == "iso8859", WHICH
    read = read_dataset(BytesIO(b"\x08\0\5\0\x0a\0\0\0ISO_IR 100"), True, True)
    assert read.original_character_set == read._character_set == ["latin_1"], WHICH


def test_a_name_keeps_its_bytes() -> None:
    assert bytes_of_name(PersonName(b"Doe^Jane", ["iso8859"])) == b"Doe^Jane", WHICH
    assert bytes_of_name(PersonName("Doe^Jane")) is None, WHICH
    name = PersonName("Doe^Jane")
    name.encode(["iso8859"])
    assert "original_string" in vars(name), WHICH
    assert pydicom_insides.bytes_of_name(None) is None


def test_the_types_of_directory_records_are_told() -> None:
    expected = {
        "CT_small.dcm": ("IMAGE", True),
        "rtplan.dcm": ("RT PLAN", True),
        "test-SR.dcm": ("SR DOCUMENT", True),
    }
    for name, kind in expected.items():
        data_set = pydicom.dcmread(get_testdata_file(name) or "", stop_before_pixels=True)
        assert directory_record_type(data_set) == kind, WHICH
    palette = Dataset()
    palette.SOPClassUID = "1.2.840.10008.5.1.4.39.1"
    assert directory_record_type(palette) == ("PALETTE", False), WHICH
