"""Running the tools, ours and those of pynetdicom, whose names and options they have."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pydicom
from pynetdicom import AE as ForeignAE  # noqa: N811
from pynetdicom import (
    ALL_TRANSFER_SYNTAXES,
    AllStoragePresentationContexts,
    QueryRetrievePresentationContexts,
    StoragePresentationContexts,
)
from tests.sockets import VERIFICATION
from tests.support import free_port, is_listening, run_tool, running_process, wait_until

TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
CT = TEST_FILES / "CT_small.dcm"
MR = TEST_FILES / "MR_small.dcm"
JPEG_2000 = TEST_FILES / "JPEG2000.dcm"
RT_PLAN = TEST_FILES / "rtplan.dcm"

MODALITY_WORKLIST = "1.2.840.10008.5.1.4.31"

OURS, THEIRS = "dicomnet", "pynetdicom"
PACKAGES = (OURS, THEIRS)
Arguments = str | os.PathLike[str]


def command(package: str, tool: str, *arguments: Arguments) -> list[str]:
    """The command line of a tool."""
    return [sys.executable, "-m", package, tool, *(os.fspath(each) for each in arguments)]


def run(
    tool: str, *arguments: Arguments, package: str = OURS, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end."""
    return run_tool(command(package, tool, *arguments), cwd=cwd)


@contextlib.contextmanager
def running_scp(folder: Path, tool: str, *arguments: Arguments, package: str = OURS) -> Iterator[int]:
    """A tool that listens; gives its port. What it says is in ``output.txt`` of the folder."""
    port = free_port()
    where = ["--port", str(port)] if tool == "qrscp" else [str(port)]
    with running_process(command(package, tool, *arguments, "-ba", "127.0.0.1", *where), folder) as process:

        def is_ready() -> bool:
            assert process.poll() is None, (folder / "output.txt").read_text()
            return is_listening(port)

        wait_until(is_ready, 20, f"{tool} listens")
        yield port
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def foreign_scp(handlers: Sequence[Any] = (), *, title: str = "") -> Iterator[int]:
    """An AE of pynetdicom in this process that supports all there is; gives its port."""
    ae = ForeignAE(title or "FOREIGN")
    ae.require_called_aet = bool(title)
    for context in [*AllStoragePresentationContexts, *QueryRetrievePresentationContexts]:
        ae.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
    for uid in (VERIFICATION, MODALITY_WORKLIST):
        ae.add_supported_context(uid)
    # For sub-operations of C-MOVE.
    ae.requested_contexts = StoragePresentationContexts
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=list(handlers))
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


_ENTRY = re.compile(r"^  (-\S.*?|\w+)(?:  +(.*))?$")
_FLAG = re.compile(r"(?:^|, )(-{1,2}[\w=][\w=-]*)")


def help_of(tool: str, package: str) -> dict[str, tuple[bool, str]]:
    """What the help of a tool lists, by the longest flag: whether it takes a value, and what is said of it."""
    done = subprocess.run(
        command(package, tool, "--help"),
        env={**os.environ, "COLUMNS": "500"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: dict[str, tuple[bool, str]] = {}
    name = ""
    for line in done.stdout.partition("\noptions:")[2].partition("\nexamples:")[0].splitlines():
        match = _ENTRY.match(line)
        if match is not None:
            flags = _FLAG.findall(match[1])
            rest = _FLAG.sub("", match[1]).strip()
            for name in flags or [match[1]]:
                found[name] = (bool(flags and rest), match[2] or "")
        elif name and line.strip():
            for flag in flags:
                found[flag] = (found[flag][0], line.strip())
    return found
