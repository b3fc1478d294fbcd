"""`getscu`: retrieval from pynetdicom's qrscp and from ours, beside pynetdicom's own."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from tests.apps.tools import CT, MR, PACKAGES, run
from tests.support import data_set_of

NAMES = {
    "CT.1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322": CT,
    "MR.1.3.6.1.4.1.5962.1.1.4.1.1.20040826185059.5457": MR,
}
PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.3"
KEYS = ("-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=*")

asked: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()


def get(event: Any) -> Iterator[Any]:
    asked.put((event.assoc.requestor.sop_class_extended, event.identifier.PatientID))
    yield 2
    for path in (CT, MR):
        yield 0xFF00, dcmread(path)


def refuse(event: Any) -> Iterator[Any]:
    yield 1
    yield 0xA702, None


def fail(event: Any) -> Iterator[Any]:
    """One of two objects is of a class that nobody has asked for."""
    yield 2
    yield 0xFF00, dcmread(CT)
    other = Dataset()
    other.SOPClassUID = "1.2.3.4"
    other.SOPInstanceUID = "1.2.3.5"
    other.file_meta = dcmread(CT).file_meta
    yield 0xFF00, other


def serve(handler: Any) -> Any:
    ae = AE()
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(str(context.abstract_syntax), scu_role=True, scp_role=True)
    ae.add_supported_context(PATIENT_ROOT_GET)
    return ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_GET, handler)])


@pytest.fixture
def port() -> Iterator[int]:
    server = serve(get)
    yield server.server_address[1]
    server.shutdown()


@pytest.mark.parametrize("package", PACKAGES)
def test_objects_are_written(package: str, port: int, tmp_path: Path) -> None:
    done = run("getscu", "127.0.0.1", str(port), *KEYS, "-od", "received", package=package, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    received = {path.name: data_set_of(path) for path in (tmp_path / "received").iterdir()}
    assert received.keys() == NAMES.keys()
    assert {name: dcmread(tmp_path / "received" / name).PixelData for name in received} == {
        name: dcmread(path).PixelData for name, path in NAMES.items()
    }


def test_what_is_said(port: int, tmp_path: Path) -> None:
    said = run("getscu", "127.0.0.1", str(port), *KEYS, cwd=tmp_path).stderr
    assert "I: sub-operations: remaining 0, completed 2, failed 0, warning 0" in said
    assert "I: C-GET: 0x0000 (Success)\n" in said
    assert {path.name for path in tmp_path.iterdir()} == NAMES.keys()


def test_ignored_objects_are_not_written(port: int, tmp_path: Path) -> None:
    done = run("getscu", "127.0.0.1", str(port), *KEYS, "--ignore", "-q", cwd=tmp_path)
    assert (done.returncode, done.stderr, list(tmp_path.iterdir())) == (0, "", [])


def test_it_asks_for_the_same(port: int, tmp_path: Path) -> None:
    found = []
    for package in PACKAGES:
        done = run(
            "getscu",
            "127.0.0.1",
            str(port),
            *KEYS,
            "--relational-retrieval",
            "--ignore",
            package=package,
            cwd=tmp_path,
        )
        assert done.returncode == 0
        found.append(asked.get(timeout=10))
    assert found[0] == found[1]


@pytest.mark.parametrize("handler", [refuse, fail])
def test_what_was_not_retrieved_is_a_failure(handler: Any, tmp_path: Path) -> None:
    server = serve(handler)
    try:
        done = run("getscu", "127.0.0.1", str(server.server_address[1]), *KEYS, cwd=tmp_path)
    finally:
        server.shutdown()
    assert done.returncode == 1
    assert "C-GET: 0x" in done.stderr
