"""Whether two data sets have the same content: dcmconv and pydicom make other forms of real objects, and a writer of
the tests' own makes all forms of any object."""

from __future__ import annotations

import itertools
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from tests.interop.corpus import FILES
from tests.support import run_tool, tool

from dicomnet.drivers.files import open_object
from dicomnet.encoding.comparison import Encoded, have_same_content
from dicomnet.encoding.transfer_syntaxes import transfer_syntax
from dicomnet.errors import UnusableObject

IMPLICIT, EXPLICIT, DEFLATED, BIG = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2"))
SYNTAXES = (IMPLICIT, EXPLICIT, DEFLATED, BIG)
RLE, JPEG = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50"
UNDEFINED = 0xFFFFFFFF

Form = tuple[bytes, str]


def vr_of(tag: int) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


def are_same(one: Form, other: Form) -> bool:
    """In both directions, which have to agree."""
    found = {
        have_same_content(Encoded(BytesIO(first[0]), first[1]), Encoded(BytesIO(second[0]), second[1]), vr_of)
        for first, second in ((one, other), (other, one))
    }
    assert len(found) == 1
    return found.pop()


# -- real objects, converted by others

CUT_OFF = {"MR_truncated.dcm", "rtplan_truncated.dcm"}
UNREADABLE = {"SC_rgb_jpeg.dcm"}
# pydicom chooses other escape sequences where it encodes a text again.
RECODED = {"chrKoreanMulti.dcm", "chrSQEncoding.dcm", "chrSQEncoding1.dcm"}
NATIVE_FORMS = (
    ("+te", "+e", "+g"),
    ("+te", "-e", "-g", "+p", "512", "16"),
    ("+ti", "-e"),
    ("+tb", "+e", "+g"),
    ("+td", "-e"),
)
ENCAPSULATED_FORMS = (("+e", "+g"), ("-e", "-g", "+p", "512", "16"))


def form_of(path: Path) -> Form:
    header = open_object(path).header
    return path.read_bytes()[header.offset :], header.transfer_syntax_uid


def objects() -> Iterator[Path]:
    for path in FILES:
        try:
            open_object(path)
        except UnusableObject:
            continue
        if path.name not in CUT_OFF | UNREADABLE:
            yield path


def test_what_dcmtk_converts_is_the_same(tmp_path: Path) -> None:
    """Every pair of forms of each object, with group lengths and padding and without."""
    count = 0
    for path in objects():
        own = form_of(path)
        forms = [own]
        wanted = ENCAPSULATED_FORMS if transfer_syntax(own[1]).is_encapsulated else NATIVE_FORMS
        for options in wanted:
            done = run_tool([tool("dcmconv"), *options, str(path), str(tmp_path / "converted.dcm")])
            assert done.returncode == 0, done.stderr
            forms.append(form_of(tmp_path / "converted.dcm"))
        for one, other in itertools.combinations(forms, 2):
            assert are_same(one, other), (path, one[1], other[1])
            count += one[0] != other[0]
    assert count > 700


def test_big_endian_files_of_others_are_the_same() -> None:
    """Also where samples of 32 bits were swapped as a whole."""
    names = ["MR_small", "rtdose", "rtdose_1frame", "liver_1frame", "SC_rgb_small_odd"]
    big = ["MR_small_bigendian", "rtdose_expb", "rtdose_expb_1frame", "liver_expb_1frame"]
    files = {path.stem: form_of(path) for path in FILES if path.stem in names + big}
    for name, other in zip(names, [*big, "SC_rgb_small_odd_big_endian"], strict=True):
        [path] = [each for each in FILES if each.stem == other]
        data, syntax = form_of(path)
        assert are_same(files[name], (data, syntax))
    # Samples of 16 bits that are exchanged with their neighbours are other pixels.
    [path] = [each for each in FILES if each.stem == "MR_small_bigendian"]
    data, syntax = form_of(path)
    pairs = [data[at + 2 : at + 4] + data[at : at + 2] for at in range(len(data) - 400, len(data), 4)]
    assert not are_same(files["MR_small"], (data[:-400] + b"".join(pairs), syntax))


