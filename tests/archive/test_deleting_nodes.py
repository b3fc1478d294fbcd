"""Nodes from which is deleted while they store, give out, are killed, and start again."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic

import pytest
from tests.archive.services.retrieving import fill, peer_of, running
from tests.cli.command import run
from tests.faults.objects import study_uid, uid, write_objects
from tests.processes import wait_for_the_end, workers_of
from tests.settings.nodes import configured
from tests.support import ServedNode, serving, wait_until

from dicomnet import Peer
from dicomnet.archive.deletion import Order

WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


@contextmanager
def _node(folder: Path, workers: str) -> Iterator[ServedNode]:
    with serving(folder, "--workers", workers) as node:
        yield node


def _store(node: ServedNode, paths: list[Path]) -> None:
    with Peer(node.address) as peer:
        assert all(each.is_stored for each in peer.store(map(str, paths)))


def _delete(node: ServedNode, *words: str) -> None:
    done = run("delete", "--data", node.store, "--yes", *words)
    assert done.returncode == 0, done


def _found(node: ServedNode) -> set[str]:
    """The SOP Instance UIDs that are found."""
    with Peer(node.address) as peer:
        return {each["SOPInstanceUID"] for study in (1, 2) for each in _images(peer, study)}


def _images(peer: Peer, study: int) -> list[dict[str, str]]:
    keys = {"StudyInstanceUID": study_uid(study), "SeriesInstanceUID": f"{study_uid(study)}.1"}
    return [
        {"SOPInstanceUID": str(each.SOPInstanceUID)} for each in peer.find("image", SOPInstanceUID="", **keys)
    ]


def _files(store: Path) -> set[str]:
    return {path.stem for path in (store / "objects").rglob("*.dcm")}


def _kill(node: ServedNode, workers: str) -> None:
    """Kill all processes of a node at once."""
    children: list[int] = []
    if workers != "1":
        supervisor, workers_there = workers_of(node.process.pid, int(workers))
        children = [supervisor, *workers_there]
    node.process.send_signal(signal.SIGKILL)
    for each in children:
        os.kill(each, signal.SIGKILL)
    node.process.wait(20)
    wait_for_the_end(children)


@WORKERS
def test_what_is_deleted_does_not_come_back_after_kill_9(tmp_path: Path, workers: str) -> None:
    """The intake journal has small objects for a while after they are filed, and is read again after a kill."""
    first, second = (write_objects(tmp_path / f"in{study}", study, 4) for study in (1, 2))
    expected = {uid(2, number) for number in range(1, 5)}
    with _node(tmp_path, workers) as node:
        _store(node, first + second)
        _delete(node, study_uid(1), study_uid(2))
        # One of them came again, and is there.
        _store(node, second)
        assert _found(node) == expected
        _kill(node, workers)
    with _node(tmp_path, workers) as node:
        assert _found(node) == expected
        assert _files(node.store) == expected
        node.end()
    assert run("check", "--data", tmp_path / "store").returncode == 0


@WORKERS
def test_objects_come_and_go_at_the_same_time(tmp_path: Path, workers: str) -> None:
    """Each is there as a whole, with its row, or not at all; every C-STORE succeeds."""
    paths = write_objects(tmp_path / "in", 1, 20)
    with _node(tmp_path, workers) as node:
        stop = threading.Event()
        failures: list[object] = []

        def store() -> None:
            while not stop.is_set():
                with Peer(node.address) as peer:
                    failures.extend(each for each in peer.store(map(str, paths)) if not each.is_stored)

        threads = [threading.Thread(target=store) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(4):
                wait_until(lambda: len(_files(node.store)) > 0, what="something is stored")
                done = run("delete", "--data", node.store, "--yes", study_uid(1))
                assert done.returncode in (0, 1)
                assert done.stdout.startswith("1 study, 1 series, ") or "missing" in done.stdout, done
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert failures == []
        assert _found(node) == _files(node.store)
        assert run("check", "--data", node.store).returncode == 0
        _store(node, paths)
        assert len(_found(node)) == 20
        node.end()


@pytest.mark.parametrize("count", [300, 1200])
def test_what_is_gone_when_its_turn_comes_is_one_failed_sub_operation(tmp_path: Path, count: int) -> None:
    """The study is deleted when the first of its objects has arrived; the index is read some hundred at a time."""
    with running(tmp_path / "store") as node:
        fill(node, tmp_path / "in", count)
        instances = [uid(1, number) for number in range(1, count + 1)]
        received: list[object] = []

        def arrived(found: object) -> None:
            received.append(found)
            if len(received) == 1:
                assert node.holdings.deleting().delete(study_uid(1), instances, Order("x")).count == count

        with peer_of(node) as peer:
            *_, last = peer.get("study", StudyInstanceUID=study_uid(1), on_object=arrived)
            assert last.completed == len(received)
            assert (last.status, last.completed + (last.failed or 0)) == (0xB000, count)
            # The association goes on.
            peer.echo()
            assert _images(peer, 1) == []


def test_a_study_that_is_given_out_is_noted_by_all_processes(tmp_path: Path) -> None:
    """A rule of the first worker leaves alone what another one gives out."""
    rule = '[deletion]\ninterval = "0.1 s"\nquiet = "3 s"\n[[retention]]\nname = "x"\nafter = 0\n'
    (tmp_path / "in").mkdir()
    with configured(tmp_path, f"{rule}[server]\nworkers = 2\n") as node:
        paths = write_objects(tmp_path / "in", 1, 2)
        with ExitStack() as stack:
            # Connections go to the worker with the fewest, so that both have some.
            peers = [stack.enter_context(Peer(node.address)) for _ in range(4)]
            for peer in peers:
                peer.echo()
            assert all(each.is_stored for each in peers[0].store(map(str, paths)))
            begin = monotonic()
            while monotonic() - begin < 4:
                for peer in peers:
                    *_, last = peer.get("study", StudyInstanceUID=study_uid(1), on_object=lambda each: None)
                    assert last.completed == 2
        node.wait_for("has removed 2 objects")
        assert node.end() == 0
