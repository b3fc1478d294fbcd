"""`dicomnet completion`: what bash, zsh and fish themselves make of a line when Tab is pressed."""

from __future__ import annotations

import errno
import os
import pty
import re
import select
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest
from tests.cli.command import complaint, run
from tests.support import tool

from dicomnet.cli.completion import candidates
from dicomnet.cli.main import COMMANDS

_ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|[\r\a]")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the command in `bin`, remotes in `config.toml`, and a file and a folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "dicomnet"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m dicomnet "$@"\n')
    command.chmod(0o755)
    (tmp_path / "config.toml").write_text(
        '[remotes.northpacs]\nhost = "10.0.0.5"\nport = 104\n[remotes.southpacs]\nhost = "10.0.0.6"\nport = 104\n'
    )
    (tmp_path / "image-of-a-hand.dcm").touch()
    (tmp_path / "incoming-of-today").mkdir()
    return tmp_path


def environment_of(place: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
        "DICOMNET_CONFIG": str(place / "config.toml"),
        "HOME": str(place),
        "TERM": "xterm",
        "PS1": "ready> ",
    }


class Terminal:
    """A shell on a terminal."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._shown = b""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait_for(self, text: str) -> None:
        """Wait until a text has been shown since the last one that was waited for."""
        end = monotonic() + 20
        while text.encode() not in _ESCAPES.sub(b"", self._shown):
            assert select.select([self._master], [], [], max(0, end - monotonic()))[0], self._shown
            try:
                more = os.read(self._master, 65536)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                more = b""
            assert more, self._shown
            self._shown += more
        self._shown = _ESCAPES.sub(b"", self._shown).partition(text.encode())[2]


@contextmanager
def terminal(place: Path, *command: str) -> Iterator[Terminal]:
    master, slave = pty.openpty()
    with subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=place,
        env=environment_of(place),
        start_new_session=True,
    ) as process:
        os.close(slave)
        try:
            yield Terminal(master)
        finally:
            process.kill()
            os.close(master)


# What is typed before Tab, and what the line becomes.
LINES = {
    "a command": ("dicomnet wat", "dicomnet watch "),
    "an option": ("dicomnet store --dry", "dicomnet store --dry-run "),
    "a remote": ("dicomnet store nor", "dicomnet store northpacs "),
    "a remote to show": ("dicomnet remotes show sou", "dicomnet remotes show southpacs "),
    "a choice": ("dicomnet store --transcode if", "dicomnet store --transcode if-needed "),
    "a keyword": ("dicomnet find northpacs -k AccessionNumbe", "dicomnet find northpacs -k AccessionNumber"),
    "a file": ("dicomnet store northpacs image-of", "dicomnet store northpacs image-of-a-hand.dcm "),
    "a folder": ("dicomnet watch incom", "dicomnet watch incoming-of-today/"),
}


@contextmanager
def bash(place: Path) -> Iterator[Terminal]:
    with terminal(place, tool("bash"), "--norc", "--noprofile", "-i") as shell:
        shell.type('eval "$(dicomnet completion bash)"; echo re""ady\n')
        shell.wait_for("ready\n")
        yield shell


@contextmanager
def zsh(place: Path) -> Iterator[Terminal]:
    with terminal(place, tool("zsh"), "-f", "-i") as shell:
        shell.type(
            "unsetopt zle_bracketed_paste; autoload -U compinit; compinit -u -D;"
            ' eval "$(dicomnet completion zsh)"; echo re""ady\n'
        )
        shell.wait_for("ready\n")
        yield shell


@pytest.mark.parametrize("shell", [bash, zsh])
def test_a_shell_completes(shell: Callable[[Path], Iterator[Terminal]], place: Path) -> None:
    with shell(place) as one:  # type: ignore[attr-defined]
        for typed, becomes in LINES.values():
            one.type(f"{typed}\t")
            one.wait_for(becomes.rstrip())
            # Ctrl-U empties the line.
            one.type("\x15echo o''k\n")
            one.wait_for("ok\n")


def test_bash_completes_behind_a_sign(place: Path) -> None:
    with bash(place) as shell:
        shell.type("dicomnet store --transcode=if\t")
        shell.wait_for("--transcode=if-needed ")


def test_fish_completes(place: Path) -> None:
    for typed, becomes in LINES.values():
        result = subprocess.run(
            [
                tool("fish"),
                "--no-config",
                "-c",
                'dicomnet completion fish | source; complete -C "$argv"',
                typed,
            ],
            cwd=place,
            env=environment_of(place),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        offered = [line.partition("\t")[0] for line in result.stdout.splitlines()]
        assert becomes.split()[-1] in offered, (typed, result)


@pytest.mark.parametrize("command", COMMANDS)
def test_all_options_of_each_command_are_offered(command: str) -> None:
    options = {word for word, _ in candidates([command, "-"])}
    shown = set(
        re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", run(command, "--help-all").stdout.partition("options:")[2])
    )
    assert {"--help", "--quiet", "--verbose"} <= options
    assert options <= shown


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["store", "--window", ""], []),
        (["watch", "in", "P@h:1", "--done", ""], [":folders"]),
        (["completion", "z"], ["zsh"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["nothing", ""], []),
        (
            ["find", "P@h:1", "-k", "ScheduledProcedureStepSequence[0].StudyInstanceU"],
            ["ScheduledProcedureStepSequence[0].StudyInstanceUID"],
        ),
        (["find", "P@h:1", "-k", "Modality=C"], []),
        (["remotes", "--config", "/nowhere/at/all", "show", ""], []),
    ],
)
def test_what_is_offered(words: list[str], offered: list[str]) -> None:
    found = [word for word, _ in candidates(words)]
    assert found == offered


def test_another_shell() -> None:
    assert "'tcsh'" in complaint(run("completion", "tcsh"), 2)
    assert "'more'" in complaint(run("completion", "bash", "more"), 2)
