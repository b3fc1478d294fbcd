"""Our own encoding and decoding of data sets against pydicom's, over its test files and made-up data sets."""

from __future__ import annotations

import copy
import pickle
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom import config
from pydicom.data import get_charset_files, get_testdata_files
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.valuerep import DA

from dicomnet.datasets.character_sets import UNDECLARED, text_encoder
from dicomnet.datasets.codec import decode, encode
from dicomnet.datasets.plain import TextNotEncodable, check_text, decode_plain, encode_plain, status_dataset

SYNTAXES = {"implicit": (True, True), "explicit": (False, True), "big endian": (False, False)}
every_syntax = pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)


def _pydicom_encode(dataset: Dataset, syntax: tuple[bool, bool]) -> bytes | None:
    """What pydicom writes; None where it refuses."""
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = syntax
    try:
        write_dataset(stream, dataset)
    except Exception:  # noqa: BLE001
        return None
    return stream.getvalue()


def _read_with_pydicom(data: bytes, syntax: tuple[bool, bool]) -> Dataset:
    return read_dataset(BytesIO(data), *syntax)


def _check_encoding(dataset: Dataset, syntax: tuple[bool, bool]) -> bytes | None:
    """Ours and pydicom's, each of its own copy, since encoding converts elements; and each a second time."""
    ours, theirs = copy.deepcopy(dataset), copy.deepcopy(dataset)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        expected = _pydicom_encode(theirs, syntax)
        if any("replacement characters" in str(each.message) for each in told):
            # We replace none: what the character set lacks is an error, or goes in another one.
            with pytest.raises(TextNotEncodable):
                check_text(ours, text_encoder((), is_strict=False), False)
            assert (found := encode(ours, *syntax)) is None or found != expected
            return None
    plain = encode_plain(ours, *syntax)
    assert plain is None or plain == expected
    assert encode(ours, *syntax) == expected == _pydicom_encode(theirs, syntax)
    return plain


def _raw(dataset: Dataset) -> list[Any]:
    """The elements as they are, those in sequences too."""
    return [
        (element.tag, element.VR, [_raw(item) for item in element.value], element.is_undefined_length)
        if isinstance(element, DataElement) and element.VR == "SQ"
        else element
        for element in dataset.values()
    ]


def _is_read_alike(found: Dataset, expected: Dataset) -> bool:
    """Whether text is decoded as pydicom does, but for what may be UTF-8 without a word (test_character_sets)."""
    if found.original_character_set == [UNDECLARED]:
        # As it is: an element that is asked for by its tag is converted, and no longer equal to one that is not.
        return not any(each.tag == 0x00080005 and each.value for each in expected.values())
    return found.original_character_set == expected.original_character_set


def _check_decoding(data: bytes, syntax: tuple[bool, bool]) -> Dataset | None:
    plain = decode_plain(data, *syntax)
    expected = _read_with_pydicom(data, syntax)
    for found in (decode(data, *syntax), plain):
        if found is None:
            continue
        assert type(found) is type(expected)
        assert _raw(found) == _raw(expected)
        assert found.original_encoding == expected.original_encoding
        assert _is_read_alike(found, expected)
        assert vars(found).keys() == vars(expected).keys()
    return plain


def _files() -> list[Path]:
    return sorted({path for path in map(Path, get_testdata_files() + get_charset_files()) if path.is_file()})


@pytest.fixture(autouse=True)
def _silence() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def real() -> list[Dataset]:
    """What pydicom reads in its own test files, without their pixels."""
    found: list[Dataset] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in _files():
            try:
                dataset = pydicom.dcmread(path, force=True)
            except Exception:  # noqa: BLE001
                # Some are there because nobody can read them.
                continue
            if "PixelData" in dataset and len(dataset.get_item("PixelData").value or b"") > 1 << 18:
                del dataset.PixelData
            found.append(dataset)
    return found


@every_syntax
def test_real_files_are_encoded_as_pydicom_does(real: list[Dataset], syntax: tuple[bool, bool]) -> None:
    plain = [_check_encoding(dataset, syntax) for dataset in real]
    assert len(plain) > 200
    assert sum(each is not None for each in plain) > 100


@every_syntax
def test_real_files_are_decoded_as_pydicom_does(real: list[Dataset], syntax: tuple[bool, bool]) -> None:
    encoded = [
        each for dataset in real if (each := _pydicom_encode(copy.deepcopy(dataset), syntax)) is not None
    ]
    plain = 0
    for data in encoded:
        found = _check_decoding(data, syntax)
        if found is not None:
            plain += 1
            assert found == _read_with_pydicom(data, syntax)
            # Elements that nobody looked at are written as they were, or as they are read where the syntax is another.
            for other in SYNTAXES.values():
                _check_encoding(decode(data, *syntax), other)
    assert plain > 100


