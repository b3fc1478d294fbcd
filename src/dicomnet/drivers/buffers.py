"""Large buffers that are lent out: to receive into while a connection talks, to read a file into while it is sent."""

from __future__ import annotations

BUFFER_LENGTH = 1 << 19
_KEPT = 16

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
