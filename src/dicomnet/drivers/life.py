"""The life of one association, shared by both drivers: its phase, what ended it, and what a happening means.

Nothing here waits, locks or writes. `Life.take` says what follows from a happening as a value, and a driver does that.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from time import monotonic
from typing import Any

from ..dimse.messages import C_STORE_RQ, Message
from ..errors import (
    AssociationAborted,
    AssociationClosed,
    AssociationRejected,
    DicomnetError,
    ProtocolError,
    TLSFailed,
)
from ..services.provider import provide, provide_stores, refuse_duplicate
from ..services.steps import Batch
from ..upper_layer.negotiation import Agreement, NegotiatedContext
from ..upper_layer.table import Event, State
from ..values import frozen, mutable
from ..wire.pdu import Abort, AssociateAC, AssociateRJ, AssociateRQ, ReleaseRP, ReleaseRQ
from .connection import Connection, Happening, ProviderAbort
from .conversation import Conversation
from .course import Delivery
from .deadline import Deadline, Timeouts
from .hooks import Hooks, Phase

_LIVE = (Phase.NEW, Phase.ESTABLISHED)


@mutable
class Perform:
    """Run a procedure for requests of the peer, whose message IDs are free again when it is over.

    Parameters
    ----------
    procedure
        What answers them.
    requests
        Those that were begun; more may be added while the procedure runs.
    """

    procedure: Generator[Any, Any, None]
    requests: Sequence[Message] = ()


@frozen
class Accept:
    """Answer an A-ASSOCIATE-RQ, as the association acceptor."""

    request: AssociateRQ


@frozen
class Tell:
    """Enter a phase, and tell the hooks of it. Where that is the end, close.

    Parameters
    ----------
    phase
        The phase that was reached.
    failure
        The error for those who use the association, None for a regular end.
    """

    phase: Phase
    failure: DicomnetError | None = None


@frozen
class Fail:
    """Abort the association for a fault of the peer, and raise that where the association is used.

    Parameters
    ----------
    pdu
        The A-ABORT to send.
    failure
        The error to raise.
    """

    pdu: Abort
    failure: AssociationAborted


@frozen
class Flush:
    """Write what the state machine wants written. Outcome: None."""

    deadline: Deadline


Consequence = Perform | Accept | Tell | Fail | Flush


class Life:
    """One association, as both drivers see it; the base of their links.

    Parameters
    ----------
    connection
        The protocol side.
    hooks
        The user's side.
    timeouts
        One deadline a stage; may be replaced at any time.
    """

    def __init__(self, connection: Connection, hooks: Hooks, timeouts: Timeouts) -> None:
        self.connection = connection
        self.hooks = hooks
        self.timeouts = timeouts
        self.phase = Phase.NEW
        self.failure: DicomnetError | None = None
        self.refusal: TLSFailed | None = None
        """Why the peer ended the connection behind the TLS handshake, if that is known."""
        self.talk = Conversation()
        self.iterations: list[Delivery] = []
        """The operations whose responses a user is taking."""

    @property
    def must_make_room(self) -> bool:
        """Whether responses to earlier requests have to be read before the next one goes out."""
        return bool(self.iterations) or self.talk.has_abandoned

    @property
    def is_retrieving(self) -> bool:
        """Whether a query or a retrieval of ours goes on, which may take long."""
        return any(each.can_be_cancelled for each in self.iterations)

    def message_deadline(self) -> Deadline:
        """The end of the time for a message that begins now."""
        return Deadline("message", self.timeouts.message, self.progress)

    def progress(self) -> object:
        """A measure that changes while the peer reads what we have written, or does what `Timeouts.progress` sees."""
        elsewhere = self.timeouts.progress
        return self.unacknowledged(), elsewhere and elsewhere()

    def unacknowledged(self) -> int:
        """How many bytes that were written have not reached the peer, as far as that is known."""
        raise NotImplementedError

    def forget_iteration(self, iteration: Delivery) -> None:
        """An iteration has read its last response."""
        self.iterations = [each for each in self.iterations if each is not iteration]

    @property
    def is_live(self) -> bool:
        """Whether the association is not over; it may not have begun."""
        return self.phase in _LIVE

    @property
    def agreement(self) -> Agreement:
        """What was negotiated; raises AssociationClosed before that."""
        if self.connection.agreement is None:
            raise AssociationClosed
        return self.connection.agreement

    def next_message_id(self) -> int:
        """A message ID that no outstanding request of ours has."""
        return self.talk.next_message_id()

    def check_established(self) -> None:
        """Raise what ended the association, or AssociationClosed, unless it is established."""
        if self.phase is not Phase.ESTABLISHED:
            raise self.failure or AssociationClosed()

    def enter(self, phase: Phase, failure: DicomnetError | None = None) -> bool:
        """Go on to a phase; False where the association is over already, and stays as it ended."""
        if self.phase not in _LIVE:
            return False
        self.phase, self.failure = phase, failure
        return True

    def take(self, happening: Happening) -> Consequence | None:
        """What follows from a happening that nobody waits for; None where nothing does."""
        if not isinstance(happening, Message):
            return _TAKEN[type(happening)](self, happening)
        if not happening.type.is_response:
            return self._take_request(happening)
        if self.talk.match_response(happening):
            self.talk.keep_answer(happening)
            return None
        return self.check_strays()

    def take_end(self, end: Abort | ProviderAbort) -> Tell:
        """What follows from the end of the association."""
        if isinstance(end, Abort):
            return Tell(Phase.ABORTED, AssociationAborted(end.source, end.reason))
        cause = str(end.error) if end.error else ""
        return Tell(Phase.ABORTED, self.refusal or AssociationAborted(None, 0, cause))

    def check_strays(self) -> Fail | None:
        """What follows from a response that answers nothing: with too many of them, the end."""
        try:
            self.talk.check_strays()
        except ProtocolError as error:
            return _fail(error)
        return None

    def answer(self, answer: tuple[AssociateAC, Agreement] | AssociateRJ) -> Tell | Fail | None:
        """Answer the request for the association; what is left to do, None where it was aborted in the meantime."""
        if self.phase is not Phase.NEW or not self.connection.machine.allows(Event.ACCEPT):
            return None
        now = monotonic()
        if isinstance(answer, AssociateRJ):
            self.connection.reject(answer, now)
            return Tell(Phase.REJECTED)
        try:
            self.connection.accept(*answer, now)
        except ProtocolError as error:
            return _fail(error)
        return Tell(Phase.ESTABLISHED)

    def next_part(self, batch: Batch) -> Sequence[tuple[Message, NegotiatedContext]]:
        """The C-STORE requests that are here and belong to a batch, begun and out of the inbox."""
        room = batch.room(monotonic())
        batch.add(self.talk.begin_next(C_STORE_RQ, room) if room > 0 else ())
        contexts = self.agreement.contexts
        return [(each, contexts[each.context_id]) for each in batch.take_part()]

    def _take_request(self, message: Message) -> Perform:
        if not self.talk.begin(message.message_id):
            return Perform(refuse_duplicate(message))
        stores = self.hooks.stores if message.type is C_STORE_RQ else None
        if stores is None:
            procedure = provide(message, self.agreement.contexts[message.context_id])
            return Perform(procedure, (message,))
        # A peer without a window sends the next one when it has heard of this one.
        may_come = self.agreement.performed != 1
        batch = Batch(stores, message, monotonic(), len(self.talk.inbox) if may_come else None)
        return Perform(provide_stores(batch), batch.requests)

    def _take_release(self, pdu: ReleaseRQ | ReleaseRP) -> Tell | Flush:
        """The peer asked for release, or answered ours, or both at once (PS3.8 section 7.2.2)."""
        machine = self.connection.machine
        answers = machine.allows(Event.RELEASE_RESPONSE)
        if answers:
            self.connection.answer_release(monotonic())
        if isinstance(pdu, ReleaseRP) or (answers and machine.state is State.STA13):
            return Tell(Phase.RELEASED)
        return Flush(Deadline("release", self.timeouts.association))


def _fail(error: ProtocolError) -> Fail:
    return Fail(Abort(2, error.reason), AssociationAborted(None, 0, str(error)))


_TAKEN: dict[type, Callable[[Life, Any], Consequence | None]] = {
    AssociateRQ: lambda life, pdu: Accept(pdu),
    AssociateAC: lambda life, pdu: Tell(Phase.ESTABLISHED),
    AssociateRJ: lambda life, pdu: Tell(
        Phase.REJECTED, AssociationRejected(pdu.result, pdu.source, pdu.reason)
    ),
    ReleaseRQ: Life._take_release,
    ReleaseRP: Life._take_release,
    Abort: Life.take_end,
    ProviderAbort: Life.take_end,
}
