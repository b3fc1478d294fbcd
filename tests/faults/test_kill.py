"""kill -9 of a storing node: nothing acknowledged is lost, nothing is there by half, the next start is clean."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest
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
