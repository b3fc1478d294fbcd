"""Bulk data and pixel data of whole studies and series, and several ranges at once, over a real socket."""

from __future__ import annotations

import io
from collections.abc import Iterator
from email import message_from_bytes
from email.policy import HTTP
from http.client import IncompleteRead
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
from starlette.requests import Request
from tests.archive.web.clients import ask, content_type, multipart
from tests.archive.web.served import Answer, Served, sample, served

from dicomnet.archive.web.dicomweb import collected
from dicomnet.archive.web.http.conditional import spans_of
from dicomnet.archive.web.http.problems import Problem
from dicomnet.archive.web.http.streams import streamed

OCTETS = 'multipart/related; type="application/octet-stream"'
AS_STORED = 'multipart/related; type="*/*"; transfer-syntax=*'
EXPLICIT = "1.2.840.10008.1.2.1"
STUDY = "1.2.7"
# One series each.
FILES = (
    *("CT_small.dcm", "MR_small_implicit.dcm", "ExplVR_BigEnd.dcm", "image_dfl.dcm", "test-SR.dcm"),
    *("examples_jpeg2k.dcm", "SC_rgb_rle_2frame.dcm", "waveform_ecg.dcm", "examples_palette.dcm"),
)
VIDEO = "video.dcm"
FIRST_BYTES, OTHER_BYTES = b"\0\0\1\xb3" + bytes(3000), bytes(range(250)) * 4


def _save(data_set: Dataset, folder: Path, number: int, name: str) -> Path:
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = STUDY, f"{STUDY}.{number}"
    data_set.SOPInstanceUID = f"{STUDY}.{number}.1"
    data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    data_set.save_as(folder / name, enforce_file_format=True)
    return folder / name


def _with_values_in_items() -> Dataset:
    """A document of odd length, a long value in an item, and a private one in implicit VR."""
    content = b"%PDF-" + b"x" * 99_994
    data_set, item = Dataset(), Dataset()
    data_set.SOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"
    data_set.MIMETypeOfEncapsulatedDocument = "application/pdf"
    data_set.EncapsulatedDocumentLength = len(content)
    data_set.EncapsulatedDocument = content + b"\0"
    item.add_new(0x54001010, "OW", bytes(range(256)) * 20)
    data_set.WaveformSequence = Sequence([Dataset(), item])
    data_set.add_new(0x00110010, "LO", "SOMEBODY")
    data_set.add_new(0x00111001, "UN", bytes(2001))
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"  # type: ignore[assignment]
    return data_set


def _video() -> Dataset:
    """25 frames in one codestream, in two fragments."""
    data_set = pydicom.dcmread(sample("SC_rgb_rle_2frame.dcm"))
    data_set.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102.1"  # type: ignore[assignment]
    data_set.NumberOfFrames = 25
    data_set.PixelData = encapsulate([FIRST_BYTES, OTHER_BYTES], has_bot=False)
    return data_set


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    made: dict[str, Dataset] = {name: pydicom.dcmread(sample(name)) for name in FILES}
    made |= {"document": _with_values_in_items(), VIDEO: _video()}
    return {name: _save(each, folder, number, name) for number, (name, each) in enumerate(made.items(), 1)}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, paths: dict[str, Path]) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("node")) as running:
        running.store(list(paths.values()))
        yield running


def _series(paths: dict[str, Path], name: str) -> str:
    return f"/studies/{STUDY}/series/{STUDY}.{list(paths).index(name) + 1}"


def _instance(paths: dict[str, Path], name: str) -> str:
    return f"{_series(paths, name)}/instances/{STUDY}.{list(paths).index(name) + 1}.1"


def _addresses(model: dict[str, Any]) -> Iterator[str]:
    """The address of each value that a JSON model has in place of it."""
    for attribute in model.values():
        if "BulkDataURI" in attribute:
            yield attribute["BulkDataURI"]
        elif attribute["vr"] == "SQ":
            for item in attribute.get("Value", ()):
                yield from _addresses(item)


def _ranges(answer: Answer) -> list[tuple[str, bytes]]:
    """The parts of multipart/byteranges, as Python's own reader of mail reads them."""
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = message_from_bytes(head + answer.body, policy=HTTP)
    assert message.get_content_type() == "multipart/byteranges"
    assert len(answer.body) == int(answer.headers["content-length"])
    found: list[Any] = [
        (part["Content-Range"], part.get_payload(decode=True)) for part in message.iter_parts()
    ]
    return found


