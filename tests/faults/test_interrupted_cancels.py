"""Ctrl-C while the end of what was cancelled is waited for: the association is aborted, as elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.faults.test_endings import PENDING, Talk, scripted
from tests.faults.test_unreadable_matches import match
from tests.sockets import PATIENCE, RawPeer, acceptance_of, raw_server
from tests.support import dicomnet

from dicomnet import aio

PROGRAM = """
import sys
from dicomnet import Peer
with Peer(sys.argv[1]) as peer:
    for each in getattr(peer, sys.argv[2])(*sys.argv[3:], StudyInstanceUID="1.2"):
        break
"""


class Cancelled:
    """A peer that answers a C-CANCEL with nothing; what came behind that."""

    def __init__(self, count: int = 3) -> None:
        self.count = count
        self.cancelled = threading.Event()
        self.last = b""

    def __call__(self, talk: Talk) -> None:
        for number in range(self.count):
            talk.respond(PENDING, match(number))
        assert talk.peer.read_pdu()[:1] == b"\x04"
        self.cancelled.set()
        self.last = talk.peer.read_pdu()


@pytest.mark.parametrize(
    "command",
    [
        ("find", "PEER", "--limit", "1"),
        ("find", "PEER", "--limit", "1", "-d"),
        ("find", "PEER", "--limit", "2", "--json"),
        ("worklist", "PEER", "--limit", "1"),
    ],
)
def test_ctrl_c_behind_our_c_cancel_closed_without_an_abort(command: tuple[str, ...]) -> None:
    peer = Cancelled()
    with scripted(peer) as (port, _):
        words = dicomnet(*(each.replace("PEER", f"P@127.0.0.1:{port}") for each in command))
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert peer.cancelled.wait(PATIENCE)
            process.send_signal(signal.SIGINT)
            _, complained = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert f"dicomnet {command[0]}: interrupted" in complained.splitlines()
    assert peer.last[:1] == b"\x07"


def test_ctrl_c_in_a_program_of_ones_own(tmp_path: Path) -> None:
    peer = Cancelled()
    with scripted(peer) as (port, _):
        words = [sys.executable, "-c", PROGRAM, f"P@127.0.0.1:{port}", "find", "study"]
        with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
            assert peer.cancelled.wait(PATIENCE)
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)
    assert peer.last[:1] == b"\x07"


def test_a_task_that_is_cancelled_then() -> None:
    peer = Cancelled()

    async def query(port: int) -> None:
        async with aio.Peer(f"P@127.0.0.1:{port}") as client:
            async with contextlib.aclosing(client.find("study")) as matches:
                async for _ in matches:
                    break

    async def run(port: int) -> None:
        task = asyncio.create_task(query(port))
        assert await asyncio.to_thread(peer.cancelled.wait, PATIENCE)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)

    with scripted(peer) as (port, _):
        asyncio.run(run(port))
    assert peer.last[:1] == b"\x07"


def test_ctrl_c_in_a_diagnosis_waited_for_the_release() -> None:
    """The association was released after the signal, and the peer, which was mute, had 30 s for that."""
    asked = threading.Event()
    last = []

    def mute(peer: RawPeer) -> None:
        request = peer.read_pdu()
        if not request:
            # The layer below was tried on a connection of its own.
            return
        peer.send(acceptance_of(request))
        assert peer.read_pdu()[:1] == b"\x04"
        asked.set()
        last.append(peer.read_pdu()[:1])

    with raw_server(mute) as port:
        words = dicomnet("diagnose", f"P@127.0.0.1:{port}")
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert asked.wait(PATIENCE)
            process.send_signal(signal.SIGINT)
            _, complained = process.communicate(timeout=PATIENCE)
    assert (process.returncode, complained) == (130, "dicomnet diagnose: interrupted\n")
    assert last == [b"\x07"]
