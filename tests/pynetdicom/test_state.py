"""What the parts of an association share, as a program sees it through `Association`."""

from __future__ import annotations

import pytest
from tests.associations import associated, serving_ae
from tests.scripted import accepting
from tests.sockets import RELEASE_RP, VERIFICATION, RawPeer, raw_server
from tests.support import wait_until

from dicomnet import build_context
from dicomnet.errors import AssociationAborted, AssociationClosed
from dicomnet.pynetdicom.association import Association
from dicomnet.pynetdicom.events import Bindings
from dicomnet.pynetdicom.state import DEFAULT_TIMEOUTS, AssociationState
from dicomnet.wire.pdu import Abort, AssociateRJ


def fresh() -> AssociationState:
    return AssociationState(Bindings(), DEFAULT_TIMEOUTS)


def flags(assoc: Association) -> set[str]:
    names = ("is_established", "is_released", "is_aborted", "is_rejected")
    return {name for name in names if getattr(assoc, name)}


def test_an_association_without_a_connection_cannot_be_used_or_ended() -> None:
    state = fresh()
    with pytest.raises(AssociationClosed):
        state.live()
    with pytest.raises(RuntimeError):
        state.reject(AssociateRJ(1, 1, 1))
    state.abort()
    assert state.rejection is None
    assert not state.finished.is_set()
    assert flags(Association(None, "requestor")) == set()


def test_the_flags_are_not_set_from_outside() -> None:
    with serving_ae() as server, associated(server) as assoc:
        for name in ("is_established", "is_released", "is_aborted", "is_rejected"):
            with pytest.raises(AttributeError):
                setattr(assoc, name, False)
        assert flags(assoc) == {"is_established"}
        assoc.release()
        assert flags(assoc) == {"is_released"}


def test_what_is_set_before_there_is_a_link_holds_for_it() -> None:
    """The association is released when idle, which was chosen while it did not exist."""
    seen: list[bytes] = []

    def then(peer: RawPeer) -> None:
        seen.append(peer.read_pdu()[:1])
        peer.send(RELEASE_RP)

    with (
        raw_server(accepting(then)) as port,
        associated(port, contexts=[build_context(VERIFICATION)]) as assoc,
    ):
        state = fresh()
        state.set_timeouts(idle=0.1)
        state.releases_when_idle = True
        link = assoc.state.live()
        state.attach(link)
        assert link.timeouts == state.timeouts
        assert (link.timeouts.idle, link.timeouts.message) == (0.1, 30)
        assert link.releases_when_idle
        assoc.release()
        assert seen == [b"\x05"]


def test_an_abort_names_its_source_and_happens_once() -> None:
    with serving_ae() as server, associated(server) as assoc:
        (accepted,) = server.active_associations
        assoc.state.abort(Abort(2, 6))
        wait_until(lambda: accepted.is_aborted)
        assert isinstance(accepted.failure, AssociationAborted)
        assert (accepted.failure.source, accepted.failure.reason) == (2, 6)
        assert flags(assoc) == {"is_aborted"}
        failure = assoc.failure
        assoc.state.abort()
        assert assoc.failure is failure