@pytest.mark.parametrize("accept", ["application/octet-stream", OCTETS])
def test_several_ranges_of_a_value(node: Served, paths: dict[str, Path], accept: str) -> None:
    address = f"{_instance(paths, 'CT_small.dcm')}/bulkdata/7FE00010"
    whole = pydicom.dcmread(paths["CT_small.dcm"]).PixelData
    size = len(whole)
    answer = node.get(address, accept, Range="bytes=100-199, 0-9,-5, 150-249 ,999999-")
    assert answer.status == 206
    assert "content-range" not in answer.headers
    assert _ranges(answer) == [
        (f"bytes 100-249/{size}", whole[100:250]),
        (f"bytes 0-9/{size}", whole[:10]),
        (f"bytes {size - 5}-{size - 1}/{size}", whole[-5:]),
    ]
    # What is one range in the end has no parts.
    one = node.get(address, "application/octet-stream", Range="bytes=0-9,10-19,999999-")
    assert (one.status, one.body) == (206, whole[:20])
    assert one.headers["content-range"] == f"bytes 0-19/{size}"
    head = node.get(address, accept, "HEAD", Range="bytes=0-9,20-29")
    assert (head.status, head.body) == (206, b"")


def test_more_ranges_than_anybody_needs_are_answered_with_all(node: Served, paths: dict[str, Path]) -> None:
    address = f"{_instance(paths, 'CT_small.dcm')}/bulkdata/7FE00010"
    for count, status in ((100, 206), (101, 200)):
        wanted = ",".join(f"{2 * at}-{2 * at}" for at in range(count))
        assert node.get(address, "application/octet-stream", Range=f"bytes={wanted}").status == status


SIZE = 40
_BOUND = st.integers(0, SIZE + 10)
_RANGE = st.one_of(
    st.tuples(_BOUND, _BOUND).map(lambda pair: f"{min(pair)}-{max(pair)}"),
    _BOUND.map(lambda first: f"{first}-"),
    _BOUND.map(lambda last: f"-{last}"),
)


def _bytes_of(text: str) -> set[int]:
    """Which bytes a range asks for, one by one."""
    first, _, last = text.partition("-")
    if not first:
        return set(range(SIZE)[-int(last) :]) if int(last) else set()
    return {at for at in range(SIZE) if int(first) <= at <= int(last or SIZE)}


@given(st.lists(_RANGE, min_size=1, max_size=12))
def test_ranges_are_sent_once_each_and_all_of_them(texts: list[str]) -> None:
    request = Request({"type": "http", "headers": [(b"range", f"bytes={','.join(texts)}".encode())]})
    wanted = set().union(*map(_bytes_of, texts))
    if not wanted:
        with pytest.raises(Problem) as caught:
            spans_of(request, SIZE, None)
        assert caught.value.status == 416
        return
    spans = spans_of(request, SIZE, None)
    sent = [at for begin, end in spans for at in range(begin, end)]
    assert len(sent) == len(set(sent))
    assert set(sent) == wanted
    # None touches another.
    assert not {begin for begin, _ in spans} & {end for _, end in spans}


def test_all_bulk_data_is_what_the_metadata_has_addresses_of(node: Served, paths: dict[str, Path]) -> None:
    metadata = node.get(f"/studies/{STUDY}/metadata").json
    expected = []
    for address in (address for model in metadata for address in _addresses(model)):
        single = node.get(address.removeprefix(node.url), AS_STORED)
        assert single.status == 200, (address, single.body)
        for fields, content in single.parts:
            assert fields["content-location"] == address
            expected.append((address, fields["content-type"], content))
    assert len({address for address, *_ in expected}) > len(FILES)
    study = node.get(f"/studies/{STUDY}/bulkdata", AS_STORED)
    assert study.status == 200
    found = [(fields["content-location"], fields["content-type"], content) for fields, content in study.parts]
    assert sorted(found) == sorted(expected)
    # So it is of a series and of an instance.
    for name in ("document", "waveform_ecg.dcm", "SC_rgb_rle_2frame.dcm"):
        own = [row for row in found if f"{_instance(paths, name)}/" in row[0]]
        for path in (_series(paths, name), _instance(paths, name)):
            answer = node.get(f"{path}/bulkdata", AS_STORED)
            assert [content for _, content in answer.parts] == [content for *_, content in own]


