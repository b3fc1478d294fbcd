"""Workers that accept on one listener, and who leaves a connection to whom."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from tests.sockets import PATIENCE

from dicomnet.drivers.blocking.fair_share import ConnectionCounts, FairShare
from dicomnet.drivers.blocking.watcher import Watcher


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    watcher = Watcher("test")
    yield watcher
    watcher.close()


def leaves(share: FairShare, watcher: Watcher) -> bool:
    """Whether it leaves the next connection, and looks again if it does."""
    again = threading.Event()
    is_left = share.leaves_next(watcher, again.set)
    assert not is_left or again.wait(PATIENCE)
    return is_left


def test_a_worker_leaves_connections_to_those_that_have_fewer(watcher: Watcher) -> None:
    counts = ConnectionCounts(3)
    shares = [FairShare(counts, slot) for slot in range(2)]
    counts.remove(2)
    assert not leaves(shares[0], watcher)
    shares[0].now_has(1)
    assert leaves(shares[0], watcher)
    assert not leaves(shares[1], watcher)
    shares[1].now_has(1)
    assert not leaves(shares[0], watcher)
    shares[1].remove()
    shares[0].now_has(9)
    assert not leaves(shares[0], watcher)
    watcher.close()
    for share in shares:
        share.close()


def test_nobody_is_waited_for_who_does_not_take_what_is_left(watcher: Watcher) -> None:
    counts = ConnectionCounts(2)
    share = FairShare(counts, 0)
    share.now_has(1)
    courtesies = 0
    while leaves(share, watcher):
        courtesies += 1
        assert courtesies < 1000
    # From then on it begins anew, also where another took one meanwhile.
    assert leaves(share, watcher)
    share.none_is_left()
    for _ in range(courtesies):
        assert leaves(share, watcher)
    assert not leaves(share, watcher)
    watcher.close()
    share.close()
