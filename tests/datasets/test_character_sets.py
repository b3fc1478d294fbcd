"""Specific Character Set as it is written, well and badly: what is read by it, and what may not be written by it."""

from __future__ import annotations

import struct
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.charset import python_encoding
from pydicom.dataset import Dataset
from tests.grids import grid

from dicomnet.datasets.character_sets import (
    UNDECLARED,
    CannotHold,
    codecs_of,
    defined_terms,
    terms_of,
    text_encoder,
)
from dicomnet.datasets.codec import decode, encode, encode_answer, encode_keys, encode_object
from dicomnet.datasets.json_model import to_json
from dicomnet.datasets.plain import TextNotEncodable
from dicomnet.datasets.queries import build_keys
from dicomnet.datasets.text import decode_text, value_text

# How it is written, a text, and the Python codec that its bytes are in.
WRITTEN = [
    ("ISO 8859-1", "Müller", "latin_1"),
    ("ISO-IR 100", "Müller", "latin_1"),
    ("ISO_IR_100", "Müller", "latin_1"),
    ("iso_ir 100", "Müller", "latin_1"),
    ("LATIN1", "Müller", "latin_1"),
    ("ISO_IR 100\\", "Müller", "latin_1"),
    ("ISO 2022 100", "Müller", "latin_1"),
    ("UTF-8", "Müller 王", "utf_8"),
    ("ISO_IR192", "Müller 王", "utf_8"),
    ("\\ISO_IR 192", "Müller 王", "utf_8"),
    ("ISO_IR 192\\ISO 2022 IR 87", "Müller 王", "utf_8"),
    ("GBK", "王", "gbk"),
    ("GB2312", "王", "gbk"),
    ("gb18030", "王", "gb18030"),
    ("ISO-8859-5", "Люк", "iso8859_5"),
    ("windows-1251", "Люк", "cp1251"),
    ("ISO8859-7", "Διο", "iso8859_7"),
    ("ISO_IR 203", "Œuvre", "iso8859_15"),
    ("SJIS", "山田", "cp932"),
    ("ISO_IR 149", "김", "euc_kr"),
]


@pytest.mark.parametrize(("written", "text", "codec"), WRITTEN)
def test_misspelt_terms_are_read_as_they_were_meant(written: str, text: str, codec: str) -> None:
    assert decode_text(text.encode(codec), codecs_of(terms_of(written))) == text


@grid(("written", "text", "codec"), WRITTEN)
@grid("in_item", [False, True])
def test_a_client_reads_them_by_the_same_table(written: str, text: str, codec: str, in_item: bool) -> None:
    def element(group: int, number: int, vr: bytes, value: bytes, fill: bytes = b" ") -> bytes:
        value += fill * (len(value) % 2)
        return (
            group.to_bytes(2, "little")
            + number.to_bytes(2, "little")
            + vr
            + len(value).to_bytes(2, "little")
            + value
        )

    data = element(8, 5, b"CS", written.encode())
    name = element(0x10, 0x10, b"PN", text.encode(codec))
    if in_item:
        item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + name + b"\xfe\xff\x0d\xe0\0\0\0\0"
        data += b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff" + item + b"\xfe\xff\xdd\xe0\0\0\0\0"
    else:
        data += name
    with warnings.catch_warnings():
        # pydicom does not know all of them.
        warnings.simplefilter("ignore")
        found = decode(data, False, True)
        holder = found.ReferencedImageSequence[0] if in_item else found
        assert str(holder.PatientName) == text


def test_each_defined_term_means_itself() -> None:
    for term, codec in python_encoding.items():
        assert codecs_of([term]) == [codec if term else UNDECLARED]
        assert defined_terms(term) == ([term] if term else [])


def _name(raw: bytes, *, in_item: bool, term: bytes | None = None) -> bytes:
    """An encoded data set with a name, in explicit VR little endian."""

    def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
        return struct.pack("<HH2sH", group, number, vr, len(value)) + value

    name = element(0x0010, 0x0010, b"PN", raw + b" " * (len(raw) % 2))
    if in_item:
        item = struct.pack("<HHL", 0xFFFE, 0xE000, len(name)) + name
        name = struct.pack("<HH2s2xL", 0x0008, 0x1140, b"SQ", len(item)) + item
    return (b"" if term is None else element(0x0008, 0x0005, b"CS", term)) + name


