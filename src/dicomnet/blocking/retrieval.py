"""C-GET and C-MOVE performed by a handler, in the blocking face."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from ..dimse.messages import Message
from ..drivers.blocking.link import Link
from ..exchange.contexts import Context
from ..exchange.handling import END
from ..exchange.retrieval import (
    PERFORMERS,
    Close,
    Connect,
    Course,
    Destination,
    DestinationPlan,
    Release,
    RetrievalBase,
    Step,
    Take,
)
from ..services.registry import Operation
from ..services.steps import Work
from .peer import release_links
from .performing import perform


class Destinations(Protocol):
    """How associations with move destinations are requested."""

    def plan(self, destination: Destination) -> DestinationPlan:
        """The contexts to propose."""
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
            If none can be opened.
        Exception
            Any other, if the options of the destination cannot be used.
        """
        ...


class Retrieval(RetrievalBase[Link, Iterator[Any]]):
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
        super().__init__(link, originator, results, operation, request)
        self._destinations = destinations
        self._perform(self._beginning())

    def _plan_for(self, destination: Destination) -> DestinationPlan:
        return self._destinations.plan(destination)

    def _perform(self, course: Course[Any]) -> Any:
        return perform(course, _PERFORMERS, self)

    def _take(self, step: Take) -> Any:
        return next(self._results, END)

    def _close(self, step: Close) -> None:
        close = getattr(self._results, "close", None)
        if close is not None:
            close()

    def _connect(self, step: Connect) -> Link:
        return self._destinations.connect(step.destination, step.called, step.contexts)


_PERFORMERS: Mapping[type[Step], Callable[[Retrieval, Any], Any]] = {
    **PERFORMERS,
    Take: Retrieval._take,
    Close: Retrieval._close,
    Release: lambda retrieval, step: release_links((step.link,)),
    Work: lambda retrieval, step: step.function(),
}
