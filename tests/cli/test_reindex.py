"""`dicomnet reindex`: an index that lacks objects has them again, with a node and without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydicom import dcmread
from tests.cli.command import complaint, run
from tests.cli.conftest import CT, MR
from tests.support import serving

from dicomnet import Peer


@pytest.mark.parametrize("how", [(), ("--workers", "2"), None], ids=["node", "workers", "no node"])
def test_objects_that_the_index_lacks_are_found_again(tmp_path: Path, how: tuple[str, ...] | None) -> None:
    with serving(tmp_path) as node:
        with Peer(node.address) as peer:
            assert all(each.is_stored for each in peer.store([str(CT), str(MR)]))
        node.end()
    # What was put there by hand is not known, since a clean start does not look for it.
    (lost,) = (tmp_path / "store" / "objects").rglob(f"{_uid(MR)}.dcm")
    content = lost.read_bytes()
    lost.unlink()
    assert run("reindex", "--data", tmp_path / "store").stdout == "indexed 1 object\n"
    lost.parent.mkdir(parents=True, exist_ok=True)
    lost.write_bytes(content)
    if how is None:
        summary = run("reindex", "--data", tmp_path / "store", "--json")
    with serving(tmp_path, *(how or ())) as node, Peer(node.address) as peer:
        if how is not None:
            assert _studies(peer) == {_study(CT)}
            summary = run("reindex", "--data", tmp_path / "store", "--json")
        assert json.loads(summary.stdout) == {"summary": {"indexed": 2}}
        assert _studies(peer) == {_study(CT), _study(MR)}


def test_a_folder_that_is_no_archive_is_said_to_be_none(tmp_path: Path) -> None:
    assert complaint(run("reindex", "--data", tmp_path), 1).endswith("it has no file named lock")


def _uid(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def _study(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True).StudyInstanceUID)


def _studies(peer: Peer) -> set[str]:
    return {str(each.StudyInstanceUID) for each in peer.find("study", StudyInstanceUID="")}
