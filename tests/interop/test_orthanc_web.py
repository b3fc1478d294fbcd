"""Orthanc with its DICOMweb plugin as what the client asks: QIDO-RS, WADO-RS and STOW-RS, in both faces."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from tests.cli.command import run
from tests.support import free_port, is_listening, wait_until
from tests.web import FACES, content

from dicomnet import Basic, Peer
from dicomnet.errors import HTTPRefusal

from .test_orthanc import orthanc

Call = Callable[..., list[Any]]
PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"


@contextlib.contextmanager
def service(folder: Path, **settings: Any) -> Iterator[str]:
    """The address of an empty Orthanc."""
    port = free_port()
    settings = {
        "HttpServerEnabled": True,
        "HttpPort": port,
        "AuthenticationEnabled": False,
        "Plugins": [PLUGIN],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        **settings,
    }
    with orthanc(folder, **settings):
        wait_until(lambda: is_listening(port), 30, "Orthanc serves HTTP")
        yield f"http://127.0.0.1:{port}/dicom-web"


@pytest.fixture
def studies(make: Callable[..., Dataset], encode: Callable[..., bytes], tmp_path: Path) -> Path:
    """Two studies of two series with five objects each."""
    folder = tmp_path / "studies"
    folder.mkdir()
    for study, name in (("1.2.1", "Doe^Jane"), ("1.2.2", "Müller^Jörg")):
        for series, modality in ((f"{study}.1", "CT"), (f"{study}.2", "MR")):
            for number in range(5):
                data_set = make(
                    SOPInstanceUID=f"{series}.{number}",
                    StudyInstanceUID=study,
                    SeriesInstanceUID=series,
                    Modality=modality,
                    PatientName=name,
                    PatientID=study,
                    StudyDate=f"2024010{study[-1]}",
                    StudyTime="120000",
                    SpecificCharacterSet="ISO_IR 192",
                    InstanceNumber=number,
                    PixelData=bytes([number]) * 5000,
                )
                path = folder / f"{data_set.SOPInstanceUID}.dcm"
                path.write_bytes(content(data_set, encode(data_set)))
    return folder


@pytest.fixture(params=FACES)
def call(request: pytest.FixtureRequest) -> Call:
    face: Call = FACES[request.param]
    return face


def test_there_and_back(call: Call, studies: Path, tmp_path: Path) -> None:
    with service(tmp_path / "orthanc") as url:
        (seconds,) = call(url, lambda peer: peer.echo())
        assert seconds > 0
        results = call(url, lambda peer: peer.store([studies], jobs=2), jobs=2)
        assert {each.status for each in results} == {0}
        assert len(results) == 20
        found = call(url, lambda peer: peer.find("study"))
        assert sorted((str(each.StudyInstanceUID), str(each.PatientName)) for each in found) == [
            ("1.2.1", "Doe^Jane"),
            ("1.2.2", "Müller^Jörg"),
        ]
        paths = call(url, lambda peer: peer.walk("image", PatientName="D*^J?ne", Modality="MR"))
        assert sorted(str(path[-1].SOPInstanceUID) for path in paths) == [f"1.2.1.2.{n}" for n in range(5)]
        for keys in ({"StudyInstanceUID": ["1.2.1", "1.2.2"]}, {"StudyDate": "20240101-20240102"}):
            assert len(call(url, lambda peer, keys=keys: peer.find("study", **keys))) == 2
        *_, last = call(
            url,
            lambda peer: peer.get("study", to=tmp_path / "got", StudyInstanceUID=["1.2.1", "1.2.2"]),
            jobs=3,
        )
        assert last.is_complete
        assert (last.received, last.completed) == (20, 20)
    for path in studies.iterdir():
        assert dcmread(tmp_path / "got" / path.name) == dcmread(path)


def test_compressed_objects_come_as_they_are_stored(call: Call, tmp_path: Path) -> None:
    from pydicom.data import get_testdata_file

    path = str(get_testdata_file("JPEG2000.dcm", download=False))
    own = dcmread(path)
    with service(tmp_path / "orthanc") as url:
        (result,) = call(url, lambda peer: peer.store(path))
        assert result.status == 0, result.comment
        *_, last = call(
            url,
            lambda peer: peer.get("study", to=tmp_path / "got", StudyInstanceUID=str(own.StudyInstanceUID)),
        )
    assert last.is_complete
    got = dcmread(tmp_path / "got" / f"{own.SOPInstanceUID}.dcm")
    assert got.file_meta.TransferSyntaxUID == own.file_meta.TransferSyntaxUID
    assert got.PixelData == own.PixelData


def test_an_object_that_orthanc_does_not_take_costs_itself_only(
    call: Call, studies: Path, tmp_path: Path
) -> None:
    bad = dcmread(studies / "1.2.1.1.0.dcm")
    del bad.StudyInstanceUID
    bad.save_as(studies / "bad.dcm")
    with service(tmp_path / "orthanc") as url:
        results = {Path(each.path).name: each for each in call(url, lambda peer: peer.store([studies]))}
    refused = results.pop("bad.dcm")
    assert not refused.is_stored
    assert "400" in refused.comment
    assert {each.status for each in results.values()} == {0}


def test_what_has_come_is_not_asked_for_again(call: Call, studies: Path, tmp_path: Path) -> None:
    to = tmp_path / "got"
    with service(tmp_path / "orthanc") as url:
        call(url, lambda peer: peer.store([studies]))
        call(url, lambda peer: peer.get("study", to=to, StudyInstanceUID="1.2.1"))
        for number in range(3):
            (to / f"1.2.1.1.{number}.dcm").unlink()
        *_, last = call(url, lambda peer: peer.get("study", to=to, resume=True, StudyInstanceUID="1.2.1"))
    assert (last.received, last.is_complete) == (3, True)
    assert len(list(to.iterdir())) == 10


def test_who_asks(tmp_path: Path) -> None:
    settings = {"AuthenticationEnabled": True, "RegisteredUsers": {"jane": "s3cret"}}
    with service(tmp_path / "orthanc", **settings) as url:
        with Peer(url, credentials=Basic("jane", "s3cret")) as peer:
            assert peer.echo() > 0
        for credentials in (None, Basic("jane", "wrong")):
            with Peer(url, credentials=credentials) as peer, pytest.raises(HTTPRefusal) as raised:
                peer.echo()
            assert (raised.value.code, raised.value.status) == (401, 0x0124)


def test_what_is_not_there(call: Call, tmp_path: Path) -> None:
    with service(tmp_path / "orthanc") as url:
        assert call(url, lambda peer: peer.find("study", PatientID="nobody")) == []
        *_, error = call(url, lambda peer: peer.get("study", to=tmp_path, StudyInstanceUID="1.2.99"))
    assert isinstance(error, HTTPRefusal)
    assert error.code == 404


def test_the_commands(studies: Path, tmp_path: Path) -> None:
    with service(tmp_path / "orthanc") as url:
        for arguments, words in (
            (["diagnose", url], "QIDO-RS"),
            (["store", url, str(studies), "--jobs", "2"], "sent 20 "),
            (["find", url, "-k", "PatientName=D*"], "Doe^Jane"),
            (["fetch", url, "-k", "PatientID=1.2.2", "--to", str(tmp_path / "fetched")], '"objects": 10'),
        ):
            result = run(*arguments)
            assert result.returncode == 0, result.stderr
            assert words in result.stdout
    assert len(list((tmp_path / "fetched").rglob("*.dcm"))) == 10
