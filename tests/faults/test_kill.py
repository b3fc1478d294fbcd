"""kill -9 of a storing node: nothing acknowledged is lost, nothing is there by half, the next start is clean."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest
from tests.processes import workers_of
from tests.support import (
    TOOL_ENVIRONMENT,
    data_set_of,
    digest,
    quarantined,
    stored,
    tool,
    wait_until,
)

from .killed import KilledNode, killed_node, store_by_peer
from .objects import uid, write_objects


@pytest.fixture
def node(tmp_path: Path) -> Iterator[KilledNode]:
    with killed_node(tmp_path) as killed:
        yield killed


def store_by_dcmtk(node: KilledNode, paths: list[Path], acknowledged: dict[str, int]) -> None:
    """Send by DCMTK's storescu."""
    arguments = [tool("storescu"), "-v", "-R", "127.0.0.1", str(node.port), *map(str, paths)]
    done = subprocess.run(
        arguments, capture_output=True, text=True, env=TOOL_ENVIRONMENT, timeout=60, check=False
    )
    answers = re.findall(r"Received Store Response \((.*)\)", done.stdout + done.stderr)
    for path, answer in zip(paths, answers, strict=False):
        assert answer == "Success"
        acknowledged[uid(int(path.parent.name), int(path.stem))] = 0


def await_first(answered: dict[str, int], sender: threading.Thread, seconds: float) -> None:
    """Wait for the first answer; DCMTK's tool tells of it only at its end."""
    end = monotonic() + seconds
    while not answered and sender.is_alive() and monotonic() < end:
        sleep(0.001)


SENDERS = (store_by_peer, store_by_peer, store_by_dcmtk)


def test_kill_at_50_moments(node: KilledNode) -> None:
    """X01."""
    chance = random.Random(20261121)
    in_the_middle = 0
    for study in range(50):
        folder = node.folder / "objects" / str(study)
        paths = write_objects(folder, study, 150)
        paths[20:20] = write_objects(folder, study, 3, 3 << 20, first=1001)
        digests = {uid(study, int(path.stem)): digest(data_set_of(path)) for path in paths}
        node.sent |= digests
        node.start(workers=1 + study % 2)
        answered: dict[str, int] = {}
        sender = threading.Thread(
            target=SENDERS[study % len(SENDERS)], args=(node, paths, answered), daemon=True
        )
        sender.start()
        if study % 5:
            # Wherever the first answer comes in time, most of these fall between it and the last.
            await_first(answered, sender, seconds=0 if SENDERS[study % 3] is store_by_dcmtk else 10)
        sleep(chance.uniform(0, 0.12))
        node.end(signal.SIGKILL)
        sender.join(20)
        assert not sender.is_alive()
        assert set(answered.values()) <= {0}
        node.acknowledged |= {name: digests[name] for name in answered}
        in_the_middle += 0 < len(answered) < len(paths)
        node.start()
        node.check(study)
        if study % 10 == 0:
            # Sending it all again is answered as if nothing had been.
            again: dict[str, int] = {}
            store_by_peer(node, paths, again)
            assert again == dict.fromkeys(digests, 0)
            node.acknowledged |= digests
            node.check(study)
        node.end(signal.SIGKILL)
    assert in_the_middle >= 10
    node.start()
    objects = stored(node.store)
    assert node.acknowledged.items() <= objects.items() <= node.sent.items()
    assert not quarantined(node.store)
    for study in range(50):
        node.check(study)
    node.end(signal.SIGTERM)


def test_60000_acknowledged_objects(node: KilledNode, record_property: Callable[[str, object], None]) -> None:
    """X01: Four workers, of which one or all are killed every second or so, until so many have been acknowledged."""
    chance = random.Random(60_000)
    count, of_each, kills = 60_000, 1_000, 0
    left: dict[int, list[Path]] = {}
    for study in range(count // of_each):
        paths = write_objects(node.folder / "objects" / str(study), study, of_each)
        node.sent |= {uid(study, int(path.stem)): digest(data_set_of(path)) for path in paths}
        left[study] = paths
    while left:
        node.start(workers=4)
        _, workers = workers_of(node.process, 4)
        answered: dict[int, dict[str, int]] = {study: {} for study in list(left)[:4]}
        senders = [
            threading.Thread(target=store_by_peer, args=(node, left[study], found), daemon=True)
            for study, found in answered.items()
        ]
        for sender in senders:
            sender.start()
        end = monotonic() + chance.uniform(0.3, 3.0)
        while monotonic() < end and any(sender.is_alive() for sender in senders):
            if chance.random() < 0.01:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chance.choice(workers), signal.SIGKILL)
                kills += 1
            sleep(0.01)
        node.kill_all()
        kills += 1
        for sender in senders:
            sender.join(30)
            assert not sender.is_alive()
        for study, found in answered.items():
            assert set(found.values()) <= {0}
            node.acknowledged |= {name: node.sent[name] for name in found}
            left[study] = [path for path in left[study] if uid(study, int(path.stem)) not in found]
            if not left[study]:
                del left[study]
    begin = monotonic()
    node.start(workers=4)
    record_property("kills", kills)
    record_property("seconds of the last start", round(monotonic() - begin, 2))
    for study in range(count // of_each):
        assert len(node.rows(study)) == of_each
    assert node.acknowledged == node.sent == stored(node.store)
    assert not quarantined(node.store)
    print(f"{count} acknowledged, {kills} kills, last start {monotonic() - begin:.2f} s with the check")
    node.end(signal.SIGTERM)


def test_a_killed_node_leaves_no_lock(node: KilledNode) -> None:
    """X28: The next one starts though nobody let go, and a third is refused while that runs."""
    node.start()
    node.end(signal.SIGKILL)
    node.start()
    output = node.folder / "second.txt"
    second = node.fork(["serve", "--data", str(node.store), "--port", "0"], output, ())
    wait_until(lambda: not Path(f"/proc/{second}").exists(), 10, "the second node has ended")
    assert "listening" not in output.read_text()
    assert "another process" in output.read_text()
    node.check(0)
    node.end(signal.SIGTERM)
