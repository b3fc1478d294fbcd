"""The blocking driver: plain calls, in the thread of the caller. An idle association has no thread.

A `Link` is put together from `Life` (phase and meaning, shared with asyncio), `Carrier` (the socket), a `Writer` and an
`Idle`. Its locks, in the order in which they are taken; a thread that has one takes only those below it:

Link.lock      protects  reading, state machine, conversation, iterations, buffer, what `Idle` watches
(re-entrant)   taken by  `exchange`, up to the deadline; `abort` and `close` for a moment only, after which they end the
                         connection under its owner; the watcher's thread only where it is free
               may call  all hooks; may wait for the peer
Writer         protects  the order of bytes: one message goes out at a time
               taken by  a procedure's messages, under `Link.lock`; `interject` without that; an `abort` from beside
                         only where it is free
               may call  the observer of what is sent; where the network is full, a reading with its sinks, but not in
                         `interject`; never waits for `Link.lock`
_phase_lock    protects  `phase`, `failure`, `_is_over`
               taken by  any thread, with or without the others
               may call  nothing: the hooks hear of a phase when it is free again
Watcher, WorkerPool, Server
               protects  their own tables
               taken by  any thread, for a moment
               may call  nothing of a link that takes a lock
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable
from time import monotonic
from types import TracebackType
from typing import Any

from ...dimse.messages import Message
from ...errors import (
    AssociationAborted,
    AssociationClosed,
    DeadlineExceeded,
    DicomnetError,
    NetworkError,
)
from ...services import steps
from ...values import Buffer
from ..acse import Handshake, Negotiate, accept, after_others, begin
from ..connection import Connection, Happening
from ..course import LAST_LOOKS, LOOK_EVERY, Arrive, Value
from ..deadline import Deadline, Timeouts
from ..hooks import Hooks, Phase
from ..life import Accept, Perform
from ..links import PERFORMERS, Section, Serving
from .carrier import Carrier
from .channel import Channel
from .run import Iteration, Run
from .watcher import Watcher, WorkerPool

# How long a thread stays with a connection that has fallen silent, in seconds, before it goes back to the watcher.
_STAY = 0.05


class Link(Carrier):
    """One association over one socket.

    All use of the socket is under ``lock``; several threads take turns, and a nested call from a handler or from
    inside an iteration works.

    Parameters
    ----------
    channel
        The transport connection; under TLS its handshake may be to come.
    connection
        The protocol side.
    hooks
        The user's side.
    timeouts
        One deadline a stage; may be replaced at any time.
    watcher, workers
        Who waits while the link is idle, and who serves what arrives then.
    on_closed
        Called once, when the association is over and the socket is closed.
    """

    def __init__(
        self,
        channel: Channel,
        connection: Connection,
        hooks: Hooks,
        timeouts: Timeouts,
        watcher: Watcher,
        workers: WorkerPool,
        on_closed: Callable[[Link], None] | None = None,
    ) -> None:
        super().__init__(channel, connection, hooks, timeouts, watcher, workers, on_closed)
        self.releases_when_idle = False
        self._turn = Turn(self)
        self._serving = Serving(self)

    def run(self, procedure: Generator[Any, Any, Value], deadline: Deadline | None = None) -> Value:
        with self.exchange(deadline):
            return self._finish(after_others(self, procedure))

    def secure(self) -> None:
        """Make the TLS handshake, if that is to be made, as the requestor and within an `exchange`.

        Raises
        ------
        NetworkError
            If it fails.
        """
        self._perform_handshake(Handshake(Deadline("association", self.timeouts.association)))

    def iterate(
        self, procedure: steps.Procedure[None], cancel: Message | None = None
    ) -> Generator[Message, None, None]:
        iteration = Iteration(self, Run(self, procedure), cancel)
        self.run(begin(self, iteration))
        return iteration.messages()

    def interject(self, message: Message) -> None:
        """Send a message that has no response, between the messages of whatever another thread is doing.

        Raises
        ------
        AssociationError, NetworkError
            If the association is over.
        """
        deadline = self.message_deadline()
        failure: NetworkError | AssociationAborted
        try:
            with self._writer:
                for batch in self.connection.send(message):
                    self._writer.write(batch, deadline, self._writer.wait)
            return
        except NetworkError as error:
            failure = error
        except OSError:
            failure = AssociationAborted(None)
        self.abort(failure=failure)
        raise failure

    def is_cancelled(self, message_id: int) -> bool:
        """Whether the peer has cancelled a request that is being performed, or the association is over."""
        # Another thread than the one that performs it knows what that one has seen.
        if self._depth and self.lock.acquire(blocking=False):
            try:
                self.read_ahead()
            finally:
                self.lock.release()
        return self.has_ended or self.talk.is_cancelled(message_id)

    @property
    def has_ended(self) -> bool:
        """Whether the association is over, as far as it is known."""
        return self._is_closed or self.phase is not Phase.ESTABLISHED

    def read_ahead(self, *, leaves_end: bool = False) -> bool:
        """Read, without waiting, what is there while a request is being performed; False if there was nothing.

        Parameters
        ----------
        leaves_end
            The end of the connection is nothing: it is found again behind what is to be written yet.
        """
        if self._is_closed or self._is_receiving or self.talk.is_full:
            return False
        return self._receive(None, leaves_end=leaves_end)

    def send(self, message: Message, more: bool = False) -> None:
        """Write a message, between those of a procedure that goes on.

        Raises
        ------
        AssociationError, NetworkError
            If the association is over, or ends meanwhile.
        """
        if not message.type.has_response:
            # Another request may be here already, whose response can share the segment and the peer's attention.
            self._put(self.connection.send(message), more or (message.type.is_response and bool(self._inbox)))
            return
        self.talk.expect(message)
        try:
            self._put(self.connection.send(message), more)
        except BaseException:
            self.talk.forget((message.message_id,))
            raise

    def _perform_respond(self, step: steps.Respond) -> None:
        self._put(self.connection.send(*step.responses), False)

    def _perform_cancelled(self, step: steps.Cancelled) -> bool:
        now = monotonic()
        if now < self._next_look:
            return self.talk.is_cancelled(step.message_id) or self.phase is not Phase.ESTABLISHED
        self._next_look = now + LOOK_EVERY
        return self.is_cancelled(step.message_id)

    def _perform_arrive(self, step: Arrive) -> None:
        for _ in range(LAST_LOOKS):
            if not self.read_ahead(leaves_end=True):
                return

    def _perform_more(self, step: steps.MoreStores) -> steps.Part:
        while not self._inbox and step.batch.reads_on(monotonic()):
            # A peer that only sends no more hears the responses still.
            if not self.read_ahead(leaves_end=True):
                break
        return self.next_part(step.batch)

    def _perform_requests(self, step: Perform) -> None:
        try:
            self._finish(step.procedure)
        finally:
            self.talk.finish(step.requests)

    def _perform_handshake(self, step: Handshake) -> None:
        while not self._try_handshake():
            self._channel.wait(step.deadline, read=True, write=self._channel.wants_write)

    def _finish(self, procedure: Generator[Any, Any, Value]) -> Value:
        run = Run(self, procedure)
        run.advance()
        if not run.is_over:
            raise TypeError("this procedure delivers responses and has to be iterated")
        return run.value

    def _put(self, batches: Iterable[list[Buffer]], more: bool) -> None:
        deadline: Deadline | None = None
        is_partly_written = False
        try:
            with self._writer:
                for batch in batches:
                    is_partly_written = True
                    deadline = self._write(batch, deadline, more=more)
        except AssociationClosed:
            raise self._why_not_sent() from None
        except BaseException as error:
            if is_partly_written:
                # Part of a message is on the wire: nothing can follow it.
                self._abort_for(error)
            raise

    def _receive_response(self, step: steps.Receive) -> Message:
        deadline: Deadline | None = None
        while (response := self.talk.take_response(step.message_ids)) is None:
            if deadline is None:
                deadline = self.message_deadline()
            happening = self._next(deadline)
            if isinstance(happening, Message) and happening.type.is_response:
                if self.talk.match_response(happening):
                    if happening.message_id in step.message_ids:
                        return happening
                    self.talk.keep_answer(happening)
                elif (flood := self.check_strays()) is not None:
                    self._perform_fail(flood)
                continue
            self._serve(happening)
            if isinstance(happening, Message):
                # The peer has asked for something meanwhile, and the time that took was ours.
                deadline = None
            self.check_established()
        return response

    def attend(self) -> None:
        """Serve what arrives until the link is idle, in a worker's thread."""
        with self._serving, self.exchange():
            while self.is_live:
                happening = self._next_or_idle()
                if happening is None:
                    return
                self._serve(happening)

    def _next_or_idle(self) -> Happening | None:
        deadline: Deadline | None = None
        while not self._inbox:
            if not self.connection.is_between_messages:
                if deadline is None or deadline.stage == "idle":
                    deadline = Deadline("message", self.timeouts.message)
            elif self.connection.machine.is_requestor:
                # Its own threads must not wait for a worker that lingers.
                if not self._receive(None):
                    return None
                continue
            elif deadline is None:
                deadline = Deadline("idle", _STAY)
            try:
                self._receive(deadline)
            except DeadlineExceeded:
                if deadline.stage == "idle":
                    return None
                raise
        return self._inbox.popleft()

    def _serve(self, happening: Happening) -> None:
        """Do what follows from a happening that nobody is waiting for."""
        consequence = self.take(happening)
        if consequence is not None:
            self.performers[type(consequence)](self, consequence)

    def exchange(self, deadline: Deadline | None = None) -> Turn:
        """Hold the socket until the end of the block: out of the watcher's hands, with a buffer.

        Parameters
        ----------
        deadline
            By when another thread must have done with it, by default that of a message.
        """
        if not self.lock.acquire(blocking=False):
            wait_for = (deadline or Deadline("message", self.timeouts.message)).remaining()
            if not self.lock.acquire(timeout=-1 if wait_for is None else wait_for):
                raise DeadlineExceeded("message", self.timeouts.message)
        try:
            if self._depth == 0:
                self._idle.end()
        except BaseException:
            self.lock.release()
            raise
        self._depth += 1
        return self._turn

    def end_turn(self, error: BaseException | None) -> None:
        """The thread that has the lock does not use the socket any more; `Turn` calls it."""
        try:
            if isinstance(error, DeadlineExceeded):
                self.abort(failure=error)
        finally:
            self._depth -= 1
            try:
                if self._depth == 0:
                    self._rest()
            finally:
                self.lock.release()

    def _rest(self) -> None:
        """Nobody uses the socket now: leave it to the watcher, or to the end."""
        self._buffer.give_back()
        if self.phase is not Phase.ESTABLISHED or self._is_closed:
            self._conclude()
        elif self.iterations:
            # The user comes back for the responses, which wait in the network until then.
            return
        elif self._inbox:
            self._idle.hand_over(self.attend)
        else:
            idle = self.timeouts.idle
            # The worker of an acceptor has lingered already, and the next request must not wait.
            watch = self._idle.linger if self.connection.machine.is_requestor else self._idle.begin
            self._watch_with(watch, None if idle is None else monotonic() + idle)

    def _expire(self) -> None:
        with self.lock:
            watch = self._idle.watch
            if watch is None or watch.is_active or self.phase is not Phase.ESTABLISHED:
                # It was used since.
                return
            if not self.releases_when_idle:
                self.abort(failure=DeadlineExceeded("idle", self.timeouts.idle))
                return
            try:
                self.release()
            except DicomnetError as error:
                self.connection.trace.say(logging.INFO, "the association ended: %s", error)


Link.performers = {
    **PERFORMERS,
    steps.Send: lambda link, step: link.send(step.message, step.more),
    steps.Receive: Link._receive_response,
    steps.Respond: Link._perform_respond,
    steps.Handle: lambda link, step: link.hooks.handle(step.message, step.context),
    steps.PlaceStores: lambda link, step: step.batch.stores.place(step.requests),
    steps.MoreStores: Link._perform_more,
    steps.SettleStores: lambda link, step: step.batch.stores.settle(step.requests),
    steps.Next: lambda link, step: link.hooks.next_answer(step.answers),
    steps.Cancelled: Link._perform_cancelled,
    steps.Work: lambda link, step: step.function(),
    steps.Store: lambda link, step: link.hooks.store(step.retrieval, step.sub_operation),
    steps.Finish: lambda link, step: link.hooks.finish(step.retrieval),
    Arrive: Link._perform_arrive,
    Handshake: Link._perform_handshake,
    Negotiate: lambda link, step: link.hooks.negotiate(step.request),
    Accept: lambda link, step: link._finish(accept(link, step.request)),
    Perform: Link._perform_requests,
}


class Turn(Section[Link]):
    """A thread's use of a link, as a context manager. It has begun already."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link.end_turn(error)
