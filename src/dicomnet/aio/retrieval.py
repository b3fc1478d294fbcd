"""C-GET and C-MOVE by a handler of the asyncio face; `dicomnet.exchange.retrieval` has the rules."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Self

from ..dimse.messages import Message
from ..drivers.aio.link import Link
from ..drivers.hooks import Phase
from ..drivers.transport import Address
from ..errors import AssociationError, NetworkError, NoAcceptedContext, ServiceRefusal
from ..exchange.addresses import PeerAddress, association_request
from ..exchange.contexts import Context
from ..exchange.retrieval import (
    Destination,
    DestinationPlan,
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
from .opening import open_association, release_links
from .results import END, Results

_log = logging.getLogger(__name__)


class Retrieval:
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
        self.count = 0
        self._link = link
        self._own_title, self._originator = titles
        self._results = results
        self._operation = operation
        self._request = request
        self._destination: Destination | None = None
        self._plan = DestinationPlan()
        self._open: Link | None = None

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
            if operation.service == "C-MOVE":
                destination = Destination.from_handler(await retrieval._prepare(of_destination=True))
                retrieval._destination = destination
                given = destination.options.get("contexts")
                retrieval._plan = DestinationPlan(_proposed(given or {}), is_fixed=given is not None)
            retrieval.count = count_of(await retrieval._prepare(), operation)
        except BaseException:
            await retrieval.aclose()
            raise
        return retrieval

    async def take(self) -> SubOperation | Answer | None:
        """The next object, or the answer that ends it, or None after the last."""
        try:
            result = await self._results.take()
            if result is END:
                return None
            # A file is opened and looked at, which waits for the disk.
            return await asyncio.to_thread(read_answer, result, self._operation, self._request)
        except ServiceRefusal:
            raise
        except Exception as error:
            _log.exception("the handler for %s failed", self._operation.service)
            raise ServiceRefusal(self._operation.handler_failed) from error

    async def store(self, sub_operation: SubOperation) -> Message:
        """Send an object and wait for the response. Raises as the blocking one does."""
        if self._destination is None:
            return await self._send(self._link, sub_operation)
        link = await self._reach(self._destination, sub_operation)
        try:
            response = await self._send(link, sub_operation)
        except NoAcceptedContext:
            raise
        except (AssociationError, NetworkError):
            self._plan.lost()
            raise
        self._plan.answered()
        return response

    async def finish(self) -> None:
        """Release the association with the destination, and let the handler end."""
        if self._open is not None:
            await release_links((self._open,))
            self._open = None
        await self.aclose()

    async def aclose(self) -> None:
        """Let the handler end, wherever it is."""
        try:
            await self._results.aclose()
        except Exception:  # noqa: BLE001
            _log.exception("the handler for %s failed at its end", self._operation.service)

    def abort(self) -> None:
        """Abort the association with the destination if it is still open."""
        if self._open is not None:
            self._open.abort()
            self._open = None

    async def _prepare(self, *, of_destination: bool = False) -> Any:
        try:
            result = await self._results.take()
        except ServiceRefusal:
            raise
        except Exception as error:
            _log.exception("the handler for %s failed", self._operation.service)
            raise preparation_failed(self._operation, of_destination=of_destination) from error
        if result is END:
            _log.error("the handler for %s ended too early", self._operation.service)
            raise preparation_failed(self._operation, of_destination=of_destination)
        return result

    async def _send(self, link: Link, sub_operation: SubOperation) -> Message:
        request = await asyncio.to_thread(
            storing, self._request, self._originator, link.agreement, sub_operation, link.next_message_id()
        )
        return await link.run(user.one_reply(request))

    async def _reach(self, destination: Destination, sub_operation: SubOperation) -> Link:
        """An association with the destination on which what this object needs was proposed."""
        present = self._open if self._open is not None and self._open.phase is Phase.ESTABLISHED else None
        is_new = self._plan.learn(sub_operation, present.agreement if present else None)
        if present is not None:
            if not is_new:
                return present
            await release_links((present,))
        options = destination.options
        try:
            tls, _ = options.get("tls_args") or (None, None)
            peer = PeerAddress(
                options.get("ae_title", self._request.command["MoveDestination"]),
                Address(destination.host, destination.port),
            )
            request = association_request(peer, self._own_title, self._plan.proposals, 1)
            timeouts = options.get("timeouts") or self._link.timeouts
            self._open = await open_association(peer, request, tls, timeouts)
        except (AssociationError, NetworkError) as error:
            raise unreachable(error) from error
        except Exception as error:
            # The options are the handler's, and lead to whatever they lead to.
            raise bad_destination(self._operation) from error
        return self._open


def _proposed(contexts: Mapping[str, Iterable[str]]) -> list[Context]:
    return [(str(uid), tuple(map(str, syntaxes))) for uid, syntaxes in contexts.items()]
