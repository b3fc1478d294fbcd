"""`PerformanceBase`: which association an operation of a `Peer` uses, whichever face performs it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ..drivers.deadline import Timeouts
from ..drivers.hooks import Hooks, Phase
from ..drivers.life import Life
from ..exchange.contexts import Proposal
from ..exchange.operations import (
    LEAVE,
    Ask,
    Begin,
    Hand,
    Lease,
    Leave,
    Open,
    Operation,
    Read,
    Run,
    Spawn,
    Step,
    Use,
    Wait,
)
from ..exchange.requesting import RequestorHooks
from ..values import mutable
from ..wire.pdu import AssociateRQ
from .base import PeerBase

if TYPE_CHECKING:
    from ..drivers.http import Head
    from ..exchange.lanes import StartedLanes


class Responses(Protocol):
    """The responses of an operation that was begun, as far as both faces have the same of them."""

    def close(self) -> None:
        """Want no more of them."""
        ...


AnyLink = TypeVar("AnyLink", bound=Life)
AnyLanes = TypeVar("AnyLanes", bound="StartedLanes[Any]")
AnyResponses = TypeVar("AnyResponses", bound=Responses)
Outcome = TypeVar("Outcome")


@mutable
class Call:
    """Call a function of the face, and wait for what it gives where that is awaitable. Outcome: that."""

    function: Callable[[], Any]


Calls = Generator[Call, Any, Outcome]


class PerformanceBase(Generic[AnyLink, AnyLanes, AnyResponses]):
    """One operation of a peer while it is performed, with the association that it uses.

    Parameters
    ----------
    peer
        Whose associations are used.
    operation
        What is performed.
    lanes
        Those that the operation is one of, None if it is not a lane.
    """

    def __init__(
        self,
        peer: PeerBase[AnyLink, AnyLanes],
        operation: Operation[Any],
        lanes: AnyLanes | None = None,
    ) -> None:
        self._peer = peer
        self._operation = operation
        self._lanes = lanes
        self._started: AnyLanes | None = None
        self._link: AnyLink | None = None
        # What the association proposed, None if it is not to be kept.
        self._proposal: Proposal | None = None
        self._responses: AnyResponses | None = None
        # The response of HTTP that is being read.
        self._response: Any = None

    # What a face does in its own way. "Any" is what is given, or what has to be awaited for it.

    def _do(self, calls: Calls[Any]) -> Any:
        """Perform calls one after the other."""
        raise NotImplementedError

    def _open(self, request: AssociateRQ, hooks: Hooks, timeouts: Timeouts) -> Any:
        """Open an association: its link."""
        raise NotImplementedError

    def _release(self, links: Iterable[AnyLink]) -> Any:
        """Release associations; one that is over already is closed."""
        raise NotImplementedError

    def _lost(self, link: AnyLink) -> Any:
        """An association is over."""
        raise NotImplementedError

    def _make_lanes(self, step: Spawn) -> AnyLanes:
        """The threads or tasks of some lanes, none of which has been started."""
        raise NotImplementedError

    @property
    def link(self) -> AnyLink:
        """The association that is used."""
        assert self._link is not None
        return self._link

    def use(self, step: Use) -> Calls[Lease]:
        """Use an idle association that proposed just this, or open one."""
        if self._link is not None:
            yield from self.leave()
        pool = self._peer._pool
        link = pool.take(step.proposal)
        is_reused = link is not None and link.phase is Phase.ESTABLISHED
        # Others that are idle take room that the peer may need.
        if idle := pool.take_idle():
            yield Call(partial(self._release, idle))
        if link is None or not is_reused:
            request = self._peer._request(step.proposal, step.window)
            link = yield Call(partial(self._open, request, RequestorHooks(), self._peer.timeouts))
        self._link, self._proposal = link, step.proposal
        return Lease(link.agreement, link.next_message_id, is_reused)

    def use_alone(self, step: Open) -> Calls[Lease]:
        """Open an association that is not kept."""
        if self._link is not None:
            yield from self.leave()
        timeouts = step.timeouts or self._peer.timeouts
        self._link, self._proposal = (
            (yield Call(partial(self._open, step.request, step.hooks, timeouts))),
            None,
        )
        return Lease(self.link.agreement, self.link.next_message_id)

    def begin(self, step: Begin) -> Calls[None]:
        """Begin a procedure with many responses."""
        self._responses = yield Call(partial(self.link.iterate, step.procedure, step.cancel))

    def ask(self, step: Ask) -> Calls[Head]:
        """Send a request of HTTP."""
        yield from self.drop()
        self._response = yield Call(partial(self._peer.client().send, step.request))
        head: Head = self._response.head
        return head

    def read(self, step: Read) -> Calls[bytes]:
        """Read on in the response."""
        chunk: bytes = yield Call(self._response.read)
        if not chunk:
            yield from self.drop()
        return chunk

    def drop(self) -> Calls[None]:
        """Want no more of the response."""
        response, self._response = self._response, None
        if response is not None:
            yield Call(response.close)

    def leave(self, step: Leave = LEAVE) -> Calls[None]:
        """Let go of the association: it is kept, released, or over."""
        yield from self.drop()
        if self._responses is not None:
            # Dropped before its end, it is given up.
            self._responses.close()
            self._responses = None
        link, self._link = self._link, None
        if step.is_final and (idle := self._peer._pool.take_idle()):
            yield Call(partial(self._release, idle))
        if link is None:
            return
        pool = self._peer._pool
        if link.phase is not Phase.ESTABLISHED:
            pool.lose(link)
            yield Call(partial(self._lost, link))
        elif self._proposal is None or step.is_final:
            pool.lose(link)
            yield Call(partial(self._release, (link,)))
        elif surplus := pool.give_back(self._proposal, link, is_proven=step.is_proven):
            yield Call(partial(self._release, surplus))

    def break_off(self, error: BaseException) -> None:
        """End the association where the user interrupts or cancels: what goes on is not waited for."""
        if self._link is not None and not isinstance(error, Exception | GeneratorExit):
            self._link.abort()

    def spawn(self, step: Spawn) -> None:
        """Begin one more lane."""
        if self._lanes is None:
            self._lanes = self._started = self._make_lanes(step)
            self._peer._lanes.add(self._lanes)
        self._lanes.start()

    def wait(self, step: Wait) -> Any:
        """Wait for other lanes."""
        assert self._lanes is not None
        return self._lanes.wait(step.attempt)


# How both faces perform steps; each adds what it does in its own way.
PERFORMERS: Mapping[type[Step | Call], Callable[[Any, Any], Any]] = {
    Use: lambda performance, step: performance._do(performance.use(step)),
    Open: lambda performance, step: performance._do(performance.use_alone(step)),
    Begin: lambda performance, step: performance._do(performance.begin(step)),
    Leave: lambda performance, step: performance._do(performance.leave(step)),
    Run: lambda performance, step: performance.link.run(step.procedure),
    Spawn: PerformanceBase.spawn,
    Wait: PerformanceBase.wait,
    Ask: lambda performance, step: performance._do(performance.ask(step)),
    Read: lambda performance, step: performance._do(performance.read(step)),
    Hand: lambda performance, step: step.hooks.handle(step.message, step.context),
    Call: lambda performance, step: step.function(),
}
