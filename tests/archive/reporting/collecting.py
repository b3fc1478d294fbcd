"""A syslog server in a process of its own, and what it has collected."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.sockets import Certificates
from tests.support import free_port


def patients(path: Path) -> list[int]:
    """The numbers in the Patient IDs of the messages in a file."""
    if not path.exists():
        return []
    return [int(each) for each in re.findall(rb'ParticipantObjectID="P(\d+)"', path.read_bytes())]


class Collector:
    """A syslog server in a process of its own, which can be killed and started again."""

    def __init__(self, certificates: Certificates, path: Path) -> None:
        self.path = path
        self.port = free_port()
        self.certificates = certificates
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        made = self.certificates
        program = Path(__file__).with_name("collector.py")
        files = map(str, (made.certificate, made.key, made.authority, self.path))
        self.process = subprocess.Popen(
            [sys.executable, str(program), str(self.port), *files], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "listening\n"

    def kill(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.communicate()
