"""Associations that are over while their peers leave TCP open: they do not count among those that may be open."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.associations import serving_ae
from tests.interop.peers import aio_server
from tests.sockets import (
    ABORT_BY_USER,
    RELEASE_RP,
    RELEASE_RQ,
    VERIFICATION,
    RawPeer,
    echo_pdus,
    request_pdu,
    status_of,
)
from tests.support import serving, wait_until

LIMIT = 3
# The port, and how many associations may be open.
Acceptor = Callable[[Path], contextlib.AbstractContextManager[tuple[int, int]]]


@contextlib.contextmanager
def node(folder: Path) -> Iterator[tuple[int, int]]:
    with serving(folder) as served:
        yield served.port, 256


@contextlib.contextmanager
def ae(folder: Path) -> Iterator[tuple[int, int]]:
    with serving_ae(maximum_associations=LIMIT) as server:
        yield server.server_address[1], LIMIT


@contextlib.contextmanager
def in_asyncio(folder: Path) -> Iterator[tuple[int, int]]:
    with aio_server([VERIFICATION], {}, maximum_associations=LIMIT) as port:
        yield port, LIMIT


acceptors = pytest.mark.parametrize("acceptor", [node, ae, in_asyncio], ids=["node", "AE", "aio"])


def opened(port: int, stack: contextlib.ExitStack) -> RawPeer | None:
    """An association, None where it is rejected."""
    peer = stack.enter_context(RawPeer.connect(port))
    peer.send(request_pdu())
    kind = peer.read_pdu()[0]
    assert kind in (2, 3)
    return peer if kind == 2 else None


def opened_soon(port: int, stack: contextlib.ExitStack) -> RawPeer:
    """An association; the slot of the one before is free a moment after its end."""
    found: list[RawPeer] = []

    def attempt() -> bool:
        peer = opened(port, stack)
        found.extend([] if peer is None else [peer])
        return bool(found)

    wait_until(attempt)
    return found[0]


@acceptors
def test_released_associations_kept_their_slots(acceptor: Acceptor, tmp_path: Path) -> None:
    """Each slot is used by an association that is released, and none of the connections is closed."""
    with acceptor(tmp_path) as (port, limit), contextlib.ExitStack() as stack:
        for _ in range(limit + LIMIT):
            peer = opened_soon(port, stack)
            peer.send(RELEASE_RQ)
            assert peer.read_pdu() == RELEASE_RP


@acceptors
def test_aborted_and_rejected_associations_kept_their_slots(acceptor: Acceptor, tmp_path: Path) -> None:
    """Of what is open none is lost meanwhile, and as many may be open as before."""
    with acceptor(tmp_path) as (port, limit), contextlib.ExitStack() as stack:
        peers: list[RawPeer] = []
        for _ in range(limit):
            first = opened(port, stack)
            assert first is not None
            peers.append(first)
        assert opened(port, stack) is None
        # Of its user, of its provider because of a PDU that is none, and of one that nobody expects.
        for peer, last in zip(peers[:LIMIT], (ABORT_BY_USER, b"\x09\0\0\0\0\0", RELEASE_RP), strict=True):
            peer.send(last)
        for _ in range(LIMIT):
            peer = opened_soon(port, stack)
            peer.send(echo_pdus())
            assert status_of(peer.read_pdu()) == 0x0000
        assert opened(port, stack) is None
        for peer in peers[LIMIT:]:
            peer.send(echo_pdus())
            assert status_of(peer.read_pdu()) == 0x0000
