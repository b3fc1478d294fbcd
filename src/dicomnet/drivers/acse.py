"""The procedures of an association as generators, shared by both drivers: request, accept and release.

They act on a `Life`, which is why they are here and not in the upper layer; a driver performs their steps, and those
that `Life.take` gives (PS3.8 sections 7.1 and 7.2).
"""

from __future__ import annotations

from collections.abc import Generator
from time import monotonic
from typing import Any

from ..dimse.datasets import discard
from ..dimse.messages import Message
from ..services.steps import Send
from ..upper_layer.table import Event
from ..values import frozen
from ..wire.pdu import AssociateRQ
from .course import Advance, Arrive, Delivery, Value
from .deadline import Deadline
from .hooks import Phase
from .life import Consequence, Flush, Life, Tell


@frozen
class Handshake:
    """Finish the handshake of TLS, where the connection has one and the driver has not done it. Outcome: None."""

    deadline: Deadline


@frozen
class Await:
    """Wait for the next happening. Outcome: the `Happening`."""

    deadline: Deadline


@frozen
class Negotiate:
    """Ask the user's side for the answer to a request. Outcome: A-ASSOCIATE-AC with agreement, or A-ASSOCIATE-RJ."""

    request: AssociateRQ


AssociationProcedure = Generator[
    Handshake | Await | Negotiate | Consequence | Send | Advance | Arrive, Any, None
]


def request(life: Life, request: AssociateRQ, deadline: Deadline) -> AssociationProcedure:
    """Ask for the association and wait for the answer.

    Raises
    ------
    AssociationRejected, AssociationAborted
        If it is not established.
    """
    yield Handshake(deadline)
    life.connection.transport_opened(monotonic(), request)
    yield Flush(deadline)
    while life.phase is Phase.NEW:
        yield from _serve_next(life, deadline)
    life.check_established()


def accept(life: Life, request: AssociateRQ) -> AssociationProcedure:
    """Answer a request for the association."""
    consequence = life.answer((yield Negotiate(request)))
    if isinstance(consequence, Tell) and consequence.phase is Phase.ESTABLISHED:
        yield Flush(Deadline("association", life.timeouts.association))
    if consequence is not None:
        yield consequence


def release(life: Life, deadline: Deadline) -> AssociationProcedure:
    """Ask for release and wait until the association is over. Messages that still come are dropped.

    Raises
    ------
    AssociationError
        If the association is over, or ends otherwise.
    """
    yield from make_room(life)
    life.check_established()
    if life.connection.machine.allows(Event.RELEASE_REQUEST):
        life.connection.release(monotonic())
        yield Flush(deadline)
    while life.phase is Phase.ESTABLISHED:
        happening = yield Await(deadline)
        if isinstance(happening, Message):
            discard(happening.data)
            continue
        consequence = life.take(happening)
        if consequence is not None:
            yield consequence
    if life.failure is not None:
        raise life.failure


def make_room(life: Life) -> AssociationProcedure:
    """Read the responses to earlier requests, so that the next one gets its own."""
    for iteration in list(life.iterations):
        yield from iteration.drain()
    deadline = life.message_deadline()
    while life.talk.has_abandoned and life.phase is Phase.ESTABLISHED:
        yield from _serve_next(life, deadline)


def after_others(life: Life, procedure: Generator[Any, Any, Value]) -> Generator[Any, Any, Value]:
    """A procedure behind the reading of responses to earlier requests, where there are any."""
    return _after_others(life, procedure) if life.must_make_room else procedure


def _after_others(life: Life, procedure: Generator[Any, Any, Value]) -> Generator[Any, Any, Value]:
    yield from make_room(life)
    return (yield from procedure)


def begin(life: Life, iteration: Delivery[Any]) -> AssociationProcedure:
    """Begin an operation whose responses a user takes."""
    life.iterations.append(iteration)
    yield Advance(iteration, once=True)


def free_message_id(life: Life, wanted: int) -> Generator[Any, Any, int]:
    """`wanted`, or a free ID if one of our requests uses it that is not over when earlier responses are read."""
    yield from make_room(life)
    return life.talk.free_message_id(wanted)


def _serve_next(life: Life, deadline: Deadline) -> AssociationProcedure:
    consequence = life.take((yield Await(deadline)))
    if consequence is not None:
        yield consequence
