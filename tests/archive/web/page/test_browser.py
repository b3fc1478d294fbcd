"""The pages in Chromium, as people use them: with and without JavaScript, on a wide screen and on a telephone.

All of it is in one file, so that a browser is started once for it.
"""

from __future__ import annotations

import runpy
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from tests.archive.web.agents import objects
from tests.archive.web.page.visits import Visited, visited, written

from dicomnet import Peer
from dicomnet.archive.services.retrieve import RetrievePolicy, destinations_of
from dicomnet.archive.terms import Terms
from dicomnet.archive.users import UsersFile, new_user
from dicomnet.archive.web.access.policy import WebPolicy

ROOT = Path(__file__).parents[4]
CHROMIUM = "/usr/bin/chromium"
WIDE, TELEPHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
PAGES = (
    *("/", "/?id=STACK", "/studies/1.2.500", "/studies/1.2.500/series/1.2.500.1", "/upload"),
    *("/studies/1.2.500/series/1.2.500.1/instances/1.2.500.1.7", "/studies/1.2.500/delete", "/studies/9.9.9"),
    *("/quarantine", "/remotes", "/activity", "/storage", "/configuration"),
)
AXE = "axe-core@4.14.1"
EVIL = "<img src=x onerror=document.title='evil'>"
# A machine that does much else needs more than the five seconds of the default.
PATIENCE = 20_000
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM)
        yield made
        made.close()


def _image(make: Callable[..., Dataset], number: int, series: int = 1) -> Dataset:
    """A slice of a series of 20 in which each pixel is 50 times its number."""
    return make(
        StudyInstanceUID="1.2.500",
        SeriesInstanceUID=f"1.2.500.{series}",
        SOPInstanceUID=f"1.2.500.{series}.{number}",
        PatientName="Stack^Of",
        PatientID="STACK",
        PatientBirthDate="19700102",
        StudyDate="20261129",
        StudyDescription="Twenty slices",
        SeriesNumber=series,
        SeriesDescription=EVIL,
        InstanceNumber=number,
        Rows=64,
        Columns=64,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=0,
        RescaleSlope="1",
        RescaleIntercept="0",
        WindowCenter="500",
        WindowWidth="1001",
        PixelData=np.full((64, 64), 50 * number, "<u2").tobytes(),
    )


def _other_study(make: Callable[..., Dataset], number: int) -> Dataset:
    return make(
        StudyInstanceUID=f"1.2.{number}",
        SeriesInstanceUID=f"1.2.{number}.1",
        SOPInstanceUID=f"1.2.{number}.1.1",
        PatientName=f"Family{number}^Given",
        PatientID=f"ID{number}",
        StudyDescription=EVIL,
    )


