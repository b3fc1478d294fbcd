"""`dicomnet remotes add`, `remove`, `show` and `test`: what becomes of the file, and what is said of a peer."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest
from tests.cli.command import complaint, run
from tests.cli.conftest import StartPeer
from tests.cli.test_remotes import server_context
from tests.sockets import make_certificates
from tests.support import dicomnet

FILE = """\
# Ours, by hand.
[server]
ae_titles = ["US"]   # the first one calls

[remotes.old]  # the old archive
host = "old.example"
port = 104
# It is slow.
message_timeout = 120

[limits]
window = 4
"""


def remotes(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run("remotes", *arguments, "--config", str(folder / "c.toml"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "c.toml"
    found.write_text(FILE)
    return found


def test_one_is_added_and_removed_and_all_else_stays(file: Path) -> None:
    done = remotes(file.parent, "add", "pacs", "ARCHIVE@10.0.0.5:104", "jobs=2", "rate=50/s", "retrieve=auto")
    assert done.stdout == f"added pacs to {file}\n", done.stderr
    written = file.read_text()
    assert tomllib.loads(written)["remotes"]["pacs"] == {
        "host": "10.0.0.5",
        "port": 104,
        "ae_title": "ARCHIVE",
        "jobs": 2,
        "rate": "50/s",
        "retrieve": "auto",
    }
    assert [line for line in FILE.splitlines() if line not in written.splitlines()] == []
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert list(file.parent.iterdir()) == [file]
    assert remotes(file.parent, "remove", "pacs").returncode == 0
    assert tomllib.loads(file.read_text()) == tomllib.loads(FILE)
    assert [line for line in FILE.splitlines() if line not in file.read_text().splitlines()] == []


@pytest.mark.parametrize(
    "content",
    [
        "",
        'remotes = {a = {host = "a", port = 1}}\n',
        'remotes.a = {host = "a", port = 1}\n',
        '[remotes]\n[remotes.a]\nhost = "a"\nport = 1\n',
        '[remotes."R 1"]\nhost = "a"\nport = 1\nae_title = "X"\n[server]\n[remotes.b]\nhost = "b"\nport = 1\n',
        '\ufeff[remotes.a]\r\nhost = "a"\r\nport = 1\r\n',
    ],
)
def test_whatever_form_the_remotes_are_written_in(content: str, tmp_path: Path) -> None:
    """It is changed, or left as it is with a sentence; never is anything else in it lost."""
    file = tmp_path / "c.toml"
    file.write_bytes(content.encode())
    before = tomllib.loads(content.removeprefix("\ufeff").replace("\r\n", "\n"))
    done = remotes(tmp_path, "add", "new", "N@10.0.0.5:104")
    after = tomllib.loads(file.read_text("utf-8-sig"))
    assert done.returncode == 0, done.stderr
    assert after["remotes"].pop("new") == {"host": "10.0.0.5", "port": 104, "ae_title": "N"}
    assert {name: value for name, value in after.items() if value} == before | {} or after == before | {
        "server": {}
    }
    assert remotes(tmp_path, "remove", "new").returncode == 0
    names = [json.loads(line)["name"] for line in remotes(tmp_path).stdout.splitlines()]
    assert names == list(before.get("remotes", {}))


def test_a_file_is_made_with_its_folder_and_none_but_its_owner_may_read_it(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "new")}
    done = subprocess.run(
        dicomnet("remotes", "add", "pacs", "10.0.0.5:104", "user=me", "passcode=-"),
        input="open sesame\n",
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    made = tmp_path / "new" / "dicomnet" / "config.toml"
    assert tomllib.loads(made.read_text())["remotes"]["pacs"]["passcode"] == "open sesame"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert "sesame" not in done.stdout + done.stderr
    shown = run("remotes", "show", "pacs", "--config", str(made)).stdout
    assert {json.loads(line)["key"]: json.loads(line)["value"] for line in shown.splitlines()} == {
        "host": '"10.0.0.5"',
        "port": "104",
        "user": '"me"',
        "passcode": "(hidden)",
    }


def test_a_file_that_gets_a_passcode_is_not_for_others_any_more(file: Path) -> None:
    arguments = dicomnet("remotes", "add", "p", "h:1", "user=me", "passcode=-", "--config", str(file))
    subprocess.run(arguments, input="x\n", capture_output=True, text=True, check=True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    assert complaint(remotes(file.parent), 2) == (
        f"dicomnet remotes: {file}:15: remotes.p.passcode: others may read this file; take that from them"
        " (chmod o-r), or name a passcode_file"
    )


def test_a_link_is_followed_and_stays_one(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "dotfiles" / "c.toml").write_text(FILE)
    (tmp_path / "c.toml").symlink_to("dotfiles/c.toml")
    assert remotes(tmp_path, "add", "n", "h:1").returncode == 0
    assert (tmp_path / "c.toml").is_symlink()
    assert "[remotes.n]" in (tmp_path / "dotfiles" / "c.toml").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "old", "h:1"), "there is a remote 'old' already (FILE:5); remove it first"),
        (("add", "n"), "remotes add needs [AET@]host:port or https://host/path behind the name"),
        (("add", "n", "h"), "'h' is not a peer; write [AET@]host:port"),
        (("add", "n", "h:1", "rat=1"), "'rat=1' is not KEY=VALUE with a key of a remote; did you mean rate?"),
        (("add", "n", "h:1", "jobs=0"), "jobs: found '0', expected a number from 1 to 65535"),
        (("add", "n", "h:1", "rate=1"), "rate: found '1', expected a rate, such as 50/s or 10MB/s"),
        (("add", "n", "h:1", "jobs=1", "jobs=2"), "jobs is given twice"),
        (
            ("add", "n", "h:1", "user=me", "passcode=x"),
            "a passcode on the command line can be seen by others",
        ),
        (("add", "n", "h:1", "ca=x.pem"), "remotes: remotes.n.ca: it needs tls = true"),
        (("add", "n:1", "h:1"), "remotes.n:1: a name has no colon; what has one is an address"),
        (("add", "n", "h:1", "passcode_file=x"), "remotes: remotes.n.passcode_file: it needs user"),
        (("remove", "odl"), "did you mean old?"),
        (("show", "odl"), "did you mean old?"),
        (("remove",), "remotes remove needs NAME"),
        (("list", "old"), "remotes list takes no name"),
        (("show", "old", "x"), "'x': only remotes add takes more than a name"),
    ],
)
def test_what_is_wrong_is_told_and_changes_nothing(arguments: tuple[str, ...], said: str, file: Path) -> None:
    assert said.replace("FILE", str(file)) in complaint(remotes(file.parent, *arguments), 2)
    assert file.read_text() == FILE
    assert list(file.parent.iterdir()) == [file]


def test_a_file_that_is_wrong_already_is_not_touched(file: Path) -> None:
    file.write_text(FILE + "prot = 1\n")
    assert f"{file}:13: limits.prot is not known" in complaint(remotes(file.parent, "add", "n", "h:1"), 2)


def test_remotes_of_the_environment_are_not_changed(file: Path) -> None:
    environment = {**os.environ, "DICOMNET_REMOTES": "{}"}
    done = subprocess.run(
        dicomnet("remotes", "add", "n", "h:1", "--config", str(file)),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert "the remotes come from the variable DICOMNET_REMOTES" in complaint(done, 2)


def test_relative_paths_mean_the_same_file_as_where_they_were_typed(file: Path) -> None:
    (file.parent / "here").mkdir()
    arguments = ("remotes", "add", "n", "h:1", "tls=true", "ca=ca.pem", "--config", "../c.toml")
    assert run(*arguments, cwd=file.parent / "here").returncode == 0
    assert tomllib.loads(file.read_text())["remotes"]["n"]["ca"] == str(file.parent / "here" / "ca.pem")


def test_a_peer_is_tested_and_what_works_is_said(archive: str, file: Path) -> None:
    """By DCMTK's archive, which has all models of retrieval and no worklist."""
    assert remotes(file.parent, "add", "pacs", archive).returncode == 0
    done = remotes(file.parent, "test", "pacs", "--json")
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    layers = {each["layer"]: each["outcome"] for each in found if "layer" in each}
    assert layers["C-ECHO"] == "ok"
    assert layers["TLS"] == "not used"
    assert {each["service"]: each["models"] for each in found if "service" in each} == {
        "find": ["patient", "study"],
        "get": ["patient", "study"],
        "move": ["patient", "study"],
        "worklist": [],
        "commit": [],
        "mpps": [],
    }


def test_a_peer_by_tls_is_tested(start_peer: StartPeer, file: Path) -> None:
    made = make_certificates(file.parent)
    port = start_peer(tls=server_context(made, asks=False))
    address = f"localhost:{port}"
    assert remotes(file.parent, "add", "p", address, "tls=true", f"ca={made.authority}").returncode == 0
    said = remotes(file.parent, "test", "p").stdout
    assert "TLSv1" in said
    assert "find       study" in said
    assert remotes(file.parent, "add", "q", address, "tls=true").returncode == 0
    wrong = remotes(file.parent, "test", "q")
    assert wrong.returncode == 1
    assert "the peer's certificate is not accepted" in wrong.stdout
