"""The course of a procedure and the delivery of its responses, shared by both drivers: which step comes next, what was
sent, and what is left when it ends. Nothing here waits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Mapping
from types import TracebackType
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from ..dimse.messages import Message
from ..errors import DeadlineExceeded, DicomnetError
from ..services.steps import TOGETHER, Deliver, Receive, Send
from ..values import frozen, mutable
from ..wire.pdu import Abort
from .conversation import Conversation

Value = TypeVar("Value")
Hold = TypeVar("Hold")
Hold_co = TypeVar("Hold_co", covariant=True)

# How often, in seconds, a query with many matches looks whether the peer has cancelled it.
LOOK_EVERY = 0.001
# How often it is read, at most, to find the final response of an operation that nobody wants any more.
LAST_LOOKS = 16


class Performer(Protocol[Hold_co]):
    """A link, as far as the procedures that it performs need it."""

    talk: Conversation
    performers: ClassVar[Mapping[type, Callable[[Any, Any], object]]]
    """By type of step, how the link performs it."""

    def exchange(self) -> Hold_co:
        """Have the association to oneself until the end of a block."""
        ...

    def abort(self, pdu: Abort | None = None, failure: DicomnetError | None = None) -> None:
        """End the association at once."""
        ...

    def forget_iteration(self, iteration: Delivery[Any]) -> None:
        """An iteration needs no more of the association."""
        ...


class Course(Generic[Value]):
    """A procedure on its way from step to step.

    Before `proceed` is called again, its driver puts what the step before gave into ``outcome`` or ``error``.

    Parameters
    ----------
    link
        Performs it.
    procedure
        What is performed.
    """

    value: Value

    def __init__(self, link: Performer[object], procedure: Generator[Any, Any, Value]) -> None:
        self._link = link
        self._procedure = procedure
        self._talk = link.talk
        self._sent: set[int] = set()
        self.outcome: object = None
        self.error: DicomnetError | None = None
        self.ready: deque[Message] = deque()
        """What was delivered and has not been taken; where it ended with an error, also what had arrived."""
        self.is_over = False

    @property
    def has_early_response(self) -> bool:
        """Whether the next thing to be served is a response to this, and not the last one."""
        return not self.is_over and self._talk.has_early_response(self._sent)

    @property
    def is_awaited(self) -> bool:
        """Whether a final response is to come that has not arrived."""
        return self._talk.awaits(self._sent)

    def proceed(self) -> Any:
        """The next step; None where a response is ``ready``, or the procedure is over and ``value`` what it returned.

        Raises
        ------
        DicomnetError
            If the procedure ends with it; what was answered before that is ``ready``.
        """
        error = self.error
        try:
            if error is None:
                step = self._procedure.send(self.outcome)
            else:
                self.error = None
                step = self._procedure.throw(error)
        except StopIteration as stop:
            self.is_over = True
            self.value = stop.value
            self._talk.forget(self._sent)
            return None
        except DicomnetError:
            self.ready.extend(self._talk.take_arrived(self._sent))
            self.abandon()
            raise
        except BaseException:
            self.abandon()
            raise
        kind = type(step)
        if kind is Deliver:
            self.outcome = None
            self.ready.append(step.message)
            return None
        if kind is Send and step.message.type.has_response:
            self._sent.add(step.message.message_id)
        return step

    def failed(self, step: object, error: DicomnetError) -> None:
        """A step failed, which the procedure may handle."""
        if isinstance(error, DeadlineExceeded) and isinstance(step, Receive):
            # Whoever waits for an answer may catch this, and still the association is of no use any more.
            self._link.abort(failure=error)
        self.error = error

    def advance(self, *, once: bool = False) -> Any:
        """Go on to the next response that is delivered, or to the end; a driver may have to await it.

        Parameters
        ----------
        once
            Take one step only.
        """
        raise NotImplementedError

    def abandon(self) -> None:
        """Go no further; the responses that still come are for nobody."""
        if not self.is_over:
            self.is_over = True
            self._procedure.close()
            self._talk.abandon(self._sent)


@mutable
class Advance:
    """Go on with an operation to its next response or its end, or one step only. Outcome: None."""

    delivery: Delivery[Any]
    once: bool = False


@frozen
class Arrive:
    """Take in what waits in the network, without waiting for more. Outcome: None."""


class Delivery(ABC, Generic[Hold]):
    """The responses of an operation between their arrival and the user, who takes them one at a time.

    A context manager around each advance of the course: an error of ours that ends it is kept for the user.

    Parameters
    ----------
    link
        Performs the operation.
    course
        That of the operation.
    cancel
        The C-CANCEL-RQ to send if the rest is not wanted, None where the operation has none.
    """

    def __init__(self, link: Performer[Hold], course: Course[None], cancel: Message | None) -> None:
        self._link = link
        self._course = course
        self._cancel = cancel
        self._failure: DicomnetError | None = None
        self.ready = course.ready
        self.is_advancing = False
        self.is_abandoned = False

    def __enter__(self) -> None:
        self.is_advancing = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.is_advancing = False
        if self._course.is_over:
            self._link.forget_iteration(self)
        if not isinstance(error, DicomnetError):
            return False
        self._failure = error
        return True

    @property
    def is_over(self) -> bool:
        """Whether the association is needed no more for it; responses may be left to take."""
        return self._course.is_over

    @property
    def can_be_cancelled(self) -> bool:
        """Whether it goes on, and is of a kind that a C-CANCEL-RQ ends."""
        return self._cancel is not None and self._course.is_awaited

    @property
    def has_to_advance(self) -> bool:
        """Whether the next response has to be waited for, or others are here that one exchange takes along."""
        if self._course.is_over:
            return False
        return not self.ready or (len(self.ready) < TOGETHER and self._course.has_early_response)

    def next_ready(self) -> Message | None:
        """The next response, None after the last.

        Raises
        ------
        AssociationError, NetworkError
            If the association ended before.
        """
        if self.ready:
            return self.ready.popleft()
        if self._failure is not None:
            raise self._failure
        return None

    @abstractmethod
    def advance(self, *, once: bool = False) -> Any:
        """Go on to the next response or the end, or one step only, which the driver may have to await."""

    def drain(self) -> Generator[Send | Advance | Arrive, Any, None]:
        """Make room for another request: cancel what nobody wants, read to the end what somebody does."""
        if self.is_advancing or self.is_over:
            # The request comes from a handler that was called while the iteration waits; both get their own.
            return
        if self.is_abandoned:
            # What still comes is dropped on arrival.
            self.ready.clear()
            if self._cancel is not None and self._course.is_awaited:
                # The final response may be here, and behind that nothing is left to cancel.
                yield Arrive()
            is_awaited = self._course.is_awaited
            self._course.abandon()
            self._link.forget_iteration(self)
            if self._cancel is not None and is_awaited:
                yield Send(self._cancel)
        while not self.is_over:
            yield Advance(self)
