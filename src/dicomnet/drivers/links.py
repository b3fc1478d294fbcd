"""`LinkBase`: what a user has of an association in both drivers, and how both perform steps that do not wait."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Generic, TypeVar

from ..errors import AssociationAborted, DicomnetError
from ..wire.pdu import AssociateRQ
from .acse import Await, release, request
from .course import Advance
from .deadline import Deadline
from .life import Fail, Flush, Life, Tell
from .trace import served

AnyLink = TypeVar("AnyLink", bound=Life)


class LinkBase(Life):
    """One association with what it is carried by; the base of both drivers' links. Parameters as of `Life`.

    What `request` and `release` give has to be awaited in asyncio.
    """

    def request(self, pdu: AssociateRQ) -> Any:
        """Ask for the association and wait for the answer.

        Raises
        ------
        AssociationRejected, AssociationAborted, NetworkError
            If it is not established.
        """
        deadline = Deadline("association", self.timeouts.association)
        return self.run(request(self, pdu, deadline), deadline)

    def release(self) -> Any:
        """Release the association and close the connection.

        What iterations have not read yet is read to the end where somebody still wants it, and cancelled where nobody
        does.

        Raises
        ------
        AssociationError, NetworkError
            If it ended otherwise.
        """
        deadline = Deadline("release", self.timeouts.association)
        return self.run(release(self, deadline), deadline)


class Section(Generic[AnyLink]):
    """A stretch of code that uses a link, as a context manager."""

    __slots__ = ("_link",)

    def __init__(self, link: AnyLink) -> None:
        self._link = link


class Serving(Section[LinkBase]):
    """The serving of what nobody waits for: an error of the association is its end, any other one ends it."""

    __slots__ = ()

    def __enter__(self) -> None:
        served.set(self._link.connection.trace)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        served.set(None)
        if isinstance(error, DicomnetError):
            self._link.connection.trace.say(logging.INFO, "the association ended: %s", error)
            return True
        if isinstance(error, Exception):
            self._link.abort(failure=AssociationAborted(None, 0, str(error)))
        return False


# How both drivers perform what is alike; each adds its own.
PERFORMERS: Mapping[type, Callable[[Any, Any], object]] = {
    Advance: lambda link, step: step.delivery.advance(once=step.once),
    Flush: lambda link, step: link._flush(step.deadline),
    Await: lambda link, step: link._next(step.deadline),
    Tell: LinkBase._perform_tell,
    Fail: LinkBase._perform_fail,
}
