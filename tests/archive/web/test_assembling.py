"""Objects that come as metadata and bulk data: what is stored has the values that the parts have, and nothing else."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, RLELossless
from tests.archive.web.clients import WebNode, content_type, multipart

from dicomnet.datasets.json_model import to_json
from dicomnet.datasets.xml_model import to_xml

Make = Callable[..., Dataset]
Start = Callable[..., WebNode]
JSON_KIND, XML_KIND = "application/dicom+json", "application/dicom+xml"
PIXELS = "7FE00010"
LARGE = 200_001


def described(model: dict[str, Any] | list[dict[str, Any]], kind: str = JSON_KIND) -> tuple[str, bytes]:
    """A part with metadata."""
    if kind == XML_KIND:
        assert isinstance(model, dict)
        return f"Content-Type: {kind}", to_xml(model).encode()
    return f"Content-Type: {kind}", json.dumps(model).encode()


def bulk(location: str, content: bytes, kind: str = "application/octet-stream") -> tuple[str, bytes]:
    """A part with bulk data."""
    return f"Content-Type: {kind}\r\nContent-Location: {location}", content


def with_bulk(data_set: Dataset, *uris: tuple[str, str]) -> dict[str, Any]:
    """The model of a data set, with the URIs of values that come apart."""
    model = to_json(data_set)
    for tag, uri in uris:
        model[tag] = {"vr": model[tag]["vr"], "BulkDataURI": uri}
    return model


def found(node: WebNode, instance: str = "1.2.3.4.5") -> Dataset:
    """A stored object."""
    assert instance in node.objects
    return dcmread(BytesIO(node.content(instance)))


@pytest.mark.parametrize("kind", [JSON_KIND, XML_KIND])
@pytest.mark.parametrize("length", [16, LARGE + 1])
def test_an_object_is_made_of_metadata_and_pixel_data(
    web_node: Start, make: Make, kind: str, length: int
) -> None:
    node = web_node()
    pixels = os.urandom(length)
    data_set = make(PixelData=pixels, PatientComments="x" * 100)
    answer = node.store(
        [described(with_bulk(data_set, (PIXELS, "pixels/1")), kind), bulk("pixels/1", pixels)], kind=kind
    )
    assert (answer.status, answer.stored) == (200, ["1.2.3.4.5"])
    stored = found(node)
    assert stored.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert {element.tag: element.value for element in stored} == {
        element.tag: element.value for element in data_set
    }
    assert node.staged == []


def test_the_parts_may_come_in_any_order_and_serve_several_objects(web_node: Start, make: Make) -> None:
    node = web_node()
    pixels = os.urandom(LARGE + 1)
    models = [with_bulk(make(SOPInstanceUID=f"1.2.{n}", PixelData=pixels), (PIXELS, "p")) for n in (1, 2)]
    answer = node.store([bulk("p", pixels), described(models)], kind=JSON_KIND)
    assert (answer.status, sorted(answer.stored)) == (200, ["1.2.1", "1.2.2"])
    assert [found(node, f"1.2.{n}").PixelData for n in (1, 2)] == [pixels] * 2


def test_metadata_need_no_bulk_data_and_may_be_the_body_itself(web_node: Start, make: Make) -> None:
    node = web_node()
    report = make(PixelData=None, BitsAllocated=None)
    body = json.dumps([to_json(report)]).encode()
    answer = node.ask("POST", "/studies/1.2.3", body, {"Content-Type": JSON_KIND})
    assert (answer.status, answer.stored) == (200, ["1.2.3.4.5"])
    assert found(node).PatientName == "Doe^Jane"


def test_bulk_data_that_no_metadata_name_are_told(web_node: Start, make: Make) -> None:
    """They were dropped without a word, as by a BulkDataURI that somebody forgot."""
    node = web_node()
    model = with_bulk(make(PixelData=b"12345678"), (PIXELS, "p"))
    answer = node.store([described(model), bulk("p", b"12345678"), bulk("q", b"12345678")], kind=JSON_KIND)
    assert (answer.status, answer.stored) == (202, ["1.2.3.4.5"])
    assert answer.headers["warning"] == (
        '299 dicomnet "no metadata name 1 Content-Location of the body; what is there is not stored"'
    )


def test_values_of_any_element_may_come_apart(web_node: Start, make: Make) -> None:
    node = web_node()
    document, curve, raw = os.urandom(LARGE), os.urandom(12), b"\x01\x02" * 3
    data_set = make(PixelData=None, BitsAllocated=None)
    data_set.EncapsulatedDocument = document
    data_set.MIMETypeOfEncapsulatedDocument = "application/pdf"
    item = Dataset()
    item.add_new(0x54001010, "OW", curve)
    data_set.WaveformSequence = Sequence([item])
    data_set.add_new(0x00091002, "UN", raw)
    model = with_bulk(data_set, ("00420011", "d"), ("00091002", "r"))
    model["54000100"]["Value"][0]["54001010"] = {"vr": "OW", "BulkDataURI": "c"}
    answer = node.store(
        [described(model), bulk("d", document, "application/pdf"), bulk("c", curve), bulk("r", raw)],
        kind=JSON_KIND,
    )
    assert answer.status == 200
    stored = found(node)
    assert stored.EncapsulatedDocument == document + b"\0"
    assert stored.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert stored.WaveformSequence[0][0x54001010].value == curve
    assert stored[0x00091002].value == raw


@pytest.mark.parametrize(
    ("kind", "syntax"),
    [
        ("image/jpeg", JPEGLosslessSV1),
        (f"image/jpeg; transfer-syntax={JPEGBaseline8Bit}", JPEGBaseline8Bit),
        (f'image/jpeg; transfer-syntax="{JPEGBaseline8Bit}"', JPEGBaseline8Bit),
        ("image/jp2", JPEG2000Lossless),
        ("image/dicom-rle", RLELossless),
    ],
)
@pytest.mark.parametrize("lengths", [(10,), (11, LARGE, 12)])
def test_compressed_frames_are_parts_of_one_name(
    web_node: Start, make: Make, kind: str, syntax: str, lengths: tuple[int, ...]
) -> None:
    node = web_node()
    frames = [os.urandom(length) for length in lengths]
    data_set = make(NumberOfFrames=len(frames))
    answer = node.store(
        [described(with_bulk(data_set, (PIXELS, "p"))), *(bulk("p", frame, kind) for frame in frames)],
        kind=JSON_KIND,
    )
    assert answer.status == 200
    stored = found(node)
    assert stored.file_meta.TransferSyntaxUID == syntax
    assert stored["PixelData"].VR == "OB"
    there = list(generate_frames(stored.PixelData, number_of_frames=len(frames)))
    assert there == [frame + b"\0" * (len(frame) % 2) for frame in frames]


def test_a_video_is_one_part_whatever_it_has_of_frames(web_node: Start, make: Make) -> None:
    node = web_node()
    video = os.urandom(LARGE)
    model = with_bulk(make(NumberOfFrames=250), (PIXELS, "v"))
    assert node.store([described(model), bulk("v", video, "video/mp4")], kind=JSON_KIND).status == 200
    stored = found(node)
    assert stored.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.102"
    assert b"".join(generate_frames(stored.PixelData, number_of_frames=1)) == video + b"\0"


@pytest.mark.parametrize(
    ("frames", "parts", "reason"),
    [
        (1, [], 0xC000),
        (1, [bulk("other", b"xx")], 0xC000),
        (3, [bulk("p", b"xx", "image/jpeg")] * 2, 0xA900),
        (1, [bulk("p", b"", "image/jpeg")], 0xA900),
        (1, [bulk("p", b"xx", "image/png")], 0xC122),
        (1, [bulk("p", b"xx", "image/jp2; transfer-syntax=1.2.840.10008.1.2.4.50")], 0xC122),
        (1, [bulk("p", b"xx", "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.4.50")], 0xC122),
        (2, [bulk("p", b"xx", "image/jpeg"), bulk("p", b"xx", "image/jp2")], 0xC122),
        (2, [bulk("p", b"xx"), bulk("p", b"xx")], 0xC000),
    ],
)
def test_an_object_whose_bulk_data_do_not_fit_fails_alone(
    web_node: Start, make: Make, frames: int, parts: list[tuple[str, bytes]], reason: int
) -> None:
    node = web_node()
    bad = with_bulk(make(SOPInstanceUID="1.2.9", NumberOfFrames=frames), (PIXELS, "p"))
    answer = node.store([described([bad, to_json(make())]), *parts], kind=JSON_KIND)
    assert answer.status == 202
    assert answer.failed == {"1.2.9": reason}
    assert answer.stored == node.objects == ["1.2.3.4.5"]
    assert node.staged == []


def test_of_a_body_that_is_cut_off_objects_whose_bulk_data_came_whole_are_stored(
    web_node: Start, make: Make
) -> None:
    node = web_node()
    pixels = os.urandom(LARGE + 1)
    models = [with_bulk(make(SOPInstanceUID=f"1.2.{n}", PixelData=pixels), (PIXELS, f"{n}")) for n in (1, 2)]
    body = multipart([described(models), bulk("1", pixels), bulk("2", pixels)])
    answer = node.ask("POST", "/studies", body[:-100], {"Content-Type": content_type(JSON_KIND)})
    assert (answer.status, answer.stored, answer.failed) == (202, ["1.2.1"], {"1.2.2": 0xC000})
    assert "cut off" in answer.headers["warning"]
    assert node.objects == ["1.2.1"]
    assert node.staged == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"[{]",
        b"[{},]",
        b"[{} {}]",
        b"[1]",
        b"{} x",
        b"\xff\xfe",
        b"[" * 100_000,
        b'[{"x":' + b"[" * 100_000,
    ],
)
def test_what_is_no_metadata_fails_without_a_name(web_node: Start, content: bytes) -> None:
    node = web_node()
    answer = node.store([(f"Content-Type: {JSON_KIND}", content)], kind=JSON_KIND)
    assert (answer.status, answer.other_failures) == (400, [0xC000])
    assert answer.headers["warning"].startswith('299 dicomnet "the metadata are not in the DICOM JSON Model')


@pytest.mark.parametrize(
    "model",
    [
        {"00080018": {"vr": "UI", "Value": ["1.2.3"]}, "7FE00010": {"vr": "OW", "Value": [1]}},
        {"00080018": {"vr": "UI", "Value": ["1.2.3"]}},
        {"00080016": {"vr": "UI", "Value": [{}]}, "00080018": {"vr": "UI", "Value": ["1.2.3"]}},
        {"00080018": {"vr": "UI", "Value": ["1.2.3"]}, "x": {"vr": "UI"}},
    ],
)
def test_metadata_of_no_object_fail_by_their_name(web_node: Start, model: dict[str, Any]) -> None:
    node = web_node()
    answer = node.store([described([model])], kind=JSON_KIND)
    assert answer.status == 409
    assert list(answer.failed) == ["1.2.3"]
    assert node.objects == []


def test_a_document_type_in_xml_is_not_read(web_node: Start) -> None:
    node = web_node()
    bomb = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa">]><NativeDicomModel>&a;</NativeDicomModel>'
    answer = node.store([(f"Content-Type: {XML_KIND}", bomb)], kind=XML_KIND)
    assert (answer.status, answer.other_failures) == (400, [0xC000])


def test_what_a_client_sends_gets_into_no_header_and_no_line_of_the_log(
    web_node: Start, caplog: pytest.LogCaptureFixture
) -> None:
    node = web_node()
    document = '<Ωμέγα xmlns="a&#10;Set-Cookie: x&quot;"/>'.encode()
    answer = node.store([(f"Content-Type: {XML_KIND}", document)], kind=XML_KIND)
    assert (answer.status, answer.other_failures) == (400, [0xC000])
    assert "set-cookie" not in answer.headers
    assert answer.headers["warning"].isascii()
    assert "\n" not in caplog.messages[-1]


def test_metadata_without_end_are_refused(web_node: Start) -> None:
    node = web_node()
    blanks = b" " * (33 << 20)
    answer = node.store([(f"Content-Type: {JSON_KIND}", blanks)], kind=JSON_KIND)
    assert answer.status == 413


@pytest.mark.parametrize("scheme", ["http", "file", "//"])
def test_no_url_that_a_client_names_is_ever_asked(web_node: Start, make: Make, scheme: str) -> None:
    node = web_node()
    with socket.create_server(("127.0.0.1", 0)) as trap:
        port = trap.getsockname()[1]
        uri = {
            "http": f"http://127.0.0.1:{port}/x",
            "file": "file:///etc/passwd",
            "//": f"//127.0.0.1:{port}/x",
        }[scheme]
        answer = node.store([described(with_bulk(make(), (PIXELS, uri)))], kind=JSON_KIND)
        assert (answer.status, answer.failed) == (409, {"1.2.3.4.5": 0xC000})
        trap.setblocking(False)
        with pytest.raises(BlockingIOError):
            trap.accept()
    # The same URL is a name like any other where a part has it.
    answer = node.store([described(with_bulk(make(), (PIXELS, uri))), bulk(uri, b"ab" * 8)], kind=JSON_KIND)
    assert (answer.status, found(node).PixelData) == (200, b"ab" * 8)


def test_text_beyond_its_character_set_is_kept_in_unicode(web_node: Start, make: Make) -> None:
    node = web_node()
    model = to_json(make(SpecificCharacterSet="ISO_IR 100"))
    model["00100010"] = {"vr": "PN", "Value": [{"Alphabetic": "Ωμέγα^Ψ"}]}
    assert node.store([described([model])], kind=JSON_KIND).status == 200
    stored = found(node)
    assert (stored.SpecificCharacterSet, str(stored.PatientName)) == ("ISO_IR 192", "Ωμέγα^Ψ")
