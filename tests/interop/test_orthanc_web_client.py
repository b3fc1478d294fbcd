"""Orthanc's DICOMweb plugin as the client of a node: it stores, searches, retrieves, and reads single resources."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from tests.archive.web.served import Served, address_of, served
from tests.web import content

from dicomnet import Peer

from .test_orthanc_web import service

PATIENCE = 60.0
# As they are stored: native, in JPEG 2000, in RLE with several frames, and without pixels.
FILES = ("CT_small.dcm", "JPEG2000.dcm", "SC_rgb_rle_2frame.dcm", "test-SR.dcm")


class Orthanc:
    """Its REST interface."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        assert place.hostname is not None
        self._place = place.hostname, place.port

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What it answers: JSON, or bytes where it is none."""
        connection = HTTPConnection(*self._place, timeout=PATIENCE)
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        try:
            connection.request(method, path, data)
            answer = connection.getresponse()
            read = answer.read()
            assert answer.status == 200, (path, answer.status, read)
            is_json = answer.headers.get_content_type().endswith("json")
            return json.loads(read) if is_json else read
        finally:
            connection.close()

    def server(self, verb: str, body: Any) -> Any:
        """What it answers when it has asked the node."""
        return self.ask("POST", f"/dicom-web/servers/node/{verb}", body)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path / "node") as running:
        yield running


@pytest.fixture
def orthanc(node: Served, tmp_path: Path) -> Iterator[Orthanc]:
    """An Orthanc that has the node among its servers; this one deletes nothing and has no users."""
    web = {
        "Enable": True,
        "Root": "/dicom-web/",
        "Servers": {"node": {"Url": f"{node.url}/", "HasDelete": False, "ChunkedTransfers": True}},
    }
    with service(tmp_path / "orthanc", DicomWeb=web, RemoteAccessAllowed=True) as url:
        yield Orthanc(url)


@pytest.fixture
def paths(make: Callable[..., Dataset], encode: Callable[..., bytes], tmp_path: Path) -> list[Path]:
    """Files of pydicom, and a series of twelve images."""
    folder = tmp_path / "files"
    folder.mkdir()
    found = [Path(str(get_testdata_file(name, download=False))) for name in FILES]
    for number in range(1, 13):
        data_set = make(
            SOPInstanceUID=f"1.2.9.1.{number}",
            StudyInstanceUID="1.2.9",
            SeriesInstanceUID="1.2.9.1",
            PatientName="Müller^Jörg",
            PatientID="P9",
            SpecificCharacterSet="ISO_IR 192",
            InstanceNumber=number,
            PixelData=bytes([number]) * 40_000,
        )
        path = folder / f"{number}.dcm"
        path.write_bytes(content(data_set, encode(data_set)))
        found.append(path)
    return found


def _pixels(data_set: Dataset) -> bytes:
    return bytes(data_set.get("PixelData") or b"")


def test_orthanc_stores(node: Served, orthanc: Orthanc, paths: list[Path], tmp_path: Path) -> None:
    resources = [orthanc.ask("POST", "/instances", path.read_bytes())["ID"] for path in paths]
    orthanc.server("stow", {"Resources": resources, "Synchronous": True})
    assert node.node.holdings.intake.wait_for_all()
    with Peer(node.url) as peer:
        *_, last = peer.get(
            "study",
            to=tmp_path / "got",
            StudyInstanceUID=[str(dcmread(path).StudyInstanceUID) for path in paths],
        )
    assert last.is_complete
    for path in paths:
        own = dcmread(path)
        got = dcmread(tmp_path / "got" / f"{own.SOPInstanceUID}.dcm")
        assert got.file_meta.TransferSyntaxUID == own.file_meta.TransferSyntaxUID
        assert _pixels(got) == _pixels(own)
        assert got.get("PatientName") == own.get("PatientName")


def test_orthanc_searches(node: Served, orthanc: Orthanc, paths: list[Path]) -> None:
    node.store(paths)
    found = orthanc.server("qido", {"Uri": "/studies", "Arguments": {"PatientName": "M*^J?rg"}})
    (study,) = found
    text = json.dumps(study, ensure_ascii=False)
    assert "Müller^Jörg" in text
    assert "1.2.9" in text
    assert len(orthanc.server("qido", {"Uri": "/studies/1.2.9/series", "Arguments": {}})) == 1
    uri = "/studies/1.2.9/series/1.2.9.1/instances"
    assert len(orthanc.server("qido", {"Uri": uri, "Arguments": {"limit": "5"}})) == 5
    assert len(orthanc.server("qido", {"Uri": "/instances", "Arguments": {"PatientID": "P9"}})) == 12


@pytest.mark.parametrize("wanted", [{"Study": "1.2.9"}, {"Study": "1.2.9", "Series": "1.2.9.1"}])
def test_orthanc_retrieves(node: Served, orthanc: Orthanc, paths: list[Path], wanted: dict[str, str]) -> None:
    node.store(paths)
    orthanc.server("retrieve", {"Resources": [wanted], "Synchronous": True})
    found = {
        orthanc.ask("GET", f"/instances/{each}/simplified-tags")["SOPInstanceUID"]: each
        for each in orthanc.ask("GET", "/instances")
    }
    assert set(found) == {f"1.2.9.1.{number}" for number in range(1, 13)}
    assert bytes([7]) * 40_000 in orthanc.ask("GET", f"/instances/{found['1.2.9.1.7']}/file")


def test_orthanc_retrieves_what_is_compressed(node: Served, orthanc: Orthanc, paths: list[Path]) -> None:
    node.store(paths)
    for path in paths[:4]:
        own = dcmread(path)
        orthanc.server("retrieve", {"Resources": [{"Study": str(own.StudyInstanceUID)}], "Synchronous": True})
    assert len(orthanc.ask("GET", "/instances")) == 4


def test_orthanc_reads_single_resources(node: Served, orthanc: Orthanc, paths: list[Path]) -> None:
    node.store(paths)
    instance = "/studies/1.2.9/series/1.2.9.1/instances/1.2.9.1.3"
    metadata = orthanc.server("get", {"Uri": f"{instance}/metadata"})
    assert metadata[0]["00080018"]["Value"] == ["1.2.9.1.3"]
    headers = {"Accept": "application/dicom"}
    assert (
        orthanc.server("get", {"Uri": instance, "HttpHeaders": headers})
        == node.get(instance, "application/dicom").body
    )
    headers = {"Accept": "image/png"}
    picture = orthanc.server("get", {"Uri": f"{address_of(paths[0])}/rendered", "HttpHeaders": headers})
    assert picture.startswith(b"\x89PNG")
