"""`dicomnet config`, and how the other commands use a configuration."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.command import complaint, run, run_on_terminal
from tests.settings.nodes import configured
from tests.settings.others import OTHERS
from tests.support import dicomnet, run_tool, serving, wait_until

from dicomnet import Peer
from dicomnet.cli.main import COMMANDS
from dicomnet.errors import AssociationRejected
from dicomnet.settings.kinds import as_toml
from dicomnet.settings.table import PREFIX, SETTINGS
from dicomnet.settings.users import CONFIG_VARIABLE, REMOTES_VARIABLE


def test_the_example_is_a_file_that_nothing_is_wrong_with(tmp_path: Path) -> None:
    example = run("config", "example")
    assert example.returncode == 0
    (tmp_path / "node.toml").write_text(example.stdout)
    checked = run("config", "check", "node.toml", cwd=tmp_path)
    assert (checked.stdout, checked.returncode) == ("node.toml: nothing is wrong\n", 0)
    with configured(tmp_path, example.stdout) as node, Peer(node.address) as peer:
        peer.echo()


def test_a_line_for_each_mistake(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text("[server]\nprot = 1\n\nport = 'x'\n")
    for command in (["config", "check", "node.toml"], ["serve", "--config", "node.toml"]):
        done = run(*command, cwd=tmp_path)
        assert (done.stdout, done.returncode) == ("", 2)
        assert done.stderr.splitlines() == [
            f"dicomnet {command[0]}: node.toml:2: server.prot is not known; did you mean port?",
            f"dicomnet {command[0]}: node.toml:4: server.port: found 'x', expected a number from 0 to 65535",
        ]
    assert not (tmp_path / "dicomnet-data").exists()


def test_what_holds_and_where_it_comes_from(tmp_path: Path) -> None:
    content = "[server]\nport = 1\nworkers = 2\n[tls]\npassphrase = 'open sesame'\n[[access]]\nallow = []\n"
    (tmp_path / "node.toml").write_text(content)
    environment = {**os.environ, "DICOMNET_CONFIG": "node.toml", "DICOMNET_SERVER_WORKERS": "3"}
    arguments = dicomnet("config", "show", "--aet", "A", "--set", "limits.window=5")
    done = run_tool(arguments, cwd=tmp_path, environment=environment)
    assert done.returncode == 0, done.stderr
    rows = {line["name"]: (line["value"], line["from"]) for line in map(json.loads, done.stdout.splitlines())}
    assert rows["server.port"] == ("1", "node.toml:2")
    assert rows["server.workers"] == ("3", "DICOMNET_SERVER_WORKERS")
    assert rows["server.ae_titles"] == ('["A"]', "--aet")
    assert rows["limits.window"] == ("5", "--set limits.window")
    assert rows["limits.associations"] == ("256", "default")
    assert rows["access.0.allow"] == ("[]", "node.toml:7")
    assert rows["tls.passphrase"] == ("(hidden)", "node.toml:5")
    assert "sesame" not in done.stdout
    assert list(rows)[: len(SETTINGS)] == [each.name for each in SETTINGS]


def test_each_option_is_its_setting() -> None:
    """All of them at once, short and long ones."""
    for which in (0, -1):
        words: list[str] = []
        rows = [each for each in SETTINGS if each.options]
        for each in rows:
            value = OTHERS[each.name]
            words.append(each.options[which])
            if value is not True:
                separator = " " if each.name == "queries.keep_keys" else ","
                words.append(separator.join(value) if isinstance(value, list) else str(value))
        done = run("config", "show", *words)
        found = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
        for each in rows:
            assert found[each.name]["value"] == as_toml(OTHERS[each.name]), each.name
            assert found[each.name]["from"] == each.options[-1]


def test_on_a_terminal_there_is_a_table() -> None:
    shown = run_on_terminal("config", "show")
    assert shown.returncode == 0
    assert "limits.associations" in shown.text
    assert '"name"' not in shown.text


def test_a_host_name_that_is_not_known_is_told_and_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text("access = [{address = 'nowhere.invalid', allow = ['echo']}]")
    done = run("config", "check", "node.toml", cwd=tmp_path)
    assert done.returncode == 0
    assert "W: access: the host name nowhere.invalid is not known" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["config"], "ACTION"),
        (["config", "print"], "'print'"),
        (["config", "check"], "FILE"),
        (["serve", "--set", "limits.windw=1"], "did you mean limits.window?"),
        (["serve", "--set", "limits.window"], "is not KEY=VALUE"),
        (["serve", "--set", "limits.window=0"], "'0' is not a number from 1 to 65535"),
        (["serve", "--tls-key", "k"], "it needs tls.certificate"),
        (["receive", "x", "--tls-cert", "none.pem"], "none.pem: No such file or directory"),
    ],
)
def test_a_wrong_command_line(tmp_path: Path, arguments: list[str], named: str) -> None:
    assert named in complaint(run(*arguments, cwd=tmp_path), 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["serve", "config", "reload", "receive", "echo", "remotes"])
def test_a_file_that_is_not_there(command: str, tmp_path: Path) -> None:
    action = {"config": ["check"], "receive": ["x"], "echo": ["pacs"]}.get(command, [])
    done = run(command, *action, "--config", "none.toml", cwd=tmp_path)
    assert complaint(done, 1) == f"dicomnet {command}: none.toml: no such file or directory"


def test_without_the_archive_extra(tmp_path: Path) -> None:
    assert "pip install 'dicomnet[archive]'" in complaint(_without_archive("serve", cwd=tmp_path), 1)


def test_a_configuration_is_shown_without_the_archive_extra(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("server.port = 104")
    done = _without_archive("config", "show", "a.toml", cwd=tmp_path)
    assert '{"name": "server.port", "value": "104", "from": "a.toml:1"}' in done.stdout


ARCHIVE = ("sqlalchemy", "alembic", "jellyfish", "cryptography", "prometheus_client", "starlette", "uvicorn")


def _without_archive(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({ARCHIVE}))\n"
        "from dicomnet.cli.main import main; sys.exit(main())"
    )
    return run_tool([sys.executable, "-c", code, *arguments], cwd=cwd)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_help_of_a_command_needs_neither_a_database_nor_tls(command: str) -> None:
    code = (
        "import sys; from dicomnet.cli import main\n"
        "try:\n    main.main()\nfinally:\n"
        "    print(sorted({'sqlalchemy', 'ssl', 'tomllib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, command, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.endswith("[]\n"), done.stderr


@pytest.mark.parametrize(
    "command", [["serve"], ["config", "check"], ["receive", "x"], ["echo", "pacs"], ["remotes"]]
)
def test_what_is_no_file(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    said = complaint(run(*command, "--config", "folder.toml", cwd=tmp_path), 1)
    assert said == f"dicomnet {command[0]}: folder.toml: is a directory"
    said = complaint(run(*command, "--config", "loop.toml", cwd=tmp_path), 1)
    assert said == f"dicomnet {command[0]}: loop.toml: too many levels of symbolic links"


def test_a_node_reads_no_file_that_nobody_names(tmp_path: Path) -> None:
    """That of the user, and one in the current folder, are wrong."""
    for folder in (tmp_path, tmp_path / "dicomnet"):
        folder.mkdir(exist_ok=True)
        for name in ("config.toml", "dicomnet.toml"):
            (folder / name).write_text("wrong")
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
    done = run_tool(dicomnet("config", "show"), cwd=tmp_path, environment=environment)
    assert (done.stderr, done.returncode) == ("", 0)
    with serving(tmp_path, environment=environment) as node, Peer(node.address) as peer:
        peer.echo()


def test_the_variables_of_tools_are_those_of_the_table() -> None:
    """They do not import it, as a tool without a configuration must start fast."""
    assert [f"{PREFIX}CONFIG", f"{PREFIX}REMOTES"] == [CONFIG_VARIABLE, REMOTES_VARIABLE]


def test_receive_has_what_a_configuration_says_to_it(tmp_path: Path) -> None:
    """And nothing of what is for a node with an index: that database cannot be reached."""
    content = (
        "[storage]\ndatabase = 'postgresql://nobody@127.0.0.1:1/nothing'\non_conflict = 'replace'\n"
        "[server]\nae_titles = ['CONFIGURED']\n"
        "[remotes.a]\nhost = 'x'\nport = 1\nae_title = 'X'\n[remotes.b]\nhost = 'y'\nport = 1\nae_title = 'X'\n"
        "[[access]]\ntitle = 'CT1'\nallow = ['store', 'echo']\n"
    )
    (tmp_path / "node.toml").write_text(content)
    with serving(tmp_path, "--config", "node.toml", command="receive") as node:
        assert "listening on CONFIGURED@" in (tmp_path / "output.txt").read_text()
        with Peer(node.address, calling="CT1") as peer:
            peer.echo()
        with pytest.raises(AssociationRejected), Peer(node.address, calling="CT2") as peer:
            peer.echo()
        (tmp_path / "node.toml").write_text("")
        node.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "changed: server.ae_titles, access" in (tmp_path / "output.txt").read_text())
