"""kill -9 of a storing node: nothing acknowledged is lost, nothing is there by half, the next start is clean."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import pytest
from tests.support import (
    TOOL_ENVIRONMENT,
    data_set_of,
    digest,
    digests_below,
    quarantined,
    staged,
    stored,
    tool,
    wait_until,
)

from dicomnet import Peer
from dicomnet.errors import DicomnetError

from .objects import study_uid, uid, write_objects

_READY = re.compile(rb"listening on .*:(\d+)")


@dataclass
class KilledNode:
    """A node that is started and killed, with what it has acknowledged."""

    folder: Path
    fork: Callable[[list[str], Path], int]
    process: int = 0
    port: int = 0
    sent: dict[str, str] = field(default_factory=dict)
    acknowledged: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def start(self, workers: int = 1) -> None:
        output = self.folder / "output.txt"
        output.unlink(missing_ok=True)
        arguments = ["serve", "--data", str(self.store), "--port", "0", "--workers", str(workers)]
        self.process = self.fork(arguments, output)
        ready: list[int] = []

        def is_ready() -> bool:
            found = _READY.search(output.read_bytes()) if output.exists() else None
            ready.extend([int(found[1])] if found else [])
            return bool(ready) or not self.is_alive()

        wait_until(is_ready, 20, "the node is ready")
        assert ready, output.read_text()
        self.port = ready[0]

    def is_alive(self) -> bool:
        return Path(f"/proc/{self.process}").exists()

    def end(self, number: int) -> None:
        os.kill(self.process, number)
        wait_until(lambda: not self.is_alive(), 20, "the node is gone")

    def check(self, study: int) -> None:
        """What must hold after each fault, for the objects of the last round."""
        begin = monotonic()
        with Peer(f"127.0.0.1:{self.port}") as peer:
            peer.echo()
            assert monotonic() - begin < 1
            rows = {
                str(match.SOPInstanceUID)
                for match in peer.find(
                    "image", StudyInstanceUID=study_uid(study), SeriesInstanceUID=study_uid(study) + ".1"
                )
            }
        files = {
            path.stem: value
            for folder in (self.store / "objects").glob(f"*/*/{study_uid(study)}")
            for path, value in digests_below(folder).items()
        }
        assert rows == files.keys()
        assert files.items() <= self.sent.items()
        ours = {name for name in self.acknowledged if name.startswith(uid(study, 0)[:-7])}
        assert ours <= files.keys()
        assert not staged(self.store)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[KilledNode]:
    """A node that can be killed often."""
    script = Path(__file__).with_name("forking_node.py")
    with contextlib.ExitStack() as stack:
        forker = stack.enter_context(
            subprocess.Popen(
                [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )

        def fork(arguments: list[str], output: Path) -> int:
            assert forker.stdin is not None
            assert forker.stdout is not None
            forker.stdin.write(json.dumps([arguments, str(output)]) + "\n")
            forker.stdin.flush()
            return int(forker.stdout.readline())

        killed = KilledNode(tmp_path, fork)
        try:
            yield killed
        finally:
            if killed.process and killed.is_alive():
                killed.end(signal.SIGKILL)


def store_by_peer(node: KilledNode, paths: list[Path], acknowledged: dict[str, int]) -> None:
    """Send by our Peer until the node is gone, and note what is answered."""
    with contextlib.suppress(DicomnetError), Peer(f"127.0.0.1:{node.port}", retries=0) as peer:
        for result in peer.store(paths):
            if result.status is not None:
                acknowledged[result.sop_instance_uid] = result.status


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
    second = node.fork(["serve", "--data", str(node.store), "--port", "0"], output)
    wait_until(lambda: not Path(f"/proc/{second}").exists(), 10, "the second node has ended")
    assert "listening" not in output.read_text()
    assert "another process" in output.read_text()
    node.check(0)
    node.end(signal.SIGTERM)
