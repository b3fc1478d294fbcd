"""A peer to work with: verify it, store to it, query it, retrieve from it. It negotiates, retries and reuses."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..datasets.queries import build_identifier, build_query
from ..dimse.messages import Message
from ..drivers.blocking.link import Link
from ..drivers.blocking.opening import open_link
from ..drivers.hooks import Hooks, Phase
from ..errors import DicomnetError
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
from ..exchange.receiving import RequestorHooks
from ..exchange.results import RetrieveProgress, StoreResult
from ..services.steps import Work
from ..wire.fields import ae_title_bytes
from ..wire.pdu import AssociateRQ
from .lanes import LaneThreads

if TYPE_CHECKING:
    from types import TracebackType

    from pydicom.dataset import Dataset

    from ..exchange.receiving import ReceivedObject

Value = TypeVar("Value")


class Peer(PeerBase[Link, LaneThreads]):
    """A DICOM node to talk to. Associations are opened when needed, reused, and released at the end.

    Parameters
    ----------
    address
        ``[AET@]host:port``, an IPv6 address in brackets; the AE title is ``ANY-SCP`` where it is left out. Or a
        `PeerAddress`.
    calling
        Our AE title, 1 to 16 characters.
    tls
        A client's TLS context, None for plain TCP.
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

    Raises
    ------
    ValueError
        If an address, AE title or ``transcode`` is not valid, or ``jobs`` is less than 1.
    """

    def echo(self) -> float:
        """Verify that the peer answers (C-ECHO).

        Returns
        -------
        float
            How long the answer took, in seconds.

        Raises
        ------
        NetworkError, AssociationError
            If no association can be opened.
        ServiceRefusal
            If the peer answers with another status than success.
        """
        (duration,) = self._perform(operations.echo())
        return float(duration)

    def store(
        self,
        paths: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
        *,
        jobs: int | None = None,
    ) -> Iterator[StoreResult]:
        """Store files (C-STORE), as they are where the peer takes that.

        Where it does not, native objects are encoded in the transfer syntax that it took, which keeps each value.
        What happens to compressed ones is said by ``transcode``.

        Parameters
        ----------
        paths
            Files, and folders with all that is in them. What is not DICOM is skipped and reported.
        jobs
            How many associations may be open side by side, instead of the peer's ``jobs``. Where the other side takes
            fewer, the others carry on.

        Yields
        ------
        StoreResult
            For each file, in the order of the peer's answers.

        Raises
        ------
        FileNotFoundError
            If a path does not exist.
        NetworkError, AssociationError
            If the first association cannot be opened. Later failures are in the results.
        """
        return self._perform(self._store_operation(paths, jobs))

    def find(self, level: str, *, model: str | None = None, **keys: Any) -> Generator[Dataset, None, None]:
        """Query (C-FIND).

        Parameters
        ----------
        level
            ``patient``, ``study``, ``series`` or ``image``.
        model
            ``study`` or ``patient``: the root of the information model, by default the one that has the level.
        keys
            Keyword to value: a value, a wildcard, a range, a list of UIDs, or None to ask for the attribute only.

        Yields
        ------
        pydicom.dataset.Dataset
            The matches, as they arrive. Closed early, the rest of the query is cancelled.

        Raises
        ------
        ValueError
            If the level, the model or a keyword does not exist.
        NetworkError, AssociationError
            If no association can be opened, or it ends early.
        ServiceRefusal
            If the peer does not answer with success in the end.
        """
        return self.find_identifier(build_query(level, keys), find_model(level, model))

    def find_identifier(self, identifier: Dataset, model: str) -> Generator[Dataset, None, None]:
        """Query with an Identifier of one's own.

        Parameters
        ----------
        identifier
            The Identifier, with its QueryRetrieveLevel.
        model
            SOP class UID of the information model.
        """
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
    ) -> Generator[RetrieveProgress, None, RetrieveProgress]:
        """Retrieve objects over one association (C-GET).

        Parameters
        ----------
        level
            ``patient``, ``study``, ``series`` or ``image``.
        model
            ``study`` or ``patient``: the root of the information model, by default the one that has the level.
        to
            The folder for the files, which are named after the SOP Instance UIDs; one of that name is replaced.
        on_object
            Called with each `ReceivedObject` instead of that. What it raises fails the object.
        contexts
            SOP class UIDs with the transfer syntax UIDs to take their objects in; by default the common storage SOP
            classes in the native ones.
        keys
            Keyword to value: the unique keys of the objects (PS3.4 section C.4.2.1.4.1), a list of UIDs at the level.

        Yields
        ------
        RetrieveProgress
            With each response of the peer, the final one included. Closed early, the rest is cancelled.

        Returns
        -------
        RetrieveProgress
            The last one, which says what failed.

        Raises
        ------
        ValueError
            If the level, the model or a keyword does not exist, or not one of ``to`` and ``on_object`` is given.
        OSError
            If the folder cannot be made.
        NetworkError, AssociationError
            If no association can be opened, or it ends early.
        ServiceRefusal
            If the peer ends with a status that is neither success nor warning.
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
    ) -> Generator[RetrieveProgress, None, RetrieveProgress]:
        """Retrieve with an Identifier of one's own, see `get`.

        Parameters
        ----------
        identifier
            The Identifier, with its QueryRetrieveLevel.
        model
            SOP class UID of the information model.
        to, on_object, contexts
            As of `get`.
        """
        from ..exchange.receiving import ReceiverHooks

        def make_hooks(source: str) -> ReceiverHooks:
            return ReceiverHooks(source, to, on_object)

        return self._perform(self._get_operation(make_hooks, identifier, model, contexts))

    def move(
        self, destination: str, level: str, *, model: str | None = None, **keys: Any
    ) -> Generator[RetrieveProgress, None, RetrieveProgress]:
        """Have the peer send objects to an application entity (C-MOVE).

        Parameters
        ----------
        destination
            AE title of the destination, which the peer must know.
        level
            ``patient``, ``study``, ``series`` or ``image``.
        model
            ``study`` or ``patient``: the root of the information model, by default the one that has the level.
        keys
            Keyword to value: the unique keys of the objects (PS3.4 section C.4.2.1.4.1), a list of UIDs at the level.

        Yields
        ------
        RetrieveProgress
            With each response of the peer, the final one included. Closed early, the rest is cancelled.

        Returns
        -------
        RetrieveProgress
            The last one, which says what failed.

        Raises
        ------
        ValueError
            If the level, the model or a keyword does not exist, or the AE title is not valid.
        NetworkError, AssociationError
            If no association can be opened, or it ends early.
        ServiceRefusal
            If the peer ends with a status that is neither success nor warning.
        """
        uid = find_model(level, model, MOVE_MODELS)
        return self.move_identifier(destination, build_identifier(level, keys), uid)

    def move_identifier(
        self, destination: str, identifier: Dataset, model: str
    ) -> Generator[RetrieveProgress, None, RetrieveProgress]:
        """Have objects sent with an Identifier of one's own, see `move`.

        Parameters
        ----------
        identifier
            The Identifier, with its QueryRetrieveLevel.
        model
            SOP class UID of the information model.
        """
        ae_title_bytes(destination, "the move destination")
        return self._perform(operations.move(destination, identifier, model))

    def close(self) -> None:
        """Release what is open. The peer can be used again afterwards."""
        self._end_stores()
        for lanes in list(self._lanes):
            lanes.stop()
        release_links(self._pool.clear())

    def abort(self) -> None:
        """End what is open at once (A-ABORT), whatever is outstanding. The peer can be used again afterwards."""
        self._end_stores()
        for lanes in list(self._lanes):
            lanes.abort()
        for link in self._pool.clear():
            link.abort()

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not issubclass(kind, Exception):
            # Ctrl-C does not wait for answers that are outstanding.
            self.abort()
            return
        if kind is not None:
            # Nobody takes what a query or a retrieval still has to give.
            for link in self._pool.busy:
                if link.is_retrieving:
                    link.abort()
        self.close()

    @staticmethod
    def _forget(pool: Pool[Link]) -> None:
        release_links(pool.clear())

    def _perform(self, operation: Operation[Value]) -> Generator[Any, None, Value]:
        return Performance(self, operation).results()


