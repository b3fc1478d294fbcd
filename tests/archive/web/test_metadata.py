"""Metadata and bulk data by HTTP, over a real socket, beside what pydicom says of the files."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import IncompleteRead
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from tests.archive.web.served import Served, address_of, sample, served
from tests.faults.objects import file_of, study_uid, uid, write_objects
from tests.sockets import PATIENCE
from tests.support import wait_until

from dicomnet.archive.conflicts import OtherContent
from dicomnet.archive.deletion import Order
from dicomnet.archive.kept_headers import NAME, KeptHeaders
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.archive.storage.store import ObjectName
from dicomnet.archive.terms import Terms
from dicomnet.archive.web.access.policy import WebPolicy
from dicomnet.archive.web.dicomweb import metadata

JSON = "application/dicom+json"
XML = 'multipart/related; type="application/dicom+xml"'
EXPLICIT = "1.2.840.10008.1.2.1"
COUNT = 5
STUDY = f"/studies/{study_uid(1)}"
SERIES = f"{STUDY}/series/{study_uid(1)}.1"
FILES = (
    *("CT_small.dcm", "MR_small_implicit.dcm", "ExplVR_BigEnd.dcm", "image_dfl.dcm", "test-SR.dcm"),
    *("examples_jpeg2k.dcm", "SC_rgb_rle_2frame.dcm", "rtplan.dcm", "waveform_ecg.dcm"),
)


def _document(folder: Path) -> Path:
    """An encapsulated PDF of odd length, with a large value in an item."""
    content = b"%PDF-" + b"x" * 99_994
    data_set, item = Dataset(), Dataset()
    data_set.SOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"
    data_set.SOPInstanceUID, data_set.StudyInstanceUID, data_set.SeriesInstanceUID = "1.9.1", "1.9.2", "1.9.3"
    data_set.PatientID = "<img onerror=alert(1)>"
    data_set.MIMETypeOfEncapsulatedDocument = "application/pdf"
    data_set.EncapsulatedDocumentLength = len(content)
    data_set.EncapsulatedDocument = content + b"\0"
    item.add_new(0x54001010, "OW", bytes(range(256)) * 20)
    data_set.WaveformSequence = Sequence([Dataset(), item])
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = EXPLICIT  # type: ignore[assignment]
    path = folder / "document.dcm"
    data_set.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("node")
    with served(folder / "node", terms=Terms(web=WebPolicy(hosts=("archive.example",)))) as running:
        running.store(write_objects(folder / "files", 1, COUNT, 70_000))
        running.store([*map(sample, FILES), _document(folder)])
        yield running


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Served]:
    """A node that a test may change."""
    with served(tmp_path / "node") as running:
        running.store(write_objects(tmp_path / "files", 1, COUNT, 2000))
        yield running


def _without_long_values(model: dict[str, Any]) -> dict[str, Any]:
    """A model without what is inline or bulk data, and without what pydicom tells otherwise."""
    return {
        name: [_without_long_values(item) for item in attribute.get("Value", [])]
        if attribute["vr"] == "SQ"
        else attribute
        for name, attribute in model.items()
        if not name.endswith("0000")
        and attribute["vr"] not in ("OB", "OW", "UN", "OF")
        and not int(name[:4], 16) % 2
    }


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore")
def test_says_what_pydicom_says(node: Served, name: str) -> None:
    path = sample(name)
    answer = node.get(f"{address_of(path)}/metadata", JSON)
    assert answer.headers["content-type"] == JSON
    (found,) = answer.json
    expected = json.loads(json.dumps(pydicom.dcmread(path).to_json_dict()))
    assert found.keys() == {each for each in expected if not each.endswith("0000")}
    assert _without_long_values(found) == _without_long_values(expected)


@pytest.mark.parametrize("path", [STUDY, SERIES])
def test_of_all_objects_of_a_study_the_second_time_as_the_first(node: Served, path: str) -> None:
    first = node.get(f"{path}/metadata")
    assert {each["00080018"]["Value"][0] for each in first.json} == {uid(1, n) for n in range(1, COUNT + 1)}
    pixels = [each["7FE00010"] for each in first.json]
    assert all(each["vr"] == "OB" and each["BulkDataURI"].startswith(node.url + SERIES) for each in pixels)
    again = node.get(f"{path}/metadata", "application/json")
    assert again.headers["content-type"] == "application/json"
    assert again.json == first.json
    # From what is kept, and from memory.
    for _ in range(2):
        assert node.get(f"{path}/metadata").json == first.json
    assert node.get(f"{path}/metadata", If_None_Match=first.headers["etag"]).status == 304
    head = node.get(f"{path}/metadata", method="HEAD")
    assert (head.status, head.body, head.headers["etag"]) == (200, b"", first.headers["etag"])


def test_each_address_leads_to_the_value(node: Served) -> None:
    for found in node.get(f"{STUDY}/metadata").json:
        instance = found["00080018"]["Value"][0]
        address = found["7FE00010"]["BulkDataURI"]
        assert address == f"{node.url}{SERIES}/instances/{instance}/bulkdata/7FE00010"
        answer = node.get(address.removeprefix(node.url), "application/octet-stream")
        assert answer.status == 200
        with node.node.holdings.storage.open(ObjectName(study_uid(1), f"{study_uid(1)}.1", instance)) as file:
            assert answer.body == pydicom.dcmread(io.BytesIO(file.read())).PixelData


def test_addresses_are_those_that_the_client_knows(node: Served) -> None:
    port = node.address[1]
    for headers, expected in (
        ({"Host": "archive.example:8443"}, "archive.example:8443"),
        # As dicomweb-client does.
        ({"Host": "127.0.0.1"}, f"127.0.0.1:{port}"),
        ({"Host": "[::1]"}, f"[::1]:{port}"),
        ({"Host": "archive.example", "X_Forwarded_For": "192.0.2.1"}, "archive.example"),
    ):
        found = node.get(f"{STUDY}/metadata", **headers).json[0]
        assert found["7FE00010"]["BulkDataURI"].startswith(f"http://{expected}/dicom-web/studies/")


def test_as_xml(node: Served) -> None:
    answer = node.get(f"{STUDY}/metadata", XML)
    assert len(answer.parts) == COUNT
    for fields, content in answer.parts:
        assert fields["content-type"] == "application/dicom+xml"
        root = ElementTree.fromstring(content)
        assert root.find("{*}DicomAttribute[@keyword='PixelData']/{*}BulkData") is not None


def test_a_file_that_is_replaced_is_described_anew(tmp_path: Path) -> None:
    terms = Terms(other_content=OtherContent.REPLACE)
    with served(tmp_path / "node", terms=terms) as node:
        path = tmp_path / "object.dcm"
        before = ""
        for name in ("Before", "After"):
            path.write_bytes(file_of(1, 1, StudyDescription=name))
            node.store([path])
            answer = node.get(f"{STUDY}/metadata")
            assert [each["00081030"]["Value"] for each in answer.json] == [[name]]
            assert answer.headers["etag"] != before
            before = answer.headers["etag"]


def test_what_is_kept_can_be_damaged_or_thrown_away(own: Served) -> None:
    expected = own.get(f"{STUDY}/metadata").json
    path = own.node.holdings.local.root / NAME
    assert path.exists()
    for content in (b"", b"not a database" * 1000, None):
        for ending in ("-wal", "-shm"):
            path.with_name(NAME + ending).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        # Under another host, so that it is not the same response.
        assert own.get(f"{STUDY}/metadata", Host="localhost").status == 200
        assert own.get(f"{SERIES}/metadata").json == expected


@pytest.mark.parametrize("accept", [None, 'multipart/related; type="application/dicom+xml"'])
def test_a_damaged_file_costs_its_object_and_the_response_says_so(own: Served, accept: str | None) -> None:
    """The response had no end, so that nobody who reads JSON had anything of the study."""
    path = next(iter(own.node.holdings.local.root.rglob(f"{uid(1, 2)}.dcm")))
    path.write_bytes(path.read_bytes()[:400])
    for _ in range(2):
        answer = own.get(f"{STUDY}/metadata", accept)
        assert answer.status == 206
        count = len(answer.json) if accept is None else len(answer.parts)
        assert answer.headers["warning"] == f'299 - "1 of {count + 1} instances cannot be given out"'
        assert "etag" not in answer.headers
        assert uid(1, 2).encode() not in answer.body
        assert uid(1, 3).encode() in answer.body
    assert len(own.get(f"{SERIES}/instances/{uid(1, 3)}/metadata").json) == 1
    assert own.get(f"{SERIES}/instances/{uid(1, 2)}/metadata").status == 500


def test_a_damaged_file_that_nobody_has_the_time_to_find_first_leaves_the_response_without_an_end(
    own: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = next(iter(own.node.holdings.local.root.rglob(f"{uid(1, 2)}.dcm")))
    path.write_bytes(path.read_bytes()[:400])
    with monkeypatch.context() as patches:
        patches.setattr(metadata, "_PREPARING", 0.0)
        with pytest.raises(IncompleteRead):
            own.get(f"{STUDY}/metadata")
    # What was derived for it is there the next time.
    assert own.get(f"{STUDY}/metadata").status == 206


def test_a_value_of_an_item_and_a_document(node: Served, tmp_path: Path) -> None:
    address = address_of(_document(tmp_path))
    (found,) = node.get(f"{address}/metadata").json
    inner = found["54000100"]["Value"][1]["54001010"]["BulkDataURI"]
    assert inner.endswith(f"{address}/bulkdata/54000100/2/54001010")
    assert node.get(inner.removeprefix(node.url)).body == bytes(range(256)) * 20
    document = node.get(f"{address}/bulkdata/00420011")
    assert document.headers["content-type"] == "application/pdf"
    assert document.body == b"%PDF-" + b"x" * 99_994
    octets = node.get(f"{address}/bulkdata/00420011", "application/octet-stream")
    assert octets.headers["content-type"] == "application/octet-stream"


def test_parts_of_a_value(node: Served) -> None:
    address = f"{SERIES}/instances/{uid(1, 1)}/bulkdata/7FE00010"
    whole = node.get(address, "application/octet-stream")
    tag, size = whole.headers["etag"], len(whole.body)
    assert (size, whole.headers["accept-ranges"]) == (70_000, "bytes")
    for wanted, expected in (
        ("0-9", (0, 10)),
        ("69990-", (69_990, size)),
        ("-5", (size - 5, size)),
        ("10-999999", (10, size)),
    ):
        answer = node.get(address, "application/octet-stream", Range=f"bytes={wanted}")
        assert answer.status == 206
        assert answer.body == whole.body[slice(*expected)]
        assert answer.headers["content-range"] == f"bytes {expected[0]}-{expected[1] - 1}/{size}"
    beyond = node.get(address, "application/octet-stream", Range="bytes=70000-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, "bytes */70000")
    for condition, status in ((tag, 206), ('"other"', 200)):
        again = node.get(address, "application/octet-stream", Range="bytes=0-9", If_Range=condition)
        assert again.status == status
    for odd in ("bytes=5-1", "bytes=0-1,6-5", "lines=0-9", "bytes=-", "bytes=", "bytes=0-1;2-3"):
        assert node.get(address, "application/octet-stream", Range=odd).status == 200
    ((fields, content),) = node.get(address, 'multipart/related; type="*/*"', Range="bytes=2-5").parts
    assert (content, fields["content-range"]) == (whole.body[2:6], f"bytes 2-5/{size}")


@pytest.mark.parametrize(
    ("place", "status"),
    [
        ("7FE00020", 404),
        ("00100010", 404),
        ("54000100/1/54001010", 404),
        ("00080018/1/00080018", 404),
        ("pixels", 400),
        ("7FE00010/..%2F..", 400),
        ("54000100/0/54001010", 404),
    ],
)
def test_there_is_no_such_value(node: Served, place: str, status: int) -> None:
    assert node.get(f"{SERIES}/instances/{uid(1, 1)}/bulkdata/{place}").status == status


def test_bulk_data_of_compressed_pixels_is_its_frames(node: Served) -> None:
    address = address_of(sample("SC_rgb_rle_2frame.dcm"))
    frames = node.get(f"{address}/frames/1,2").parts
    bulk = node.get(f"{address}/bulkdata/7FE00010").parts
    assert [content for _, content in bulk] == [content for _, content in frames]


def test_what_is_kept_of_deleted_objects_is_forgotten(own: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    own.get(f"{STUDY}/metadata")
    holdings = own.node.holdings
    assert holdings.index is not None
    digests = [file.digest or "" for file in holdings.index.files_of([uid(1, 1), uid(1, 2)]).values()]
    kept = KeptHeaders(holdings.local.root)
    assert len(kept.find(digests)) == 2
    holdings.deleting().delete(study_uid(1), [uid(1, 1)], Order("run", "somebody"))
    monkeypatch.setattr(holdings, "_tidied_at", 0.0)
    wait_until(lambda: len(kept.find(digests)) == 1, 20)
    kept.close()


@pytest.mark.filterwarnings("ignore")
def test_dicomweb_client_retrieves_metadata_and_bulk_data(node: Served) -> None:
    client = DICOMwebClient(node.url)
    study, series = study_uid(1), f"{study_uid(1)}.1"
    assert len(client.retrieve_study_metadata(study)) == COUNT
    assert len(client.retrieve_series_metadata(study, series)) == COUNT
    found = client.retrieve_instance_metadata(study, series, uid(1, 1))
    assert Dataset.from_json(found, lambda uri: b"").SOPInstanceUID == uid(1, 1)
    address = found["7FE00010"]["BulkDataURI"]
    (whole,) = client.retrieve_bulkdata(address)
    assert len(whole) == 70_000
    assert list(client.iter_bulkdata(address)) == [whole]
    assert client.retrieve_bulkdata(address, byte_range=(10, 19)) == [whole[10:20]]
    octets = (("application/octet-stream", EXPLICIT),)
    assert client.retrieve_bulkdata(address, media_types=octets) == [whole]


def test_who_asks_while_the_metadata_is_derived_does_not_derive_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    together = threading.Barrier(6)
    real = FolderStorage.open

    def opened(storage: FolderStorage, name: ObjectName) -> Any:
        read.append(name.instance)
        return real(storage, name)

    monkeypatch.setattr(FolderStorage, "open", opened)
    with served(tmp_path / "node") as running:
        running.store(write_objects(tmp_path / "files", 1, 150, 2000))
        read.clear()

        def ask(_: int) -> bytes:
            together.wait(PATIENCE)
            return running.get(f"{STUDY}/metadata").body

        with ThreadPoolExecutor(6) as threads:
            answers = set(threads.map(ask, range(6)))
    assert len(answers) == 1
    assert sorted(read) == sorted(uid(1, number) for number in range(1, 151))
