"""From a file and a view to the picture, as bytes: what a process apart does for each request."""

from __future__ import annotations

from io import BytesIO
from math import floor
from typing import Any, BinaryIO

import numpy as np
from PIL import Image as Pictures

from ..datasets.apart import Answer, Result
from .color import color, palette
from .grey import Pixels, grey
from .image import MOST_SAMPLES, Image, LastImage
from .png import png
from .view import JPEG, LONGEST_SIDE, PDF, PICTURES, PNG, NotRendered, Reason, Shown, View, Viewport

# Beyond this a pixel is no rectangle that anybody has measured.
_LONGEST_PIXEL = 20.0
# Spacings that differ by less are equal but for rounding.
_SAME = 0.01
# A picture that is to become much smaller is first reduced by a whole number, to this many times of its size.
_REDUCED_TO = 2.0
# From this quality on, colors keep their resolution.
_FULL_COLOR = 90
# The longest side of a JPEG picture, in pixels.
_JPEG_SIDE = 65_500


_LAST = LastImage()


def answer(question: Answer, content: BinaryIO) -> tuple[Answer, Result]:
    """Render what another process of ours asks for; see `Renderers`."""
    try:
        media_type, picture, shown = _picture(_LAST.open(content), View.from_json(question["view"]))
    except NotRendered as error:
        return {"error": error.cause, "reason": error.reason.value}, b""
    return {"media_type": media_type, "shown": shown and shown.to_json()}, picture


def render(file: BinaryIO, view: View) -> tuple[str, Result]:
    """Make a picture of an object.

    Parameters
    ----------
    file
        The whole file; of one with many frames only what is needed is read.
    view
        What is asked for.

    Returns
    -------
    str, bytes or memoryview
        The media type, one of those that are asked for, and the content.

    Raises
    ------
    NotRendered
        If there is no such picture.
    """
    media_type, picture, _ = _picture(Image(file), view)
    return media_type, picture


def _picture(image: Image, view: View) -> tuple[str, Result, Shown | None]:
    if not image.has_pixels:
        return *_document(image, view), None
    media_type = next((each for each in view.media_types if each in PICTURES), None)
    if media_type is None:
        raise NotRendered(Reason.NO_PIXELS, f"an image is rendered as {' or '.join(PICTURES)} only")
    number = image.representative() if view.frame is None else view.frame
    if not 1 <= number <= image.frames:
        raise NotRendered(Reason.NO_SUCH_FRAME, f"there is no frame {number}: the object has {image.frames}")
    values, shown = frame_pixels(image, number, view)
    pixels = _placed(values, image, number, view.viewport)
    if media_type == JPEG and max(pixels.size) > _JPEG_SIDE:
        raise NotRendered(Reason.TOO_MUCH, f"a picture of {pixels.width} x {pixels.height} is no JPEG")
    if media_type == PNG:
        return media_type, png(np.asarray(pixels)), shown
    result = BytesIO()
    subsampling = 0 if view.quality >= _FULL_COLOR else 2
    pixels.save(result, "JPEG", quality=view.quality, subsampling=subsampling)
    return media_type, result.getbuffer(), shown


def frame_pixels(image: Image, number: int, view: View) -> tuple[Pixels, Shown | None]:
    """The pixels of a frame, of 8 bits: rows × columns, or rows × columns × 3; and their window, if they have one."""
    stored = image.frame(number)
    if stored.samples.ndim == 3:
        return color(stored), None
    if stored.photometric == "PALETTE COLOR":
        return palette(image, stored), None
    return grey(image, number, stored, view.window)


def _document(image: Image, view: View) -> tuple[str, Result]:
    content = image.document()
    if content is None:
        raise NotRendered(Reason.NO_PIXELS, "the object has no pixels, and is not rendered")
    if PDF not in view.media_types:
        raise NotRendered(Reason.NO_PIXELS, f"the object is a document, which is rendered as {PDF} only")
    return PDF, content


def _placed(pixels: Pixels, image: Image, number: int, viewport: Viewport | None) -> Pictures.Image:
    """Cut out, scaled and flipped as the viewport says; with square pixels in any case."""
    picture = Pictures.fromarray(np.ascontiguousarray(pixels))
    tall = _height_of_pixel(image, number)
    if viewport is None:
        if tall == 1:
            return picture
        return _scaled(
            picture, (0, 0, image.columns, image.rows), _stretched(image.columns, image.rows, tall)
        )
    left, top, right, bottom = box = _region(image, viewport)
    width, height = right - left, (bottom - top) * tall
    pairs = ((viewport.width, width), (viewport.height, height))
    scale = min((limit / side for limit, side in pairs if limit is not None), default=1.0)
    across, down = (min(limit or LONGEST_SIDE, _round(side * scale)) for limit, side in pairs)
    size = (across, down)
    picture = _scaled(picture, box, size)
    if (viewport.region_width or 1) < 0:
        picture = picture.transpose(Pictures.Transpose.FLIP_LEFT_RIGHT)
    if (viewport.region_height or 1) < 0:
        picture = picture.transpose(Pictures.Transpose.FLIP_TOP_BOTTOM)
    return picture


def _scaled(
    picture: Pictures.Image, box: tuple[float, float, float, float], size: tuple[int, int]
) -> Pictures.Image:
    if size[0] * size[1] * len(picture.getbands()) > MOST_SAMPLES:
        raise NotRendered(Reason.TOO_MUCH, f"a picture of {size[0]} x {size[1]} pixels is too large")
    left, top, right, bottom = (int(edge) for edge in box)
    is_whole = all(edge == int(edge) for edge in box)
    if is_whole and size == (right - left, bottom - top):
        return picture.crop((left, top, right, bottom))
    return picture.resize(size, Pictures.Resampling.BILINEAR, box, _REDUCED_TO)


def _region(image: Image, viewport: Viewport) -> tuple[float, float, float, float]:
    """The part of the image that is shown, as far as there is an image."""
    edges = []
    for begin, size, whole in (
        (viewport.left, viewport.region_width, image.columns),
        (viewport.top, viewport.region_height, image.rows),
    ):
        if viewport.is_relative:
            begin, size = begin * whole, None if size is None else size * whole
        end = whole if size is None else min(begin + abs(size), whole)
        if end <= begin:
            raise NotRendered(
                Reason.BAD_VIEW,
                f"the region that the viewport shows lies outside of the image of {image.columns} x {image.rows}",
            )
        edges.append((float(begin), float(end)))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom


def _stretched(width: int, height: int, tall: float) -> tuple[int, int]:
    """A size with square pixels; it becomes larger, so that nothing is lost."""
    return (width, _round(height * tall)) if tall > 1 else (_round(width / tall), height)


def _round(value: float) -> int:
    return max(1, floor(value + 0.5))


def _height_of_pixel(image: Image, number: int) -> float:
    """How tall a pixel of a frame is, in its widths (PS3.3 section C.7.6.3.1.7)."""
    places: list[Any] = [image.attributes.get("PixelAspectRatio")]
    if not places[0]:
        groups = image.groups(number)
        measures = [item for group in groups for item in (group.get("PixelMeasuresSequence") or ())[:1]]
        places = [item.get("PixelSpacing") for item in measures]
        places += [image.attributes.get(keyword) for keyword in _SPACINGS]
    for found in places:
        try:
            height, width = (float(each) for each in found)
        except (TypeError, ValueError):
            continue
        if height > 0 and width > 0:
            ratio = height / width
            is_square = abs(ratio - 1) < _SAME or not 1 / _LONGEST_PIXEL <= ratio <= _LONGEST_PIXEL
            return 1.0 if is_square else ratio
    return 1.0


_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