@contextmanager
def _nodes(folder: Path) -> Iterator[Visited]:
    """A node that deletes at once, and one that it may send studies to."""
    with visited(folder / "other") as other:
        terms = Terms(
            web=WebPolicy(may_delete=True, keep=0.0),
            retrieval=RetrievePolicy(destinations_of([f"OTHER@127.0.0.1:{other.node.address[1]}"])),
        )
        with visited(folder / "node", terms) as node:
            yield node


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, make: Callable[..., Dataset]) -> Iterator[Visited]:
    """A node with 130 studies, one of which has a series of 20 slices. Tests leave it as it is."""
    with _nodes(tmp_path_factory.mktemp("archive")) as node:
        node.store(_other_study(make, number) for number in range(1, 130))
        node.store(_image(make, number) for number in range(20, 0, -1))
        yield node


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Visited]:
    """An empty node for one test."""
    with _nodes(tmp_path / "archive") as node:
        yield node


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page on a wide screen, on which nothing may be complained of."""
    yield from _page(browser)


@pytest.fixture
def telephone(browser: Browser) -> Iterator[Page]:
    """A page on a telephone, on which nothing may be complained of."""
    yield from _page(browser, viewport=TELEPHONE, has_touch=True)


@pytest.fixture
def plain(browser: Browser) -> Iterator[Page]:
    """A page without JavaScript."""
    yield from _page(browser, java_script_enabled=False)


def _page(browser: Browser, **options: object) -> Iterator[Page]:
    context = browser.new_context(**{"viewport": WIDE, **options})  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE)
    made = context.new_page()
    complaints: list[str] = []
    hosts: set[str] = set()
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.on(
        "console",
        lambda message: (
            complaints.append(message.text) if "Content Security Policy" in message.text else None
        ),
    )
    made.on("request", lambda request: hosts.add(request.url.split("/")[2].split(":")[0]))
    yield made
    assert complaints == []
    assert hosts <= {"127.0.0.1", ""}
    assert "evil" not in made.title()
    context.close()


def test_searching_as_one_types_and_scrolling_without_end(archive: Visited, page: Page) -> None:
    page.goto(archive.url)
    rows = page.locator("#rows tr")
    expect(rows).to_have_count(50)
    expect(rows.first).to_contain_text("STACK, Of")
    while page.locator("#more").count():
        before = rows.count()
        page.mouse.wheel(0, 20_000)
        expect(rows).not_to_have_count(before)
    assert rows.count() >= 129
    page.get_by_label("Name").press_sequentially("FAMILY77, G")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("FAMILY77, Given")
    expect(page.locator("#said")).to_contain_text("1 study")
    assert "name=FAMILY77" in page.url
    page.get_by_label("Name").fill("")
    page.get_by_label("Patient ID").fill("nobody")
    expect(page.locator("#said")).to_have_text("No study matches.")
    page.get_by_label("Patient ID").fill("STACK")
    page.get_by_role("link", name="STACK, Of").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("2026-11-29: Twenty slices")
    thumbnail = page.locator("ul.series img")
    expect(thumbnail).to_have_count(1)
    # Not by wait_for_function, which is refused by the page's policy where it has to look a second time.
    expect(thumbnail).not_to_have_js_property("naturalWidth", 0)


def test_a_search_that_fails_does_not_leave_what_was_found_before(archive: Visited, page: Page) -> None:
    page.goto(archive.url)
    expect(page.locator("#rows tr")).to_have_count(50)
    page.route("**/?*part=rows*", lambda route: route.fulfill(status=503, body="later"))
    page.get_by_label("Name").fill("other")
    expect(page.locator("#said")).to_have_text("The search did not work.")
    expect(page.locator("#rows tr")).to_have_count(0)


def test_an_earlier_answer_that_comes_later_changes_nothing(archive: Visited, page: Page) -> None:
    held: list[Route] = []
    page.goto(archive.url)
    page.route("**/*name=Family1&*", lambda route: held.append(route))
    page.get_by_label("Name").fill("Family1")
    while not held:
        page.wait_for_timeout(20)
    page.get_by_label("Name").fill("Family129")
    expect(page.locator("#rows tr")).to_have_count(1)
    with page.expect_response("**/*name=Family1&*"):
        held[0].continue_()
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page.locator("#rows tr").first).to_contain_text("FAMILY129")


def test_search_and_download_without_javascript(archive: Visited, plain: Page) -> None:
    plain.goto(archive.url)
    plain.get_by_role("link", name="More studies").click()
    expect(plain.locator("#said")).to_contain_text("From study 51 on")
    plain.get_by_label("Patient ID").fill("STACK")
    plain.get_by_role("button", name="Search").click()
    plain.get_by_role("link", name="STACK, Of").click()
    with plain.expect_download() as downloading:
        plain.get_by_role("link", name="Download as zip", exact=True).click()
    with zipfile.ZipFile(downloading.value.path()) as zipped:
        names = zipped.namelist()
        assert len(names) == 20
        assert all(name.startswith("1.2.500/1.2.500.1/1.2.500.1.") for name in names)
        assert {dcmread(BytesIO(zipped.read(name))).PatientID for name in names} == {"STACK"}
    plain.get_by_role("link", name="CT series 1").click()
    plain.locator("summary").click()
    with plain.expect_download() as downloading:
        plain.get_by_role("link", name="Download", exact=True).nth(2).click()
    assert dcmread(downloading.value.path()).InstanceNumber == 3


def _shown(page: Page) -> tuple[str, int]:
    """The resource that is shown, as the viewer says it, and the brightness in the middle of its picture."""
    found = page.evaluate(
        """() => {
            const image = document.getElementById("image");
            const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            const middle = context.getImageData(image.naturalWidth / 2, image.naturalHeight / 2, 1, 1).data;
            return [document.getElementById("stage").dataset.shown, middle[0]];
        }"""
    )
    return found[0], found[1]


def _grey(number: int, center: float = 500, width: float = 1001) -> float:
    """What PS3.3 section C.11.2.1.2.1 makes of a pixel of slice `number`, from 0 to 255."""
    return min(255.0, max(0.0, ((50 * number - (center - 0.5)) / (width - 1) + 0.5) * 255))


def _expect_slice(page: Page, number: int, **window: float) -> None:
    expect(page.locator("#where")).to_contain_text(f"image {number}\n", use_inner_text=False)
    resource, grey = _shown(page)
    assert resource == f"/dicom-web/studies/1.2.500/series/1.2.500.1/instances/1.2.500.1.{number}/frames/1"
    assert grey == pytest.approx(_grey(number, **window), abs=3)


def test_the_viewer_scrolls_zooms_and_changes_the_window(archive: Visited, page: Page) -> None:
    page.goto(f"{archive.url}/studies/1.2.500/series/1.2.500.1")
    stage = page.locator("#stage")
    _expect_slice(page, 1)
    expect(page.locator("#whose")).to_contain_text("STACK, Of")
    expect(page.locator("#whose")).to_contain_text("ID STACK, born 1970-01-02")
    stage.hover()
    for _ in range(3):
        page.mouse.wheel(0, 100)
    _expect_slice(page, 4)
    stage.focus()
    page.keyboard.press("End")
    _expect_slice(page, 20)
    page.keyboard.press("PageUp")
    _expect_slice(page, 10)
    page.keyboard.press("ArrowLeft")
    _expect_slice(page, 9)
    page.get_by_label("Window", exact=True).select_option(label="Bone 480 / 2500")
    expect(page.locator("#where")).to_contain_text("window 480 / 2500")
    _expect_slice(page, 9, center=480, width=2500)
    stage.focus()
    page.keyboard.press("r")
    expect(page.locator("#where")).to_contain_text("window of the image")
    box = stage.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 150, steps=5)
    page.mouse.up()
    # Upwards is brighter: the center goes down from that of the image.
    expect(page.locator("#where")).to_contain_text("window 333 / 1001")
    before = page.evaluate("document.getElementById('image').getBoundingClientRect().width")
    page.get_by_role("button", name="Zoom in").click()
    assert page.evaluate("document.getElementById('image').getBoundingClientRect().width") > before * 1.2
    page.get_by_label("Drag", exact=True).select_option("pan")
    left = page.evaluate("document.getElementById('image').getBoundingClientRect().left")
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 250, box["y"] + 200)
    page.mouse.up()
    assert page.evaluate("document.getElementById('image').getBoundingClientRect().left") == left + 50


def test_a_change_of_the_window_begins_with_what_is_seen(
    own: Visited, page: Page, make: Callable[..., Dataset]
) -> None:
    """It began with the middle of what the bits could hold where the image has no window, and was black at once."""
    ramp = np.arange(64 * 64).reshape(64, 64).astype("<u2") % 400
    images = []
    for number, values in enumerate(
        ({}, {"WindowCenter": "0.2", "WindowWidth": "1.4", "RescaleSlope": "0.001"}), 3
    ):
        each = _image(make, 1, series=number)
        each.PixelData = ramp.tobytes()
        del each.WindowCenter, each.WindowWidth
        for keyword, value in values.items():
            setattr(each, keyword, value)
        images.append(each)
    own.store(images)
    where, stage = page.locator("#where"), page.locator("#stage")
    page.goto(f"{own.url}/studies/1.2.500/series/1.2.500.3")
    expect(where).to_contain_text("no window in the image: its values, 0 to 399")
    stage.press("Shift+ArrowRight")
    expect(where).to_contain_text("window 200 / 439, linear-exact")
    page.goto(f"{own.url}/studies/1.2.500/series/1.2.500.4")
    expect(where).to_contain_text("window of the image 0.2 / 1.4")
    stage.press("Shift+ArrowDown")
    expect(where).to_contain_text("window 0.27 / 1.4")


def test_an_image_is_not_shown_under_the_name_of_another_patient(
    own: Visited, page: Page, make: Callable[..., Dataset]
) -> None:
    """Of a study with objects of two patients each image had the name of the first one."""
    images = [_image(make, number) for number in (1, 2)]
    images[1].PatientName, images[1].PatientID, images[1].PatientBirthDate = "Other^Patient", "X2", "19801231"
    own.store(images)
    page.goto(f"{own.url}/studies/1.2.500")
    told = page.locator(".problem[role=alert]")
    expect(told).to_contain_text("otherwise of the patient: name OTHER, Patient; ID X2; born 1980-12-31.")
    page.goto(f"{own.url}/studies/1.2.500/series/1.2.500.1")
    expect(told.first).to_contain_text("ID X2")
    whose = page.locator("#whose")
    expect(whose).to_contain_text("Stack Of\nID STACK, born 1970-01-02", use_inner_text=True)
    page.locator("#stage").press("ArrowDown")
    expect(whose).to_contain_text("Other Patient\nID X2, born 1980-12-31", use_inner_text=True)
    page.route("**/metadata", lambda route: route.fulfill(status=500, body="no"))
    page.get_by_label("Window", exact=True).select_option(label="Lung -600 / 1500")
    expect(page.locator("#problem")).to_contain_text("it is not known whose it is")
    expect(whose).not_to_contain_text("Patient\n")


def test_a_picture_is_never_shown_with_the_words_of_another(archive: Visited, page: Page) -> None:
    """The answers come in another order than they were asked for, and one does not come."""
    held: list[Route] = []
    number = iter(range(1000))

    def hold(route: Route) -> None:
        if next(number) % 2:
            route.continue_()
        else:
            held.append(route)

    page.goto(f"{archive.url}/studies/1.2.500/series/1.2.500.1")
    _expect_slice(page, 1)
    page.route("**/rendered*", hold)
    stage = page.locator("#stage")
    stage.focus()
    for step in range(14):
        page.keyboard.press("ArrowDown")
        page.wait_for_timeout(10)
        resource, grey = _shown(page)
        slice_number = int(resource.split(".")[-1].split("/")[0])
        assert grey == pytest.approx(_grey(slice_number), abs=3), step
        if len(held) > 1:
            held.pop().continue_()
    while held:
        held.pop().continue_()
        page.wait_for_timeout(10)
    page.unroute("**/rendered*")
    page.keyboard.press("End")
    page.keyboard.press("ArrowUp")
    _expect_slice(page, 19)
    page.route("**/rendered*", lambda route: route.fulfill(status=500, body="it is damaged"))
    page.get_by_label("Window", exact=True).select_option(label="Lung -600 / 1500")
    expect(page.locator("#problem")).to_contain_text("There is no picture of it: it is damaged")
    assert page.evaluate("document.getElementById('image').naturalWidth") == 0


def test_frames_are_played(own: Visited, page: Page) -> None:
    path = Path(str(get_testdata_file("emri_small.dcm")))
    own.store([path])
    head = dcmread(path, stop_before_pixels=True)
    page.goto(f"{own.url}/studies/{head.StudyInstanceUID}/series/{head.SeriesInstanceUID}")
    expect(page.locator("#where")).to_contain_text(f"frame 1 of {head.NumberOfFrames}")
    page.get_by_label("Frames a second").fill("60")
    page.get_by_role("button", name="Play").click()
    seen = page.evaluate(
        """async (count) => {
            const stage = document.getElementById("stage");
            const seen = [stage.dataset.shown];
            await new Promise((done) => {
                const observer = new MutationObserver(() => {
                    if (seen.at(-1) !== stage.dataset.shown) seen.push(stage.dataset.shown);
                    if (seen.length > count) { observer.disconnect(); done(); }
                });
                observer.observe(stage, { attributes: true });
            });
            return seen.map((each) => Number(each.split("/").at(-1)));
        }""",
        int(head.NumberOfFrames),
    )
    first = seen[0]
    count = int(head.NumberOfFrames)
    assert seen == [(first - 1 + step) % count + 1 for step in range(count + 1)]
    page.get_by_role("button", name="Stop").click()


def test_files_are_added_by_choosing_and_by_dropping(
    own: Visited, page: Page, tmp_path: Path, make: Callable[..., Dataset]
) -> None:
    files = [written(_image(make, number, series=2), tmp_path / f"{number}.dcm") for number in range(1, 4)]
    (tmp_path / "<b>notes.txt").write_text("no object")
    own.store([_image(make, 1)])
    page.goto(f"{own.url}/upload")
    page.get_by_label("Files to add").set_input_files([*files, tmp_path / "<b>notes.txt"])
    expect(page.locator("#summary")).to_have_text("3 of 4 stored, 1 not stored")
    expect(page.locator("#outcomes li").first).to_contain_text("<b>notes.txt: it is no DICOM file")
    data = page.evaluate_handle(
        """(content) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([Uint8Array.from(content)], "dropped.dcm"));
            return transfer;
        }""",
        list(written(_image(make, 4, series=2), tmp_path / "4.dcm").read_bytes()),
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    expect(page.locator("#summary")).to_have_text("4 of 5 stored, 1 not stored")
    page.get_by_role("link", name="to the study").first.click()
    expect(page.locator("ul.series li")).to_have_count(2)
    expect(page.locator("ul.series li").nth(1)).to_contain_text("4 objects")


def test_what_cannot_be_read_of_a_dropped_folder_is_told(
    own: Visited, page: Page, tmp_path: Path, make: Callable[..., Dataset]
) -> None:
    """It was passed over with all that comes behind it, and what was read was said to be all."""
    content = list(written(_image(make, 5, series=2), tmp_path / "5.dcm").read_bytes())
    page.goto(f"{own.url}/upload")
    page.evaluate(
        """(content) => {
            const gone = { isFile: true, fullPath: "/CD/gone.dcm", file: (done, failed) => failed(new Error("gone")) };
            const whole = new File([Uint8Array.from(content)], "5.dcm");
            const there = { isFile: true, fullPath: "/CD/5.dcm", file: (done) => done(whole) };
            const folder = (entries, end) => ({ isFile: false, fullPath: "/CD", createReader: () => ({
                readEntries: (done, failed) => entries.length ? done(entries.splice(0)) : end(done, failed),
            }) });
            const broken = folder([], (done, failed) => failed(new Error("broken")));
            const cd = folder([gone, broken, there], (done) => done([]));
            const items = [{ kind: "string" }, { kind: "file", webkitGetAsEntry: () => cd }];
            const event = new Event("drop", { bubbles: true });
            event.dataTransfer = { items, files: [] };
            document.dispatchEvent(event);
        }""",
        content,
    )
    expect(page.locator("#summary")).to_have_text("1 of 3 stored, 2 not stored")
    told = page.locator("#outcomes")
    expect(told).to_contain_text("/CD/gone.dcm: it cannot be read: gone")
    expect(told).to_contain_text("/CD: this folder cannot be read to its end: broken")


def test_an_upload_says_how_far_it_is(
    own: Visited, page: Page, tmp_path: Path, make: Callable[..., Dataset]
) -> None:
    held: list[Route] = []
    files = [written(_image(make, number, series=3), tmp_path / f"{number}.dcm") for number in range(1, 3)]
    page.goto(f"{own.url}/upload")
    page.route("**/dicom-web/studies", lambda route: held.append(route))
    expect(page.locator("#progress")).to_be_hidden()
    page.get_by_label("Files to add").set_input_files(files)
    expect(page.locator("#progress")).to_be_visible()
    expect(page.locator("#summary")).to_have_text("0 of 2 stored, 2 to go")
    while len(held) < 2:
        page.wait_for_timeout(20)
    held[0].continue_()
    expect(page.locator("#summary")).to_have_text("1 of 2 stored, 1 to go")
    assert 0 < page.evaluate("document.getElementById('progress').value") < 1
    held[1].continue_()
    expect(page.locator("#summary")).to_have_text("2 of 2 stored")
    assert page.evaluate("document.getElementById('progress').value") == 1


def test_a_document_and_a_series_without_pictures(own: Visited, page: Page) -> None:
    document, outlines = objects.document(), objects.structure_set()
    own.store([document, outlines])
    page.goto(f"{own.url}/studies/{outlines.StudyInstanceUID}")
    expect(page.locator("ul.series .blank")).to_have_text("no picture")
    page.goto(f"{own.url}/studies/{document.StudyInstanceUID}/series/{document.SeriesInstanceUID}")
    expect(page.locator("#viewer")).to_be_hidden()
    address = page.get_by_role("link", name="Document").get_attribute("href")
    answer = page.request.get(f"{own.url}{address}", headers={"Accept": "text/html,image/png,*/*;q=0.8"})
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.body() == document.EncapsulatedDocument.rstrip(b" ")


def test_what_an_object_says(archive: Visited, page: Page) -> None:
    page.goto(f"{archive.url}/studies/1.2.500/series/1.2.500.1")
    page.locator("summary").click()
    page.get_by_role("link", name="Attributes").nth(6).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What the object says")
    expect(page.get_by_role("row", name="Instance Number")).to_contain_text("7")
    expect(page.get_by_role("row", name="Series Description")).to_contain_text(EVIL)
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download the object").click()
    assert dcmread(downloading.value.path()).InstanceNumber == 7


def test_an_object_is_compared_and_released_from_quarantine(
    own: Visited, page: Page, make: Callable[..., Dataset]
) -> None:
    uids = {"StudyInstanceUID": "1.2.90", "SeriesInstanceUID": "1.2.90.1", "SOPInstanceUID": "1.2.90.1.1"}
    own.store([_other_study(make, 90), make(**uids)])
    page.goto(own.url)
    page.get_by_role("link", name="Quarantine").click()
    page.locator("#content").get_by_role("link").first.click()
    expect(page.get_by_role("row", name="Patient's Name")).to_contain_text("FAMILY90, Given")
    expect(page.get_by_role("row", name="Patient's Name")).to_contain_text("DOE, Jane")
    page.get_by_role("button", name="Release it").click()
    expect(page.get_by_role("status")).to_have_text("It is stored now.")
    page.get_by_role("link", name="To the study").click()
    expect(page.locator(".patient")).to_contain_text("DOE, Jane")


def test_how_the_archive_is_run(archive: Visited, page: Page) -> None:
    with Peer(f"NODE@127.0.0.1:{archive.node.address[1]}", calling="WORKSTATION") as peer:
        peer.echo()
        page.goto(archive.url)
        page.get_by_role("link", name="Activity").click()
        expect(page.get_by_role("row", name="WORKSTATION")).to_contain_text("NODE")
    not_dicom = archive.visit("/dicom-web/studies", "POST", b"x", Content_Type="application/dicom")
    assert not_dicom.status in (400, 409)
    page.get_by_role("link", name="Storage").click()
    expect(page.get_by_role("row", name="Studies")).to_contain_text("1")
    expect(page.get_by_text("it is complete")).to_be_visible()
    page.get_by_role("link", name="Configuration").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Configuration")


def test_an_echo_a_study_is_sent_and_another_one_deleted(
    own: Visited, page: Page, make: Callable[..., Dataset]
) -> None:
    own.store([_image(make, 1), _other_study(make, 64)])
    page.goto(f"{own.url}/remotes")
    page.get_by_role("button", name="Echo OTHER").click()
    expect(page.get_by_role("status")).to_contain_text("OTHER answered within")
    page.goto(f"{own.url}/studies/1.2.500")
    page.get_by_label("Send to").select_option("OTHER")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("log")).to_contain_text("sent, 0 not.")
    page.goto(f"{own.url}/studies/1.2.64")
    page.get_by_role("link", name="Delete this study").click()
    expect(page.get_by_text("nothing brings them back")).to_be_visible()
    page.get_by_role("link", name="Do not delete").click()
    page.get_by_role("link", name="Delete this study").click()
    page.get_by_label("Why").fill("a test of it")
    page.get_by_role("button", name="Delete 1 object").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("1 object was deleted")
    page.goto(f"{own.url}/?id=ID64")
    expect(page.locator("#said")).to_have_text("No study matches.")


@pytest.mark.parametrize("address", PAGES)
def test_a_telephone_needs_no_scrolling_to_the_side(archive: Visited, telephone: Page, address: str) -> None:
    telephone.goto(archive.url + address)
    telephone.wait_for_load_state()
    assert telephone.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_viewer_by_touch(archive: Visited, telephone: Page) -> None:
    telephone.goto(f"{archive.url}/studies/1.2.500/series/1.2.500.1")
    _expect_slice(telephone, 1)
    telephone.get_by_label("Drag", exact=True).select_option("scroll")
    box = telephone.locator("#stage").bounding_box()
    assert box is not None
    across, down = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = telephone.context.new_cdp_session(telephone)

    def touch(kind: str, *points: dict[str, float]) -> None:
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

    touch("touchStart", {"x": across, "y": down})
    for step in range(1, 6):
        touch("touchMove", {"x": across, "y": down + 12 * step})
    touch("touchEnd")
    expect(telephone.locator("#where")).to_contain_text("6 of 20")
    _expect_slice(telephone, 6)


def test_from_the_search_to_the_images_by_keyboard_alone(archive: Visited, page: Page) -> None:
    page.goto(archive.url)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("STACK")
    expect(page.locator("#rows tr")).to_have_count(1)
    _tab_to(page, "STACK, Of")
    page.keyboard.press("Enter")
    page.wait_for_url("**/studies/1.2.500")
    _tab_to(page, "CT series 1")
    page.keyboard.press("Enter")
    page.wait_for_url("**/series/1.2.500.1")
    _expect_slice(page, 1)
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "stage":
            break
    page.keyboard.press("ArrowDown")
    page.keyboard.press("PageDown")
    _expect_slice(page, 12)
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator("#where")).to_contain_text("window 500 / 1101")
    _expect_slice(page, 12, center=500, width=1101)
    page.keyboard.press("r")
    page.keyboard.press("+")
    expect(page.locator("#where")).to_contain_text("window of the image")


def _tab_to(page: Page, words: str) -> None:
    """Go on with the Tab key until something has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if words in page.evaluate("document.activeElement.textContent"):
            return
    raise AssertionError(f"{words} is not reached")