@pytest.mark.filterwarnings("ignore")
def test_metadata_and_bulk_data_make_the_objects_again(
    node: Served, paths: dict[str, Path], tmp_path: Path
) -> None:
    metadata = node.get(f"/studies/{STUDY}/metadata").body
    parts = [("Content-Type: application/dicom+json", metadata)]
    for fields, content in node.get(f"/studies/{STUDY}/bulkdata", AS_STORED).parts:
        head = f"Content-Type: {fields['content-type']}\r\nContent-Location: {fields['content-location']}"
        parts.append((head, content))
    with served(tmp_path / "other") as other:
        answer = ask(
            other.address,
            "POST",
            "/studies",
            multipart(parts),
            {"Content-Type": content_type("application/dicom+json"), "Accept": "application/dicom+json"},
        )
        assert answer.status == 200, answer.content
        for name, path in paths.items():
            (_, content), *_ = other.get(_instance(paths, name), 'multipart/related; type="*/*"').parts
            again, before = pydicom.dcmread(io.BytesIO(content)), pydicom.dcmread(path)
            if before.file_meta.TransferSyntaxUID.is_encapsulated:
                assert again.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
                assert _codestreams(again) == _codestreams(before)
            elif "PixelData" in before:
                assert (again.pixel_array == before.pixel_array).all()
            for keyword in ("WaveformSequence", "EncapsulatedDocument", "PatientID", "Rows"):
                assert again.get(keyword) == before.get(keyword), (name, keyword)


def _codestreams(data_set: Dataset) -> bytes:
    return b"".join(generate_frames(data_set.PixelData, number_of_frames=1)).rstrip(b"\0")


def test_pixel_data_of_a_study_is_that_of_its_instances(node: Served, paths: dict[str, Path]) -> None:
    for accept in (AS_STORED, OCTETS):
        expected = []
        for name in paths:
            answer = node.get(f"{_instance(paths, name)}/pixeldata", accept)
            assert answer.status == (404 if name in ("test-SR.dcm", "waveform_ecg.dcm", "document") else 200)
            if answer.status == 200:
                expected += answer.parts
                assert node.get(f"{_series(paths, name)}/pixeldata", accept).parts == [
                    (fields, content) for fields, content in answer.parts
                ]
        study = node.get(f"/studies/{STUDY}/pixeldata", accept)
        assert study.status == 200
        assert study.parts == expected
        assert len(expected) == len({fields["content-location"] for fields, _ in expected})
    # Where each part says that it is, it is.
    for fields, content in expected[:3]:
        address = fields["content-location"].removeprefix("/dicom-web")
        assert [each for _, each in node.get(address, OCTETS).parts] == [content]


def test_a_video_is_one_codestream(node: Served, paths: dict[str, Path]) -> None:
    for accept in ("*/*", 'multipart/related; type="video/mp4"', OCTETS):
        ((fields, content),) = node.get(f"{_series(paths, VIDEO)}/pixeldata", accept).parts
        assert content == FIRST_BYTES + OTHER_BYTES
        kind = "application/octet-stream" if accept == OCTETS else "video/mp4"
        assert fields["content-type"] == f"{kind}; transfer-syntax=1.2.840.10008.1.2.4.102.1"


@pytest.mark.parametrize("resource", ["bulkdata", "pixeldata"])
def test_what_is_not_accepted_is_left_out_and_that_is_said(
    node: Served, paths: dict[str, Path], resource: str
) -> None:
    answer = node.get(f"/studies/{STUDY}/{resource}", 'multipart/related; type="image/jp2"')
    assert answer.status == 206
    assert answer.headers["warning"] == '299 - "what cannot be given as Accept says is left out"'
    assert answer.headers["content-type"].startswith('multipart/related; type="image/jp2"; ')
    ((fields, _),) = answer.parts
    assert _instance(paths, "examples_jpeg2k.dcm") in fields["content-location"]
    for accept in ('multipart/related; type="image/png"', "application/json"):
        assert node.get(f"/studies/{STUDY}/{resource}", accept).status == 406


@pytest.mark.parametrize("resource", ["bulkdata", "pixeldata"])
def test_there_is_nothing_to_give_out(node: Served, paths: dict[str, Path], resource: str) -> None:
    for path in (_series(paths, "test-SR.dcm"), _instance(paths, "test-SR.dcm"), "/studies/9.9.9"):
        answer = node.get(f"{path}/{resource}", AS_STORED)
        assert answer.status == 404, (path, answer)


