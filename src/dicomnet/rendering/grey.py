"""Stored values of a grayscale image to 8 bits: modality LUT, VOI LUT, presentation LUT shape (PS3.4 section N.2.1).

Where the values are few, what becomes of each is put down in one table, and the pixels are looked up in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from .image import Image, Stored
from .view import PRESETS, Function, NotRendered, Reason, Window

Array = np.ndarray[Any, np.dtype[Any]]
Pixels = np.ndarray[Any, np.dtype[np.uint8]]

_WHITE = 255
# Up to this many bits a value is looked up in a table.
_TABLE_BITS = 16
# An image of so few bits, without a window, is shown by all values that it could have.
_FEW_BITS = 8


def grey(image: Image, number: int, stored: Stored, asked: Window | str | None) -> Pixels:
    """The pixels of a frame, from black to white.

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
    values = stored.values
    modality = _Modality(image, groups)
    voi = _voi(groups, asked, modality, image.is_little_endian)
    if voi is None:
        voi = partial(_full_range, *_range_of(image, stored, modality))
    is_inverse = (
        stored.photometric == "MONOCHROME1" or image.attributes.get("PresentationLUTShape") == "INVERSE"
    )

    def shown(some: Array) -> Pixels:
        result: Pixels = np.floor(voi(modality(some)) + 0.5).astype(np.uint8)
        if is_inverse:
            np.subtract(_WHITE, result, out=result)
        return result

    if values.dtype.kind == "f":
        return shown(np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf))
    if 8 * values.dtype.itemsize > _TABLE_BITS:
        return shown(values)
    size = 1 << 8 * values.dtype.itemsize
    unsigned = np.arange(size, dtype=f"u{values.dtype.itemsize}")
    table = shown(unsigned.view(values.dtype))
    return cast(Pixels, table[values.view(unsigned.dtype)])


class _Modality:
    """From stored values to values with a meaning (PS3.3 section C.11.1).

    Parameters
    ----------
    image
        The image.
    groups
        Where its attributes are, for this frame.
    """

    def __init__(self, image: Image, groups: Sequence[Dataset]) -> None:
        self._table = None
        slope, intercept = (_number(groups, "PixelValueTransformationSequence", name) for name in _RESCALE)
        self._slope, self._intercept = slope or 1.0, intercept or 0.0
        found = image.attributes.get("ModalityLUTSequence")
        if found:
            self._table = _Table(found[0], image.is_little_endian, may_be_negative=image.is_signed)
        self.may_be_negative = self._table is None and (
            image.is_signed or self._intercept < 0 or self._slope < 0
        )

    def __call__(self, stored: Array) -> Array:
        if self._table is not None:
            return self._table.look_up(stored).astype(np.float64)
        return stored * self._slope + self._intercept


_RESCALE = ("RescaleSlope", "RescaleIntercept")


class _Table:
    """A lookup table of a file (PS3.3 sections C.11.1.1 and C.11.2.1.1).

    Parameters
    ----------
    item
        With its descriptor and data.
    is_little_endian
        The order of the bytes in words.
    may_be_negative
        Whether the first value that it maps is a signed number.

    Raises
    ------
    NotRendered
        If it is damaged.
    """

    def __init__(self, item: Dataset, is_little_endian: bool, *, may_be_negative: bool) -> None:
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
        self._first = first
        self.highest = (1 << bits) - 1
        self._entries = np.minimum(lut_entries(data, count, is_little_endian), self.highest)

    def look_up(self, values: Array) -> Array:
        """What values are mapped to; those outside of it, to its first and last entry."""
        places = np.clip(np.rint(values) - self._first, 0, len(self._entries) - 1)
        return cast(Array, self._entries[places.astype(np.int64)])


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
            Reason.DAMAGED, f"a lookup table of it has {len(entries)} entries instead of {count}"
        )
    return entries[:count].astype(np.int64) & 0xFFFF


def _voi(groups: Sequence[Dataset], asked: Window | str | None, modality: _Modality, little: bool) -> Any:
    """What makes 0 to 255 of values, as floats; None if nobody says."""
    if isinstance(asked, Window):
        return partial(apply_window, asked)
    macro = "FrameVOILUTSequence"
    if asked is not None:
        return partial(apply_window, _named(groups, asked))
    tables = groups[-1].get("VOILUTSequence")
    if tables:
        table = _Table(tables[0], little, may_be_negative=modality.may_be_negative)
        return lambda values: table.look_up(values) * (_WHITE / table.highest)
    window = window_of(
        _value(groups, macro, "WindowCenter"),
        _value(groups, macro, "WindowWidth"),
        _value(groups, macro, "VOILUTFunction"),
    )
    return None if window is None else partial(apply_window, window)


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


def apply_window(window: Window, values: Array) -> Array:
    """From values to 0 … 255 (PS3.3 sections C.11.2.1.2 and C.11.2.1.3), without rounding."""
    center, width = window.center, window.width
    if window.function is Function.SIGMOID:
        with np.errstate(over="ignore"):
            return cast(Array, _WHITE / (1 + np.exp(-4 * (values - center) / width)))
    if window.function is Function.LINEAR:
        center, width = center - 0.5, width - 1
    low = center - width / 2
    if width == 0:
        return np.where(values <= low, 0.0, float(_WHITE))
    return np.clip((values - low) / width * _WHITE, 0, _WHITE)


def _full_range(low: float, high: float, values: Array) -> Array:
    if high <= low:
        return np.where(values > low, float(_WHITE), 0.0)
    return np.clip((values - low) / (high - low) * _WHITE, 0, _WHITE)


def _range_of(image: Image, stored: Stored, modality: _Modality) -> tuple[float, float]:
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
    low, high = np.sort(modality(ends))
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
