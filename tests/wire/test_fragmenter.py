"""The fragmenter's PDUs keep the receiver's limit, are even, copy nothing, and come back from the scanner."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.grids import grid

from dicomnet.wire.fragmenter import UNLIMITED, fragment, fragment_size
from dicomnet.wire.scanner import Fragment, Scanner

Buffer = bytes | bytearray | memoryview


def read(buffers: Sequence[Buffer]) -> list[tuple[int, int, int, bytes]]:
    """PDU-length, context ID, message control header and data of each PDU, read from PS3.8 Table 9-22 and 9-23."""
    stream = b"".join(buffers)
    found = []
    while stream:
        assert stream[:2] == b"\x04\x00"
        length = int.from_bytes(stream[2:6], "big")
        body, stream = stream[6 : 6 + length], stream[6 + length :]
        assert len(body) == length
        assert int.from_bytes(body[:4], "big") == length - 4
        found.append((length, body[4], body[5], body[6:]))
    return found


# Length of the data, maximum length of the receiver, lengths of the fragments.
CUTS: dict[str, tuple[int, int, list[int]]] = {
    "fits": (10, 16384, [10]),
    "fits exactly": (16378, 16384, [16378]),
    "two over": (16380, 16384, [16378, 2]),
    "twice exactly": (32756, 16384, [16378, 16378]),
    "P058 odd maximum": (20, 15, [8, 8, 4]),
    "P058 smallest maximum": (6, 8, [2, 2, 2]),
    "P058 smallest odd maximum": (4, 9, [2, 2]),
    "P057 no maximum": (131066, 0, [131066]),
    "P057 no maximum, more than we send at once": (131070, 0, [131066, 4]),
    "no data": (0, 16384, [0]),
    "no data and no maximum": (0, 0, [0]),
}


@grid("is_command", [True, False])
@grid("ends", [True, False])
@grid("name", CUTS)
def test_cuts(name: str, ends: bool, is_command: bool) -> None:
    """P062: bit 0 is the command, bit 1 only on the last fragment, the others are 0."""
    length, maximum, lengths = CUTS[name]
    data = bytes(number % 251 for number in range(length))
    found = read(fragment(5, data, maximum, is_command=is_command, ends=ends))
    assert [len(content) for *_, content in found] == lengths
    assert b"".join(content for *_, content in found) == data
    assert [context for _, context, _, _ in found] == [5] * len(found)
    marks = [int(is_command)] * len(found)
    marks[-1] |= 2 if ends else 0
    assert [control for _, _, control, _ in found] == marks
    if maximum:
        assert max(size for size, *_ in found) <= maximum


@pytest.mark.parametrize("maximum", [-8, -1, 1, 2, 5, 6, 7])
def test_a_maximum_that_leaves_no_room_is_refused(maximum: int) -> None:
    """P058: cleanly, and without spinning."""
    with pytest.raises(ValueError, match=str(maximum)):
        fragment_size(maximum)
    with pytest.raises(ValueError, match=str(maximum)):
        fragment(1, b"ab", maximum, is_command=True)


def test_no_limit_still_sends_pdus_of_a_moderate_size() -> None:
    """P057."""
    assert fragment_size(0) == fragment_size(UNLIMITED) == UNLIMITED - 6


@given(st.integers(8, 0xFFFFFFFF))
def test_fragments_are_even_and_as_large_as_the_maximum_allows(maximum: int) -> None:
    """P056, P064: PDU-length counts the four bytes of item length and the two of context and control."""
    size = fragment_size(maximum)
    assert size % 2 == 0
    assert 2 <= size <= maximum - 6 < size + 2


@pytest.mark.parametrize("length", [100, 4000])
def test_data_is_referred_to_and_not_copied(length: int) -> None:
    data = bytearray(length)
    buffers = fragment(1, data, 1000, is_command=False)
    assert len(buffers) == 2 * -(-length // 994)
    data[:] = b"x" * length
    assert b"".join(buffers[1::2]) == data
    for part in buffers[1::2]:
        assert part is data or (isinstance(part, memoryview) and part.obj is data)


def test_a_view_of_a_larger_buffer_is_cut_within_its_bounds() -> None:
    source = bytes(range(100))
    found = read(fragment(1, memoryview(source)[10:50], 22, is_command=False))
    assert [content for *_, content in found] == [source[10:26], source[26:42], source[42:50]]


messages = st.tuples(
    st.integers(0, 127).map(lambda number: 2 * number + 1),
    st.booleans(),
    st.binary(max_size=300),
)


@given(messages, st.integers(8, 80), st.lists(st.integers(0, 3000), max_size=10))
def test_the_scanner_reads_back_what_the_fragmenter_wrote(
    message: tuple[int, bool, bytes], maximum: int, places: list[int]
) -> None:
    """P056, P063: within the limit that the receiver announced, on one context, at any cuts of the stream."""
    context_id, is_command, data = message
    stream = b"".join(fragment(context_id, data, maximum, is_command=is_command))
    ends = sorted({place % (len(stream) + 1) for place in places} | {0, len(stream)})
    scanner = Scanner(maximum_length=maximum)
    found: list[Fragment] = []
    for start, end in itertools.pairwise(ends):
        for each in scanner.feed(memoryview(stream)[start:end]):
            assert isinstance(each, Fragment)
            found.append(each)
    assert scanner.is_between_pdus
    assert {(each.context_id, each.is_command) for each in found} == {(context_id, is_command)}
    assert [each.is_last for each in found] == [False] * (len(found) - 1) + [True]
    assert b"".join(each.data for each in found) == data


@given(st.binary(max_size=600), st.integers(8, 60), st.lists(st.integers(0, 300), max_size=5))
def test_pieces_of_a_message_are_one_message(data: bytes, maximum: int, places: list[int]) -> None:
    """P064: a data set that is sent piece by piece ends once; the fragments within even pieces are even."""
    data = data[: len(data) & ~1]
    ends = [0, *sorted(2 * place for place in places if 2 * place < len(data)), len(data)]
    stream = b""
    for number, (start, end) in enumerate(itertools.pairwise(ends), 1):
        buffers = fragment(1, data[start:end], maximum, is_command=False, ends=number == len(ends) - 1)
        assert all(len(content) % 2 == 0 for *_, content in read(buffers))
        stream += b"".join(buffers)
    found = [each for each in Scanner(maximum).feed(memoryview(stream)) if isinstance(each, Fragment)]
    assert [each.is_last for each in found] == [False] * (len(found) - 1) + [True]
    assert b"".join(each.data for each in found) == data
