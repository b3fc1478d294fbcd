"""How an object is to be shown: the frame, window, viewport, and form of a picture (PS3.18 section 8.3.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from math import isfinite
from typing import Any, Self

from ..errors import UnusableObject
from ..values import frozen

JPEG, PNG, PDF = "image/jpeg", "image/png", "application/pdf"
PICTURES = (JPEG, PNG)
"""The media types that images are rendered as, the preferred one first."""

# The longest side of a viewport, in pixels.
LONGEST_SIDE = 16_384
_QUALITY = 90


class Reason(Enum):
    """Why there is no picture, for those who have to say more than that."""

    NO_PIXELS = "no pixels"
    NO_SUCH_FRAME = "no such frame"
    NO_DECODER = "no decoder"
    TOO_MUCH = "too much"
    BAD_VIEW = "bad view"
    DAMAGED = "damaged"


class NotRendered(UnusableObject):
    """An object of which there is no picture as it was asked for.

    Parameters
    ----------
    reason
        The kind of cause.
    cause
        One sentence.
    """

    def __init__(self, reason: Reason, cause: str) -> None:
        super().__init__(cause)
        self.reason = reason


class Function(Enum):
    """The functions of a window (PS3.3 section C.11.2.1.3), by their names in a file."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"

    @property
    def word(self) -> str:
        """Its name in a request (PS3.18 section 8.3.5.1.4)."""
        return self.value.lower().replace("_", "-")


@frozen
class Window:
    """The values that become the range from black to white (PS3.3 section C.11.2.1.2).

    Parameters
    ----------
    center, width
        In values after the modality LUT, such as Hounsfield units.
    function
        How values between black and white are spread.

    Raises
    ------
    ValueError
        If the width is less than the function allows.
    """

    center: float
    width: float
    function: Function = Function.LINEAR

    def __post_init__(self) -> None:
        if not (isfinite(self.center) and isfinite(self.width)):
            raise ValueError("the center and the width of a window must be finite numbers")
        if self.function is Function.LINEAR and self.width < 1:
            raise ValueError("the width of a linear window must be 1 or more (PS3.3 section C.11.2.1.2.1)")
        if self.width <= 0:
            raise ValueError("the width of a window must be more than 0")

    @classmethod
    def of(cls, text: str) -> Self:
        """A window as a request has it: center, width and, if there is a third part, the function.

        Raises
        ------
        ValueError
            With one sentence that says what is wrong.
        """
        parts = [part.strip() for part in text.split(",")]
        functions = {each.word: each for each in Function}
        if len(parts) == 2:
            parts.append(Function.LINEAR.word)
        if len(parts) != 3 or parts[2] not in functions:
            raise ValueError(
                f"the window must be center,width or center,width,function with one of {', '.join(functions)}"
            )
        return cls(_number(parts[0], "window"), _number(parts[1], "window"), functions[parts[2]])


class Source(Enum):
    """Where a window is from that a picture has."""

    REQUEST = "request"
    IMAGE = "image"
    TABLE = "table"
    """A VOI LUT of the image; the window is as wide as that."""
    VALUES = "values"
    """The lowest and the highest value, as nobody says a window."""


@frozen
class Shown:
    """The window that a picture has.

    Parameters
    ----------
    window
        It.
    source
        Where it is from.
    """

    window: Window
    source: Source

    def to_json(self) -> list[Any]:
        """It, in what JSON has."""
        return [self.window.center, self.window.width, self.window.function.value, self.source.value]

    @classmethod
    def from_json(cls, given: object) -> Self:
        """What `to_json` gave; raises ValueError where it is something else."""
        if not isinstance(given, list) or len(given) != 4:
            raise ValueError("this is not a window that is shown")
        center, width, function, source = given
        if not (isinstance(center, int | float) and isinstance(width, int | float)):
            raise ValueError("center and width are not numbers")
        return cls(Window(float(center), float(width), Function(function)), Source(source))


