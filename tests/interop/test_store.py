"""C-STORE between our SCUs and SCPs and those of DCMTK and pynetdicom, with the files that pydicom ships."""

from __future__ import annotations

from collections import Counter
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import FileMetaDataset
from tests.support import data_set_of, digest, digests_below, quarantined, serving, staged, stored

from .corpus import (
    EXPECTED,
    FILES,
    KEPT_ALREADY,
    NO_CONTEXT,
    NO_STUDY,
    NO_UIDS,
    REFUSED,
    TAKEN,
    UNSENT,
    sendables,
)
from .peers import FOREIGN_SCPS, FOREIGN_SCUS, OUR_SCPS, OUR_SCUS


@pytest.mark.parametrize("name", OUR_SCUS)
def test_our_scu_to_our_node(name: str, tmp_path: Path) -> None:
    files = sendables()
    with serving(tmp_path) as node:
        assert OUR_SCUS[name](node.port, files) == EXPECTED
        # The same again is the same answer, and changes nothing.
        assert OUR_SCUS[name](node.port, files) == EXPECTED
        node.end()
    objects, apart = stored(node.store), quarantined(node.store)
    assert len(objects) == len(set(objects.values()))
    by_status = {
        status: {each.digest for each in files if EXPECTED[each.path.name] == status}
        for status in set(EXPECTED.values())
    }
    again = {each.digest for each in files if each.path.name in KEPT_ALREADY}
    assert set(objects.values()) == by_status[0] - again
    assert {value for _, value in apart} == by_status[0xB000]
    assert not staged(node.store)


@pytest.mark.parametrize("scp", FOREIGN_SCPS)
@pytest.mark.parametrize("scu", OUR_SCUS)
def test_our_scu_to_foreign_scp(scu: str, scp: str, tmp_path: Path) -> None:
    """What it stored is byte for byte the data set of the file; what is cut off is not sent, and costs nothing else."""
    files = sendables()
    with FOREIGN_SCPS[scp](tmp_path / "scp") as (port, received):
        statuses = OUR_SCUS[scu](port, files)
        assert statuses == {each.path.name: None if each.path.name in UNSENT else 0 for each in files}
        sent = Counter(each.digest for each in files if statuses[each.path.name] == 0)
        assert Counter(digests_below(received).values()) == sent


@pytest.mark.parametrize("scu", FOREIGN_SCUS)
def test_foreign_scu_to_our_node(scu: str, tmp_path: Path) -> None:
    """What its own SCP receives from that SCU bit by bit is what our node has."""
    send = FOREIGN_SCUS[scu]
    with FOREIGN_SCPS[scu](tmp_path / "scp") as (port, received):
        assert set(send(port, FILES, tmp_path)) == {0}
        reference = digests_below(received)
    with serving(tmp_path / "node") as node:
        statuses = Counter(send(node.port, FILES, tmp_path))
        node.end()
    without_study = {value for path, value in reference.items() if "StudyInstanceUID" not in dcmread(path)}
    kept = list(stored(node.store).values()) + [value for _, value in quarantined(node.store)]
    again = set(reference.values()) - without_study - set(kept)
    assert set(kept) < set(reference.values()) - without_study
    # What is missing is there in another form.
    names = {str(dcmread(path).SOPInstanceUID) for path, value in reference.items() if value in again}
    known = {str(dcmread(path, force=True).SOPInstanceUID) for path in FILES if path.name in KEPT_ALREADY}
    assert names <= known
    assert 3 < len(again) <= len(KEPT_ALREADY)
    assert statuses.keys() == {0, 0xB000, 0xA900}
    assert statuses[0xA900] == len(without_study) == 4
    assert statuses[0x0000] + statuses[0xB000] + statuses[0xA900] == len(reference)


