"""The node's promise to find again what it has stored, whatever became of its index and its folders."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import UID

from dicomnet import Peer
from dicomnet.archive.node import Node
from dicomnet.archive.terms import Terms

FILES = [str(get_testdata_file(name)) for name in ("CT_small.dcm", "MR_small.dcm")]


@contextmanager
def running(folder: Path, *, has_index: bool = True, accepts_private: bool = False) -> Iterator[Peer]:
    terms = Terms(accepts_private=accepts_private)
    node = Node(folder, address=("127.0.0.1", 0), has_index=has_index, terms=terms)
    node.start()
    try:
        with Peer(f"127.0.0.1:{node.address[1]}") as peer:
            yield peer
    finally:
        node.shutdown()


def store(peer: Peer, files: list[str]) -> None:
    assert [result.status for result in peer.store(files)] == [0] * len(files)


def studies(peer: Peer) -> int:
    return len(list(peer.find("study")))


def test_what_was_received_without_an_index_was_not_found(tmp_path: Path) -> None:
    with running(tmp_path) as peer:
        store(peer, FILES[:1])
    with running(tmp_path, has_index=False) as peer:
        store(peer, FILES[1:])
    with running(tmp_path) as peer:
        assert studies(peer) == 2


def test_a_lock_at_the_start_threw_the_index_away(tmp_path: Path) -> None:
    """X18."""
    with running(tmp_path) as peer:
        store(peer, FILES)
    index = tmp_path / "index.sqlite"
    before = index.stat().st_ino
    other = sqlite3.connect(index, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with running(tmp_path) as peer:
        # Nothing has to be written, so nothing waits.
        assert studies(peer) == 2
        other.execute("ROLLBACK")
        other.close()
    assert index.stat().st_ino == before


@pytest.mark.parametrize("damage", ["removed", "damaged", "of an older version", "of a newer version"])
def test_an_index_that_was_lost_stayed_empty(tmp_path: Path, damage: str) -> None:
    """X18 X29: Also one of another version of the schema is made anew from the files, by whoever comes first."""
    with running(tmp_path) as peer:
        store(peer, FILES)
    if damage.startswith("of"):
        with closing(sqlite3.connect(tmp_path / "index.sqlite")) as index:
            version = 1 if damage == "of an older version" else 1_000_000
            index.execute(f"UPDATE state SET value = '{version}' WHERE name = 'version'")
            index.commit()
    else:
        for path in tmp_path.glob("index.sqlite*"):
            path.unlink()
    if damage == "damaged":
        (tmp_path / "index.sqlite").write_bytes(b"not a database" * 1000)
    with running(tmp_path) as peer:
        assert studies(peer) == 2


def test_a_series_whose_folder_was_removed_could_not_be_stored_again(tmp_path: Path) -> None:
    with running(tmp_path, has_index=False) as peer:
        store(peer, FILES)
        for folder in (tmp_path / "objects").iterdir():
            shutil.rmtree(folder)
        store(peer, FILES)
    assert len(list((tmp_path / "objects").rglob("*.dcm"))) == 2


@pytest.mark.parametrize("accepts", [True, False])
def test_private_storage_classes_are_taken_where_that_is_wanted(tmp_path: Path, accepts: bool) -> None:
    """S007."""
    read = dcmread(FILES[0])
    read.SOPClassUID = read.file_meta.MediaStorageSOPClassUID = UID("1.3.12.2.1107.5.9.1")
    path = tmp_path / "private.dcm"
    read.save_as(path)
    with running(tmp_path / "store", accepts_private=accepts) as peer:
        (result,) = peer.store(path)
        assert result.is_stored is accepts
        assert studies(peer) == int(accepts)