PRESETS: Mapping[str, Window] = {
    "abdomen": Window(40, 400),
    "bone": Window(480, 2500),
    "brain": Window(40, 80),
    "liver": Window(90, 150),
    "lung": Window(-600, 1500),
    "mediastinum": Window(50, 350),
}
"""Windows for Hounsfield units that have a name in use."""


@frozen
class Viewport:
    """The size of a picture, and the part of the image that it shows (PS3.18 section 8.3.5.1.3).

    Parameters
    ----------
    width, height
        What the picture has to fit in, in pixels; it keeps its proportions. None where any size will do; with neither,
        the picture has a pixel for each one of the image.
    left, top
        Where the part begins, in pixels of the image.
    region_width, region_height
        How large it is; None for up to the edge. Below zero, the picture is flipped.
    is_relative
        Whether the part is given in fractions of the image, as WADO-URI has it, and not in pixels.

    Raises
    ------
    ValueError
        If a size is zero, or too large.
    """

    width: int | None
    height: int | None
    left: float = 0.0
    top: float = 0.0
    region_width: float | None = None
    region_height: float | None = None
    is_relative: bool = False

    def __post_init__(self) -> None:
        if not all(side is None or 1 <= side <= LONGEST_SIDE for side in (self.width, self.height)):
            raise ValueError(f"width and height of the viewport must be from 1 to {LONGEST_SIDE} pixels")
        if 0 in (self.region_width, self.region_height):
            raise ValueError("the region that the viewport shows must not be empty")

    @classmethod
    def of(cls, text: str) -> Self:
        """A viewport as a request has it: width and height, and up to four numbers more, which may be left empty.

        Raises
        ------
        ValueError
            With one sentence that says what is wrong.
        """
        parts = [part.strip() for part in text.split(",")]
        if not 2 <= len(parts) <= 6 or not (parts[0].isdecimal() and parts[1].isdecimal()):
            raise ValueError(
                "the viewport must be vw,vh or vw,vh,sx,sy,sw,sh, with whole numbers of pixels for vw and vh"
            )
        given = [_number(part, "viewport") if part else None for part in parts[2:]]
        given += [None] * (4 - len(given))
        left, top, region_width, region_height = given
        # The standard takes their absolute values.
        return cls(int(parts[0]), int(parts[1]), abs(left or 0), abs(top or 0), region_width, region_height)


def quality_of(text: str) -> int:
    """The quality of lossy compression as a request has it (PS3.18 section 8.3.5.1.2).

    Raises
    ------
    ValueError
        If it is not a whole number from 1 to 100.
    """
    if not (text.isdecimal() and len(text) <= 3 and 1 <= int(text) <= 100):
        raise ValueError("the quality must be a whole number from 1 to 100")
    return int(text)


@frozen
class View:
    """What is asked for.

    Parameters
    ----------
    frame
        Its number, from 1; None for a representative one.
    media_types
        What it may be rendered as, the preferred one first.
    window
        None for the one of the file; or the name of one: of a view in the file (0028,1055), or in `PRESETS`.
    viewport
        None for the whole image in its own size.
    quality
        Of lossy compression, from 1 to 100.
    """

    frame: int | None = 1
    media_types: Sequence[str] = PICTURES
    window: Window | str | None = None
    viewport: Viewport | None = None
    quality: int = _QUALITY

    def to_json(self) -> dict[str, Any]:
        """It, in what JSON has."""
        window: object = self.window
        if isinstance(window, Window):
            window = [window.center, window.width, window.function.value]
        port = self.viewport
        return {
            "frame": self.frame,
            "media_types": list(self.media_types),
            "window": window,
            "viewport": port and [getattr(port, name) for name in _VIEWPORT],
            "quality": self.quality,
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        window, port = given["window"], given["viewport"]
        if isinstance(window, list):
            window = Window(window[0], window[1], Function(window[2]))
        return cls(given["frame"], given["media_types"], window, port and Viewport(*port), given["quality"])


_VIEWPORT = ("width", "height", "left", "top", "region_width", "region_height", "is_relative")


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise ValueError(f"{ascii(text)[:40]} in the {name} is not a number")
    return value
