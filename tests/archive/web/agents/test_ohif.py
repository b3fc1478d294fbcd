"""OHIF in Chromium, as npm has it and `dicomnet viewer install` installs it, shows what is stored."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect
from pydicom.dataset import FileDataset
from tests.archive.web.agents.holding import Holding, holding
from tests.archive.web.agents.judging import picture_of
from tests.archive.web.agents.objects import (
    COLOUR_STUDY,
    CT_STUDY,
    FRAMES,
    PACKED_SLICES,
    PACKED_STUDY,
    PDF_COLOURS,
    PDF_STUDY,
    REGION,
    SLICES,
    SYNTAXES,
    US_STUDY,
    colour_film,
    ct_slice,
    packed_slice,
)
from tests.archive.web.agents.ohif import (
    PATIENCE,
    at_rest,
    browsing,
    canvas_of,
    chosen,
    hydrated,
    installed,
    listed,
    opened,
    scrolled,
)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Holding]:
    folder = tmp_path_factory.mktemp("ohif")
    with holding(folder / "held", installed(folder / "viewer")) as made:
        yield made


@pytest.fixture(scope="module")
def origin(held: Holding) -> str:
    return held.node.url.removesuffix("/dicom-web")


@pytest.fixture(scope="module")
def context(origin: str) -> Iterator[BrowserContext]:
    with browsing(origin) as made:
        yield made


@pytest.fixture
def page(context: BrowserContext, origin: str) -> Iterator[Page]:
    """A page that asks no foreign host, and whose requests are all answered."""
    made = context.new_page()
    wrong: list[str] = []

    def ask(url: str) -> None:
        # Chromium's own viewer of PDF is a page of its own.
        if not url.startswith((origin, "blob:", "data:", "chrome-extension:", "chrome:")):
            wrong.append(f"asked {url}")

    made.on("request", lambda request: ask(request.url))
    made.on("response", lambda response: wrong.append(response.url) if response.status >= 400 else None)
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    yield made
    made.close()
    assert not wrong


def _difference(seen: np.ndarray, expected: np.ndarray) -> float:
    """By how much a picture in the middle of a canvas differs from what it should be, in the middle of it.

    What is written over it is in the corners.
    """
    height, width = seen.shape[:2]
    scale = min(height / expected.shape[0], width / expected.shape[1])
    rows, columns = round(expected.shape[0] * scale), round(expected.shape[1] * scale)
    top, left = (height - rows) // 2, (width - columns) // 2
    shown = seen[top : top + rows, left : left + columns]
    large = Image.fromarray(expected.astype("u1")).resize((columns, rows), Image.Resampling.BILINEAR)
    wanted = np.asarray(large.convert("RGB"), float)
    return float(np.abs(shown - wanted)[rows // 5 : -rows // 5, columns // 5 : -columns // 5].mean())


def _nearest(seen: np.ndarray, images: list[FileDataset]) -> int:
    """The number of the image that is seen: nearly none of it differs, and all others do."""
    found = [_difference(seen, picture_of(image)) for image in images]
    (number,) = (number for number, difference in enumerate(found, 1) if difference < 2)
    return number


def test_the_list_leads_to_a_study(page: Page, origin: str) -> None:
    listed(page, origin)
    for name in ("Ohif, Test", "Multi, Frame", "Packed, Test", "Document, Test", "Colour, Test"):
        expect(page.get_by_text(name)).to_be_visible(timeout=PATIENCE)


def test_the_link_of_our_page(page: Page, origin: str) -> None:
    page.goto(f"{origin}/studies/{CT_STUDY}")
    page.get_by_text("Open in OHIF").click()
    expect(page).to_have_url(
        re.compile(rf".*/ohif/viewer\?StudyInstanceUIDs={re.escape(CT_STUDY)}"), timeout=PATIENCE
    )
    expect(page.locator("canvas.cornerstone-canvas").first).to_be_visible(timeout=PATIENCE)


def test_a_series_has_the_pixels_of_pydicom(page: Page, origin: str) -> None:
    slices = [ct_slice(number) for number in range(1, SLICES + 1)]
    opened(page, origin, CT_STUDY)
    # It begins at the head, with the last of them.
    assert _nearest(canvas_of(page), slices) == SLICES
    scrolled(page, 2, SLICES)
    assert _nearest(canvas_of(page), slices) == SLICES - 1


def test_compressed_series_have_the_pixels_of_pydicom(page: Page, origin: str) -> None:
    opened(page, origin, PACKED_STUDY)
    for series, syntax in SYNTAXES.items():
        slices = [packed_slice(series, number) for number in range(1, PACKED_SLICES + 1)]
        chosen(page, syntax.name)
        expect(page.get_by_text(f"1/{PACKED_SLICES}")).to_be_visible(timeout=PATIENCE)
        assert _nearest(canvas_of(page), slices) == PACKED_SLICES
        scrolled(page, 2, PACKED_SLICES)
        assert _nearest(canvas_of(page), slices) == PACKED_SLICES - 1


def test_a_multi_frame_ultrasound(page: Page, origin: str) -> None:
    opened(page, origin, US_STUDY)
    assert _bright_part(canvas_of(page)) == 0
    for frame in range(2, FRAMES + 1):
        scrolled(page, frame, FRAMES)
        assert _bright_part(canvas_of(page)) == frame - 1


def _bright_part(seen: np.ndarray) -> int:
    """Which quarter of the height of a picture that fills its canvas is the bright one, in the middle of the width."""
    rows, columns = seen.shape[:2]
    column = seen[:, columns // 2].mean(axis=1)
    middles = [float(column[rows * (2 * quarter + 1) // 8]) for quarter in range(4)]
    assert sorted(middles)[2] < 10 < 245 < max(middles)
    return middles.index(max(middles))


def test_an_ultrasound_in_colour_has_the_pixels_of_pydicom(page: Page, origin: str) -> None:
    film = colour_film()
    opened(page, origin, COLOUR_STUDY)
    for frame in (1, 2):
        if frame > 1:
            scrolled(page, frame, int(film.NumberOfFrames))
        # What lies over it takes a part of it.
        assert _difference(canvas_of(page), picture_of(film, frame)) < 4


def test_a_structure_set_is_where_its_contours_are(page: Page, origin: str) -> None:
    opened(page, origin, CT_STUDY)
    canvas_of(page)
    hydrated(page, "RTSTRUCT of a test")
    seen = canvas_of(page)
    red = seen[..., 0] - seen[..., 1] > 60
    # Coordinates of a contour are those of the middle of a pixel.
    low, high = (edge + 0.5 for edge in REGION)
    assert _edges(red) == pytest.approx((low, high, low, high), abs=0.5)
    # It is a line, which goes along all sides.
    inside = _part(red, low + 1, high - 1)
    assert not inside.any()
    side = (high - low) * min(red.shape) / 128
    assert red.sum() > 4 * side * 0.9


def test_a_segmentation_is_where_its_pixels_are(page: Page, origin: str) -> None:
    opened(page, origin, CT_STUDY)
    before = canvas_of(page)
    assert not (np.ptp(_part(before, *REGION), axis=2) > 6).any()
    hydrated(page, "SEG of a test")
    seen = canvas_of(page)
    coloured = np.ptp(seen, axis=2) > 6
    # What is written lies in the corners, in blue.
    middle = np.zeros_like(coloured)
    middle[_slices(coloured, 10, 118)] = True
    assert _edges(coloured & middle) == pytest.approx((*REGION, *REGION), abs=0.5)
    assert _part(coloured, REGION[0] + 1, REGION[1] - 1).mean() > 0.99


def _slices(seen: np.ndarray, low: float, high: float) -> tuple[slice, slice]:
    """Where a part of a square picture of 128 rows, which is in the middle of a canvas, is on that."""
    rows, columns = seen.shape[:2]
    scale = min(rows, columns) / 128
    top, left = (rows - 128 * scale) / 2, (columns - 128 * scale) / 2
    return (
        slice(round(top + low * scale), round(top + high * scale)),
        slice(round(left + low * scale), round(left + high * scale)),
    )


def _part(seen: np.ndarray, low: float, high: float) -> np.ndarray:
    return seen[_slices(seen, low, high)]


def _edges(marked: np.ndarray) -> tuple[float, ...]:
    """The first and last row, and column, that are marked, in pixels of a picture as of `_slices`."""
    rows, columns = marked.shape
    scale = min(rows, columns) / 128
    found = []
    for axis, offset in ((1, (rows - 128 * scale) / 2), (0, (columns - 128 * scale) / 2)):
        places = np.flatnonzero(marked.any(axis=axis))
        found += [(places[0] - offset) / scale, (places[-1] + 1 - offset) / scale]
    return tuple(found)


def test_a_document_is_shown(page: Page, origin: str) -> None:
    opened(page, origin, PDF_STUDY)

    def colours(seen: np.ndarray) -> list[np.ndarray]:
        """Where each colour of the page is; the small picture beside it has them, too."""
        return [np.argwhere(np.abs(seen - colour).max(axis=2) < 8) for colour in PDF_COLOURS]

    seen = at_rest(page, page.screenshot, lambda seen: all(len(each) > 40_000 for each in colours(seen)))
    middles = [np.median(each, axis=0) for each in colours(seen)]
    (top, left), (_, right), (bottom, _), last = middles
    assert np.allclose(middles[1], (top, right), atol=3)
    assert np.allclose(middles[2], (bottom, left), atol=3)
    assert np.allclose(last, (bottom, right), atol=3)
    assert bottom - top == pytest.approx(right - left, abs=3)
