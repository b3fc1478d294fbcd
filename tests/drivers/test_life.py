"""What a happening means for an association, without a socket: by the bytes of a peer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.sockets import (
    CT_IMAGE_STORAGE,
    RELEASE_RP,
    RELEASE_RQ,
    VERIFICATION,
    acceptance_of,
    echo_pdus,
    message_pdus,
    request_pdu,
    store_pdus,
)

from dicomnet.dimse.datasets import MemorySink, Sink
from dicomnet.dimse.messages import C_ECHO_RQ, C_STORE_RQ, Message, respond
from dicomnet.drivers.connection import STRAY_LIMIT, Connection
from dicomnet.drivers.deadline import Timeouts
from dicomnet.drivers.hooks import Phase, WithoutRetrieval
from dicomnet.drivers.life import Accept, Consequence, Fail, Flush, Life, Perform, Tell
from dicomnet.errors import AssociationAborted, AssociationClosed, AssociationRejected, ServiceRefusal
from dicomnet.services.steps import Answer, MoreStores, Send, Stores
from dicomnet.upper_layer.negotiation import (
    Acceptor,
    NegotiatedContext,
    SupportedContext,
    accept,
    identification_items,
)
from dicomnet.wire.pdu import AssociateRJ, AssociateRQ, decode_pdu

CONTEXTS = ((1, VERIFICATION), (3, CT_IMAGE_STORAGE))
SUPPORTED = Acceptor(
    {uid: SupportedContext(("1.2.840.10008.1.2",)) for _, uid in CONTEXTS},
    identification_items(16384, "1.2.3", None),
    performed_window=16,
)


class User(WithoutRetrieval):
    def __init__(self, stores: Stores | None = None) -> None:
        self._stores = stores

    @property
    def stores(self) -> Stores | None:
        return self._stores

    def negotiate(self, request: AssociateRQ) -> Any:
        raise AssertionError("a driver asks, not the life of the association")

    def open_sink(self, message: Message, context: NegotiatedContext) -> Sink:
        return MemorySink(1 << 20)

    def handle(self, message: Message, context: NegotiatedContext) -> Any:
        raise AssertionError("a driver asks, not the life of the association")

    def next_answer(self, answers: Any) -> Any:
        raise AssertionError("a driver asks, not the life of the association")

    def refused(self, message: Message, refusal: ServiceRefusal) -> None: ...

    def phase_changed(self, phase: Phase) -> None:
        raise AssertionError("a driver tells, not the life of the association")

    def closed(self) -> None: ...


class Kept:
    def place(self, requests: Sequence[Message]) -> None: ...

    def settle(self, requests: Sequence[Message]) -> list[Answer]:
        return [Answer(0) for _ in requests]


def life_of(*, is_requestor: bool, stores: Stores | None = None) -> Life:
    user = User(stores)
    connection = Connection(
        is_requestor=is_requestor, maximum_length=16384, open_sink=user.open_sink, artim=None
    )
    return Life(connection, user, Timeouts())


def hear(life: Life, data: bytes) -> list[Consequence | None]:
    """What follows from bytes of the peer."""
    return [life.take(happening) for happening in life.connection.receive(memoryview(data), 0.0)]


def do(life: Life, consequences: list[Consequence | None]) -> None:
    """Do as a driver does about phases."""
    for each in consequences:
        if isinstance(each, Tell):
            life.enter(each.phase, each.failure)


def accepted(stores: Stores | None = None) -> Life:
    """An association that a peer has asked for and got."""
    life = life_of(is_requestor=False, stores=stores)
    life.connection.transport_opened(0.0)
    (consequence,) = hear(life, request_pdu(*CONTEXTS, window=16))
    assert isinstance(consequence, Accept)
    tell = life.answer(accept(consequence.request, SUPPORTED))
    assert tell == Tell(Phase.ESTABLISHED)
    do(life, [tell])
    return life


def requested(answer: bytes = b"") -> tuple[Life, list[Consequence | None]]:
    """An association that was asked for, and what follows from the answer."""
    life = life_of(is_requestor=True)
    request = request_pdu(*CONTEXTS)
    asked = decode_pdu(1, memoryview(request)[6:])
    assert isinstance(asked, AssociateRQ)
    life.connection.transport_opened(0.0, asked)
    return life, hear(life, answer or acceptance_of(request))


def test_an_acceptance_establishes_the_association() -> None:
    life, consequences = requested()
    assert consequences == [Tell(Phase.ESTABLISHED)]
    with pytest.raises(AssociationClosed):
        life.check_established()
    do(life, consequences)
    life.check_established()
    assert life.agreement.contexts.keys() == {1, 3}


def test_a_rejection_is_the_failure_of_the_request() -> None:
    life, consequences = requested(AssociateRJ(1, 2, 2).encode())
    do(life, consequences)
    assert life.phase is Phase.REJECTED
    with pytest.raises(AssociationRejected) as caught:
        life.check_established()
    assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 2, 2)


@pytest.mark.parametrize("is_requestor", [True, False])
def test_an_abort_is_the_failure_of_whoever_uses_the_association(is_requestor: bool) -> None:
    life = requested()[0] if is_requestor else accepted()
    do(life, [Tell(Phase.ESTABLISHED)])
    do(life, hear(life, bytes.fromhex("07000000000400000201")))
    assert life.phase is Phase.ABORTED
    with pytest.raises(AssociationAborted) as caught:
        life.check_established()
    assert (caught.value.source, caught.value.reason) == (2, 1)


def test_an_association_that_is_over_stays_as_it_ended() -> None:
    life = accepted()
    assert life.enter(Phase.RELEASED)
    assert not life.enter(Phase.ABORTED, AssociationAborted(None))
    assert (life.phase, life.failure) == (Phase.RELEASED, None)
    assert not life.is_live


def test_a_request_for_release_is_answered() -> None:
    life = accepted()
    assert hear(life, RELEASE_RQ) == [Tell(Phase.RELEASED)]
    assert b"".join(life.connection.take_outgoing()).endswith(RELEASE_RP)


def test_in_a_collision_the_requestor_answers_and_goes_on_waiting() -> None:
    """PS3.8 section 7.2.2."""
    life, consequences = requested()
    do(life, consequences)
    life.connection.release(0.0)
    life.connection.take_outgoing()
    (consequence,) = hear(life, RELEASE_RQ)
    assert isinstance(consequence, Flush)
    assert life.connection.take_outgoing() == [RELEASE_RP]
    assert hear(life, RELEASE_RP) == [Tell(Phase.RELEASED)]


def test_what_was_aborted_before_it_was_answered_is_not_accepted() -> None:
    life = life_of(is_requestor=False)
    life.connection.transport_opened(0.0)
    consequences = hear(life, request_pdu(*CONTEXTS) + bytes.fromhex("07000000000400000000"))
    assert isinstance(consequences[0], Accept)
    assert life.answer(accept(consequences[0].request, SUPPORTED)) is None
    assert life.connection.agreement is None


def test_a_request_is_performed_and_its_message_id_taken_until_it_is_over() -> None:
    life = accepted()
    (perform,) = hear(life, echo_pdus(7))
    assert isinstance(perform, Perform)
    assert [each.message_id for each in perform.requests] == [7]
    (again,) = hear(life, echo_pdus(7))
    assert isinstance(again, Perform)
    assert not again.requests
    refusal = next(again.procedure)
    assert isinstance(refusal, Send)
    assert refusal.message.status == 0x0210
    life.talk.finish(perform.requests)
    (anew,) = hear(life, echo_pdus(7))
    assert isinstance(anew, Perform)
    assert [each.type for each in anew.requests] == [C_ECHO_RQ]


def test_stores_that_come_behind_the_first_join_its_batch() -> None:
    life = accepted(Kept())
    numbers = list(range(1, 5))
    happenings = life.connection.receive(
        memoryview(b"".join(store_pdus(b"x", message_id=each, context_id=3) for each in numbers)), 0.0
    )
    first, *others = happenings
    for happening in others:
        life.talk.arrived(happening)
    perform = life.take(first)
    assert isinstance(perform, Perform)
    step = next(perform.procedure)
    assert isinstance(step, MoreStores)
    part = life.next_part(step.batch)
    assert [message.message_id for message, _ in part] == numbers
    assert all(context.context_id == 3 and message.type is C_STORE_RQ for message, context in part)
    assert [each.message_id for each in perform.requests] == numbers
    assert not any(life.talk.begin(each) for each in numbers)
    life.talk.finish(perform.requests)
    assert all(life.talk.begin(each) for each in numbers)
    perform.procedure.close()


def test_a_flood_of_responses_that_answer_nothing_ends_it() -> None:
    life, consequences = requested()
    do(life, consequences)
    stray = message_pdus(
        respond(Message(C_ECHO_RQ, {"AffectedSOPClassUID": VERIFICATION, "MessageID": 9}, 1), 0)
    )
    assert hear(life, stray * STRAY_LIMIT) == [None] * STRAY_LIMIT
    (fail,) = hear(life, stray)
    assert isinstance(fail, Fail)
    assert fail.pdu.source == 2
