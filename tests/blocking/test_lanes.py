"""Storing on several associations side by side, blocking and with await: each object is reported just once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from tests.associations import serving_ae
from tests.blocking.test_peer import names, write_file, write_files
from tests.scripted import Arrived, Scp, acceptance, read_request
from tests.sockets import ABORT_BY_USER, PATIENCE, VERIFICATION, RawPeer
from tests.support import wait_until

from dicomnet import Peer, aio, evt
from dicomnet.errors import AssociationRejected, ConnectionFailed
from dicomnet.exchange.results import StoreResult
from dicomnet.pynetdicom.events import Event
from dicomnet.wire.pdu import AssociateRJ

LIMIT_EXCEEDED = AssociateRJ(2, 3, 2)

Store = Callable[..., list[StoreResult]]


def store_blocking(port: int, paths: Any, most: int = 1 << 30, **options: Any) -> list[StoreResult]:
    with Peer(f"127.0.0.1:{port}", **options) as peer:
        results = list(islice(peer.store(paths), most))
        if most < 1 << 30:
            peer.echo()
        return results


def store_in_loop(port: int, paths: Any, most: int = 1 << 30, **options: Any) -> list[StoreResult]:
    async def run() -> list[StoreResult]:
        async with aio.Peer(f"127.0.0.1:{port}", **options) as peer:
            results: list[StoreResult] = []
            async with contextlib.aclosing(peer.store(paths)) as stored:
                async for result in stored:
                    results.append(result)
                    if len(results) == most:
                        break
            if most < 1 << 30:
                await peer.echo()
            return results

    return asyncio.run(run())


@pytest.fixture(params=[store_blocking, store_in_loop])
def store(request: pytest.FixtureRequest) -> Store:
    """Stores with one peer or the other, and gives the results."""
    chosen: Store = request.param
    return chosen


class Peers(Scp):
    """An SCP that serves connections side by side; ``react`` is called by one of them at a time."""

    def __init__(self, react: Callable[[Arrived], bytes | None], **options: Any) -> None:
        lock = threading.Lock()

        def one_at_a_time(request: Arrived) -> bytes | None:
            with lock:
                return react(request)

        super().__init__(one_at_a_time, **options)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]

    def accept(self) -> None:
        threads = []
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                thread, before = threading.Thread(target=self._talk, args=(sock,)), len(self.proposed)
                thread.start()
                threads.append(thread)
                # Connections are numbered by their requests.
                while len(self.proposed) == before and thread.is_alive():
                    thread.join(0.001)
        for thread in threads:
            thread.join(PATIENCE)

    def _talk(self, sock: socket.socket) -> None:
        with RawPeer(sock) as peer, contextlib.suppress(OSError):
            self.serve(peer)


@contextlib.contextmanager
def scripted(
    react: Callable[[Arrived], bytes | None], kind: type[Peers] = Peers, **options: Any
) -> Iterator[Peers]:
    peers = kind(react, **options)
    thread = threading.Thread(target=peers.accept)
    thread.start()
    try:
        yield peers
    finally:
        peers.end()
        with contextlib.suppress(OSError):
            peers.listener.shutdown(socket.SHUT_RDWR)
        peers.listener.close()
        thread.join(PATIENCE)


def succeed(request: Arrived) -> bytes:
    return request.response()


def check(results: list[StoreResult], files: list[Path], failed: set[str] | None = None) -> None:
    """Each file has one result."""
    assert sorted(result.path for result in results) == names(files)
    assert {result.sop_instance_uid for result in results if not result.is_stored} == (failed or set())


def test_associations_are_used_at_the_same_time(store: Store, tmp_path: Path) -> None:
    files = write_files(tmp_path, 12)
    together = threading.Barrier(3, timeout=PATIENCE)

    def handle(event: Event) -> int:
        together.wait()
        return 0

    with serving_ae([(evt.EVT_C_STORE, handle)]) as server:
        check(store(server.server_address[1], files, jobs=3), files)
        wait_until(lambda: not server.active_associations)


def test_each_association_has_its_window(store: Store, tmp_path: Path) -> None:
    """Nothing is answered before three times four requests are outstanding."""
    files = write_files(tmp_path, 12)
    everything = threading.Event()
    held: list[Arrived] = []

    def react(request: Arrived) -> bytes:
        held.append(request)
        if len(held) == 12:
            everything.set()
        return b""

    def answer_all(peers: Peers) -> None:
        assert everything.wait(PATIENCE)
        by_connection: dict[int, list[Arrived]] = {}
        for request in held:
            by_connection.setdefault(request.connection, []).append(request)
        assert sorted(len(each) for each in by_connection.values()) == [4, 4, 4]
        for number, requests in by_connection.items():
            peers._peers[number].send(b"".join(each.response() for each in requests))

    with scripted(react, window=4) as peers:
        answering = threading.Thread(target=answer_all, args=(peers,))
        answering.start()
        check(store(peers.port, files, jobs=3, window=4), files)
        answering.join()


def test_no_more_associations_than_objects(store: Store, tmp_path: Path) -> None:
    files = write_files(tmp_path, 2)
    with scripted(succeed) as peers:
        check(store(peers.port, files, jobs=50), files)
        assert len(peers.proposed) <= 2


@pytest.mark.parametrize("end", [None, ABORT_BY_USER])
def test_what_one_association_loses_another_sends(store: Store, end: bytes | None, tmp_path: Path) -> None:
    files = write_files(tmp_path, 60)

    def react(request: Arrived) -> bytes | None:
        if request.connection == 0 and request.index >= 4:
            return end
        return request.response() if request.connection or request.index < 2 else b""

    with scripted(react, window=8) as peers:
        check(store(peers.port, files, jobs=3, window=8), files)


def test_an_object_that_the_peer_cannot_bear(store: Store, tmp_path: Path) -> None:
    """It takes none of the others with it, though each of its associations had several outstanding."""
    files = write_files(tmp_path, 40)
    poison = {"1.2.3.4", "1.2.3.17"}

    def react(request: Arrived) -> bytes | None:
        return None if request.instance in poison else request.response()

    with scripted(react, window=8) as peers:
        check(store(peers.port, files, jobs=3, window=8), files, poison)


def test_a_peer_that_takes_only_two_associations(store: Store, tmp_path: Path) -> None:
    files = write_files(tmp_path, 50)
    answers: list[AssociateRJ | None] = [None, None, LIMIT_EXCEEDED, LIMIT_EXCEEDED]
    with scripted(succeed, answers=answers) as peers:
        check(store(peers.port, files, jobs=4, window=1), files)


@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize("is_slow", [True, False], ids=["first answer late", "first answer at once"])
def test_further_associations_that_are_aborted_at_the_first_request_cost_no_object(
    store: Store, retries: int, is_slow: bool, tmp_path: Path
) -> None:
    files = write_files(tmp_path, 40)
    waiting: list[Arrived] = []
    lost: list[int] = []

    def react(request: Arrived) -> bytes | None:
        if request.connection:
            # What the others wait for comes now.
            lost.append(request.connection)
            peers._peers[0].send(b"".join(each.response() for each in waiting))
            waiting.clear()
            return ABORT_BY_USER
        if is_slow and not lost:
            waiting.append(request)
            return b""
        return request.response()

    with scripted(react, window=8) as peers:
        check(store(peers.port, files, jobs=3, window=8, retries=retries), files)
        # None of them was tried again and again; what was asked for and given up may be asked for once more.
        assert len(peers.proposed) <= 5


@pytest.mark.parametrize("after", [1, 5])
def test_a_peer_that_bears_a_further_association_no_more(store: Store, after: int, tmp_path: Path) -> None:
    """What was outstanding when it was lost is sent on the one that works."""
    files = write_files(tmp_path, 60)

    def react(request: Arrived) -> bytes | None:
        is_borne = request.connection == 0 or (request.connection == 1 and request.index < after)
        return request.response() if is_borne else ABORT_BY_USER

    with scripted(react, window=8) as peers:
        check(store(peers.port, files, jobs=2, window=8), files)
        assert len(peers.proposed) <= 3


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_a_peer_that_aborts_each_association_at_the_first_request(
    store: Store, retries: int, tmp_path: Path
) -> None:
    files = write_files(tmp_path, 12)
    with scripted(lambda request: ABORT_BY_USER) as peers:
        results = store(peers.port, files, jobs=3, retries=retries)
        check(results, files, {result.sop_instance_uid for result in results})
        assert all("aborted by the peer" in result.comment for result in results)
        # For the last objects each of the three lanes may open one, where the first sends.
        assert len(peers.proposed) <= 3 * 12 * (retries + 1)


def test_a_peer_that_aborts_further_associations_before_the_first_request(
    store: Store, tmp_path: Path
) -> None:
    class OnePeer(Peers):
        def serve(self, peer: RawPeer) -> None:
            if not self.proposed:
                super().serve(peer)
                return
            asked = read_request(peer)
            if asked is not None:
                self.proposed.append(asked)
                peer.send(acceptance(asked) + ABORT_BY_USER)
                peer.read_to_end()

    files = write_files(tmp_path, 40)
    with scripted(succeed, kind=OnePeer) as peers:
        check(store(peers.port, files, jobs=3, window=2, retries=0), files)


def test_the_first_association_decides(store: Store, tmp_path: Path) -> None:
    files = write_files(tmp_path, 5)
    with scripted(succeed, answers=[LIMIT_EXCEEDED] * 9) as peers:
        with pytest.raises(AssociationRejected):
            store(peers.port, files, jobs=4)
        assert len(peers.proposed) == 1
    with pytest.raises(ConnectionFailed):
        store(1, files, jobs=4)


def test_all_associations_lost_and_no_other_to_be_had(store: Store, tmp_path: Path) -> None:
    files = write_files(tmp_path, 20)
    answers: list[AssociateRJ | None] = [None, None, *[LIMIT_EXCEEDED] * 30]
    with scripted(lambda request: None, answers=answers) as peers:
        results = store(peers.port, files, jobs=2)
    check(results, files, {result.sop_instance_uid for result in results})
    assert len(results) == 20


def test_files_that_cannot_be_read_are_reported_once(store: Store, tmp_path: Path) -> None:
    files = write_files(tmp_path, 30)
    gone = write_file(tmp_path, "1.2.4", size=4 << 20)

    def react(request: Arrived) -> bytes:
        gone.unlink(missing_ok=True)
        return request.response()

    with scripted(react, window=2) as peers:
        check(store(peers.port, [*files, gone], jobs=3, window=2), [*files, gone], {"1.2.4"})


def test_left_early_nothing_more_is_sent(store: Store, tmp_path: Path) -> None:
    files = write_files(tmp_path, 600)
    with scripted(succeed, window=4) as peers:
        assert len(store(peers.port, files, 3, jobs=3, window=4)) == 3
        assert len(peers.arrived) < 590


def test_an_interrupt_aborts_all_associations(tmp_path: Path) -> None:
    files = write_files(tmp_path, 100)

    def interrupt(port: int) -> None:
        with Peer(f"127.0.0.1:{port}", jobs=3, window=4) as peer:
            for _ in peer.store(files):
                raise KeyboardInterrupt

    def cancel(port: int) -> None:
        async def run() -> None:
            async with aio.Peer(f"127.0.0.1:{port}", jobs=3, window=4) as peer:
                async for _ in peer.store(files):
                    raise asyncio.CancelledError

        asyncio.run(run())

    for use, kind in ((interrupt, KeyboardInterrupt), (cancel, asyncio.CancelledError)):
        # The first object is answered, the others never.
        with scripted(lambda request: request.response() if request.instance == "1.2.3.0" else b"") as peers:
            with pytest.raises(kind):
                use(peers.port)
            # One that has nothing outstanding may be released.
            wait_until(peers.aborted.is_set, what="an association is aborted")
        wait_until(
            lambda: not any(each.name == "dicomnet-store" for each in threading.enumerate()),
            what="no thread is left",
        )


def test_closing_the_peer_in_the_middle(tmp_path: Path) -> None:
    files = write_files(tmp_path, 600)
    with scripted(succeed, window=4) as peers:
        peer = Peer(f"127.0.0.1:{peers.port}", jobs=3)
        results = peer.store(files)
        first = next(results)
        peer.close()
        assert not any(each.name == "dicomnet-store" for each in threading.enumerate())
        everything = [first, *results]
    assert sorted(result.path for result in everything) == names(files)


def test_a_path_that_does_not_exist_costs_no_result_of_what_was_stored(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    files = write_files(folder, 300)
    with scripted(succeed, window=16) as peers, Peer(f"127.0.0.1:{peers.port}", jobs=2) as peer:
        results: list[StoreResult] = []
        with pytest.raises(FileNotFoundError):
            results.extend(peer.store([folder, tmp_path / "nothing"]))
    check(results, files)


def test_the_number_of_jobs_is_a_number(tmp_path: Path) -> None:
    for kind in (Peer, aio.Peer):
        with pytest.raises(ValueError, match="at least 1"):
            kind("127.0.0.1:1", jobs=0)
    with pytest.raises(ValueError, match="at least 1"):
        next(iter(Peer("127.0.0.1:1").store(tmp_path, jobs=0)))


def test_jobs_of_one_call(tmp_path: Path) -> None:
    together = threading.Barrier(2, timeout=PATIENCE)

    def handle(event: Event) -> int:
        together.wait()
        return 0

    files = write_files(tmp_path, 4)
    with serving_ae([(evt.EVT_C_STORE, handle)], uids=(VERIFICATION, "1.2.840.10008.5.1.4.1.1.2")) as server:
        with Peer(f"127.0.0.1:{server.server_address[1]}") as peer:
            check(list(peer.store(files, jobs=2)), files)


def test_a_rate_holds_for_all_associations_together(tmp_path: Path) -> None:
    arrivals: list[float] = []

    def stored(event: Event) -> int:
        arrivals.append(monotonic())
        return 0

    paths = write_files(tmp_path, 41)

    def blocking(port: int) -> list[StoreResult]:
        with Peer(f"127.0.0.1:{port}", jobs=3) as peer:
            return list(peer.store(paths, rate="50/s"))

    async def in_loop(port: int) -> list[StoreResult]:
        async with aio.Peer(f"127.0.0.1:{port}", jobs=3) as peer:
            return [result async for result in peer.store(paths, rate="50/s")]

    with serving_ae([(evt.EVT_C_STORE, stored)]) as server:
        for run in (blocking, lambda port: asyncio.run(in_loop(port))):
            arrivals.clear()
            assert all(result.status == 0 for result in run(server.server_address[1]))
            assert len(arrivals) == 41
            assert 0.7 <= arrivals[-1] - arrivals[0] <= 5
