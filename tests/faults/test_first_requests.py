"""The first request of each kind, when no file descriptor is free any more: nothing is imported inside it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from tests.retrieving import destination, retrieve_by_ae
from tests.sockets import (
    PATIENT_ROOT_FIND,
    QUERY,
    VERIFICATION,
    RawPeer,
    echo_pdus,
    find_pdus,
    request_pdu,
    status_of,
)
from tests.support import serving

from dicomnet import Peer

from .objects import file_of, study_uid

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
# Each tells its port, waits for a line, and tells which modules were imported meanwhile.
ENDING = """
before = set(sys.modules)
print(port, flush=True)
sys.stdin.readline()
print(json.dumps(sorted(set(sys.modules) - before)), flush=True)
os._exit(0)
"""
NODE = """
import json, os, sys
from pathlib import Path
from dicomnet.archive.node import Node
node = Node(Path(sys.argv[1]), address=("127.0.0.1", 0), has_index={has_index})
node.start()
port = node.address[1]
"""
HANDLERS = """
import json, os, sys
from tests.associations import ct_image
from tests.retrieving import {scp}
def objects(event):
    yield 1
    yield 0xFF00, sys.argv[1]
def moved(event):
    yield "127.0.0.1", int(sys.argv[2])
    yield from objects(event)
handlers = {{"C-GET": objects, "C-MOVE": moved}}
serving = {scp}(handlers)
port = serving.__enter__()
"""


@contextlib.contextmanager
def process(program: str, *arguments: str) -> Iterator[tuple[int, list[str]]]:
    """A server in a process of its own: its port, and at the end of the block what it has imported in it."""
    with subprocess.Popen(
        [sys.executable, "-c", program + ENDING, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        imported: list[str] = []
        try:
            yield int(child.stdout.readline()), imported
            child.stdin.write("\n")
            child.stdin.flush()
            imported += json.loads(child.stdout.readline())
        finally:
            child.kill()


def statuses(peer: Peer, folder: Path, *contents: bytes) -> list[int | None]:
    path = folder / "object.dcm"
    found = []
    for content in contents:
        path.write_bytes(content)
        found += [result.status for result in peer.store([path])]
    return found


def implicit(content: bytes, folder: Path) -> bytes:
    """The same object with implicit VRs."""
    from pydicom import dcmread

    path = folder / "implicit.dcm"
    path.write_bytes(content)
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.save_as(path, implicit_vr=True, little_endian=True)
    return path.read_bytes()


CHARACTER_SETS: list[Any] = [
    "ISO_IR 100",
    "ISO_IR 144",
    "ISO_IR 192",
    "GB18030",
    "ISO_IR 13",
    ["", "ISO 2022 IR 149"],
]


@pytest.mark.parametrize("has_index", [True, False], ids=["serve", "receive"])
def test_a_node_imported_in_its_first_requests(has_index: bool, tmp_path: Path) -> None:
    with process(NODE.format(has_index=has_index), str(tmp_path / "store")) as (port, imported):
        with Peer(f"N@127.0.0.1:{port}") as peer:
            peer.echo()
            first, other = file_of(1, 1), file_of(1, 1, 2000)
            assert statuses(peer, tmp_path, first, first, implicit(first, tmp_path), other)[:3] == [0, 0, 0]
            for number, terms in enumerate(CHARACTER_SETS):
                assert statuses(peer, tmp_path, file_of(2, number, SpecificCharacterSet=terms)) == [0]
                for level in ("STUDY", "SERIES", "IMAGE") if has_index else ():
                    found = list(peer.find_identifier(_query(level, terms), STUDY_ROOT_FIND))
                    assert len(found) == (number + 1 if level == "IMAGE" else 1)
    assert imported == []


def _query(level: str, terms: Any) -> Dataset:
    query = Dataset()
    query.SpecificCharacterSet = terms
    query.QueryRetrieveLevel = level
    query.PatientName = "F*"
    query.StudyDate = ""
    query.StudyInstanceUID = study_uid(2)
    if level == "IMAGE":
        query.SeriesInstanceUID = f"{study_uid(2)}.1"
        query.SOPInstanceUID = ""
    return query


@pytest.mark.parametrize("scp", ["ae_scp", "aio_scp"])
def test_a_server_imported_in_its_first_retrieval(scp: str, tmp_path: Path) -> None:
    """The object has to be converted to implicit VRs."""
    path = tmp_path / "explicit.dcm"
    path.write_bytes(file_of(1, 1))
    with destination() as to, process(HANDLERS.format(scp=scp), str(path), str(to)) as (port, imported):
        for service in ("C-GET", "C-MOVE"):
            assert retrieve_by_ae(port, service)[-1].status == 0x0000
    assert imported == []


def test_a_first_query_without_a_free_descriptor_ended_the_association(tmp_path: Path) -> None:
    """It is answered, and the association goes on; once descriptors are free, it finds something again."""
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(serving(tmp_path, under=["prlimit", "--nofile=64:64"]))
        asking = stack.enter_context(RawPeer.connect(served.port))
        asking.send(request_pdu((1, VERIFICATION), (3, PATIENT_ROOT_FIND)))
        assert asking.read_pdu()[0] == 2
        with contextlib.ExitStack() as crowd:
            is_full = False
            while not is_full:
                other = crowd.enter_context(RawPeer.connect(served.port))
                other.send(request_pdu())
                # Where no descriptor is free, the connection is taken and closed.
                with contextlib.suppress(ConnectionError):
                    is_full = other.read_pdu()[:1] != b"\x02"
                    continue
                is_full = True
            asking.send(find_pdus(QUERY, context_id=3))
            assert status_of(asking.read_pdu()) in (0x0000, 0xA700)
            asking.send(echo_pdus())
            assert status_of(asking.read_pdu()) == 0x0000
        with Peer(served.address) as peer:
            assert statuses(peer, tmp_path, file_of(2, 1)) == [0]
            assert len(list(peer.find_identifier(_query("STUDY", "ISO_IR 100"), STUDY_ROOT_FIND))) == 1
