"""What was learned of data sets: objects of a series have the same headers, and only their values differ.

A walk looks at the bytes between the values, and at the first bytes of a value that may be a sequence in disguise.
Where those are as they were in an earlier data set, it would go the same way, so it need not be made again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct

from ..values import Buffer
from .elements import Encoding, Head

ITEM_MARK = b"\xfe\xff\x00\xe0"
# What begins with the mark of an item and is at least as long as one may be a sequence whose VR was not known.
ITEM_LENGTH = 8

# At most this many values, and bytes between them, in one stretch.
STRETCH_LIMIT, STRUCTURE_LIMIT = 256, 4096
# The size of all stretches of a table together. A scanner may come to have eight tables, of 5 MB or so.
TABLE_LIMIT = 1 << 15
# After this many data sets learning begins anew: of very different ones, only short stretches are common to all.
REFRESH = 4096

# Where a value begins and ends, and whether it was looked at for being a sequence.
Span = tuple[int, int, bool]
# A wanted attribute: its tag, its VR, and where its value begins and ends.
Pick = tuple[int, str, int, int]


class Stretch:
    """Some elements, one behind the other, that have been walked. It holds no value of them.

    Parameters
    ----------
    data
        The data set.
    begin
        Where the stretch begins in it. All other places count from there.
    end
        Where it ends.
    spans
        Its values in their order.
    picks
        What is wanted of it, in its order.
    steps
        How many elements and items the walk met.
    is_sequence
        Whether it is one sequence with all its items. Else there is one value an element.

    Attributes
    ----------
    read, between
        How to get the bytes between the values, and what they are.
    suspicious
        How to get the first bytes of the values that were looked at for being a sequence; None where none was.
    pixel_data
        Where the element with pixel data begins, which is the last one then; None where there is none.
    pick
        How to get the values of the wanted attributes; None where there is none.
    tags, vrs
        What these are: their tags and their VRs.
    """

    __slots__ = (
        "between",
        "is_sequence",
        "length",
        "pick",
        "picks",
        "pixel_data",
        "read",
        "spans",
        "steps",
        "suspicious",
        "tags",
        "vrs",
    )

    def __init__(
        self,
        data: Buffer,
        begin: int,
        end: int,
        spans: Sequence[Span],
        picks: Sequence[Pick],
        steps: int,
        is_sequence: bool,
    ) -> None:
        self.spans = spans
        self.picks = picks
        self.pixel_data: int | None = None
        self.steps = steps
        self.is_sequence = is_sequence
        self.length = end
        gaps: list[tuple[int, int]] = []
        at = 0
        for start, stop, _ in spans:
            gaps.append((at, start))
            at = stop
        if at < end:
            gaps.append((at, end))
        # What is behind the last of them, such as pixel data, need not be at hand.
        self.read = _reader(gaps)
        self.between = self.read(data, begin)
        suspects = [(start, start + len(ITEM_MARK)) for start, _, is_suspect in spans if is_suspect]
        self.suspicious = _reader(suspects) if suspects else None
        self.pick = _reader([(start, stop) for _, _, start, stop in picks]) if picks else None
        self.tags = tuple(tag for tag, _, _, _ in picks)
        self.vrs = tuple(vr for _, vr, _, _ in picks)

    def shared_with(self, data: Buffer, begin: int) -> Stretch | None:
        """What comes before the first difference to what is there in another data set; None where that is nothing."""
        pairs = enumerate(zip(self.between, self.read(data, begin), strict=True))
        same = next((at for at, (ours, theirs) in pairs if ours != theirs), 0)
        if self.is_sequence or not same:
            return None
        spans = self.spans[:same]
        end = spans[-1][1]
        return Stretch(data, begin, end, spans, [one for one in self.picks if one[3] <= end], same, False)


def _reader(places: Sequence[tuple[int, int]]) -> Callable[[Buffer, int], tuple[bytes, ...]]:
    """Get what lies at some places, which are in their order."""
    layout: list[str] = []
    at = 0
    for start, stop in places:
        layout.append(f"{start - at}x{stop - start}s")
        at = stop
    return Struct("".join(layout)).unpack_from


def _size_of(stretch: Stretch | None) -> int:
    """What an entry counts for in a table: one, one a value, and one for each 16 bytes between them."""
    return 1 if stretch is None else 1 + len(stretch.spans) + sum(map(len, stretch.between)) // 16


class Table(dict[Head, Stretch | None]):
    """The stretches that may begin with an element, by its head.

    None stands for what differs from data set to data set, and is walked each time.
    """

    __slots__ = ("_size",)

    def __init__(self) -> None:
        super().__init__()
        self._size = 0

    def learn(self, head: Head, stretch: Stretch | None) -> None:
        """Remember a stretch, and forget all the others where there are too many."""
        size = _size_of(stretch)
        more = size - (_size_of(self[head]) if head in self else 0)
        self._size += more
        if self._size > TABLE_LIMIT:
            self.clear()
            self._size = size
        self[head] = stretch


class KnownHeaders:
    """The tables of a `HeaderScanner`: one for the top levels and one for the items of data sets of each encoding.

    May be shared between threads without a lock: an entry is complete when it is put there, and what is not there is
    walked. Two threads that learn at once may make a table's size inexact, until `REFRESH` puts it right.
    """

    def __init__(self) -> None:
        self._tables: dict[tuple[Encoding, bool], Table] = {}
        self._data_sets = 0

    def count(self) -> None:
        """Another data set is going to be looked at."""
        self._data_sets += 1
        if self._data_sets % REFRESH == 0:
            self._tables.clear()

    def table(self, encoding: Encoding, is_top: bool) -> Table:
        """What is learned of data sets of an encoding: of their top levels, or of the items in them."""
        key = (encoding, is_top)
        found = self._tables.get(key)
        return found if found is not None else self._tables.setdefault(key, Table())
