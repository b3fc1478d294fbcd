"""C-STORE to Orthanc and C-FIND from it, by both of our drivers. Slow, since Orthanc has to be installed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from tests.support import digest, free_port, is_listening, running_process, tool, wait_until

from .corpus import EXPECTED, Sendable, own_data_set, sendables
from .peers import OUR_SCUS
from .test_find import CLIENTS, QUERIES, ask_by_dcmtk, ask_by_pynetdicom

pytestmark = pytest.mark.slow

ASKED = (
    "all studies",
    "name, prefix",
    "one date",
    "dates from to",
    "dates to",
    "two UIDs",
    "series",
    "patient, one",
)


@contextlib.contextmanager
def orthanc(folder: Path) -> Iterator[int]:
    """Orthanc with a store of its own, without HTTP, that everybody may store to and query."""
    folder.mkdir()
    port = free_port()
    configuration = {
        "Name": "test",
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "StorageCompression": False,
        "HttpServerEnabled": False,
        "DicomServerEnabled": True,
        "DicomAet": "NODE",
        "DicomPort": port,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DefaultEncoding": "Utf8",
        "Plugins": [],
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    with running_process([tool("Orthanc"), str(path)], folder):
        wait_until(lambda: is_listening(port), 30, "Orthanc listens")
        yield port


def _kept() -> list[Sendable]:
    return [
        each
        for each in sendables()
        if EXPECTED[each.path.name] == 0 and len(own_data_set(each.path)) % 2 == 0
    ]


def _images(paths: Iterable[Path]) -> dict[str, str]:
    """The digest of the pixel data of each object, as pydicom reads it; Orthanc encodes data sets anew."""
    found = {}
    for path in paths:
        data_set = dcmread(path, force=True)
        found[str(data_set.SOPInstanceUID)] = digest(bytes(data_set.get("PixelData") or b""))
    return found


@pytest.mark.parametrize("scu", OUR_SCUS)
def test_store(scu: str, tmp_path: Path) -> None:
    files = _kept()
    with orthanc(tmp_path / "orthanc") as port:
        statuses = OUR_SCUS[scu](port, files)
        assert statuses == dict.fromkeys((each.path.name for each in files), 0)
    received = [
        path
        for path in (tmp_path / "orthanc" / "store").glob("*/*/*")
        if path.read_bytes()[128:132] == b"DICM"
    ]
    assert _images(received) == _images(each.path for each in files)


@pytest.mark.parametrize("client", ["dicomnet find", "Peer", "aio.Peer", "AE"])
def test_find(client: str, tmp_path: Path) -> None:
    """Our clients get what those of DCMTK and pynetdicom get."""
    with orthanc(tmp_path / "orthanc") as port:
        OUR_SCUS["Peer"](port, _kept())
        for name in ASKED:
            rows = CLIENTS[client](port, QUERIES[name], tmp_path)
            assert rows, name
            assert rows == ask_by_pynetdicom(port, QUERIES[name], tmp_path), name
            assert rows == ask_by_dcmtk(port, QUERIES[name], tmp_path), name
