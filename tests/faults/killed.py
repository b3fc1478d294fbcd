"""A node that is started and killed many times, with what it has acknowledged."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from tests.processes import children_of, is_alive, wait_for_the_end
from tests.support import PROMPT, digests_below, staged, wait_until

from dicomnet import Peer
from dicomnet.errors import AssociationAborted, DicomnetError, ServiceRefusal

from .objects import study_uid, uid

_READY = re.compile(rb"listening on .*:(\d+)")


@dataclass
class KilledNode:
    """A node that is started and killed, with what it has acknowledged."""

    folder: Path
    fork: Callable[[Sequence[str], Path, Sequence[str]], int]
    process: int = 0
    port: int = 0
    sent: dict[str, str] = field(default_factory=dict)
    acknowledged: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def output(self) -> Path:
        return self.folder / "output.txt"

    def start(self, workers: int = 1, tracing: Sequence[str] = ()) -> bool:
        """Start it; False if it was killed by strace, which has these options, if there are some."""
        self.output.unlink(missing_ok=True)
        arguments = ["serve", "--data", str(self.store), "--port", "0", "--workers", str(workers)]
        self.process = self.fork(arguments, self.output, tracing)
        ready: list[int] = []

        def is_ready() -> bool:
            found = _READY.search(self.output.read_bytes()) if self.output.exists() else None
            ready.extend([int(found[1])] if found else [])
            return bool(ready) or not self.is_alive()

        wait_until(is_ready, 30, "the node is ready")
        if not ready and tracing:
            return False
        assert ready, self.output.read_text()
        self.port = ready[0]
        return True

    def is_alive(self) -> bool:
        return Path(f"/proc/{self.process}").exists()

    def end(self, number: int) -> None:
        os.kill(self.process, number)
        wait_until(lambda: not self.is_alive(), 30, "the node is gone")

    def kill_all(self) -> None:
        """kill -9 of all its processes at once."""
        supervisors = children_of(self.process)
        workers = [worker for supervisor in supervisors for worker in children_of(supervisor)]
        os.killpg(self.process, signal.SIGKILL)
        wait_for_the_end([self.process, *supervisors, *workers])
        wait_until(lambda: not self.is_alive(), 30, "the node is gone")

    def files(self, study: int) -> dict[str, str]:
        """The objects of a study by their SOP Instance UIDs, with the digests of their data sets."""
        return {
            path.stem: value
            for folder in (self.store / "objects").glob(f"*/*/{study_uid(study)}")
            for path, value in digests_below(folder).items()
        }

    def rows(self, study: int) -> set[str]:
        """The objects of a study that a query finds.

        It is refused while a worker that was killed has what it had acknowledged, and lost if a worker is killed.
        """
        keys = {"StudyInstanceUID": study_uid(study), "SeriesInstanceUID": f"{study_uid(study)}.1"}
        found: list[set[str]] = []

        def has_found() -> bool:
            with contextlib.suppress(ServiceRefusal, AssociationAborted), self._peer() as peer:
                found.append({str(match.SOPInstanceUID) for match in peer.find("image", **keys)})
            return bool(found)

        wait_until(has_found, 60, "a query is answered")
        return found[0]

    def _peer(self) -> Peer:
        return Peer(f"127.0.0.1:{self.port}")

    def check(self, study: int) -> None:
        """What must hold after each fault, for the objects of the last round."""
        begin = monotonic()
        with Peer(f"127.0.0.1:{self.port}") as peer:
            peer.echo()
        assert monotonic() - begin < PROMPT
        rows, files = self.rows(study), self.files(study)
        assert rows == files.keys()
        assert files.items() <= self.sent.items()
        ours = {name for name in self.acknowledged if name.startswith(uid(study, 0)[:-7])}
        assert ours <= files.keys()
        assert not staged(self.store)


@contextlib.contextmanager
def killed_node(folder: Path) -> Iterator[KilledNode]:
    """A node that can be started and killed often."""
    script = Path(__file__).with_name("forking_node.py")
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as forker:

        def fork(arguments: Sequence[str], output: Path, tracing: Sequence[str]) -> int:
            assert forker.stdin is not None
            assert forker.stdout is not None
            forker.stdin.write(json.dumps([arguments, str(output), tracing]) + "\n")
            forker.stdin.flush()
            return int(forker.stdout.readline())

        killed = KilledNode(folder, fork)
        try:
            yield killed
        finally:
            if killed.process and is_alive(killed.process):
                killed.kill_all()


def store_by_peer(node: KilledNode, paths: list[Path], acknowledged: dict[str, int]) -> None:
    """Send by our Peer until the node is gone, and note what is answered."""
    with contextlib.suppress(DicomnetError), Peer(f"127.0.0.1:{node.port}", retries=0) as peer:
        for result in peer.store(paths):
            if result.status is not None:
                acknowledged[result.sop_instance_uid] = result.status
