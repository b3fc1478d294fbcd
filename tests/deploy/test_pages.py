"""The manual's pages for who runs a node: their commands are the command's own, and their configuration is right."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from dicomnet.settings.reading import read

from .written import DEPLOY, ROOT, all_blocks, commands, inline, parsed

PAGES = [
    "README.md",
    "docs/archive.md",
    "docs/backing-up.md",
    "docs/configuration.md",
    "docs/department.md",
    "docs/install.md",
    "docs/moving.md",
    "docs/upgrading.md",
    "docs/watching.md",
]
# The command where it is one, and not an account, a folder, a unit or a container; with its arguments.
_COMMAND = re.compile(
    r"(?:^|[|&;(] *|\bdo |\bexec (?:node|dicomnet) |\bsudo -u \w+ |  dicomnet  )"
    r"((?:/\S*/)?dicomnet [a-z]+ [^|&;)>]+)"
)
# What stands for a value in a page.
_STANDS_FOR = {
    "$peer": "PEER@host:1",
    "$study": "1.2.3",
    "NODE@host:port": "NODE@host:11112",
    "PEER -k": "PEER@host:1 -k",
}


def _written(page: str) -> list[str]:
    """The commands in the blocks and tables of a page."""
    lines = [
        line for language, block in all_blocks(page) if language in ("", "sh") for line in commands(block)
    ]
    lines += inline(page)
    found = []
    for line in lines:
        for word, value in _STANDS_FOR.items():
            line = line.replace(word, value)
        found += _COMMAND.findall(line.removeprefix("ExecStart="))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_are_real(page: str) -> None:
    found = _written(page)
    names = [parsed(line)[0] for line in found]
    assert names
    if page == "docs/install.md":
        assert names == ["check", "check", "backup"]


@pytest.mark.parametrize("page", PAGES)
def test_the_configuration_of_a_page_is_right(page: str, tmp_path: Path) -> None:
    for number, (language, block) in enumerate(all_blocks(page)):
        if language == "toml":
            path = tmp_path / f"{number}.toml"
            path.write_text(block)
            tomllib.loads(block)
            read(path, {})


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_of_deploy_is_there(page: str) -> None:
    named = set(re.findall(r"\bdeploy/([\w.-]+)", (ROOT / page).read_text())) - {".env"}
    assert named <= {path.name for path in DEPLOY.iterdir()}
