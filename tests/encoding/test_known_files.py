"""What is recognized of files: the complete way is the oracle of the learned one."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.encoding.made_files import BIG, DEFLATED, EXPLICIT, IMPLICIT, REAL, completely, element, object_of

from dicomnet.encoding.elements import encoding_of
from dicomnet.encoding.file_header import PREFIX_LENGTH
from dicomnet.encoding.known_files import BEGINNINGS, GROUP_LENGTHS, KnownFiles
from dicomnet.encoding.transfer_syntaxes import transfer_syntax


def learn_from(known: KnownFiles, content: bytes) -> None:
    header = completely(content)
    if header is not None and not (syntax := transfer_syntax(header.transfer_syntax_uid)).is_deflated:
        start = content[:PREFIX_LENGTH]
        known.learn(start, header, encoding_of(syntax.is_implicit, syntax.is_little_endian))


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_the_next_file_of_a_series_is_recognized(syntax: str) -> None:
    known = KnownFiles()
    first, second = object_of(syntax, b"1.2.3.10"), object_of(syntax, b"1.2.3.9\0")
    other = object_of(syntax, b"1.2.3.11", sop_class=b"1.2.841")
    assert known.recognize(first) is None
    learn_from(known, first)
    for content in (first, second):
        header = known.recognize(content)
        assert header is not None
        assert header == completely(content)
    assert known.recognize(other) is None
    # With as many bytes as the complete way needs, and not with fewer.
    end = first.index(b"20200101") - 8
    assert known.recognize(first[: end + 8]) is not None
    assert known.recognize(first[: end + 7]) is None


@st.composite
def damaged(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A file, and one that is like it or like another one, with some bytes changed, cut out, put in or repeated."""
    made = [
        object_of(syntax, instance, more=more)
        for syntax in (IMPLICIT, EXPLICIT, BIG, DEFLATED)
        for instance in (b"1.2.3.4", b"1.2.3.44", b"")
        for more in (b"", element(0x00080006, b"UN", b"", syntax))
    ]
    file = draw(st.sampled_from(made + REAL[::3]))
    content = bytearray(file if draw(st.booleans()) else draw(st.sampled_from(made)))
    last = min(len(content), 700)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(126, last))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            content[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
        elif kind == 1:
            del content[at : at + draw(st.integers(1, 40))]
        elif kind == 2:
            content[at:at] = content[draw(st.integers(126, last)) :][: draw(st.integers(1, 60))]
        else:
            content[at : at + 2] = draw(st.sampled_from((b"\0\0", b"\2\0", b"\xff\xff", b"\x08\0", b"UN")))
    if draw(st.booleans()):
        del content[draw(st.integers(0, last)) :]
    return file, bytes(content)


@settings(max_examples=1500)
@given(damaged())
@example((object_of(EXPLICIT, b"1.2.3.4"), object_of(EXPLICIT, b"\0" * 7)))
def test_what_is_recognized_is_what_the_complete_way_says(case: tuple[bytes, bytes]) -> None:
    known = KnownFiles()
    file, content = case
    learn_from(known, file)
    for each in (file, content):
        for start in (each[:PREFIX_LENGTH], each):
            found = known.recognize(start)
            assert found is None or found == completely(start)
    learn_from(known, content)
    found = known.recognize(content[:PREFIX_LENGTH])
    assert found is None or found == completely(content)


def test_each_byte_that_tells_counts() -> None:
    """Of every file made by changing one byte or by cutting it off."""
    known = KnownFiles()
    for syntax in (IMPLICIT, EXPLICIT, BIG):
        whole = object_of(syntax, b"1.2.3.10")
        learn_from(known, whole)
        for at in range(len(whole)):
            for changed in (whole[:at], whole[:at] + bytes((whole[at] ^ 0x10,)) + whole[at + 1 :]):
                found = known.recognize(changed)
                assert found is None or found == completely(changed)


def test_an_instance_uid_further_on_goes_before_the_first() -> None:
    """As the complete way has it where elements are repeated or out of order."""
    known = KnownFiles()
    for syntax in (IMPLICIT, EXPLICIT, BIG):
        for tag in (0x00080016, 0x00080018, 0x00080001):
            content = object_of(syntax, b"1.2.3.10")
            at = content.index(b"1.2.3.10") + 8
            content = content[:at] + element(tag, b"UI", b"1.9.9.9 ", syntax) + content[at:]
            learn_from(known, content)
            assert known.recognize(content) == completely(content)
            plain = object_of(syntax, b"1.2.3.10")
            assert known.recognize(plain) in (None, completely(plain))


def test_what_is_learned_is_bounded() -> None:
    known = KnownFiles()
    for length in range(2, 160, 2):
        for more in range(0, 40, 2):
            filler = element(0x00080006, b"LO", b"x" * more, EXPLICIT)
            content = object_of(EXPLICIT, b"1.2.3.10", more=filler)
            begin, end = content.index(b"SENDER") - 8, content.index(b"SENDER") + 6
            title = b"\x02\x00\x16\x00AE" + struct.pack("<H", length) + b"x" * length
            content = content[:begin] + title + content[end:]
            content = content[:140] + struct.pack("<L", length) + content[144:]
            learn_from(known, content)
            assert known.recognize(content) == completely(content)
    assert len(known._known) <= GROUP_LENGTHS
    assert max(map(len, known._known.values())) <= BEGINNINGS
    known = KnownFiles()
    learn_from(
        known, object_of(EXPLICIT, b"1.2.3.10", more=element(0x00080006, b"LO", b"x" * 4000, EXPLICIT))
    )
    assert not known._known
