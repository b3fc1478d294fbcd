"""Studies, series and instances by HTTP, over a real socket: WADO-RS of PS3.18 section 10.4."""

from __future__ import annotations

import io
import os
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from tests.archive.web.served import Served, address_of, sample, served
from tests.faults.objects import study_uid, uid, write_objects

from dicomnet.archive.deletion import Order
from dicomnet.archive.services.retrieve import RetrievePolicy
from dicomnet.archive.storage.store import ObjectName
from dicomnet.archive.terms import Terms
from dicomnet.encoding.transfer_syntaxes import Transcoding

EXPLICIT, IMPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
MANY = 'multipart/related; type="application/dicom"'
ANY = f"{MANY}; transfer-syntax=*"
COUNT = 7
STUDY = f"/studies/{study_uid(1)}"
SERIES = f"{STUDY}/series/{study_uid(1)}.1"
INSTANCE = f"{SERIES}/instances/{uid(1, 1)}"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A study of objects, one of them larger than what is sent at once."""
    folder = tmp_path_factory.mktemp("files")
    paths = write_objects(folder, 1, COUNT, 1000)
    return [*paths[:-1], *write_objects(folder, 1, 1, 3_000_000, first=COUNT)]


@pytest.fixture(scope="module")
def node(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("node")) as running:
        running.store(files)
        running.store([sample("MR_small_implicit.dcm"), sample("SC_rgb_jpeg_dcmtk.dcm")])
        yield running


@pytest.fixture
def own(files: list[Path], tmp_path: Path) -> Iterator[Served]:
    """A node that a test may change."""
    with served(tmp_path / "node") as running:
        running.store(files)
        yield running


def _stored(node: Served, path: str) -> bytes:
    """The file of an instance as it lies in the store."""
    _, _, study, _, series, _, instance = path.split("/")
    with node.node.holdings.storage.open(ObjectName(study, series, instance)) as file:
        return file.read()


@pytest.mark.parametrize("path", [STUDY, SERIES])
def test_all_of_it_as_it_is_stored(node: Served, path: str) -> None:
    answer = node.get(path, ANY)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith('multipart/related; type="application/dicom"; boundary=')
    assert len(answer.body) == int(answer.headers["content-length"])
    assert len(answer.parts) == COUNT
    for fields, content in answer.parts:
        assert fields["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT}"
        instance = pydicom.dcmread(io.BytesIO(content)).SOPInstanceUID
        assert content == _stored(node, f"{SERIES}/instances/{instance}")


def test_one_instance_with_and_without_parts(node: Served) -> None:
    ((_, content),) = node.get(INSTANCE, ANY).parts
    alone = node.get(INSTANCE, "application/dicom; transfer-syntax=*")
    assert alone.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert alone.body == content == _stored(node, INSTANCE)
    # Anything will do.
    assert node.get(INSTANCE).parts[0][1] == content
    assert node.get(INSTANCE, "*/*").parts[0][1] == content
    assert node.get(f"{INSTANCE}?accept=application/dicom", "*/*").body == content


def test_a_head_has_what_a_get_has_without_the_body(node: Served) -> None:
    whole, head = node.get(STUDY, ANY), node.get(STUDY, ANY, "HEAD")
    assert head.status == 200
    assert head.body == b""
    assert {**head.headers, "date": ""} == {**whole.headers, "date": ""}


def test_a_zip_file(node: Served) -> None:
    answer = node.get(STUDY, "application/zip")
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == COUNT
        name = f"{study_uid(1)}/{study_uid(1)}.1/{uid(1, COUNT)}.dcm"
        assert archive.read(name) == _stored(node, f"{SERIES}/instances/{uid(1, COUNT)}")


def test_native_objects_are_converted_as_asked(node: Served) -> None:
    path = sample("MR_small_implicit.dcm")
    own = pydicom.dcmread(path)
    stored = node.get(address_of(path), ANY)
    assert pydicom.dcmread(io.BytesIO(stored.parts[0][1])).file_meta.TransferSyntaxUID == IMPLICIT
    for accept, expected in ((MANY, EXPLICIT), (f"{MANY}; transfer-syntax={DEFLATED}", DEFLATED)):
        answer = node.get(address_of(path), accept)
        ((fields, content),) = answer.parts
        assert fields["content-type"] == f"application/dicom; transfer-syntax={expected}"
        found = pydicom.dcmread(io.BytesIO(content))
        assert found.file_meta.TransferSyntaxUID == expected
        assert found.file_meta.MediaStorageSOPInstanceUID == own.SOPInstanceUID
        assert found.PixelData == own.PixelData
        assert found.PatientName == own.PatientName


def test_a_client_that_names_no_transfer_syntax_gets_lossless_pixels_decompressed(own: Served) -> None:
    path = sample("MR_small_jp2klossless.dcm")
    own.store([path])
    found = pydicom.dcmread(io.BytesIO(own.get(address_of(path), MANY).parts[0][1]))
    assert found.file_meta.TransferSyntaxUID == EXPLICIT
    assert (found.pixel_array == pydicom.dcmread(path).pixel_array).all()
    stored = pydicom.dcmread(io.BytesIO(own.get(address_of(path), ANY).parts[0][1]))
    assert stored.file_meta.TransferSyntaxUID == JPEG_2000


def test_what_has_lost_something_stays_as_it_is_unless_asked_otherwise(node: Served) -> None:
    path = sample("SC_rgb_jpeg_dcmtk.dcm")
    own = pydicom.dcmread(path).file_meta.TransferSyntaxUID
    assert node.get(address_of(path), MANY).parts[0][0]["content-type"].endswith(own)
    asked = node.get(address_of(path), f"{MANY}; transfer-syntax={EXPLICIT}")
    assert asked.parts[0][0]["content-type"].endswith(f"transfer-syntax={EXPLICIT}")


def test_nothing_is_decompressed_where_that_is_switched_off(tmp_path: Path) -> None:
    path = sample("MR_small_jp2klossless.dcm")
    terms = Terms(retrieval=RetrievePolicy(transcoding=Transcoding.NEVER))
    with served(tmp_path, terms=terms) as node:
        node.store([path])
        assert node.get(address_of(path), MANY).parts[0][0]["content-type"].endswith(JPEG_2000)
        answer = node.get(address_of(path), f"{MANY}; transfer-syntax={EXPLICIT}")
        assert answer.status == 406
        assert b"JPEG 2000 Image Compression (Lossless Only) cannot be given" in answer.body


@pytest.mark.parametrize(
    ("path", "accept", "status", "said"),
    [
        (STUDY, "image/png", 406, b'these are: multipart/related; type="application/dicom", application/zip'),
        (STUDY, "application/dicom", 406, b"none of the media types"),
        (INSTANCE, f"{MANY}; transfer-syntax={JPEG_2000}", 406, b"cannot be given in the transfer syntax"),
        ("/studies/1.2.3.4", ANY, 404, b"there is no such study here"),
        # Of a UID like this pydicom would warn.
        ("/studies/01.2", ANY, 404, b"there is no such study here"),
        (f"{STUDY}/series/1.02", ANY, 404, b"there is no such series here"),
        (f"{STUDY}/series/1.2", ANY, 404, b"there is no such series here"),
        (f"{SERIES}/instances/1.2", ANY, 404, b"there is no such instance here"),
        # The instance of another study.
        (f"/studies/1.2/series/1.3/instances/{uid(1, 1)}", ANY, 404, b"there is no such instance here"),
        ("/studies/..%2F..%2Fetc", ANY, 404, b""),
        ("/studies/1..2", ANY, 400, b"the study in the path is not a UID"),
        ("/studies/1%00", ANY, 400, b"the study in the path is not a UID"),
    ],
)
def test_refusals_say_what_is_wrong(node: Served, path: str, accept: str, status: int, said: bytes) -> None:
    answer = node.get(path, accept)
    assert answer.status == status
    assert said in answer.body


def test_what_a_client_has_already_is_not_sent_again(node: Served) -> None:
    for path, accept in (
        (STUDY, ANY),
        (INSTANCE, ANY),
        (INSTANCE, "application/dicom"),
        (STUDY, "application/zip"),
    ):
        first = node.get(path, accept)
        tag = first.headers["etag"]
        again = node.get(path, accept, If_None_Match=f'"other", {tag}')
        assert (again.status, again.body) == (304, b"")
        assert again.headers["etag"] == tag
        assert node.get(path, accept, If_None_Match='"other"').status == 200
        # The same bytes each time, as a strong ETag says.
        if accept != "application/zip":
            assert node.get(path, accept).body == first.body
    assert node.get(INSTANCE, ANY).headers["etag"] != node.get(INSTANCE, "application/dicom").headers["etag"]


def test_an_etag_changes_with_the_study(own: Served, tmp_path: Path) -> None:
    before = own.get(STUDY, ANY).headers["etag"]
    own.store(write_objects(tmp_path / "more", 1, 1, first=COUNT + 1))
    answer = own.get(STUDY, ANY, If_None_Match=before)
    assert answer.status == 200
    assert len(answer.parts) == COUNT + 1


def test_a_file_that_is_gone_is_said_before_anything_is_sent(own: Served) -> None:
    storage = own.node.holdings.storage
    name = ObjectName(study_uid(1), f"{study_uid(1)}.1", uid(1, 2))
    storage.remove(name)
    answer = own.get(STUDY, ANY)
    assert answer.status == 206
    assert answer.headers["warning"] == f'299 - "1 of {COUNT} instances cannot be given out"'
    assert "etag" not in answer.headers
    assert len(answer.parts) == COUNT - 1
    assert own.get(f"{SERIES}/instances/{uid(1, 2)}", ANY).status == 404


@pytest.mark.parametrize("accept", [ANY, "application/zip"])
@pytest.mark.parametrize("change", [b"more than there was", b""])
def test_a_file_of_another_length_is_said_before_anything_is_sent(
    own: Served, accept: str, change: bytes
) -> None:
    """The response had no end, so that few clients had anything of the study."""
    (path,) = own.node.holdings.local.root.rglob(f"{uid(1, 3)}.dcm")
    path.write_bytes(path.read_bytes() + change if change else path.read_bytes()[:-1])
    answer = own.get(STUDY, accept)
    assert answer.status == 206
    assert answer.headers["warning"] == f'299 - "1 of {COUNT} instances cannot be given out"'
    if accept == ANY:
        assert len(answer.parts) == COUNT - 1
    else:
        with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
            assert archive.testzip() is None
            assert len(archive.namelist()) == COUNT
            assert f"{uid(1, 3)}.dcm: its file does not have the length that it had" in str(
                archive.read("MISSING.txt")
            )
    assert own.get(f"{SERIES}/instances/{uid(1, 3)}", ANY).status == 500


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[tuple[Served, str, str, str]]:
    """A study of two images, and their UIDs; nothing tells beforehand that the second cannot be decompressed."""
    whole, content = sample("JPEG2000.dcm").read_bytes(), sample("JPEG2000.dcm").read_bytes()
    at = content.index(b"\xff\x4f\xff\x51")
    instance = str(pydicom.dcmread(io.BytesIO(whole)).SOPInstanceUID)
    other = instance[:-1] + "8"
    # No other test knows this one by its content.
    noise = os.urandom(len(content) - 100 - at)
    content = content[:at].replace(instance.encode(), other.encode()) + noise + content[-100:]
    for name, each in (("1.dcm", whole), ("2.dcm", content)):
        (tmp_path / name).write_bytes(each)
    study = address_of(tmp_path / "1.dcm").partition("/series")[0]
    with served(tmp_path / "store") as node:
        node.store([tmp_path / "1.dcm", tmp_path / "2.dcm"])
        yield node, study, instance, other


@pytest.mark.parametrize(
    ("path", "accept"), [("", MANY), ("/frames", 'multipart/related; type="application/octet-stream"')]
)
def test_an_image_that_turns_out_to_be_damaged_cuts_off_one_response_only(
    damaged: tuple[Served, str, str, str], path: str, accept: str
) -> None:
    """Each response was cut off, so that most clients never had anything of the study."""
    node, study, instance, other = damaged
    path = "/pixeldata" if path else path
    accept = f"{accept}; transfer-syntax={EXPLICIT}"
    with socket.create_connection(("127.0.0.1", node.address[1]), timeout=30) as connection:
        connection.sendall(
            f"GET /dicom-web{study}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\n\r\n".encode()
        )
        with connection.makefile("rb") as stream:
            content = stream.read()
    assert content.startswith(b"HTTP/1.1 200 ")
    # The other one is there, and not the last chunk.
    assert not content.endswith(b"0\r\n\r\n")
    assert instance.encode() in content
    answer = node.get(f"{study}{path}", accept)
    assert (answer.status, len(answer.parts)) == (206, 1)
    assert answer.headers["warning"] == '299 - "1 of 2 instances cannot be given out"'
    assert "etag" not in answer.headers
    # As they are stored there are both, and what is asked for by itself says what is wrong.
    assert len(node.get(study, ANY).parts) == 2
    series = address_of(sample("JPEG2000.dcm")).rpartition("/instances")[0]
    alone = node.get(f"{series}/instances/{other}", f"{MANY}; transfer-syntax={EXPLICIT}")
    assert alone.status == 500
    assert b"cannot be given out: " in alone.body


def test_a_zip_file_says_what_is_not_in_it(damaged: tuple[Served, str, str, str]) -> None:
    """It was cut off, so that people could not open what there is of the study."""
    node, study, instance, other = damaged
    accept = f"application/zip; transfer-syntax={EXPLICIT}"
    # The second time, it is known before.
    for status in (200, 206):
        answer = node.get(study, accept)
        assert answer.status == status
        with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
            assert archive.testzip() is None
            assert [Path(name).stem for name in archive.namelist()] == [instance, "MISSING"]
            text = archive.read("MISSING.txt").decode()
        assert text.startswith("This zip file lacks 1 of 2 objects, which cannot be given out:\r\n\r\n")
        assert f"/{other}.dcm: " in text
        assert "cannot be converted" in text
        assert "/tmp" not in text
        assert "store/" not in text


def test_a_zip_file_of_which_nothing_can_be_read_is_answered_with_an_error(
    damaged: tuple[Served, str, str, str],
) -> None:
    node, _, _, other = damaged
    series = address_of(sample("JPEG2000.dcm")).rpartition("/instances")[0]
    for _ in range(2):
        answer = node.get(f"{series}/instances/{other}", f"application/zip; transfer-syntax={EXPLICIT}")
        assert (answer.status, answer.body.startswith(b"what is stored here cannot be given out")) == (
            500,
            True,
        )


def test_a_deleted_instance_is_gone(own: Served) -> None:
    holdings = own.node.holdings
    holdings.deleting().delete(study_uid(1), [uid(1, 2)], Order("run", "somebody"))
    assert own.get(f"{SERIES}/instances/{uid(1, 2)}", ANY).status == 410
    assert len(own.get(STUDY, ANY).parts) == COUNT - 1


def test_dicomweb_client_retrieves(node: Served) -> None:
    client = DICOMwebClient(node.url)
    study, series = study_uid(1), f"{study_uid(1)}.1"
    assert len(client.retrieve_study(study)) == COUNT
    assert len(list(client.iter_study(study))) == COUNT
    assert len(client.retrieve_series(study, series)) == COUNT
    assert len(list(client.iter_series(study, series))) == COUNT
    assert client.retrieve_instance(study, series, uid(1, 1)).SOPInstanceUID == uid(1, 1)
    asked = (("application/dicom", EXPLICIT),)
    assert client.retrieve_instance(study, series, uid(1, 1), media_types=asked).SOPInstanceUID == uid(1, 1)
