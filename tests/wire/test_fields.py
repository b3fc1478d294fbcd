"""The cursor never passes its end, and the shared encoders refuse what the standard does not allow."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnet import _config
from dicomnet.errors import ProtocolError
from dicomnet.wire.fields import (
    Cursor,
    ae_title_bytes,
    block16,
    check_range,
    item,
    text_from,
    uid_bytes,
    uid_from,
)

READS: dict[str, tuple[bytes, Callable[[Cursor], object], object]] = {
    "u8": (b"\xfe", Cursor.u8, 0xFE),
    "u16": (b"\x01\x02", Cursor.u16, 0x0102),
    "u32": (b"\x01\x02\x03\x04", Cursor.u32, 0x01020304),
    "read": (b"abc", lambda cursor: bytes(cursor.read(3)), b"abc"),
    "read nothing": (b"", lambda cursor: bytes(cursor.read(0)), b""),
    "skip": (b"abc", lambda cursor: cursor.skip(3), None),
    "block16": (b"\x00\x02hi", lambda cursor: bytes(cursor.block16()), b"hi"),
    "empty block16": (b"\x00\x00", lambda cursor: bytes(cursor.block16()), b""),
    "uid16": (b"\x00\x041.2\x00", Cursor.uid16, "1.2"),
}


@pytest.mark.parametrize("name", READS)
def test_each_read_takes_its_bytes_and_no_more(name: str) -> None:
    content, read, value = READS[name]
    cursor = Cursor(memoryview(content + b"next"), "it")
    assert read(cursor) == value
    assert bytes(cursor.rest()) == b"next"


@pytest.mark.parametrize("name", READS)
def test_each_read_refuses_to_pass_the_end(name: str) -> None:
    """The bytes behind the view exist in memory, but not for the cursor."""
    content, read, _ = READS[name]
    behind = memoryview(content + b"behind")
    for length in range(len(content)):
        with pytest.raises(ProtocolError, match="the thing") as caught:
            read(Cursor(behind[:length], "the thing"))
        assert caught.value.reason == 6


def test_items_are_read_up_to_the_end() -> None:
    """P031: the reserved byte of an item is not tested."""
    cursor = Cursor(memoryview(b"\x10\x00\x00\x01a\x99\xff\x00\x00\x10\x07\x00\x02bc"), "it")
    assert [(kind, bytes(content)) for kind, content in cursor.items()] == [
        (0x10, b"a"),
        (0x99, b""),
        (0x10, b"bc"),
    ]


@pytest.mark.parametrize(
    "tail", [b"\x10", b"\x10\x00", b"\x10\x00\x00", b"\x10\x00\x00\x02a", b"\x10\x00\xff\xff"]
)
def test_an_item_that_passes_its_parent_is_refused(tail: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(Cursor(memoryview(b"\x99\x00\x00\x00" + tail), "it").items())


@given(st.binary(max_size=40), st.lists(st.sampled_from(sorted(READS)), max_size=10))
def test_random_reads_give_a_value_or_a_protocol_error(content: bytes, names: list[str]) -> None:
    cursor = Cursor(memoryview(content), "it")
    try:
        for name in names:
            READS[name][1](cursor)
        list(cursor.items())
    except ProtocolError:
        pass


@pytest.mark.parametrize("padding", ["", "\0", "\0\0", " ", "  \0", "\0 "])
def test_padding_of_a_received_uid_is_tolerated(padding: str) -> None:
    """P055: UIDs in items are not padded, but some peers do."""
    assert uid_from(memoryview(f"1.2.840.10008.1.1{padding}".encode())) == "1.2.840.10008.1.1"


def test_a_received_uid_that_is_not_ascii_is_kept_and_equals_no_other() -> None:
    """It is judged where it is used; a no-break space is not padding, though `str.strip` takes it for that."""
    assert uid_from(memoryview(b"1.2.\xe9")) == "1.2.\xe9"
    assert uid_from(memoryview(b"1.2\xa0")) == "1.2\xa0"


@pytest.mark.parametrize("behind", [b"\0", b"\0junk", b" \0\xff", b"\0\0 1.3"])
def test_a_received_text_ends_at_the_first_nul(behind: bytes) -> None:
    assert uid_from(memoryview(b"1.2" + behind)) == "1.2"
    assert text_from(memoryview(b"TITLE" + behind)) == "TITLE"


def test_a_uid_outside_ascii_is_read_by_the_codecs_that_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some peers have zero-width spaces in their UIDs; pynetdicom reads them with the same flag."""
    monkeypatch.setattr(_config, "CODECS", ("ascii", "utf-8"))
    assert uid_from(memoryview("1.2.\u200b3".encode())) == "1.2.3"
    assert uid_from(memoryview(b"1.2.\xe9")) == "1.2.\xe9"


