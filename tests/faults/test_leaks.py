"""Associations that have ended, in whatever way, leave nothing behind: no thread, descriptor, object or memory."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.interop.peers import aio_server
from tests.sockets import ABORT_BY_USER, VERIFICATION, RawPeer, echo_pdus, request_pdu, status_of
from tests.support import wait_until

from dicomnet import AE, Peer, aio, build_context, evt
from dicomnet.drivers import buffers
from dicomnet.errors import AssociationAborted, AssociationRejected

# Enough for pools, caches and lazily imported modules to be there.
WARM_UP = 40
# Threads of the pool wait a few seconds for more to do.
SPARE_THREADS = 4
# The watcher may keep a few connections until others end. Each has 120 objects, and all of them 17 kB.
SPARE_CONNECTIONS = 12
SPARE_OBJECTS = SPARE_CONNECTIONS * 120
SPARE_BYTES = 1 << 19


@pytest.fixture
def count(request: pytest.FixtureRequest) -> int:
    """How many associations there are in a test."""
    return int(request.config.getoption("associations"))


class Standing:
    """What there is in this process, of all that an association may have."""

    def __init__(self) -> None:
        gc.collect()
        self.threads = threading.active_count()
        self.descriptors = len(os.listdir("/proc/self/fd"))
        every = gc.get_objects()
        self.objects = len(every)
        self.ours = Counter(
            f"{type(each).__module__}.{type(each).__qualname__}"
            for each in every
            if str(type(each).__module__).startswith("dicomnet.")
        )
        del every
        # Buffers that wait to be lent again are few, and how many there have to be at once is chance.
        assert len(buffers._spare) <= buffers._KEPT
        self.memory = tracemalloc.get_traced_memory()[0] - sum(map(len, buffers._spare))

    def lost_since(self, before: Standing) -> dict[str, int]:
        """What is more than before, and by how much."""
        grown = {
            "threads": self.threads - before.threads - SPARE_THREADS,
            "descriptors": self.descriptors - before.descriptors,
            "objects": self.objects - before.objects - SPARE_OBJECTS,
            "bytes": self.memory - before.memory - SPARE_BYTES,
            **{name: count - before.ours[name] - SPARE_CONNECTIONS * 4 for name, count in self.ours.items()},
        }
        return {name: growth for name, growth in grown.items() if growth > 0}


def check_nothing_is_lost(use: Callable[[int], None], count: int) -> None:
    """Run something that opens and ends so many associations, after a warm-up."""
    # The records that pytest keeps for its report would keep what they tell of.
    logging.disable()
    tracemalloc.start()
    # What was there before is not traced, and cannot be told from what will take its place.
    buffers._spare.clear()
    try:
        use(WARM_UP)
        before = Standing()
        use(count)
        lost: dict[str, int] = {}

        def is_settled() -> bool:
            lost.clear()
            lost.update(Standing().lost_since(before))
            return not lost

        with contextlib.suppress(AssertionError):
            # A free thread of a pool waits 5 s for its next call.
            wait_until(is_settled, 20)
        assert not lost
    finally:
        tracemalloc.stop()
        logging.disable(logging.NOTSET)


@contextlib.contextmanager
def blocking_acceptor(**properties: Any) -> Iterator[int]:
    ae = AE("NODE")
    ae.require_called_aet = True
    ae.add_supported_context(VERIFICATION)

    def on_echo(event: evt.Event) -> int:
        if event.assoc.requestor.ae_title == "VICTIM":
            event.assoc.abort()
        return 0x0000

    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_ECHO, on_echo)])
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@contextlib.contextmanager
def aio_acceptor() -> Iterator[int]:
    async def on_echo(request: aio.Request) -> int:
        if request.calling == "VICTIM":
            request.association.abort()
        return 0x0000

    options = {"ae_title": "NODE", "require_called": True}
    with aio_server([VERIFICATION], {"C-ECHO": on_echo}, **options) as port:
        yield port


acceptors = pytest.mark.parametrize("acceptor", [blocking_acceptor, aio_acceptor])
endings = pytest.mark.parametrize("ending", ["release", "abort", "aborted", "rejected", "forgotten"])
Acceptor = Callable[[], contextlib.AbstractContextManager[int]]


@acceptors
@endings
def test_associations_of_the_blocking_driver(acceptor: Acceptor, ending: str, count: int) -> None:
    """Those of an AE, and those that the acceptor sees."""
    called = "NOBODY" if ending == "rejected" else "NODE"
    ae = AE("VICTIM" if ending == "aborted" else "LEAK")
    contexts = [build_context(VERIFICATION)]

    def use(times: int) -> None:
        for number in range(times):
            assoc = ae.associate("127.0.0.1", port, contexts, ae_title=called)
            assert assoc.is_rejected is (ending == "rejected")
            if ending == "rejected":
                continue
            status = assoc.send_c_echo()
            assert ("Status" in status) is (ending != "aborted")
            if ending == "release":
                assoc.release()
            elif ending != "forgotten":
                assoc.abort()
            elif number % 5 == 4:
                ae.shutdown()

    with acceptor() as port:
        check_nothing_is_lost(use, count)


@acceptors
@pytest.mark.parametrize("ending", ["release", "abort", "aborted", "rejected"])
def test_associations_of_asyncio(acceptor: Acceptor, ending: str, count: int) -> None:
    """Those of an event loop, ten at once."""
    title = "NOBODY" if ending == "rejected" else "NODE"
    calling = "VICTIM" if ending == "aborted" else "LEAK"

    async def one() -> None:
        assoc = await aio.connect(f"{title}@127.0.0.1:{port}", [VERIFICATION], calling=calling)
        try:
            assert (await assoc.send_c_echo()).Status == 0
            if ending == "release":
                await assoc.release()
        finally:
            assoc.abort()
            await assoc.wait_closed()

    async def several(number: int) -> None:
        for _ in range(number // 10):
            results = await asyncio.gather(*(one() for _ in range(10)), return_exceptions=True)
            assert {type(result) for result in results} == {
                {"rejected": AssociationRejected, "aborted": AssociationAborted}.get(ending, type(None))
            }

    with acceptor() as port:
        check_nothing_is_lost(lambda number: asyncio.run(several(number)), count)


@acceptors
def test_peers_that_are_opened_again_and_again(acceptor: Acceptor, count: int) -> None:
    """Half of them are not closed but collected."""

    def use(times: int) -> None:
        for number in range(times):
            peer = Peer(f"NODE@127.0.0.1:{port}")
            peer.echo()
            if number % 2:
                peer.close()

    with acceptor() as port:
        check_nothing_is_lost(use, count)


def half_open(peer: RawPeer) -> None:
    """Nothing is said at all."""


def half_a_request(peer: RawPeer) -> None:
    peer.send(request_pdu(called="NODE")[:40])


def no_request(peer: RawPeer) -> None:
    peer.send(b"GET / HTTP/1.1\r\n\r\n")
    assert peer.read_pdu()[0] == 7


def no_answer_is_read(peer: RawPeer) -> None:
    peer.send(request_pdu(called="NODE"))


def rejected(peer: RawPeer) -> None:
    peer.send(request_pdu(called="NOBODY"))
    assert peer.read_pdu()[0] == 3


def closed_when_established(peer: RawPeer) -> None:
    peer.send(request_pdu(called="NODE"))
    assert peer.read_pdu()[0] == 2


def closed_after_an_echo(peer: RawPeer) -> None:
    closed_when_established(peer)
    peer.send(echo_pdus())
    assert status_of(peer.read_pdu()) == 0


def half_a_message(peer: RawPeer) -> None:
    closed_when_established(peer)
    peer.send(echo_pdus()[:30])


def aborts(peer: RawPeer) -> None:
    closed_when_established(peer)
    peer.send(ABORT_BY_USER)
    peer.read_to_end()


def what_is_no_pdu(peer: RawPeer) -> None:
    closed_when_established(peer)
    peer.send(b"\x63\x00\x00\x00\x00\x04\x00\x00\x00\x00")
    assert peer.read_pdu()[0] == 7


WAYS = (
    half_open,
    half_a_request,
    no_request,
    no_answer_is_read,
    rejected,
    closed_when_established,
    closed_after_an_echo,
    half_a_message,
    aborts,
    what_is_no_pdu,
)


@acceptors
@pytest.mark.parametrize("resets", [False, True])
def test_connections_that_break_off(acceptor: Acceptor, resets: bool, count: int) -> None:
    """In each of ten ways that are no release."""

    def use(times: int) -> None:
        for number in range(times):
            with RawPeer.connect(port) as peer:
                WAYS[number % len(WAYS)](peer)
                if resets:
                    peer.reset()

    with acceptor() as port:
        check_nothing_is_lost(use, count)