class Performance(Generic[Value]):
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

    def __init__(self, peer: Peer, operation: Operation[Value], lanes: LaneThreads | None = None) -> None:
        self._peer = peer
        self._operation = operation
        self._lanes = lanes
        self._started: LaneThreads | None = None
        self._link: Link | None = None
        # What the association proposed, None if it is not to be kept.
        self._proposal: Proposal | None = None
        self._responses: Iterator[Message] = iter(())

    def results(self) -> Generator[Any, None, Value]:
        """Perform the steps of the operation, and give what it reports."""
        resume: Callable[[Any], Step] = self._operation.send
        outcome: Any = None
        try:
            while True:
                step = resume(outcome)
                resume, outcome = self._operation.send, None
                if type(step) is Report:
                    yield step.result
                    continue
                try:
                    outcome = _PERFORMERS[type(step)](self, step)
                except Exception as error:  # noqa: BLE001
                    resume, outcome = self._operation.throw, error
        except StopIteration as stop:
            value: Value = stop.value
            return value
        except BaseException as error:
            if self._started is not None:
                self._started.leave(error)
            if not isinstance(error, Exception | GeneratorExit):
                # Ctrl-C: what goes on is not waited for.
                self._abort()
            raise
        finally:
            self._operation.close()
            self._leave()

    def _use(self, step: Use) -> Lease:
        self._leave()
        pool = self._peer._pool
        link = pool.take(step.proposal)
        is_reused = link is not None and link.phase is Phase.ESTABLISHED
        # Others that are idle take room that the peer may need.
        release_links(pool.take_idle())
        if link is None or not is_reused:
            link = self._open(self._peer._request(step.proposal, step.window), RequestorHooks())
        self._link, self._proposal = link, step.proposal
        return Lease(link.agreement, link.next_message_id, is_reused)

    def _use_alone(self, step: Open) -> Lease:
        self._link, self._proposal = self._open(step.request, step.hooks), None
        return Lease(self._link.agreement, self._link.next_message_id)

    def _open(self, request: AssociateRQ, hooks: Hooks) -> Link:
        peer = self._peer
        tls = None if peer._tls is None else (peer._tls, peer.address.address.host)
        link = open_link(peer.address.address, request, hooks, peer.timeouts, tls=tls)
        peer._pool.add(link)
        try:
            link.request(request)
        except BaseException:
            peer._pool.lose(link)
            link.close()
            raise
        if self._lanes is not None:
            self._lanes.opened(link)
        return link

    def _run(self, step: Run) -> Any:
        assert self._link is not None
        return self._link.run(step.procedure)

    def _begin(self, step: Begin) -> None:
        assert self._link is not None
        self._responses = self._link.iterate(step.procedure, step.cancel)

    def _next(self, step: Next) -> Message | None:
        return next(self._responses, None)

    def _leave(self, step: Leave | None = None) -> None:
        # Dropped before its end, it is given up.
        self._responses = iter(())
        link, self._link = self._link, None
        if link is None:
            return
        if self._proposal is not None and link.phase is Phase.ESTABLISHED:
            release_links(self._peer._pool.give_back(self._proposal, link))
            return
        self._peer._pool.lose(link)
        if self._proposal is None:
            release_links((link,))

    def _abort(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            self._peer._pool.lose(link)
            link.abort()

    def _spawn(self, step: Spawn) -> None:
        if self._lanes is None:
            peer = self._peer
            self._lanes = self._started = LaneThreads(
                step.lanes, lambda lanes: Performance(peer, lane(step.lanes), lanes).results()
            )
            peer._lanes.add(self._lanes)
        self._lanes.start()

    def _wait(self, step: Wait) -> Any:
        assert self._lanes is not None
        return self._lanes.wait(step.attempt)


_PERFORMERS: dict[type[Step], Callable[[Performance[Any], Any], Any]] = {
    Use: Performance._use,
    Open: Performance._use_alone,
    Run: Performance._run,
    Begin: Performance._begin,
    Next: Performance._next,
    Leave: Performance._leave,
    Spawn: Performance._spawn,
    Wait: Performance._wait,
    Work: lambda performance, step: step.function(),
}


def release_links(links: Iterable[Link]) -> None:
    """Release associations; one that is over already is closed."""
    for link in links:
        try:
            link.release()
        except DicomnetError:
            # It was over already, and nothing is lost with it.
            link.close()
