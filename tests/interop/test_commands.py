"""The commands that retrieve, commit and diagnose, with Orthanc as the peer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from pydicom import dcmread
from tests.cli.command import run
from tests.cli.conftest import CT, TEST_FILES
from tests.support import free_port, stored

from dicomnet import Commitment, Peer, aio

from .test_orthanc import orthanc

COMPRESSED = TEST_FILES / "MR_small_jp2klossless.dcm"
RLE = TEST_FILES / "SC_rgb_rle.dcm"
OBJECTS = {str(dcmread(path).SOPInstanceUID): path for path in (CT, COMPRESSED, RLE)}


class Node(NamedTuple):
    """Orthanc, and the port where it takes HERE to be."""

    address: str
    here: int


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    here = free_port()
    folder = tmp_path_factory.mktemp("orthanc")
    with orthanc(folder / "node", DicomModalities={"here": ["HERE", "127.0.0.1", here]}) as port:
        address = f"NODE@127.0.0.1:{port}"
        assert run("store", address, *OBJECTS.values()).returncode == 0
        yield Node(address, here)


@pytest.mark.parametrize("uid", OBJECTS)
def test_get(node: Node, tmp_path: Path, uid: str) -> None:
    """With any syntax, what is compressed stays compressed as it is."""
    wanted = dcmread(OBJECTS[uid])
    key = f"StudyInstanceUID={wanted.StudyInstanceUID}"
    result = run("get", node.address, "-k", key, "--any-syntax", "--to", tmp_path)
    assert (result.stderr, result.returncode) == ("", 0)
    got = dcmread(tmp_path / f"{uid}.dcm")
    assert got.file_meta.TransferSyntaxUID == wanted.file_meta.TransferSyntaxUID
    assert got.PixelData == wanted.PixelData


def test_move(node: Node, tmp_path: Path) -> None:
    receiver = ("--receive", str(tmp_path / "in"), "--receive-port", str(node.here))
    uids = "\\".join(str(dcmread(path).StudyInstanceUID) for path in OBJECTS.values())
    result = run("move", node.address, "HERE", *receiver, "-k", f"StudyInstanceUID={uids}", "-aet", "HERE")
    assert (result.stderr, result.returncode) == ("", 0)
    assert stored(tmp_path / "in").keys() == OBJECTS.keys()


def test_commit(node: Node, tmp_path: Path) -> None:
    missing = tmp_path / "uids"
    missing.write_text(f"{dcmread(CT).SOPClassUID} 1.2.3.4\n")
    options = ("-aet", "HERE", "--listen", str(node.here), "--uid-file", str(missing), "--json")
    result = run("commit", node.address, *options, *OBJECTS.values())
    assert result.stderr == "committed 3, failed 1\n"
    outcomes = {row["sop_instance_uid"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert (outcomes["1.2.3.4"]["outcome"], outcomes["1.2.3.4"]["reason"]) == ("failed", 0x0112)
    assert {outcomes[uid]["outcome"] for uid in OBJECTS} == {"committed"}
    assert result.returncode == 1


def test_store_with_commitment(node: Node, tmp_path: Path) -> None:
    """Orthanc reports on an association of its own; what the journal notes is not asked for again."""
    options = ("--commit", "--journal", tmp_path / "j", "-aet", "HERE", "--listen", str(node.here), "--json")
    result = run("store", *options, node.address, *OBJECTS.values())
    assert result.returncode == 0, result.stderr
    outcomes = [json.loads(line)["outcome"] for line in result.stdout.splitlines()]
    assert sorted(outcomes) == ["committed"] * 3 + ["stored"] * 3
    again = run("store", *options, node.address, *OBJECTS.values())
    assert {json.loads(line)["outcome"] for line in again.stdout.splitlines()} == {"stored before"}


@pytest.mark.parametrize("face", ["blocking", "asyncio"])
def test_peer_commit(node: Node, face: str) -> None:
    objects = [(str(dcmread(path).SOPClassUID), uid) for uid, path in OBJECTS.items()]
    objects.append((objects[0][0], "1.2.3.4"))
    listen = ("127.0.0.1", node.here)

    async def main() -> list[Commitment]:
        async with aio.Peer(node.address, calling="HERE") as peer:
            return [each async for each in peer.commit(objects, listen=listen)]

    if face == "blocking":
        with Peer(node.address, calling="HERE") as one:
            found = list(one.commit(objects, listen=listen))
    else:
        found = asyncio.run(main())
    assert [each.is_committed for each in found] == [True, True, True, False]
    assert found[-1].reason == 0x0112


def test_diagnose(node: Node) -> None:
    result = run("diagnose", node.address, "--contexts", "--json")
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    layers = {row["layer"]: row for row in rows if "layer" in row}
    taken = {row["sop_class"]: row["transfer_syntax_uids"] for row in rows if "sop_class" in row}
    assert layers["association"]["implementation_version_name"].startswith("OFFIS_DCMTK")
    assert "1.2.840.10008.1.2.4.70" in taken["CTImageStorage"]
    assert taken["StorageCommitmentPushModel"]
