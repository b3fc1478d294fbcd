"""The element cursor: reads and writes the headers of elements in each of the encodings of PS3.5 section 7.1.

A header is read in two steps. The *head*, which is its first eight bytes, has one form in all encodings: bytes that
name the element, and a number, which mostly is the length. What the bytes say is remembered, since few of them are met
again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from struct import Struct
from typing import Final

from ..values import Buffer
from .vrs import SHORT_LENGTH, VRS

UNDEFINED_LENGTH: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD
FIRST_DELIMITER: Final = 0xFFFE0000
"""Tags from here on are those of items and delimiters, which have no VR, or may not be used (section 7.5)."""

Head = tuple[bytes, int]
# What the first bytes of an element say: its tag, its VR (empty where the encoding does not tell it), and where the
# length of its value is.
Beginning = tuple[int, str, int]

# Where the length is: in the head; in the head as implicit encodings have it; behind the head; behind it if the head
# has zeros in its place.
IN_HEAD: Final = 0
_AS_IMPLICIT, _BEHIND, _BEHIND_ZEROS = 1, 2, 3
HEAD_SIZE: Final = 8


class Encoding:
    """How elements are encoded. There are four of them, the constants below; each is equal to itself only.

    Parameters
    ----------
    is_implicit
        Whether elements lack their VRs.
    is_little_endian
        The order of bytes in numbers.

    Attributes
    ----------
    head
        From a buffer and a place in it to the head that is there; raises `struct.error` where the buffer ends.
    beginning
        From the bytes of a head to what they say. VRs that PS3.5 does not have are taken for those of a future edition
        (section 7.1.2) where they look like one.
    item
        From a buffer and a place to group, element and length of an item or delimiter; raises `struct.error`.
    """

    def __init__(self, is_implicit: bool, is_little_endian: bool) -> None:
        order = "<" if is_little_endian else ">"
        self.is_implicit = is_implicit
        self.is_little_endian = is_little_endian
        self.byte_order = "little" if is_little_endian else "big"
        self.struct_order = order
        self.item = Struct(order + "HHL").unpack_from
        self.head: Callable[[Buffer, int], Head]
        self.beginning: Callable[[bytes], Beginning]
        if is_implicit:
            self.head = Struct(order + "4sL").unpack_from
            self.beginning = _implicit_beginnings(order)
        else:
            self.head = Struct(order + "6sH").unpack_from
            self.beginning = _explicit_beginnings(order)
        self._length = Struct(order + "L").unpack_from
        self._pack_short = Struct(order + "HH2sH").pack
        self._pack_long = Struct(order + "HH2s2xL").pack
        self._pack_implicit = Struct(order + "HH0sL").pack

    def __repr__(self) -> str:
        return f"<{'implicit' if self.is_implicit else 'explicit'} VR, {self.byte_order} endian>"

    def value(self, form: int, length: int, data: Buffer, at: int) -> tuple[int, int]:
        """Where the value of an element begins, and its length.

        Parameters
        ----------
        form
            Where its length is, as `beginning` says. For `IN_HEAD`, which is frequent, there is no need to ask.
        length
            The number in its head.
        data, at
            Where the element begins.

        Raises
        ------
        struct.error
            If the data ends inside the header.
        """
        if form == IN_HEAD or (form == _BEHIND_ZEROS and length):
            return at + 8, length
        if form == _AS_IMPLICIT:
            return at + 8, self._length(data, at + 4)[0]
        return at + 12, self._length(data, at + 8)[0]

    def header_format(self, vr: str) -> tuple[Callable[[int, int, bytes, int], bytes], bytes]:
        """How the headers of a VR are written.

        Parameters
        ----------
        vr
            One of PS3.5's; empty for items and delimiters, which have none.

        Returns
        -------
        tuple
            What makes a header of group, element, the VR as it is written, and length; and the VR as it is written.
        """
        if self.is_implicit or not vr:
            return self._pack_implicit, b""
        return (self._pack_long if VRS[vr].has_long_length else self._pack_short), vr.encode("ascii")

    def header(self, tag: int, vr: str, length: int) -> bytes:
        """The header of an element. Raises `struct.error` where the length does not fit."""
        pack, name = self.header_format(vr)
        return pack(tag >> 16, tag & 0xFFFF, name, length)


def _implicit_beginnings(order: str) -> Callable[[bytes], Beginning]:
    group_and_element = Struct(order + "HH").unpack

    @lru_cache(4096)
    def beginning(raw: bytes) -> Beginning:
        group, element = group_and_element(raw)
        return group << 16 | element, "", IN_HEAD

    return beginning


def _explicit_beginnings(order: str) -> Callable[[bytes], Beginning]:
    split = Struct(order + "HH2s").unpack

    @lru_cache(4096)
    def beginning(raw: bytes) -> Beginning:
        group, element, letters = split(raw)
        tag, vr = group << 16 | element, letters.decode("latin-1")
        if group == 0xFFFE:
            return tag, "", _AS_IMPLICIT
        if vr in SHORT_LENGTH:
            return tag, vr, IN_HEAD
        if vr in VRS:
            return tag, vr, _BEHIND
        return tag, vr, _BEHIND_ZEROS if looks_like_vr(letters) else IN_HEAD

    return beginning


def looks_like_vr(raw: bytes) -> bool:
    """Whether two bytes have the form of a VR, known or not."""
    return raw.isalpha() and raw.isupper()


IMPLICIT_LITTLE: Final = Encoding(True, True)
IMPLICIT_BIG: Final = Encoding(True, False)
EXPLICIT_LITTLE: Final = Encoding(False, True)
EXPLICIT_BIG: Final = Encoding(False, False)
_ENCODINGS = {
    (each.is_implicit, each.is_little_endian): each
    for each in (IMPLICIT_LITTLE, IMPLICIT_BIG, EXPLICIT_LITTLE, EXPLICIT_BIG)
}


def encoding_of(is_implicit: bool, is_little_endian: bool) -> Encoding:
    """One of the four encodings."""
    return _ENCODINGS[is_implicit, is_little_endian]


def elements(data: Buffer, encoding: Encoding, at: int = 0) -> Iterator[tuple[int, str, int, int, int]]:
    """The elements of one level, one behind the other up to the end of the data.

    Parameters
    ----------
    data
        Encoded elements.
    encoding
        How they are encoded.
    at
        Where the first begins.

    Yields
    ------
    tuple
        Tag, VR, where the element begins, where its value begins, and where it ends, which may be behind the end of the
        data. An undefined length is not looked into: the end then is `UNDEFINED_LENGTH` bytes behind the value's begin.

    Raises
    ------
    struct.error
        If the data ends inside a header.
    """
    read_head, beginning, end = encoding.head, encoding.beginning, len(data)
    while at < end:
        first, length = read_head(data, at)
        tag, vr, form = beginning(first)
        start = at + HEAD_SIZE
        if form != IN_HEAD:
            start, length = encoding.value(form, length, data, at)
        stop = start + length
        yield tag, vr, at, start, stop
        at = stop
