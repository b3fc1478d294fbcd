"""C-GET and C-MOVE performed by a handler, in the asyncio face."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self

from ..dimse.messages import Message
from ..drivers.aio.link import Link
from ..drivers.transport import Address
from ..exchange.addresses import PeerAddress, association_request
from ..exchange.contexts import contexts_of
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
from .opening import open_association, release_links
from .performing import perform
from .results import Results


class Retrieval(RetrievalBase[Link, Results]):
    """The performing of a C-GET or C-MOVE by a handler; made by `begin`.

    Parameters
    ----------
    link
        The association of the request.
    titles
        Our AE title, and that of who requests it.
    results
        What the handler yields.
    operation
        Which of the two.
    request
        The request.
    """

    def __init__(
        self, link: Link, titles: tuple[str, str], results: Results, operation: Operation, request: Message
    ) -> None:
        self._own_title, originator = titles
        super().__init__(link, originator, results, operation, request)

    @classmethod
    async def begin(
        cls, link: Link, titles: tuple[str, str], results: Results, operation: Operation, request: Message
    ) -> Self:
        """Take what a handler yields before the objects.

        Raises
        ------
        ServiceRefusal
            If the handler fails before the objects, or does not know the destination.
        """
        retrieval = cls(link, titles, results, operation, request)
        try:
            await retrieval._perform(retrieval._beginning())
        except BaseException:
            await retrieval.aclose()
            raise
        return retrieval

    async def aclose(self) -> None:
        """Let the handler end, wherever it is."""
        await self._perform(self._closing())

    def _plan_for(self, destination: Destination) -> DestinationPlan:
        given = destination.options.get("contexts")
        return DestinationPlan(contexts_of(given or {}), is_fixed=given is not None)

    def _perform(self, course: Course[Any]) -> Awaitable[Any]:
        return perform(course, _PERFORMERS, self)

    async def _connect(self, step: Connect) -> Link:
        options = step.destination.options
        tls, _ = options.get("tls_args") or (None, None)
        place = Address(step.destination.host, step.destination.port)
        peer = PeerAddress(options.get("ae_title", step.called), place)
        request = association_request(peer, self._own_title, step.contexts, 1)
        timeouts = options.get("timeouts") or self._link.timeouts
        return await open_association(peer, request, tls, timeouts)


_PERFORMERS: Mapping[type[Step], Callable[[Retrieval, Any], Any]] = {
    **PERFORMERS,
    Take: lambda retrieval, step: retrieval._results.take(),
    Close: lambda retrieval, step: retrieval._results.aclose(),
    Release: lambda retrieval, step: release_links((step.link,)),
    # It waits for the disk.
    Work: lambda retrieval, step: asyncio.to_thread(step.function),
}
