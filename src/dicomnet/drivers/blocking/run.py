"""Procedures while the blocking driver performs them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager

from ...dimse.messages import Message
from ...errors import DicomnetError
from ..course import Course, Delivery, Value


class Run(Course[Value]):
    """A procedure while a link performs it."""

    def advance(self, *, once: bool = False) -> None:
        link, performers = self._link, self._link.performers
        try:
            while (step := self.proceed()) is not None:
                try:
                    self.outcome = performers[type(step)](link, step)
                except DicomnetError as error:
                    self.failed(step, error)
                if once:
                    return
        except BaseException:
            self.abandon()
            raise


class Iteration(Delivery[AbstractContextManager[None]]):
    """An operation with many responses whose user takes them one at a time."""

    def messages(self) -> Generator[Message, None, None]:
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

    def advance(self, *, once: bool = False) -> None:
        with self:
            self._course.advance(once=once)
