"""A peer to work with in asyncio; `dicomnet.aio` offers it."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import ExitStack
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from ..dimse.messages import Message
from ..drivers.aio.link import Link
from ..drivers.aio.run import Responses
from ..drivers.deadline import Timeouts
from ..drivers.hooks import Hooks
from ..exchange.addresses import PeerAddress
from ..exchange.operations import Next, Operation, Pause, Report, Spawn, Step
from ..exchange.receiving import ReceivedObject, ReceiverHooks
from ..exchange.results import RetrieveProgress, StoreResult
from ..peers.performing import PERFORMERS, Call, Calls, PerformanceBase
from ..peers.querying import QueryingPeer
from ..peers.retrieving import RetrievingPeer
from ..peers.storing import StoringPeer
from ..services.registry import SUCCESS
from ..services.steps import Answer, Work
from ..upper_layer.negotiation import NegotiatedContext
from ..wire.pdu import AssociateRQ
from .lanes import LaneTasks
from .opening import open_association, release_links, wait_closed
from .performing import perform

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from ..fetching.fetcher import Event
    from ..peers.commitment import Commitment
    from ..peers.fetching import Fetching
    from .performed_steps import PerformedStep


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
        await asyncio.sleep(self.pause(message))
        return Answer(SUCCESS)


class Peer(
    StoringPeer[Link, LaneTasks, AsyncGenerator[StoreResult, None], AsyncGenerator["Commitment", None]],
    QueryingPeer[
        Link, LaneTasks, AsyncGenerator["Dataset", None], AsyncGenerator[tuple["Dataset", ...], None]
    ],
    RetrievingPeer[Link, LaneTasks, AsyncGenerator[RetrieveProgress, None], AsyncGenerator["Event", None]],
):
    """A DICOM node to talk to; the blocking `dicomnet.Peer` with await.

    Operations that go on at the same time have associations of their own; one is kept for the next operation.

    Parameters
    ----------
    address
        ``[AET@]host:port``, an IPv6 address in brackets; or a `PeerAddress`; or the name of a remote, see
        `dicomnet.Peer`; or ``https://host/path`` of a DICOMweb service.
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
        How many associations `store` may have side by side, each with its window; of DICOMweb, how many requests there
        may be at a time.
    user, passcode
        Who we say to be (user identity, PS3.7 Annex D.3.3.7), None for nobody.
    credentials, may_be_read
        As of `dicomnet.Peer`.
    """

    def _receiver_hooks(
        self, to: str | os.PathLike[str] | None, on_object: Callable[[ReceivedObject], Any] | None
    ) -> ReceiverHooks:
        return _ReceiverHooks(self.address.ae_title, to, on_object)

    async def echo(self) -> float:
        """Verify that the peer answers (C-ECHO). See `dicomnet.Peer.echo`.

        Returns
        -------
        float
            How long the answer took, in seconds.
        """
        (duration,) = [each async for each in self._echo()]
        return float(duration)

    def mpps(self, scheduled: Dataset | None = None, **attributes: Any) -> PerformedStep:
        """Say that a procedure step is being performed (MPPS): an asynchronous context manager.

        See `dicomnet.Peer.mpps`.
        """
        from .performed_steps import PerformedStep

        return PerformedStep(self._perform, scheduled, self.calling, attributes)

    async def close(self) -> None:
        """Release what is open. The peer can be used again afterwards."""
        self._stop_stores()
        await release_links(self._pool.clear())
        if (client := self._take_client()) is not None:
            await client.close()

    def _make_client(self) -> Any:
        from ..drivers.aio.http import Client

        return Client(self.address.address, self._tls, self.timeouts, self.jobs)

    def abort(self) -> None:
        """End what is open at once (A-ABORT), whatever is outstanding. The peer can be used again afterwards."""
        self._abort()

    async def __aenter__(self) -> Peer:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._leave(kind):
            await self.close()
            return
        # Cancelled: that does not wait for answers that are outstanding.
        for link in self._abort():
            await wait_closed(link)

    @staticmethod
    def _forget(links: Iterable[Link]) -> None:
        for link in links:
            link.abort_later()

    async def _perform_together(self, fetching: Fetching) -> AsyncGenerator[Event, None]:
        from .together import together

        stack = ExitStack()
        try:
            rows, operations = await asyncio.to_thread(fetching.begin, stack)
            async for event in together([self._perform(each) for each in operations], rows.stop):
                yield event
        finally:
            await asyncio.to_thread(stack.close)

    def _perform(self, operation: Operation[Any]) -> AsyncGenerator[Any, None]:
        return Performance(self, operation).results()


class Performance(PerformanceBase[Link, LaneTasks, Responses]):
    """One operation of a peer while it is performed."""

    _release = staticmethod(release_links)
    _lost = staticmethod(wait_closed)

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
                    outcome = _PERFORMERS[type(step)](self, step)
                    if isinstance(outcome, CoroutineType):
                        outcome = await outcome
                except Exception as error:  # noqa: BLE001
                    resume, outcome = self._operation.throw, error
        except BaseException as error:
            self.break_off(error)
            raise
        finally:
            self._operation.close()
            if self._started is not None:
                await self._started.stop()
            await self._do(self.leave())

    def _do(self, calls: Calls[Any]) -> Awaitable[Any]:
        return perform(calls, _PERFORMERS, self)

    async def _open(self, request: AssociateRQ, hooks: Hooks, timeouts: Timeouts) -> Link:
        one = self._peer
        assert isinstance(one.address, PeerAddress)
        establish = open_association(one.address, request, one._tls, timeouts, hooks)
        return one._pool.add(await (establish if self._lanes is None else self._lanes.open(establish)))

    def _make_lanes(self, step: Spawn) -> LaneTasks:
        return LaneTasks(step.lanes, lambda each: Performance(self._peer, step.course(), each).results())

    async def _next(self, step: Next) -> Message | None:
        assert self._responses is not None
        return await anext(self._responses, None)


_PERFORMERS: Mapping[type[Step | Call], Callable[[Performance, Any], Any]] = {
    **PERFORMERS,
    Next: Performance._next,
    Pause: lambda performance, step: asyncio.sleep(step.seconds),
    # What takes long waits for the disk, mostly.
    Work: lambda performance, step: asyncio.to_thread(step.function),
}
