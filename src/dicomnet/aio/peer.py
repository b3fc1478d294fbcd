"""A peer to work with in asyncio; `dicomnet.aio` offers it."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..datasets.queries import build_identifier, build_query
from ..dimse.messages import Message
from ..drivers.aio.link import Link
from ..drivers.aio.run import Responses
from ..drivers.hooks import Hooks, Phase
from ..exchange import operations
from ..exchange.contexts import GET_MODELS, MOVE_MODELS, Proposal, find_model
from ..exchange.operations import (
    Begin,
    Lease,
    Leave,
    Next,
    Open,
    Operation,
    Report,
    Run,
    Spawn,
    Step,
    Use,
    Wait,
    lane,
)
from ..exchange.peers import PeerBase
from ..exchange.pool import Pool
from ..exchange.receiving import ReceivedObject, ReceiverHooks
from ..exchange.results import RetrieveProgress, StoreResult
from ..services.registry import SUCCESS
from ..services.steps import Answer, Work
from ..upper_layer.negotiation import NegotiatedContext
from ..wire.fields import ae_title_bytes
from ..wire.pdu import AssociateRQ
from .lanes import LaneTasks
from .opening import open_association, release_links, wait_closed

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


class Peer(PeerBase[Link, LaneTasks]):
    """A DICOM node to talk to; the blocking `dicomnet.Peer` with await.

    Operations that go on at the same time have associations of their own; one is kept for the next operation.

    Parameters
    ----------
    address
        ``[AET@]host:port``, an IPv6 address in brackets; or a `PeerAddress`.
    calling
        Our AE title.
    tls
        A client's TLS context.
    timeouts
        One deadline a stage, in seconds.
    window
        How many C-STORE requests may be outstanding, if the peer grants it; 1 asks for nothing.
    retries
        How often an object is sent again whose association was lost before its response.
    transcode
        ``never``: compressed objects are sent as they are or not at all. ``if-needed``: where the peer took no context
        for one, it is decompressed.
    jobs
        How many associations `store` may have side by side, each with its window.
    """

    async def echo(self) -> float:
        """Verify that the peer answers (C-ECHO). See `dicomnet.Peer.echo`.

        Returns
        -------
        float
            How long the answer took, in seconds.
        """
        (duration,) = [each async for each in self._perform(operations.echo())]
        return float(duration)

    def store(
        self,
        paths: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
        *,
        jobs: int | None = None,
    ) -> AsyncGenerator[StoreResult, None]:
        """Store files and folders (C-STORE). See `dicomnet.Peer.store`.

        Yields
        ------
        StoreResult
            For each file.
        """
        return self._perform(self._store_operation(paths, jobs))

    def find(self, level: str, *, model: str | None = None, **keys: Any) -> AsyncGenerator[Dataset, None]:
        """Query (C-FIND). See `dicomnet.Peer.find`.

        Yields
        ------
        pydicom.dataset.Dataset
            The matches. Left early, the rest of the query is cancelled.
        """
        return self.find_identifier(build_query(level, keys), find_model(level, model))

    def find_identifier(self, identifier: Dataset, model: str) -> AsyncGenerator[Dataset, None]:
        """Query with an Identifier of one's own. See `dicomnet.Peer.find_identifier`."""
        return self._perform(operations.find(identifier, model))

    def get(
        self,
        level: str,
        *,
        model: str | None = None,
        to: str | os.PathLike[str] | None = None,
        on_object: Callable[[ReceivedObject], Any] | None = None,
        contexts: Mapping[str, Iterable[str]] | None = None,
        **keys: Any,
    ) -> AsyncGenerator[RetrieveProgress, None]:
        """Retrieve objects over one association (C-GET). See `dicomnet.Peer.get`.

        Parameters
        ----------
        on_object
            May be a coroutine function; a plain one runs in a thread.

        Yields
        ------
        RetrieveProgress
            With each response of the peer. The last one tells what failed.
        """
        identifier, uid = build_identifier(level, keys), find_model(level, model, GET_MODELS)
        return self.get_identifier(identifier, uid, to=to, on_object=on_object, contexts=contexts)

    def get_identifier(
        self,
        identifier: Dataset,
        model: str,
        *,
        to: str | os.PathLike[str] | None = None,
        on_object: Callable[[ReceivedObject], Any] | None = None,
        contexts: Mapping[str, Iterable[str]] | None = None,
    ) -> AsyncGenerator[RetrieveProgress, None]:
        """Retrieve with an Identifier of one's own. See `dicomnet.Peer.get_identifier`."""

        def make_hooks(source: str) -> ReceiverHooks:
            return _ReceiverHooks(source, to, on_object)

        return self._perform(self._get_operation(make_hooks, identifier, model, contexts))

    def move(
        self, destination: str, level: str, *, model: str | None = None, **keys: Any
    ) -> AsyncGenerator[RetrieveProgress, None]:
        """Have the peer send objects to an application entity (C-MOVE). See `dicomnet.Peer.move`.

        Yields
        ------
        RetrieveProgress
            With each response of the peer. The last one tells what failed.
        """
        uid = find_model(level, model, MOVE_MODELS)
        return self.move_identifier(destination, build_identifier(level, keys), uid)

    def move_identifier(
        self, destination: str, identifier: Dataset, model: str
    ) -> AsyncGenerator[RetrieveProgress, None]:
        """Have objects sent with an Identifier of one's own. See `dicomnet.Peer.move_identifier`."""
        ae_title_bytes(destination, "the move destination")
        return self._perform(operations.move(destination, identifier, model))

    async def close(self) -> None:
        """Release what is open. The peer can be used again afterwards."""
        self._end_stores()
        for lanes in list(self._lanes):
            lanes.end()
        await release_links(self._pool.clear())

    def abort(self) -> None:
        """End what is open at once (A-ABORT), whatever is outstanding. The peer can be used again afterwards."""
        self._abort()

    def _abort(self) -> list[Link]:
        self._end_stores()
        for lanes in list(self._lanes):
            lanes.end()
        links = self._pool.clear()
        for link in links:
            link.abort()
        return links

    async def __aenter__(self) -> Peer:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and not issubclass(kind, Exception):
            # Cancelled: that does not wait for answers that are outstanding.
            for link in self._abort():
                await wait_closed(link)
            return
        if kind is not None:
            # Nobody takes what a query or a retrieval still has to give.
            for link in self._pool.busy:
                if link.is_retrieving:
                    link.abort()
        await self.close()

    @staticmethod
    def _forget(pool: Pool[Link]) -> None:
        for link in pool.clear():
            link.abort_later()

    def _perform(self, operation: Operation[Any]) -> AsyncGenerator[Any, None]:
        return Performance(self, operation).results()