@pytest.mark.parametrize("scp", OUR_SCPS)
@pytest.mark.parametrize("scu", FOREIGN_SCUS)
def test_foreign_scu_to_our_scp(scu: str, scp: str, tmp_path: Path) -> None:
    """What its own SCP receives from that SCU bit by bit is what a handler of ours gets."""
    send = FOREIGN_SCUS[scu]
    with FOREIGN_SCPS[scu](tmp_path / "reference") as (port, received):
        statuses = send(port, FILES, tmp_path)
        reference = Counter(digests_below(received).values())
    with OUR_SCPS[scp](tmp_path / "scp") as (port, received):
        assert send(port, FILES, tmp_path) == statuses
        assert Counter(digests_below(received).values()) == reference


@pytest.mark.parametrize("scp", OUR_SCPS)
@pytest.mark.parametrize("scu", OUR_SCUS)
def test_our_scu_to_our_scp(scu: str, scp: str, tmp_path: Path) -> None:
    files = sendables()
    with OUR_SCPS[scp](tmp_path) as (port, received):
        statuses = OUR_SCUS[scu](port, files)
        assert statuses == {each.path.name: None if each.path.name in UNSENT else 0 for each in files}
        sent = Counter(each.digest for each in files if statuses[each.path.name] == 0)
        assert Counter(digests_below(received).values()) == sent


def test_receive_command(tmp_path: Path) -> None:
    """``dicomnet receive`` stores the same as the node, without an index."""
    with serving(tmp_path, command="receive") as node:
        assert OUR_SCUS["Peer"](node.port, sendables()) == EXPECTED
        node.end()
    accepted = {
        each.digest
        for each in sendables()
        if EXPECTED[each.path.name] == 0 and each.path.name not in KEPT_ALREADY
    }
    assert set(stored(node.store).values()) == accepted
    assert not list(node.store.glob("*.sqlite*"))


def test_reasons() -> None:
    """What the table says of refused files is what pydicom finds in them."""
    instances = Counter[str]()
    for path in FILES:
        if path.name not in EXPECTED or path.name == "SC_rgb_jpeg.dcm":
            continue
        data_set = dcmread(path, force=True, stop_before_pixels=True)
        instance = str(data_set.get("SOPInstanceUID", ""))
        reason = REFUSED.get(path.name, (0, ""))[1]
        if path.name not in NO_CONTEXT:
            assert ("SOPInstanceUID" not in data_set) is (reason == NO_UIDS), path.name
        if reason != NO_UIDS and path.name not in NO_CONTEXT:
            assert ("StudyInstanceUID" not in data_set) is (reason == NO_STUDY), path.name
        if reason == TAKEN:
            assert instances[instance], path.name
        if path.name in KEPT_ALREADY:
            first = next(each for each in FILES if each.name == KEPT_ALREADY[path.name])
            assert instances[instance], path.name
            assert dcmread(first, force=True).SOPInstanceUID == instance
        if reason in (TAKEN, ""):
            instances[instance] += 1
    assert REFUSED.keys() <= EXPECTED.keys()


def test_node_writes_files_that_others_read(tmp_path: Path) -> None:
    """S005: Preamble and file meta information say what was negotiated, and pydicom reads each file."""
    by_digest = {each.digest: each for each in sendables()}
    with serving(tmp_path) as node:
        OUR_SCUS["Peer"](node.port, sendables())
    for path in sorted((node.store / "objects").rglob("*.dcm")):
        sent = by_digest[digest(data_set_of(path))]
        data_set = dcmread(BytesIO(path.read_bytes()), stop_before_pixels=True)
        meta: FileMetaDataset = data_set.file_meta
        assert meta.TransferSyntaxUID == sent.transfer_syntax
        assert meta.MediaStorageSOPClassUID == sent.sop_class == data_set.SOPClassUID
        assert meta.MediaStorageSOPInstanceUID == data_set.SOPInstanceUID == path.stem
        assert path.parent.name == data_set.SeriesInstanceUID
        assert path.parent.parent.name == data_set.StudyInstanceUID
