"""kill -9 of a node at a system call: while it writes the journal, answers, gives files their names, catalogues.

strace ends the process when one of its threads begins a call of a kind for the n-th time.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from time import sleep

import pytest
from tests.processes import workers_of
from tests.support import data_set_of, digest, quarantined, stored, wait_until

from .killed import KilledNode, killed_node, store_by_peer
from .objects import uid, write_objects

# The system calls of a moment, and up to which number of them it may be.
MOMENTS: dict[str, tuple[str, int]] = {
    "a record is written": ("pwritev,pwritev2", 100),
    "the journal is flushed": ("fdatasync", 8),
    "a response is sent": ("sendmsg", 8),
    "a file is written": ("writev", 100),
    "a file is placed": ("?link,linkat", 100),
    "a file is not staged any more": ("?unlink,unlinkat", 3),
    "the index is written": ("pwrite64", 40),
    "folders are made or flushed": ("?mkdir,mkdirat,fsync", 3),
    "all is made durable": ("syncfs", 1),
}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[KilledNode]:
    with killed_node(tmp_path) as killed:
        yield killed


def killing(calls: str, when: int) -> list[str]:
    """The options of strace that end the process at the n-th of these calls of a thread."""
    return ["-e", f"trace={calls}", "-e", "signal=none", "-e", f"inject={calls}:signal=SIGKILL:when={when}"]


def objects(node: KilledNode, study: int, medium: int = 10) -> tuple[list[Path], dict[str, str]]:
    """Objects of one study; some of them are staged."""
    folder = node.folder / "objects" / str(study)
    paths = write_objects(folder, study, 80)
    paths[20:20] = write_objects(folder, study, 3, 1 << 20, first=1001)
    paths[40:40] = write_objects(folder, study, medium, 60_000, first=2001)
    digests = {uid(study, int(path.stem)): digest(data_set_of(path)) for path in paths}
    node.sent |= digests
    return paths, digests


def check_start(node: KilledNode) -> None:
    """After a kill, a start reads the journal, and does not compare all files with the index."""
    said = node.output.read_text()
    assert "did not match" not in said
    assert "rebuilt" not in said
    assert not list((node.store / "staging").iterdir())
    assert not list((node.store / "journal").glob("*.left*"))


@pytest.mark.parametrize("moment", MOMENTS)
def test_kill_at_a_system_call(node: KilledNode, moment: str) -> None:
    """X01."""
    chance = random.Random(moment)
    calls, span = MOMENTS[moment]
    killed = 0
    for study in range(2):
        # More than one segment of the journal holds, where it is to be recycled.
        paths, digests = objects(node, study, 160 if calls == "syncfs" else 10)
        if not node.start(tracing=killing(calls, chance.randint(1, span))):
            # It was killed before it could serve.
            killed += 1
            node.start()
        answered: dict[str, int] = {}
        sender = threading.Thread(target=store_by_peer, args=(node, paths, answered), daemon=True)
        sender.start()
        sender.join(60)
        assert not sender.is_alive()
        try:
            wait_until(lambda: not node.is_alive(), 1)
            killed += 1
        except AssertionError:
            node.end(signal.SIGKILL)
        assert (node.store / "lock").read_text() == "in use\n"
        assert set(answered.values()) <= {0}
        node.acknowledged |= {name: digests[name] for name in answered}
        node.start()
        check_start(node)
        node.check(study)
        # Sending it all again is answered as if nothing had been.
        again: dict[str, int] = {}
        store_by_peer(node, paths, again)
        assert again == dict.fromkeys(digests, 0)
        assert node.rows(study) == digests.keys()
        node.check(study)
        node.end(signal.SIGKILL)
    assert killed
    node.start()
    assert stored(node.store) == node.sent
    assert not quarantined(node.store)


class Senders:
    """Four senders, each of one study, who send again what was not answered until all of it is."""

    def __init__(self, node: KilledNode, first: int) -> None:
        self.answered: list[dict[str, int]] = [{} for _ in range(4)]
        self.ended = threading.Event()
        self._node = node
        self._threads = []
        for number in range(4):
            paths, _ = objects(node, first + number)
            self._threads.append(
                threading.Thread(target=self._run, args=(paths, self.answered[number]), daemon=True)
            )
        for thread in self._threads:
            thread.start()

    def _run(self, paths: list[Path], answered: dict[str, int]) -> None:
        names = {uid(int(path.parent.name), int(path.stem)): path for path in paths}
        while not self.ended.is_set() and (
            left := [path for name, path in names.items() if name not in answered]
        ):
            before = len(answered)
            store_by_peer(self._node, left, answered)
            if len(answered) == before:
                sleep(0.02)

    def have_begun(self) -> bool:
        return any(self.answered)

    @property
    def are_done(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)
        assert self.are_done


@pytest.mark.parametrize(
    ("moment", "when"),
    [
        ("a record is written", 60),
        ("the journal is flushed", 6),
        ("a file is placed", 45),
    ],
)
def test_each_worker_is_killed_at_a_system_call(node: KilledNode, moment: str, when: int) -> None:
    """X01 X21: The others go on, another comes in its place, and what it had acknowledged is found."""
    calls, _ = MOMENTS[moment]
    # The index is made by a process that nobody kills.
    node.start()
    node.end(signal.SIGTERM)
    assert node.start(workers=4, tracing=killing(calls, when))
    senders = Senders(node, 0)
    senders.join()
    # Files are placed behind the answers.
    wait_until(lambda: node.output.read_text().count("was ended by signal 9") >= 2, 20)
    for study, answered in enumerate(senders.answered):
        assert set(answered.values()) == {0}
        assert node.rows(study) == answered.keys()
    node.kill_all()
    node.start(workers=4)
    check_start(node)
    assert stored(node.store) == node.sent
    assert not quarantined(node.store)


@pytest.mark.parametrize("who", ["a worker", "all processes"])
def test_four_workers_are_killed_at_any_moment(node: KilledNode, who: str) -> None:
    """X01 X21."""
    chance = random.Random(who)
    for first in range(0, 12, 4):
        node.start(workers=4)
        senders = Senders(node, first)
        _, workers = workers_of(node.process, 4)
        wait_until(senders.have_begun, 20)
        sleep(chance.uniform(0, 0.4))
        if who == "a worker":
            os.kill(chance.choice(workers), signal.SIGKILL)
        else:
            senders.ended.set()
            node.kill_all()
        senders.join()
        for answered in senders.answered:
            assert set(answered.values()) <= {0}
            node.acknowledged |= {name: node.sent[name] for name in answered}
        if who == "a worker":
            for study, answered in enumerate(senders.answered, first):
                assert node.rows(study) == answered.keys()
            node.kill_all()
        node.start(workers=4)
        check_start(node)
        for study in range(first, first + 4):
            node.check(study)
        node.kill_all()
    node.start(workers=4)
    assert node.acknowledged.items() <= stored(node.store).items() <= node.sent.items()
    assert not quarantined(node.store)