def test_files_as_they_are_in_any_syntax() -> None:
    # Mostly not in the syntax that is said, so what they are read as is pydicom's guess.
    for path in _files():
        data = path.read_bytes()[:20_000]
        for syntax in SYNTAXES.values():
            try:
                expected = _read_with_pydicom(data, syntax)
            except Exception:  # noqa: BLE001
                assert decode_plain(data, *syntax) is None
                continue
            found = decode_plain(data, *syntax)
            assert found is None or _raw(found) == _raw(expected)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
ASCII = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=17)
UIDS = st.sampled_from(["1.2.840.10008.1.1", "1.2.3", "2.25.12", ""])


def _some(one: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(one, st.none(), st.lists(one, max_size=3))


INTEGERS = st.integers(-(1 << 31), (1 << 33) - 1)
FLOATS = st.floats(width=32)
VALUES: dict[str, tuple[int, st.SearchStrategy[Any]]] = {
    "AE": (0x00080054, _some(ASCII)),
    "AS": (0x00101010, _some(ASCII)),
    "AT": (0x00280009, _some(st.integers(0, 0xFFFFFFFF))),
    "CS": (0x00080061, _some(TEXT)),
    "DA": (0x00080020, _some(st.sampled_from(["20240131", "", "20240101-20240201"]))),
    "DS": (0x00101030, _some(st.sampled_from(["1.50", "-3", "", "1e3"]) | st.floats(-1e5, 1e5))),
    "DT": (0x0008002A, _some(st.sampled_from(["20240131101112.5", ""]))),
    "FD": (0x00186028, _some(st.floats() | st.integers(-5, 5))),
    "FL": (0x00102203, _some(FLOATS)),
    "IS": (0x00201208, _some(st.sampled_from(["12", "012", "+3", ""]) | st.integers(-99, 99))),
    "LO": (0x00081030, _some(TEXT)),
    "LT": (0x00104000, st.none() | TEXT),
    "OB": (0x00420011, st.none() | st.binary(max_size=9)),
    "OW": (0x00660023, st.none() | st.binary(max_size=9)),
    "PN": (0x00100010, _some(TEXT)),
    "SH": (0x00080050, _some(TEXT)),
    "SL": (0x00186020, _some(INTEGERS)),
    "SS": (0x00189219, _some(st.integers(-40_000, 40_000))),
    "ST": (0x00080081, st.none() | TEXT),
    "TM": (0x00080030, _some(st.sampled_from(["101112", "", "10"]))),
    "UC": (0x00080119, _some(TEXT)),
    "UI": (0x0020000D, _some(UIDS)),
    "UL": (0x00080306, _some(INTEGERS)),
    "UN": (0x00091001, st.none() | st.binary(max_size=9)),
    "UR": (0x00081190, st.none() | ASCII),
    "US": (0x00280010, _some(st.integers(-5, 70_000))),
    "UT": (0x0040A160, st.none() | TEXT),
    "US or SS": (0x00280106, _some(st.integers(0, 9))),
}
CHARACTER_SETS = st.sampled_from(
    [
        "",
        "ISO_IR 6",
        "ISO_IR 13",
        "ISO_IR 100",
        "ISO_IR 101",
        "ISO_IR 144",
        "ISO_IR 192",
        "GB18030",
        "ISO-IR 100",
        "latin_1",
        "unheard of",
        ["ISO 2022 IR 6", "ISO 2022 IR 87"],
        ["", "ISO 2022 IR 149"],
        ["ISO_IR 13", "ISO 2022 IR 87"],
        ["ISO_IR 192", "ISO_IR 100"],
    ]
)


@st.composite
def _datasets(draw: st.DrawFn, depth: int = 2) -> Dataset:
    dataset = Dataset()
    if draw(st.integers(0, 2)) == 0:
        dataset.SpecificCharacterSet = draw(CHARACTER_SETS)
    for vr in draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True, max_size=8)):
        tag, values = VALUES[vr]
        try:
            dataset[tag] = DataElement(tag, vr, draw(values), validation_mode=config.IGNORE)
        except (ValueError, TypeError, OverflowError):
            # pydicom does not take it either.
            continue
    if draw(st.booleans()):
        dataset.add_new(0x00080000, "UL", 12)
    if depth and draw(st.booleans()):
        items = draw(st.lists(_datasets(depth - 1), max_size=3))
        for item in items:
            item.is_undefined_length_sequence_item = draw(st.booleans())
        dataset[0x00081115] = DataElement(
            0x00081115, "SQ", Sequence(items), is_undefined_length=draw(st.booleans())
        )
    return dataset


