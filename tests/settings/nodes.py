"""Nodes that run with a configuration file."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support import dicomnet, running_process, wait_until

_READY = re.compile(r"listening on (.*)@(.*):(\d+), storing in (.*)\n")


@dataclass(frozen=True, slots=True)
class Configured:
    """A running node.

    Parameters
    ----------
    process
        Its first process.
    folder
        Where its file ``node.toml`` and what it says, ``output.txt``, are.
    title, host, port, store
        What it says when it is ready.
    """

    process: subprocess.Popen[bytes]
    folder: Path
    title: str
    host: str
    port: int
    store: str

    @property
    def address(self) -> str:
        """As a peer is written."""
        return f"{self.title}@{self.host}:{self.port}"

    @property
    def said(self) -> str:
        """What it has written up to now."""
        return (self.folder / "output.txt").read_text()

    def wait_for(self, words: str, count: int = 1) -> None:
        """Wait until it has written something, a number of times."""
        wait_until(lambda: self.said.count(words) >= count, 20, f"{words!r} is written")

    def end(self) -> int:
        """End it in order; its exit status."""
        self.process.terminate()
        return self.process.wait(30)


@contextlib.contextmanager
def configured(
    folder: Path, content: str, *options: str, port: bool = True, environment: dict[str, str] | None = None
) -> Iterator[Configured]:
    """A ``dicomnet serve`` with a file of this content, on any free port unless told else."""
    (folder / "node.toml").write_text(content)
    words = [*(("--port", "0") if port else ()), *options]
    output = folder / "output.txt"
    output.unlink(missing_ok=True)
    arguments = dicomnet("serve", "--config", "node.toml", *words)
    with running_process(arguments, folder, environment=environment) as process:

        def is_ready() -> bool:
            assert process.poll() is None, output.read_text()
            return _READY.search(output.read_text()) is not None

        wait_until(is_ready, 20, "dicomnet serve is ready")
        found = _READY.search(output.read_text())
        assert found is not None
        yield Configured(process, folder, found[1], found[2].strip("[]"), int(found[3]), found[4])
