"""The receiver of a C-MOVE: who calls it by its name may send it objects, whole ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import CT, MR, TEST_FILES
from tests.support import data_set_of, run_tool, tool

from dicomnet import Peer
from dicomnet.drivers.deadline import Timeouts
from dicomnet.errors import AssociationRejected
from dicomnet.fetching.receiver import Receiver


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[tuple[Receiver, int]]:
    (tmp_path / "in").mkdir()
    with Receiver(tmp_path / "in", ("127.0.0.1", 0), "HERE", Timeouts()) as receiver:
        yield receiver, receiver.address[1]


def test_objects_arrive_as_they_are(receiver: tuple[Receiver, int], tmp_path: Path) -> None:
    here, port = receiver
    files = [CT, MR, TEST_FILES / "MR_small_jp2klossless.dcm", TEST_FILES / "SC_rgb_rle.dcm"]
    before = here.progress()
    with Peer(f"HERE@127.0.0.1:{port}") as peer:
        peer.echo()
        assert all(each.is_stored for each in peer.store([files[0], *files[2:]]))
    here.wait(3, 10)
    assert (here.count, here.failures) == (3, [])
    assert here.progress() != before
    found = sorted(data_set_of(path) for path in (tmp_path / "in").iterdir())
    assert found == sorted(data_set_of(each) for each in [files[0], *files[2:]])


def test_dcmtk_sends_and_asks(receiver: tuple[Receiver, int], tmp_path: Path) -> None:
    port = str(receiver[1])
    assert run_tool([tool("echoscu"), "-aec", "HERE", "127.0.0.1", port]).returncode == 0
    assert run_tool([tool("storescu"), "-aec", "HERE", "127.0.0.1", port, str(CT)]).returncode == 0
    assert len(list((tmp_path / "in").iterdir())) == 1


def test_who_calls_another_is_rejected(receiver: tuple[Receiver, int]) -> None:
    with Peer(f"THERE@127.0.0.1:{receiver[1]}") as peer, pytest.raises(AssociationRejected):
        peer.echo()
