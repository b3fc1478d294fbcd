"""Multipart bodies are read the same however they are cut, and what a sender wrote is what is read."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from email import message_from_bytes
from email.policy import HTTP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnet.dicomweb.multipart_reading import (
    BLANKS_LIMIT,
    HEAD_LIMIT,
    PART_ENDS,
    MediaType,
    MultipartReader,
    MultipartUnreadable,
    PartBegins,
)

Part = tuple[dict[str, str], bytes, bool]
BOUNDARY = b"b.1"
NOTHING: dict[str, str] = {}


def read(body: bytes, cuts: Iterable[int] = (), boundary: bytes = BOUNDARY) -> tuple[list[Part], bool]:
    """The parts of a body that comes in pieces, each with whether it came whole; and whether the body did."""
    reader = MultipartReader(boundary)
    parts: list[Part] = []
    ends = [*sorted(cuts), len(body)]
    for begin, end in zip([0, *ends], ends, strict=False):
        for event in reader.feed(body[begin:end]):
            if isinstance(event, PartBegins):
                parts.append((dict(event.headers), b"", False))
            elif event is PART_ENDS:
                parts[-1] = (*parts[-1][:2], True)
            else:
                assert isinstance(event, memoryview)
                assert len(event)
                parts[-1] = (parts[-1][0], parts[-1][1] + bytes(event), False)
    return parts, reader.is_closed


# What a boundary is made of, so that what is nearly one is common.
_near = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b"\r\n", b"-", b"--", b"b", b".1", b"--b.1", b"\r\n--b.1", b"\n--b.1", b" ", b"x"]
    )
).map(b"".join)
_contents = st.one_of(st.binary(max_size=40), _near)
_heads = st.sampled_from(
    [b"", b"Content-Type: application/dicom\r\n", b"Content-Type: a/b;\r\n\tc=d\r\nX: y\r\n", b"A: b\nC: d\n"]
)


def _boundary_lines(content: bytes) -> bool:
    """Whether a content has, or begins with, what ends it."""
    return any(
        b"\r\n--b.1" + end in b"\r\n" + content + b"\r\n" for end in (b"--", b"\r\n", b"\n", b" ", b"\t")
    )


@given(
    parts=st.lists(st.tuples(_heads, _contents.filter(lambda each: not _boundary_lines(each))), max_size=4),
    preamble=st.sampled_from([b"", b"\r\n", b"--b.\r\n", b"for old readers\r\n", b"\n\n"]),
    blanks=st.sampled_from([b"", b" ", b"\t  "]),
    epilogue=st.sampled_from([b"", b"\r\n", b"\r\n--b.1\r\n\r\nx", b"junk"]),
    data=st.data(),
)
def test_each_part_is_read_as_it_was_written_however_the_body_is_cut(
    parts: list[tuple[bytes, bytes]], preamble: bytes, blanks: bytes, epilogue: bytes, data: st.DataObject
) -> None:
    delimiter = b"--b.1" + blanks + b"\r\n"
    body = preamble + (b"" if parts else b"--b.1--")
    body += b"\r\n".join(delimiter + head + b"\r\n" + content for head, content in parts)
    body += b"\r\n--b.1--" + epilogue
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=6))

    found, is_closed = read(body, cuts)

    assert is_closed
    assert [(content, is_whole) for _, content, is_whole in found] == [
        (content, True) for _, content in parts
    ]
    assert read(body, range(1, len(body))) == (found, True)


@given(body=_near, cuts=st.lists(st.integers(0, 200), max_size=6))
def test_any_bytes_give_the_same_parts_however_they_are_cut(body: bytes, cuts: list[int]) -> None:
    def outcome(cuts: Iterable[int]) -> object:
        try:
            return read(b"--b.1\r\n" + body, cuts)
        except MultipartUnreadable as error:
            return error.cause

    size = len(body) + 7
    assert outcome([]) == outcome(min(each, size) for each in cuts) == outcome(range(1, size))


@given(
    contents=st.lists(st.binary(max_size=30).filter(lambda each: b"=_1" not in each), min_size=1, max_size=3),
)
def test_the_parts_are_those_that_the_parser_of_mail_finds(contents: list[bytes]) -> None:
    body = (
        b"".join(b"--=_1\r\nContent-Type: a/b\r\n\r\n" + each + b"\r\n" for each in contents) + b"--=_1--\r\n"
    )
    head = b'Content-Type: multipart/related; boundary="=_1"\r\n\r\n'
    found, _ = read(body, boundary=b"=_1")
    mail = message_from_bytes(head + body, policy=HTTP)
    theirs = [part.get_payload(decode=True) for part in mail.iter_parts()]
    assert len(found) == len(theirs)
    for (fields, content, _), text in zip(found, theirs, strict=True):
        assert fields == {"content-type": "a/b"}
        # Mail has lines, and reads each kind of line end as one.
        assert isinstance(text, bytes)
        assert content.splitlines() == text.splitlines()


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_line_ends_of_lf_alone_are_read_where_the_first_boundary_has_one(end: bytes) -> None:
    body = end.join([b"--b.1", b"A: b", b"", b"x\r", b"--b.1", b"", b"", b"--b.1--", b""])
    assert read(body) == ([({"a": "b"}, b"x\r", True), (NOTHING, b"", True)], True)
    assert read(body, range(1, len(body))) == read(body)


def test_a_boundary_behind_lf_alone_belongs_to_a_part_where_lines_end_with_crlf() -> None:
    body = b"--b.1\r\n\r\nx\n--b.1\r\n\r\ny\r\n--b.1--"
    assert read(body) == ([(NOTHING, b"x\n--b.1\r\n\r\ny", True)], True)


def test_a_longer_boundary_that_begins_alike_belongs_to_a_part() -> None:
    body = b"--b.1\r\n\r\nx\r\n--b.12\r\ny\r\n--b.1--"
    assert read(body) == ([(NOTHING, b"x\r\n--b.12\r\ny", True)], True)


def test_a_part_without_content_may_lack_the_line_end_before_the_boundary() -> None:
    body = b"--b.1\r\nA: b\r\n\r\n--b.1\r\n\r\n--b.1--"
    assert read(body) == ([({"a": "b"}, b"", True), (NOTHING, b"", True)], True)
    assert read(body, range(1, len(body))) == read(body)


@pytest.mark.parametrize("blanks", [BLANKS_LIMIT, BLANKS_LIMIT + 1])
def test_blanks_behind_a_boundary_are_limited(blanks: int) -> None:
    body = b"--b.1\r\n\r\nx\r\n--b.1" + b" " * blanks + b"\r\n\r\ny\r\n--b.1--"
    parts, is_closed = read(body)
    assert len(parts) == (2 if blanks == BLANKS_LIMIT else 1)
    assert is_closed
    assert read(body, range(1, len(body))) == (parts, True)


@given(cut=st.integers(0, 60))
def test_a_body_that_is_cut_off_is_not_closed_and_its_last_part_is_not_whole(cut: int) -> None:
    whole = b"--b.1\r\nA: b\r\n\r\nfirst\r\n--b.1\r\nA: b\r\n\r\nsecond\r\n--b.1--"
    parts, is_closed = read(whole[:cut])
    assert is_closed == (cut >= len(whole))
    assert [content for _, content, is_whole in parts if is_whole] == [
        content for content, end in ((b"first", 29), (b"second", len(whole))) if cut >= end
    ]


@pytest.mark.parametrize(
    ("head", "cause"),
    [
        (b"A: " + b"x" * HEAD_LIMIT, f"the head of a part has more than {HEAD_LIMIT} bytes"),
        (b"no field", "the head of a part has a line that is no header field"),
        (b" folded: from nothing", "the head of a part has a line that is no header field"),
        (b"Content-Type: a/b\r\ncontent-type: c/d", "the head of a part has the field content-type twice"),
    ],
)
@pytest.mark.parametrize("is_cut", [False, True])
def test_a_head_that_is_none_is_refused(head: bytes, cause: str, is_cut: bool) -> None:
    body = b"--b.1\r\n" + head + b"\r\n\r\nx\r\n--b.1--"
    with pytest.raises(MultipartUnreadable) as caught:
        read(body, range(1, len(body), 7) if is_cut else ())
    assert caught.value.cause == cause


def test_a_head_without_end_is_refused_before_it_takes_memory() -> None:
    reader = MultipartReader(BOUNDARY)
    list(reader.feed(b"--b.1\r\nA: "))
    for _ in range(HEAD_LIMIT // 1024 - 1):
        list(reader.feed(b"x" * 1024))
    with pytest.raises(MultipartUnreadable):
        list(reader.feed(b"x" * 1024))


@pytest.mark.parametrize("state", [b"no boundary yet", b"--b.1\r\n\r\n", b"--b.1--"])
def test_memory_does_not_grow_with_preamble_content_or_epilogue(state: bytes) -> None:
    reader = MultipartReader(BOUNDARY)
    list(reader.feed(state))
    piece = b"\r\n--b.0\r" * 7000
    tracemalloc.start()
    try:
        for _ in range(200):
            for _ in reader.feed(piece):
                pass
        assert tracemalloc.get_traced_memory()[1] < 3 * len(piece)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "name", "parameters"),
    [
        ("application/dicom", "application/dicom", {}),
        ("Multipart/Related; Boundary=abc", "multipart/related", {"boundary": "abc"}),
        (
            'multipart/related; type="application/dicom"; boundary="a b;c"',
            "multipart/related",
            {"type": "application/dicom", "boundary": "a b;c"},
        ),
        (
            "multipart/related;type=application/dicom+json;boundary=----=_Part_1 ;",
            "multipart/related",
            {"type": "application/dicom+json", "boundary": "----=_Part_1"},
        ),
        (r'a/b; c="d\"e"', "a/b", {"c": 'd"e'}),
        (
            "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50",
            "image/jpeg",
            {"transfer-syntax": "1.2.840.10008.1.2.4.50"},
        ),
    ],
)
def test_a_media_type_is_read_with_its_parameters_quoted_or_not(
    text: str, name: str, parameters: dict[str, str]
) -> None:
    assert MediaType.parse(text) == MediaType(name, parameters)


@pytest.mark.parametrize(
    "text",
    ["", "dicom", "a/b; c", 'a/b; c="d', "a/b; c=d; c=e", "a/b\r\nX: y", "a/b; =c", "*"],
)
def test_what_is_no_media_type_is_refused(text: str) -> None:
    with pytest.raises(MultipartUnreadable):
        MediaType.parse(text)


@pytest.mark.parametrize("boundary", ["", " ", "a" * 201, "a ", "ä", "a\nb"])
def test_a_boundary_that_cannot_be_one_is_refused(boundary: str) -> None:
    with pytest.raises(MultipartUnreadable, match="boundary"):
        _ = MediaType("multipart/related", {"boundary": boundary}).boundary