def _with_nan() -> Dataset:
    dataset = Dataset()
    dataset[0x00186028] = DataElement(0x00186028, "FD", float("nan"))
    return dataset


def _with_undeclared_text() -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = ""
    dataset.StudyDescription = "\u00c2\u0080"
    return dataset


@every_syntax
@settings(max_examples=100)
@given(dataset=_datasets())
@example(dataset=_with_nan())
@example(dataset=_with_undeclared_text())
def test_made_up_data_sets_go_both_ways_as_with_pydicom(dataset: Dataset, syntax: tuple[bool, bool]) -> None:
    _check_encoding(dataset, syntax)
    encoded = _pydicom_encode(copy.deepcopy(dataset), syntax)
    if encoded is None:
        return
    _check_decoding(encoded, syntax)
    read = decode(encoded, *syntax)
    if read.original_character_set == [UNDECLARED]:
        # Text in Latin-1 that is well formed as UTF-8, which is read as that (test_character_sets).
        return
    touched = [element for element in read if element.tag != 0x00080005][:2]
    theirs = _read_with_pydicom(encoded, syntax)
    # Not the data sets themselves: NaN, which a value may be, is not equal to itself.
    assert str(read) == str(theirs)
    assert _pydicom_encode(copy.deepcopy(read), syntax) == _pydicom_encode(theirs, syntax)
    for other in SYNTAXES.values():
        _check_encoding(decode(encoded, *syntax), other)
        _check_encoding(read, other)
    for element in touched:
        del read[element.tag]
    _check_encoding(read, syntax)


@every_syntax
@settings(max_examples=100)
@given(dataset=_datasets(), data=st.data())
def test_damaged_bytes_are_read_as_by_pydicom(
    dataset: Dataset, data: st.DataObject, syntax: tuple[bool, bool]
) -> None:
    encoded = bytearray(_pydicom_encode(dataset, syntax) or b"")
    for _ in range(data.draw(st.integers(0, 3))):
        if encoded:
            at = data.draw(st.integers(0, len(encoded) - 1))
            encoded[at] = data.draw(st.sampled_from([0, 1, 8, 0x41, 0x5A, 0xFF, 0xFE]))
    damaged = bytes(encoded[: data.draw(st.integers(0, len(encoded)))])
    found = decode_plain(damaged, *syntax)
    try:
        expected = _read_with_pydicom(damaged, syntax)
    except ValueError as error:
        # A term with a NUL is one more that is not known, and pydicom gives up.
        if "embedded null" not in str(error):
            assert found is None
        return
    except Exception:  # noqa: BLE001
        assert found is None
        return
    if found is not None:
        assert _raw(found) == _raw(expected)
        assert found.original_encoding == expected.original_encoding
        assert _is_read_alike(found, expected)


def test_a_usual_match_is_plain() -> None:
    match = Dataset()
    match.SpecificCharacterSet = "ISO_IR 192"
    match.StudyDate = "20240131"
    match.PatientName = "Müller^Jürgen"
    match.ModalitiesInStudy = ["CT", "SR"]
    match.NumberOfStudyRelatedInstances = "12"
    match.Rows = 512
    match.ScheduledProcedureStepSequence = [Dataset()]
    match.ScheduledProcedureStepSequence[0].Modality = "CT"
    for syntax in SYNTAXES.values():
        encoded = encode_plain(match, *syntax)
        assert encoded is not None
        found = decode_plain(encoded, *syntax)
        assert found == match
        assert encode_plain(found, *syntax) == encoded


def test_what_is_not_plain_is_left_to_pydicom() -> None:
    dataset = Dataset()
    dataset.add(DataElement(0x00280106, "US or SS", 3))
    assert encode_plain(dataset, False, True) is None
    assert encode(dataset, False, True) == b"\x28\x00\x06\x01US\x02\x00\x03\x00"

    class Own(Dataset):
        """May answer differently."""

    assert encode_plain(Own(), True, True) is None

    dates = Dataset()
    dates[0x00080020] = DataElement(0x00080020, "DA", DA("20240131"), already_converted=True)
    assert encode_plain(dates, True, True) is None
    assert encode(dates, True, True) == b"\x08\x00\x20\x00\x08\x00\x00\x0020240131"

    long = Dataset()
    long.PatientComments = "x" * 70_000
    assert encode_plain(long, False, True) is None
    assert encode_plain(long, True, True) is not None


