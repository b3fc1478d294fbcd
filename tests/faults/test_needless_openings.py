"""A peer that serves one association at a time: what waits to be opened beside it holds up nothing when all is sent."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from tests.blocking.test_lanes import Store, check, store_blocking, store_in_loop
from tests.blocking.test_peer import scripted, succeed, write_files
from tests.scripted import Arrived, Scp
from tests.sockets import PATIENCE, Certificates, RawPeer, make_certificates
from tests.support import PROMPT

from dicomnet import Peer


@pytest.fixture(params=[store_blocking, store_in_loop])
def store(request: pytest.FixtureRequest) -> Store:
    """Stores with one peer or the other, and gives the results."""
    chosen: Store = request.param
    return chosen


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def store_promptly(store: Store, port: int, files: list[Path], **options: Any) -> None:
    begin = monotonic()
    check(store(port, files, **options), files)
    assert monotonic() - begin < PROMPT


@pytest.mark.parametrize(("count", "jobs", "window"), [(2, 2, 16), (2, 2, 1), (9, 4, 1), (40, 3, 4)])
def test_a_peer_that_serves_one_at_a_time_is_released_when_all_is_sent(
    store: Store, count: int, jobs: int, window: int, tmp_path: Path
) -> None:
    with scripted(succeed, window=window) as (port, scp):
        store_promptly(store, port, write_files(tmp_path, count), jobs=jobs, window=window)
        assert scp.released.wait(PATIENCE)


def test_what_is_outstanding_on_the_lane_that_works_is_waited_for(store: Store, tmp_path: Path) -> None:
    """The second lane has nothing to do from the beginning, and the first answer takes a moment."""
    files, seen = write_files(tmp_path, 3), threading.Event()

    def react(request: Arrived) -> bytes:
        # The answers come late, when the second lane has long begun to open its association.
        seen.wait(0.5)
        return request.response()

    with scripted(react) as (port, scp):
        store_promptly(store, port, files, jobs=2)
        assert scp.released.wait(PATIENCE)


def test_objects_of_an_association_that_is_lost_are_sent_again(store: Store, tmp_path: Path) -> None:
    files = write_files(tmp_path, 4)

    def react(request: Arrived) -> bytes | None:
        return None if request.connection == 0 and request.index == 3 else request.response()

    with scripted(react) as (port, _):
        store_promptly(store, port, files, jobs=2)


def test_a_store_after_that_finds_a_peer_that_works(tmp_path: Path) -> None:
    files = write_files(tmp_path, 4)
    with scripted(succeed) as (port, _), Peer(f"127.0.0.1:{port}", jobs=2) as peer:
        begin = monotonic()
        for _ in range(3):
            check(list(peer.store(files)), files)
        assert monotonic() - begin < PROMPT


@contextlib.contextmanager
def full_after_the_first() -> Iterator[int]:
    """A peer that serves its first connection, and whose system does not even complete the connecting of others."""
    scp = Scp(succeed)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        port = listener.getsockname()[1]

        def serve() -> None:
            sock, _ = listener.accept()
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            with RawPeer(sock) as peer, contextlib.suppress(OSError):
                scp.serve(peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port
        finally:
            scp.end()
            thread.join(PATIENCE)


def test_a_connection_that_does_not_come_about_is_not_waited_for(store: Store, tmp_path: Path) -> None:
    with full_after_the_first() as port:
        store_promptly(store, port, write_files(tmp_path, 6), jobs=3)


def test_a_handshake_that_is_not_answered_is_not_waited_for(
    store: Store, certificates: Certificates, tmp_path: Path
) -> None:
    scp, context, client = Scp(succeed), certificates.server(), certificates.client()
    client.check_hostname = False
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            sock, _ = listener.accept()
            with RawPeer(context.wrap_socket(sock, server_side=True)) as peer, contextlib.suppress(OSError):
                scp.serve(peer)

        thread = threading.Thread(target=serve)
        thread.start()
        store_promptly(store, listener.getsockname()[1], write_files(tmp_path, 4), jobs=2, tls=client)
        thread.join(PATIENCE)
        assert scp.released.is_set()


def test_closing_the_peer_gives_up_what_is_still_opened(tmp_path: Path) -> None:
    """Also where objects are left: the first answer never comes, and the second association waits in a queue."""
    files, arrived = write_files(tmp_path, 200), threading.Event()

    def react(request: Arrived) -> bytes:
        arrived.set()
        return b"" if request.index else request.response()

    with scripted(react, window=2) as (port, _), Peer(f"127.0.0.1:{port}", jobs=2) as peer:
        results = peer.store(files)
        assert next(results).is_stored
        begin = monotonic()
        peer.abort()
        rest = list(itertools.islice(results, len(files)))
        assert monotonic() - begin < PROMPT
        assert len(rest) == len(files) - 1
        assert not any(each.is_stored for each in rest)
