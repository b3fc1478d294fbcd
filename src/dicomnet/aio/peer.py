"""A peer to work with in asyncio; `dicomnet.aio` offers it."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import ssl
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager, closing
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..datasets.queries import build_identifier, build_query
from ..dimse.messages import C_GET_RQ, C_MOVE_RQ, Message, MessageType
from ..drivers.aio.link import Link
from ..drivers.aio.opening import open_link
from ..drivers.deadline import LAST_WORDS, Timeouts
from ..drivers.hooks import Hooks, Phase
from ..encoding.transfer_syntaxes import Transcoding
from ..errors import AssociationClosed, AssociationError, DicomnetError, NetworkError
from ..exchange.addresses import PeerAddress, association_request
from ..exchange.contexts import (
    GET_MODELS,
    MOVE_MODELS,
    NATIVE,
    VERIFICATION,
    Proposal,
    find_model,
    get_contexts,
)
from ..exchange.files import find_files
from ..exchange.messages import echo_request
from ..exchange.receiving import ReceivedObject, ReceiverHooks, RequestorHooks, answering
from ..exchange.results import RetrieveProgress, StoreResult, check_status, failed_result
from ..exchange.storing import SCAN_AHEAD, Pool, StorePlan, StoreQueue, Supply, checked_jobs
from ..services import user
from ..services.registry import PENDING, SUCCESS
from ..services.steps import Answer
from ..upper_layer.negotiation import NegotiatedContext
from ..wire.fields import ae_title_bytes
from ..wire.pdu import AssociateRQ
from .lanes import Lanes

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


_log = logging.getLogger(__name__)


class Peer:
    """A DICOM node to talk to; the blocking `dicomnet.Peer` with await.

    Operations that go on at the same time have associations of their own; one is kept for the next operation.

    Parameters
    ----------
    address
        ``[AET@]host:port``; an IPv6 address in brackets.
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

    def __init__(
        self,
        address: str,
        *,
        calling: str = "DICOMNET",
        tls: ssl.SSLContext | None = None,
        timeouts: Timeouts | None = None,
        window: int = 16,
        retries: int = 1,
        transcode: str = "never",
        jobs: int = 1,
    ) -> None:
        self._pool: Pool[Link] = Pool()
        self._supplies: weakref.WeakSet[Supply] = weakref.WeakSet()
        self._queues: set[StoreQueue] = set()
        self._lanes: weakref.WeakSet[Lanes] = weakref.WeakSet()
        self.address = PeerAddress.parse(address)
        ae_title_bytes(calling, "the calling AE title")
        self.calling = calling
        self.timeouts = timeouts or Timeouts()
        self.window = window
        self.retries = retries
        self.transcoding = Transcoding.parse(transcode)
        self.jobs = checked_jobs(jobs)
        self._tls = tls

    async def echo(self) -> float:
        """Verify that the peer answers (C-ECHO). See `dicomnet.Peer.echo`.

        Returns
        -------
        float
            How long the answer took, in seconds.
        """
        while True:
            async with self._using(((VERIFICATION, NATIVE),)) as (link, is_reused):
                request = echo_request(link.agreement, link.next_message_id())
                begin = perf_counter()
                try:
                    response = await link.run(user.one_reply(request))
                except AssociationError:
                    if is_reused:
                        continue
                    raise
            check_status(response, "Verification")
            return perf_counter() - begin

    async def store(
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
        if isinstance(paths, str | os.PathLike):
            paths = [paths]
        most = self.jobs if jobs is None else checked_jobs(jobs)
        may_raise = True
        supply = Supply(find_files(paths), self.transcoding)
        self._supplies.add(supply)
        # Looking at files waits for the disk.
        while (part := await asyncio.to_thread(supply.part, SCAN_AHEAD)) is not None:
            skipped, plans = part
            for result in skipped:
                yield result
            for plan in plans:
                if supply.ended is not None:
                    for stored in plan.objects:
                        yield failed_result(stored, supply.ended)
                    continue
                count = min(most, len(plan.objects))
                store = self._store_side_by_side(plan, may_raise, count) if count > 1 else None
                async with aclosing(store or self._store(plan, may_raise)) as results:
                    async for result in results:
                        yield result
                may_raise = False

    def find(self, level: str, *, model: str | None = None, **keys: Any) -> AsyncGenerator[Dataset, None]:
        """Query (C-FIND). See `dicomnet.Peer.find`.

        Yields
        ------
        pydicom.dataset.Dataset
            The matches. Left early, the rest of the query is cancelled.
        """
        return self.find_identifier(build_query(level, keys), find_model(level, model))

    async def find_identifier(self, identifier: Dataset, model: str) -> AsyncGenerator[Dataset, None]:
        """Query with an Identifier of one's own. See `dicomnet.Peer.find_identifier`."""
        from ..exchange.messages import cancel_request, find_request, identifier_of

        while True:
            has_answer = False
            async with self._using(((model, NATIVE),)) as (link, is_reused):
                request, context = find_request(link.agreement, identifier, model, link.next_message_id())
                cancel = cancel_request(context.context_id, request.message_id)
                try:
                    with closing(await link.iterate(user.many_replies(request), cancel)) as responses:
                        async for response in responses:
                            has_answer = True
                            match = identifier_of(response, context)
                            if match is not None:
                                yield match
                            else:
                                check_status(response, "Query/Retrieve")
                    return
                except AssociationError:
                    if has_answer or not is_reused:
                        raise

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
        proposal = get_contexts(model, contexts)
        roles = {uid: (False, True) for uid, _ in proposal[1:]}
        request = association_request(self.address, self.calling, proposal, 1, roles)
        hooks = _ReceiverHooks(self.address.ae_title, to, on_object)
        return self._get(request, hooks, identifier, model)

    async def _get(
        self, request: AssociateRQ, hooks: Hooks, identifier: Dataset, model: str
    ) -> AsyncGenerator[RetrieveProgress, None]:
        link = await open_association(self.address, request, self._tls, self.timeouts, hooks)
        self._pool.add(link)
        try:
            async with aclosing(_retrieve(link, C_GET_RQ, identifier, model)) as responses:
                async for progress in responses:
                    yield progress
        finally:
            self._pool.lose(link)
            await release_links((link,))

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

    async def move_identifier(
        self, destination: str, identifier: Dataset, model: str
    ) -> AsyncGenerator[RetrieveProgress, None]:
        """Have objects sent with an Identifier of one's own. See `dicomnet.Peer.move_identifier`."""
        ae_title_bytes(destination, "the move destination")
        while True:
            has_answer = False
            async with self._using(((model, NATIVE),)) as (link, is_reused):
                try:
                    retrieved = _retrieve(link, C_MOVE_RQ, identifier, model, destination)
                    async with aclosing(retrieved) as responses:
                        async for progress in responses:
                            has_answer = True
                            yield progress
                    return
                except AssociationError:
                    if has_answer or not is_reused:
                        raise

    async def close(self) -> None:
        """Release what is open. The peer can be used again afterwards."""
        self._end_stores()
        await release_links(self._pool.clear())

    def abort(self) -> None:
        """End what is open at once (A-ABORT), whatever is outstanding. The peer can be used again afterwards."""
        self._abort()

    def _abort(self) -> list[Link]:
        self._end_stores()
        links = self._pool.clear()
        for link in links:
            link.abort()
        return links

    def _end_stores(self) -> None:
        for supply in list(self._supplies):
            supply.end(AssociationClosed())
        for queue in list(self._queues):
            queue.fail(AssociationClosed())
        for lanes in list(self._lanes):
            lanes.end()

    def __del__(self) -> None:
        for link in self._pool.clear():
            link.abort_later()

    async def __aenter__(self) -> Peer:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, Exception):
            await self.close()
        else:
            # Cancelled: that does not wait for answers that are outstanding.
            for link in self._abort():
                await _part(link)

    @asynccontextmanager
    async def _using(self, proposal: Proposal, window: int = 1) -> AsyncIterator[tuple[Link, bool]]:
        """An open association that proposes just this, and whether it is an earlier one."""
        link = self._pool.take(proposal)
        is_reused = link is not None and link.phase is Phase.ESTABLISHED
        # Others that are idle take room that the peer may need.
        await release_links(self._pool.take_idle())
        if link is None or not is_reused:
            request = association_request(self.address, self.calling, proposal, window)
            link = await open_association(self.address, request, self._tls, self.timeouts)
            self._pool.add(link)
        try:
            yield link, is_reused
        finally:
            if link.phase is Phase.ESTABLISHED:
                await release_links(self._pool.give_back(proposal, link))
            else:
                self._pool.lose(link)
                await _part(link)

    def _store_side_by_side(
        self, plan: StorePlan, may_raise: bool, jobs: int
    ) -> AsyncGenerator[StoreResult, None]:
        lanes = Lanes(StoreQueue(plan, self.window, self.retries), jobs, self._use_lane)
        self._lanes.add(lanes)
        return lanes.results(may_raise)

    async def _use_lane(
        self,
        queue: StoreQueue,
        opened: Callable[[Link], None],
        report: Callable[[StoreResult], Awaitable[None]],
    ) -> None:
        async with self._using(queue.proposal, self.window) as (link, is_reused):
            opened(link)
            async with aclosing(_send(queue, link, is_reused)) as results:
                async for result in results:
                    await report(result)
        for result in queue.results():
            await report(result)

    async def _store(self, plan: StorePlan, may_raise: bool) -> AsyncGenerator[StoreResult, None]:
        queue = StoreQueue(plan, self.window, self.retries)
        self._queues.add(queue)
        try:
            while not queue.is_empty:
                try:
                    async with self._using(queue.proposal, self.window) as (link, is_reused):
                        may_raise = False
                        async with aclosing(_send(queue, link, is_reused)) as results:
                            async for result in results:
                                yield result
                except (NetworkError, AssociationError) as error:
                    if may_raise:
                        raise
                    queue.fail(error)
                for result in queue.results():
                    yield result
        finally:
            self._queues.discard(queue)


