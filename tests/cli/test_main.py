"""The command as a whole: help, usage, what it loads, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.command import complaint, run
from tests.cli.conftest import CT, StartPeer
from tests.support import dicomnet as command_line

import dicomnet
from dicomnet import evt
from dicomnet.cli.main import COMMANDS, parser_of

NOBODY = "127.0.0.1:1"


def test_version() -> None:
    result = run("--version")
    assert (result.stdout, result.returncode) == (f"dicomnet {dicomnet.__version__}\n", 0)


def test_help_names_every_command_and_the_exit_status() -> None:
    result = run("--help")
    assert result.returncode == 0
    for command, summary in COMMANDS.items():
        assert f"  {command} " in result.stdout
        assert summary in result.stdout
    assert "exit status:\n  0 " in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_with_an_example(command: str) -> None:
    result = run(command, "--help")
    assert (result.stderr, result.returncode) == ("", 0)
    assert result.stdout.startswith(f"usage: dicomnet {command}")
    assert f"examples:\n  dicomnet {command} " in result.stdout
    # A screen: half of one of today's, or a window with large letters.
    lines = result.stdout.splitlines()
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 110
    whole = run(command, "--help-all").stdout
    assert "exit status:\n  0 " in whole
    # Of all options there is a name at least.
    named = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", result.stdout)) | {"--help", "--help-all"}
    for action in parser_of(command)._actions:
        assert not action.option_strings or named.intersection(action.option_strings)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], ", ".join(COMMANDS)),
        (["bogus"], "'bogus'"),
        (["--bogus"], "--bogus"),
        (["echo"], "PEER"),
        (["echo", NOBODY, "--bogus"], "--bogus"),
        (["echo", NOBODY, "--tim", "3"], "--tim"),
        (["echo", "host"], "'host'"),
        (["echo", "host:"], "'host:'"),
        (["echo", "host:0"], "'host:0'"),
        (["echo", "host:65536"], "'host:65536'"),
        (["echo", "::1:104"], "brackets"),
        (["echo", "A_TITLE_THAT_IS_TOO_LONG@host:104"], "A_TITLE_THAT_IS_TOO_LONG"),
        (["echo", NOBODY, "--calling", "A\\B"], "backslash"),
        (["echo", NOBODY, "-aec", ""], "AE title"),
        (["echo", NOBODY, "--timeout", "soon"], "'soon'"),
        (["echo", NOBODY, "-td", "-1"], "-1"),
        (["echo", NOBODY, "--timeout", "nan"], "'nan'"),
        (["echo", NOBODY, "--repeat", "0"], "'0'"),
        (["echo", NOBODY, "-q", "-v"], "not allowed"),
        (["echo", NOBODY, "--tls-key", "key.pem"], "--tls-cert"),
        (["echo", NOBODY, "--tls-ca", "/nowhere/ca.pem"], "--tls-ca"),
        (["echo", NOBODY, "--tls-cert", __file__], "--tls-cert"),
        (["store", NOBODY], "PATH"),
        (["get", NOBODY, "--to"], "--to"),
        (["find", NOBODY, "--level", "frame"], "'frame'"),
        (["find", NOBODY, "--limit", "x"], "'x'"),
        (["serve", "--port", "65536"], "'65536'"),
        (["serve", "--port", "http"], "'http'"),
        (["receive"], "DIR"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(arguments: list[str], named: str) -> None:
    assert named in complaint(run(*arguments), 2)


def test_what_a_wrong_argument_holds_does_not_steer_the_terminal() -> None:
    assert "\x1b" not in complaint(run("\x1b[2J"), 2)


def loaded_by(*arguments: str) -> set[str]:
    """The modules that a run of the command imports, as the interpreter itself tells."""
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "dicomnet", *arguments],
        # The tests' own variable is one of the configuration, which then is loaded.
        env={name: value for name, value in os.environ.items() if not name.startswith("DICOMNET_")},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return {line.rpartition("|")[2].strip() for line in result.stderr.splitlines() if "|" in line}


@pytest.mark.parametrize("command", ["echo", "store"])
def test_a_requestor_starts_without_what_is_slow(command: str, start_peer: StartPeer) -> None:
    port = start_peer([(evt.EVT_C_STORE, lambda event: 0x0000)])
    arguments = [str(CT)] if command == "store" else []
    loaded = loaded_by(command, f"127.0.0.1:{port}", *arguments)
    assert "dicomnet.blocking.peer" in loaded
    slow = {"pydicom", "numpy", "rich", "asyncio", "sqlalchemy", "email", "http", "json", "shutil", "tomllib"}
    assert loaded.isdisjoint(slow | ({"pathlib"} if command == "echo" else set()))
    assert not [name for name in loaded if name.startswith("dicomnet.archive")]


def test_help_starts_without_the_network() -> None:
    assert loaded_by("echo", "--help").isdisjoint(
        {"dicomnet.blocking.peer", "dicomnet.exchange.contexts", "ssl", "socket"}
    )


def test_an_interrupted_command_says_so() -> None:
    """The peer accepts the connection and stays mute, so the command waits for it when the signal comes."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        peer = f"127.0.0.1:{mute.getsockname()[1]}"
        with subprocess.Popen(
            command_line("echo", peer), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            connection, _ = mute.accept()
            with connection:
                assert connection.recv(10), "the association request has been sent"
                process.send_signal(signal.SIGINT)
                written, complained = process.communicate(timeout=20)
    assert (written, complained, process.returncode) == ("", "dicomnet echo: interrupted\n", 130)


def test_a_reader_that_leaves_ends_the_command_quietly(start_peer: StartPeer) -> None:
    peer = f"127.0.0.1:{start_peer()}"
    with subprocess.Popen(
        command_line("echo", peer, "--repeat", "20000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "answered in" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(20) == 141


def test_a_terminal_without_the_characters_is_no_error() -> None:
    missing = "f\u00fcr \udcff"
    result = subprocess.run(
        command_line("store", NOBODY, missing),
        capture_output=True,
        timeout=60,
        env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"},
        check=False,
    )
    assert result.stderr == b"failed: f\\xfcr \\udcff: cannot be read: No such file or directory\n"
    assert result.returncode == 1


MANUAL = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
_HELP = re.compile(r"```\n(usage: dicomnet (\S+) .*?)\n```", re.DOTALL)


@pytest.mark.parametrize(("shown", "command"), _HELP.findall(MANUAL), ids=lambda each: each.split()[0])
def test_the_manual_shows_the_options_of_a_command(shown: str, command: str) -> None:
    """The manual lacked an option that two commands had. How Python breaks the lines is another matter."""
    option = re.compile(r"(?<![\w-])--?[a-zA-Z][\w-]*")
    assert set(option.findall(shown)) == set(option.findall(run(command, "--help-all").stdout))


def test_the_manual_shows_all_commands() -> None:
    assert {command for _, command in _HELP.findall(MANUAL)} == set(COMMANDS)