@pytest.mark.parametrize("place", ["7FE00010/1/00100010", "00100010/1/00100010", "00080005/1/7FE00010"])
def test_there_is_no_item_in_what_is_no_sequence(node: Served, paths: dict[str, Path], place: str) -> None:
    """Pixels that are left in the file were an error of the node's own."""
    answer = node.get(f"{_instance(paths, 'CT_small.dcm')}/bulkdata/{place}", "*/*")
    assert answer.status == 404


@pytest.mark.parametrize("resource", ["bulkdata", "pixeldata"])
def test_what_a_client_has_already_is_not_sent_again(node: Served, resource: str) -> None:
    path = f"/studies/{STUDY}/{resource}"
    tag = node.get(path, AS_STORED).headers["etag"]
    assert node.get(path, AS_STORED, If_None_Match=tag).status == 304
    assert node.get(path, OCTETS, If_None_Match=tag).status == 200
    head = node.get(path, AS_STORED, "HEAD")
    assert (head.status, head.headers["etag"], head.body) == (200, tag, b"")


@pytest.mark.parametrize("resource", ["bulkdata", "pixeldata"])
def test_an_object_that_cannot_be_given_out_is_said_before_anything_is_sent(
    tmp_path: Path, paths: dict[str, Path], resource: str
) -> None:
    with served(tmp_path / "node") as own:
        # Where frames are is remembered, so that this object is one that nobody has asked for.
        number = 80 + len(resource)
        new = _save(pydicom.dcmread(paths["MR_small_implicit.dcm"]), tmp_path, number, "new.dcm")
        own.store([paths["CT_small.dcm"], new, paths["SC_rgb_rle_2frame.dcm"]])
        path = f"/studies/{STUDY}/{resource}"
        broken = _file_of(own, f"{STUDY}.{number}.1")
        with broken.open("ab") as file:
            file.write(b"more than there was")
        for status in (404 if resource == "bulkdata" else 406, 404):
            answer = own.get(path, AS_STORED)
            assert answer.status == 206
            assert answer.headers["warning"] == '299 - "1 of 3 instances cannot be given out"'
            assert "etag" not in answer.headers
            series = f"{path.removesuffix(resource)}series/{STUDY}.{number}"
            assert not any(series in fields["content-location"] for fields, _ in answer.parts)
            alone = own.get(f"{series}/{resource}", AS_STORED)
            assert alone.status == status
            broken.unlink(missing_ok=True)
        assert len(answer.parts) >= 3


def test_frames_that_cannot_be_told_apart_cost_their_object_only(
    tmp_path: Path, paths: dict[str, Path]
) -> None:
    data_set = pydicom.dcmread(paths["SC_rgb_rle_2frame.dcm"])
    data_set.PixelData = encapsulate([bytes(10), bytes(10), bytes(10)], has_bot=False)
    odd = _save(data_set, tmp_path, 99, "odd.dcm")
    with served(tmp_path / "node") as own:
        own.store([paths["CT_small.dcm"], odd])
        for resource in ("bulkdata", "pixeldata"):
            answer = own.get(f"/studies/{STUDY}/{resource}", AS_STORED)
            assert answer.status == 206
            assert answer.headers["warning"] == '299 - "1 of 2 instances cannot be given out"'
            assert all(f"{STUDY}.1.1" in fields["content-location"] for fields, _ in answer.parts)


def test_an_object_that_is_damaged_while_others_are_sent_leaves_the_response_without_an_end(
    tmp_path: Path, paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(tmp_path / "node") as own:
        own.store([paths["CT_small.dcm"], paths["MR_small_implicit.dcm"]])
        broken = _file_of(own, f"{STUDY}.2.1")

        def damage(*values: Any, **options: Any) -> Any:
            broken.write_bytes(b"")
            return streamed(*values, **options)

        monkeypatch.setattr(collected, "streamed", damage)
        with pytest.raises(IncompleteRead):
            own.get(f"/studies/{STUDY}/pixeldata", AS_STORED)


def _file_of(node: Served, instance: str) -> Path:
    assert node.node.holdings.intake.wait_for_all()
    (path,) = node.node.holdings.local.root.rglob(f"{instance}.dcm")
    return path
