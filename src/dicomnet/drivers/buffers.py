"""Buffers: large ones that are lent out, to receive into while a connection talks and to read a file into while it is
sent; and what is left of several when some bytes of them are written."""

from __future__ import annotations

from collections.abc import Sequence

from ..values import Buffer

# A slice of 512 x 512 pixels of two bytes has room in it, with all that is around them.
BUFFER_LENGTH = 3 << 18
_KEPT = 8

_spare: list[bytearray] = []


def borrow_buffer() -> bytearray:
    """A buffer of `BUFFER_LENGTH` bytes with any content."""
    try:
        return _spare.pop()
    except IndexError:
        return bytearray(BUFFER_LENGTH)


def return_buffer(buffer: bytearray) -> None:
    """Give a borrowed buffer back; nothing may refer to it any more."""
    if len(_spare) < _KEPT:
        _spare.append(buffer)


class Lent:
    """A buffer that is borrowed when it is needed and given back when it is not."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer: bytearray | None = None

    @property
    def is_held(self) -> bool:
        """Whether there is a buffer at the moment."""
        return self._buffer is not None

    def get(self) -> bytearray:
        """The buffer, with what it holds."""
        if self._buffer is None:
            self._buffer = borrow_buffer()
        return self._buffer

    def give_back(self) -> None:
        """Do without it; nothing may refer to it any more."""
        if self._buffer is not None:
            return_buffer(self._buffer)
            self._buffer = None


def without_first(buffers: Sequence[Buffer], count: int) -> list[Buffer]:
    """The buffers without their first ``count`` bytes, of which nothing is copied."""
    at = 0
    while at < len(buffers) and count >= len(buffers[at]):
        count -= len(buffers[at])
        at += 1
    return [memoryview(buffers[at])[count:], *buffers[at + 1 :]] if count else [*buffers[at:]]
