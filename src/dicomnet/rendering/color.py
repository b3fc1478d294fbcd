"""Stored values of a color image to red, green and blue of 8 bits (PS3.3 sections C.7.6.3.1.2 and C.7.9)."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from pydicom.dataset import Dataset

from .grey import lut_entries
from .image import Array, Image, Stored
from .view import NotRendered, Reason

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

_COLORS = ("Red", "Green", "Blue")
# ITU-R BT.601: how much of red, green and blue is in the luminance.
_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114
# What a step of the differences to blue and to red adds to red, green and blue.
_OF_CB = (0.0, -_BLUE * 2 * (1 - _BLUE) / _GREEN, 2 * (1 - _BLUE))
_OF_CR = (2 * (1 - _RED), -_RED * 2 * (1 - _RED) / _GREEN, 0.0)
# By photometric interpretation: black, and by how much a step of luminance and of the differences is wider.
_YBR = {
    "YBR_FULL": (0, 1.0, 1.0),
    "YBR_FULL_422": (0, 1.0, 1.0),
    "YBR_PARTIAL": (16, 255 / 219, 255 / 224),
    "YBR_PARTIAL_420": (16, 255 / 219, 255 / 224),
    "YBR_PARTIAL_422": (16, 255 / 219, 255 / 224),
}
# A codec of JPEG 2000 that is asked for samples gives these.
_RGB = ("RGB", "YBR_RCT", "YBR_ICT")


def color(stored: Stored) -> Pixels:
    """The pixels of a frame that has three samples a pixel.

    Raises
    ------
    NotRendered
        If it is not known what the samples mean.
    """
    samples = stored.values
    if 8 * samples.dtype.itemsize > 8 or stored.bits != 8:
        highest = (1 << stored.bits) - 1
        samples = np.floor(np.clip(samples / highest, 0, 1) * 255 + 0.5).astype(np.uint8)
    elif samples.dtype.kind == "i":
        samples = samples.view(np.uint8)
    if stored.photometric in _RGB:
        return cast(Pixels, samples)
    if stored.photometric not in _YBR:
        raise NotRendered(Reason.NO_DECODER, f"images in {ascii(stored.photometric)[1:-1]} are not shown")
    return _to_rgb(samples, *_YBR[stored.photometric])


def _to_rgb(samples: Pixels, black: int, wider: float, wider_differences: float) -> Pixels:
    """From luminance and differences, each of which has few values: what they add is looked up."""
    steps = np.arange(256, dtype=np.float32)
    luminance = ((steps - black) * wider)[samples[..., 0]]
    differences = (steps - 128) * wider_differences
    result = np.empty(samples.shape, np.uint8)
    for place, (of_cb, of_cr) in enumerate(zip(_OF_CB, _OF_CR, strict=True)):
        one = luminance + np.float32(0.5)
        for sample, factor in ((1, of_cb), (2, of_cr)):
            if factor:
                one += (differences * np.float32(factor))[samples[..., sample]]
        result[..., place] = np.clip(one, 0, 255)
    return result


def palette(image: Image, stored: Stored) -> Pixels:
    """The pixels of a frame whose values are places in a palette.

    Raises
    ------
    NotRendered
        If the palette is damaged.
    """
    found = image.attributes
    values = stored.values
    result = np.empty((*values.shape, 3), np.uint8)
    tables = [_table(found, name, image.is_little_endian) for name in _COLORS]
    # Some writers have 8 bits in words and say 16.
    wide = [(entries, bits) for _, entries, bits in tables]
    is_narrow = all(bits == 8 or entries.max() <= 255 for entries, bits in wide)
    for place, (first, entries, bits) in enumerate(tables):
        own = 8 if is_narrow else bits
        shades = np.minimum(entries >> max(own - 8, 0), 255).astype(np.uint8)
        if values.dtype.itemsize <= 2:
            every = np.arange(1 << 8 * values.dtype.itemsize, dtype=f"u{values.dtype.itemsize}")
            known = shades[np.clip(every.view(values.dtype).astype(np.int64) - first, 0, len(shades) - 1)]
            result[..., place] = known[values.view(every.dtype)]
        else:
            result[..., place] = shades[np.clip(values.astype(np.int64) - first, 0, len(shades) - 1)]
    return result


def _table(found: Dataset, name: str, is_little_endian: bool) -> tuple[int, Array, int]:
    """The first value that a table of the palette maps, its entries, and their bits."""
    try:
        count, first, bits = (int(each) for each in found[f"{name}PaletteColorLookupTableDescriptor"].value)
    except (KeyError, TypeError, ValueError) as error:
        raise NotRendered(Reason.DAMAGED, "its palette has no descriptor") from error
    count = (count & 0xFFFF) or 1 << 16
    if found.get("PixelRepresentation") == 1 and first >= 1 << 15:
        first -= 1 << 16
    if bits not in (8, 16):
        raise NotRendered(Reason.DAMAGED, f"its palette has entries of {bits} bits, and not of 8 or 16")
    data = found.get(f"{name}PaletteColorLookupTableData")
    if data is not None:
        return first, lut_entries(data, count, is_little_endian), bits
    segments = found.get(f"Segmented{name}PaletteColorLookupTableData")
    if segments is None:
        raise NotRendered(Reason.DAMAGED, "its palette has no data")
    if bits == 8 and not is_little_endian:
        segments = np.frombuffer(segments, "u2").byteswap().tobytes()
    order = "u1" if bits == 8 else "<u2" if is_little_endian else ">u2"
    numbers = np.frombuffer(segments, order, len(segments) // np.dtype(order).itemsize).tolist()
    try:
        entries = _Segments(numbers, bits, count).expand()
    except IndexError as error:
        raise NotRendered(Reason.DAMAGED, "its segmented palette is cut off") from error
    return first, lut_entries(entries, count, is_little_endian), bits


class _Segments:
    """A table as segments (PS3.3 section C.7.9.2).

    Parameters
    ----------
    numbers
        The data.
    bits
        Of a number.
    count
        How many entries there are to be.
    """

    def __init__(self, numbers: list[int], bits: int, count: int) -> None:
        self._numbers = numbers
        self._bits = bits
        self._count = count
        self._entries: list[int] = []

    def expand(self) -> list[int]:
        """The entries; segments that lead nowhere end with as many as there are to be."""
        at = 0
        while len(self._entries) < self._count:
            at = self._segment(at, may_refer=True)
        return self._entries

    def _segment(self, at: int, *, may_refer: bool) -> int:
        """Add what a segment has; returns where the next one is."""
        kind, length = self._numbers[at], self._numbers[at + 1]
        at += 2
        if kind == 0:
            self._entries += self._numbers[at : at + length]
            return at + length
        if kind == 1 and self._entries:
            begin, end = self._entries[-1], self._numbers[at]
            self._entries += [round(begin + (end - begin) * step / length) for step in range(1, length + 1)]
            return at + 1
        if kind == 2 and may_refer:
            # The least significant part comes first, in bytes of either order.
            parts = self._numbers[at : at + 32 // self._bits]
            place = sum(part << self._bits * index for index, part in enumerate(parts))
            for _ in range(length):
                if len(self._entries) < self._count:
                    place = self._segment(place, may_refer=False)
            return at + 32 // self._bits
        raise NotRendered(Reason.DAMAGED, f"its segmented palette has a segment of the kind {kind}")
