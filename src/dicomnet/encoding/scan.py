"""The header scanner: walks an encoded data set to its end and picks the attributes that are wanted (PS3.5 section 7).

It knows no data dictionary and touches no pixel data. It does not recurse, and copies nothing but what is wanted.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import length_hint
from struct import Struct
from typing import NoReturn

from ..errors import ServiceRefusal
from ..values import Buffer, frozen, mutable
from .known_headers import (
    ITEM_LENGTH,
    ITEM_MARK,
    STRETCH_LIMIT,
    STRUCTURE_LIMIT,
    Head,
    Pick,
    Span,
    Stretch,
    Table,
    Wanted,
)

CANNOT_UNDERSTAND = 0xC000

DEPTH_LIMIT = 64
# A data set of more elements than this would hold the interpreter for seconds.
ELEMENT_LIMIT = 5_000_000
INFLATED_LIMIT = 32 << 20
# How much of a file is read before it is mapped, in bytes.
_HEAD_LENGTH = 1 << 14
# A longer value is not picked, so that a hostile one cannot fill the memory.
VALUE_LIMIT = 1 << 20
# Below the floor any ratio is harmless; above it, more than this is no medical image.
RATIO_LIMIT, RATIO_FLOOR = 500, 4 << 20

IMPLICIT_VR_SYNTAXES = frozenset(("1.2.840.10008.1.2", "1.2.840.113619.5.2"))
BIG_ENDIAN_SYNTAX = "1.2.840.10008.1.2.2"
DEFLATED_SYNTAXES = frozenset(("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"))
# What zlib and gzip writers leave behind the stream, and the byte that makes its length even.
_DEFLATE_TRAILER = 9

PIXEL_DATA = 0x7FE00010
_PIXEL_ELEMENTS = frozenset((PIXEL_DATA, 0x7FE00008, 0x7FE00009))
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF

_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
# UN hides the VR that the sender did not know, and where the VR is implicit it is not in the data set at all.
_VR_NAMES = {vr: vr.decode("ascii") for vr in _SHORT_VRS | _LONG_VRS if vr != b"UN"}
_FRAGMENTED_VRS = frozenset(b"OB OD OF OL OV OW".split())


@frozen
class _Encoding:
    explicit: bool
    byte_order: str
    element: Struct
    length: Struct
    tag_and_length: Struct


def _encoding(explicit: bool, mark: str) -> _Encoding:
    element = Struct(mark + ("HH2sH" if explicit else "HHL"))
    return _Encoding(
        explicit, "little" if mark == "<" else "big", element, Struct(mark + "L"), Struct(mark + "HHL")
    )


_IMPLICIT_LITTLE = _encoding(False, "<")
_IMPLICIT_BIG = _encoding(False, ">")
_EXPLICIT_LITTLE = _encoding(True, "<")
_EXPLICIT_BIG = _encoding(True, ">")
_ENCODINGS = (_IMPLICIT_LITTLE, _IMPLICIT_BIG, _EXPLICIT_LITTLE, _EXPLICIT_BIG)


@frozen
class Header:
    """What a walk over a data set found.

    Parameters
    ----------
    values
        For each wanted tag that is present, its VR and its value as encoded, unless that is longer than `VALUE_LIMIT`.
        The value of a sequence is all that follows its length field, with the delimiters that are there.
    pixel_data
        Where the (Float, Double Float) Pixel Data element begins, in bytes from the start of the data set; None where
        there is none, or the data set is deflated.
    implicit
        Whether the values of sequences are encoded with implicit VR.
    byte_order
        ``little`` or ``big``, as `int.from_bytes` wants it.
    """

    values: Mapping[int, tuple[str, bytes]]
    pixel_data: int | None
    implicit: bool
    byte_order: str

    def uid(self, tag: int) -> str:
        """A UID without its padding, empty where the attribute is absent."""
        found = self.values.get(tag)
        return _uid(found[1]) if found else ""


@lru_cache(maxsize=64)
def _uid(value: bytes) -> str:
    """The text of a UID. Most of an object are those of the one before it."""
    return value.rstrip(b"\0 ").lstrip(b" ").decode("ascii", "replace")


def scan(data: Buffer, transfer_syntax_uid: str, wanted: Mapping[int, str]) -> Header:
    """Walk a data set to its end, check its structure and pick attributes of its top level.

    Parameters
    ----------
    data
        The encoded data set, without preamble and file meta information.
    transfer_syntax_uid
        UID of its transfer syntax.
    wanted
        The tags to pick, each with the VR to report where the encoding does not tell it. A `Wanted` makes the scan
        of similar data sets much faster.

    Raises
    ------
    ServiceRefusal
        With status 0xC000, if the data set does not parse to its end, or goes beyond a limit.
    """
    if transfer_syntax_uid in DEFLATED_SYNTAXES:
        inflated = _scan(_inflate(data), _EXPLICIT_LITTLE, wanted)
        return Header(inflated.values, None, inflated.implicit, inflated.byte_order)
    return _scan(data, _encoding_of(transfer_syntax_uid), wanted)


def _encoding_of(transfer_syntax_uid: str) -> _Encoding:
    """How a data set that is not deflated is encoded."""
    if transfer_syntax_uid in IMPLICIT_VR_SYNTAXES:
        return _IMPLICIT_LITTLE
    return _EXPLICIT_BIG if transfer_syntax_uid == BIG_ENDIAN_SYNTAX else _EXPLICIT_LITTLE


def _scan(data: Buffer, encoding: _Encoding, wanted: Mapping[int, str]) -> Header:
    return _known_as_a_whole(data, len(data), encoding, wanted) or _Walk(data, encoding, wanted).run()


def _known_as_a_whole(
    data: Buffer, length: int, encoding: _Encoding, wanted: Mapping[int, str]
) -> Header | None:
    """The header of a data set that lies from its first byte to its last as others did; None of any other.

    Parameters
    ----------
    data
        Its beginning. None is the answer, too, where more would have to be looked at.
    length
        Of the data set, in bytes.
    """
    if not isinstance(wanted, Wanted):
        return None
    try:
        return _known(data, length, encoding, wanted)
    except struct.error:
        return None


def _known(data: Buffer, length: int, encoding: _Encoding, wanted: Wanted) -> Header | None:
    known = wanted.table(encoding.explicit, encoding.byte_order, True)
    unpack = encoding.element.unpack_from
    values: dict[int, tuple[str, bytes]] = {}
    pixel_data = None
    at = steps = count = 0
    while at + 8 <= length:
        stretch = known.get(unpack(data, at))
        if stretch is None or at + stretch.length > length or stretch.read(data, at) != stretch.between:
            return None
        if stretch.suspicious is not None and ITEM_MARK in stretch.suspicious(data, at):
            return None
        if stretch.pick is not None:
            values.update(
                zip(stretch.tags, zip(stretch.vrs, stretch.pick(data, at), strict=True), strict=True)
            )
            count += len(stretch.tags)
        if stretch.pixel_data is not None:
            pixel_data = at + stretch.pixel_data
        steps += stretch.steps
        at += stretch.length
    # What is there twice has to be looked at.
    if not at or at != length or len(values) != count or steps >= ELEMENT_LIMIT:
        return None
    return Header(values, pixel_data, not encoding.explicit, encoding.byte_order)


def _inflate(data: Buffer) -> bytes:
    """Inflate a raw deflate stream (RFC 1951, PS3.5 section A.5) within the limits."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    pieces: list[bytes] = []
    total = used = 0
    while not stream.eof:
        chunk = stream.unconsumed_tail
        if not chunk:
            # A view would live on in the traceback of a refusal, and the file could not be unmapped.
            chunk = bytes(data[used : used + 65536])
            used += len(chunk)
        try:
            piece = stream.decompress(chunk, 1 << 20)
        except zlib.error:
            _refuse("the data set is not a deflate stream")
        if not piece and not chunk:
            _refuse("the deflated data set ends too early")
        total += len(piece)
        if total > INFLATED_LIMIT or (total > RATIO_FLOOR and total > used * RATIO_LIMIT):
            _refuse("the deflated data set inflates beyond the limit")
        pieces.append(piece)
    if len(data) - used + len(stream.unused_data) > _DEFLATE_TRAILER:
        _refuse("there is something behind the deflated data set")
    return b"".join(pieces)