@pytest.mark.parametrize("character_set", ["ISO 2022 IR 87", "ISO_IR 13", ["", "ISO 2022 IR 87"]])
def test_empty_text_is_encoded_in_any_character_set(character_set: str | list[str]) -> None:
    dataset = Dataset()
    dataset.SpecificCharacterSet = character_set
    dataset.PatientComments = dataset.StudyDescription = ""
    assert _check_encoding(dataset, (False, True)) is not None


def test_what_pydicom_cannot_encode_gives_none(caplog: pytest.LogCaptureFixture) -> None:
    """Broken values show when they are converted; that is told as for any other data set."""
    # A LUT Descriptor in an item without Pixel Representation, and an unknown VR in an item.
    ambiguous = (
        b"\x08\0\x40\x11\x16\0\0\0" + b"\xfe\xff\0\xe0\x0e\0\0\0" + b"\x28\0\2\x30\6\0\0\0\xff\xff\0\0\x08\0"
    )
    unknown = b"\x08\0\x40\x11SQ\0\0\x10\0\0\0" + b"\xfe\xff\0\xe0\x08\0\0\0" + b"\x10\0\x20\0UA\0\0"
    cases = [(decode(ambiguous, True, True), False), (decode(unknown, False, True), True)]
    for dataset, is_implicit in cases:
        expected = _pydicom_encode(copy.deepcopy(dataset), (is_implicit, True))
        caplog.clear()
        assert encode(dataset, is_implicit, True) == expected
        assert (expected is None) == ("could not be encoded" in caplog.text)


UNFIT: list[tuple[int, str, Any]] = [
    (0x00100020, "LO", 4711),
    (0x00100020, "LO", ["A", 4711]),
    (0x00100030, "DA", 4711),
    (0x00280010, "US", "4711"),
    (0x00101030, "FD", "4711"),
    (0x00104000, "LT", {"4711": 1}),
]


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize(("tag", "vr", "value"), UNFIT, ids=str)
def test_a_value_that_cannot_be_written_was_logged(
    tag: int, vr: str, value: Any, depth: int, caplog: pytest.LogCaptureFixture
) -> None:
    """pydicom's own text has the value, a patient's, and a traceback; a handler's answer was logged with it."""
    dataset = Dataset()
    dataset.add(DataElement(tag, vr, value, already_converted=True))
    for _ in range(depth):
        item, dataset = dataset, Dataset()
        dataset.RequestAttributesSequence = [item]
    assert encode(dataset, True, True) is None
    (said,) = [record.getMessage() for record in caplog.records]
    assert "4711" not in said
    assert said.isprintable()
    assert said.startswith(
        f"the data set could not be encoded: the value of element ({tag >> 16:04X},{tag & 0xFFFF:04X})"
    )
    assert ("of an item of element (0040,0275)" in said) is (depth == 1)


def test_a_deflated_data_set_that_is_cut_off_is_not_taken_for_a_whole_one() -> None:
    dataset = Dataset()
    dataset.PatientID, dataset.PatientComments = "12345", "qwertz" * 30
    encoded = encode(dataset, False, True, deflated=True)
    assert encoded is not None
    assert decode(encoded, False, True, deflated=True) == dataset
    for length in (1, len(encoded) // 2, len(encoded) - 2):
        with pytest.raises(zlib.error):
            decode(encoded[:length], False, True, deflated=True)


def test_decoded_data_sets_have_nothing_in_common() -> None:
    encoded = b"\x10\x00\x20\x00\x04\x00\x00\x00ID 1"
    first, second = decode_plain(encoded, True, True), decode_plain(encoded, True, True)
    assert first is not None
    assert second is not None
    assert isinstance(first.get_item("PatientID"), RawDataElement)
    first.PatientID = "ID 2"
    first.private_block(0x0009, "dicomnet", create=True).add_new(1, "LO", "private")
    assert second.PatientID == "ID 1"
    assert len(second) == 1
    assert not any(
        mine is yours and isinstance(mine, dict | list)
        for mine, yours in zip(vars(first).values(), vars(second).values(), strict=True)
    )
    third = decode_plain(encoded, True, True)
    assert third == second == copy.deepcopy(second) == pickle.loads(pickle.dumps(second))


def test_a_status_is_a_data_set_of_its_own() -> None:
    expected = Dataset()
    expected.Status = 0xFF00
    first, second = status_dataset(0xFF00), status_dataset(0xFF00)
    assert first == expected
    assert vars(first).keys() == vars(expected).keys()
    first.Status = 0xC000
    first.ErrorComment = "no"
    assert second == expected
    assert second == copy.deepcopy(second) == pickle.loads(pickle.dumps(second))
    assert "Status" in second
    assert str(second) == str(expected)
