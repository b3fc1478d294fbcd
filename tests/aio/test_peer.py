"""`aio.Peer` where it differs from the blocking one: files are looked at in threads, while objects are on their way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.blocking.test_lanes import scripted as scripted_side_by_side
from tests.blocking.test_peer import names, scripted, write_files
from tests.loops import in_loop
from tests.scripted import Arrived
from tests.sockets import PATIENCE

from dicomnet import aio
from dicomnet.exchange.results import StoreResult
from dicomnet.exchange.storing import FIRST_LOOK


@pytest.mark.parametrize("jobs", [1, 3])
def test_files_are_looked_at_while_objects_are_on_their_way(jobs: int, tmp_path: Path) -> None:
    """The last files are not there before the peer has the first object."""
    files = write_files(tmp_path, FIRST_LOOK + 100)
    has_arrived = threading.Event()
    threads: set[threading.Thread] = set()

    def react(request: Arrived) -> bytes:
        has_arrived.set()
        return request.response()

    def paths() -> Iterator[Path]:
        for number, path in enumerate(files):
            threads.add(threading.current_thread())
            if number == FIRST_LOOK:
                assert has_arrived.wait(PATIENCE)
            yield path

    @in_loop
    async def store() -> None:
        async with aio.Peer(f"127.0.0.1:{port}", jobs=jobs) as peer:
            results = [result async for result in peer.store(paths())]
        assert sorted(result.path for result in results if result.is_stored) == names(files)

    with scripted_side_by_side(react, window=4) as peers:
        port = peers.port
        store()
    assert threading.main_thread() not in threads


def test_a_path_that_does_not_exist_costs_no_result_of_what_was_stored(tmp_path: Path) -> None:
    """It is found while objects are on their way, as more files come before it than are looked at first."""
    folder = tmp_path / "files"
    folder.mkdir()
    files = write_files(folder, FIRST_LOOK + 44)

    @in_loop
    async def store() -> None:
        results: list[StoreResult] = []

        async def keep(peer: aio.Peer) -> None:
            async for result in peer.store([folder, tmp_path / "nothing"]):
                # Each as it comes, since an error follows them.
                results.append(result)  # noqa: PERF401

        async with aio.Peer(f"127.0.0.1:{port}") as peer:
            with pytest.raises(FileNotFoundError):
                await keep(peer)
        assert sorted(result.path for result in results if result.is_stored) == names(files)

    with scripted(lambda request: request.response(), window=16) as (port, _):
        store()
