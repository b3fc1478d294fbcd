"""A peer to work with: verify it, store to it, query it, retrieve from it. It negotiates, retries and reuses."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..datasets.queries import build_identifier, build_query
from ..dimse.messages import C_GET_RQ, C_MOVE_RQ, MessageType
from ..drivers.blocking.link import Link
from ..drivers.blocking.opening import open_link
from ..drivers.deadline import Timeouts
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
from ..exchange.receiving import RequestorHooks
from ..exchange.results import RetrieveProgress, StoreResult, check_status, failed_result
from ..exchange.storing import FIRST_LOOK, SCAN_AHEAD, Pool, StoreQueue, Supply, checked_jobs
from ..services import user
from ..services.registry import PENDING
from ..wire.fields import ae_title_bytes
from ..wire.pdu import AssociateRQ
from .lanes import Lanes

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    from pydicom.dataset import Dataset

    from ..exchange.receiving import ReceivedObject


class Peer:
    """A DICOM node to talk to. Associations are opened when needed, reused, and released at the end.

    Parameters
    ----------
    address
        ``[AET@]host:port``; an IPv6 address in brackets. The AE title is ``ANY-SCP`` where it is left out.
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
        self.address = PeerAddress.parse(address)
        ae_title_bytes(calling, "the calling AE title")
        self.calling = calling
        self.timeouts = timeouts or Timeouts()
        self.window = window
        self.retries = retries
        self.transcoding = Transcoding.parse(transcode)
        self.jobs = checked_jobs(jobs)
        self._tls = tls
        self._pool: Pool[Link] = Pool()
        self._supplies: weakref.WeakSet[Supply] = weakref.WeakSet()
        self._queues: set[StoreQueue] = set()
        self._lanes: weakref.WeakSet[Lanes] = weakref.WeakSet()
        self._finalizer = weakref.finalize(self, _release_all, self._pool)

    def echo(self) -> float:
        """Verify that the peer answers (C-ECHO).

        Returns
        -------
        float
            How long the answer took, in seconds.

        Raises
        ------
        NetworkError, AssociationError
            If there is no association to be had.
        ServiceRefusal
            If the peer answers with another status than success.
        """
        while True:
            with self._using(((VERIFICATION, NATIVE),)) as (link, is_reused):
                request = echo_request(link.agreement, link.next_message_id())
                begin = perf_counter()
                try:
                    response = link.run(user.one_reply(request))
                except AssociationError:
                    if is_reused:
                        continue
                    raise
            check_status(response, "Verification")
            return perf_counter() - begin

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
            If the first association cannot be had. Later failures are in the results.
        """
        if isinstance(paths, str | os.PathLike):
            paths = [paths]
        most = self.jobs if jobs is None else checked_jobs(jobs)
        has_sent = False
        supply = Supply(find_files(paths), self.transcoding)
        self._supplies.add(supply)
        part = supply.part(FIRST_LOOK)
        while part is not None:
            skipped, plans = part
            yield from skipped
            for plan in plans:
                if supply.ended is not None:
                    yield from (failed_result(stored, supply.ended) for stored in plan.objects)
                    continue
                queue = StoreQueue(plan, self.window, self.retries, supply if plan is plans[-1] else None)
                jobs = min(most, len(plan.objects))
                if jobs > 1:
                    yield from self._store_side_by_side(queue, not has_sent, jobs)
                else:
                    yield from self._store(queue, may_raise=not has_sent)
                has_sent = True
            part = supply.part(SCAN_AHEAD)

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
            If there is no association to be had, or it ends early.
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
        from ..exchange.messages import cancel_request, find_request, identifier_of

        while True:
            has_answer = False
            with self._using(((model, NATIVE),)) as (link, is_reused):
                request, context = find_request(link.agreement, identifier, model, link.next_message_id())
                cancel = cancel_request(context.context_id, request.message_id)
                try:
                    for response in link.iterate(user.many_replies(request), cancel):
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
            The last one, which tells what failed.

        Raises
        ------
        ValueError
            If the level, the model or a keyword does not exist, or not one of ``to`` and ``on_object`` is given.
        OSError
            If the folder cannot be made.
        NetworkError, AssociationError
            If there is no association to be had, or it ends early.
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

        proposal = get_contexts(model, contexts)
        roles = {uid: (False, True) for uid, _ in proposal[1:]}
        request = association_request(self.address, self.calling, proposal, 1, roles)
        hooks = ReceiverHooks(self.address.ae_title, to, on_object)
        return self._get(request, hooks, identifier, model)

    def _get(
        self, request: AssociateRQ, hooks: Hooks, identifier: Dataset, model: str
    ) -> Generator[RetrieveProgress, None, RetrieveProgress]:
        link = self._open(request, hooks)
        try:
            return (yield from _retrieve(link, C_GET_RQ, identifier, model))
        finally:
            self._pool.lose(link)
            release_links((link,))

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
            The last one, which tells what failed.

        Raises
        ------
        ValueError
            If the level, the model or a keyword does not exist, or the AE title is not valid.
        NetworkError, AssociationError
            If there is no association to be had, or it ends early.
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
        while True:
            has_answer = False
            with self._using(((model, NATIVE),)) as (link, is_reused):
                try:
                    responses = _retrieve(link, C_MOVE_RQ, identifier, model, destination)
                    progress = RetrieveProgress(PENDING)
                    for progress in responses:
                        has_answer = True
                        yield progress
                    return progress
                except AssociationError:
                    if has_answer or not is_reused:
                        raise

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

    def _end_stores(self) -> None:
        for supply in list(self._supplies):
            supply.end(AssociationClosed())
        for queue in list(self._queues):
            queue.fail(AssociationClosed())

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, Exception):
            self.close()
        else:
            # Ctrl-C does not wait for answers that are outstanding.
            self.abort()

    @contextmanager
    def _using(self, proposal: Proposal, window: int = 1) -> Iterator[tuple[Link, bool]]:
        """An open association that proposes just this, and whether it is an earlier one."""
        link = self._pool.take(proposal)
        is_reused = link is not None and link.phase is Phase.ESTABLISHED
        # Others that are idle take room that the peer may need.
        release_links(self._pool.take_idle())
        if link is None or not is_reused:
            request = association_request(self.address, self.calling, proposal, window)
            link = self._open(request, RequestorHooks())
        try:
            yield link, is_reused
        finally:
            if link.phase is Phase.ESTABLISHED:
                release_links(self._pool.give_back(proposal, link))
            else:
                self._pool.lose(link)

    def _store_side_by_side(self, queue: StoreQueue, may_raise: bool, jobs: int) -> Iterator[StoreResult]:
        lanes = Lanes(queue, jobs, self._use_lane)
        self._lanes.add(lanes)
        return lanes.results(may_raise)

    def _use_lane(
        self, queue: StoreQueue, opened: Callable[[Link], None], report: Callable[[StoreResult], None]
    ) -> None:
        with self._using(queue.proposal, self.window) as (link, is_reused):
            opened(link)
            for result in self._send(queue, link, is_reused):
                report(result)
        for result in queue.results():
            report(result)

    def _open(self, request: AssociateRQ, hooks: Hooks) -> Link:
        tls = None if self._tls is None else (self._tls, self.address.address.host)
        link = open_link(self.address.address, request, hooks, self.timeouts, tls=tls)
        self._pool.add(link)
        try:
            link.request(request)
        except BaseException:
            self._pool.lose(link)
            link.close()
            raise
        return link

    def _store(self, queue: StoreQueue, may_raise: bool) -> Iterator[StoreResult]:
        self._queues.add(queue)
        try:
            while not queue.is_empty:
                try:
                    with self._using(queue.proposal, self.window) as (link, is_reused):
                        may_raise = False
                        yield from self._send(queue, link, is_reused)
                except (NetworkError, AssociationError) as error:
                    if may_raise:
                        raise
                    queue.fail(error)
                yield from queue.results()
        finally:
            # Left early, nothing more is sent.
            queue.fail(AssociationClosed())
            self._queues.discard(queue)

    @staticmethod
    def _send(queue: StoreQueue, link: Link, is_reused: bool) -> Iterator[StoreResult]:
        agreement = link.agreement
        requests = queue.requests(agreement, link.next_message_id)
        has_answer = False
        try:
            for response in link.iterate(user.pipeline(requests, queue.window(agreement), queue.unusable)):
                has_answer = True
                queue.answered(response)
                yield from queue.results()
        except (NetworkError, AssociationError) as error:
            queue.lost(error, was_stale=is_reused and not has_answer)


def _retrieve(
    link: Link, kind: MessageType, identifier: Dataset, model: str, destination: str | None = None
) -> Generator[RetrieveProgress, None, RetrieveProgress]:
    from ..exchange.messages import cancel_request, failed_uids_of, retrieve_request

    request, context = retrieve_request(
        kind, link.agreement, identifier, model, link.next_message_id(), destination=destination
    )
    cancel = cancel_request(context.context_id, request.message_id)
    progress = RetrieveProgress(PENDING)
    for response in link.iterate(user.many_replies(request), cancel):
        progress = progress.next(response, failed_uids_of(response, context))
        yield progress
    progress.check()
    return progress


def release_links(links: Iterable[Link]) -> None:
    """Release associations; one that is over already is closed."""
    for link in links:
        try:
            link.release()
        except DicomnetError:
            # It was over already, and nothing is lost with it.
            link.close()


def _release_all(pool: Pool[Link]) -> None:
    release_links(pool.clear())