@pytest.mark.filterwarnings("ignore")
def test_what_pydicom_writes_is_the_same() -> None:
    """It decodes each value; sequences and items get the other kind of length. It does not swap words."""
    count = 0
    for path in objects():
        own = form_of(path)
        if transfer_syntax(own[1]).is_encapsulated or own[1] == BIG or path.name in RECODED:
            continue
        for syntax in (IMPLICIT, EXPLICIT, DEFLATED):
            dataset = dcmread(path, force=True)
            turn_lengths(dataset)
            assert are_same(own, (encoded_by_pydicom(dataset, syntax), syntax)), (path, syntax)
            count += 1
    assert count > 100


def turn_lengths(dataset: Dataset) -> None:
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = not element.is_undefined_length
            for item in element.value:
                item.is_undefined_length_sequence_item = not item.is_undefined_length_sequence_item
                turn_lengths(item)


def encoded_by_pydicom(dataset: Dataset, syntax: str) -> bytes:
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = syntax == IMPLICIT, syntax != BIG
    write_dataset(stream, dataset)
    return deflated(stream.getvalue()) if syntax == DEFLATED else stream.getvalue()


def deflated(data: bytes, level: int = 6) -> bytes:
    deflater = zlib.compressobj(level, wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def leaves(dataset: Dataset) -> Iterator[tuple[Dataset, Any]]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from leaves(item)
        elif element.tag.element and element.tag != 0xFFFCFFFC:
            yield dataset, element


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "rtplan.dcm",
        "reportsi.dcm",
        "MR_small.dcm",
        "rtstruct.dcm",
        "rtdose.dcm",
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_value_that_is_changed_anywhere_is_found(name: str) -> None:
    """One element of a real object after another is taken out of it, and emptied."""
    [path] = [each for each in FILES if each.name == name]
    own = form_of(path)
    syntax = EXPLICIT if own[1] == IMPLICIT else IMPLICIT
    dataset = dcmread(path, force=True)
    dataset.decode()
    assert are_same(own, (encoded_by_pydicom(dataset, syntax), syntax))
    found = list(leaves(dataset))
    for owner, element in found[:: max(1, len(found) // 60)]:
        value = element.value
        del owner[element.tag]
        assert not are_same(own, (encoded_by_pydicom(dataset, syntax), syntax)), element
        owner.add(element)
        if not element.is_empty:
            element.value = None
            assert not are_same(own, (encoded_by_pydicom(dataset, syntax), syntax)), element
            element.value = value


# -- any object, in any form

TEXTS = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT", "UI")
UNITS = {"US": 2, "SS": 2, "AT": 2, "OW": 2, "UL": 4, "SL": 4, "FL": 4, "OL": 4, "OF": 4}
UNITS |= {"FD": 8, "UV": 8, "SV": 8, "OD": 8, "OV": 8, "OB": 1}
SHORT = UNITS.keys() - {"OW", "OL", "OF", "UV", "SV", "OD", "OV", "OB"} | set(TEXTS) - {"UC", "UR", "UT"}


@dataclass(frozen=True)
class Element:
    """An element: its value is little endian, and not padded; or it is items."""

    tag: int
    vr: str
    value: bytes | tuple[tuple[Element, ...], ...]


Elements = tuple[Element, ...]


class Writer:
    """Encodes data sets, and chooses each detail of the form by chance."""

    def __init__(self, syntax: str, chance: random.Random) -> None:
        self.syntax = syntax
        self.chance = chance

    def form(self, elements: Elements) -> Form:
        data = self.elements(elements, self.syntax == IMPLICIT)
        if self.chance.random() < 0.3:
            data += self.element(Element(0xFFFCFFFC, "OB", bytes(8)), self.syntax == IMPLICIT)
        if self.chance.random() < 0.2:
            data += bytes(2 * self.chance.randrange(9))
        return (deflated(data, self.chance.randrange(10)) if self.syntax == DEFLATED else data), self.syntax

    def elements(self, elements: Elements, is_implicit: bool) -> bytes:
        made = []
        group = None
        for each in elements:
            if each.tag >> 16 != group and self.chance.random() < 0.3:
                length = Element(each.tag >> 16 << 16, "UL", self.chance.randbytes(4))
                made.append(self.element(length, is_implicit))
            group = each.tag >> 16
            made.append(self.element(each, is_implicit))
        return b"".join(made)

    def element(self, element: Element, is_implicit: bool) -> bytes:
        mark = ">" if self.syntax == BIG else "<"
        vr = element.vr
        # The value of UN is in Implicit VR Little Endian.
        is_unknown = not is_implicit and mark == "<" and vr != "UL" and self.chance.random() < 0.2
        is_sequence = isinstance(element.value, tuple)
        length, value = self.value(element, mark, is_implicit or is_unknown)
        group, number = element.tag >> 16, element.tag & 0xFFFF
        name = b"UN" if is_unknown else vr.encode()
        if is_implicit:
            return struct.pack(mark + "HHL", group, number, length) + value
        if vr in SHORT and not is_unknown and not is_sequence:
            return struct.pack(mark + "HH2sH", group, number, name, length) + value
        return struct.pack(mark + "HH2s2xL", group, number, name, length) + value

    def value(self, element: Element, mark: str, is_implicit: bool) -> tuple[int, bytes]:
        if isinstance(element.value, tuple):
            return self.sequence(element.value, mark, is_implicit)
        value = element.value
        if element.vr in TEXTS:
            value += self.chance.choice((b" ", b"\0")) * (len(value) % 2) + b"  " * self.chance.randrange(2)
        elif mark == ">":
            unit = UNITS[element.vr]
            value = b"".join(value[at : at + unit][::-1] for at in range(0, len(value), unit))
        value += bytes(len(value) % 2)
        return len(value), value

    def sequence(self, items: Sequence[Elements], mark: str, is_implicit: bool) -> tuple[int, bytes]:
        head = struct.Struct(mark + "HHL").pack
        made = b""
        for item in items:
            content = self.elements(item, is_implicit)
            if self.chance.random() < 0.5:
                made += head(0xFFFE, 0xE000, len(content)) + content
            else:
                made += head(0xFFFE, 0xE000, UNDEFINED) + content + head(0xFFFE, 0xE00D, 0)
        if self.chance.random() < 0.5:
            return len(made), made
        return UNDEFINED, made + head(0xFFFE, 0xE0DD, 0)


# An attribute of each value representation that the dictionary knows.
KNOWN_TAGS = {
    "AE": 0x00020016, "AS": 0x00101010, "CS": 0x00080060, "DA": 0x00080020, "DS": 0x00101020,
    "DT": 0x0008002A, "IS": 0x00200013, "LO": 0x00100020, "LT": 0x00104000, "PN": 0x00100010,
    "SH": 0x00080050, "ST": 0x00080081, "TM": 0x00080030, "UC": 0x00080119, "UR": 0x00081190,
    "UT": 0x0040A160, "UI": 0x00080018, "US": 0x00280010, "SS": 0x00189219, "AT": 0x00280009,
    "UL": 0x00081161, "SL": 0x00186020, "FL": 0x00089459, "FD": 0x00189073, "OB": 0x00282000,
    "OW": 0x00281201, "OL": 0x00660129, "OF": 0x00640009, "OD": 0x00701A07, "UV": 0x0008040C,
    "SV": 0x00720082, "OV": 0x7FE00001, "SQ": 0x00081140,
}  # fmt: skip

words = st.text("ABCxyz019.-^", min_size=1, max_size=9).map(str.encode)


def values_of(vr: str) -> st.SearchStrategy[bytes]:
    if vr in TEXTS:
        return st.one_of(words, st.just(b""), st.lists(words, max_size=3).map(b"\\".join))
    return st.binary(max_size=40).map(lambda value: value[: len(value) // UNITS[vr] * UNITS[vr]])


@st.composite
def data_sets(draw: st.DrawFn, depth: int = 0) -> Elements:
    """Elements by tag; private ones have no text, whose padding nobody could tell from its value."""
    found = []
    kinds = list(KNOWN_TAGS) if depth < 3 else [vr for vr in KNOWN_TAGS if vr != "SQ"]
    for vr in draw(st.lists(st.sampled_from(kinds), unique=True, max_size=6, min_size=1)):
        tag = KNOWN_TAGS[vr]
        if vr not in TEXTS and draw(st.booleans()):
            tag = 0x00091000 + sorted(KNOWN_TAGS).index(vr)
        if vr == "SQ":
            value: Any = tuple(draw(st.lists(data_sets(depth + 1), max_size=3)))
        else:
            value = draw(values_of(vr))
        found.append(Element(tag, vr, value))
    return tuple(sorted(found, key=lambda element: element.tag))


def changes(elements: Elements) -> Iterator[Elements]:
    """The data set with one thing changed, for each thing that can be."""
    for number, each in enumerate(elements):
        before, after = elements[:number], elements[number + 1 :]
        if len(elements) > 1:
            yield before + after
        for changed in changed_elements(each):
            yield (*before, changed, *after)


def changed_elements(element: Element) -> Iterator[Element]:
    value = element.value
    if isinstance(value, tuple):
        yield replace(element, value=(*value, ()))
        if value:
            yield replace(element, value=value[:-1])
        for number, item in enumerate(value):
            for changed in changes(item):
                yield replace(element, value=(*value[:number], changed, *value[number + 1 :]))
        return
    for at in {0, len(value) // 2, len(value) - 1} & set(range(len(value))):
        other = b"Q" if element.vr in TEXTS else bytes((value[at] ^ 0x41,))
        yield replace(element, value=value[:at] + other + value[at + 1 :])
    yield replace(element, value=value + (b"Q" if element.vr in TEXTS else b"Q" * 2 * UNITS[element.vr]))


@settings(max_examples=150, deadline=None)
@given(data_sets(), st.sampled_from(SYNTAXES), st.sampled_from(SYNTAXES), st.integers(0, 1 << 32))
def test_all_forms_of_any_object_are_the_same_and_no_other_is(
    elements: Elements, syntax: str, other: str, seed: int
) -> None:
    chance = random.Random(seed)
    one = Writer(syntax, chance).form(elements)
    assert are_same(one, Writer(other, chance).form(elements))
    for changed in itertools.islice(changes(elements), 40):
        assert not are_same(one, Writer(other, chance).form(changed)), changed


# -- details


def explicit(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    if vr in SHORT:
        return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), length) + value
    return struct.pack("<HH2s2xL", tag >> 16, tag & 0xFFFF, vr.encode(), length) + value


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, length) + value


ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
ID, UID, COMMENT, TITLE = 0x00100020, 0x00080018, 0x00104000, 0x00020016


@pytest.mark.parametrize(
    ("vr", "one", "other", "is_same"),
    [
        ("UI", b"1.2.3\0", b"1.2.3 ", True),
        ("UI", b"1.2.3\0", b"1.2.4\0", False),
        ("LO", b" P1 ", b"P1", True),
        ("LO", b"P 1 ", b"P1", False),
        ("LO", b"A \\ B", b"A\\B ", True),
        ("LO", b"A\\B ", b"B\\A ", False),
        ("LO", b"A\\\\B ", b"A\\B ", False),
        ("LO", b"a ", b"A ", False),
        ("LO", b"  ", b"", True),
        ("LT", b"  A ", b"  A", True),
        ("LT", b"  A ", b"A ", False),
        ("LT", b"A \\B", b"A\\B ", False),
        ("UT", b"A\0", b"A ", True),
        ("PN", b"Doe^Jane", b"Doe^Jane\0", True),
        ("PN", b"Doe^Jane", b" Doe^Jane ", False),
        ("PN", b"Doe^Jane^^^ ", b"Doe^Jane==", True),
        ("PN", b"Doe^^Jane ", b"Doe^Jane", False),
        ("LO", b"Doe^^^", b"Doe ", False),
        ("CS", b"CT", b" CT ", True),
        ("DS", b"1.0 ", b"1.0", True),
        ("IS", b" 12 ", b"12", True),
        ("DA", b"20200101", b"20200102", False),
        # A backslash is the second byte of a character of GB18030, so this space is none of the padding.
        ("LO", b"\x81\\ A", b"\x81\\A ", False),
        ("OB", b"\1\2\3", b"\1\2\3\0", True),
        ("OB", b"\1\2\0\0", b"\1\2", False),
        ("OB", b"\1\2\3\0", b"\1\2\3\1", False),
        ("US", b"\1\0", b"\1\0\0\0", False),
        ("UN", b"AB", b"AB\0\0", False),
    ],
)
def test_padding(vr: str, one: bytes, other: bytes, is_same: bool) -> None:
    tag = ID if vr != "UN" else 0x00091001
    forms = [(explicit(tag, vr, value), EXPLICIT) for value in (one, other)]
    assert are_same(*forms) is is_same
    # The value representation on the one side is enough.
    assert are_same(forms[0], (implicit(tag, other), IMPLICIT)) is is_same


@pytest.mark.parametrize("length", [1 << 20, (1 << 20) + 2, 3 << 20])
def test_long_texts_and_long_values(length: int) -> None:
    def text(value: bytes) -> Form:
        return explicit(0x0040A160, "UT", value), EXPLICIT

    value = b"AB" * (length // 2)
    assert are_same(text(value + b"C\0"), text(value + b"C "))
    assert are_same(text(value + b"  "), text(value))
    assert are_same(text(value[:-3] + b" \0 "), text(value[:-3] + b"\0" * 21))
    assert not are_same(text(value + b"C "), text(value + b"D "))
    assert not are_same(text(value), text(value[:-1] + b" "))
    assert not are_same(text(value[:-3] + b"   "), text(value[:-3] + b"  C"))
    assert not are_same(text(b" " + value + b" "), text(value))
    forms = [
        (explicit(0x7FE00010, "OB", value + end), EXPLICIT) for end in (b"\1", b"\1\0", b"\2\0", b"\1\1")
    ]
    assert are_same(forms[0], forms[1])
    assert not are_same(forms[1], forms[2])
    assert not are_same(forms[0], forms[3])


def test_a_value_representation_that_is_not_told_is_form() -> None:
    """And so is that of a number that is the same by both; its byte order is not."""
    forms = [(explicit(0x00280106, vr, b"\1\0"), EXPLICIT) for vr in ("US", "SS", "UN")]
    forms.append((implicit(0x00280106, b"\1\0"), IMPLICIT))
    forms.append((b"\0\x28\1\6US\0\2\0\1", BIG))
    assert all(are_same(*pair) for pair in itertools.combinations(forms, 2))
    assert not are_same(forms[0], (b"\0\x28\1\6US\0\2\1\0", BIG))
    assert not are_same(forms[0], (b"\0\x28\1\6OB\0\0\0\0\0\2\0\1", BIG))


PRIVATE, PIXEL_VALUE, LUT_DATA, DATE_TIME = 0x00291001, 0x00280106, 0x00283006, 0x00189074


@pytest.mark.parametrize(
    ("tag", "one", "other", "value", "is_same"),
    [
        (PIXEL_VALUE, "SS", "US", b"\xfb\xff", False),
        (PIXEL_VALUE, "SS", "US", b"\1\0\0\x80", False),
        (PIXEL_VALUE, "SS", "US", b"\xff\x7f", True),
        (PRIVATE, "SS", "US", b"\xfb\xff", False),
        (PRIVATE, "FL", "UL", b"\0\0\x80\x3f", False),
        (PRIVATE, "SL", "UL", b"\xff\xff\xff\xff", False),
        (PRIVATE, "FD", "OB", b"\0\0\0\0\0\0\xf8\x3f", False),
        (PRIVATE, "FD", "UV", b"\0\0\0\0\0\0\xf8\x3f", False),
        (PRIVATE, "OF", "OL", b"\0\0\x80\x3f", False),
        (PRIVATE, "OF", "OB", b"\0\0\x80\x3f", False),
        (PRIVATE, "AT", "US", b"\x10\0\x20\0", False),
        (PRIVATE, "AT", "UL", b"\x10\0\x20\0", False),
        (PRIVATE, "US", "OW", b"\1\0", False),
        (PRIVATE, "US", "OB", b"\1\0", False),
        (PRIVATE, "LO", "OB", b"AB", False),
        (PRIVATE, "LO", "US", b"AB", False),
        (PRIVATE, "ZZ", "LO", b"", True),
        (DATE_TIME, "DT", "LO", b"2020", False),
        (PRIVATE, "DA", "LO", b"20200101", False),
        (PRIVATE, "TM", "IS", b"1200", False),
        (PRIVATE, "LO", "IS", b"12", False),
        (PRIVATE, "PN", "LO", b"DOE", False),
        (PRIVATE, "UI", "LO", b"1.", False),
        (PRIVATE, "CS", "LO", b"A1", False),
        (PRIVATE, "AE", "SH", b"A1", False),
        (PRIVATE, "UR", "UT", b"A1", False),
        (PRIVATE, "LO", "LT", b"A\\B ", False),
        (PRIVATE, "LO", "LT", b"AB", True),
        (PRIVATE, "LO", "SH", b"A\\B ", True),
        (PRIVATE, "DS", "IS", b"12", True),
        (PRIVATE, "OB", "OW", b"\1\2\3\4", True),
        (0x7FE00010, "OB", "OW", b"\1\2\3\4", True),
        (LUT_DATA, "US", "OW", b"\1\xff", True),
        (PRIVATE, "DA", "FL", b"", True),
    ],
)
def test_equal_bytes_under_two_value_representations_were_the_same_object(
    tag: int, one: str, other: str, value: bytes, is_same: bool
) -> None:
    """The second content would have been acknowledged and dropped."""
    forms = [(explicit(tag, vr, value) + explicit(0x7FE10010, "LO", b"X "), EXPLICIT) for vr in (one, other)]
    assert are_same(*forms) is is_same
    assert are_same(*reversed(forms)) is is_same
    item = [(explicit(0x00081140, "SQ", implicit(ITEM, data)), EXPLICIT) for data, _ in forms]
    assert are_same(*item) is is_same
    # An encoder that goes by a dictionary makes the same object of what tells none.
    untold = (implicit(tag, value) + implicit(0x7FE10010, b"X "), IMPLICIT)
    assert all(are_same(form, untold) for form in forms)


def test_a_negative_number_in_big_endian_is_no_large_one() -> None:
    little, big = (explicit(PIXEL_VALUE, "US", b"\xfb\xff"), EXPLICIT), b"\0\x28\1\6SS\0\2\xff\xfb"
    assert not are_same(little, (big, BIG))
    assert are_same((explicit(PIXEL_VALUE, "SS", b"\xfb\xff"), EXPLICIT), (big, BIG))
    assert are_same((explicit(PIXEL_VALUE, "US", b"\5\1"), EXPLICIT), (big[:-2] + b"\1\5", BIG))


INNER = implicit(ID, b"P1")
SEQUENCES = {
    "all defined": (8 + len(INNER), implicit(ITEM, INNER)),
    "item undefined": (16 + len(INNER), implicit(ITEM, INNER + implicit(ITEM_END, b""), UNDEFINED)),
    "undefined": (UNDEFINED, implicit(ITEM, INNER) + implicit(SEQUENCE_END, b"")),
    "group length": (20 + len(INNER), implicit(ITEM, implicit(0x00100000, b"\1\2\3\4") + INNER)),
    "padding": (16 + len(INNER), implicit(ITEM, INNER + implicit(0xFFFCFFFC, b""))),
    "a delimiter too many": (16 + len(INNER), implicit(ITEM, INNER) + implicit(SEQUENCE_END, b"")),
}


@pytest.mark.parametrize("tag", [0x00081140, 0x00091001, 0x00400FFF])
def test_sequences_that_nothing_marks_as_such(tag: int) -> None:
    """In implicit VR, and as UN, a private sequence of defined length is told by how it begins."""
    forms: list[Form] = []
    for length, value in SEQUENCES.values():
        forms.append((implicit(tag, value, length), IMPLICIT))
        forms.append((explicit(tag, "UN", value, length), EXPLICIT))
    known = implicit(ITEM, explicit(ID, "LO", b"P1"))
    forms.append((explicit(tag, "SQ", known), EXPLICIT))
    for one, other in itertools.combinations(forms, 2):
        assert are_same(one, other), (one, other)
    for form in forms:
        assert not are_same(form, (explicit(tag, "SQ", known.replace(b"P1", b"P2")), EXPLICIT))
        assert not are_same(form, (implicit(tag, SEQUENCES["padding"][1].replace(b"P1", b"P2")), IMPLICIT))
        assert not are_same(form, (explicit(tag, "SQ", b""), EXPLICIT))
        assert not are_same(form, (explicit(tag, "SQ", known * 2), EXPLICIT))


def test_what_only_looks_like_a_sequence() -> None:
    value = implicit(ITEM, b"")[:4] + b"\x10\0\0\0no item"
    rest = explicit(0x00111001, "LO", b"A ")
    one = explicit(0x00091001, "UN", value) + rest, EXPLICIT
    assert are_same(one, (implicit(0x00091001, value) + implicit(0x00111001, b"A "), IMPLICIT))
    assert not are_same(
        one, (implicit(0x00091001, value[:-1] + b"M") + implicit(0x00111001, b"A "), IMPLICIT)
    )
    assert not are_same(one, (implicit(0x00091001, value) + implicit(0x00111001, b"B "), IMPLICIT))


def fragments(*values: bytes, end: bytes = implicit(SEQUENCE_END, b"")) -> bytes:
    return explicit(0x7FE00010, "OB", b"".join(implicit(ITEM, value) for value in values) + end, UNDEFINED)


def test_fragments() -> None:
    own = fragments(b"", b"ABCD", b"EF"), RLE
    assert are_same(own, (fragments(b"\0\0\0\0", b"ABCD", b"EF"), RLE))
    assert are_same(own, (fragments(b"", b"ABCD", b"EF", end=b""), RLE))
    assert are_same(own, (own[0] + explicit(0xFFFCFFFC, "OB", bytes(6)), RLE))
    for other in (
        (fragments(b"", b"ABCD", b"EG"), RLE),
        (fragments(b"", b"ABCDEF"), RLE),
        (fragments(b"", b"ABCD"), RLE),
        (fragments(b"", b"ABCD", b"EF", b"GH"), RLE),
        (fragments(b"", b"ABCD", b"EF"), JPEG),
        (explicit(0x7FE00010, "OB", b"ABCDEF"), RLE),
        (explicit(0x7FE00010, "OB", b"ABCDEF"), EXPLICIT),
    ):
        assert not are_same(own, other), other
    assert not are_same(
        (fragments(b"\0\0\0\0", b"ABCD", b"EF"), RLE), (fragments(b"\4\0\0\0", b"ABCD", b"EF"), RLE)
    )


def test_an_object_without_pixel_data_in_a_compressed_transfer_syntax() -> None:
    assert are_same((explicit(ID, "LO", b"P1"), JPEG), (implicit(ID, b"P1"), IMPLICIT))


def test_items_in_implicit_vr_in_an_explicit_data_set() -> None:
    item = implicit(ITEM, explicit(ID, "LO", b"P1"))
    odd = implicit(ITEM, implicit(ID, b"P1"))
    assert are_same((explicit(0x00081140, "SQ", item), EXPLICIT), (explicit(0x00081140, "SQ", odd), EXPLICIT))


def test_order_counts() -> None:
    one, other = explicit(ID, "LO", b"P1"), explicit(0x00100030, "DA", b"20200101")
    assert not are_same((one + other, EXPLICIT), (other + one, EXPLICIT))
    assert not are_same((one + other, EXPLICIT), (one, EXPLICIT))
    assert not are_same((one + one, EXPLICIT), (one, EXPLICIT))


def test_a_transfer_syntax_that_is_not_known() -> None:
    data = explicit(ID, "LO", b"P1")
    assert not are_same((data, "1.2.3"), (data + explicit(0xFFFCFFFC, "OB", b""), "1.2.3"))


# -- damage


@pytest.mark.parametrize("name", ["rtplan.dcm", "MR_small_RLE.dcm", "image_dfl.dcm", "UN_sequence.dcm"])
def test_what_is_cut_off_is_another_object(name: str) -> None:
    [path] = [each for each in FILES if each.name == name]
    data, syntax = form_of(path)
    whole = data + (b"" if syntax == DEFLATED else explicit(0xFFFCFFFC, "OB", b""))
    if syntax == IMPLICIT:
        whole = data + implicit(0xFFFCFFFC, b"")
    for length in range(0, len(data) - 16, max(1, len(data) // 300)):
        assert not are_same((data[:length], syntax), (whole, syntax)), length


@given(st.binary(max_size=200), st.binary(max_size=200), st.sampled_from(SYNTAXES), st.sampled_from(SYNTAXES))
def test_garbage_is_no_object(one: bytes, other: bytes, syntax: str, other_syntax: str) -> None:
    assert are_same((one, syntax), (other, other_syntax)) in (True, False)


@settings(max_examples=200, deadline=None)
@given(data_sets(), st.sampled_from((IMPLICIT, EXPLICIT, BIG)), st.integers(0, 1 << 32), st.data())
def test_no_byte_out_of_place_raises(elements: Elements, syntax: str, seed: int, data: st.DataObject) -> None:
    chance = random.Random(seed)
    whole, _ = Writer(syntax, chance).form(elements)
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + data.draw(st.binary(min_size=1, max_size=4)) + whole[at + 1 :]
    assert are_same((damaged, syntax), Writer(EXPLICIT, chance).form(elements)) in (True, False)


def nested(depth: int, end: int | None) -> bytes:
    data = explicit(ID, "LO", b"P1")
    for _ in range(depth):
        data = explicit(
            0x00081140,
            "SQ",
            implicit(ITEM, data, end)
            + (implicit(ITEM_END, b"") + implicit(SEQUENCE_END, b"") if end else b""),
            end,
        )
    return data


@pytest.mark.parametrize(("depth", "is_same"), [(1, True), (64, True), (65, False), (3000, False)])
def test_nesting_has_a_limit(depth: int, is_same: bool) -> None:
    assert are_same((nested(depth, None), EXPLICIT), (nested(depth, UNDEFINED), EXPLICIT)) is is_same


def test_sequences_without_end_and_items_longer_than_their_sequence() -> None:
    good = explicit(0x00081140, "SQ", implicit(ITEM, explicit(ID, "LO", b"P1")))
    for bad in (
        explicit(0x00081140, "SQ", implicit(ITEM, explicit(ID, "LO", b"P1")), UNDEFINED),
        explicit(0x00081140, "SQ", implicit(ITEM, explicit(ID, "LO", b"P1"), 100)),
        explicit(0x00081140, "SQ", implicit(ITEM, explicit(ID, "LO", b"P1"), 8)),
        explicit(0x00081140, "SQ", implicit(ITEM, explicit(ID, "LO", b"P1")), 16),
        explicit(0x00081140, "LO", b"", 0xFFFF),
        explicit(0x00081140, "UT", b"", UNDEFINED),
    ):
        assert not are_same((good, EXPLICIT), (bad, EXPLICIT))
        assert not are_same((bad, EXPLICIT), (bad + explicit(0xFFFCFFFC, "OB", b""), EXPLICIT))


def test_a_small_stream_that_inflates_without_end() -> None:
    bomb = deflated(bytes(64 << 20), 9)
    assert not are_same((bomb, DEFLATED), (bomb + b"\0", DEFLATED))


LARGE = """
import resource, struct, sys
from dicomnet.encoding.comparison import Encoded, have_same_content
files = []
for name, header in (("one", b"OW\\0\\0"), ("other", b"")):
    file = open(f"{sys.argv[1]}/{name}", "w+b")
    file.write(struct.pack("<HH", 0x7FE0, 0x10) + header + struct.pack("<L", 300 << 20))
    file.seek(300 << 20, 1)
    file.truncate()
    file.seek(0)
    files.append(file)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
def compare():
    for file in files: file.seek(0)
    syntaxes = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
    return have_same_content(*(Encoded(*each) for each in zip(files, syntaxes)), lambda tag: "")
print(compare(), end=" ")
files[0].seek(-1, 2)
files[0].write(b"A")
print(compare(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 << 10)
"""


def test_objects_of_300_megabytes_are_not_read_into_memory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LARGE, tmp_path], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "True False True\n"
