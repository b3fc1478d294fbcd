"""The page of the manual that moves an Orthanc's content over: what it has one type is typed here, way by way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.filereader import _read_file_meta_info, read_preamble
from tests.interop.test_orthanc import orthanc
from tests.support import data_set_of, free_port

from dicomnet import Peer

from .reader import Reader
from .written import all_blocks

PAGE = "docs/moving.md"
# Native, JPEG, JPEG 2000, RLE, deflated; images, a plan, a report; one with trailing padding.
FILES = (
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "US1_J2KR.dcm",
    "color3d_jpeg_baseline.dcm",
    "image_dfl.dcm",
    "reportsi.dcm",
    "rtplan.dcm",
)
WAYS = {
    "by its folder": ("/var/lib/orthanc",),
    "by its web server": ("create-archive",),
    "by the network": ("/modalities/", "studies.txt"),
}
TRAILING_PADDING = 0xFFFCFFFC


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reader]:
    """With an Orthanc that has objects, and a node that has none."""
    web, ours = free_port(), free_port()
    with orthanc(
        tmp_path / "orthanc",
        HttpServerEnabled=True,
        HttpPort=web,
        AuthenticationEnabled=False,
        StorageCompression=request.param,
    ) as port:
        with Peer(f"ORTHANC@127.0.0.1:{port}") as peer:
            statuses = [each.status for each in peer.store([str(get_testdata_file(name)) for name in FILES])]
        # The two files of MR_small are of one object, of which Orthanc keeps the first.
        assert statuses == [0] * len(FILES)
        words = {
            "localhost:4242": f"localhost:{port}",
            "localhost:8042": f"localhost:{web}",
            "11112": str(ours),
            "/var/lib/orthanc/db-v6": str(tmp_path / "orthanc" / "store"),
        }
        with Reader(tmp_path, words, {}) as found:
            (tmp_path / "dicomnet.toml").write_text(
                f'storage.folder = "new"\nserver.ae_titles = ["ARCHIVE"]\nserver.port = {ours}\n'
            )
            found.start("dicomnet serve --config dicomnet.toml", ours)
            yield found


def _moved(reader: Reader, way: str) -> None:
    """Do what the page says of one of the ways."""
    blocks = [block for language, block in all_blocks(PAGE) if language == "sh"]
    chosen = [block for block in blocks if any(word in block for word in WAYS[way])]
    assert len(chosen) == len(WAYS[way])
    for block in chosen:
        reader.type(block)


def _check(reader: Reader, way: str) -> None:
    """Do what the page says of how to see whether all is there, and see for ourselves."""
    (script,) = [block for language, block in all_blocks(PAGE) if language == "python"]
    (reader.folder / "counts.py").write_text(script)
    comparison, last = [block for language, block in all_blocks(PAGE) if language == "sh"][-2:]
    assert reader.type(comparison) == "the same\n"
    assert f"{len(FILES) - 1} objects checked" in reader.type(last)
    files = (reader.folder / "new" / "objects").rglob("*.dcm")
    new = {str(dcmread(path).SOPInstanceUID): path for path in files}
    old = {str(dcmread(str(get_testdata_file(name))).SOPInstanceUID): name for name in FILES[::-1]}
    assert new.keys() == old.keys()
    for instance, path in new.items():
        original = Path(str(get_testdata_file(old[instance])))
        assert _syntax(path) == _syntax(original)
        data_set, expected = dcmread(path), dcmread(original)
        if way == "by the network":
            expected.pop(TRAILING_PADDING, None)
        assert data_set == expected


def _syntax(path: Path) -> str:
    with path.open("rb") as file:
        read_preamble(file, force=False)
        return str(_read_file_meta_info(file).TransferSyntaxUID)


@pytest.mark.parametrize("reader", [False], indirect=True)
@pytest.mark.parametrize("way", WAYS)
def test_all_of_an_orthanc_is_moved(reader: Reader, way: str) -> None:
    _moved(reader, way)
    _check(reader, way)
    if way == "by its folder":
        stored = {path for path in (reader.folder / "orthanc" / "store").glob("*/*/*") if path.is_file()}
        moved = {data_set_of(path) for path in (reader.folder / "new" / "objects").rglob("*.dcm")}
        assert moved == set(map(data_set_of, stored))
    # What is there already is recognized.
    _moved(reader, way)
    _check(reader, way)


@pytest.mark.parametrize("reader", [True], indirect=True)
@pytest.mark.parametrize("way", ["by its web server", "by the network"])
def test_all_of_an_orthanc_that_compresses_is_moved(reader: Reader, way: str) -> None:
    _moved(reader, way)
    _check(reader, way)


@pytest.mark.parametrize("reader", [True], indirect=True)
def test_nothing_that_is_compressed_is_passed_over(reader: Reader) -> None:
    with pytest.raises(AssertionError, match="compressed by Orthanc"):
        _moved(reader, "by its folder")
    assert not list((reader.folder / "new" / "objects").rglob("*.dcm"))
