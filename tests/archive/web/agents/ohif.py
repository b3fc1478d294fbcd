"""OHIF in Chromium: how it is installed, and what is done with it, for tests and to record what it asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import BrowserContext, Error, Page, expect, sync_playwright
from tests.archive.web.agents.objects import (
    COLOUR_STUDY,
    CT_STUDY,
    FRAMES,
    PACKED_STUDY,
    PDF_STUDY,
    SYNTAXES,
    US_STUDY,
)
from tests.support import dicomnet, run_tool

CHROMIUM = "/usr/bin/chromium"
# WebGL without a graphics card, and how long what Chromium draws by it may take, in milliseconds.
_OPTIONS = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
PATIENCE = 90_000
# How often it is looked whether a picture is at rest, in milliseconds, and how often at the most.
_LOOK, _LOOKS = 500, 120


def installed(folder: Path) -> Path:
    """Have `dicomnet viewer install` install it in a folder."""
    done = run_tool(dicomnet("viewer", "install", "--to", folder), cwd=folder.parent, seconds=300)
    assert done.returncode == 0, done.stderr
    return folder


@contextmanager
def browsing(origin: str) -> Iterator[BrowserContext]:
    """A browser in which somebody has been before, so that the tour does not begin."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_OPTIONS)
        context = browser.new_context(viewport={"width": 1400, "height": 900})
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        opened(page, origin, US_STUDY)
        # The tour lies over all else, and begins with the first image.
        page.get_by_text("Skip all").click()
        page.close()
        yield context
        browser.close()


def listed(page: Page, origin: str) -> None:
    """Open the list of studies."""
    page.goto(f"{origin}/ohif/")


def opened(page: Page, origin: str, study: str) -> None:
    """Open a study."""
    page.goto(f"{origin}/ohif/viewer?StudyInstanceUIDs={study}")


def canvas_of(page: Page) -> np.ndarray:
    """The picture in colour, when it has been the same for a while."""
    canvas = page.locator("canvas.cornerstone-canvas").first
    return at_rest(page, canvas.screenshot, lambda seen: bool(np.ptp(seen) > 10))


def at_rest(page: Page, look: Callable[[], bytes], is_drawn: Callable[[np.ndarray], bool]) -> np.ndarray:
    """A screenshot, when it has been the same for a while, with something in it."""
    before = None
    notice = page.get_by_role("button", name="Confirm and hide")
    for _ in range(_LOOKS):
        try:
            # It lies over a part of the picture, on each page anew.
            if notice.is_visible():
                notice.click()
            now = np.asarray(Image.open(BytesIO(look())).convert("RGB")).astype(float)
        except Error:
            # It was just replaced by another one.
            now = np.zeros((1, 1, 3))
        if before is not None and is_drawn(now) and np.array_equal(now, before):
            return now
        before = now
        page.wait_for_timeout(_LOOK)
    raise AssertionError("the picture is never at rest")


def chosen(page: Page, description: str) -> None:
    """Show another series of the study."""
    page.get_by_text(description, exact=True).first.dblclick()


def hydrated(page: Page, description: str) -> None:
    """Show what another series says of the images, and have it stay."""
    chosen(page, description)
    page.get_by_text("Do you want to open this Segmentation?").wait_for()
    page.get_by_role("button", name="Yes", exact=True).click()
    page.get_by_text("Do you want to open this Segmentation?").wait_for(state="hidden")


def scrolled(page: Page, number: int, count: int) -> None:
    """Scroll to the next image or frame, which has a number."""
    page.locator("canvas.cornerstone-canvas").first.hover()
    page.mouse.wheel(0, 100)
    expect(page.get_by_text(re.compile(rf"(^|\D){number}/{count}\b"))).to_be_visible(timeout=PATIENCE)


def looked_at(origin: str) -> None:
    """Look at everything once, as the tests do."""
    with browsing(origin) as context:
        page = context.new_page()
        listed(page, origin)
        page.get_by_text("Ohif, Test").wait_for()
        for study in (CT_STUDY, PACKED_STUDY, US_STUDY, COLOUR_STUDY):
            opened(page, origin, study)
            canvas_of(page)
            if study == US_STUDY:
                for number in range(2, FRAMES + 1):
                    scrolled(page, number, FRAMES)
            if study == PACKED_STUDY:
                for syntax in SYNTAXES.values():
                    chosen(page, syntax.name)
                    canvas_of(page)
        for description in ("SEG of a test", "RTSTRUCT of a test"):
            opened(page, origin, CT_STUDY)
            canvas_of(page)
            hydrated(page, description)
            canvas_of(page)
        with page.expect_response("**/rendered*"):
            opened(page, origin, PDF_STUDY)
        page.wait_for_load_state("networkidle")
