"""Which picture a request asks for, from its query parameters (PS3.18 sections 8.3.5.1 and 9.4.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from starlette.datastructures import QueryParams

from ....rendering.view import PICTURES, View, Viewport, Window, quality_of
from ....values import replace
from ..http.problems import Problem

Parsed = TypeVar("Parsed")

# The most frames of one request.
_FRAMES = 1000
# The longest number of a frame, in digits.
_DIGITS = 9


def view_of(parameters: QueryParams, media_types: Sequence[str]) -> View:
    """What the query parameters of a rendered resource say; those that are not known are passed over.

    Annotations are never burned in, and no color profile is applied.

    Parameters
    ----------
    parameters
        The query parameters.
    media_types
        What is accepted, the best first.

    Raises
    ------
    Problem
        With status 400 if one of them is not valid.
    """
    view = View(media_types=media_types)
    window, viewport, quality = (parameters.get(name) for name in ("window", "viewport", "quality"))
    if window is not None:
        # Without a comma it is the name of one, which the standard does not have.
        view = replace(view, window=_parsed(Window.of, window) if "," in window else window)
    if viewport is not None:
        view = replace(view, viewport=_parsed(Viewport.of, viewport))
    if quality is not None:
        view = replace(view, quality=_parsed(quality_of, quality))
    return view


def uri_view_of(parameters: QueryParams, media_types: Sequence[str] = PICTURES) -> View:
    """What the query parameters of the URI service say of a picture; parameters and exception as of `view_of`."""
    view = View(media_types=media_types)
    frame, quality = parameters.get("frameNumber"), parameters.get("imageQuality")
    if frame is not None:
        numbers = _parsed(_frames_of, frame)
        if len(numbers) > 1:
            raise Problem(400, "frameNumber is the number of one frame")
        view = replace(view, frame=numbers[0])
    if quality is not None:
        view = replace(view, quality=_parsed(quality_of, quality))
    center, width = parameters.get("windowCenter"), parameters.get("windowWidth")
    if (center is None) != (width is None):
        raise Problem(400, "windowCenter and windowWidth go together")
    if center is not None:
        view = replace(view, window=_parsed(Window.of, f"{center},{width}"))
    return replace(view, viewport=_uri_viewport(parameters))


def _uri_viewport(parameters: QueryParams) -> Viewport | None:
    rows, columns, region = (parameters.get(name) for name in ("rows", "columns", "region"))
    if rows is columns is region is None:
        return None
    sides = [None if side is None else _parsed(_side_of, side) for side in (columns, rows)]
    if region is None:
        return _parsed(lambda _: Viewport(sides[0], sides[1]), "")
    parts = region.split(",")
    try:
        left, top, right, bottom = map(float, parts)
    except ValueError:
        left = right = top = bottom = 0.0
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise Problem(400, "the region must be xmin,ymin,xmax,ymax, each from 0 to 1")
    return _parsed(
        lambda _: Viewport(sides[0], sides[1], left, top, right - left, bottom - top, is_relative=True), ""
    )


def frames_of(text: str) -> list[int]:
    """The numbers of frames in a path, in order.

    Raises
    ------
    Problem
        With status 400 if it is no list of numbers from 1 on, or too long.
    """
    return _parsed(_frames_of, text)


def _frames_of(text: str) -> list[int]:
    parts = text.split(",")
    if len(parts) > _FRAMES:
        raise ValueError(f"at most {_FRAMES} frames can be asked for at once")
    if not all(part.isdecimal() and part.isascii() and len(part) <= _DIGITS and int(part) for part in parts):
        raise ValueError("frames are numbers from 1 on, with commas between them")
    return [int(part) for part in parts]


def _side_of(text: str) -> int:
    if not (text.isdecimal() and text.isascii() and len(text) <= _DIGITS):
        raise ValueError("rows and columns must be whole numbers of pixels")
    return int(text)


def _parsed(parse: Callable[[str], Parsed], text: str) -> Parsed:
    try:
        return parse(text)
    except ValueError as error:
        raise Problem(400, str(error)) from None
