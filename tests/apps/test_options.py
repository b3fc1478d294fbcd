"""The tools have the options of pynetdicom's, as its own help lists them."""

from __future__ import annotations

import re
from argparse import Namespace

import pytest
from tests.apps.tools import OURS, THEIRS, help_of, run

from dicomnet.apps import TOOLS
from dicomnet.apps.options import proposed

_DEFAULT = re.compile(r"default: ([\w-]+)|\(([\w-]+)\)$")


def defaults(found: dict[str, tuple[bool, str]]) -> dict[str, str]:
    """The defaults that are told."""
    told = {name: _DEFAULT.search(text) for name, (takes, text) in found.items() if takes}
    return {name: match[1] or match[2] for name, match in told.items() if match}


@pytest.mark.parametrize("tool", TOOLS)
def test_the_options_are_the_same(tool: str) -> None:
    ours, theirs = help_of(tool, OURS), help_of(tool, THEIRS)
    # What shows patients' data in the log is chosen on purpose, and has no counterpart.
    assert ours.pop("--log-identifiers")[0] is False
    assert {name: takes for name, (takes, _) in ours.items()} == {
        name: takes for name, (takes, _) in theirs.items()
    }
    known = defaults(theirs)
    assert {name: value for name, value in defaults(ours).items() if name in known} == known


def test_version() -> None:
    done = run("echoscu", "--version")
    assert done.stdout.startswith("echoscu of dicomnet ")
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("echoscu", (), "addr, port"),
        ("echoscu", ("127.0.0.1", "x"), "'x' is not a port"),
        ("echoscu", ("127.0.0.1", "104", "-q", "-v"), "not allowed with"),
        ("echoscu", ("127.0.0.1", "104", "-ll", "loud"), "invalid choice: 'loud'"),
        ("echoscu", ("127.0.0.1", "104", "-aet", "longer than 16 characters"), "-aet"),
        ("echoscu", ("127.0.0.1", "104", "-pdu", "-1"), "-pdu"),
        ("echoscp", ("104", "-xe", "-xi"), "not allowed with"),
        ("findscu", ("127.0.0.1", "104"), "-k or -f"),
        ("storescu", ("127.0.0.1", "104"), "path"),
    ],
)
def test_a_wrong_command_line_is_told_in_a_line(tool: str, arguments: tuple[str, ...], said: str) -> None:
    done = run(tool, *arguments)
    assert (done.stdout, done.returncode, done.stderr.count("\n")) == ("", 2, 1)
    assert done.stderr.startswith(f"{tool}: ")
    assert said in done.stderr


def test_long_options_may_be_shortened() -> None:
    assert "'x' is not a time" in run("echoscu", "127.0.0.1", "104", "--acse", "x").stderr


def test_explicit_vr_little_endian_is_proposed_first_as_pynetdicoms_tools_do() -> None:
    """Some peers choose the first one that they know."""
    assert proposed(Namespace(syntaxes=None)) == [
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1.99",
        "1.2.840.10008.1.2.2",
    ]
    assert proposed(Namespace(syntaxes=["1.2.840.10008.1.2"])) == ["1.2.840.10008.1.2"]
