"""Running the command: with pipes, and on a pseudo-terminal."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support import dicomnet, run_tool

# Runs the command as if rich were not installed.
WITHOUT_RICH = "import sys; sys.modules['rich'] = None; from dicomnet.cli.main import main; sys.exit(main())"

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def run(*arguments: str | os.PathLike[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return run_tool(dicomnet(*arguments), cwd=cwd)


def complaint(result: subprocess.CompletedProcess[str], status: int) -> str:
    """The one line that a command which failed has to say, and nothing else."""
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.returncode == status
    assert "Traceback" not in result.stderr
    return result.stderr.strip()


@dataclass(frozen=True, slots=True)
class Screen:
    """What a command left on a terminal.

    Parameters
    ----------
    raw
        All that it wrote.
    returncode
        Its exit status.
    """

    raw: str
    returncode: int

    @property
    def text(self) -> str:
        """Without colours and movements."""
        return _ESCAPES.sub("", self.raw).replace("\r\n", "\n")


def run_on_terminal(
    *arguments: str | os.PathLike[str], rich: bool = True, columns: int = 200, types: str = ""
) -> Screen:
    """Run the command to its end on a terminal, on which somebody types something."""
    command: Sequence[str] = dicomnet(*arguments)
    if not rich:
        command = [sys.executable, "-c", WITHOUT_RICH, *(os.fspath(each) for each in arguments)]
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        os.write(master, types.encode())
        written = b""
        while True:
            try:
                more = os.read(master, 65536)
            except OSError as error:
                # Linux says so when the last writer has gone.
                if error.errno != errno.EIO:
                    raise
                break
            if not more:
                break
            written += more
        os.close(master)
    return Screen(written.decode(), process.returncode)
