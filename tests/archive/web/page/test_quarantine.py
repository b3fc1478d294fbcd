"""The pages of the quarantine: what is in it, in what it differs from what is stored, and its release."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from tests.archive.web.page.visits import Visited, visited

from dicomnet.archive.conflicts import OtherContent
from dicomnet.archive.deletion import Order
from dicomnet.archive.entries import Outcome

UID = "1.2.7.1"


@pytest.fixture
def node(tmp_path: Path, make: Callable[..., Dataset]) -> Iterator[Visited]:
    """A node that has an object, and another one with its SOP Instance UID in quarantine."""
    with visited(tmp_path / "node") as made:
        made.store([make(SOPInstanceUID=UID)])
        made.store([make(SOPInstanceUID=UID, PatientName="Other^<b>One", PixelData=b"\x03\x04" * 8)])
        yield made


def _address(node: Visited) -> str:
    (found,) = node.visit("/quarantine").links(r"/quarantine/[0-9a-f]{64}")
    return found


def _stored_digest(node: Visited) -> str:
    found = re.search(r'name="stored" value="([0-9a-f]*)"', node.visit(_address(node)).text)
    assert found is not None
    return found[1]


def _names(node: Visited) -> list[str]:
    folder = node.node.holdings.local.root / "objects"
    return [str(dcmread(path).PatientName) for path in folder.rglob("*.dcm")]


def test_it_says_why_and_from_whom(node: Visited) -> None:
    page = node.visit("/quarantine")
    assert "1 object is kept here" in page.shown
    assert UID in page.shown
    assert "PAGE 127.0.0.1 by C-STORE" in page.shown


def test_in_what_both_differ(node: Visited) -> None:
    page = node.visit(_address(node))
    assert page.status == 200
    assert "differs in 2 attributes" in page.shown
    assert re.search(r"Patient's Name \(0010,0010\) DOE, Jane OTHER, <b>One", page.shown)
    assert re.search(r"Pixel Data \(7FE0,0010\) 16 bytes 16 bytes of other content", page.shown)
    assert "b" not in {name for name, _ in page.elements}
    assert "Patient ID" not in page.shown


def test_long_pixels_of_one_length_are_compared(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    with visited(tmp_path / "node") as node:
        pixels = bytearray(200_000)
        node.store([make(SOPInstanceUID=UID, PixelData=bytes(pixels))])
        pixels[150_000] = 1
        node.store([make(SOPInstanceUID=UID, PixelData=bytes(pixels))])
        shown = node.visit(_address(node)).shown
        assert "differs in 1 attribute." in shown
        assert "of other content" in shown


def test_what_is_released_is_stored_and_the_other_kept(node: Visited) -> None:
    address, digest = _address(node), _stored_digest(node)
    page = node.send_form("/quarantine", f"{address}/release", {"stored": digest})
    assert (page.status, "It is stored now" in page.shown) == (200, True)
    assert _names(node) == ["Other^<b>One"]
    assert "Nothing is in quarantine" in node.visit("/quarantine").shown
    assert "OTHER, <b>One" in node.visit("/").shown
    assert "DOE" not in node.visit("/").shown
    ledger = node.node.holdings.ledger
    assert ledger is not None
    (recorded,) = ledger.opened.quarantine(ended=True)
    (version,) = ledger.opened.versions(UID)
    assert (recorded.outcome, version.digest) == (Outcome.RELEASED, digest)
    # Twice is once.
    again = node.send_form("/quarantine", f"{address}/release", {"stored": digest})
    assert again.status == 404


def test_other_objects_are_still_put_in_quarantine(node: Visited, make: Callable[..., Dataset]) -> None:
    """A release says nothing of what comes next."""
    node.send_form("/quarantine", f"{_address(node)}/release", {"stored": _stored_digest(node)})
    assert node.node.holdings.other_content is OtherContent.KEEP_FIRST
    node.store([make(SOPInstanceUID=UID, PatientName="Third^One")])
    assert _names(node) == ["Other^<b>One"]
    assert "1 object is kept here" in node.visit("/quarantine").shown


def test_what_has_no_other_one_any_more(node: Visited) -> None:
    holdings = node.node.holdings
    holdings.deleting().delete("1.2.3", [UID], Order("run", "somebody"))
    address = _address(node)
    assert "No object is stored under this" in node.visit(address).shown
    assert node.send_form("/quarantine", f"{address}/release", {"stored": ""}).status == 200
    assert _names(node) == ["Other^<b>One"]


def test_who_has_seen_another_object_releases_nothing(node: Visited) -> None:
    address = _address(node)
    refused = node.send_form("/quarantine", f"{address}/release", {"stored": "0" * 64})
    assert (refused.status, "nothing was done" in refused.shown) == (409, True)
    assert node.visit(f"{address}/release", "POST", b"stored=").status == 403
    assert node.visit(f"{address}/release").status == 405
    assert _names(node) == ["Doe^Jane"]
    assert node.visit(f"/quarantine/{'0' * 64}").status == 404


def test_a_damaged_file_is_not_released(node: Visited) -> None:
    address, digest = _address(node), _stored_digest(node)
    (path,) = (node.node.holdings.local.root / "quarantine").rglob("*.dcm")
    path.write_bytes(path.read_bytes()[:-10])
    refused = node.send_form("/quarantine", f"{address}/release", {"stored": digest})
    assert 400 <= refused.status < 500
    assert _names(node) == ["Doe^Jane"]
    assert path.exists()
