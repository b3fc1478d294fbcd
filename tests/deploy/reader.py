"""Who does what a page of the manual has one type: with other ports, and in a folder of a test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from tests.support import is_listening, wait_until


class Reader:
    """Who does what a page says, in a folder.

    Parameters
    ----------
    folder
        Where all is typed.
    words
        What words of the page are on this machine, such as its ports.
    variables
        Of the environment, besides those that there are.
    """

    def __init__(self, folder: Path, words: Mapping[str, str], variables: Mapping[str, str]) -> None:
        self.folder = folder
        self.said = ""
        programs = folder / "bin"
        programs.mkdir()
        (programs / "dicomnet").write_text(f'#!/bin/sh\nexec {sys.executable} -m dicomnet "$@"\n')
        # What it is told as another user, it does as its own.
        (programs / "sudo").write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
        for program in programs.iterdir():
            program.chmod(0o755)
        self._environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "TCP_NODELAY": "1",
            **variables,
        }
        self._words = words
        self._running = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End what runs in terminals of its own, as by Ctrl-C."""
        self._running.close()

    def here(self, text: str) -> str:
        """What a block says, on this machine."""
        for word, ours in self._words.items():
            text = text.replace(word, ours)
        return text

    def type(self, block: str) -> str:
        """Do what a block for a shell says; what it writes."""
        done = subprocess.run(
            ["bash", "-e", "-c", self.here(block)],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}"
        self.said += done.stdout
        return done.stdout

    def start(self, block: str, port: int) -> None:
        """Do what a block says in a terminal of its own, and wait until something listens on a port."""
        self._running.enter_context(self._apart(block))
        wait_until(lambda: is_listening(port), 30, f"{port} listens")

    @contextmanager
    def _apart(self, block: str) -> Iterator[None]:
        with (self.folder / "apart.txt").open("ab") as output:
            process = subprocess.Popen(
                ["bash", "-e", "-c", self.here(block)],
                cwd=self.folder,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