class Performance:
    """One operation of a peer while it is performed. See `dicomnet.blocking.peer.Performance`."""

    def __init__(self, peer: Peer, operation: Operation[Any], lanes: LaneTasks | None = None) -> None:
        self._peer = peer
        self._operation = operation
        self._lanes = lanes
        self._started: LaneTasks | None = None
        self._link: Link | None = None
        # What the association proposed, None if it is not to be kept.
        self._proposal: Proposal | None = None
        self._responses: Responses | None = None

    async def results(self) -> AsyncGenerator[Any, None]:
        """Perform the steps of the operation, and give what it reports."""
        resume: Callable[[Any], Step] = self._operation.send
        outcome: Any = None
        try:
            while True:
                try:
                    step = resume(outcome)
                except StopIteration:
                    return
                resume, outcome = self._operation.send, None
                if type(step) is Report:
                    yield step.result
                    continue
                try:
                    outcome = await _PERFORMERS[type(step)](self, step)
                except Exception as error:  # noqa: BLE001
                    resume, outcome = self._operation.throw, error
        except BaseException as error:
            if self._link is not None and not isinstance(error, Exception | GeneratorExit):
                # Cancelled: what goes on is not waited for.
                self._link.abort()
            raise
        finally:
            self._operation.close()
            if self._started is not None:
                await self._started.stop()
            await self._leave()

    async def _use(self, step: Use) -> Lease:
        await self._leave()
        pool = self._peer._pool
        link = pool.take(step.proposal)
        is_reused = link is not None and link.phase is Phase.ESTABLISHED
        # Others that are idle take room that the peer may need.
        await release_links(pool.take_idle())
        if link is None or not is_reused:
            link = await self._open(self._peer._request(step.proposal, step.window))
        self._link, self._proposal = link, step.proposal
        return Lease(link.agreement, link.next_message_id, is_reused)

    async def _use_alone(self, step: Open) -> Lease:
        self._link, self._proposal = await self._open(step.request, step.hooks), None
        return Lease(self._link.agreement, self._link.next_message_id)

    async def _open(self, request: AssociateRQ, hooks: Hooks | None = None) -> Link:
        peer = self._peer
        link = await open_association(peer.address, request, peer._tls, peer.timeouts, hooks)
        peer._pool.add(link)
        return link

    async def _run(self, step: Run) -> Any:
        assert self._link is not None
        return await self._link.run(step.procedure)

    async def _begin(self, step: Begin) -> None:
        assert self._link is not None
        self._responses = await self._link.iterate(step.procedure, step.cancel)

    async def _next(self, step: Next) -> Message | None:
        assert self._responses is not None
        return await anext(self._responses, None)

    async def _leave(self, step: Leave | None = None) -> None:
        if self._responses is not None:
            self._responses.close()
            self._responses = None
        link, self._link = self._link, None
        if link is None:
            return
        if link.phase is not Phase.ESTABLISHED:
            self._peer._pool.lose(link)
            await wait_closed(link)
        elif self._proposal is None:
            self._peer._pool.lose(link)
            await release_links((link,))
        else:
            await release_links(self._peer._pool.give_back(self._proposal, link))

    async def _spawn(self, step: Spawn) -> None:
        if self._lanes is None:
            peer = self._peer
            self._lanes = self._started = LaneTasks(
                step.lanes, lambda lanes: Performance(peer, lane(step.lanes), lanes).results()
            )
            peer._lanes.add(self._lanes)
        self._lanes.start()

    async def _wait(self, step: Wait) -> Any:
        assert self._lanes is not None
        return await self._lanes.wait(step.attempt)


_PERFORMERS: dict[type[Step], Callable[[Performance, Any], Awaitable[Any]]] = {
    Use: Performance._use,
    Open: Performance._use_alone,
    Run: Performance._run,
    Begin: Performance._begin,
    Next: Performance._next,
    Leave: Performance._leave,
    Spawn: Performance._spawn,
    Wait: Performance._wait,
    # What takes long waits for the disk, mostly.
    Work: lambda performance, step: asyncio.to_thread(step.function),
}


class _ReceiverHooks(ReceiverHooks):
    """The hooks of an association for a C-GET, whose function may be a coroutine function."""

    async def handle(self, message: Message, context: NegotiatedContext) -> Answer:
        with self.receiving(message):
            received = self.take(message, context)
            if received is not None and self.on_object is not None:
                if inspect.iscoroutinefunction(self.on_object):
                    await self.on_object(received)
                else:
                    await asyncio.to_thread(self.on_object, received)
        return Answer(SUCCESS)
