"""The walk over an encoded data set to its end (PS3.5 section 7): checks its structure and picks attributes on the way.

It does not recurse, and copies nothing but what is wanted.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Mapping
from typing import NoReturn

from ..errors import ServiceRefusal
from ..values import Buffer, frozen, mutable
from .elements import (
    FIRST_DELIMITER,
    HEAD_SIZE,
    IMPLICIT_BIG,
    IMPLICIT_LITTLE,
    IN_HEAD,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    Encoding,
    Head,
    looks_like_vr,
)
from .known_headers import (
    ITEM_LENGTH,
    ITEM_MARK,
    STRETCH_LIMIT,
    STRUCTURE_LIMIT,
    KnownHeaders,
    Pick,
    Span,
    Stretch,
    Table,
)
from .vrs import ENCAPSULATED, SHORT_LENGTH, VRS

CANNOT_UNDERSTAND = 0xC000

DEPTH_LIMIT = 64
# A data set of more elements than this would hold the interpreter for seconds.
ELEMENT_LIMIT = 5_000_000
# A longer value is not picked, so that a hostile one cannot fill the memory.
VALUE_LIMIT = 1 << 20

PIXEL_DATA = 0x7FE00010
_PIXEL_ELEMENTS = frozenset((PIXEL_DATA, 0x7FE00008, 0x7FE00009))
# Groups 0000 and 0002 are not for data sets (section 7.1); 0001, 0003 and others up to here are met in old ones.
_FOREIGN_GROUPS = {
    0: "elements of a command set stand in the data set",
    2: "file meta information stands in the data set",
}
_FIRST_USUAL = 0x00030000
# UN hides the VR that the sender did not know, and where the VR is implicit it is not in the data set at all.
_TELLING_VRS = VRS.keys() - {"UN"}


_ZEROS = "there are zeros behind the last element"
_TOO_MANY = "the data set has too many elements"


class _Damage(Exception):
    """What was being walked is not well formed."""


class _Missing(_Damage):
    """What was being walked has no end, or goes on behind that of the data set."""


class CutOff(ServiceRefusal):
    """An element, item or sequence of a data set has no end: it is missing. Parameters as of `ServiceRefusal`."""


def refuse(comment: str) -> NoReturn:
    """Refuse the data set with status 0xC000."""
    raise ServiceRefusal(CANNOT_UNDERSTAND, comment)


@mutable
class _Frame:
    """A data set or a sequence that is being walked.

    `is_guess` marks a sequence that only looks like one: where it is damaged, it was a plain value.
    """

    walk: Callable[[_Frame, int], tuple[int, _Frame | None]]
    encoding: Encoding
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
    steps: int


# A plain element that was walked: its head, its tag, its VR, and where it, its value and what follows begin.
_Passed = tuple[Head, int, str, int, int, int]


class Walk:
    """One walk over one data set. A step walks the innermost frame until it ends or meets an inner one.

    Parameters
    ----------
    data
        The encoded data set.
    encoding
        How it is encoded.
    wanted
        The tags to pick of its top level, each with the VR to report where the encoding does not tell it.
    known
        What earlier walks have learned for the same tags, and this one may use and add to; None for a walk that knows
        nothing.
    is_item
        Whether the data set ends with an item delimiter.
    is_strict
        Whether forms that break the standard are refused although nothing of the data set is lost in them: zeros behind
        its last element, a delimiter with a length, encapsulated pixel data without a delimiter at its end, and
        elements of a command set or of file meta information among its own.

    Attributes
    ----------
    irregular
        Those of these forms that were met, in words.
    values
        For each wanted tag that was found, its VR and its value.
    pixel_data
        Where the element with pixel data begins, None where there is none.
    at
        Where the walk ended.
    """

    __slots__ = (
        "at",
        "data",
        "irregular",
        "is_strict",
        "known",
        "pixel_data",
        "stack",
        "steps",
        "trail",
        "unlearned",
        "values",
        "wanted",
    )

    def __init__(
        self,
        data: Buffer,
        encoding: Encoding,
        wanted: Mapping[int, str],
        known: KnownHeaders | None = None,
        *,
        is_item: bool = False,
        is_strict: bool = False,
    ) -> None:
        self.data = data
        self.is_strict = is_strict
        self.irregular: dict[str, None] = {}
        self.wanted = wanted
        self.known = known
        self.values: dict[int, tuple[str, bytes]] = {}
        self.pixel_data: int | None = None
        self.steps = 0
        # The values of the stretch that is being walked. One of more values is not learned, or not all of it.
        self.trail: deque[_Passed] = deque(maxlen=STRETCH_LIMIT)
        self.unlearned: _Unlearned | None = None
        self.at = 0
        self.stack: list[_Frame] = []
        self.stack.append(self._data_set(encoding, len(data), is_item))

    def run(self) -> None:
        """Walk to the end; raises ServiceRefusal where that does not lead there."""
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
                    refuse(f"sequences are nested deeper than {DEPTH_LIMIT} levels")
                stack.append(inner)
                if len(stack) > DEPTH_LIMIT:
                    self.unlearned = None
            else:
                stack.pop()
                if frame.tag and len(stack) == 1:
                    self._keep_wanted(frame.tag, "SQ", frame.start, at)
        self.at = at

    def _after_guess(self, error: Exception) -> int:
        """Leave the innermost guess, if the damage lies in one, and go on behind it."""
        self.unlearned = None
        while self.stack:
            frame = self.stack.pop()
            if frame.is_guess:
                if len(self.stack) == 1:
                    self._keep_wanted(frame.tag, "UN", frame.start, frame.limit)
                return frame.limit
        if isinstance(error, _Damage) and not isinstance(error, _Missing):
            refuse(str(error))
        # Headers end where the data set does, or before.
        words = str(error) if isinstance(error, _Missing) else "the data set ends inside an element"
        raise CutOff(CANNOT_UNDERSTAND, words)

    def _damage(self, frame: _Frame, words: str) -> _Damage:
        """What is wrong with a frame that does not end where it should: the data set may be cut off there."""
        return (_Missing if frame.limit == len(self.data) else _Damage)(words)

    def _data_set(self, encoding: Encoding, limit: int, is_undefined: bool = False) -> _Frame:
        frame = _Frame(self._elements, encoding, limit, is_undefined)
        depth = len(self.stack)
        # A stretch may be as deep as half of what is allowed, and so it fits wherever one may begin.
        if self.known is not None and self.unlearned is None and depth < DEPTH_LIMIT:
            frame.known = self.known.table(encoding, depth == 0)
        return frame

    def _keep_wanted(self, tag: int, vr: str, start: int, end: int) -> None:
        for _, name, _, _ in self._pick(tag, vr, start, end):
            self._keep(tag, name, bytes(self.data[start:end]))

    def _keep(self, tag: int, name: str, value: bytes) -> None:
        values = self.values
        if tag in values and values[tag][1] != value:
            refuse("an element is there twice, with different values")
        values[tag] = (name, value)

    def _count(self, steps: int) -> None:
        self.steps += steps
        if self.steps > ELEMENT_LIMIT:
            refuse(_TOO_MANY)

    def _bear_with(self, form: str) -> None:
        """Note an irregular form. Nothing of this data set is learned any more, so that the next one is looked at."""
        if self.is_strict or any(frame.is_guess for frame in self.stack):
            raise _Damage(form)
        self.irregular[form] = None
        self.known = self.unlearned = None
        self.trail.clear()
        for frame in self.stack:
            frame.known = None

    def _elements(self, frame: _Frame, at: int) -> tuple[int, _Frame | None]:
        """Walk a data set or an item, one element after the other."""
        data, limit, wanted, known = self.data, frame.limit, self.wanted, frame.known
        read_head, beginning = frame.encoding.head, frame.encoding.beginning
        trail = self._trail_of(frame, at)
        is_top = len(self.stack) == 1
        stop = limit - 7
        while at < stop:
            head = read_head(data, at)
            is_known = known is not None and head in known
            if is_known:
                after = self._skip_known(frame, at)
                if after > at:
                    at = after
                    continue
            self.steps += 1
            if self.steps > ELEMENT_LIMIT:
                refuse(_TOO_MANY)
            first, length = head
            tag, vr, form = beginning(first)
            start = at + HEAD_SIZE
            if form != IN_HEAD:
                start, length = frame.encoding.value(form, length, data, at)
            if not _FIRST_USUAL <= tag < FIRST_DELIMITER:
                final = self._end(frame, tag, length, at)
                if final is not None:
                    return final, None
                known = frame.known
            end = start + length
            if vr not in SHORT_LENGTH:
                if tag in _PIXEL_ELEMENTS and is_top:
                    self.pixel_data = at
                if vr == "SQ" or (
                    length >= ITEM_LENGTH
                    and (length == UNDEFINED_LENGTH or data[start : start + 4] == ITEM_MARK)
                ):
                    inner = self._inner(frame, tag, vr, start, length)
                    if inner is not None:
                        if not is_known:
                            self._begin_sequence(frame, head, at, inner)
                        return start, inner
            if is_top and end <= limit and tag in wanted:
                self._keep_wanted(tag, vr, start, end)
            if not is_known:
                trail.append((head, tag, vr, at, start, end))
                if at == self.pixel_data and end <= limit:
                    self._learn_elements(frame)
            at = end
        if frame.is_undefined:
            raise self._damage(frame, "an item has no end")
        if at > limit:
            raise self._damage(frame, "an element is longer than what contains it")
        if is_top and not at and limit:
            raise self._damage(frame, "the first element is longer than all of it")
        if at != limit:
            # A few bytes that are not a header: DCMTK takes no notice of them.
            if not is_top or any(data[at:limit]):
                raise _Damage("there is something behind the last element")
            self._bear_with(_ZEROS)
        self._learn_elements(frame)
        return limit, None

    def _end(self, frame: _Frame, tag: int, length: int, at: int) -> int | None:
        """Where the data set ends with a tag of a group that is not for elements; None where it goes on behind it."""
        if tag == ITEM_END and (frame.is_undefined or (len(self.stack) > 1 and at + 8 == frame.limit)):
            if length:
                self._bear_with("an item delimiter has a length")
            self._learn_elements(frame)
            return at + HEAD_SIZE
        if tag == SEQUENCE_END and frame.is_undefined:
            raise _Missing("an item has no end")
        group = tag >> 16
        if group in (1, 0xFFFF):
            return None
        if not tag and len(self.stack) == 1 and at and not bytes(self.data[at : frame.limit]).strip(b"\0"):
            self._bear_with(_ZEROS)
            return frame.limit
        if group in _FOREIGN_GROUPS and _is_element(self.data, at, frame.encoding):
            self._bear_with(_FOREIGN_GROUPS[group])
            return None
        raise _Damage("an element is of a group that no data set may have")

    def _inner(self, frame: _Frame, tag: int, vr: str, start: int, length: int) -> _Frame | None:
        """What has to be walked inside an element; None where it is a plain value.

        Without a VR it is a sequence if its length is undefined, or if it looks like one, unless it is pixel data.
        """
        encoding, limit = frame.encoding, frame.limit
        is_pixels = tag in _PIXEL_ELEMENTS and len(self.stack) == 1
        if length == UNDEFINED_LENGTH:
            if vr in ENCAPSULATED or (is_pixels and not vr):
                return _Frame(self._fragments, encoding, limit)
            if vr == "UN":
                # Such a sequence is in implicit VR (PS3.5 section 6.2.2).
                is_little = self.data[start : start + 2] == ITEM_MARK[:2]
                encoding = IMPLICIT_LITTLE if is_little else IMPLICIT_BIG
            elif vr and vr != "SQ":
                raise _Damage("an element has undefined length and a VR that forbids it")
            return _Frame(self._items, encoding, limit, True, False, tag, start)
        end = start + length
        if end > limit:
            return None
        if vr == "SQ":
            return _Frame(self._items, encoding, end, False, False, tag, start)
        if vr == "UN":
            return _Frame(self._items, IMPLICIT_LITTLE, end, False, True, tag, start)
        if not vr and not is_pixels:
            return _Frame(self._items, encoding, end, False, True, tag, start)
        return None

    def _items(self, frame: _Frame, at: int) -> tuple[int, _Frame | None]:
        """Walk a sequence (PS3.5 section 7.5)."""
        read_item, limit = frame.encoding.item, frame.limit
        while at < limit:
            self.steps += 1
            if self.steps > ELEMENT_LIMIT:
                refuse(_TOO_MANY)
            group, element, length = read_item(self.data, at)
            tag = group << 16 | element
            at += 8
            if tag == SEQUENCE_END and (frame.is_undefined or at == limit):
                if length:
                    self._bear_with("a sequence delimiter has a length")
                return at, None
            if tag != ITEM:
                raise _Damage("a sequence holds something other than items")
            if length:
                end = limit if length == UNDEFINED_LENGTH else at + length
                if end > limit:
                    raise self._damage(frame, "an item is longer than its sequence")
                encoding = item_encoding(self.data, at, frame.encoding)
                return at, self._data_set(encoding, end, length == UNDEFINED_LENGTH)
        if frame.is_undefined or at > limit:
            raise self._damage(frame, "a sequence has no end")
        return at, None

    def _fragments(self, frame: _Frame, at: int) -> tuple[int, None]:
        """Step over encapsulated pixel data (PS3.5 section A.4)."""
        self.unlearned = None
        read_item, limit = frame.encoding.item, frame.limit
        while at + 8 <= limit:
            self._count(1)
            group, element, length = read_item(self.data, at)
            tag = group << 16 | element
            at += 8
            if tag == SEQUENCE_END:
                if length:
                    self._bear_with("a sequence delimiter has a length")
                return at, None
            if tag != ITEM or length == UNDEFINED_LENGTH:
                raise _Damage("encapsulated pixel data hold something other than fragments")
            at += length
        if at == limit and len(self.stack) == 2:
            self._bear_with("encapsulated pixel data have no end")
            return at, None
        raise self._damage(frame, "encapsulated pixel data have no end")

    def _skip_known(self, frame: _Frame, at: int) -> int:
        """Step over all that lies here as it lay in earlier data sets, and pick what is wanted of it."""
        self._learn_elements(frame)
        data, limit, read_head, known = self.data, frame.limit, frame.encoding.head, frame.known
        is_top = len(self.stack) == 1
        stop = limit - 7
        assert known is not None
        while at < stop:
            head = read_head(data, at)
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
            self._count(stretch.steps)
            if is_top:
                if stretch.pick is not None:
                    picked = zip(stretch.tags, stretch.vrs, stretch.pick(data, at), strict=True)
                    for tag, name, value in picked:
                        self._keep(tag, name, value)
                if stretch.pixel_data is not None:
                    self.pixel_data = at + stretch.pixel_data
            at += stretch.length
        return at

    def _trail_of(self, frame: _Frame, at: int) -> deque[_Passed]:
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
                self.unlearned = _Unlearned(head, at, inner.tag, inner.start, self.steps - 1)

    def _learn_sequence(self, known: Table, sequence: _Unlearned, end: int) -> None:
        begin = sequence.at
        spans = self._spans(begin)
        stretch = None
        if (
            len(spans) < STRETCH_LIMIT
            and end - begin - sum(stop - start for start, stop, _ in spans) <= STRUCTURE_LIMIT
        ):
            picks = self._pick(sequence.tag, "SQ", sequence.start - begin, end - begin)
            steps = self.steps - sequence.steps
            stretch = Stretch(self.data, begin, end - begin, spans, picks, steps, True)
        known.learn(sequence.head, stretch)

    def _learn_elements(self, frame: _Frame) -> None:
        """Learn the plain elements that the trail has, and begin another. Pixel data may only be the last of them."""
        trail = self.trail
        if trail and frame.known is not None:
            head, _, _, begin, _, _ = trail[0]
            picks: list[Pick] = []
            for _, tag, vr, _, start, stop in trail:
                if tag in self.wanted:
                    picks += self._pick(tag, vr, start - begin, stop - begin)
            stretch = Stretch(
                self.data, begin, trail[-1][5] - begin, self._spans(begin), picks, len(trail), False
            )
            last = trail[-1][3]
            if last == self.pixel_data:
                stretch.pixel_data = last - begin
            frame.known.learn(head, stretch)
            trail.clear()

    def _spans(self, begin: int) -> list[Span]:
        """The values of the trail. Those without a known VR were looked at for being a sequence."""
        return [
            (start - begin, stop - begin, vr in ("", "UN") and stop - start >= ITEM_LENGTH)
            for _, _, vr, _, start, stop in self.trail
        ]

    def _pick(self, tag: int, vr: str, start: int, end: int) -> list[Pick]:
        """An element's value, if it is wanted and not too long."""
        name = self.wanted.get(tag)
        if name is None or end - start > VALUE_LIMIT:
            return []
        return [(tag, vr if vr in _TELLING_VRS else name, start, end)]


def _is_element(data: Buffer, at: int, encoding: Encoding) -> bool:
    """Whether something of group 0000 or 0002 is an element, and not what a damaged file has in the place of one."""
    if encoding.is_implicit:
        return any(data[at : at + HEAD_SIZE])
    return looks_like_vr(bytes(data[at + 4 : at + 6]))


def item_encoding(data: Buffer, at: int, encoding: Encoding) -> Encoding:
    """The encoding of an item; some writers put implicit VR into an explicit VR data set."""
    vr = bytes(data[at + 4 : at + 6])
    if encoding.is_implicit or looks_like_vr(vr) or vr == b"\0\0":
        return encoding
    return IMPLICIT_LITTLE if encoding.is_little_endian else IMPLICIT_BIG
