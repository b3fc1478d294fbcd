"""C-STORE to Orthanc, C-FIND, C-GET and C-MOVE from it, by both drivers. Slow, as it has to be installed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from pydicom import dcmread
from tests.support import digest, free_port, is_listening, running_process, tool, wait_until

from dicomnet import Peer, aio
from dicomnet.requests import RetrieveProgress

from .corpus import EXPECTED, Sendable, own_data_set, sendables
from .peers import OUR_SCUS
from .test_find import CLIENTS, QUERIES, ask_by_dcmtk, ask_by_pynetdicom
from .test_retrieve import destination, files

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
def orthanc(folder: Path, hosts: Mapping[str, int] = MappingProxyType({})) -> Iterator[int]:
    """Orthanc with a store of its own, without HTTP, that everybody may store to and query.

    ``hosts`` are the ports of the AE titles that it can move to.
    """
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
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DicomModalities": {title: [title, "127.0.0.1", at] for title, at in hosts.items()},
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


def _by_study() -> dict[str, dict[str, str]]:
    """The digests of pixel data by SOP Instance UID, of each study."""
    studies: dict[str, list[Path]] = {}
    for each in files():
        study = str(dcmread(each.path, stop_before_pixels=True).StudyInstanceUID)
        studies.setdefault(study, []).append(each.path)
    return {study: _images(paths) for study, paths in studies.items()}


@pytest.mark.parametrize("kind", [Peer, aio.Peer])
def test_get_and_move(kind: Any, tmp_path: Path) -> None:
    """Both bring each study whole; it encodes data sets anew."""

    def last_of(port: int, name: str, *arguments: Any, **keys: Any) -> RetrieveProgress:
        async def run() -> list[RetrieveProgress]:
            async with aio.Peer(f"NODE@127.0.0.1:{port}") as peer:
                return [each async for each in getattr(peer, name)(*arguments, **keys)]

        if kind is aio.Peer:
            return asyncio.run(run())[-1]
        with Peer(f"NODE@127.0.0.1:{port}") as peer:
            found: list[RetrieveProgress] = list(getattr(peer, name)(*arguments, **keys))
            return found[-1]

    with destination(tmp_path / "there") as there:
        with orthanc(tmp_path / "orthanc", {"DESTINATION": there}) as port:
            assert set(OUR_SCUS["Peer"](port, files()).values()) == {0}
            for study, wanted in _by_study().items():
                here = tmp_path / f"here{study}"
                got = last_of(port, "get", "study", to=here, StudyInstanceUID=study)
                assert (got.status, got.failed) == (0, 0)
                assert _images(here.iterdir()) == wanted
                moved = last_of(port, "move", "DESTINATION", "study", StudyInstanceUID=study)
                assert (moved.status, moved.failed) == (0, 0)
        assert len(list((tmp_path / "there").iterdir())) == len(files())