async def _send(queue: StoreQueue, link: Link, is_reused: bool) -> AsyncGenerator[StoreResult, None]:
    agreement = link.agreement
    requests = queue.requests(agreement, link.next_message_id)
    procedure = user.pipeline(requests, queue.window(agreement), queue.unusable)
    has_answer = False
    try:
        with closing(await link.iterate(procedure)) as responses:
            async for response in responses:
                has_answer = True
                queue.answered(response)
                for result in queue.results():
                    yield result
    except (NetworkError, AssociationError) as error:
        queue.lost(error, was_stale=is_reused and not has_answer)


async def _retrieve(
    link: Link, kind: MessageType, identifier: Dataset, model: str, destination: str | None = None
) -> AsyncGenerator[RetrieveProgress, None]:
    from ..exchange.messages import cancel_request, failed_uids_of, retrieve_request

    request, context = retrieve_request(
        kind, link.agreement, identifier, model, link.next_message_id(), destination=destination
    )
    cancel = cancel_request(context.context_id, request.message_id)
    progress = RetrieveProgress(PENDING)
    with closing(await link.iterate(user.many_replies(request), cancel)) as responses:
        async for response in responses:
            progress = progress.next(response, failed_uids_of(response, context))
            yield progress
    progress.check()


class _ReceiverHooks(ReceiverHooks):
    """The hooks of an association for a C-GET, whose function may be a coroutine function."""

    async def handle(self, message: Message, context: NegotiatedContext) -> Answer:
        received = self.take(message, context)
        if received is not None and self.on_object is not None:
            with answering("C-STORE"):
                if inspect.iscoroutinefunction(self.on_object):
                    await self.on_object(received)
                else:
                    await asyncio.to_thread(self.on_object, received)
        return Answer(SUCCESS)


