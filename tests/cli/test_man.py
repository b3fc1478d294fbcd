"""`dicomnet man`: pages that mandoc and man read, with all that the help of each command says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.cli.command import complaint, run
from tests.support import tool

from dicomnet.cli.main import COMMANDS, parser_of
from dicomnet.cli.man import page_of

# mandoc would have a date in each page, which then would be another one with each day.
_DATE = 'missing date, using "": TH'


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_mandoc_finds_nothing(command: str | None) -> None:
    result = subprocess.run(
        [tool("mandoc"), "-T", "lint", "-W", "warning"],
        input=page_of(command),
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = (result.stdout + result.stderr).splitlines()
    assert [line for line in found if not line.endswith(_DATE)] == []


def shown(page: str) -> str:
    """A page as mandoc shows it, without breaks of lines."""
    text = subprocess.run(
        [tool("mandoc"), "-T", "utf8", "-O", "width=200"],
        input=page,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    return " ".join(re.sub(r".\x08", "", text).split())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_page_says_what_the_help_says(command: str) -> None:
    page = shown(page_of(command))
    parser = parser_of(command)
    assert page.startswith(f"DICOMNET-{command.upper()}(1)")
    assert COMMANDS[command] in page
    help_text = run(command, "--help-all").stdout
    for option in set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", help_text)):
        assert option in page
    for words in (parser.description or "", *parser.examples):
        assert " ".join(words.split()) in page


def test_all_pages_are_written(tmp_path: Path) -> None:
    folder = tmp_path / "share" / "man1"
    result = run("man", "--to", folder)
    assert (result.stdout, result.returncode) == (f"wrote {len(COMMANDS) + 1} pages\n", 0)
    assert {each.name for each in folder.iterdir()} == {
        "dicomnet.1",
        *(f"dicomnet-{each}.1" for each in COMMANDS),
    }
    assert (folder / "dicomnet-store.1").read_text() == run("man", "store").stdout == page_of("store")
    overview = shown((folder / "dicomnet.1").read_text())
    assert [each for each in COMMANDS if f"dicomnet-{each}(1) {COMMANDS[each]}" not in overview] == []


def test_what_cannot_be() -> None:
    assert "'nothing'" in complaint(run("man", "nothing"), 2)
    assert "--to" in complaint(run("man", "store", "--to", "x"), 2)
