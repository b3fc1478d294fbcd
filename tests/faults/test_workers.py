"""Worker processes of a node: killed while they store, racing for one object, drained; nothing is lost or doubled."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from tests.processes import is_alive, wait_for_the_end, workers_of
from tests.sockets import VERIFICATION
from tests.support import (
    ServedNode,
    data_set_of,
    digest,
    is_listening,
    quarantined,
    serving,
    staged,
    stored,
    wait_until,
)

from dicomnet import AE, Peer
from dicomnet.errors import DicomnetError
from dicomnet.exchange.results import StoreResult
from dicomnet.pynetdicom.association import Association

from .objects import CT_IMAGE_STORAGE, EXPLICIT, file_of, study_uid, uid, write_objects

WORKERS = ("--workers", "2")


def associate(node: ServedNode) -> Association:
    ae = AE("MODALITY")
    ae.add_requested_context(VERIFICATION)
    ae.add_requested_context(CT_IMAGE_STORAGE, EXPLICIT)
    association = ae.associate("127.0.0.1", node.port)
    assert association.is_established
    return association


def indexed(node: ServedNode, study: int) -> set[str]:
    """The objects of a study that a query finds."""
    with Peer(node.address) as peer:
        keys = {"StudyInstanceUID": study_uid(study), "SeriesInstanceUID": study_uid(study) + ".1"}
        return {str(match.SOPInstanceUID) for match in peer.find("image", **keys)}


class Sender:
    """Sends files on one association in a thread of its own, until all is sent or the association lost."""

    def __init__(self, node: ServedNode, paths: list[Path]) -> None:
        self.results: list[StoreResult] = []
        self._address, self._paths = node.address, paths
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(DicomnetError), Peer(self._address, retries=0) as peer:
            for result in peer.store(self._paths):
                self.results.append(result)

    def wait(self) -> list[StoreResult]:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.results


def acknowledged(results: list[StoreResult], digests: dict[str, str]) -> dict[str, str]:
    return {each.sop_instance_uid: digests[each.sop_instance_uid] for each in results if each.status == 0}


def test_a_worker_that_is_killed_while_it_stores(tmp_path: Path) -> None:
    """X21."""
    paths = [write_objects(tmp_path / str(study), study, 150) for study in range(2)]
    digests = {path: digest(data_set_of(path)) for each in paths for path in each}
    by_uid = {uid(int(path.parent.name), int(path.stem)): value for path, value in digests.items()}
    with serving(tmp_path, *WORKERS) as node:
        _, workers = workers_of(node.process.pid)
        senders = [Sender(node, each) for each in paths]
        wait_until(lambda: all(len(sender.results) > 10 for sender in senders))
        os.kill(workers[0], signal.SIGKILL)
        results = [each for sender in senders for each in sender.wait()]
        wait_until(lambda: workers[0] not in workers_of(node.process.pid)[1])
        sure = acknowledged(results, by_uid)
        assert 20 < len(sure) < 300
        # What it had acknowledged is found at once, though another process has to file it.
        assert sure.keys() <= indexed(node, 0) | indexed(node, 1)
        assert sure.items() <= stored(node.store).items() <= by_uid.items()
        # What was lost is sent again to whoever has come instead.
        for each in paths:
            with Peer(node.address) as peer:
                assert {result.status for result in peer.store(each)} == {0}
        assert len(indexed(node, 0)) == len(indexed(node, 1)) == 150
        assert stored(node.store) == by_uid
        assert not staged(node.store)
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(20) == 0
        assert f"worker process {workers[0]} was ended by signal 9" in (tmp_path / "output.txt").read_text()
    # One of them did not end in order, but all that it had acknowledged is filed.
    assert (node.store / "lock").read_text() == "at rest\n"


def test_a_node_whose_first_process_is_killed(tmp_path: Path) -> None:
    """X01 X21."""
    paths = write_objects(tmp_path / "objects", 0, 300)
    digests = {uid(0, int(path.stem)): digest(data_set_of(path)) for path in paths}
    with serving(tmp_path, *WORKERS) as node:
        supervisor, workers = workers_of(node.process.pid)
        sender = Sender(node, paths)
        wait_until(lambda: len(sender.results) > 20)
        node.process.kill()
        results = sender.wait()
        wait_for_the_end([supervisor, *workers])
        with socket.create_server(("127.0.0.1", node.port)):
            pass
    sure = acknowledged(results, digests)
    assert 20 < len(sure) < 300
    with serving(tmp_path, *WORKERS) as node:
        there = stored(node.store)
        assert sure.items() <= there.items() <= digests.items()
        assert indexed(node, 0) == there.keys()
        assert not staged(node.store)


def race(node: ServedNode, contents: list[bytes], folder: Path) -> list[int | None]:
    """Send objects at the same moment, each on its own association; returns their statuses."""
    start = threading.Barrier(len(contents))
    statuses: list[int | None] = []
    folder.mkdir()

    def send(path: Path) -> None:
        association = associate(node)
        start.wait(20)
        statuses.append(association.send_c_store(path).Status)
        association.release()

    threads = []
    for number, content in enumerate(contents):
        path = folder / f"{number}.dcm"
        path.write_bytes(content)
        threads.append(threading.Thread(target=send, args=(path,)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def same(round_: int, number: int) -> bytes:
    return file_of(7, round_, 200_000)


def different(round_: int, number: int) -> bytes:
    return file_of(7, round_, 200_000 + 2 * number)


def of_another_study(round_: int, number: int) -> bytes:
    return file_of(7, round_, StudyInstanceUID=study_uid(number), SeriesInstanceUID=f"{study_uid(number)}.1")


@pytest.mark.parametrize("make", [same, different, of_another_study])
def test_racing_for_one_sop_instance(tmp_path: Path, make: Callable[[int, int], bytes]) -> None:
    """X16 X17: Four senders, two workers: the same bytes are one object, of others the first stays."""
    with serving(tmp_path, *WORKERS) as node:
        workers_of(node.process.pid)
        for round_ in range(10):
            contents = [make(round_, number) for number in range(4)]
            statuses = race(node, contents, tmp_path / str(round_))
            expected = [0] * 4 if make is same else [0, 0xB000, 0xB000, 0xB000]
            assert sorted(each if each is not None else -1 for each in statuses) == expected
            sent = {digest(data_set_of(path)) for path in (tmp_path / str(round_)).iterdir()}
            name = uid(7, round_)
            kept = [
                digest(data_set_of(path)) for path in (node.store / "objects").glob(f"*/*/*/*/{name}.dcm")
            ]
            apart = [value for instance, value in quarantined(node.store) if instance == name]
            assert len(kept) == 1
            assert sorted([*kept, *apart]) == sorted(sent)
        with Peer(node.address) as peer:
            found = [
                str(match.SOPInstanceUID) for each in peer.find("study") for match in in_study(peer, each)
            ]
        assert sorted(found) == [uid(7, round_) for round_ in range(10)]
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(20) == 0
    assert (node.store / "lock").read_text() == "at rest\n"


def in_study(peer: Peer, study: pydicom.Dataset) -> list[pydicom.Dataset]:
    return [
        match
        for series in peer.find("series", StudyInstanceUID=study.StudyInstanceUID)
        for match in peer.find(
            "image",
            StudyInstanceUID=study.StudyInstanceUID,
            SeriesInstanceUID=series.SeriesInstanceUID,
        )
    ]


@pytest.mark.parametrize("command", ["serve", "receive"])
def test_all_workers_are_drained(tmp_path: Path, command: str) -> None:
    """X22."""
    (path,) = write_objects(tmp_path / "objects", 0, 1)
    with serving(tmp_path, *WORKERS, command=command) as node:
        supervisor, workers = workers_of(node.process.pid)
        associations = [associate(node) for _ in range(4)]
        node.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not is_listening(node.port))
        for association in associations:
            assert association.send_c_store(path).Status == 0
            assert is_alive(node.process.pid)
            association.release()
        assert node.process.wait(20) == 0
        assert not any(map(is_alive, [supervisor, *workers]))


def test_a_second_signal_ends_all_workers_at_once(tmp_path: Path) -> None:
    with serving(tmp_path, *WORKERS) as node:
        supervisor, workers = workers_of(node.process.pid)
        association = associate(node)
        node.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not is_listening(node.port))
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(20) == -signal.SIGTERM
        wait_for_the_end([supervisor, *workers])
        wait_until(lambda: association.is_aborted)


def test_associations_beyond_the_drain_are_aborted(tmp_path: Path) -> None:
    with serving(tmp_path, *WORKERS, "--drain", "0") as node:
        association = associate(node)
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(20) == 0
        wait_until(lambda: association.is_aborted)


def test_a_lost_supervisor_is_the_end_of_the_node(tmp_path: Path) -> None:
    with serving(tmp_path, *WORKERS) as node:
        supervisor, workers = workers_of(node.process.pid)
        os.kill(supervisor, signal.SIGKILL)
        assert node.process.wait(20) == 1
        wait_for_the_end(workers)
        assert "ended from outside" in (tmp_path / "output.txt").read_text()
    with serving(tmp_path, *WORKERS) as node, Peer(node.address) as peer:
        peer.echo()