@grid("text", ["Müller", "山田^太郎", "Åsa^Öst", "Ж"])
@grid("codec", ["utf-8", "latin-1"])
@grid("in_item", [False, True])
@grid("term", [None, b""])
def test_utf_8_without_a_character_set_was_read_as_latin_1(
    text: str, codec: str, in_item: bool, term: bytes | None
) -> None:
    """The default repertoire has no such characters (PS3.5 section 6.1.2.1). Client and JSON read as the index does."""
    try:
        raw = text.encode(codec)
    except UnicodeEncodeError:
        return
    encoded = _name(raw, in_item=in_item, term=term)
    assert value_text("PN", raw, codecs_of(()), "little") == text
    data_set = decode(encoded, False, True)
    # What nobody looks at goes on as it came.
    assert encode_object(data_set, False, True) == encoded
    model: Any = to_json(data_set)
    inner = model["00081140"]["Value"][0] if in_item else model
    assert inner["00100010"]["Value"] == [{"Alphabetic": text}]
    named = data_set.ReferencedImageSequence[0] if in_item else data_set
    assert str(named.PatientName) == text
    # What somebody has looked at may be written anew, and reads the same to everybody.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = decode(encode_object(data_set, False, True), False, True)
    named = again.ReferencedImageSequence[0] if in_item else again
    assert str(named.PatientName) == text


def test_what_is_declared_is_believed() -> None:
    raw = "Müller".encode()
    assert str(decode(_name(raw, in_item=False, term=b"ISO_IR 100"), False, True).PatientName) == "MÃ¼ller"


def _keys(text: str, chosen: str | None, depth: int) -> Dataset:
    dataset = Dataset()
    dataset.PatientName = text
    dataset.StudyDescription = text
    for _ in range(depth):
        outer = Dataset()
        outer.RequestAttributesSequence = [dataset]
        dataset = outer
    if chosen is not None:
        dataset.SpecificCharacterSet = chosen
    return dataset


