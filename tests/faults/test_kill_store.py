"""`dicomnet store` to a peer that is killed at any moment and started again: each object arrives, few of them twice."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pydicom
import pytest
from tests.support import dicomnet, free_port, is_listening, tool, wait_until

from .objects import uid, write_objects


class KilledPeer:
    """A peer in a process of its own, which is started and killed.

    Parameters
    ----------
    folder
        Where it has what it receives.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"PEER@127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def received(self) -> Counter[str]:
        """How often each object has arrived, by SOP Instance UID, as far as it is known."""
        raise NotImplementedError

    def count(self) -> int:
        """How many objects have arrived, those that came again included."""
        return self.received().total()

    def start(self) -> None:
        with (self.folder.parent / "peer.txt").open("ab") as output:
            self.process = subprocess.Popen(self.command(), stdout=output, stderr=output)
        wait_until(lambda: is_listening(self.port), 20, "the peer listens")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Recorder(KilledPeer):
    """Ours, which grants a window and counts what comes twice."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.faults.recording_scp", str(self.port), str(self.folder / "uids")]

    def received(self) -> Counter[str]:
        record = self.folder / "uids"
        return Counter(record.read_text().splitlines() if record.exists() else ())


class StoreSCP(KilledPeer):
    """DCMTK's, one object at a time."""

    def command(self) -> list[str]:
        return [tool("storescp"), "-od", str(self.folder), str(self.port)]

    def count(self) -> int:
        return len(list(self.folder.iterdir()))

    def received(self) -> Counter[str]:
        return Counter(str(pydicom.dcmread(path).SOPInstanceUID) for path in self.folder.iterdir())


@contextlib.contextmanager
def peer_of(kind: type[KilledPeer], folder: Path) -> Iterator[KilledPeer]:
    """A peer that is running, and killed with the block."""
    peer = kind(folder)
    peer.start()
    try:
        yield peer
    finally:
        peer.kill()


def kill_and_start(peer: KilledPeer, process: subprocess.Popen[str], moments: list[int]) -> None:
    """Kill a peer when it has so many objects, each time, and start it again."""

    def has_come(moment: int) -> bool:
        return peer.count() >= moment or process.poll() is not None

    for moment in moments:
        wait_until(partial(has_come, moment), 60, f"{moment} objects")
        peer.kill()
        peer.start()


@pytest.mark.parametrize(("kind", "jobs"), [(Recorder, 1), (StoreSCP, 3)])
def test_a_peer_that_is_killed_and_started_again(kind: type[KilledPeer], jobs: int, tmp_path: Path) -> None:
    total, kills = 400, 2
    write_objects(tmp_path / "study", 1, total)
    moments = sorted(random.Random(jobs).sample(range(20, total - 100), kills))
    with peer_of(kind, tmp_path / "peer") as peer:
        command = dicomnet(
            "store", peer.address, tmp_path / "study", "--retry", "8", "--jobs", str(jobs), "--rate", "400/s"
        )
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            kill_and_start(peer, process, moments)
            written, complained = process.communicate(timeout=120)
        received = peer.received()
    assert process.returncode == 0, complained
    assert written.startswith(f"sent {total} (0 with warnings), skipped 0, failed 0: ")
    assert set(received) == {uid(1, number) for number in range(1, total + 1)}
    # What was outstanding at a kill may have been taken already.
    assert received.total() - total <= kills * jobs * 16
