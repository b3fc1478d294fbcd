"""OHIF in Chromium, as npm has it and `dicomnet viewer install` installs it, shows what is stored."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut
from tests.archive.web.page.visits import Visited, visited
from tests.cli.command import run

from dicomnet.archive.terms import Terms
from dicomnet.archive.web.policy import WebPolicy

CHROMIUM = "/usr/bin/chromium"
# WebGL without a graphics card.
OPTIONS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SLICES = 5
# Of what Chromium draws without a graphics card, in milliseconds.
PATIENCE = 60_000


def _file(name: str) -> Path:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path)


def _slice(number: int) -> Dataset:
    """A slice of a series: the CT image of pydicom, a little brighter each time."""
    made = dcmread(_file("CT_small.dcm"))
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.600", "1.2.600.1"
    made.SOPInstanceUID = f"1.2.600.1.{number}"
    made.PatientName, made.PatientID = "Ohif^Test", "OHIF"
    made.InstanceNumber = number
    made.ImagePositionPatient = [0, 0, 5 * number]
    made.WindowCenter, made.WindowWidth = "200", "1400"
    made.PixelData = (made.pixel_array + 40 * (number - 1)).astype("<i2").tobytes()
    return made


def _multi_frame(make: Callable[..., Dataset]) -> Dataset:
    """An ultrasound of four frames, in each of which another quarter is bright."""
    frames = np.zeros((4, 64, 64), "u1")
    for number in range(4):
        frames[number, 16 * number : 16 * (number + 1)] = 255
    return make(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1",
        StudyInstanceUID="1.2.601",
        SeriesInstanceUID="1.2.601.1",
        SOPInstanceUID="1.2.601.1.1",
        PatientName="Multi^Frame",
        PatientID="US",
        Modality="US",
        InstanceNumber=1,
        NumberOfFrames=4,
        FrameTime="100",
        FrameIncrementPointer=0x00181063,
        Rows=64,
        Columns=64,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        WindowCenter="128",
        WindowWidth="256",
        PixelData=frames.tobytes(),
    )


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, make: Callable[..., Dataset]) -> Iterator[Visited]:
    folder = tmp_path_factory.mktemp("ohif")
    installed = run("viewer", "install", "--to", str(folder / "viewer"), cwd=folder)
    assert installed.returncode == 0, installed.stderr
    with visited(folder / "node", Terms(web=WebPolicy(viewer=folder / "viewer"))) as made:
        made.store([*(_slice(number + 1) for number in range(SLICES)), _multi_frame(make)])
        made.store([_file("JPEG2000.dcm")])
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield made
        made.close()


@pytest.fixture
def page(browser: Browser, node: Visited) -> Iterator[Page]:
    """A page that asks no foreign host, and whose requests are all answered."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.set_default_timeout(PATIENCE)
    made = context.new_page()
    wrong: list[str] = []

    def ask(url: str) -> None:
        if not url.startswith((node.url, "blob:", "data:")):
            wrong.append(f"asked {url}")

    made.on("request", lambda request: ask(request.url))
    made.on("response", lambda response: wrong.append(response.url) if response.status >= 400 else None)
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    yield made
    context.close()
    assert not wrong


def _open(page: Page, node: Visited, study: str) -> None:
    page.goto(f"{node.url}/ohif/viewer?StudyInstanceUIDs={study}")
    # The tour lies over all else, and begins with the first image.
    page.get_by_text("Skip all").click()
    page.get_by_role("button", name="Confirm and hide").click()


def _seen(page: Page) -> np.ndarray:
    """The canvas of the image in grey, when it has been the same for a while."""
    canvas = page.locator("canvas.cornerstone-canvas").first
    before = None
    for _ in range(60):
        now = np.asarray(Image.open(BytesIO(canvas.screenshot())).convert("L")).astype(float)
        if before is not None and np.ptp(now) > 10 and np.array_equal(now, before):
            return now
        before = now
        page.wait_for_timeout(500)
    raise AssertionError("the picture is never at rest")


def _expected(data_set: Dataset, center: float, width: float) -> np.ndarray:
    """The grey values of PS3.3 section C.11.2.1.2.1, by numpy from the pixels of pydicom."""
    values = np.asarray(apply_modality_lut(data_set.pixel_array, data_set), float)
    return np.clip(((values - (center - 0.5)) / (width - 1) + 0.5) * 255, 0, 255)


def _difference(seen: np.ndarray, expected: np.ndarray) -> float:
    """By how much a square picture in the middle of a canvas differs from what it should be, in the middle of it.

    What is written over it is in the corners.
    """
    rows, columns = seen.shape
    side = min(rows, columns)
    square = seen[(rows - side) // 2 :, (columns - side) // 2 :][:side, :side]
    large = Image.fromarray(expected.astype("u1")).resize((side, side), Image.Resampling.BILINEAR)
    part = slice(side // 5, -side // 5)
    return float(np.abs(square - np.asarray(large, float))[part, part].mean())


def test_the_list_leads_to_a_study(page: Page, node: Visited) -> None:
    page.goto(f"{node.url}/ohif/")
    expect(page.get_by_text("Ohif, Test")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("Multi, Frame")).to_be_visible(timeout=PATIENCE)


def test_the_link_of_our_page(page: Page, node: Visited) -> None:
    page.goto(f"{node.url}/studies/1.2.600")
    page.get_by_text("Open in OHIF").click()
    expect(page).to_have_url(re.compile(r".*/ohif/viewer\?StudyInstanceUIDs=1\.2\.600"))
    expect(page.locator("canvas.cornerstone-canvas").first).to_be_visible(timeout=PATIENCE)


def test_a_series_has_the_pixels_of_pydicom(page: Page, node: Visited) -> None:
    _open(page, node, "1.2.600")
    # It begins at the head, with the last of them.
    assert _nearest(_seen(page)) == SLICES
    page.locator("canvas.cornerstone-canvas").first.hover()
    page.mouse.wheel(0, 100)
    expect(page.get_by_text(f"2/{SLICES}")).to_be_visible(timeout=PATIENCE)
    assert _nearest(_seen(page)) == SLICES - 1


def _nearest(seen: np.ndarray) -> int:
    """The number of the slice that is seen: nearly none of it differs, and all others do."""
    found = {
        number: _difference(seen, _expected(_slice(number), 200, 1400)) for number in range(1, SLICES + 1)
    }
    (number,) = (number for number, difference in found.items() if difference < 2)
    return number


def test_a_compressed_image(page: Page, node: Visited) -> None:
    image = dcmread(_file("JPEG2000.dcm"))
    _open(page, node, image.StudyInstanceUID)
    assert np.ptp(_seen(page)) > 100


def test_a_multi_frame_ultrasound(page: Page, node: Visited) -> None:
    _open(page, node, "1.2.601")
    assert _bright_part(_seen(page)) == 0
    for frame in range(1, 4):
        page.locator("canvas.cornerstone-canvas").first.hover()
        page.mouse.wheel(0, 100)
        expect(page.get_by_text(f"{frame + 1}/4")).to_be_visible(timeout=PATIENCE)
        assert _bright_part(_seen(page)) == frame


def _bright_part(seen: np.ndarray) -> int:
    """Which quarter of the height of a picture that fills its canvas is the bright one, in the middle of the width."""
    rows, columns = seen.shape
    column = seen[:, columns // 2]
    middles = [float(column[rows * (2 * quarter + 1) // 8]) for quarter in range(4)]
    assert sorted(middles)[2] < 10 < 245 < max(middles)
    return middles.index(max(middles))