@grid("depth", [0, 1, 2])
@grid("is_implicit", [True, False])
@grid(
    ("chosen", "text"),
    [
        ("ISO_IR 100", "王*"),
        ("ISO_IR 144", "Müller"),
        ("ISO_IR 6", "Müller"),
        ("ISO_IR 13", "山田"),
        ("ISO_IR 100", "Müller^王"),
        ("no such set", "Müller"),
        ("ISO 2022 IR 87", "김"),
    ],
)
def test_a_key_that_the_chosen_set_lacks_is_an_error(
    chosen: str, text: str, depth: int, is_implicit: bool
) -> None:
    """Each went out as a question mark, or several, which match any name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(TextNotEncodable):
            encode_keys(_keys(text, chosen, depth), is_implicit, True)
        answer = decode(encode_answer(_keys(text, chosen, depth), is_implicit, True), is_implicit, True)
    assert answer.SpecificCharacterSet == "ISO_IR 192"
    for _ in range(depth):
        answer = answer.RequestAttributesSequence[0]
    assert str(answer.PatientName) == answer.StudyDescription == text


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("text", ["王*", "Müller", "Dvořák^A?", "山田^太郎=やまだ"])
def test_where_no_set_was_chosen_utf_8_is_sent(text: str, depth: int) -> None:
    dataset = _keys(text, None, depth)
    for _ in range(2):
        sent = decode(encode_keys(dataset, True, True), True, True)
        assert sent.SpecificCharacterSet == "ISO_IR 192"
        for _ in range(depth):
            sent = sent.RequestAttributesSequence[0]
        assert str(sent.PatientName) == sent.StudyDescription == text
    # The caller's data set stays as it is, and its names are free for another set.
    assert "SpecificCharacterSet" not in dataset
    dataset.SpecificCharacterSet = "GB18030"
    again = decode(encode_keys(dataset, True, True), True, True)
    for _ in range(depth):
        again = again.RequestAttributesSequence[0]
    assert str(again.PatientName) == text


@pytest.mark.parametrize(
    "chosen", ["ISO_IR 100", ["", "ISO 2022 IR 87"], ["ISO 2022 IR 6", "ISO 2022 IR 149"]]
)
def test_an_object_is_not_written_with_question_marks(chosen: Any) -> None:
    dataset = Dataset()
    dataset.PatientName = "Đặng^Œ"
    dataset.SpecificCharacterSet = chosen
    with pytest.raises(TextNotEncodable):
        encode_object(dataset, False, True)
    assert encode(dataset, False, True) is None
    del dataset.SpecificCharacterSet
    assert str(decode(encode_object(dataset, False, True), False, True).PatientName) == "Đặng^Œ"


def test_the_slow_way_is_as_strict() -> None:
    """A data set that pydicom writes: its VR depends on another element."""
    dataset = _keys("王", "ISO_IR 100", 0)
    dataset.PixelRepresentation = 0
    dataset.add_new(0x00280106, "US or SS", 1)
    with pytest.raises(TextNotEncodable):
        encode_keys(dataset, True, True)
    assert str(decode(encode_answer(dataset, True, True), True, True).PatientName) == "王"
    dataset.SpecificCharacterSet = "ISO_IR 203"
    dataset.PatientName = "Œuvre"
    del dataset.StudyDescription
    with warnings.catch_warnings():
        # pydicom does not know this one, which was defined later.
        warnings.simplefilter("ignore")
        assert str(decode(encode_keys(dataset, True, True), True, True).PatientName) == "Œuvre"


@grid("depth", [0, 1])
@grid("is_plain", [True, False])
@grid("text", ["ﾔﾏﾀﾞ*", "ﾀﾛｳ 2", "Yamada ﾔﾏﾀﾞ", "ﾔﾏ?ﾀﾞ^A-1"])
def test_latin_and_katakana_of_one_text_in_jis_x_0201_are_no_question_marks(
    text: str, is_plain: bool, depth: int
) -> None:
    """Both halves are in the one character set; each katakana went out as "?", which matches any character."""
    for write in (encode_keys, encode_answer, encode_object):
        with warnings.catch_warnings():
            # pydicom tries to encode a name that it is given, or has read.
            warnings.simplefilter("ignore")
            dataset = _keys(text, "ISO_IR 13", depth)
            if not is_plain:
                dataset.PixelRepresentation = 0
                dataset.add_new(0x00280106, "US or SS", 1)
            encoded = write(dataset, True, True)
            assert (text.encode("shift_jis") in encoded) == is_plain
            sent = decode(encoded, True, True)
            for _ in range(depth):
                sent = sent.RequestAttributesSequence[0]
            assert str(sent.PatientName) == sent.StudyDescription == text


TERMS = [
    "ISO_IR 13",
    "ISO_IR 166",
    "GBK",
    "GB18030",
    "ISO 2022 IR 13\\ISO 2022 IR 87",
    "\\ISO 2022 IR 87",
    "\\ISO 2022 IR 58",
    "\\ISO 2022 IR 149",
    "\\ISO 2022 IR 159\\ISO 2022 IR 87",
    "ISO 2022 IR 100\\ISO 2022 IR 126",
    "ISO 2022 IR 6\\ISO 2022 IR 100\\ISO 2022 IR 144",
]


@given(st.sampled_from(TERMS), st.text("Az*?^= 1ﾔﾏﾞ山田üßДлαβ王小明김희中ก", max_size=6))
def test_a_text_is_encoded_whole_or_not_at_all(terms: str, text: str) -> None:
    encoder = text_encoder(terms_of(terms), is_strict=True)
    try:
        encoded = encoder.encode(text)
    except CannotHold:
        return
    assert decode_text(encoded, encoder.codecs) == text


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"PatientName": "王*", "SpecificCharacterSet": "ISO_IR 100"}, "PatientName"),
        ({"SpecificCharacterSet": "ISO_IR 100", "PatientName": "王*"}, "PatientName"),
        ({"SpecificCharacterSet": "latin-2", "PatientName": "山田"}, "PatientName"),
        ({"SpecificCharacterSet": "ISO_IR 999", "PatientID": "1"}, "ISO_IR 999"),
        ({"Modality": "Ü"}, "Modality"),
        (
            {
                "SpecificCharacterSet": "ISO_IR 100",
                "ScheduledProcedureStepSequence": {"ScheduledPerformingPhysicianName": "王"},
            },
            "ScheduledPerformingPhysicianName",
        ),
    ],
)
def test_keys_that_cannot_be_encoded_are_named(keys: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        build_keys(keys)


def test_the_chosen_set_is_sent_as_the_standard_spells_it() -> None:
    keys = build_keys({"SpecificCharacterSet": "ISO 8859-1", "PatientName": "Müller"})
    assert keys.SpecificCharacterSet == "ISO_IR 100"
    assert b"M\xfcller" in encode_keys(keys, True, True)


# As PS3.5 has them: Annex H.3.1 with the first value left out, as many devices do, and Annex K.2.
EXTENDED = [
    (
        "ISO 2022 IR 87",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
    ),
    (
        "\\ISO 2022 IR 87",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
    ),
    (
        "\\ISO 2022 IR 58",
        "Zhang^XiaoDong=张^小东",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab",
    ),
]
extended = grid(("chosen", "text", "expected"), EXTENDED)


def _holder(dataset: Dataset, depth: int) -> Dataset:
    for _ in range(depth):
        dataset = dataset.RequestAttributesSequence[0]
    return dataset


@extended
@grid("depth", [0, 1, 2])
@grid("is_implicit", [True, False])
def test_a_name_was_sent_without_the_escape_sequences_of_its_set(
    chosen: str, text: str, expected: bytes, depth: int, is_implicit: bool
) -> None:
    """pydicom leaves them out; what arrived was another name."""
    sent = encode_keys(_keys(text, chosen, depth), is_implicit, True)
    # Of the name, and of the description, which is no name.
    assert sent.count(expected) == 2
    assert sent == encode_answer(_keys(text, chosen, depth), is_implicit, True)
    with warnings.catch_warnings():
        # pydicom warns of what it makes of a name for itself.
        warnings.simplefilter("ignore")
        found = _holder(decode(sent, is_implicit, True), depth)
        assert str(found.PatientName) == found.StudyDescription == text
        again = decode(sent, is_implicit, True)
        assert _holder(again, depth).PatientName
        assert encode_object(again, is_implicit, True) == sent


@extended
def test_a_name_was_read_with_escape_sequences_in_it(chosen: str, text: str, expected: bytes) -> None:
    assert decode_text(expected, codecs_of(terms_of(chosen))) == text


def test_several_names_in_gb_2312() -> None:
    names = ["Zhang^XiaoDong=张^小东", "Wang", "王^五"]
    dataset = Dataset()
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 58"]
    dataset.OtherPatientNames, dataset.PatientComments = names, "第一行\r\nsecond 第二行"
    found = decode(encode_object(dataset, False, True), False, True)
    assert [str(each) for each in found.OtherPatientNames] == names
    assert found.PatientComments == "第一行\r\nsecond 第二行"
    assert encode_object(found, False, True) == encode_object(dataset, False, True)
    found.PatientName = "Ł"
    with pytest.raises(TextNotEncodable):
        encode_keys(found, False, True)


@given(
    st.lists(
        st.sampled_from([b"\x1b$)A", b"\x1b", b"\xd5\xc5", b"\xd5", b"\\", b"^", b"=", b"A", b" ", b"\0"]),
        max_size=9,
    )
)
def test_damaged_names_in_gb_2312_are_read_and_written(parts: list[bytes]) -> None:
    value = b"".join(parts)
    value += b" " * (len(value) % 2)
    data = b"\x08\0\x05\0\x10\0\0\0\\ISO 2022 IR 58 \x10\0\x10\0" + len(value).to_bytes(4, "little") + value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = decode(data, True, True)
        assert str(found.PatientName) is not None
        encode_answer(found, True, True)


@pytest.mark.parametrize("keys", [{"PatientName": "M\udcfcller"}, {"PatientID": ["1", "\ud800"]}])
def test_a_key_of_bytes_that_are_no_text_is_an_error(keys: dict[str, Any]) -> None:
    (name,) = keys
    with pytest.raises(ValueError, match=f"{name} has bytes that are not text"):
        build_keys(keys)
