"""Where the frames of an object are, so that each can be read without the others (PS3.5 section 8 and A.4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from struct import unpack
from typing import Any, BinaryIO, Final

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from ..encoding.transfer_syntaxes import transfer_syntax
from ..errors import UnusableObject
from ..values import frozen
from .headers import PixelData, fragments, read_header

_CHUNK: Final = 1 << 19
_EXTENDED_OFFSETS: Final = 0x7FE00001
# Samples to pixels, where several of these share some in native form (PS3.3 section C.7.6.3.1.2).
_SUBSAMPLED = {"YBR_FULL_422": (2, 1), "YBR_PARTIAL_422": (2, 1), "YBR_PARTIAL_420": (3, 2)}
_BITS = {0x7FE00008: 32, 0x7FE00009: 64}
# What the codestreams of JPEG, JPEG-LS, JPEG 2000 and HTJ2K begin with, JP2 files, and JPEG XL.
_BEGINNINGS = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP", b"\xff\x0a", b"\0\0\0\x0cJXL ")

Span = tuple[int, int]
"""Where something begins in a stream, and where it ends, in bytes."""


@frozen
class FrameTable:
    """Where the frames of an object are in its stream.

    Parameters
    ----------
    transfer_syntax_uid
        Of the object.
    count
        How many frames it has; of a video 1, which is all of it.
    spans
        For each frame the spans whose bytes are it, where they are in fragments; None where they are native.
    offset
        Where native pixel data begins, in bytes.
    frame_bits
        How long a native frame is, in bits.
    """

    transfer_syntax_uid: str
    count: int
    spans: Sequence[tuple[Span, ...]] | None
    offset: int = 0
    frame_bits: int = 0

    def length(self, number: int) -> int:
        """The length of a frame in bytes; frames are counted from 1."""
        if self.spans is None:
            return (self.frame_bits + 7) // 8
        return sum(end - begin for begin, end in self.spans[number - 1])

    def chunks(self, stream: BinaryIO, number: int) -> Iterator[bytes]:
        """The bytes of a frame, some at a time; frames are counted from 1.

        Raises
        ------
        UnusableObject
            If the stream ends before.
        OSError
            If it cannot be read.
        """
        if self.spans is not None:
            yield from chunks_of(stream, self.spans[number - 1])
            return
        first = (number - 1) * self.frame_bits
        begin, shift = self.offset + first // 8, first % 8
        end = self.offset + (first + self.frame_bits + 7) // 8
        if not shift and not self.frame_bits % 8:
            yield from _read(stream, begin, end)
            return
        # Pixels of one bit go on from one frame to the next without a gap (PS3.5 section 8.1.1).
        bits = int.from_bytes(b"".join(_read(stream, begin, end)), "little") >> shift
        yield (bits & ((1 << self.frame_bits) - 1)).to_bytes(self.length(number), "little")


def chunks_of(stream: BinaryIO, spans: Sequence[Span]) -> Iterator[bytes]:
    """The bytes of some spans, some at a time; exceptions are those of `FrameTable.chunks`."""
    for begin, end in spans:
        yield from _read(stream, begin, end)


def _read(stream: BinaryIO, begin: int, end: int) -> Iterator[bytes]:
    stream.seek(begin)
    for left in range(end - begin, 0, -_CHUNK):
        chunk = stream.read(min(left, _CHUNK))
        if len(chunk) != min(left, _CHUNK):
            raise UnusableObject("its pixel data is cut off")
        yield chunk


def frame_table(stream: BinaryIO, transfer_syntax_uid: str) -> FrameTable | None:
    """Find the frames of an object; None if it has no pixel data.

    Parameters
    ----------
    stream
        At the beginning of the data set, which is in little endian and not deflated.
    transfer_syntax_uid
        UID of its transfer syntax.

    Raises
    ------
    UnusableObject
        If it is damaged, or nothing tells where its frames begin.
    OSError
        If it cannot be read.
    """
    data_set, pixels = read_header(stream, transfer_syntax_uid)
    if pixels is None:
        return None
    count = _integer(data_set, "NumberOfFrames", 1)
    if pixels.length is None:
        if transfer_syntax(transfer_syntax_uid).is_video:
            count = 1
        extended = _extended_table(stream, data_set)
        return FrameTable(transfer_syntax_uid, count, spans_of_frames(stream, pixels.offset, count, extended))
    if transfer_syntax(transfer_syntax_uid).is_encapsulated and pixels.tag not in _BITS:
        raise UnusableObject("its pixel data is not in fragments, against its transfer syntax")
    frame_bits = _frame_bits(data_set, pixels)
    if (count * frame_bits + 7) // 8 > pixels.length:
        raise UnusableObject(
            f"its pixel data has {pixels.length} bytes, its attributes ask for {(count * frame_bits + 7) // 8}"
        )
    return FrameTable(transfer_syntax_uid, count, None, pixels.offset, frame_bits)


def _frame_bits(data_set: Dataset, pixels: PixelData) -> int:
    samples = _integer(data_set, "SamplesPerPixel", 1)
    bits = _BITS.get(pixels.tag) or _integer(data_set, "BitsAllocated", 0)
    photometric = str(_value(data_set, "PhotometricInterpretation") or "")
    numerator, denominator = _SUBSAMPLED.get(photometric, (samples, 1))
    cells = _integer(data_set, "Rows", 0) * _integer(data_set, "Columns", 0)
    frame_bits = cells * bits * numerator // denominator
    if not frame_bits:
        raise UnusableObject("it does not say how large its frames are")
    return frame_bits


def _value(data_set: Dataset, keyword: str) -> Any:
    try:
        return data_set.get(keyword)
    except Exception as error:
        # pydicom raises whatever the value leads to.
        raise UnusableObject(f"its {keyword} cannot be read") from error


def _integer(data_set: Dataset, keyword: str, default: int) -> int:
    value = _value(data_set, keyword)
    if value is None or value == "":
        return default
    try:
        number = int(value)
    except (TypeError, ValueError) as error:
        raise UnusableObject(f"its {keyword} is not a number") from error
    if number < 0:
        raise UnusableObject(f"its {keyword} is below 0")
    return number or default


def spans_of_frames(stream: BinaryIO, offset: int, count: int, extended: bytes) -> Sequence[tuple[Span, ...]]:
    """For each frame of encapsulated pixel data the spans whose bytes are it.

    Parameters
    ----------
    stream
        Has the pixel data.
    offset
        Where their value begins, in bytes.
    count
        How many frames there are to be.
    extended
        Extended Offset Table (7FE0,0001); empty where there is none.

    Raises
    ------
    UnusableObject
        If they are damaged, or nothing tells where a frame begins.
    OSError
        If they cannot be read.
    """
    items = list(fragments(stream, offset))
    if not items:
        raise UnusableObject("its pixel data has no offset table")
    (_, begin, end), *parts = items
    table = b"".join(_read(stream, begin, end))
    if count == 1:
        return [tuple((begin, end) for _, begin, end in parts)]
    if len(parts) == count:
        # One fragment for each frame, whatever the tables say.
        return [((begin, end),) for _, begin, end in parts]
    table, form, unit = (extended, "Q", 8) if extended else (table, "L", 4)
    offsets = unpack(f"<{len(table) // unit}{form}", table[: len(table) // unit * unit])
    starts = _by_offsets(parts, offsets, count) or _by_content(stream, parts, count)
    if starts is None:
        raise UnusableObject(
            f"its {count} frames are in {len(parts)} fragments, and nothing tells which of these belong together"
        )
    ends = [*starts[1:], len(parts)]
    return [
        tuple((begin, end) for _, begin, end in parts[first:last])
        for first, last in zip(starts, ends, strict=True)
    ]


def _extended_table(stream: BinaryIO, data_set: Dataset) -> bytes:
    """Extended Offset Table (7FE0,0001), empty where there is none (PS3.3 section C.7.6.3.1.8)."""
    elements: dict[int, Any] = dict(data_set.items())
    element = elements.get(_EXTENDED_OFFSETS)
    if not isinstance(element, RawDataElement):
        return b""
    if element.value is None:
        return b"".join(_read(stream, element.value_tell, element.value_tell + element.length))
    return bytes(element.value)


def _by_offsets(
    parts: Sequence[tuple[int, int, int]], offsets: Sequence[int], count: int
) -> list[int] | None:
    """Which fragments begin a frame, by an offset table; None where that fits neither frames nor fragments."""
    if len(offsets) != count or not parts:
        return None
    numbers = {at - parts[0][0]: number for number, (at, _, _) in enumerate(parts)}
    starts = [numbers.get(offset, -1) for offset in offsets]
    return starts if starts[0] == 0 and all(a < b for a, b in pairwise(starts)) else None


def _by_content(stream: BinaryIO, parts: Sequence[tuple[int, int, int]], count: int) -> list[int] | None:
    """Which fragments begin a frame, by the marks that codestreams begin with; None where there are others."""
    starts = []
    for number, (_, begin, end) in enumerate(parts):
        stream.seek(begin)
        if stream.read(min(end - begin, 8)).startswith(_BEGINNINGS):
            starts.append(number)
    return starts if len(starts) == count and starts[0] == 0 else None
