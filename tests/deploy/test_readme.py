"""README.md: what it has a new user type is typed here, and says what it says there."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import free_port

from .reader import Reader
from .written import ROOT, all_blocks

PAGE = "README.md"
BLOCKS = all_blocks(PAGE)
ACTIVATE = ". .venv/bin/activate"


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    port = free_port()
    with Reader(tmp_path, {"11112": str(port), "python ": f"{shlex.quote(sys.executable)} "}, {}) as found:
        # What `make run` does.
        (command,) = re.findall(
            r"^run: setup\n\t\$\(BIN\)/(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE
        )
        found.start(command.replace("$(DATA)", "data").replace("$(PORT)", str(port)), port)
        yield found


def _steps(block: str) -> Iterator[tuple[str, str]]:
    """Each command of a block, and what it is to write."""
    for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = step.partition("\n")
        yield command, output


def _masked(text: str) -> str:
    """Without what depends on the machine: times and rates."""
    return re.sub(r"\d+\.\d+ (ms|MB/s|s)|\d+ objects/s", "", text)


def test_a_first_study_and_the_library(reader: Reader) -> None:
    study = next(block for _, block in BLOCKS if ACTIVATE in block)
    steps = list(_steps(study))
    assert steps[0] == (ACTIVATE, "")
    for command, output in steps[1:]:
        written = reader.type(command)
        if " find " in command:
            # A table on a terminal, and lines of JSON elsewhere.
            words = [line.split()[0] for line in output.splitlines() if "^" in line]
            assert len(words) == len(written.splitlines()) == 2
            assert all(word in written for word in words)
        else:
            assert _masked(written) == _masked(reader.here(output))
    at = [language for language, _ in BLOCKS].index("python")
    (reader.folder / "program.py").write_text(reader.here(BLOCKS[at][1]))
    assert reader.type("python program.py") == BLOCKS[at + 1][1]
