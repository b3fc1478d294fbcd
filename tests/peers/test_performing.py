"""Which association an operation of a peer uses, without a socket; and that both faces perform all there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import pytest

from dicomnet.aio import peer as aio_peer
from dicomnet.aio import retrieval as aio_retrieval
from dicomnet.blocking import peer as blocking_peer
from dicomnet.blocking import retrieval as blocking_retrieval
from dicomnet.drivers.hooks import Phase
from dicomnet.exchange import operations, retrieval
from dicomnet.exchange.contexts import NATIVE, VERIFICATION, Proposal
from dicomnet.exchange.operations import Leave, Operation, Report, Use
from dicomnet.peers.base import PeerBase
from dicomnet.peers.performing import Call, PerformanceBase

PROPOSAL: Proposal = ((VERIFICATION, NATIVE),)
OTHER: Proposal = (("1.2.840.10008.5.1.4.1.1.2", NATIVE),)


@pytest.mark.parametrize(
    "performers", [blocking_peer._PERFORMERS, aio_peer._PERFORMERS], ids=["calls", "await"]
)
def test_both_faces_perform_each_step_of_an_operation(performers: Mapping[type, Any]) -> None:
    # What is reported is handed out, not performed.
    assert performers.keys() == {*get_args(operations.Step), Call} - {Report}


@pytest.mark.parametrize(
    "performers", [blocking_retrieval._PERFORMERS, aio_retrieval._PERFORMERS], ids=["calls", "await"]
)
def test_both_faces_perform_each_step_of_a_retrieval(performers: Mapping[type, Any]) -> None:
    assert performers.keys() == set(get_args(retrieval.Step))


class Association:
    """An association that was negotiated, as far as an operation sees that."""

    agreement: Any = None

    def __init__(self) -> None:
        self.phase = Phase.ESTABLISHED

    def next_message_id(self) -> int:
        return 1


class Face(PerformanceBase[Any, Any, Any]):
    """Notes what is opened and released, and does it at once."""

    def __init__(self, peer: PeerBase[Any, Any]) -> None:
        super().__init__(peer, nothing())
        self.done: list[tuple[str, Any]] = []

    def _do(self, calls: Any) -> Any:
        outcome = None
        while True:
            try:
                outcome = calls.send(outcome).function()
            except StopIteration as stop:
                return stop.value

    def _open(self, request: Any, hooks: Any, timeouts: Any) -> Association:
        link = Association()
        self._peer._pool.add(link)
        self.done.append(("open", link))
        return link

    def _release(self, links: Any) -> None:
        self.done += [("release", link) for link in links]

    def _lost(self, link: Any) -> None:
        self.done.append(("lost", link))


class AnyPeer(PeerBase[Any, Any]):
    @staticmethod
    def _forget(links: Any) -> None: ...


def nothing() -> Operation[None]:
    return
    yield


@pytest.fixture
def face() -> Face:
    return Face(AnyPeer("PACS@127.0.0.1:104"))


def test_an_idle_association_is_used_again_where_it_proposed_the_same(face: Face) -> None:
    first = face._do(face.use(Use(PROPOSAL)))
    link = face.link
    face._do(face.leave(Leave()))
    second = face._do(face.use(Use(PROPOSAL)))
    assert face.link is link
    assert (first.is_reused, second.is_reused) == (False, True)
    assert face.done == [("open", link)]


def test_an_idle_association_makes_room_for_one_that_proposes_something_else(face: Face) -> None:
    face._do(face.use(Use(PROPOSAL)))
    link = face.link
    lease = face._do(face.use(Use(OTHER)))
    assert not lease.is_reused
    assert face.done == [("open", link), ("release", link), ("open", face.link)]


def test_an_association_that_is_over_is_not_kept(face: Face) -> None:
    face._do(face.use(Use(PROPOSAL)))
    link = face.link
    link.phase = Phase.ABORTED
    assert not face._do(face.use(Use(PROPOSAL))).is_reused
    assert face.done == [("open", link), ("lost", link), ("open", face.link)]
