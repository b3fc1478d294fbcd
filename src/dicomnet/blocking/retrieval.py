"""C-GET and C-MOVE performed by a handler, in the blocking face."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from ..dimse.messages import Message
from ..drivers.blocking.link import Link
from ..drivers.hooks import Phase
from ..errors import AssociationError, NetworkError, NoAcceptedContext, ServiceRefusal
from ..exchange.contexts import Context
from ..exchange.retrieval import (
    Destination,
    DestinationPlan,
    _log,
    bad_destination,
    count_of,
    preparation_failed,
    read_answer,
    storing,
    unreachable,
)
from ..services import user
from ..services.registry import Operation
from ..services.steps import Answer, SubOperation
from .peer import release_links


class Destinations(Protocol):
    """How associations with move destinations are requested."""

    def plan(self, destination: Destination) -> DestinationPlan:
        """What to propose."""
        ...

    def connect(self, destination: Destination, called: str, contexts: Sequence[Context]) -> Link:
        """An established association.

        Parameters
        ----------
        called
            The AE title that the C-MOVE names.
        contexts
            What to propose.

        Raises
        ------
        AssociationError, NetworkError
            If there is none to be had.
        Exception
            Any other, if the options of the destination are of no use.
        """
        ...


class Retrieval:
    """The performing of a C-GET or C-MOVE by a handler.

    Parameters
    ----------
    link
        The association of the request.
    originator
        AE title of who requests it.
    results
        What the handler yields. What comes before the objects is taken at once.
    operation
        Which of the two.
    request
        The request.
    destinations
        Where objects can be moved to.

    Raises
    ------
    ServiceRefusal
        If the handler fails before the objects, or does not know the destination.
    """

    def __init__(
        self,
        link: Link,
        originator: str,
        results: Iterator[Any],
        operation: Operation,
        request: Message,
        destinations: Destinations,
    ) -> None:
        self._link = link
        self._originator = originator
        self._results = results
        self._operation = operation
        self._request = request
        self._destinations = destinations
        self._destination: Destination | None = None
        self._plan = DestinationPlan()
        self._open: Link | None = None
        if operation.service == "C-MOVE":
            self._destination = Destination.from_handler(self._prepare(of_destination=True))
            self._plan = destinations.plan(self._destination)
        self.count = count_of(self._prepare(), operation)

    def take(self) -> SubOperation | Answer | None:
        """The next object, or the answer that ends it, or None after the last."""
        try:
            return read_answer(next(self._results), self._operation, self._request)
        except StopIteration:
            return None
        except ServiceRefusal:
            raise
        except Exception as error:
            _log.exception("the handler for %s failed", self._operation.event)
            raise ServiceRefusal(self._operation.handler_failed) from error

    def store(self, sub_operation: SubOperation) -> Message:
        """Send an object and wait for the response.

        Raises
        ------
        ServiceRefusal
            If there is no association with the destination to be had.
        AssociationError, NetworkError, UnusableObject
            If this object was not sent, or not answered.
        """
        if self._destination is None:
            return self._send(self._link, sub_operation)
        link = self._reach(self._destination, sub_operation)
        try:
            response = self._send(link, sub_operation)
        except NoAcceptedContext:
            raise
        except (AssociationError, NetworkError):
            self._plan.lost()
            raise
        self._plan.answered()
        return response

    def finish(self) -> None:
        """Release the association with the destination, and let the handler end."""
        if self._open is not None:
            release_links((self._open,))
            self._open = None
        close = getattr(self._results, "close", None)
        if close is not None:
            try:
                close()
            except Exception:  # noqa: BLE001
                _log.exception("the handler for %s failed at its end", self._operation.event)

    def abort(self) -> None:
        """Abort the association with the destination if it is still open."""
        if self._open is not None:
            self._open.abort()
            self._open = None

    def _prepare(self, *, of_destination: bool = False) -> Any:
        try:
            return next(self._results)
        except ServiceRefusal:
            raise
        except Exception as error:
            # StopIteration too: the handler has ended too early.
            _log.exception("the handler for %s failed", self._operation.event)
            raise preparation_failed(self._operation, of_destination=of_destination) from error

    def _send(self, link: Link, sub_operation: SubOperation) -> Message:
        message_id = link.next_message_id()
        request = storing(self._request, self._originator, link.agreement, sub_operation, message_id)
        return link.run(user.one_reply(request))

    def _reach(self, destination: Destination, sub_operation: SubOperation) -> Link:
        """An association with the destination on which what this object needs was proposed."""
        present = self._open if self._open is not None and self._open.phase is Phase.ESTABLISHED else None
        is_new = self._plan.learn(sub_operation, present.agreement if present else None)
        if present is not None:
            if not is_new:
                return present
            release_links((present,))
        called = self._request.command["MoveDestination"]
        try:
            self._open = self._destinations.connect(destination, called, self._plan.proposals)
        except (AssociationError, NetworkError) as error:
            raise unreachable(error) from error
        except Exception as error:
            # The options are the handler's, and lead to whatever they lead to.
            raise bad_destination(self._operation) from error
        return self._open
