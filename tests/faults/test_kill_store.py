"""`dicomnet store` where the peer or the command is killed at any moment: each object arrives, few of them twice."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
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

    def count(self) -> int:
        record = self.folder / "uids"
        # All UIDs have the same length.
        return record.stat().st_size // (len(uid(1, 1)) + 1) if record.exists() else 0

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


def start(peer: KilledPeer, folder: Path, *options: str) -> subprocess.Popen[str]:
    """A store of ``study`` in a folder, with a journal and a report there."""
    files = ("--journal", str(folder / "sent.db"), "--report", str(folder / "report.jsonl"))
    command = dicomnet("store", peer.address, folder / "study", "--retry", "8", *files, *options)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told(folder: Path) -> set[str]:
    """The objects of which a run had learned that they are stored, by its report."""
    lines = (folder / "report.jsonl").read_text().splitlines(keepends=True)
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    return {row["sop_instance_uid"] for row in rows if row["outcome"] == "stored"}


def store_with_kills(
    peer: KilledPeer,
    folder: Path,
    kills: list[tuple[int, str]],
    *options: str,
    killed: Callable[[set[str]], object] = lambda known: None,
) -> str:
    """Store, while the peer or the command is killed and started again when the peer has so many objects.

    Parameters
    ----------
    killed
        Called when the command was killed, with the objects of which it had learned that they are stored.

    Returns
    -------
    str
        What the last run says, which ends with success.
    """
    process = start(peer, folder, *options)
    try:
        for moment, victim in kills:
            wait_until(
                partial(lambda at, run: peer.count() >= at or run.poll() is not None, moment, process),
                120,
                f"{moment} objects",
            )
            if victim == "peer":
                peer.kill()
                peer.start()
            else:
                process.kill()
                process.communicate()
                killed(told(folder))
                process = start(peer, folder, *options)
        written, complained = process.communicate(timeout=300)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, complained
    return written


def check_all(peer: KilledPeer, folder: Path, total: int, most: int, written: str) -> None:
    """The peer has each object, no more than so many twice, and the report of the last run says so."""
    received = peer.received()
    assert set(received) == {uid(1, number) for number in range(1, total + 1)}
    assert received.total() - total <= most
    outcomes = Counter(
        json.loads(line)["outcome"] for line in (folder / "report.jsonl").read_text().splitlines()
    )
    assert outcomes.total() == outcomes["stored"] + outcomes["stored before"] == total
    assert written.startswith(
        f"sent {outcomes['stored']} (0 with warnings), stored before {outcomes['stored before']}, "
    )


def moments(total: int, each: int, seed: int) -> list[tuple[int, str]]:
    """So many kills of the peer, and so many of the command, at random moments."""
    chance = random.Random(seed)
    victims = ["peer", "command"] * each
    chance.shuffle(victims)
    return list(zip(sorted(chance.sample(range(10, total * 9 // 10), 2 * each)), victims, strict=True))


@pytest.mark.parametrize(("kind", "jobs"), [(Recorder, 1), (StoreSCP, 2)])
def test_both_are_killed(kind: type[KilledPeer], jobs: int, tmp_path: Path) -> None:
    total, each = 400, 2
    write_objects(tmp_path / "study", 1, total)
    with peer_of(kind, tmp_path / "peer") as peer:
        options = ("--rate", "400/s", "--jobs", str(jobs))
        written = store_with_kills(peer, tmp_path, moments(total, each, 3), *options)
        # What was outstanding at a kill, and what was answered a moment before it.
        check_all(peer, tmp_path, total, 2 * each * jobs * 24, written)


def test_both_are_killed_many_times(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """At full speed. Each time no more is sent twice than was on its way, and nothing of which the answer had come."""
    each = pytestconfig.getoption("kills")
    total = 1000 * each
    write_objects(tmp_path / "study", 1, total)
    known: list[tuple[int, set[str]]] = []
    with peer_of(Recorder, tmp_path / "peer") as peer:
        written = store_with_kills(
            peer,
            tmp_path,
            moments(total, each, 7),
            killed=lambda stored: known.append((peer.count(), stored)),
        )
        order = (tmp_path / "peer" / "uids").read_text().splitlines()
        needless = sum(len(stored.intersection(order[begin:])) for begin, stored in known)
        print(f"{total} objects, {2 * each} kills: {len(order) - total} sent twice, {needless} needlessly")
        check_all(peer, tmp_path, total, 2 * each * 16, written)
    assert needless == 0


def test_ctrl_c_and_a_dead_peer(tmp_path: Path) -> None:
    """What the peer has taken before is not sent again, whatever ended the run."""
    write_objects(tmp_path / "study", 1, 200)
    with peer_of(Recorder, tmp_path / "peer") as peer:
        with start(peer, tmp_path, "--rate", "200/s") as process:
            wait_until(lambda: peer.count() >= 20, 20, "20 objects")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
        assert process.returncode == 130
        command = dicomnet(
            "store", peer.address, tmp_path / "study", "--journal", tmp_path / "sent.db", "--rate", "200/s"
        )
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process_2:
            wait_until(lambda: peer.count() >= 100, 20, "100 objects")
            peer.kill()
            assert process_2.wait(30) == 1
        peer.start()
        with start(peer, tmp_path) as process:
            written, complained = process.communicate(timeout=60)
        assert process.returncode == 0, complained
        check_all(peer, tmp_path, 200, 48, written)
