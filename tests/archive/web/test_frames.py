"""Frames by HTTP, over a real socket, as viewers ask for them, beside what pydicom decodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from tests.archive.web.clients import ask, file_of
from tests.archive.web.served import Served, address_of, sample, served

EXPLICIT = "1.2.840.10008.1.2.1"
OCTETS = 'multipart/related; type="application/octet-stream"'
# OHIF, which is told to leave out the quotation marks.
OHIF = "multipart/related; type=application/octet-stream; transfer-syntax=*"
FILES = {
    "native": "MR_small_implicit.dcm",
    "big endian": "ExplVR_BigEnd.dcm",
    "deflated": "image_dfl.dcm",
    "RLE of two frames": "SC_rgb_rle_2frame.dcm",
    "JPEG 2000": "examples_jpeg2k.dcm",
    "JPEG": "SC_rgb_jpeg_dcmtk.dcm",
    "colour": "examples_ybr_color.dcm",
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("node")) as running:
        running.store([sample(name) for name in FILES.values()])
        running.store([sample("test-SR.dcm")])
        yield running


def _frames(path: Path) -> list[bytes]:
    """The frames as they are stored, by pydicom."""
    data_set = pydicom.dcmread(path)
    count = int(data_set.get("NumberOfFrames") or 1)
    if data_set.file_meta.TransferSyntaxUID.is_encapsulated:
        return list(generate_frames(data_set.PixelData, number_of_frames=count))
    length = len(data_set.PixelData) // count
    return [data_set.PixelData[at * length : (at + 1) * length] for at in range(count)]


@pytest.mark.parametrize("kind", ["native", "RLE of two frames", "JPEG 2000", "JPEG", "colour"])
def test_frames_as_they_are_stored(node: Served, kind: str) -> None:
    path = sample(FILES[kind])
    own = pydicom.dcmread(path).file_meta.TransferSyntaxUID
    for number, expected in enumerate(_frames(path), 1):
        address = f"{address_of(path)}/frames/{number}"
        answer = node.get(address, OHIF)
        assert answer.headers["content-type"].startswith(
            'multipart/related; type="application/octet-stream"; boundary='
        )
        ((fields, content),) = answer.parts
        assert content == expected
        syntax = own if own.is_encapsulated else EXPLICIT
        assert fields["content-type"] == f"application/octet-stream; transfer-syntax={syntax}"
        assert fields["content-location"] == f"/dicom-web{address}"
        assert len(answer.body) == int(answer.headers["content-length"])


def test_several_frames_in_the_order_of_the_list(node: Served) -> None:
    path = sample(FILES["RLE of two frames"])
    first, second = _frames(path)
    for numbers in ("2,1", "2%2C1"):
        answer = node.get(f"{address_of(path)}/frames/{numbers}", OHIF)
        assert [content for _, content in answer.parts] == [second, first]
    assert [content for _, content in node.get(f"{address_of(path)}/pixeldata", OHIF).parts] == [
        first,
        second,
    ]


@pytest.mark.parametrize("kind", FILES)
def test_frames_are_decompressed_for_who_does_not_say_a_transfer_syntax(node: Served, kind: str) -> None:
    path = sample(FILES[kind])
    data_set = pydicom.dcmread(path)
    count = int(data_set.get("NumberOfFrames") or 1)
    if data_set.file_meta.TransferSyntaxUID.is_encapsulated:
        data_set.decompress(as_rgb=False)
    order = "<" if data_set.file_meta.TransferSyntaxUID.is_little_endian else ">"
    expected = numpy.frombuffer(data_set.PixelData, f"{order}u{data_set.BitsAllocated // 8}").reshape(
        count, -1
    )
    for accept in (OCTETS, f"{OCTETS}; transfer-syntax={EXPLICIT}"):
        for number in range(1, count + 1):
            ((fields, content),) = node.get(f"{address_of(path)}/frames/{number}", accept).parts
            assert fields["content-type"] == f"application/octet-stream; transfer-syntax={EXPLICIT}"
            found = numpy.frombuffer(content, f"<u{data_set.BitsAllocated // 8}")
            assert (found == expected[number - 1]).all()


def test_a_frame_by_its_own_media_type(node: Served) -> None:
    path = sample(FILES["JPEG 2000"])
    address, own = f"{address_of(path)}/frames/1", pydicom.dcmread(path).file_meta.TransferSyntaxUID
    for accept in ('multipart/related; type="image/jp2"', 'multipart/related; type="*/*"', "*/*", None):
        ((fields, content),) = node.get(address, accept).parts
        assert fields["content-type"] == f"image/jp2; transfer-syntax={own}"
        assert content == _frames(path)[0]
    # By itself, which needs no parts.
    alone = node.get(address, "image/jp2")
    assert alone.headers["content-type"] == f"image/jp2; transfer-syntax={own}"
    assert alone.body == _frames(path)[0]
    assert alone.headers["content-length"] == str(len(alone.body))


@pytest.mark.parametrize(
    ("frames", "accept", "status", "said"),
    [
        ("3", OHIF, 404, b"there is no frame 3; this instance has 2"),
        ("1,2,99", OHIF, 404, b"there is no frame 99"),
        ("0", OHIF, 400, b"frames are numbers from 1"),
        ("-1", OHIF, 400, b"frames are numbers from 1"),
        ("1,,2", OHIF, 400, b"frames are numbers from 1"),
        ("all", OHIF, 400, b"frames are numbers from 1"),
        ("1", "image/png", 406, b"none of the media types"),
        ("1", "image/jp2", 406, b"none of the media types"),
        (
            "1",
            f"{OCTETS}; transfer-syntax=1.2.840.10008.1.2.4.90",
            406,
            b"cannot be given in the transfer syntax",
        ),
        ("1,2", "application/octet-stream", 406, b"none of the media types"),
    ],
)
def test_refusals_say_what_is_wrong(node: Served, frames: str, accept: str, status: int, said: bytes) -> None:
    answer = node.get(f"{address_of(sample(FILES['RLE of two frames']))}/frames/{frames}", accept)
    assert answer.status == status
    assert said in answer.body


def test_an_instance_without_pixels_has_no_frames(node: Served) -> None:
    answer = node.get(f"{address_of(sample('test-SR.dcm'))}/frames/1", OHIF)
    assert answer.status == 404
    assert answer.body == b"this instance has no pixel data\n"


def test_what_a_client_has_already_is_not_sent_again(node: Served) -> None:
    address = f"{address_of(sample(FILES['JPEG 2000']))}/frames/1"
    tag = node.get(address, OHIF).headers["etag"]
    assert node.get(address, OHIF, If_None_Match=tag).status == 304
    assert node.get(address, OCTETS, If_None_Match=tag).status == 200
    assert node.get(address, OHIF, "HEAD").headers["etag"] == tag


def test_dicomweb_client_retrieves_frames(node: Served) -> None:
    client = DICOMwebClient(node.url)
    path = sample(FILES["RLE of two frames"])
    data_set = pydicom.dcmread(path)
    uids = data_set.StudyInstanceUID, data_set.SeriesInstanceUID, data_set.SOPInstanceUID
    # Its default, which Orthanc refuses.
    assert client.retrieve_instance_frames(*uids, [1, 2]) == _frames(path)
    assert list(client.iter_instance_frames(*uids, [2])) == _frames(path)[1:]
    own = data_set.file_meta.TransferSyntaxUID
    asked = (("image/dicom-rle", str(own)),)
    assert client.retrieve_instance_frames(*uids, [1], media_types=asked) == _frames(path)[:1]
    octets = client.retrieve_instance_frames(
        *uids, [1], media_types=(("application/octet-stream", EXPLICIT),)
    )
    assert len(octets[0]) == data_set.Rows * data_set.Columns * 3


def test_frames_of_a_file_that_was_replaced_are_its_own(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    """Its row follows the file; until then the frame was cut out of it where the old one had its pixels."""
    pixels = {"Rows": 4, "Columns": 4, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"}
    before = file_of(make(PixelData=bytes(range(32)), ImageComments="12345678", **pixels))
    after = file_of(make(PixelData=bytes(range(100, 132)), DataSetTrailingPadding=bytes(4), **pixels))
    assert len(before) == len(after)
    path = tmp_path / "object.dcm"
    path.write_bytes(before)
    with served(tmp_path / "node") as node:
        assert (
            ask(node.address, "POST", "/studies", before, {"Content-Type": "application/dicom"}).status == 200
        )
        assert node.node.holdings.intake.wait_for_all()
        address = f"{address_of(path)}/frames/1"
        assert node.get(address, OHIF).parts[0][1] == bytes(range(32))
        (stored,) = node.node.holdings.local.root.rglob("1.2.3.4.5.dcm")
        replacement = tmp_path / "replacement.dcm"
        replacement.write_bytes(after)
        replacement.replace(stored)
        assert node.get(address, OHIF).parts[0][1] == bytes(range(100, 132))


def test_frames_of_a_file_that_has_become_shorter_are_an_error(tmp_path: Path) -> None:
    """Where its frames are was known, and so they were sent until there were no more."""
    with served(tmp_path / "node") as node:
        path = sample("SC_rgb_rle_2frame.dcm")
        node.store([path])
        assert node.get(f"{address_of(path)}/pixeldata", OHIF).status == 200
        (stored,) = node.node.holdings.local.root.rglob(f"{address_of(path).rpartition('/')[2]}.dcm")
        stored.write_bytes(stored.read_bytes()[:-300])
        answer = node.get(f"{address_of(path)}/pixeldata", OHIF)
        assert answer.status in (406, 500)
        assert b"cannot be given out" in answer.body
