"""The search, a study, a series and an object, as they are without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from tests.archive.web.page.visits import Visited, visited

# What a patient may be called who wants to run a script, or have another one's data.
EVIL = "<img onerror=alert(1) src=x>^\"'&{{ 7777 * 3 }}"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, make: Callable[..., Dataset]) -> Iterator[Visited]:
    """A node with 120 studies, the last of which has a name that is no name. Tests leave it as it is."""
    with visited(tmp_path_factory.mktemp("archive")) as node:
        node.store(make(**_study(number)) for number in range(1, 120))
        strange = dict.fromkeys(("PatientName", "StudyDescription", "SeriesDescription"), EVIL)
        node.store([make(**{**_study(120), **strange, "AccessionNumber": "<b>7</b>"})])
        yield node


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Visited]:
    """An empty node for one test."""
    with visited(tmp_path / "archive") as node:
        yield node


def _study(number: int) -> dict[str, Any]:
    return {
        "StudyInstanceUID": f"1.2.{number}",
        "SeriesInstanceUID": f"1.2.{number}.1",
        "SOPInstanceUID": f"1.2.{number}.1.1",
        "PatientName": f"Family{number:03}^Given{number % 7}=山田^太郎",
        "PatientID": f"ID{number:03}",
        "StudyDate": f"2026{number % 12 + 1:02}15",
        "StudyTime": "140530",
        "StudyDescription": "Thorax" if number % 2 else "Knee",
        "AccessionNumber": f"A{number}",
        "Modality": "CT" if number % 3 else "MR",
        "InstanceNumber": 1,
    }


def _studies(text: str) -> list[str]:
    return re.findall(r'href="/studies/1\.2\.(\d+)"', text)


def test_the_first_page_of_all_studies(archive: Visited) -> None:
    page = archive.visit("/")
    assert page.status == 200
    assert _studies(page.text) == [str(number) for number in range(120, 70, -1)]
    assert "50 studies, and there are more" in page.shown


def test_all_studies_are_reached_by_links_and_none_comes_twice(archive: Visited) -> None:
    found, address = [], "/"
    while address:
        page = archive.visit(address)
        found += _studies(page.text)
        address = next(iter(page.links(r"/\?.*skip=.*")), "")
    assert found == [str(number) for number in range(120, 0, -1)]


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ("name=family007", ["7"]),
        ("name=FAMILY007,+Given0", ["7"]),
        ("name=family007+given1", []),
        ("name=山田&id=ID011", ["11"]),
        ("id=ID011", ["11"]),
        ("id=011", ["11"]),
        ("accession=A119", ["119"]),
        (
            "from=2026-04-01&to=2026-04-30&description=thorax&modality=mr",
            ["3", "15", "27", "39", "51", "63", "75", "87", "99", "111"],
        ),
        ("from=2026-12-16", []),
        ("modality=us,+mr&id=ID00", ["3", "6", "9"]),
        ("name=nobody", []),
    ],
)
def test_a_search(archive: Visited, asked: str, numbers: list[str]) -> None:
    page = archive.visit(f"/?{quote(asked, safe='=&+,')}")
    assert page.status == 200
    assert sorted(_studies(page.text)) == sorted(numbers)


def test_the_rows_of_a_study_say_what_it_is(archive: Visited) -> None:
    page = archive.visit("/?id=ID008")
    (row,) = re.findall(r"<tr role=\"row\">\s*<th role=\"rowheader.*?</tr>", page.text, re.DOTALL)
    text = " ".join(re.sub(r"<[^>]*>", " ", row).split())
    assert text == "FAMILY008, Given1 山田 太郎 ID008 – 2026-09-15 14:05:30 CT Knee A8 1 1"


def test_a_search_that_cannot_be_is_answered_in_words(archive: Visited) -> None:
    page = archive.visit("/?name=" + "*a" * 60)
    assert page.status == 400
    assert "too many wild cards" in page.shown
    assert archive.visit("/?skip=-1").status == 400
    assert "must be one as 2026-11-29" in archive.visit("/?from=yesterday").shown


def test_no_value_of_an_object_becomes_part_of_the_page(archive: Visited) -> None:
    study = "/studies/1.2.120"
    for address in (
        "/",
        "/?id=ID120",
        study,
        f"{study}/series/1.2.120.1",
        f"{study}/series/1.2.120.1/instances/1.2.120.1.1",
    ):
        page = archive.visit(address)
        assert page.status == 200
        names = {name for name, _ in page.elements}
        assert not any("onerror" in attributes for _, attributes in page.elements)
        assert "b" not in names
        assert "23331" not in page.shown
        if address != "/" or "120" in _studies(page.text):
            assert "<IMG ONERROR=ALERT(1) SRC=X>" in page.shown or "<img onerror" in page.shown


def test_what_is_asked_for_is_in_the_form_again_and_is_no_script(archive: Visited) -> None:
    page = archive.visit("/?name=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&id=%27%22")
    assert [
        attributes for name, attributes in page.elements if name == "script" and "src" not in attributes
    ] == []
    values = {
        attributes.get("name"): attributes.get("value")
        for name, attributes in page.elements
        if name == "input"
    }
    assert values["name"] == '"><script>alert(1)</script>'
    assert values["id"] == "'\""


def test_a_study_a_series_and_an_object(archive: Visited) -> None:
    study = archive.visit("/studies/1.2.5")
    assert "FAMILY005, Given5 山田 太郎 ID ID005" in study.shown
    assert study.links("/dicom-web/studies/1.2.5\\?accept=application/zip")
    (address,) = study.links("/studies/1.2.5/series/1.2.5.1")
    series = archive.visit(address)
    assert "FAMILY005, Given5" in series.shown
    instance = "/studies/1.2.5/series/1.2.5.1/instances/1.2.5.1.1"
    assert instance in series.links(".*")
    shown = archive.visit(instance).shown
    assert "(0010,0010) Patient's Name PN FAMILY005, Given5 (山田 太郎)" in shown
    assert "(0008,0016) SOP Class UID UI 1.2.840.10008.5.1.4.1.1.2 (CT Image Storage)" in shown


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/studies/1.2.9999", 404),
        ("/studies/1.2.5/series/1.2.6.1", 404),
        ("/studies/1.2.5/series/1.2.5.1/instances/1.9", 404),
        ("/studies/..%2f..%2fetc", 404),
        ("/studies/x", 400),
        ("/studies/1.2.5/series/%2e%2e/instances/1.9", 400),
        ("/static/..%2fsite.py", 404),
        ("/static/nothing.js", 404),
    ],
)
def test_what_is_not_there(archive: Visited, address: str, status: int) -> None:
    assert archive.visit(address).status == status


def test_sequences_in_sequences_in_sequences(own: Visited, make: Callable[..., Dataset]) -> None:
    inner = Dataset()
    for _ in range(60):
        outer = Dataset()
        outer.ReferencedSeriesSequence = [inner]
        inner = outer
    nested = {
        "StudyInstanceUID": "1.2.777",
        "SeriesInstanceUID": "1.2.777.1",
        "SOPInstanceUID": "1.2.777.1.1",
    }
    own.store([make(**nested, ReferencedSeriesSequence=[inner])])
    page = own.visit("/studies/1.2.777/series/1.2.777.1/instances/1.2.777.1.1")
    assert page.status == 200
    assert "what is in it is not shown" in page.shown


def test_attributes_of_a_file_with_private_ones_sequences_and_pixels(own: Visited) -> None:
    paths = [Path(str(get_testdata_file(name))) for name in ("CT_small.dcm", "rtplan.dcm", "image_dfl.dcm")]
    own.store(paths)
    shown = []
    for path in paths:
        head = dcmread(path, stop_before_pixels=True)
        series = f"/studies/{head.StudyInstanceUID}/series/{head.SeriesInstanceUID}"
        page = own.visit(f"{series}/instances/{head.SOPInstanceUID}")
        assert page.status == 200
        shown.append(page.shown)
    assert "(7FE0,0010) Pixel Data OW 32.8 kB" in shown[0]
    assert "Private Creator LO GEMS_IDEN_01" in shown[0]
    assert "Beam Sequence SQ 1 item" in shown[1]
    assert "(0002,0010) Transfer Syntax UID UI 1.2.840.10008.1.2.1.99" in shown[2]
