"""Procedures while the blocking driver performs them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ...dimse.messages import Message
from ...errors import AssociationError, DicomnetError, NetworkError, ServiceRefusal, UnusableObject
from ...services.steps import Deliver, Procedure, Send, Step
from ..conversation import TOGETHER

if TYPE_CHECKING:
    from .link import Link

Value = TypeVar("Value")


class Run(Generic[Value]):
    """A procedure while a link performs it."""

    value: Value

    def __init__(self, link: Link, procedure: Procedure[Value]) -> None:
        self._link = link
        self._procedure = procedure
        # How the procedure goes on: by its `send` or its `throw`, and with what.
        self._resume: tuple[Callable[[Any], Step], Any] = procedure.send, None
        self._sent: set[int] = set()
        self.arrived: list[Message] = []
        self.is_over = False

    @property
    def has_early_response(self) -> bool:
        """Whether the next thing to be served is a response to this, and not the last one."""
        return not self.is_over and self._link.talk.has_early_response(self._sent)

    def advance(self, *, once: bool = False) -> Message | None:
        """Go on to the next response that is delivered, or to the end, which is None.

        Parameters
        ----------
        once
            Take one step only.
        """
        procedure, link, performers = self._procedure, self._link, self._link.performers
        resume, outcome = self._resume
        try:
            while True:
                step = resume(outcome)
                if isinstance(step, Deliver):
                    self._resume = procedure.send, None
                    return step.message
                if isinstance(step, Send) and not step.message.type.is_response:
                    self._sent.add(step.message.message_id)
                try:
                    resume, outcome = procedure.send, performers[type(step)](link, step)
                except (ServiceRefusal, AssociationError, NetworkError, UnusableObject) as error:
                    resume, outcome = procedure.throw, error
                if once:
                    self._resume = resume, outcome
                    return None
        except StopIteration as stop:
            self.is_over = True
            self.value = stop.value
            self._link.talk.forget(self._sent)
            return None
        except DicomnetError:
            # The association is over; what was answered before that counts.
            self.arrived = self._link.talk.take_arrived(self._sent)
            self.abandon()
            raise
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Go no further; the responses that still come are for nobody."""
        if not self.is_over:
            self.is_over = True
            self._procedure.close()
            self._link.talk.abandon(self._sent)


class Iteration:
    """An operation with many responses whose user takes them one at a time."""

    def __init__(self, link: Link, procedure: Procedure[None], cancel: Message | None) -> None:
        self._link = link
        self._run = Run(link, procedure)
        self._cancel = cancel
        self._ready: deque[Message] = deque()
        self._failure: DicomnetError | None = None
        self._is_abandoned = False
        self._is_advancing = False

    def begin(self) -> None:
        """Send the request."""
        self._advance(once=True)

    def messages(self) -> Iterator[Message]:
        """The responses, as they arrive.

        Raises
        ------
        AssociationError, NetworkError
            If the association ends before the last of them.
        """
        try:
            while True:
                if not self._ready and not self._run.is_over:
                    with self._link.exchange():
                        if not self._ready and not self._run.is_over:
                            self._advance()
                        # One turn for all the responses that are here.
                        while len(self._ready) < TOGETHER and self._run.has_early_response:
                            self._advance()
                if self._ready:
                    yield self._ready.popleft()
                elif self._failure is not None:
                    raise self._failure
                elif self._run.is_over:
                    return
        finally:
            self._is_abandoned = True

    def drain(self) -> None:
        """Make room for another request: cancel what nobody wants, read to the end what somebody does."""
        if self._is_advancing:
            # This is a request from a handler that was called while the iteration waits; both get their own.
            return
        if self._is_abandoned and not self._run.is_over:
            self._ready.clear()
            self._run.abandon()
            self._link.forget_iteration(self)
            if self._cancel is not None:
                self._link.send(self._cancel)
            self._link.read_away()
        while not self._run.is_over:
            self._advance()

    def _advance(self, *, once: bool = False) -> None:
        self._is_advancing = True
        message = None
        try:
            message = self._run.advance(once=once)
        except DicomnetError as error:
            self._failure = error
            self._ready.extend(self._run.arrived)
        finally:
            self._is_advancing = False
            if self._run.is_over:
                self._link.forget_iteration(self)
        if message is not None:
            self._ready.append(message)
