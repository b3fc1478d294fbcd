"""What is written in `deploy/` and in the manual: units, blocks of code, and the commands in them."""

from __future__ import annotations

import re
import shlex
from argparse import Namespace
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from dicomnet.cli.arguments import Parser, add_output_options
from dicomnet.cli.main import _MODULES, COMMANDS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def parsed(command: str) -> tuple[str, Namespace]:
    """The name and the options of a line with `dicomnet` in it, read by the command's own parser."""
    words = shlex.split(command, comments=True)
    name, *rest = words[[word.rpartition("/")[2] for word in words].index("dicomnet") + 1 :]
    parser = Parser(f"dicomnet {name}", COMMANDS[name], "")
    import_module(f"dicomnet.cli.{_MODULES.get(name, name)}").configure(parser)
    add_output_options(parser)
    return name, parser.parse(rest)


def unit(path: Path) -> dict[str, dict[str, list[str]]]:
    """The sections of a unit of systemd, each with all values of each key in their order."""
    sections: dict[str, dict[str, list[str]]] = {}
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return sections


def all_blocks(page: str) -> list[tuple[str, str]]:
    """The blocks of code of a page, each with its language, which may be empty."""
    return _BLOCK.findall((ROOT / page).read_text())


def inline(page: str) -> list[str]:
    """What a page has between backticks in its text, each in a line."""
    found = re.findall(r"`([^`]+)`", _BLOCK.sub("", (ROOT / page).read_text()))
    return [" ".join(each.split()) for each in found]


def commands(block: str) -> Iterator[str]:
    """The lines of a block for a shell, with what a backslash at the end continues; comments are left out."""
    for line in block.replace("\\\n", " ").splitlines():
        if line and not line.startswith("#"):
            yield line.removeprefix("$ ")
