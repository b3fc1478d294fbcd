"""Stored values of a grayscale image to 8 bits: modality LUT, VOI LUT, presentation LUT shape (PS3.4 section N.2.1).

Where the values are few, what becomes of each is put down in one table, and the pixels are looked up in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Protocol, cast

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from ..plurals import counted
from ..values import frozen
from .image import Array, Image, Stored, used
from .view import PRESETS, Function, NotRendered, Reason, Shown, Source, Window

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

_WHITE = 255
# So many tables are kept.
_TABLES = 32
# Up to this many bits a value is looked up in a table.
_TABLE_BITS = 16
# An image of so few bits, without a window, is shown by all values that it could have.
_FEW_BITS = 8


def grey(
    image: Image, number: int, stored: Stored, asked: Window | str | None
) -> tuple[Pixels, Shown | None]:
    """The pixels of a frame, from black to white, and their window; None where all of them have one value.

    Parameters
    ----------
    image
        Its image.
    number
        The number of the frame, from 1.
    stored
        Its values.
    asked
        As of `View`.

    Raises
    ------
    NotRendered
        If there is no window of that name, or a table of the file is damaged.
    """
    groups = image.groups(number)
    modality = _modality(image, groups)
    voi, source = _voi(groups, asked, modality, image.is_little_endian)
    if voi is None:
        voi = FullRange(*_range_of(image, stored, modality))
    window = voi.window
    is_inverse = (
        stored.photometric == "MONOCHROME1" or image.attributes.get("PresentationLUTShape") == "INVERSE"
    )
    shown = None if window is None else Shown(window, source)
    return _shown(stored, _Way(modality, voi, is_inverse)), shown


def _shown(stored: Stored, way: _Way) -> Pixels:
    samples = stored.samples
    if samples.dtype.kind == "f":
        values = np.nan_to_num(samples.astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf)
        return way.to_8_bits(values)
    if 8 * samples.dtype.itemsize > _TABLE_BITS:
        return way.to_8_bits(stored.values)
    table = _table(samples.dtype.str, stored.bits, stored.high, way)
    # By indexing it takes twice as long.
    return table.take(samples.view(f"u{samples.dtype.itemsize}"))


@lru_cache(maxsize=_TABLES)
def _table(dtype: str, bits: int, high: int | None, way: _Way) -> Pixels:
    """What becomes of each sample; the images of a series have the same."""
    samples = np.arange(1 << 8 * np.dtype(dtype).itemsize).astype(f"u{np.dtype(dtype).itemsize}").view(dtype)
    return way.to_8_bits(used(samples, bits, high))


@frozen
class _Way:
    """What becomes of values on their way to be shown. One is equal to another where both do the same.

    Parameters
    ----------
    modality
        From stored values to values with a meaning.
    voi
        From those to 0 … 255, as floats.
    is_inverse
        Whether the lowest value is white.
    """

    modality: Rescaling | Table
    voi: Step
    is_inverse: bool

    def to_8_bits(self, values: Array) -> Pixels:
        """The values, from black to white."""
        result: Pixels = np.floor(self.voi.apply(self.modality.apply(values)) + 0.5).astype(np.uint8)
        if self.is_inverse:
            np.subtract(_WHITE, result, out=result)
        return result


class Step(Protocol):
    """A step on the way from stored values to those that are shown."""

    @property
    def window(self) -> Window | None:
        """The window that does the same, or has the same values between black and white; None if there is none."""
        ...

    def apply(self, values: Array) -> Array:
        """What values become by it."""
        ...


def _modality(image: Image, groups: Sequence[Dataset]) -> Rescaling | Table:
    """From stored values to values with a meaning (PS3.3 section C.11.1)."""
    found = image.attributes.get("ModalityLUTSequence")
    if found:
        return _table_of(found[0], image.is_little_endian, may_be_negative=image.is_signed)
    slope, intercept = (_number(groups, "PixelValueTransformationSequence", name) for name in _RESCALE)
    return Rescaling(slope or 1.0, intercept or 0.0, image.is_signed)


_RESCALE = ("RescaleSlope", "RescaleIntercept")


@frozen
class Rescaling:
    """Rescale slope and intercept (PS3.3 section C.11.1.1.2).

    Parameters
    ----------
    slope, intercept
        Of them.
    is_signed
        Whether stored values are.
    """

    slope: float
    intercept: float
    is_signed: bool

    @property
    def may_be_negative(self) -> bool:
        """Whether there may be values below zero."""
        return self.is_signed or self.intercept < 0 or self.slope < 0

    def apply(self, values: Array) -> Array:
        """What values become by it."""
        return values * self.slope + self.intercept


class Table:
    """A lookup table of a file (PS3.3 sections C.11.1.1 and C.11.2.1.1). Each is equal to itself only.

    Parameters
    ----------
    entries
        What it maps to.
    first
        The value that it maps to the first one of these.
    scale
        What entries are multiplied by.
    highest
        The highest entry that there could be.
    """

    may_be_negative = False

    def __init__(self, entries: Array, first: int, highest: int, scale: float = 1.0) -> None:
        self._entries = np.minimum(entries, highest) * scale
        self._first = first

    @property
    def window(self) -> Window:
        """The values that it maps."""
        count = len(self._entries)
        return Window(self._first + count / 2, count)

    def apply(self, values: Array) -> Array:
        """What values are mapped to; those outside of it, to its first and last entry."""
        places = np.clip(np.rint(values) - self._first, 0, len(self._entries) - 1)
        return cast(Array, self._entries[places.astype(np.int64)])


def _table_of(
    item: Dataset, is_little_endian: bool, *, may_be_negative: bool, white: int | None = None
) -> Table:
    """A table by its item.

    Parameters
    ----------
    item
        With its descriptor and data.
    is_little_endian
        The order of the bytes in words.
    may_be_negative
        Whether the first value that it maps is a signed number.
    white
        What its highest entry becomes; None for itself.

    Raises
    ------
    NotRendered
        If it is damaged.
    """
    try:
        count, first, bits = (int(each) for each in item.LUTDescriptor)
        data = item.LUTData
    except (AttributeError, TypeError, ValueError) as error:
        raise NotRendered(Reason.DAMAGED, "a lookup table of it has no descriptor or no data") from error
    count = (count & 0xFFFF) or 1 << 16
    if may_be_negative and first >= 1 << 15:
        first -= 1 << 16
    if not 1 <= bits <= 16:
        raise NotRendered(Reason.DAMAGED, f"a lookup table of it has entries of {bits} bits")
    highest = (1 << bits) - 1
    scale = 1.0 if white is None else white / highest
    return Table(lut_entries(data, count, is_little_endian), first, highest, scale)


def lut_entries(data: object, count: int, is_little_endian: bool) -> Array:
    """The entries of a lookup table, of which the file has numbers, or bytes of 8 or 16 bits an entry.

    Raises
    ------
    NotRendered
        If there are fewer than its descriptor says.
    """
    if isinstance(data, bytes):
        if len(data) < 2 * count and len(data) in (count, count + 1):
            if not is_little_endian:
                data = np.frombuffer(data, "u2").byteswap().tobytes()
            entries = np.frombuffer(data, "u1")
        else:
            entries = np.frombuffer(data, "<u2" if is_little_endian else ">u2", len(data) // 2)
    else:
        entries = np.asarray(data if isinstance(data, list | MultiValue) else [data])
    if len(entries) < count:
        raise NotRendered(
            Reason.DAMAGED,
            f"a lookup table of it has {counted(len(entries), 'entry', 'entries')} instead of {count}",
        )
    return entries[:count].astype(np.int64) & 0xFFFF


def _voi(
    groups: Sequence[Dataset], asked: Window | str | None, modality: Rescaling | Table, little: bool
) -> tuple[Step | None, Source]:
    """What makes 0 to 255 of values, as floats, and where that is from; None if nobody says."""
    if isinstance(asked, Window):
        return Windowing(asked), Source.REQUEST
    if asked is not None:
        return Windowing(_named(groups, asked)), Source.REQUEST
    tables = groups[-1].get("VOILUTSequence")
    if tables:
        table = _table_of(tables[0], little, may_be_negative=modality.may_be_negative, white=_WHITE)
        return table, Source.TABLE
    window = window_of(*(_value(groups, "FrameVOILUTSequence", keyword) for keyword in _WINDOW))
    return (None, Source.VALUES) if window is None else (Windowing(window), Source.IMAGE)


_WINDOW = ("WindowCenter", "WindowWidth", "VOILUTFunction")


def window_of(center: object, width: object, function: object) -> Window | None:
    """A window of a file; None if it has none that can be.

    Some writers have a linear window less than 1 wide, for values that are fractions: it is taken for an exact one.
    """
    name = Function(function) if function in _FUNCTIONS else Function.LINEAR
    with suppress(TypeError, ValueError):
        center, width = float(cast(float, center)), float(cast(float, width))
        return Window(center, width, Function.LINEAR_EXACT if name is Function.LINEAR and width < 1 else name)
    return None


_FUNCTIONS = frozenset(each.value for each in Function)


def _named(groups: Sequence[Dataset], name: str) -> Window:
    """A window by the name that the file gives it (0028,1055), or that is in use."""
    for group in groups:
        items = group.get("FrameVOILUTSequence") or ([group] if group is groups[-1] else [])
        for item in items[:1]:
            names, centers, widths = (
                _several(item.get(keyword))
                for keyword in ("WindowCenterWidthExplanation", "WindowCenter", "WindowWidth")
            )
            for explanation, center, width in zip(names, centers, widths, strict=False):
                if str(explanation).strip().lower() == name.lower() and (
                    window := window_of(center, width, item.get("VOILUTFunction"))
                ):
                    return window
    if name.lower() not in PRESETS:
        raise NotRendered(
            Reason.BAD_VIEW, f"there is no window {ascii(name)[:40]}; there are {', '.join(PRESETS)}"
        )
    return PRESETS[name.lower()]


def _several(value: object) -> Sequence[object]:
    return value if isinstance(value, list | MultiValue) else [value]


def _value(groups: Sequence[Dataset], macro: str, keyword: str) -> object:
    """The first value of an attribute: of the frame, else of all frames, else of the data set."""
    for group in groups:
        items = group.get(macro) or ([group] if group is groups[-1] else [])
        for item in items[:1]:
            value = item.get(keyword)
            if value is not None and value != "":
                return _several(value)[0] if _several(value) else None
    return None


def _number(groups: Sequence[Dataset], macro: str, keyword: str) -> float | None:
    with suppress(TypeError, ValueError):
        value = float(cast(float, _value(groups, macro, keyword)))
        return value if np.isfinite(value) else None
    return None


@frozen
class Windowing:
    """A window (PS3.3 sections C.11.2.1.2 and C.11.2.1.3), without rounding.

    Parameters
    ----------
    window
        It.
    """

    window: Window

    def apply(self, values: Array) -> Array:
        """From values to 0 … 255."""
        center, width = self.window.center, self.window.width
        if self.window.function is Function.SIGMOID:
            with np.errstate(over="ignore"):
                return cast(Array, _WHITE / (1 + np.exp(-4 * (values - center) / width)))
        if self.window.function is Function.LINEAR:
            center, width = center - 0.5, width - 1
        low = center - width / 2
        if width == 0:
            return np.where(values <= low, 0.0, float(_WHITE))
        return np.clip((values - low) / width * _WHITE, 0, _WHITE)


@frozen
class FullRange:
    """The values from the lowest to the highest one.

    Parameters
    ----------
    low, high
        They.
    """

    low: float
    high: float

    @property
    def window(self) -> Window | None:
        """That of the same values."""
        width = self.high - self.low
        if not 0 < width < np.inf:
            return None
        return Window(self.low + width / 2, width, Function.LINEAR_EXACT)

    def apply(self, values: Array) -> Array:
        """From values to 0 … 255."""
        if self.high <= self.low:
            return np.where(values > self.low, float(_WHITE), 0.0)
        return np.clip((values - self.low) / (self.high - self.low) * _WHITE, 0, _WHITE)


def _range_of(image: Image, stored: Stored, modality: Rescaling | Table) -> tuple[float, float]:
    """The values that become black and white where nobody says."""
    values = stored.values
    if values.dtype.kind != "f" and stored.bits <= _FEW_BITS:
        low = -(1 << stored.bits - 1) if image.is_signed else 0
        ends = np.array([low, low + (1 << stored.bits) - 1])
    else:
        used = _without_padding(image.attributes, values)
        if not used.size:
            return 0.0, 1.0
        ends = np.array([used.min(), used.max()])
    low, high = np.sort(modality.apply(ends))
    return float(low), float(high)


def _without_padding(attributes: Dataset, values: Array) -> Array:
    """The values that are of the patient (PS3.3 section C.7.5.1.1.2)."""
    if values.dtype.kind == "f":
        return values[np.isfinite(values)]
    padding = attributes.get("PixelPaddingValue")
    if not isinstance(padding, int):
        return values
    limit = attributes.get("PixelPaddingRangeLimit")
    low, high = sorted((padding, limit if isinstance(limit, int) else padding))
    return values[(values < low) | (values > high)]
