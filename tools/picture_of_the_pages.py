"""Make docs/pages.jpg, the picture of the pages: a node with objects of pydicom's tests, in Chromium.

Its comment has the words that are seen, by which a test knows what is shown, with whatever fonts.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, expect, sync_playwright
from pydicom import dcmread
from pydicom.data import get_testdata_file

from dicomnet import Peer
from dicomnet.archive.node import Node
from dicomnet.drivers.transport import listen

PICTURE = Path(__file__).parents[1] / "docs" / "pages.jpg"
SHOWN = "examples_overlay.dcm"
OTHERS = ("CT_small.dcm", "MR_small.dcm", "emri_small.dcm")


def main() -> None:
    """Take the picture, and put it in its place."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium")
        PICTURE.write_bytes(taken(browser))
        browser.close()
    print(f"{PICTURE}: {PICTURE.stat().st_size} bytes", file=sys.stderr)


def taken(browser: Browser) -> bytes:
    """The picture: a node is started, stores the objects, and one of them is looked at."""
    paths = [Path(str(get_testdata_file(name))) for name in (*OTHERS, SHOWN)]
    with TemporaryDirectory() as folder:
        node = Node(Path(folder), address=("127.0.0.1", 0), web=listen(("127.0.0.1", 0)), sync=False)
        node.start()
        try:
            with Peer(f"NODE@127.0.0.1:{node.address[1]}") as peer:
                assert all(result.is_stored for result in peer.store(paths))
            assert node.web_address is not None
            return _looked_at(browser, f"http://127.0.0.1:{node.web_address[1]}", paths[-1])
        finally:
            node.shutdown()


def _looked_at(browser: Browser, address: str, path: Path) -> bytes:
    head = dcmread(path, stop_before_pixels=True)
    page = browser.new_page(viewport={"width": 1000, "height": 780})
    try:
        page.goto(f"{address}/studies/{head.StudyInstanceUID}/series/{head.SeriesInstanceUID}")
        expect(page.locator("#where")).to_contain_text("1 of 1")
        return _commented(page.screenshot(type="jpeg", quality=75), page.locator("body").inner_text())
    finally:
        page.close()


def _commented(picture: bytes, words: str) -> bytes:
    """A JPEG picture with a comment behind its first marker."""
    comment = words.encode()
    return picture[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + picture[2:]


if __name__ == "__main__":
    main()
