"""Objects of a C-MOVE that come after its final response, with counts in that or without."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.apps.tools import run as run_tool
from tests.cli.command import run
from tests.faults.test_endings import Talk, arrivals, scripted
from tests.support import free_port

from dicomnet import Timeouts
from dicomnet.fetching.receiver import Receiver

COUNTS = {"Completed": 2, "Failed": 0, "Warning": 0}
NO_COUNTS: dict[str, int] = {}
counts = pytest.mark.parametrize("counts", [COUNTS, NO_COUNTS], ids=["counts", "no counts"])
KEYS = ("-k", "StudyInstanceUID=1.2")


@pytest.fixture
def late() -> Iterator[Callable[[Talk, int, dict[str, int]], None]]:
    """A script that ends a C-MOVE with success, and sends two objects to a port afterwards."""
    threads = []

    def script(talk: Talk, port: int, counts: dict[str, int], seconds: float = 0.3) -> None:
        talk.respond(0x0000, None, **counts)
        threads.append(threading.Thread(target=arrivals, args=(port, 2, seconds)))
        threads[-1].start()

    yield script
    for each in threads:
        each.join()


@counts
def test_move_ended_before_late_objects_had_come(
    counts: dict[str, int], late: Callable[..., None], tmp_path: Path
) -> None:
    here = free_port()
    options = ("--receive", tmp_path / "in", "--receive-port", str(here), "--wait", "2")
    with scripted(lambda talk: late(talk, here, counts)) as (port, _):
        result = run("move", f"P@127.0.0.1:{port}", "HERE", *KEYS, *options)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"2 arrived in {tmp_path / 'in'}; ")
    waits = "the peer gives no counts; waiting until nothing has come for 2 s"
    assert (waits in result.stderr) is not bool(counts)


@counts
def test_movescu_ended_before_late_objects_had_come(
    counts: dict[str, int], late: Callable[..., None], tmp_path: Path
) -> None:
    here = free_port()
    options = ("-aem", "HERE", "--store", "--store-aet", "HERE", "--store-port", str(here), "-td", "2")
    keys = ("-S", "-k", "QueryRetrieveLevel=STUDY", *KEYS, "-od", "in")
    with scripted(lambda talk: late(talk, here, counts)) as (port, _):
        done = run_tool("movescu", "127.0.0.1", str(port), *keys, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {each.name for each in (tmp_path / "in").iterdir()} == {"CT.1.2.3.1", "CT.1.2.3.2"}


def test_movescu_says_what_has_not_come_after_all(tmp_path: Path) -> None:
    options = (
        "-aem",
        "HERE",
        "--store",
        "--store-aet",
        "HERE",
        "--store-port",
        str(free_port()),
        "-td",
        "0.5",
    )
    with scripted(lambda talk: talk.respond(0x0000, None, **COUNTS)) as (port, _):
        done = run_tool("movescu", "127.0.0.1", str(port), "-S", *KEYS, *options, cwd=tmp_path)
    assert done.returncode == 1
    assert "E: 2 of 2 objects that the peer says it has sent did not arrive\n" in done.stderr


def test_movescu_does_not_wait_for_what_goes_elsewhere(tmp_path: Path) -> None:
    options = ("-aem", "THERE", "--store", "--store-port", str(free_port()), "-td", "600")
    with scripted(lambda talk: talk.respond(0x0000, None, **COUNTS)) as (port, _):
        done = run_tool("movescu", "127.0.0.1", str(port), "-S", *KEYS, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_objects_that_came_slowly_were_given_up_although_they_came(
    late: Callable[..., None], tmp_path: Path
) -> None:
    """All of them took longer than the time in which nothing may come."""
    here = free_port()
    options = ("--receive", tmp_path / "in", "--receive-port", str(here), "--wait", "1")
    with scripted(lambda talk: late(talk, here, COUNTS, 0.7)) as (port, _):
        result = run("move", f"P@127.0.0.1:{port}", "HERE", *KEYS, *options)
    assert (result.stderr, result.returncode) == ("", 0)


def test_a_receiver_of_fetch_waits_while_objects_come(tmp_path: Path) -> None:
    with Receiver(tmp_path, ("127.0.0.1", 0), "HERE", Timeouts()) as receiver:
        sender = threading.Thread(target=arrivals, args=(receiver.address[1], 3, 0.4))
        sender.start()
        receiver.wait(3, 1.0)
        assert receiver.count == 3
        sender.join()
        receiver.wait(4, 0.1)
