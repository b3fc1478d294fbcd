"""`dicomnet fetch` when it or the peer is killed in between: in the end the files are those of the list, each once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from tests.cli.command import run
from tests.cli.test_fetch import STUDIES as MIXED
from tests.cli.test_fetch import mixed_list, report
from tests.fetching.corpus import Study, fill, objects_below, pixels, write_studies
from tests.support import dicomnet, free_port, is_listening, running_process, serving, tool, wait_until

STUDIES = [Study(number, f"P{number // 2}", f"A{number}") for number in range(1, 13)]
Start = Callable[[Path, int, int], AbstractContextManager[subprocess.Popen[bytes]]]


@contextmanager
def our_node(folder: Path, port: int, here: int) -> Iterator[subprocess.Popen[bytes]]:
    folder.mkdir(exist_ok=True)
    (folder / "node.toml").write_text(
        f'[remotes.here]\nae_title = "HERE"\nhost = "127.0.0.1"\nport = {here}\n'
    )
    with serving(folder, "--config", "node.toml", "--port", str(port)) as node:
        yield node.process


@contextmanager
def dcmqrscp(folder: Path, port: int, here: int) -> Iterator[subprocess.Popen[bytes]]:
    (folder / "store").mkdir(parents=True, exist_ok=True)
    (folder / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nhere = (HERE, 127.0.0.1, {here})\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nNODE {folder / 'store'} RW (200, 1024mb) ANY\nAETable END\n"
    )
    # A session of its own, so that the processes of its associations can be killed with it.
    command = ["setsid", tool("dcmqrscp"), "--config", str(folder / "dcmqrscp.cfg")]
    with running_process(command, folder) as process:
        try:
            wait_until(lambda: is_listening(port), what="dcmqrscp listens")
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


PEERS: dict[str, Start] = {"node": our_node, "dcmqrscp": dcmqrscp}


def until(process: subprocess.Popen[bytes], line: int) -> bool:
    """Wait for so many lines of a process; whether it had so many."""
    assert process.stdout is not None
    return all(process.stdout.readline() for _ in range(line))


def command_of(folder: Path, port: int, options: Sequence[str]) -> list[str]:
    (folder / "list.csv").write_text("StudyInstanceUID\n" + "".join(f"{each.uid}\n" for each in STUDIES))
    where = ("--list", str(folder / "list.csv"), "--to", str(folder / "in"), "--retry", "10", *options)
    return dicomnet("fetch", f"NODE@127.0.0.1:{port}", *where)


def check(folder: Path, command: Sequence[str]) -> None:
    """All is there, each object once, the journal knows it, and nothing is left."""
    assert objects_below(folder / "in") == pixels(STUDIES)
    assert list((folder / "in" / ".dicomnet-fetch" / "incoming").iterdir()) == []
    done = run(*command[3:])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["objects"] == 0


@pytest.mark.parametrize("way", ["get", "move"])
@pytest.mark.parametrize("peer", PEERS)
def test_the_command_is_killed(peer: str, way: str, tmp_path: Path) -> None:
    choice = random.Random(f"{peer} {way}")
    port, here = free_port(), free_port()
    write_studies(tmp_path / "files", STUDIES)
    options = ["--move", "HERE", "--receive-port", str(here)] if way == "move" else []
    command = command_of(tmp_path, port, options)
    with PEERS[peer](tmp_path / "peer", port, here):
        fill(f"NODE@127.0.0.1:{port}", tmp_path / "files")
        for _ in range(8):
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                is_going_on = until(process, choice.randrange(1, 20))
                process.kill()
            if not is_going_on:
                break
        done = run(*command[3:])
        assert done.returncode == 0, done.stderr
        check(tmp_path, command)


@pytest.mark.parametrize("way", ["get", "move"])
@pytest.mark.parametrize("peer", PEERS)
def test_the_peer_is_killed(peer: str, way: str, tmp_path: Path) -> None:
    choice = random.Random(f"{peer} {way}")
    port, here = free_port(), free_port()
    write_studies(tmp_path / "files", STUDIES)
    options = ["--move", "HERE", "--receive-port", str(here), "--wait", "1"] if way == "move" else []
    command = command_of(tmp_path, port, options)
    with PEERS[peer](tmp_path / "peer", port, here):
        fill(f"NODE@127.0.0.1:{port}", tmp_path / "files")
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert until(running, choice.randrange(2, 12))
    with running:
        for _ in range(3):
            with PEERS[peer](tmp_path / "peer", port, here):
                if not until(running, choice.randrange(5, 40)):
                    break
        else:
            with PEERS[peer](tmp_path / "peer", port, here):
                until(running, 10**6)
        said = running.stderr.read().decode() if running.stderr is not None else ""
    assert running.returncode == 0, said
    with PEERS[peer](tmp_path / "peer", port, here):
        check(tmp_path, command)


@pytest.mark.parametrize("way", ["get", "move"])
@pytest.mark.parametrize("peer", PEERS)
def test_a_mixed_list_though_both_are_killed(peer: str, way: str, tmp_path: Path) -> None:
    """300 rows: existing, missing, ambiguous, duplicate and malformed ones."""
    choice = random.Random(f"{peer} {way}")
    text, outcomes, wanted = mixed_list(11)
    port, here = free_port(), free_port()
    write_studies(tmp_path / "files", MIXED)
    options = ["--move", "HERE", "--receive-port", str(here), "--wait", "1"] if way == "move" else []
    command = command_of(tmp_path, port, options)
    (tmp_path / "list.csv").write_text(text, newline="")
    with PEERS[peer](tmp_path / "peer", port, here):
        fill(f"NODE@127.0.0.1:{port}", tmp_path / "files")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            until(process, choice.randrange(5, 60))
            process.kill()
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert until(running, choice.randrange(5, 60))
    with running, PEERS[peer](tmp_path / "peer", port, here):
        _, said = running.communicate(timeout=300)
        assert running.returncode == 1, said
        assert report(tmp_path / "in") == outcomes, said
        assert objects_below(tmp_path / "in") == pixels(wanted)
        assert list((tmp_path / "in" / ".dicomnet-fetch" / "incoming").iterdir()) == []
        again = run(*command[3:])
        assert again.returncode == 1
        assert json.loads(again.stdout.splitlines()[-1])["objects"] == 0
        assert report(tmp_path / "in") == outcomes
