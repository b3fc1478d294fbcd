"""A store that tries its peer again, blocking and with await, on one association and on several."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from tests.associations import serving_ae
from tests.blocking.test_peer import write_files
from tests.scripted import acceptance, read_request
from tests.sockets import RawPeer, raw_server
from tests.support import free_port

from dicomnet import AE, Peer, aio, evt
from dicomnet.encoding.transfer_syntaxes import Transcoding
from dicomnet.errors import AssociationRejected, ConnectionFailed
from dicomnet.exchange.results import StoreResult
from dicomnet.exchange.retrying import Retry
from dicomnet.exchange.storing import Supply
from dicomnet.pynetdicom.events import Event
from dicomnet.wire.pdu import AssociateRJ

CT = "1.2.840.10008.5.1.4.1.1.2"


class Stored:
    """What a store has given, and told."""

    def __init__(self) -> None:
        self.results: list[StoreResult] = []
        self.told: list[str] = []

    @property
    def statuses(self) -> Counter[int | None]:
        return Counter(result.status for result in self.results)


Store = Callable[..., Stored]


@pytest.fixture(params=["blocking", "blocking side by side", "asyncio", "asyncio side by side"])
def store(request: pytest.FixtureRequest) -> Store:
    """Stores with a clock that makes a second of each wait 20 ms."""
    jobs = 3 if "side" in request.param else 1

    def run(port: int, paths: list[Path], tries: int) -> Stored:
        stored = Stored()
        retry = Retry(tries, clock=lambda: monotonic() * 50)
        supply = Supply(map(str, paths), Transcoding.NEVER, retry=retry, tell=stored.told.append)

        async def in_loop() -> None:
            async with aio.Peer(f"127.0.0.1:{port}", jobs=jobs) as peer:
                stored.results.extend([result async for result in peer.store_supply(supply)])

        if "asyncio" in request.param:
            asyncio.run(in_loop())
        else:
            with Peer(f"127.0.0.1:{port}", jobs=jobs) as peer:
                stored.results.extend(peer.store_supply(supply))
        return stored

    return run


@contextlib.contextmanager
def appearing(port: int, after: float) -> Iterator[None]:
    """A peer that begins to listen after so many seconds."""
    ae = AE("SERVER")
    ae.add_supported_context(CT)
    servers: list[Any] = []

    def start() -> None:
        server = ae.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda event: 0)]
        )
        servers.append(server)

    timer = threading.Timer(after, start)
    timer.start()
    try:
        yield
    finally:
        timer.join()
        servers[0].shutdown()


def test_a_peer_that_is_started_later(store: Store, tmp_path: Path) -> None:
    paths, port = write_files(tmp_path, 20), free_port()
    with appearing(port, 0.3):
        stored = store(port, paths, 10)
    assert stored.statuses == {0: 20}
    assert "tried again in 1 s (1 of 10)" in stored.told[0]


def test_a_peer_that_is_never_there(store: Store, tmp_path: Path) -> None:
    paths, port = write_files(tmp_path, 3), free_port()
    with pytest.raises(ConnectionFailed):
        store(port, paths, 3)


def test_a_peer_that_refuses_for_good_is_not_asked_again(store: Store, tmp_path: Path) -> None:
    asked: list[int] = []

    def refuse(peer: RawPeer) -> None:
        asked.append(1)
        peer.read_pdu()
        peer.send(AssociateRJ(1, 1, 7).encode())

    with raw_server(refuse) as port, pytest.raises(AssociationRejected):
        store(port, write_files(tmp_path, 1), 3)
    assert asked == [1]


def test_objects_that_are_refused_for_want_of_resources(store: Store, tmp_path: Path) -> None:
    """Each is refused twice, and taken then."""
    refused: Counter[str] = Counter()

    def take(event: Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        refused[uid] += 1
        return 0xA700 if refused[uid] <= 2 else 0

    with serving_ae([(evt.EVT_C_STORE, take)]) as server:
        stored = store(server.server_address[1], write_files(tmp_path, 8), 4)
    assert stored.statuses == {0: 8}
    assert set(refused.values()) == {3}


def test_an_object_that_is_always_refused_costs_the_others_nothing(store: Store, tmp_path: Path) -> None:
    asked: Counter[str] = Counter()

    def take(event: Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        asked[uid] += 1
        return {"1.2.3.3": 0xA700, "1.2.3.4": 0xA900}.get(uid, 0)

    with serving_ae([(evt.EVT_C_STORE, take)]) as server:
        stored = store(server.server_address[1], write_files(tmp_path, 20), 2)
    assert stored.statuses == {0: 18, 0xA700: 1, 0xA900: 1}
    assert asked.pop("1.2.3.3") == 3
    assert set(asked.values()) == {1}


def test_a_peer_whose_disk_is_full_is_not_waited_for_with_each_object(store: Store, tmp_path: Path) -> None:
    with serving_ae([(evt.EVT_C_STORE, lambda event: 0xA700)]) as server:
        stored = store(server.server_address[1], write_files(tmp_path, 30), 2)
    assert stored.statuses == {0xA700: 30}
    assert len(stored.told) == 2


def test_an_object_that_ends_each_association(store: Store, tmp_path: Path) -> None:
    """It fails after its tries, and the others arrive."""

    def take(event: Event) -> int:
        if event.request.AffectedSOPInstanceUID == "1.2.3.5":
            event.assoc.abort()
        return 0

    with serving_ae([(evt.EVT_C_STORE, take)]) as server:
        stored = store(server.server_address[1], write_files(tmp_path, 20), 2)
    assert stored.statuses == {0: 19, None: 1}
    (failed,) = [result for result in stored.results if result.status is None]
    assert failed.sop_instance_uid == "1.2.3.5"


def test_a_peer_that_ends_each_association_is_given_up(store: Store, tmp_path: Path) -> None:
    def end(peer: RawPeer) -> None:
        asked = read_request(peer)
        if asked is not None:
            peer.send(acceptance(asked))

    with raw_server(end) as port:
        stored = store(port, write_files(tmp_path, 50), 1)
    assert stored.statuses == {None: 50}
    assert len(stored.told) <= 3
