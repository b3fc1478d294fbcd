"""Procedures while the blocking driver performs them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from ...dimse.messages import Message
from ...errors import DicomnetError
from ...services.steps import Deliver, Procedure
from ..course import Course, Delivery, Performer

Value = TypeVar("Value")
BlockingPerformer = Performer[AbstractContextManager[None]]


class Run(Course[Value]):
    """A procedure while a link performs it."""

    def __init__(self, link: BlockingPerformer, procedure: Generator[Any, Any, Value]) -> None:
        super().__init__(procedure, link.talk)
        self._link = link

    def advance(self, *, once: bool = False) -> Message | None:
        """Go on to the next response that is delivered, or to the end, which is None.

        Parameters
        ----------
        once
            Take one step only.
        """
        link, performers = self._link, self._link.performers
        try:
            while (step := self.proceed()) is not None:
                if isinstance(step, Deliver):
                    self.outcome = None
                    return step.message
                try:
                    self.outcome = performers[type(step)](link, step)
                except DicomnetError as error:
                    self.error = error
                if once:
                    return None
        except BaseException:
            self.abandon()
            raise
        return None


class Iteration(Delivery):
    """An operation with many responses whose user takes them one at a time."""

    def __init__(self, link: BlockingPerformer, procedure: Procedure[None], cancel: Message | None) -> None:
        self._run = Run(link, procedure)
        super().__init__(link, self._run, cancel)
        self._link = link

    def begin(self) -> None:
        """Send the request."""
        with self:
            self._run.advance(once=True)

    def messages(self) -> Iterator[Message]:
        """The responses, as they arrive.

        Raises
        ------
        AssociationError, NetworkError
            If the association ends before the last of them.
        """
        try:
            while True:
                if not self.ready and not self.is_over:
                    with self._link.exchange():
                        while self.has_to_advance:
                            self.advance()
                message = self.next_ready()
                if message is None:
                    return
                yield message
        finally:
            self.is_abandoned = True

    def advance(self) -> None:
        """Go on to the next response or the end."""
        with self:
            message = self._run.advance()
            if message is not None:
                self.ready.append(message)
