"""Stores that older versions made, after a clean stop and after a kill: the node opens them, and nothing is lost.

`tests.archive.old_stores.make` says how they were made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from zipfile import ZipFile

import pytest
from pydicom import dcmread
from pydicom.uid import UID
from tests.archive.old_stores.make import HERE, conflicting, objects
from tests.support import dicomnet, run_tool

from dicomnet import Peer
from dicomnet.archive.node import Node
from dicomnet.archive.quarantine import Quarantine

STORES = sorted(path.stem for path in HERE.glob("*.zip"))
AT_REST = b"at rest\n"
Attributes = tuple[str, ...]
KEYS = ("PatientID", "PatientName", "AccessionNumber", "StudyDate")


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An old store, unpacked."""
    folder = tmp_path / "store"
    with ZipFile(HERE / f"{request.param}.zip") as packed:
        packed.extractall(folder)
    assert ((folder / "lock").read_bytes() == AT_REST) is request.param.endswith("-clean")
    return folder


@contextmanager
def running(folder: Path) -> Iterator[Peer]:
    node = Node(folder, address=("127.0.0.1", 0))
    node.start()
    try:
        with Peer(f"127.0.0.1:{node.address[1]}") as peer:
            yield peer
    finally:
        node.shutdown()


def contents(store: Path, folder: str) -> dict[str, bytes]:
    """The DICOM files below a folder of a store."""
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in (store / folder).rglob("*.dcm")}


def found(peer: Peer) -> dict[str, Attributes]:
    """What C-FIND says of each SOP instance, level by level."""
    instances: dict[str, Attributes] = {}
    for study in peer.find("study", **dict.fromkeys(KEYS, "")):
        attributes = tuple(str(study[keyword].value) for keyword in KEYS)
        for series in peer.find("series", StudyInstanceUID=study.StudyInstanceUID):
            above = {
                "StudyInstanceUID": study.StudyInstanceUID,
                "SeriesInstanceUID": series.SeriesInstanceUID,
            }
            for image in peer.find("image", **above):
                assert image.SOPInstanceUID not in instances
                instances[image.SOPInstanceUID] = attributes
    return instances


def expected() -> dict[str, Attributes]:
    return {each.SOPInstanceUID: tuple(str(each[keyword].value) for keyword in KEYS) for each in objects()}


def test_there_are_two_stores_of_each_version() -> None:
    versions = {name.partition("-")[0] for name in STORES}
    assert {"5a9ebfa", "6bc2ef2"} <= versions
    assert {f"{version}-{end}" for version in versions for end in ("clean", "killed")} == set(STORES)


def test_all_objects_are_found_and_no_file_has_changed(store: Path) -> None:
    before = {folder: contents(store, folder) for folder in ("objects", "quarantine")}
    assert [len(files) for files in before.values()] == [6, 1]
    for _ in range(2):
        with running(store) as peer:
            assert found(peer) == expected()
        assert {folder: contents(store, folder) for folder in before} == before
        assert (store / "lock").read_bytes() == AT_REST


def test_the_files_are_those_that_were_sent(store: Path) -> None:
    with running(store):
        pass
    sent = {each.SOPInstanceUID: each for each in objects()}
    kept = [dcmread(path) for path in (store / "objects").rglob("*.dcm")]
    assert {each.SOPInstanceUID: each for each in kept} == sent
    (quarantined,) = (store / "quarantine").rglob("*.dcm")
    assert dcmread(quarantined) == conflicting()


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_quarantine_lists_its_file(store: Path, when: str) -> None:
    """Before a node of this version has had the store, and afterwards."""
    (before,) = contents(store, "quarantine")
    if when == "after":
        with running(store):
            pass
    with closing(Quarantine(store)) as quarantine:
        (listed,) = quarantine.objects()
        assert listed.instance == conflicting().SOPInstanceUID
        assert quarantine.storage.where_aside(listed.location) == str(store / before)
        assert listed.size == len((store / before).read_bytes())
        kept = quarantine.kept(listed)
    assert kept is not None
    assert kept.study == conflicting().StudyInstanceUID
    done = run_tool(dicomnet("quarantine", "list", "--data", store))
    assert done.returncode == 0, done.stderr
    assert conflicting().SOPInstanceUID in done.stdout


def test_what_is_there_is_recognized_and_more_is_stored(store: Path, tmp_path: Path) -> None:
    again = [store / path for path in contents(store, "objects")]
    new = dcmread(again[0])
    new.SOPInstanceUID = new.file_meta.MediaStorageSOPInstanceUID = UID(f"{new.SOPInstanceUID}.7")
    new.save_as(tmp_path / "new.dcm")
    with running(store) as peer:
        assert [result.status for result in peer.store([*again, tmp_path / "new.dcm"])] == [0] * 7
        assert found(peer).keys() == {*expected(), new.SOPInstanceUID}
    assert len(contents(store, "objects")) == 7
    assert len(contents(store, "quarantine")) == 1