class _Damage(Exception):
    """What was being walked is not well formed."""


def _refuse(comment: str) -> NoReturn:
    raise ServiceRefusal(CANNOT_UNDERSTAND, comment)


@mutable
class _Frame:
    """A data set or a sequence that is being walked.

    `is_guess` marks a sequence that only looks like one: where it is damaged, it was a plain value.
    """

    walk: Callable[[_Frame, int], tuple[int, _Frame | None]]
    encoding: _Encoding
    limit: int
    is_undefined: bool = False
    is_guess: bool = False
    tag: int = 0
    start: int = 0
    known: Table | None = None


@frozen
class _Unlearned:
    """A sequence that is being walked for the first time; what is in it is learned as one stretch."""

    head: Head
    at: int
    tag: int
    start: int
    steps_left: int


class _Walk:
    """One walk over one data set. A step walks the innermost frame until it ends or meets an inner one."""

    __slots__ = (
        "at",
        "data",
        "encoding",
        "pixel_data",
        "skipped",
        "stack",
        "steps",
        "trail",
        "unlearned",
        "values",
        "wanted",
    )

    def __init__(
        self, data: Buffer, encoding: _Encoding, wanted: Mapping[int, str], *, is_item: bool = False
    ) -> None:
        self.data = data
        self.encoding = encoding
        self.wanted = wanted
        self.values: dict[int, tuple[str, bytes]] = {}
        self.pixel_data: int | None = None
        # Shared by all frames, so that it runs out for the data set as a whole.
        self.steps = iter(range(ELEMENT_LIMIT))
        self.skipped = 0
        # The values of the stretch that is being walked. One of more values is not learned, or not all of it.
        self.trail: deque[tuple[Head, int, int, int]] = deque(maxlen=STRETCH_LIMIT)
        self.unlearned: _Unlearned | None = None
        self.at = 0
        self.stack: list[_Frame] = []
        self.stack.append(self._data_set(encoding, len(data), is_item))

    def run(self) -> Header:
        stack = self.stack
        at = 0
        while stack:
            frame = stack[-1]
            try:
                at, inner = frame.walk(frame, at)
            except (_Damage, struct.error) as error:
                at = self._after_guess(error)
                continue
            if inner is not None:
                if len(stack) > 2 * DEPTH_LIMIT:
                    _refuse(f"sequences are nested deeper than {DEPTH_LIMIT} levels")
                stack.append(inner)
                if len(stack) > DEPTH_LIMIT:
                    self.unlearned = None
            else:
                stack.pop()
                if frame.tag and len(stack) == 1:
                    self._keep_wanted(frame.tag, b"SQ", frame.start, at)
        if self.skipped > length_hint(self.steps):
            _refuse("the data set has too many elements")
        self.at = at
        return Header(self.values, self.pixel_data, not self.encoding.explicit, self.encoding.byte_order)

    def _after_guess(self, error: Exception) -> int:
        """Leave the innermost guess, if the damage lies in one, and go on behind it."""
        self.unlearned = None
        while self.stack:
            frame = self.stack.pop()
            if frame.is_guess:
                if len(self.stack) == 1:
                    self._keep_wanted(frame.tag, b"UN", frame.start, frame.limit)
                return frame.limit
        _refuse(str(error) if isinstance(error, _Damage) else "the data set ends inside an element")

    def _data_set(self, encoding: _Encoding, limit: int, is_undefined: bool = False) -> _Frame:
        walk = self._explicit_elements if encoding.explicit else self._implicit_elements
        frame = _Frame(walk, encoding, limit, is_undefined)
        depth = len(self.stack)
        # A stretch may be as deep as half of what is allowed, and so it fits wherever one may begin.
        if isinstance(self.wanted, Wanted) and self.unlearned is None and depth < DEPTH_LIMIT:
            frame.known = self.wanted.table(encoding.explicit, encoding.byte_order, depth == 0)
        return frame

    def _keep_wanted(self, tag: int, vr: bytes, start: int, end: int) -> None:
        for _, name, _, _ in self._pick(tag, vr, start, end):
            self._keep(tag, name, bytes(self.data[start:end]))

    def _keep(self, tag: int, name: str, value: bytes) -> None:
        values = self.values
        if tag in values and values[tag][1] != value:
            _refuse("an element is there twice, with different values")
        values[tag] = (name, value)

    def _explicit_elements(self, frame: _Frame, at: int) -> tuple[int, _Frame | None]:
        data, limit, unpack, wanted = self.data, frame.limit, frame.encoding.element.unpack_from, self.wanted
        known, trail = frame.known, self._trail_of(frame, at)
        is_top = len(self.stack) == 1
        stop = limit - 7
        for _ in self.steps:
            if at >= stop:
                return self._data_set_end(frame, at)
            head = unpack(data, at)
            is_known = known is not None and head in known
            if is_known:
                after = self._skip_known(frame, at)
                if after > at:
                    at = after
                    continue
            group, element, vr, length = head
            if vr in _SHORT_VRS and 2 < group < 0xFFFE:
                start = at + 8
            else:
                tag = group << 16 | element
                if (group == 0xFFFE or group < 3) and self._is_end(frame, tag, at):
                    return at + 8, None
                start, length = self._long_form(frame, vr, length, at)
                if is_top and tag in _PIXEL_ELEMENTS:
                    self.pixel_data = at
                inner = self._inner(frame, vr, tag, start, length)
                if inner is not None:
                    if not is_known:
                        self._begin_sequence(frame, head, at, inner)
                    return start, inner
            end = start + length
            if is_top and end <= limit and (group << 16 | element) in wanted:
                self._keep_wanted(group << 16 | element, vr, start, end)
            if not is_known:
                trail.append((head, at, start, end))
                if at == self.pixel_data and end <= limit:
                    self._learn_elements(frame)
            at = end
        _refuse("the data set has too many elements")

    def _implicit_elements(self, frame: _Frame, at: int) -> tuple[int, _Frame | None]:
        data, limit, unpack, wanted = self.data, frame.limit, frame.encoding.element.unpack_from, self.wanted
        known, trail = frame.known, self._trail_of(frame, at)
        is_top = len(self.stack) == 1
        stop = limit - 7
        for _ in self.steps:
            if at >= stop:
                return self._data_set_end(frame, at)
            head = unpack(data, at)
            is_known = known is not None and head in known
            if is_known:
                after = self._skip_known(frame, at)
                if after > at:
                    at = after
                    continue
            group, element, length = head
            tag = group << 16 | element
            if (group > 0xFFFD or group < 3) and self._is_end(frame, tag, at):
                return at + 8, None
            start = at + 8
            end = start + length
            inner = None
            if is_top and tag in _PIXEL_ELEMENTS:
                self.pixel_data = at
                if length == _UNDEFINED:
                    inner = _Frame(self._fragments, frame.encoding, limit)
            elif length == _UNDEFINED:
                inner = _Frame(self._items, frame.encoding, limit, True, False, tag, start)
            elif length >= ITEM_LENGTH and end <= limit and data[start : start + 4] == ITEM_MARK:
                inner = _Frame(self._items, frame.encoding, end, False, True, tag, start)
            if inner is not None:
                if not is_known:
                    self._begin_sequence(frame, head, at, inner)
                return start, inner
            if is_top and end <= limit and tag in wanted:
                self._keep_wanted(tag, b"", start, end)
            if not is_known:
                trail.append((head, at, start, end))
                if at == self.pixel_data and end <= limit:
                    self._learn_elements(frame)
            at = end
        _refuse("the data set has too many elements")

    def _skip_known(self, frame: _Frame, at: int) -> int:
        """Step over all that lies here as it lay in earlier data sets, and pick what is wanted of it."""
        self._learn_elements(frame)
        data, limit, unpack, known = self.data, frame.limit, frame.encoding.element.unpack_from, frame.known
        is_top = len(self.stack) == 1
        stop = limit - 7
        steps = 0
        assert known is not None
        while at < stop:
            head = unpack(data, at)
            stretch = known.get(head)
            if stretch is None or at + stretch.length > limit:
                break
            if stretch.read(data, at) != stretch.between:
                stretch = stretch.shared_with(data, at)
                known.learn(head, stretch)
                if stretch is None:
                    break
            if stretch.suspicious is not None and ITEM_MARK in stretch.suspicious(data, at):
                break
            if is_top:
                if stretch.pick is not None:
                    picked = zip(stretch.tags, stretch.vrs, stretch.pick(data, at), strict=True)
                    for tag, name, value in picked:
                        self._keep(tag, name, value)
                if stretch.pixel_data is not None:
                    self.pixel_data = at + stretch.pixel_data
            steps += stretch.steps
            at += stretch.length
        if steps:
            # The caller has taken one.
            self.skipped += steps - 1
        return at

    def _trail_of(self, frame: _Frame, at: int) -> deque[tuple[Head, int, int, int]]:
        """The trail, where a frame's walk begins or goes on; here ends the sequence that was being learned, if any."""
        if frame.known is not None:
            sequence, self.unlearned = self.unlearned, None
            if sequence is not None and at <= frame.limit:
                self._learn_sequence(frame.known, sequence, at)
            self.trail.clear()
        return self.trail

    def _begin_sequence(self, frame: _Frame, head: Head, at: int, inner: _Frame) -> None:
        """Begin to learn a sequence. In one that is known to differ, each item is learned for itself."""
        if frame.known is not None:
            self._learn_elements(frame)
            if inner.tag and at != self.pixel_data:
                self.unlearned = _Unlearned(head, at, inner.tag, inner.start, length_hint(self.steps))

    def _learn_sequence(self, known: Table, sequence: _Unlearned, end: int) -> None:
        begin = sequence.at
        spans = self._spans(begin)
        stretch = None
        if (
            len(spans) < STRETCH_LIMIT
            and end - begin - sum(stop - start for start, stop, _ in spans) <= STRUCTURE_LIMIT
        ):
            picks = self._pick(sequence.tag, b"SQ", sequence.start - begin, end - begin)
            steps = 1 + sequence.steps_left - length_hint(self.steps)
            stretch = Stretch(self.data, begin, end - begin, spans, picks, steps, True)
        known.learn(sequence.head, stretch)

    def _learn_elements(self, frame: _Frame) -> None:
        """Learn the plain elements that the trail has, and begin another. Pixel data may only be the last of them."""
        trail = self.trail
        if trail and frame.known is not None:
            first, begin, _, _ = trail[0]
            picks: list[Pick] = []
            for head, _, start, stop in trail:
                tag = head[0] << 16 | head[1]
                if tag in self.wanted:
                    vr = head[2] if len(head) == 4 else b""
                    picks += self._pick(tag, vr, start - begin, stop - begin)
            stretch = Stretch(
                self.data, begin, trail[-1][3] - begin, self._spans(begin), picks, len(trail), False
            )
            last = trail[-1][1]
            if last == self.pixel_data:
                stretch.pixel_data = last - begin
            frame.known.learn(first, stretch)
            trail.clear()

    def _spans(self, begin: int) -> list[Span]:
        """The values of the trail. Those without a known VR were looked at for being a sequence."""
        return [
            (
                start - begin,
                stop - begin,
                stop - start >= ITEM_LENGTH and (len(head) == 3 or head[2] == b"UN"),
            )
            for head, _, start, stop in self.trail
        ]

    def _pick(self, tag: int, vr: bytes, start: int, end: int) -> list[Pick]:
        """An element's value, if it is wanted and not too long."""
        name = self.wanted.get(tag)
        if name is None or end - start > VALUE_LIMIT:
            return []
        return [(tag, _VR_NAMES.get(vr, name), start, end)]

    def _is_end(self, frame: _Frame, tag: int, at: int) -> bool:
        """Whether a tag of a group that is not for elements ends the data set. Else it may not be here."""
        if tag == _ITEM_END and (frame.is_undefined or (len(self.stack) > 1 and at + 8 == frame.limit)):
            if frame.encoding.length.unpack_from(self.data, at + 4)[0]:
                raise _Damage("an item delimiter has a length")
            self._learn_elements(frame)
            return True
        if tag >> 16 in (1, 0xFFFF):
            return False
        raise _Damage("an element is of a group that no data set may have")

    def _long_form(self, frame: _Frame, vr: bytes, length: int, at: int) -> tuple[int, int]:
        """Where a value begins and how long it is. VRs of a future edition have the long form (PS3.5 section 7.1.2)."""
        if vr in _SHORT_VRS:
            return at + 8, length
        if vr in _LONG_VRS or (length == 0 and vr.isalpha() and vr.isupper()):
            return at + 12, frame.encoding.length.unpack_from(self.data, at + 8)[0]
        return at + 8, length

    def _inner(self, frame: _Frame, vr: bytes, tag: int, start: int, length: int) -> _Frame | None:
        """What has to be walked inside an element with explicit VR; None where it is a plain value."""
        if length == _UNDEFINED:
            if vr in _FRAGMENTED_VRS:
                return _Frame(self._fragments, frame.encoding, frame.limit)
            if vr == b"SQ":
                return _Frame(self._items, frame.encoding, frame.limit, True, False, tag, start)
            if vr != b"UN":
                raise _Damage("an element has undefined length and a VR that forbids it")
            # Such a sequence is in implicit VR (PS3.5 section 6.2.2).
            is_little = self.data[start : start + 2] == b"\xfe\xff"
            encoding = _IMPLICIT_LITTLE if is_little else _IMPLICIT_BIG
            return _Frame(self._items, encoding, frame.limit, True, False, tag, start)
        end = start + length
        if end <= frame.limit:
            if vr == b"SQ":
                return _Frame(self._items, frame.encoding, end, False, False, tag, start)
            if vr == b"UN" and length >= ITEM_LENGTH and self.data[start : start + 4] == ITEM_MARK:
                return _Frame(self._items, _IMPLICIT_LITTLE, end, False, True, tag, start)
        return None

    def _data_set_end(self, frame: _Frame, at: int) -> tuple[int, None]:
        if frame.is_undefined:
            raise _Damage("an item has no end")
        if at != frame.limit:
            raise _Damage("an element is longer than what contains it")
        self._learn_elements(frame)
        return frame.limit, None

    def _items(self, frame: _Frame, at: int) -> tuple[int, _Frame | None]:
        """Walk a sequence (PS3.5 section 7.5)."""
        unpack, limit = frame.encoding.tag_and_length.unpack_from, frame.limit
        for _ in self.steps:
            if at >= limit:
                if frame.is_undefined or at > limit:
                    raise _Damage("a sequence has no end")
                return at, None
            group, element, length = unpack(self.data, at)
            tag = group << 16 | element
            at += 8
            if tag == _SEQUENCE_END and not length and (frame.is_undefined or at == limit):
                return at, None
            if tag != _ITEM:
                raise _Damage("a sequence holds something other than items")
            if length:
                end = limit if length == _UNDEFINED else at + length
                if end > limit:
                    raise _Damage("an item is longer than its sequence")
                encoding = _item_encoding(self.data, at, frame.encoding)
                return at, self._data_set(encoding, end, length == _UNDEFINED)
        _refuse("the data set has too many elements")

    def _fragments(self, frame: _Frame, at: int) -> tuple[int, None]:
        """Step over encapsulated pixel data (PS3.5 section A.4)."""
        self.unlearned = None
        unpack, limit = frame.encoding.tag_and_length.unpack_from, frame.limit
        for _ in self.steps:
            if at + 8 > limit:
                raise _Damage("encapsulated pixel data have no end")
            group, element, length = unpack(self.data, at)
            at += 8
            if element == 0xE0DD and group == 0xFFFE and not length:
                return at, None
            if element != 0xE000 or group != 0xFFFE or length == _UNDEFINED:
                raise _Damage("encapsulated pixel data hold something other than fragments")
            at += length
        _refuse("the data set has too many elements")