async def _part(link: Link) -> None:
    """Wait for the peer to close after the association has ended, but not for long: the event loop may end next."""
    try:
        async with asyncio.timeout(LAST_WORDS):
            await link.closed.wait()
    except TimeoutError:
        link.close()
        await link.closed.wait()


async def release_links(links: Iterable[Link]) -> None:
    """Release associations and wait until their connections are closed; one that is over already is closed."""
    for link in links:
        try:
            await link.release()
        except DicomnetError as error:
            _log.info("the association was over before its release: %s", error)
            link.close()
        await link.closed.wait()


async def open_association(
    peer: PeerAddress,
    request: AssociateRQ,
    tls: ssl.SSLContext | None,
    timeouts: Timeouts,
    hooks: Hooks | None = None,
) -> Link:
    """Connect to a peer and have an association established.

    Parameters
    ----------
    tls
        A client's TLS context, None for a connection in the clear.
    timeouts
        One deadline a stage.
    hooks
        The user's side; without it, nothing is performed for the peer.

    Raises
    ------
    AssociationError, NetworkError
        If it is not established; the connection is closed then.
    """
    secured = None if tls is None else (tls, peer.address.host)
    link = await open_link(peer.address, request, hooks or RequestorHooks(), timeouts, tls=secured)
    try:
        await link.request(request)
    except BaseException:
        link.close()
        raise
    return link
