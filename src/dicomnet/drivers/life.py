"""The life of one association, shared by both drivers: its phase, what ended it, and what a happening means.

Nothing here waits, locks or writes. `Life.take` says what follows from a happening as a value, and a driver does that.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from time import monotonic
from typing import Any, ClassVar

from ..dimse.messages import C_STORE_RQ, Message
from ..errors import (
    AssociationAborted,
    AssociationClosed,
    AssociationRejected,
    AssociationReleased,
    DicomnetError,
    NetworkError,
    ProtocolError,
    TLSFailed,
)
from ..services.steps import Batch, Part, Procedure
from ..upper_layer.negotiation import Agreement
from ..upper_layer.table import Event, State
from ..values import frozen, mutable
from ..wire.pdu import Abort, AssociateAC, AssociateRJ, AssociateRQ, ReleaseRP, ReleaseRQ
from .buffers import Lent
from .connection import LAST_BYTES, Connection, Happening, ProviderAbort
from .conversation import Conversation
from .course import Delivery
from .deadline import Deadline, Timeouts
from .hooks import Hooks, Phase

_LIVE = (Phase.NEW, Phase.ESTABLISHED)
# Where both sides have asked for release (PS3.8 section 9.2).
_COLLIDED = (State.STA9, State.STA10, State.STA11, State.STA12)


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
    on_closed
        Called once, when the association is over and the connection is closed.
    """

    performers: ClassVar[Mapping[type, Callable[[Any, Any], object]]]

    def __init__(
        self,
        connection: Connection,
        hooks: Hooks,
        timeouts: Timeouts,
        on_closed: Callable[[Any], None] | None = None,
    ) -> None:
        self.connection = connection
        self.hooks = hooks
        self.timeouts = timeouts
        self.phase = Phase.NEW
        self.failure: DicomnetError | None = None
        self.released: AssociationReleased | None = None
        """What those who use the association later find, where the peer has released it."""
        self.refusal: TLSFailed | None = None
        """Why the peer ended the connection behind the TLS handshake, if that is known."""
        self.talk = Conversation(connection.trace)
        self.iterations: list[Delivery[Any]] = []
        """The operations whose responses a user is taking."""
        self._on_closed = on_closed
        self._buffer = Lent()
        # How much of what comes after the end is read for the peer's sake, in bytes.
        self._unread = LAST_BYTES
        self._is_over = False
        self._next_look = 0.0

    def run(self, procedure: Generator[Any, Any, Any], deadline: Deadline | None = None) -> Any:
        """Run a procedure to its end, when its turn has come: what it returns, which may have to be awaited.

        Parameters
        ----------
        deadline
            By when another thread must have done with the association, by default that of a message.
        """
        raise NotImplementedError

    def iterate(self, procedure: Procedure[None], cancel: Message | None = None) -> Any:
        """Begin a procedure at once, and hand out what it delivers as it arrives, which may have to be awaited.

        Left early, the rest is read away before the next use of the association.

        Parameters
        ----------
        cancel
            The C-CANCEL-RQ to send first in that case.
        """
        raise NotImplementedError

    def abort(self, pdu: Abort | None = None, failure: DicomnetError | None = None) -> None:
        """End the association at once; what waits for it ends with an error."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection, whatever the state; nothing is sent."""
        raise NotImplementedError

    def _hear_the_rest(self) -> None:
        """Read what the peer said before the connection broke, where it has not been read."""

    def _give_up(self) -> None:
        """End what a broken connection has left."""
        raise NotImplementedError

    def _flush_quietly(self) -> None:
        """Write the machine's last words to a peer that may not want to hear them any more."""
        raise NotImplementedError

    def _change_phase(self, phase: Phase, failure: DicomnetError | None = None) -> object:
        """Enter a phase, unless the association is over, and tell the hooks."""
        raise NotImplementedError

    def _end(self, phase: Phase, failure: DicomnetError | None = None) -> None:
        """Enter the last phase, and close the connection when the peer has had its chance to."""
        raise NotImplementedError

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

    def forget_iteration(self, iteration: Delivery[Any]) -> None:
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
        """Raise what ended the association unless it is established."""
        if self.phase is not Phase.ESTABLISHED:
            raise self.what_ended()

    def what_ended(self) -> DicomnetError:
        """Why the association, which is over, cannot be used."""
        return self.failure or self.released or AssociationClosed()

    def what_closed(self) -> AssociationClosed:
        """Why the association, which is over, cannot be used for something new."""
        return self.released or AssociationClosed(str(self.failure or ""))

    def enter(self, phase: Phase, failure: DicomnetError | None = None) -> bool:
        """Go on to a phase; False where the association is over already, and stays as it ended."""
        if self.phase not in _LIVE:
            return False
        self.phase, self.failure = phase, failure
        return True

    def announce(self, phase: Phase, failure: DicomnetError | None) -> None:
        """Tell the log and the hooks of the phase that was entered."""
        self.connection.trace.entered(phase, failure)
        self.hooks.phase_changed(phase)

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
        if end.error is None and self.released is not None and self.released.was_awaited:
            # It asked for release, and did not wait for the answer.
            return Tell(Phase.ABORTED, self.released)
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

    def next_part(self, batch: Batch) -> Part:
        """The C-STORE requests that are here and belong to a batch, begun and out of the inbox."""
        room = batch.room(monotonic())
        batch.add(self.talk.begin_next(C_STORE_RQ, room) if room > 0 else ())
        contexts = self.agreement.contexts
        return [(each, contexts[each.context_id]) for each in batch.take_part()]

    def _perform_tell(self, step: Tell) -> None:
        if step.phase is Phase.ESTABLISHED:
            self._change_phase(step.phase)
            return
        self._flush_quietly()
        self._end(step.phase, step.failure)

    def _perform_fail(self, step: Fail) -> None:
        self.abort(step.pdu, step.failure)
        self.check_established()

    def _lost(self) -> DicomnetError:
        """The connection broke while we used it: find out what the peer said before."""
        self._hear_the_rest()
        if (end := self.talk.end()) is not None:
            self._perform_tell(self.take_end(end))
        self._give_up()
        return self.what_ended()

    def _why_not_sent(self) -> DicomnetError:
        """Why nothing can be sent: the connection broke unnoticed, or the association is over."""
        return self._lost() if self.phase is Phase.ESTABLISHED else self.what_closed()

    @property
    def _is_turned_away(self) -> bool:
        """Whether the state machine has refused what came instead of a request, and waits for the peer to close."""
        return self.phase is Phase.NEW and self.connection.machine.state is State.STA13

    def _end_unserved(self) -> None:
        """The state machine has refused what came instead of a request."""
        refused = isinstance(self.connection.answer, AssociateRJ)
        self._end(Phase.REJECTED if refused else Phase.ABORTED)

    def _abort_for(self, error: BaseException) -> None:
        """End the association because of an error, which may be none of the network."""
        self.abort(
            failure=error if isinstance(error, NetworkError) else AssociationAborted(None, 0, str(error))
        )

    def _closed(self) -> None:
        """Tell those who want to know that nothing is left of it."""
        self.hooks.closed()
        if self._on_closed is not None:
            self._on_closed(self)

    def _take_request(self, message: Message) -> Perform:
        # A requestor starts without it; a server has it before the first request.
        from ..services.provider import provide, provide_stores, refuse_duplicate

        if not self.talk.begin(message.message_id):
            return Perform(refuse_duplicate(message, self.hooks.refused))
        stores = self.hooks.stores if message.type is C_STORE_RQ else None
        if stores is None:
            context = self.agreement.contexts[message.context_id]
            procedure = provide(message, context, self.hooks.refused)
            return Perform(procedure, (message,))
        # A peer without a window sends the next one when it has heard of this one.
        may_come = self.agreement.performed != 1
        batch = Batch(stores, message, monotonic(), len(self.talk.inbox) if may_come else None)
        return Perform(provide_stores(batch, self.hooks.refused), batch.requests)

    def _take_release(self, pdu: ReleaseRQ | ReleaseRP) -> Tell | Flush:
        """The peer asked for release, or answered ours, or both at once (PS3.8 section 7.2.2)."""
        machine = self.connection.machine
        if isinstance(pdu, ReleaseRQ) and machine.state not in _COLLIDED:
            self.released = AssociationReleased(self.talk.is_awaiting)
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
