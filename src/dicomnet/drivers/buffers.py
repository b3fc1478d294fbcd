"""Large buffers that are lent out: to receive into while a connection talks, to read a file into while it is sent."""

from __future__ import annotations

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
