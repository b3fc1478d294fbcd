from __future__ import annotations

import warnings
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.charset import python_encoding
from pydicom.data import get_charset_files
from pydicom.multival import MultiValue

from dicomnet.datasets.character_sets import codecs_of
from dicomnet.datasets.text import decode_text, folded_name, value_text, values_of
from dicomnet.encoding.file_header import decode_file_header
from dicomnet.encoding.scan import scan

TEXT_VRS = {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}


@pytest.mark.parametrize("path", sorted(map(Path, get_charset_files("*.dcm"))), ids=lambda path: path.name)
def test_reads_the_texts_that_pydicom_reads(path: Path) -> None:
    whole = path.read_bytes()
    header = decode_file_header(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = pydicom.dcmread(path)
        texts = {int(e.tag): e for e in expected if e.VR in TEXT_VRS and e.value}
    found = scan(
        whole[header.offset :], header.transfer_syntax_uid, dict.fromkeys([*texts, 0x00080005], "LO")
    )
    character_sets = found.values[0x00080005][1].decode().split("\\") if 0x00080005 in found.values else []
    assert texts
    for tag, element in texts.items():
        values = element.value if isinstance(element.value, MultiValue) else [element.value]
        wanted = "\\".join(str(value) for value in values)
        text = value_text(
            element.VR, found.values[tag][1], codecs_of(character_sets), found.encoding.byte_order
        )
        assert text.rstrip("=") == wanted.rstrip("=")


@given(st.binary(max_size=60), st.lists(st.sampled_from([*python_encoding, "nonsense"]), max_size=3))
def test_any_bytes_become_text(raw: bytes, character_sets: list[str]) -> None:
    decode_text(raw, codecs_of(character_sets)).encode("utf-8")


@pytest.mark.parametrize(
    ("vr", "raw", "order", "text"),
    [
        ("US", b"\x00\x02", "little", "512"),
        ("US", b"\x02\x00", "big", "512"),
        ("US", b"\x01\x00\x02\x00", "little", "1\\2"),
        ("SS", b"\xff\xff", "little", "-1"),
        ("UL", b"\x01\x00\x00", "little", ""),
        ("FD", b"\x00\x00\x00\x00\x00\x00\xf0\x3f", "little", "1.0"),
        ("UI", b"1.2\\1.3\0", "little", "1.2\\1.3"),
        ("CS", b" A \\B ", "little", "A\\B"),
        ("LT", b"  a\\ b  ", "little", "  a\\ b"),
    ],
)
def test_values(vr: str, raw: bytes, order: str, text: str) -> None:
    assert value_text(vr, raw, codecs_of(()), order) == text


def test_values_of() -> None:
    assert values_of("CS", "") == []
    assert values_of("CS", "A\\B") == ["A", "B"]
    assert values_of("LT", "A\\B") == ["A\\B"]


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("Doe^Jane", ("doe^jane", "", "")),
        ("DOE ^ Jane^^^ ", ("doe^jane", "", "")),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", ("yamada^tarou", "山田^太郎", "やまだ^たろう")),
        ("Straße", ("strasse", "", "")),
        ("A=B=C=D", ("a", "b", "c")),
        ("=B", ("", "b", "")),
        ("Jéro\u0302me", ("jérôme", "", "")),
    ],
)
def test_folded_names(name: str, groups: tuple[str, str, str]) -> None:
    assert folded_name(name) == groups