def _item_encoding(data: Buffer, at: int, encoding: _Encoding) -> _Encoding:
    """The encoding of an item; some writers put implicit VR into an explicit VR data set."""
    vr = bytes(data[at + 4 : at + 6])
    if not encoding.explicit or (vr.isalpha() and vr.isupper()) or vr == b"\0\0":
        return encoding
    return _IMPLICIT_LITTLE if encoding.byte_order == "little" else _IMPLICIT_BIG


def scan_items(header: Header, tag: int, wanted: Mapping[int, str]) -> list[Header]:
    """Pick attributes of the items of a sequence that `scan` found.

    Parameters
    ----------
    header
        Where the sequence is.
    tag
        Its tag.
    wanted
        As for `scan`.

    Raises
    ------
    ServiceRefusal
        With status 0xC000, if the value is not a sequence.
    """
    data = header.values[tag][1]
    encoding = next(
        one
        for one in _ENCODINGS
        if (not one.explicit, one.byte_order) == (header.implicit, header.byte_order)
    )
    found = []
    at = 0
    while at + 8 <= len(data):
        group, element, length = encoding.tag_and_length.unpack_from(data, at)
        at += 8
        if group << 16 | element != _ITEM:
            break
        end = len(data) if length == _UNDEFINED else at + length
        content = data[at:end]
        walk = _Walk(content, _item_encoding(content, 0, encoding), wanted, is_item=length == _UNDEFINED)
        found.append(walk.run())
        at += walk.at
    return found


def scan_file(descriptor: int, offset: int, transfer_syntax_uid: str, wanted: Mapping[int, str]) -> Header:
    """Walk the data set of an open file, without reading what is not needed.

    Parameters
    ----------
    descriptor
        The file, open for reading.
    offset
        Where the data set begins, in bytes.
    transfer_syntax_uid, wanted
        As in `scan`.

    Raises
    ------
    ServiceRefusal
        As `scan`, and with an empty data set.
    OSError
        If the file cannot be read.
    """
    if transfer_syntax_uid not in DEFLATED_SYNTAXES and hasattr(os, "pread"):
        # To map a file costs more than to read its beginning, and pixel data that are known need not be looked at.
        head = os.pread(descriptor, _HEAD_LENGTH, offset)
        length = os.fstat(descriptor).st_size - offset
        known = _known_as_a_whole(head, length, _encoding_of(transfer_syntax_uid), wanted)
        if known is not None:
            return known
    try:
        mapping = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except ValueError:
        _refuse("the file is empty")
    with mapping, memoryview(mapping) as whole, whole[offset:] as data:
        return scan(data, transfer_syntax_uid, wanted)
