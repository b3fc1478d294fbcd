"""Several processes answer on one port; one that is lost is replaced, and all end together."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.cli.command import run
from tests.cli.conftest import CT
from tests.support import ServedNode, serving, wait_until


def _url(node: ServedNode) -> str:
    output = node.store.parent / "output.txt"

    def is_said() -> bool:
        return re.search(r"DICOMweb: .*\n", output.read_text()) is not None

    wait_until(is_said, 20, "it says where DICOMweb is")
    found = re.search(r"DICOMweb: (http://.*)\n", output.read_text())
    assert found is not None
    return found[1]


def _studies(url: str) -> int:
    """How many studies are found, on a connection of its own."""
    with urlopen(f"{url}/studies", timeout=20) as response:
        return len(json.loads(response.read() or b"[]"))


def _children(process: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_workers_answer_and_are_replaced(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2", "--http", "0") as node:
        url = _url(node)
        assert run("store", node.address, CT).returncode == 0
        # Whoever answers knows what another one has acknowledged.
        assert [_studies(url) for _ in range(20)] == [1] * 20
        (supervisor,) = _children(node.process.pid)
        workers = _children(supervisor)
        assert len(workers) == 2
        for worker in workers:
            os.kill(worker, signal.SIGKILL)

        def is_answered() -> bool:
            try:
                return _studies(url) == 1
            except (URLError, ConnectionError):
                return False

        wait_until(is_answered, 20, "other workers answer")
        node.end()


def test_a_node_without_an_index_has_no_dicomweb(tmp_path: Path) -> None:
    with serving(tmp_path, command="receive") as node:
        node.end()
    assert "DICOMweb" not in (tmp_path / "output.txt").read_text()