def test_axe_finds_nothing(archive: Visited, browser: Browser, tmp_path: Path) -> None:
    """The rules of WCAG 2.2, levels A and AA, as axe-core has them, for light and dark, wide and narrow."""
    subprocess.run(["npm", "pack", AXE, "--silent"], cwd=tmp_path, check=True, timeout=120)
    (packed,) = tmp_path.glob("*.tgz")
    with tarfile.open(packed) as tarball:
        member = tarball.extractfile("package/axe.min.js")
        assert member is not None
        script = member.read().decode()
    found = []
    for scheme, viewport in (("light", WIDE), ("dark", TELEPHONE)):
        # Our policy for scripts would keep it out.
        context = browser.new_context(viewport=viewport, color_scheme=scheme, bypass_csp=True)  # type: ignore[arg-type]
        page = context.new_page()
        for address in PAGES:
            page.goto(archive.url + address)
            page.wait_for_load_state("networkidle")
            page.add_script_tag(content=script)
            result = page.evaluate(
                "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
            )
            found += [
                f"{address} ({scheme}): {rule['id']}: {node['html'][:200]}: {node['failureSummary'][:300]}"
                for rule in result["violations"]
                for node in rule["nodes"]
            ]
        context.close()
    assert not found, "\n".join(found)


def test_all_of_it_by_keyboard_and_with_names_for_a_screen_reader(archive: Visited, page: Page) -> None:
    page.goto(f"{archive.url}/?id=STACK")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    for address in ("/", "/studies/1.2.500", "/studies/1.2.500/series/1.2.500.1", "/upload"):
        page.goto(archive.url + address)
        expect(page.get_by_role("main")).to_have_count(1)
        expect(page.get_by_role("navigation", name="Pages")).to_have_count(1)
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("input:not([type=hidden]), select, button, a")].filter((each) =>
                !each.textContent.trim() && !each.labels?.length && !each.getAttribute("aria-label")
            ).map((each) => each.outerHTML)"""
        )
        assert nameless == []


def test_one_logs_in_and_nothing_runs_that_a_peer_has_sent(
    browser: Browser, tmp_path: Path, make: Callable[..., Dataset]
) -> None:
    """The form looks like the other pages under their policy, and names stay texts, in the viewer, too."""
    users = UsersFile(tmp_path / "users.toml")
    with users.changing() as (known, _):
        known["alice"] = new_user("alice", "admin", "a long password")
    evil = '"><img src=x onerror=alert(1)>'
    with visited(tmp_path / "archive", Terms(web=WebPolicy(users=users))) as node:
        image = _image(make, 1)
        image.PatientName = image.PatientID = image.StudyDescription = image.SeriesDescription = evil
        study = f"{node.url}/studies/{image.StudyInstanceUID}"
        node.store([image])
        page, said = browser.new_page(), list[str]()
        page.on("console", lambda message: said.append(message.text))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.goto(study)
        assert page.evaluate("getComputedStyle(document.querySelector('header')).backgroundColor") != (
            "rgba(0, 0, 0, 0)"
        )
        page.fill("#name", "alice")
        page.fill("#password", "a long password")
        page.click("main button")
        expect(page).to_have_url(study)
        page.click(".series a")
        expect(page.locator("#whose")).to_contain_text("onerror")
        page.goto(node.url)
        page.fill("#name", "img")
        expect(page.locator("#said")).to_contain_text("1 study")
        expect(page.locator("#rows")).to_contain_text("onerror")
        page.context.clear_cookies(name="dicomnet-session")
        page.locator("#name").press_sequentially("x")
        expect(page.locator("#password")).to_be_visible()
        page.fill("#name", "alice")
        page.fill("#password", "a long password")
        page.click("main button")
        expect(page.locator("#name")).to_have_value("imgx")
        page.click("text=Log out")
        expect(page.locator("#password")).to_be_visible()
        assert [each for each in said if "Security Policy" in each or each == "1"] == []
        page.close()


def test_the_picture_in_the_readme_is_what_the_pages_show(browser: Browser) -> None:
    """If not, run tools/picture_of_the_pages.py."""
    tool = runpy.run_path(str(ROOT / "tools" / "picture_of_the_pages.py"))
    picture = tool["PICTURE"]
    assert f"]({picture.relative_to(ROOT).as_posix()})" in (ROOT / "README.md").read_text(encoding="utf-8")
    shown, now = (Image.open(BytesIO(each)) for each in (picture.read_bytes(), tool["taken"](browser)))
    assert shown.info["comment"] == now.info["comment"]
    # Small, so that neither fonts nor their edges matter.
    small = [
        np.asarray(each.convert("L").resize((25, 20), Image.Resampling.BOX), int) for each in (shown, now)
    ]
    assert shown.size == now.size
    assert np.mean(np.abs(small[0] - small[1])) < 4
