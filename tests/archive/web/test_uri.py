"""WADO-URI over a real socket: PS3.18 section 9."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pydicom
import pytest
from tests.archive.web.served import Served, address_of, sample, served

EXPLICIT, DEFLATED, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("node")) as running:
        running.store([sample("MR_small_implicit.dcm")])
        yield running


def _query(**others: str) -> str:
    own = pydicom.dcmread(sample("MR_small_implicit.dcm"), stop_before_pixels=True)
    parameters = {
        "requestType": "WADO",
        "studyUID": own.StudyInstanceUID,
        "seriesUID": own.SeriesInstanceUID,
        "objectUID": own.SOPInstanceUID,
        **others,
    }
    return "&".join(f"{name}={value}" for name, value in parameters.items() if value)


@pytest.mark.parametrize("path", ["", "/", "/wado"])
@pytest.mark.parametrize(
    ("asked", "syntax"), [("", EXPLICIT), (DEFLATED, DEFLATED), (IMPLICIT, IMPLICIT), ("*", IMPLICIT)]
)
def test_an_instance(node: Served, path: str, asked: str, syntax: str) -> None:
    answer = node.get(f"{path}?{_query(contentType='application/dicom', transferSyntax=asked)}", "*/*")
    assert answer.status == 200
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={syntax}"
    found = pydicom.dcmread(io.BytesIO(answer.body))
    own = pydicom.dcmread(sample("MR_small_implicit.dcm"))
    assert found.file_meta.TransferSyntaxUID == syntax
    assert (found.SOPInstanceUID, found.PixelData) == (own.SOPInstanceUID, own.PixelData)


def test_the_header_tells_the_media_type_too(node: Served) -> None:
    assert (
        node.get(f"/wado?{_query()}", "application/dicom")
        .headers["content-type"]
        .startswith("application/dicom;")
    )


def test_pictures_are_those_of_the_rendered_resource(node: Served) -> None:
    others = {"windowCenter": "600", "windowWidth": "1600", "rows": "32", "columns": "32", "frameNumber": "1"}
    answer = node.get(f"/wado?{_query(contentType='image/png', **others)}", "*/*")
    address = address_of(sample("MR_small_implicit.dcm"))
    expected = node.get(f"{address}/frames/1/rendered?window=600,1600,linear&viewport=32,32", "image/png")
    assert answer.status == 200
    assert answer.headers["content-type"] == "image/png"
    assert answer.body == expected.body
    # A picture is what is given where nothing is said.
    assert node.get(f"/wado?{_query()}", "*/*").headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize(
    ("others", "status", "said"),
    [
        ({"requestType": "XYZ"}, 400, b"requestType has to be WADO"),
        ({"requestType": ""}, 404, b"there is nothing at this address"),
        ({"objectUID": ""}, 400, b"objectUID is missing or not a UID"),
        ({"studyUID": "../x"}, 400, b"studyUID is missing or not a UID"),
        ({"objectUID": "1.2.3"}, 404, b"there is no such instance here"),
        ({"studyUID": "1.2.3"}, 404, b"there is no such instance here"),
        # Nobody may believe that what he gets has no names.
        ({"anonymize": "yes"}, 501, b"anonymize is not supported here"),
        ({"transferSyntax": "JPEG"}, 400, b"transferSyntax is not a UID"),
        ({"transferSyntax": "1.2.840.10008.1.2.4.90"}, 406, b"cannot be given in the transfer syntax"),
        ({"contentType": "image/jpeg", "frameNumber": "x/../.."}, 400, b""),
    ],
)
def test_refusals_say_what_is_wrong(node: Served, others: dict[str, str], status: int, said: bytes) -> None:
    answer = node.get(f"/wado?{_query(**{'contentType': 'application/dicom', **others})}", "*/*")
    assert answer.status == status
    assert said in answer.body