@given(st.binary(max_size=64))
def test_received_text_never_fails(content: bytes) -> None:
    assert len(text_from(memoryview(content))) <= len(content)


@pytest.mark.parametrize("uid", ["1", "1.2.840.10008.1.1", "1" * 64])
def test_a_uid_is_sent_unpadded(uid: str) -> None:
    """P055: PS3.8 Annex F forbids padding, also at odd length."""
    assert uid_bytes(uid, "it") == uid.encode("ascii")


@pytest.mark.parametrize("uid", ["", "1" * 65, "1.2.é"])
def test_a_uid_that_cannot_be_sent_is_refused(uid: str) -> None:
    with pytest.raises(ValueError, match="the thing"):
        uid_bytes(uid, "the thing")


TITLES = {
    "A": b"A" + b" " * 15,
    "SIXTEEN CHARS 16": b"SIXTEEN CHARS 16",
    "  lead and trail  ": b"lead and trail  ",
    " \tx".replace("\t", ""): b"x" + b" " * 15,
    "a/b*?'\"": b"a/b*?'\"" + b" " * 9,
}


@pytest.mark.parametrize("title", TITLES)
def test_an_ae_title_fills_16_bytes(title: str) -> None:
    """P035: leading and trailing spaces are not significant."""
    assert ae_title_bytes(title, "it") == TITLES[title]


@pytest.mark.parametrize("title", ["", " ", " " * 16, "a" * 17, "a\\b", "a\nb", "a\0", "é", "a\x7f"])
def test_an_ae_title_that_the_standard_does_not_allow_is_refused(title: str) -> None:
    """P035: 16 spaces are not a title; neither is what PS3.5 keeps out of the AE value representation."""
    with pytest.raises(ValueError, match="the thing"):
        ae_title_bytes(title, "the thing")


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\\"), max_size=20))
def test_an_ae_title_comes_back_or_is_refused(title: str) -> None:
    try:
        content = ae_title_bytes(title, "it")
    except ValueError:
        assert not 0 < len(title.strip(" ")) <= 16
    else:
        assert len(content) == 16
        assert text_from(memoryview(content)) == title.strip(" ")


def test_an_item_has_type_reserved_byte_length_and_content() -> None:
    assert item(0x52, b"1.", memoryview(b"2")) == b"\x52\x00\x00\x031.2"
    assert item(0x52) == b"\x52\x00\x00\x00"
    assert item(0x52, bytes(0xFFFF))[:4] == b"\x52\x00\xff\xff"


def test_a_field_has_its_length_before_it() -> None:
    assert block16(b"abc") == b"\x00\x03abc"
    assert block16(bytes(0xFFFF))[:2] == b"\xff\xff"


@pytest.mark.parametrize("encode", [lambda content: item(0x58, content), block16])
def test_what_a_two_byte_length_cannot_tell_is_refused(encode: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ValueError, match="65,535"):
        encode(bytes(0x10000))


def test_a_range_includes_both_ends() -> None:
    check_range(0, 0, 3, "it")
    check_range(3, 0, 3, "it")
    for value in (-1, 4):
        with pytest.raises(ValueError, match=f"the thing must be between 0 and 3, not {value}"):
            check_range(value, 0, 3, "the thing")
