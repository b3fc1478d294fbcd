"""What a compressed frame says of its samples by itself, beside what the attributes of its object say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Final

_ITEM = b"\xfe\xff\x00\xe0"
_JPEG = b"\xff\xd8"
_JPEG_2000 = b"\xff\x4f\xff\x51"
# Of the markers of ITU-T T.81 and T.87: those with the precision of samples, the beginning of a scan, and APP14.
_FRAMES: Final = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}
_SCAN, _FILL, _APP14 = 0xDA, 0xFF, 0xEE
# In a segment of Adobe's, from its marker: where its name is, and how colors were transformed, 1 for YCbCr.
_ADOBE, _ADOBE_AT, _TRANSFORM_AT = b"Adobe", 4, 15
# Of JPEG 2000, behind the beginning of the codestream: where the depth of the first component is.
_DEPTH_AT = 42
# RLE and deflated frames are native ones inside.
_OF_NATIVE_SAMPLES = frozenset(("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.8.1"))
_YCC = "YBR_FULL_422"


def bits_of(frame: bytes, transfer_syntax_uid: str, allocated: int) -> int | None:
    """How many bits a sample has in a frame, used ones and others; None where it does not say.

    Parameters
    ----------
    frame
        Its bytes.
    transfer_syntax_uid
        Of the object.
    allocated
        Its Bits Allocated.
    """
    if transfer_syntax_uid in _OF_NATIVE_SAMPLES:
        return allocated
    for marker, begin, end in _segments(frame):
        if marker in _FRAMES and end - begin > 4:
            return frame[begin + 4]
    begin = frame.find(_JPEG_2000, 0, 1 << 16)
    if begin >= 0 and len(frame) > begin + _DEPTH_AT:
        return (frame[begin + _DEPTH_AT] & 0x7F) + 1
    return None


def without_adobe(frame: bytes, photometric: str) -> tuple[bytes, str]:
    """A frame without Adobe's segment where that says YCbCr, and what its samples mean.

    Some decoders convert the colors of such a frame, and some do not. Without it all give the samples as they are.

    Parameters
    ----------
    frame
        Its bytes.
    photometric
        The photometric interpretation of its object.
    """
    for marker, begin, end in _segments(frame):
        segment = frame[begin:end]
        if (
            marker == _APP14
            and segment.startswith(_ADOBE, _ADOBE_AT)
            and segment[_TRANSFORM_AT : _TRANSFORM_AT + 1] == b"\x01"
        ):
            return frame[:begin] + frame[end:], _YCC if photometric == "RGB" else photometric
    return frame, photometric


def in_fragments(frames: Iterable[bytes]) -> bytes:
    """Frames as encapsulated pixel data, each in one fragment (PS3.5 section A.4), with an empty table and no end."""
    content = BytesIO()
    for frame in (b"", *frames):
        length = len(frame) + len(frame) % 2
        content.write(_ITEM + length.to_bytes(4, "little") + frame.ljust(length, b"\0"))
    return content.getvalue()


def _segments(frame: bytes) -> Iterator[tuple[int, int, int]]:
    """The segments of JPEG and JPEG-LS before the first scan: the marker, and where each begins and ends."""
    at = len(_JPEG)
    while frame.startswith(_JPEG) and at + 4 <= len(frame) and frame[at] == _FILL:
        marker = frame[at + 1]
        if marker == _SCAN:
            return
        if marker == _FILL:
            at += 1
            continue
        end = at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        yield marker, at, end
        at = end
