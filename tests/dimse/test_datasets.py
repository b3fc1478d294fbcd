"""Sinks and sources of data sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnet.dimse.datasets import FileRange, MemorySink, Refused, discard
from dicomnet.errors import ServiceRefusal


@given(st.lists(st.binary(max_size=50)))
def test_memory_keeps_what_it_is_given(pieces: list[bytes]) -> None:
    sink = MemorySink(10_000)
    for piece in pieces:
        buffer = bytearray(piece)
        sink.write(memoryview(buffer))
        # The driver receives the next bytes into the same buffer.
        buffer[:] = b"\xff" * len(buffer)
    assert bytes(sink.content) == b"".join(pieces)


@pytest.mark.parametrize("pieces", [[b"x" * 11], [b"x" * 10, b"y"], [b"x" * 5, b"y" * 5, b"z"]])
def test_memory_has_a_limit(pieces: list[bytes]) -> None:
    sink = MemorySink(10)
    for piece in pieces[:-1]:
        sink.write(memoryview(piece))
    with pytest.raises(ServiceRefusal) as caught:
        sink.write(memoryview(pieces[-1]))
    assert caught.value.status == 0xA700
    assert len(sink.content) == 0


def test_memory_is_given_up_at_abort() -> None:
    sink = MemorySink(10)
    sink.write(memoryview(b"abc"))
    sink.abort()
    assert len(sink.content) == 0


def test_discard_aborts_sinks_and_leaves_the_rest() -> None:
    sink = MemorySink(10)
    sink.write(memoryview(b"abc"))
    discard(sink)
    assert len(sink.content) == 0
    for other in (None, b"bytes", Refused(ServiceRefusal(0xA700)), FileRange("x", 0, 1)):
        discard(other)
