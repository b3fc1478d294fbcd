"""Whether two encoded data sets have the same content: one object may come in many forms (PS3.5 chapters 6 and 7).

Form is what encoders choose: a native transfer syntax, defined or undefined lengths, group lengths, padding, and the
value representation, which Implicit VR leaves out. A long value is compared piece by piece and never in memory.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Callable, Iterator
from functools import lru_cache
from io import SEEK_END, BytesIO
from struct import Struct
from typing import BinaryIO, NamedTuple

from ..values import frozen, mutable
from .scan import INFLATED_LIMIT
from .transfer_syntaxes import TRANSFER_SYNTAXES, TransferSyntax

DEPTH_LIMIT = 64
# More elements than this would hold the interpreter for seconds.
ELEMENT_LIMIT = 1_000_000
_PIECE = 1 << 20
# It costs nothing to read this many bytes twice.
_SHORT_VALUE = 1 << 10

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_TRAILING_PADDING = 0xFFFCFFFC
_BITS_ALLOCATED, _PIXEL_DATA = 0x00280100, 0x7FE00010
_ITEM_MARK = b"\xfe\xff\x00\xe0"

_SHORT = frozenset(
    (
        "AE",
        "AS",
        "AT",
        "CS",
        "DA",
        "DS",
        "DT",
        "FD",
        "FL",
        "IS",
        "LO",
        "LT",
        "PN",
        "SH",
        "SL",
        "SS",
        "ST",
        "TM",
        "UI",
        "UL",
        "US",
    )
)
_FRAGMENTED = frozenset(("OB", "OD", "OF", "OL", "OV", "OW"))
# How long what is swapped is, in bytes.
_UNITS = dict.fromkeys(("US", "SS", "OW", "AT"), 2) | dict.fromkeys(("UL", "SL", "FL", "OL", "OF"), 4)
_UNITS |= dict.fromkeys(("UV", "SV", "FD", "OV", "OD"), 8)
_CODES = {array(code).itemsize: code for code in "HILQ"}

# PS3.5 section 6.2: in all texts padding at the end means nothing, in some that at the beginning neither, and in most
# that holds for each of several values.
_PADDING = b" \0"
# Empty components at the end of a name may be left out with their delimiters (section 6.2.1).
_PADDING_OF_NAMES = b" \0^="
_PADDED_IN_FRONT = frozenset(("AE", "CS", "DS", "IS", "LO", "SH"))
_SINGLE_TEXTS = frozenset(("LT", "ST", "UR", "UT"))
_MULTIPLE_TEXTS = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UC", "UI"))
_TEXTS = _SINGLE_TEXTS | _MULTIPLE_TEXTS
# Value representations that say the same by the same value: free text, with one value or with several, numbers in
# decimal digits, and bytes.
_ALIKE = (
    frozenset(("LO", "SH", "UC")),
    frozenset(("LT", "ST", "UT")),
    frozenset(("DS", "IS")),
    frozenset(("OB", "OW")),
)
_FREE_TEXTS = _ALIKE[0] | _ALIKE[1]
_WORDS = frozenset(("US", "SS", "OW"))


@frozen
class Encoded:
    """A data set as bytes.

    Parameters
    ----------
    stream
        Can be sought in; what follows from where it stands is the data set.
    transfer_syntax_uid
        UID of its transfer syntax.
    """

    stream: BinaryIO
    transfer_syntax_uid: str


def have_same_content(one: Encoded, other: Encoded, vr_of: Callable[[int], str]) -> bool:
    """Whether two data sets have the same elements with the same values in the same order, whatever their form.

    Encapsulated pixel data are compared by the bytes of their fragments, and texts in the character set that they have.

    Parameters
    ----------
    one, other
        Of any length; their streams are left anywhere.
    vr_of
        Gives the value representation of a tag where neither data set has it; empty where it is not known.

    Returns
    -------
    bool
        False, too, where one of them does not parse to its end, goes beyond a limit, or has a transfer syntax that is
        not known.

    Raises
    ------
    OSError
        If a stream cannot be read.
    """
    try:
        return _Comparison(_side(one), _side(other), vr_of).run()
    except (_NotComparable, struct.error):
        return False


class _NotComparable(Exception):
    """A data set is damaged, goes beyond a limit, or has a transfer syntax that is not known."""


def _side(encoded: Encoded) -> _Side:
    syntax = TRANSFER_SYNTAXES.get(encoded.transfer_syntax_uid)
    if syntax is None:
        raise _NotComparable
    return _Side(_inflated(encoded.stream) if syntax.is_deflated else encoded.stream, syntax)


def _inflated(stream: BinaryIO) -> BinaryIO:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = bytearray()
    while not inflater.eof:
        piece = inflater.unconsumed_tail or stream.read(_PIECE)
        if not piece or len(inflated) > INFLATED_LIMIT:
            raise _NotComparable
        try:
            inflated += inflater.decompress(piece, _PIECE)
        except zlib.error as error:
            raise _NotComparable from error
    return BytesIO(inflated)


@frozen
class _Layout:
    """The encoding of the elements of a data set, or of an item.

    Parameters
    ----------
    is_implicit
        Whether they have no value representations.
    mark
        Their byte order, as `struct` has it.
    """

    is_implicit: bool
    mark: str
    tag_and_length: Struct
    length: Struct
    short_length: Struct


@lru_cache(4)
def _layout(is_implicit: bool, mark: str) -> _Layout:
    return _Layout(is_implicit, mark, Struct(mark + "HHL"), Struct(mark + "L"), Struct(mark + "H"))


class _Element(NamedTuple):
    """The header of an element, behind which its value begins.

    Parameters
    ----------
    vr
        Empty where it is not known, as of UN, which hides it.
    layout
        The encoding of the items that it has as a sequence.
    unit
        How long what has to be swapped is, in bytes, to be little endian; 1 where nothing has.
    """

    tag: int
    vr: str
    length: int
    layout: _Layout
    unit: int

    @property
    def is_encapsulated(self) -> bool:
        return self.length == _UNDEFINED and (self.vr in _FRAGMENTED or self.tag == _PIXEL_DATA)

    @property
    def is_sequence(self) -> bool:
        return self.vr == "SQ" or (self.length == _UNDEFINED and not self.vr)


@mutable
class _Place:
    """A data set, a sequence or an item that is being read; `end` is None where its length is undefined."""

    end: int | None
    layout: _Layout


class _Side:
    """One of the two data sets, while it is read from its beginning to its end.

    Parameters
    ----------
    stream
        Stands at its beginning.
    syntax
        Its transfer syntax; it is not deflated any more.
    """

    def __init__(self, stream: BinaryIO, syntax: TransferSyntax) -> None:
        self.syntax = syntax
        self._stream = stream
        self.at = stream.tell()
        self._size = stream.seek(0, SEEK_END)
        stream.seek(self.at)
        self._steps = 0
        layout = _layout(syntax.is_implicit, "<" if syntax.is_little_endian else ">")
        self._places = [_Place(self._size, layout)]

    def element(self) -> _Element | None:
        """The next element of the innermost data set or item; None at its end, which is then left."""
        place = self._places[-1]
        is_top = len(self._places) == 1
        while not self._is_at(place.end):
            if is_top and self._size - self.at < 8:
                self._read_zeros()
                break
            found = self._header(place.layout)
            if found.tag == _ITEM_END and not is_top and place.end in (None, self.at):
                break
            if is_top and not found.tag and not found.length:
                self._read_zeros()
                break
            if found.tag >> 16 == 0xFFFE:
                raise _NotComparable
            if found.tag & 0xFFFF and found.tag != _TRAILING_PADDING:
                return found
            self.go(self.at + found.length)
        self._places.pop()
        return None

    def enter(self, element: _Element) -> None:
        """Begin to read an element as a sequence."""
        # It has a place of its own, and its items too.
        if len(self._places) > 2 * DEPTH_LIMIT:
            raise _NotComparable
        self._enter(element.length, element.layout)

    def item(self) -> bool:
        """Begin to read the next item of the innermost sequence; False at its end, which is then left."""
        place = self._places[-1]
        if not self._is_at(place.end):
            tag, length = self._tag_and_length(place.layout)
            if tag == _ITEM:
                self._enter(length, place.layout)
                return True
            if tag != _SEQUENCE_END or place.end not in (None, self.at):
                raise _NotComparable
        self._places.pop()
        return False

    def fragment(self) -> int | None:
        """The length of the next fragment of encapsulated pixel data; None at their end."""
        # Some encoders leave out the delimiter behind the last one.
        if len(self._places) == 1 and self.at == self._size:
            return None
        tag, length = self._tag_and_length(self._places[-1].layout)
        if tag == _ITEM and length != _UNDEFINED:
            return length
        if tag != _SEQUENCE_END:
            raise _NotComparable
        return None

    def read(self, count: int) -> bytes:
        """The next bytes, all of them."""
        data = self._stream.read(count)
        if len(data) != count:
            raise _NotComparable
        self.at += count
        return data

    def pieces(self, length: int, unit: int) -> Iterator[bytes]:
        """A value piece by piece, in little endian."""
        for left in range(length, 0, -_PIECE):
            piece = self.read(min(left, _PIECE))
            yield piece if unit == 1 else _swapped(piece, unit)

    def number(self, element: _Element) -> int:
        """The value that follows as a number, which can still be read."""
        begin = self.at
        value = self.read(min(element.length, 2))
        self.go(begin)
        return int.from_bytes(value, "little" if element.unit == 1 else "big")

    def looks_like_sequence(self, length: int) -> bool:
        """Whether the value that follows begins with an item."""
        begin = self.at
        mark = self.read(min(length, 4))
        self.go(begin)
        return mark == _ITEM_MARK

    def _enter(self, length: int, layout: _Layout) -> None:
        self._places.append(_Place(None if length == _UNDEFINED else self.at + length, layout))

    def _is_at(self, end: int | None) -> bool:
        """Whether that is where it is read. Nothing may reach over the end of what it is in."""
        if self.at > (self._size if end is None else end):
            raise _NotComparable
        return self.at == end

    def _count(self) -> None:
        self._steps += 1
        if self._steps > ELEMENT_LIMIT:
            raise _NotComparable

    def go(self, at: int) -> None:
        """Go on somewhere else; that this is too far is seen when it is read there."""
        self._stream.seek(at)
        self.at = at

    def _read_zeros(self) -> None:
        """Read what is left, which has to be zero bytes; some encoders put them behind the last element."""
        if any(any(piece) for piece in self.pieces(self._size - self.at, 1)):
            raise _NotComparable

    def _tag_and_length(self, layout: _Layout) -> tuple[int, int]:
        self._count()
        group, number, length = layout.tag_and_length.unpack(self.read(8))
        return group << 16 | number, length

    def _header(self, layout: _Layout) -> _Element:
        self._count()
        data = self.read(8)
        group, number, length = layout.tag_and_length.unpack(data)
        tag = group << 16 | number
        name = data[4:6]
        if layout.is_implicit or group == 0xFFFE or not (name.isalpha() and name.isupper()):
            # Some encoders leave out the value representations in some of their items.
            return _Element(tag, "", length, _layout(True, layout.mark), 1)
        vr = name.decode("ascii")
        (length,) = (
            layout.short_length.unpack(data[6:]) if vr in _SHORT else layout.length.unpack(self.read(4))
        )
        if vr == "UN":
            # Its value is in Implicit VR Little Endian, whatever is around it (PS3.5 section 6.2.2).
            return _Element(tag, "", length, _layout(True, "<"), 1)
        return _Element(tag, vr, length, layout, _UNITS.get(vr, 1) if layout.mark == ">" else 1)


class _Comparison:
    """A walk over two data sets, which are read together as far as they have the same content.

    Parameters
    ----------
    one, other
        The data sets from their beginning.
    vr_of
        As for `have_same_content`.
    """

    def __init__(self, one: _Side, other: _Side, vr_of: Callable[[int], str]) -> None:
        self._one = one
        self._other = other
        self._vr_of = vr_of
        # Whether each level is a sequence, which has items, and not a data set or an item, which has elements.
        self._levels = [False]
        # How many levels are around a value that is read as a sequence only because it looks like one; 0 outside of it.
        self._levels_around_guess = 0
        self._bits_allocated = 0

    def run(self) -> bool:
        """Whether they have the same content to their ends."""
        levels = self._levels
        while levels:
            if len(levels) <= self._levels_around_guess:
                self._levels_around_guess = 0
            if not (self._compare_next_items() if levels[-1] else self._compare_elements()):
                return False
        return True

    def _compare_next_items(self) -> bool:
        is_there = self._one.item()
        if self._other.item() is not is_there:
            return False
        if is_there:
            self._levels.append(False)
        else:
            self._levels.pop()
        return True

    def _compare_elements(self) -> bool:
        """Compare the elements up to a sequence, which is entered, or to the end, where its level is left."""
        level = len(self._levels)
        while len(self._levels) == level:
            left, right = self._one.element(), self._other.element()
            if left is None or right is None:
                self._levels.pop()
                return left is right
            if left.tag != right.tag or not self._compare(left, right):
                return False
        return True

    def _compare(self, left: _Element, right: _Element) -> bool:
        """Compare two elements, or enter them where they are sequences."""
        if left.tag == _BITS_ALLOCATED:
            self._bits_allocated = max(self._bits_allocated, self._one.number(left))
        vr = left.vr or right.vr
        if vr == "SQ" or right.vr == "SQ" or _UNDEFINED in (left.length, right.length):
            return self._compare_structures(left, right)
        if left.vr != right.vr and left.vr and right.vr and not self._mean_the_same(left, right):
            return False
        if vr:
            return self._compare_values(left, right, vr, right.vr or vr)
        return self._compare_unknown(left, right)

    def _mean_the_same(self, left: _Element, right: _Element) -> bool:
        """Whether a value means the same by two value representations that are both told."""
        vrs = frozenset((left.vr, right.vr))
        if not (left.length or right.length) or any(vrs <= alike for alike in _ALIKE):
            return True
        if vrs <= _FREE_TEXTS:
            # Where there can be only one value, a backslash is one of its characters.
            return not any(b"\\" in piece for piece in self._ahead(left))
        if vrs <= _WORDS and ("OW" not in vrs or vrs.issubset(self._vr_of(left.tag).split(" or "))):
            # Words below this have no sign in SS either; those of US and OW have none.
            return "SS" not in vrs or not any(
                high & 0x80 for piece in self._ahead(left) for high in piece[1::2]
            )
        return False

    def _ahead(self, element: _Element) -> Iterator[bytes]:
        """The value of the left element, which can still be read."""
        begin = self._one.at
        try:
            yield from self._one.pieces(element.length, element.unit)
        finally:
            self._one.go(begin)

    def _compare_structures(self, left: _Element, right: _Element) -> bool:
        if left.is_encapsulated or right.is_encapsulated:
            return left.is_encapsulated and right.is_encapsulated and self._compare_fragments()
        if left.is_sequence or right.is_sequence:
            return all(each.is_sequence or not each.vr for each in (left, right)) and self._enter(left, right)
        raise _NotComparable

    def _compare_unknown(self, left: _Element, right: _Element) -> bool:
        if left.length == right.length <= _SHORT_VALUE and self._compare_again(left, right):
            return True
        vr = "LO" if _is_private_creator(left.tag) else self._vr_of(left.tag)
        if vr == "SQ":
            return self._enter(left, right)
        if vr or not self._look_like_sequences(left, right):
            return self._compare_values(left, right, vr, vr)
        if not self._levels_around_guess:
            if self._compare_again(left, right):
                return True
            self._levels_around_guess = len(self._levels)
        # They differ already, so nothing is lost if this was no sequence.
        return self._enter(left, right)

    def _enter(self, left: _Element, right: _Element) -> bool:
        self._one.enter(left)
        self._other.enter(right)
        self._levels.append(True)
        return True

    def _look_like_sequences(self, left: _Element, right: _Element) -> bool:
        return self._one.looks_like_sequence(left.length) and self._other.looks_like_sequence(right.length)

    def _compare_pixels(self, left: _Element, right: _Element) -> bool:
        """Compare pixel data of which one is big endian. Some encoders swap samples of 32 bits, not words of 16."""
        unit = self._bits_allocated // 8
        if unit not in _CODES or unit <= max(left.unit, right.unit):
            return self._compare_bytes(left, right)
        if self._compare_again(left, right):
            return True
        units = (1 if each.unit == 1 else unit for each in (left, right))
        return self._compare_bytes(
            *(each._replace(unit=one) for each, one in zip((left, right), units, strict=True))
        )

    def _compare_again(self, left: _Element, right: _Element) -> bool:
        """Compare values as bytes, and go back to their beginning where they differ."""
        begin, other_begin = self._one.at, self._other.at
        if self._compare_bytes(left, right):
            return True
        self._one.go(begin)
        self._other.go(other_begin)
        return False

    def _compare_values(self, left: _Element, right: _Element, vr: str, other_vr: str) -> bool:
        if left.tag == _PIXEL_DATA and left.unit != right.unit:
            return self._compare_pixels(left, right)
        if vr not in _TEXTS or other_vr not in _TEXTS:
            return self._compare_bytes(left, right)
        if max(left.length, right.length) > _PIECE:
            return self._compare_long_texts(left, right)
        text, other_text = self._one.read(left.length), self._other.read(right.length)
        return text == other_text or _trimmed(text, vr, other_vr) == _trimmed(other_text, vr, other_vr)

    def _pieces(self, left: _Element, right: _Element) -> Iterator[tuple[bytes, bytes]]:
        """The values as far as both have something, piece by piece."""
        length = min(left.length, right.length)
        return zip(self._one.pieces(length, left.unit), self._other.pieces(length, right.unit), strict=True)

    def _rest(self, left: _Element, right: _Element) -> Iterator[bytes]:
        """What the longer value has behind that."""
        side = self._one if left.length > right.length else self._other
        return side.pieces(abs(left.length - right.length), 1)

    def _compare_bytes(self, left: _Element, right: _Element) -> bool:
        if left.length == right.length <= _PIECE and left.unit == right.unit:
            return self._one.read(left.length) == self._other.read(right.length)
        # One byte of padding makes an odd length even (PS3.5 section 7.1.1).
        is_padded = min(left.length, right.length) % 2 == 1 and abs(left.length - right.length) == 1
        if left.length != right.length and not is_padded:
            return False
        is_same = all(piece == other for piece, other in self._pieces(left, right))
        return is_same and not any(rest.strip(_PADDING) for rest in self._rest(left, right))

    def _compare_long_texts(self, left: _Element, right: _Element) -> bool:
        is_behind = False
        for piece, other in self._pieces(left, right):
            if is_behind:
                if piece.strip(_PADDING) or other.strip(_PADDING):
                    return False
            elif piece != other:
                # Then this is the end of both, and nothing but padding may follow.
                is_behind = True
                if piece.rstrip(_PADDING) != other.rstrip(_PADDING):
                    return False
        return not any(rest.strip(_PADDING) for rest in self._rest(left, right))

    def _compare_fragments(self) -> bool:
        """Compare encapsulated pixel data (PS3.5 section A.4)."""
        one, other = self._one, self._other
        if one.syntax != other.syntax:
            return False
        is_offset_table = True
        while True:
            length, other_length = one.fragment(), other.fragment()
            if length is None or other_length is None:
                return length is other_length
            left, right = _fragment(length), _fragment(other_length)
            if is_offset_table and not (length and other_length):
                # It may be left empty.
                for side, each in ((one, length), (other, other_length)):
                    side.go(side.at + each)
            elif not self._compare_bytes(left, right):
                return False
            is_offset_table = False


def _fragment(length: int) -> _Element:
    return _Element(_ITEM, "", length, _layout(False, "<"), 1)


def _is_private_creator(tag: int) -> bool:
    return bool(tag & 0x10000) and 0x10 <= tag & 0xFFFF <= 0xFF


def _trimmed(text: bytes, *vrs: str) -> bytes | list[bytes]:
    """A text without its padding, as far as that is none by each of the value representations."""
    strip = bytes.strip if _PADDED_IN_FRONT.issuperset(vrs) else bytes.rstrip
    padding = _PADDING_OF_NAMES if vrs == ("PN", "PN") else _PADDING
    # A backslash may be a part of a character that is not ASCII.
    if b"\\" in text and _MULTIPLE_TEXTS.issuperset(vrs) and text.isascii() and b"\x1b" not in text:
        return [strip(value, padding) for value in text.split(b"\\")]
    return strip(text, padding)


def _swapped(data: bytes, unit: int) -> bytes:
    """Numbers in the other byte order; what is left behind the last stays as it is."""
    whole = len(data) // unit * unit
    numbers = array(_CODES[unit], data[:whole])
    numbers.byteswap()
    return numbers.tobytes() + data[whole:]
