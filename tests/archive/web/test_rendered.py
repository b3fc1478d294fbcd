"""Pictures by HTTP: those of the room that makes them, and what is answered where there is none."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pictures
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage, generate_uid
from tests.archive.web.served import Served, served
from tests.grids import grid
from tests.rendering.test_pixels import FILES
from tests.support import TOOL_ENVIRONMENT, free_port, serving, wait_until

from dicomnet import Peer
from dicomnet.datasets.apart import Process
from dicomnet.rendering.picture import render
from dicomnet.rendering.view import JPEG, PDF, PNG, View, Viewport, Window

STUDY, SERIES = "1.2.826.0.1.3680043.9.7133.7", "1.2.826.0.1.3680043.9.7133.7.1"
OTHERS = "1.2.826.0.1.3680043.9.7133.7.2"
# Of one study: images in one series, in the order in which they are sent, and what has no pixels in the other one.
IMAGES = ["MR_small.dcm", "CT_small.dcm", "emri_small.dcm", "examples_palette.dcm", "JPEG2000.dcm"]
WITH_NUMPY = {name: value for name, value in TOOL_ENVIRONMENT.items() if name != "PYTHONPATH"}
WITHOUT = ["test-SR.dcm", "rtplan.dcm"]


def of_study(name: str, series: str) -> Dataset:
    dataset = dcmread(FILES[name])
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, series
    dataset.PatientID, dataset.PatientName = "1", "A"
    return dataset


def document() -> Dataset:
    dataset = of_study("test-SR.dcm", OTHERS)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = EncapsulatedPDFStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.MIMETypeOfEncapsulatedDocument = PDF
    dataset.EncapsulatedDocument = b"%PDF-1.4 "
    dataset.EncapsulatedDocumentLength = 9
    return dataset


class Archive:
    """A served archive, and where its objects are, by the names of the files."""

    def __init__(self, node: Served, folder: Path) -> None:
        self.node = node
        self.get = node.get
        self.paths: dict[str, str] = {}
        files: list[Path] = []
        made = [*((name, of_study(name, SERIES)) for name in IMAGES)]
        made += [*((name, of_study(name, OTHERS)) for name in WITHOUT), ("document", document())]
        for name, dataset in made:
            path = folder / f"{len(files)}.dcm"
            dataset.save_as(path, enforce_file_format=True)
            files.append(path)
            series = dataset.SeriesInstanceUID
            self.paths[name] = f"/studies/{STUDY}/series/{series}/instances/{dataset.SOPInstanceUID}"
        self.files = dict(zip(self.paths, files, strict=True))
        node.store(files)

    def picture(self, name: str, **view: Any) -> bytes:
        """What is to be answered."""
        return bytes(render(BytesIO(self.files[name].read_bytes()), View(**view))[1])


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with served(tmp_path_factory.mktemp("archive")) as node:
        yield Archive(node, tmp_path_factory.mktemp("files"))


@grid(
    "query, accept, view",
    [
        ("", None, View()),
        ("", "*/*", View()),
        ("", "image/*", View()),
        ("", "image/png", View(media_types=[PNG])),
        ("", "image/webp, image/png;q=0.5", View(media_types=[PNG])),
        ("", "image/jpeg;q=0.1, image/png", View(media_types=[PNG])),
        ("?accept=image/png", "*/*", View(media_types=[PNG])),
        ("?window=40,400,linear", None, View(window=Window(40, 400))),
        ("?window=40,400", None, View(window=Window(40, 400))),
        ("?window=lung", None, View(window="lung")),
        ("?viewport=64,32", None, View(viewport=Viewport(64, 32))),
        ("?viewport=10,10,1,2,-3,4&quality=7", None, View(viewport=Viewport(10, 10, 1, 2, -3, 4), quality=7)),
        ("?annotation=patient,technique&iccprofile=srgb&charset=utf-8&unknown=1", None, View()),
    ],
)
def test_pictures_are_as_they_are_asked_for(
    query: str, accept: str | None, view: View, archive: Archive
) -> None:
    answer = archive.get(f"{archive.paths['CT_small.dcm']}/rendered{query}", accept)
    wanted = render(BytesIO(archive.files["CT_small.dcm"].read_bytes()), view)
    assert (answer.status, answer.headers["content-type"]) == (200, wanted[0]), answer.body
    assert answer.body == wanted[1]
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("name", "query", "source"),
    [
        ("MR_small.dcm", "", "image"),
        ("MR_small.dcm", "?window=500,300,linear", "request"),
        ("MR_small.dcm", "?window=500.25,300,sigmoid", "request"),
        ("CT_small.dcm", "", "values"),
        ("CT_small.dcm", "?window=lung", "request"),
    ],
)
def test_the_window_of_a_picture_is_told_and_gives_the_same_picture(
    name: str, query: str, source: str, archive: Archive
) -> None:
    """Viewers begin with it when somebody changes the window."""
    answer = archive.get(f"{archive.paths[name]}/rendered{query}", PNG)
    window, _, told = answer.headers["dicomnet-window"].partition("; of=")
    assert told == source
    again = archive.get(f"{archive.paths[name]}/rendered?window={window}", PNG)
    first, second = (np.asarray(Pictures.open(BytesIO(each.body))).astype(int) for each in (answer, again))
    assert np.abs(first - second).max() <= 1


def test_colors_have_no_window(archive: Archive) -> None:
    answer = archive.get(f"{archive.paths['examples_palette.dcm']}/rendered", PNG)
    assert "dicomnet-window" not in answer.headers


def test_a_first_frame_that_is_missing_is_told_before_anything_is_sent(archive: Archive) -> None:
    """It was a response of status 200 that was cut off."""
    path = f"{archive.paths['CT_small.dcm']}/frames/2,3/rendered"
    answer = archive.get(path, 'multipart/related; type="image/png"')
    assert (answer.status, b"there is no frame 2" in answer.body) == (404, True)


def test_frames(archive: Archive) -> None:
    path = archive.paths["emri_small.dcm"]
    first = archive.picture("emri_small.dcm", media_types=[PNG])
    third = archive.picture("emri_small.dcm", frame=3, media_types=[PNG])
    assert archive.get(f"{path}/rendered", PNG).body == first
    assert archive.get(f"{path}/frames/3/rendered", PNG).body == third
    several = archive.get(f"{path}/frames/3,1/rendered", "multipart/related; type=image/png")
    assert several.status == 200
    assert [content for _, content in several.parts] == [third, first]
    assert {fields["content-type"] for fields, _ in several.parts} == {PNG}
    assert archive.get(f"{path}/frames/3,1/rendered").headers["content-type"].startswith("multipart/related")


@grid(
    "name, query, accept, status, words",
    [
        ("CT_small.dcm/rendered", "", "image/webp", 406, "image/jpeg"),
        ("CT_small.dcm/rendered", "", "application/dicom", 406, "image/jpeg"),
        ("CT_small.dcm/rendered", "", "application/pdf", 406, "rendered as image/jpeg"),
        ("CT_small.dcm/rendered", "?window=1,2,3,4", None, 400, "the window must be"),
        ("CT_small.dcm/rendered", "?window=1,0", None, 400, "must be 1 or more"),
        ("CT_small.dcm/rendered", "?window=nothing", None, 400, "there is no window"),
        ("CT_small.dcm/rendered", "?viewport=1", None, 400, "the viewport must be"),
        ("CT_small.dcm/rendered", "?viewport=5,5,1000,1000", None, 400, "outside of the image"),
        ("CT_small.dcm/rendered", "?quality=101", None, 400, "from 1 to 100"),
        ("CT_small.dcm/rendered", "?viewport=16384,16384", None, 413, "too large"),
        ("CT_small.dcm/frames/2/rendered", "", None, 404, "the object has 1"),
        ("CT_small.dcm/frames/0/rendered", "", None, 400, "numbers from 1 on"),
        ("CT_small.dcm/frames/x/rendered", "", None, 400, "numbers from 1 on"),
        ("CT_small.dcm/frames/1,/rendered", "", None, 400, "numbers from 1 on"),
        ("CT_small.dcm/frames/1,1/rendered", "", "image/jpeg", 406, "multipart/related"),
        ("CT_small.dcm/frames/" + "1," * 1000 + "1/rendered", "", None, 400, "at most 1000"),
        ("CT_small.dcm/frames/1,1/thumbnail", "", None, 400, "of one frame"),
        ("CT_small.dcm/thumbnail", "", "application/pdf", 406, "image/jpeg"),
        ("test-SR.dcm/rendered", "", None, 406, "has no pixels"),
        ("rtplan.dcm/rendered", "", "image/png", 406, "has no pixels"),
        ("test-SR.dcm/rendered", "", "multipart/related; type=image/jpeg", 406, "no pictures"),
        ("rtplan.dcm/thumbnail", "", None, 404, "no thumbnail"),
        ("document/thumbnail", "", None, 404, "no thumbnail"),
        ("document/rendered", "", "image/jpeg", 406, "rendered as application/pdf only"),
    ],
)
def test_what_is_wrong_is_told(
    name: str, query: str, accept: str | None, status: int, words: str, archive: Archive
) -> None:
    first, _, rest = name.partition("/")
    answer = archive.get(f"{archive.paths[first]}/{rest}{query}", accept)
    assert answer.status == status, answer.body
    assert words in answer.body.decode()
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.body.count(b"\n") == 1


@grid("path, status", [
    (f"/studies/{STUDY}/series/{SERIES}/instances/1.2/rendered", 404),
    ("/studies/1.2/rendered", 404),
    ("/studies/1.2/thumbnail", 404),
    (f"/studies/{STUDY}/series/..%2F../rendered", 400),
    ("/studies/x/thumbnail", 400),
])  # fmt: skip
def test_what_is_not_there(path: str, status: int, archive: Archive) -> None:
    assert archive.get(path).status in (status, 404)


def test_a_document_is_given_out_as_what_it_is(archive: Archive) -> None:
    for accept in (None, "application/pdf", "image/jpeg;q=0.5, application/pdf"):
        answer = archive.get(f"{archive.paths['document']}/rendered", accept)
        assert (answer.status, answer.headers["content-type"], answer.body) == (200, PDF, b"%PDF-1.4 ")


@grid("path", [f"/studies/{STUDY}", f"/studies/{STUDY}/series/{SERIES}"])
def test_all_pictures_of_a_series_or_study(path: str, archive: Archive) -> None:
    """What has no pixels is left out."""
    answer = archive.get(f"{path}/rendered", 'multipart/related; type="image/png"')
    assert answer.status == 200
    assert answer.headers["content-type"].startswith('multipart/related; type="image/png"')
    wanted = [archive.picture(name, media_types=[PNG]) for name in IMAGES]
    assert [content for _, content in answer.parts] == wanted
    assert archive.get(f"{path}/rendered", "image/png").status == 406


def test_thumbnails(archive: Archive) -> None:
    """The middle of a series, and one that has pixels of a study where the middle has none."""
    small = {"viewport": Viewport(200, 200), "frame": None}
    for path, name in (
        (archive.paths["CT_small.dcm"], "CT_small.dcm"),
        (archive.paths["emri_small.dcm"], "emri_small.dcm"),
        (f"/studies/{STUDY}/series/{SERIES}", IMAGES[len(IMAGES) // 2]),
    ):
        answer = archive.get(f"{path}/thumbnail")
        assert (answer.status, answer.headers["content-type"]) == (200, JPEG)
        assert answer.body == archive.picture(name, **small)
    of_all = archive.get(f"/studies/{STUDY}/thumbnail", PNG)
    assert of_all.status == 200
    assert max(Pictures.open(BytesIO(of_all.body)).size) == 200
    tiny = archive.get(f"{archive.paths['CT_small.dcm']}/thumbnail?viewport=16,16")
    assert np.asarray(Pictures.open(BytesIO(tiny.body))).shape == (16, 16)


def test_what_has_not_changed_is_not_sent_again(archive: Archive) -> None:
    path = f"{archive.paths['CT_small.dcm']}/rendered"
    answer = archive.get(path)
    tag = answer.headers["etag"]
    again = archive.get(path, if_none_match=tag)
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    for other in (f"{path}?quality=3", f"{path}?window=1,2", f"{archive.paths['MR_small.dcm']}/rendered"):
        assert archive.get(other, if_none_match=tag).status == 200
    assert archive.get(path, PNG, if_none_match=tag).status == 200


def test_a_head_has_no_body(archive: Archive) -> None:
    for path in (archive.paths["CT_small.dcm"], f"/studies/{STUDY}"):
        answer = archive.get(f"{path}/rendered", method="HEAD")
        assert (answer.status, answer.body) == (200, b"")
    assert archive.get(f"{archive.paths['CT_small.dcm']}/rendered", method="POST").status == 405


def test_many_at_once_get_each_its_own(archive: Archive) -> None:
    wanted = {name: archive.picture(name, window=Window(99, 501)) for name in IMAGES}

    def ask(name: str) -> bool:
        return archive.get(f"{archive.paths[name]}/rendered?window=99,501").body == wanted[name]

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(ask, IMAGES * 20))


def _idle_processes(node: Served) -> list[Process]:
    assert node.node._web is not None
    [service] = [each for each in node.node._web._application._services if hasattr(each, "_renderers")]
    processes: list[Process] = service._renderers._processes._idle
    return processes


def test_a_process_is_there_when_somebody_looks_and_not_before(tmp_path: Path) -> None:
    with served(tmp_path / "archive") as node:
        node.store([FILES["CT_small.dcm"]])
        assert node.get("/studies/1.2/metadata").status == 404
        assert not _idle_processes(node)
        assert node.get("/studies").status == 200
        [process] = _idle_processes(node)
        assert node.get("/studies").status == 200
        assert _idle_processes(node) == [process]
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: not process.is_running)
        assert node.get("/studies").status == 200
        assert sum(each.is_running for each in _idle_processes(node)) == 1


def test_a_killed_process_costs_no_other_picture(archive: Archive) -> None:
    path = f"{archive.paths['CT_small.dcm']}/rendered?quality=31"
    assert archive.get(path).status == 200
    processes = _idle_processes(archive.node)
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not any(each.is_running for each in processes))
    assert archive.get(f"{archive.paths['CT_small.dcm']}/rendered?quality=32").status == 200


def test_a_fatal_frame_costs_its_own_request(tmp_path: Path) -> None:
    fatal = Path(__file__).parents[2] / "datasets" / "ends_the_decoder.dcm"
    dataset = dcmread(fatal)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, SERIES
    path = tmp_path / "fatal.dcm"
    dataset.save_as(path, enforce_file_format=True)
    with served(tmp_path / "archive") as node:
        node.store([path])
        answer = node.get(f"/studies/{STUDY}/series/{SERIES}/instances/{dataset.SOPInstanceUID}/rendered")
        assert answer.status == 500
        assert b"the decoder ended its process over it" in answer.body
        assert node.get("/studies/1.2/thumbnail").status == 404
        answer = node.get(f"/studies/{STUDY}/rendered")
        assert answer.status == 500


@grid("environment, status", [(WITH_NUMPY, 200), (TOOL_ENVIRONMENT, 501)])
def test_workers_make_pictures_where_what_that_needs_is_installed(
    environment: dict[str, str], status: int, tmp_path: Path
) -> None:
    """Tools are run without numpy in these tests."""
    wanted = render(BytesIO(FILES["CT_small.dcm"].read_bytes()), View())[1]
    study = dcmread(FILES["CT_small.dcm"]).StudyInstanceUID
    port = free_port()
    options = ("--workers", "2", "--http", f"127.0.0.1:{port}")
    with serving(tmp_path / f"{status}", *options, environment=environment) as node:
        with Peer(node.address) as peer:
            assert all(result.is_stored for result in peer.store([FILES["CT_small.dcm"]]))
        for _ in range(6):
            connection = HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", f"/dicom-web/studies/{study}/thumbnail?viewport=128,128")
            answer = connection.getresponse()
            assert answer.status == status
            content = answer.read()
            connection.close()
            assert content == wanted if status == 200 else b"dicomnet[render] is not installed" in content
