"""Text in character sets of two bytes, in which the byte of a delimiter may be the half of a character."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from pydicom.datadict import keyword_for_tag
from pydicom.multival import MultiValue
from tests.sockets import IMPLICIT_VR_LE

from dicomnet.archive.catalogue.identifiers import parse
from dicomnet.archive.services.query import read_identifier
from dicomnet.datasets.character_sets import GB_2312_ESCAPE, codecs_of, terms_of
from dicomnet.datasets.codec import decode_whole, encode_answer, encode_keys
from dicomnet.datasets.queries import build_keys
from dicomnet.datasets.text import value_text


def in_jis_x_0212(character: str) -> bytes:
    encoded = character.encode("iso2022_jp_2")
    if not encoded.startswith(b"\x1b$(D"):
        raise UnicodeEncodeError("iso2022_jp_2", character, 0, 1, "another set of those has it")
    return encoded


# What Python itself encodes a character to, with the escape sequences of PS3.5 section 6.1.2.5.3 that it leaves out.
TWO_BYTE_SETS: dict[str, Callable[[str], bytes]] = {
    "\\ISO 2022 IR 87": lambda text: text.encode("iso2022_jp"),
    "ISO 2022 IR 87": lambda text: text.encode("iso2022_jp"),
    "\\ISO 2022 IR 159": in_jis_x_0212,
    "ISO 2022 IR 13\\ISO 2022 IR 87": lambda text: text.encode("iso2022_jp").replace(b"\x1b(B", b"\x1b(J"),
    "\\ISO 2022 IR 149": lambda text: b"\x1b$)C" + text.encode("euc_kr"),
    "\\ISO 2022 IR 58": lambda text: GB_2312_ESCAPE + text.encode("gb2312"),
    "GBK": lambda text: text.encode("gbk"),
    "GB18030": lambda text: text.encode("gb18030"),
    "SHIFT_JIS": lambda text: text.encode("cp932"),
    "BIG5": lambda text: text.encode("big5"),
}
# Each has 0x3D, 0x5E, 0x5C, 0x2A or 0x3F, the bytes of =^\\*?, in one of these at least.
WITH_DELIMITERS = "予計従歹賎暗窺匿本能表十俞乗Ú戄彾榦榫孝Κ弌漾許功張王김"


def _encodable(encode: Callable[[str], bytes]) -> Iterator[str]:
    for character in WITH_DELIMITERS:
        with suppress(UnicodeEncodeError):
            encode(character)
            yield character


@pytest.mark.parametrize("terms", TWO_BYTE_SETS)
@pytest.mark.parametrize("form", ["Y^T={0}^{0}", "*={0}^*", "*{0}*", "{0}\\{0}", "Y==?{0}", "^{0}", "={0}"])
@pytest.mark.parametrize("tag", [0x00100010, 0x00081030])
def test_a_name_was_split_inside_a_character(terms: str, form: str, tag: int) -> None:
    """As a key, to a handler, from a file into the index, and sent again."""
    encode = TWO_BYTE_SETS[terms]
    characters = list(_encodable(encode))
    assert characters
    for character in characters:
        text = form.format(character)
        raw = form.encode().replace(b"{0}", encode(character))
        vr = "PN" if tag == 0x00100010 else "LO"
        assert value_text(vr, raw, codecs_of(terms_of(terms)), "little") == text
        data = _element(0x00080005, terms.encode()) + _element(0x00080052, b"STUDY") + _element(tag, raw)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            identifier = read_identifier(decode_whole, data, IMPLICIT_VR_LE)
            (key,) = parse("STUDY", identifier).keys
            assert key.text == text
            received = decode_whole(data, IMPLICIT_VR_LE)
            assert _text_of(received[tag].value) == text
            sent = encode_answer(received, True, True)
            assert _text_of(decode_whole(sent, IMPLICIT_VR_LE)[tag].value) == text
            if terms in ("SHIFT_JIS", "BIG5"):
                continue
            keys = {keyword_for_tag(tag): text, "SpecificCharacterSet": terms.split("\\")}
            asked = read_identifier(decode_whole, encode_keys(build_keys(keys), True, True), IMPLICIT_VR_LE)
            asked.QueryRetrieveLevel = "STUDY"
            (key,) = parse("STUDY", asked).keys
            assert key.text == text


def _element(tag: int, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


def _text_of(value: Any) -> str:
    return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)
