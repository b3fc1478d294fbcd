"""What an acceptor's handler sees of a request for an association, and what its answers become."""

from __future__ import annotations

import pytest
from tests.sockets import CT_IMAGE_STORAGE

from dicomnet.errors import REJECT_REASONS, AssociationRejected
from dicomnet.exchange.addresses import PeerAddress, association_request
from dicomnet.exchange.admission import AssociationRequest, extended_items, identity_item, rejection_of
from dicomnet.values import replace
from dicomnet.wire.items import SOPClassExtendedNegotiation, UserIdentityAC, UserIdentityRQ, UserItem
from dicomnet.wire.pdu import AssociateRJ, AssociateRQ


def request(*items: UserItem) -> AssociateRQ:
    made = association_request(PeerAddress.parse("LOOP@host:104"), "ME", [(CT_IMAGE_STORAGE, ("1.2",))], 1)
    return replace(made, user_items=(*made.user_items, *items))


def test_a_request_without_further_negotiation() -> None:
    seen = AssociationRequest(("10.0.0.1", 1234), request())
    assert (seen.calling, seen.called, seen.address) == ("ME", "LOOP", ("10.0.0.1", 1234))
    assert (seen.identity, seen.extended, seen.common_extended) == (None, {}, ())


@pytest.mark.parametrize(
    ("kind", "is_asked", "response", "expected"),
    [
        (1, True, b"", b""),
        (2, True, b"ignored", b""),
        (3, True, b"ticket", b"ticket"),
        (4, True, b"assertion", b"assertion"),
        (5, True, b"token", b"token"),
        (3, True, None, None),
        (3, False, b"ticket", None),
    ],
)
def test_the_answer_to_a_user_identity(
    kind: int, is_asked: bool, response: bytes | None, expected: bytes | None
) -> None:
    item = UserIdentityRQ(kind, b"who", b"passcode" if kind == 2 else b"", is_asked)
    answer = identity_item(request(item), response)
    assert answer == (None if expected is None else UserIdentityAC(expected))


def test_only_what_was_asked_for_is_answered() -> None:
    asked = request(SOPClassExtendedNegotiation(CT_IMAGE_STORAGE, b"\1"))
    answers = {"1.2.3": b"\2", CT_IMAGE_STORAGE: b"\3"}
    assert extended_items(asked, answers) == (SOPClassExtendedNegotiation(CT_IMAGE_STORAGE, b"\3"),)
    assert extended_items(request(), answers) == ()
    with pytest.raises(ValueError):
        extended_items(asked, {CT_IMAGE_STORAGE: bytes(1 << 16)})


@pytest.mark.parametrize(("source", "reason"), REJECT_REASONS)
@pytest.mark.parametrize("result", [1, 2])
def test_every_rejection_of_the_standard(result: int, source: int, reason: int) -> None:
    assert rejection_of(AssociationRejected(result, source, reason)) == AssociateRJ(result, source, reason)


@pytest.mark.parametrize(
    "error", [AssociationRejected(3, 1, 1), AssociationRejected(1, 1, 99), RuntimeError("broken")]
)
def test_a_handler_that_fails_rejects(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    assert rejection_of(error) == AssociateRJ(1, 1, 1)
    assert len(caplog.records) == 1
