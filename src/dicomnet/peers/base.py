"""`PeerBase`: the address, the options and the operations of a `Peer`, which a face performs.

What one operation alone needs is imported where it begins: a command that verifies a peer starts without the others.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from ..drivers.deadline import Timeouts
from ..drivers.life import Life
from ..encoding.transfer_syntaxes import Transcoding
from ..errors import AssociationClosed
from ..exchange.addresses import PeerAddress, association_request
from ..exchange.contexts import (
    GET_MODELS,
    MOVE_MODELS,
    NATIVE,
    STORAGE_COMMITMENT,
    Context,
    Proposal,
    find_model,
)
from ..exchange.operations import Operation
from ..exchange.pool import Pool
from ..values import replace
from ..wire.fields import ae_title_bytes
from ..wire.pdu import AssociateRQ
from .services import OverAssociations, OverHTTP, Service, over_http
from .target import Target, identity_of, target_of_name, web_target, with_character_set

if TYPE_CHECKING:
    import ssl

    from pydicom.dataset import Dataset

    from ..dicomweb.credentials import Credentials
    from ..exchange.lanes import StartedLanes
    from ..exchange.pacing import Rate
    from ..exchange.receiving import ReceivedObject, ReceiverHooks
    from ..exchange.results import Receipt
    from ..exchange.storing import Supply
    from ..exchange.web_addresses import WebAddress
    from .commitment import Inbox, Reference
    from .fetching import Fetching, Listed

AnyLink = TypeVar("AnyLink", bound=Life)
AnyLanes = TypeVar("AnyLanes", bound="StartedLanes[Any]")
# What hands out the results of `store`, the matches of a query and the progress of a retrieval, one at a time.
Results = TypeVar("Results")
Matches = TypeVar("Matches")
Paths = TypeVar("Paths")
Progress = TypeVar("Progress")
Commitments = TypeVar("Commitments")
Events = TypeVar("Events")


def _end_all(pool: Pool[AnyLink], end: Callable[[Iterable[AnyLink]], None]) -> None:
    end(pool.clear())


def _target(address: str | PeerAddress | WebAddress) -> Target:
    if not isinstance(address, str):
        return web_target(Target(address))
    if "://" in address:
        from ..exchange.web_addresses import WebAddress

        return web_target(Target(WebAddress.parse(address)))
    # What has no colon is the name of a remote.
    return Target(PeerAddress.parse(address)) if ":" in address else target_of_name(address)


def _checked_jobs(jobs: int) -> int:
    """A number of associations side by side.

    Raises
    ------
    ValueError
        If it is less than 1.
    """
    if jobs < 1:
        raise ValueError("there is at least 1 association to store with")
    return jobs


class PeerBase(Generic[AnyLink, AnyLanes, Results, Matches, Paths, Progress, Commitments, Events]):
    """A DICOM node to talk to. See `dicomnet.Peer` for the parameters."""

    def __init__(
        self,
        address: str | PeerAddress | WebAddress,
        *,
        calling: str | None = None,
        tls: ssl.SSLContext | None = None,
        timeouts: Timeouts | None = None,
        window: int | None = None,
        retries: int = 1,
        transcode: str = "never",
        jobs: int | None = None,
        user: str | None = None,
        passcode: str | None = None,
        credentials: Credentials | None = None,
        may_be_read: bool = False,
    ) -> None:
        target = _target(address)
        given = {
            "calling": calling,
            "tls": tls,
            "timeouts": timeouts,
            "window": window,
            "jobs": jobs,
            "identity": identity_of(user, passcode),
            "credentials": credentials,
        }
        target = replace(target, may_be_read=may_be_read)
        target = replace(target, **{name: value for name, value in given.items() if value is not None})
        self._set_up(target, retries, transcode)

    @classmethod
    def to_target(cls, target: Target, *, retries: int = 1, transcode: str = "never") -> Self:
        """A peer of which everything is known.

        Parameters
        ----------
        target
            The peer, and how it is reached.
        retries, transcode
            As of `dicomnet.Peer`.
        """
        made = cls.__new__(cls)
        made._set_up(target, retries, transcode)
        return made

    def _set_up(self, target: Target, retries: int, transcode: str) -> None:
        self._pool: Pool[AnyLink] = Pool()
        self._supplies: weakref.WeakSet[Supply] = weakref.WeakSet()
        self._lanes: weakref.WeakSet[AnyLanes] = weakref.WeakSet()
        self._finalizer = weakref.finalize(self, _end_all, self._pool, self._forget)
        ae_title_bytes(target.calling, "the calling AE title")
        self.address = target.address
        self.calling = target.calling
        self.timeouts = target.timeouts
        self.window = target.window
        self.jobs = _checked_jobs(target.jobs)
        self.retries = retries
        self.transcoding = Transcoding.parse(transcode)
        self._tls = target.tls
        self._target = target
        self._client_lock = threading.Lock()
        self._client: Any = None
        self._service: Service
        if isinstance(target.address, PeerAddress):
            if target.credentials is not None:
                raise ValueError("credentials are for DICOMweb; an association has a user and a passcode")
            self._service = OverAssociations(
                target.address, self._association_request, target.window, retries
            )
        else:
            self._service = over_http(target, retries, transcode)

    def __repr__(self) -> str:
        by = " by TLS" if self._tls is not None else ""
        return f"<{type(self).__name__} {self.address}{by}, called by {self.calling}>"

    @staticmethod
    def _forget(links: Iterable[AnyLink]) -> None:
        """End the associations of a peer that was garbage-collected."""
        raise NotImplementedError

    def _perform(self, operation: Operation[Any]) -> Any:
        """What hands out the results of an operation."""
        raise NotImplementedError

    def _perform_together(self, fetching: Fetching) -> Events:
        """What hands out the results of operations side by side."""
        raise NotImplementedError

    def _receiver_hooks(
        self, to: str | os.PathLike[str] | None, on_object: Callable[[ReceivedObject], Any] | None
    ) -> ReceiverHooks:
        """What takes the objects of a C-GET: a folder or a function."""
        from ..exchange.receiving import ReceiverHooks

        return ReceiverHooks(self.address.ae_title, to, on_object)

    def _echo(self) -> Any:
        """What hands out how long the answer to a C-ECHO took, in seconds."""
        if isinstance(self._service, OverHTTP):
            # What is loaded for it is not the peer's time.
            self.client()
        return self._perform(self._service.echo())

    def _request(self, proposal: Proposal, window: int) -> AssociateRQ:
        return self._association_request(proposal, window)

    def _association_request(
        self,
        contexts: Iterable[Context],
        window: int,
        roles: Mapping[str, tuple[bool, bool]] | None = None,
        performed: int = 1,
    ) -> AssociateRQ:
        target = self._target
        assert isinstance(target.address, PeerAddress)
        return association_request(
            target.address,
            self.calling,
            contexts,
            window,
            roles,
            performed,
            target.maximum_length,
            target.identity,
        )

    def store(
        self,
        paths: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
        *,
        jobs: int | None = None,
        rate: str | None = None,
        between: str | None = None,
        retry: int = 0,
    ) -> Results:
        """Store files (C-STORE), as they are where the peer takes that.

        Where it does not, native objects are encoded in the transfer syntax that it took, which keeps each value.
        What happens to compressed ones is said by ``transcode``.

        Parameters
        ----------
        paths
            Files, and folders with all that is in them; of zip and tar files (by the ends of their names) the members,
            which are read where they lie; of a DICOMDIR that is named the files to which it refers. What is not DICOM
            is skipped and reported.
        jobs
            How many associations may be open side by side, instead of the peer's ``jobs``. Where the other side takes
            fewer, the others carry on.
        rate
            The most that is sent: objects (``50/s``) or bytes (``10MB/s``) in a second, by default that of the remote.
            Objects are sent whole, so the wait for a large one comes behind it.
        between
            The part of the day in which objects are sent (``19:00-06:00``), by the local clock. Outside of it there is
            no association, and the store waits; what is on its way at the end is finished.
        retry
            How often a peer that cannot be reached, ends associations or is out of resources (status A7xx) is tried
            again, after 1, 2, 4 … s up to a minute; each object that it takes is a new beginning. What is not sent by
            then has failed.

        Yields
        ------
        StoreResult
            For each file, in the order of the peer's answers.

        Raises
        ------
        ValueError
            If ``rate`` or ``between`` is not valid, or ``jobs`` is less than 1.
        FileNotFoundError
            If a path does not exist.
        NetworkError, AssociationError
            If the first association cannot be opened. Later failures are in the results.
        """
        from ..exchange.pacing import pacing
        from ..exchange.retrying import Retry
        from ..exchange.searching import find_objects
        from ..exchange.storing import Supply

        if isinstance(paths, str | os.PathLike):
            paths = [paths]
        supply = Supply(
            find_objects(paths),
            self.transcoding,
            pacing=pacing(rate or self._target.rate, between or self._target.between),
            retry=Retry(retry) if retry > 0 else None,
        )
        return self.store_supply(supply, jobs)

    def store_supply(self, supply: Supply, jobs: int | None = None) -> Results:
        """Store what a supply gives; see `store`."""
        most = self.jobs if jobs is None else _checked_jobs(jobs)
        self._supplies.add(supply)
        results: Results = self._perform(self._service.store(supply, most))
        return results

    def find(self, level: str, *, model: str | None = None, **keys: Any) -> Matches:
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
        ProtocolError
            If matches cannot be read. It is raised after the last one, when all others have been yielded.
        """
        from ..datasets.queries import build_query

        return self.find_identifier(
            build_query(level, with_character_set(self._target, keys)), find_model(level, model)
        )

    def worklist(self, **keys: Any) -> Matches:
        """Query a modality worklist (C-FIND, PS3.4 Annex K).

        Parameters
        ----------
        keys
            Keyword to value, as of `find`. Keywords of a Scheduled Procedure Step, such as ``Modality``,
            ``ScheduledStationAETitle`` and ``ScheduledProcedureStepStartDate``, are asked for inside its sequence. The
            attributes that a worklist has to return are asked for besides.

        Yields
        ------
        pydicom.dataset.Dataset
            The matches: each with its scheduled step as the item of ``ScheduledProcedureStepSequence``.

        Raises
        ------
        ValueError, NetworkError, AssociationError, ServiceRefusal, ProtocolError
            As of `find`.
        """
        from ..datasets.queries import build_keys
        from ..exchange.contexts import MODALITY_WORKLIST
        from ..exchange.worklists import worklist_keys

        asked = with_character_set(self._target, worklist_keys(keys))
        return self.find_identifier(build_keys(asked), MODALITY_WORKLIST)

    def commit(
        self,
        objects: Iterable[Reference],
        *,
        wait: float = 60.0,
        listen: tuple[str, int] | None = None,
    ) -> Commitments:
        """Ask the peer to commit itself to keep objects (Storage Commitment, PS3.4 Annex J), and wait for its report.

        Parameters
        ----------
        objects
            SOP Class UID and SOP Instance UID of each, or results of `store`. They are asked for 1000 at a time.
        wait
            How long to wait for each report, in seconds; 0 is without end.
        listen
            Host and port to listen on, under our AE title, for reports on associations that the peer opens. Without it
            they have to come on the association of the request.

        Yields
        ------
        Commitment
            For each object, in the order in which they were given.

        Raises
        ------
        DeadlineExceeded, AssociationClosed
            If no report has come in time, or the association has ended without one.
        ServiceRefusal
            If the peer refuses the request.
        NetworkError, AssociationError
            If no association can be opened.
        OSError
            If nobody can listen there.
        """
        from .commitment import Inbox

        return self.commit_with(Inbox(), objects, wait=wait, listen=listen)

    def commit_with(
        self, inbox: Inbox, objects: Iterable[Reference], *, wait: float, listen: tuple[str, int] | None
    ) -> Commitments:
        """As `commit`, with what takes the reports, and tells what was refused of them."""
        from .commitment import commit

        request = self._association_request(((STORAGE_COMMITMENT, NATIVE),), 1)
        # An association that waits for its report is not idle.
        timeouts = replace(self.timeouts, idle=None)
        found: Commitments = self._perform(commit(request, objects, wait, timeouts, listen, inbox))
        return found

    def walk(self, level: str, *, model: str | None = None, is_deep: bool = False, **keys: Any) -> Paths:
        """Query level by level from the top down (C-FIND), as a peer needs it that has no relational queries.

        Each key is asked for at its own level: studies by their date, those of their series by the modality. A level is
        passed over where its unique key is given and nothing else is asked of it.

        Parameters
        ----------
        level, model
            As of `find`.
        is_deep
            Whether all that is below a match is looked for, too: its series, and their objects.
        keys
            As of `find`; those that no table of the standard has are asked for at the lowest level.

        Yields
        ------
        tuple of pydicom.dataset.Dataset
            Each match as the last one, behind the study and the series that it belongs to, as far as they were asked
            for. With ``is_deep`` a study comes before its series, and a series before its objects.

        Raises
        ------
        ValueError
            If the level, the model or a keyword does not exist.
        NetworkError, AssociationError
            If no association can be opened, or it ends early.
        ServiceRefusal, ProtocolError
            If a query fails. What is below its match is missing then; it is raised when all others have been yielded.
        """
        from ..exchange.walking import plan

        asked = with_character_set(self._target, keys)
        paths: Paths = self._perform(self._service.walk(plan(level, model, asked, is_deep=is_deep)))
        return paths

    def find_identifier(self, identifier: Dataset, model: str, *, limit: int | None = None) -> Matches:
        """Query with an Identifier of one's own.

        Parameters
        ----------
        identifier
            The Identifier, with its QueryRetrieveLevel.
        model
            SOP class UID of the information model.
        limit
            After how many matches the rest of the query is cancelled. One before that which cannot be read is an error
            then, too.
        """
        matches: Matches = self._perform(self._service.find(identifier, model, limit))
        return matches

    def get(
        self,
        level: str,
        *,
        model: str | None = None,
        to: str | os.PathLike[str] | None = None,
        on_object: Callable[[ReceivedObject], Any] | None = None,
        contexts: Mapping[str, Iterable[str]] | None = None,
        resume: bool = False,
        rate: str | None = None,
        **keys: Any,
    ) -> Progress:
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
            Called with each `ReceivedObject` instead of that. What it raises fails the object. In asyncio it may be a
            coroutine function; a plain one runs in a thread.
        contexts
            SOP class UIDs with the transfer syntax UIDs to take their objects in; by default the common storage SOP
            classes in the native ones.
        resume
            Whether objects are not asked for that are in the folder already, whole; of DICOMweb only.
        rate
            The most objects (``50/s``) or bytes (``10MB/s``) that come in a second, by default those of the remote.
        keys
            Keyword to value: the unique keys of the objects (PS3.4 section C.4.2.1.4.1), a list of UIDs at the level.

        Yields
        ------
        RetrieveProgress
            With each response of the peer, the final one included. Closed early, the rest is cancelled.

        Returns
        -------
        RetrieveProgress
            The last one, which says what failed; in asyncio it is only yielded.

        Raises
        ------
        ValueError
            If the level, the model or a keyword does not exist, the rate is none, or not one of ``to`` and
            ``on_object`` is given.
        OSError
            If the folder cannot be made.
        NetworkError, AssociationError
            If no association can be opened, or it ends early.
        ServiceRefusal
            If the peer ends with a status that is neither success nor warning.
        """
        from ..datasets.queries import build_identifier

        identifier, uid = build_identifier(level, keys), find_model(level, model, GET_MODELS)
        return self.get_identifier(
            identifier, uid, to=to, on_object=on_object, contexts=contexts, resume=resume, rate=rate
        )

    def get_identifier(
        self,
        identifier: Dataset,
        model: str,
        *,
        to: str | os.PathLike[str] | None = None,
        on_object: Callable[[ReceivedObject], Any] | None = None,
        contexts: Mapping[str, Iterable[str]] | None = None,
        resume: bool = False,
        rate: str | Rate | None = None,
        receipt: Receipt | None = None,
    ) -> Progress:
        """Retrieve with an Identifier of one's own, see `get`.

        Parameters
        ----------
        identifier
            The Identifier, with its QueryRetrieveLevel.
        model
            SOP class UID of the information model.
        to, on_object, contexts, resume, rate
            As of `get`.
        receipt
            Takes down each object when it has arrived, for those who want to know between two responses.
        """
        if resume and to is None:
            raise ValueError("resume needs a folder")
        hooks = self._receiver_hooks(to, on_object)
        if receipt is not None:
            hooks.receipt = receipt
        rate = rate or self._target.rate
        if rate is not None:
            from ..exchange.pacing import pacing

            hooks.pacing = pacing(rate, None)
        here = None
        if resume and to is not None:
            from pathlib import Path

            here = Path(to)
        progress: Progress = self._perform(self._service.get(identifier, model, hooks, contexts, here))
        return progress

    def move(self, destination: str, level: str, *, model: str | None = None, **keys: Any) -> Progress:
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
            The last one, which says what failed; in asyncio it is only yielded.

        Raises
        ------
        ValueError
            If the level, the model or a keyword does not exist, or the AE title is not valid.
        NetworkError, AssociationError
            If no association can be opened, or it ends early.
        ServiceRefusal
            If the peer ends with a status that is neither success nor warning.
        """
        from ..datasets.queries import build_identifier

        uid = find_model(level, model, MOVE_MODELS)
        return self.move_identifier(destination, build_identifier(level, keys), uid)

    def move_identifier(self, destination: str, identifier: Dataset, model: str) -> Progress:
        """Have objects sent with an Identifier of one's own, see `move`.

        Parameters
        ----------
        identifier
            The Identifier, with its QueryRetrieveLevel.
        model
            SOP class UID of the information model.
        """
        ae_title_bytes(destination, "the move destination")
        progress: Progress = self._perform(self._service.move(destination, identifier, model))
        return progress

    def client(self) -> Any:
        """The connections to a DICOMweb service, which are made when they are needed."""
        with self._client_lock:
            if self._client is None:
                self._client = self._make_client()
            return self._client

    def _make_client(self) -> Any:
        """The `Client` of the face's driver."""
        raise NotImplementedError

    def _take_client(self) -> Any:
        """The connections to be closed, None where there are none; nothing more is asked on them."""
        if isinstance(self._service, OverHTTP):
            self._service.end()
        with self._client_lock:
            client, self._client = self._client, None
            return client

    def fetch(
        self,
        rows: Listed,
        to: str | os.PathLike[str],
        *,
        layout: str | None = None,
        series: Iterable[str] = (),
        exclude: Iterable[str] = (),
        min_images: int = 1,
        wildcards: bool = False,
        all_matches: bool = False,
        recheck: bool = False,
        attempts: int = 3,
        retries: int = 5,
        pause: float = 30.0,
        rate: str | None = None,
        between: str | None = None,
        jobs: int | None = None,
        move: str | None = None,
        receiver: tuple[str, int] = ("127.0.0.1", 11112),
    ) -> Events:
        """Retrieve what a list names into a folder, complete, as ``dicomnet fetch`` does; again, it goes on.

        Parameters
        ----------
        rows
            The list: the path of a CSV file or of one with lines of JSON, or keys by keyword for each row.
        to
            The folder. A journal in there knows what is complete, and ``report.csv`` is written in the end.
        layout
            How files are named below it, with keywords in braces.
        series, exclude
            Conditions such as ``Modality=CT`` and ``SeriesDescription~*thin*``: only series that meet all of the
            former, and none that meets any of the latter.
        min_images
            Only series with at least as many objects.
        wildcards
            Whether values may be wild cards, ranges and lists.
        all_matches
            Whether all is retrieved where a row matches the studies of several patients.
        recheck
            Whether the peer is asked again for rows that are complete.
        attempts
            How often a series is asked for until it is complete.
        retries
            How often a peer is asked again that cannot be reached, breaks off or is out of resources.
        pause
            Seconds before a peer is asked again that is out of resources, twice as many each further time.
        rate, between
            As of `store`; of what is retrieved.
        jobs
            How many rows are retrieved side by side, by C-GET; by C-MOVE it is one.
        move
            Our AE title, to use C-MOVE instead of C-GET. The peer knows it by our host and port.
        receiver
            Host and port to listen on then.

        Yields
        ------
        Event
            What happens: of the kind ``row``, ``series``, ``object``, ``kept_out`` or ``pause``, with its values. That
            of a row has its ``outcome``.

        Raises
        ------
        ValueError
            If the list, the layout, a condition, ``rate`` or ``between`` is not valid.
        ConnectionFailed
            If the peer cannot be reached, and could not after all pauses.
        JournalUnusable
            If another process retrieves into the folder.
        OSError
            If nothing can be read or written there.
        """
        from ..exchange.pacing import pacing
        from ..fetching.fetcher import Terms
        from ..fetching.selecting import Condition, Selection
        from .fetching import Fetching

        target = self._target
        selection = Selection(
            list(map(Condition.parse, series)), list(map(Condition.parse, exclude)), min_images
        )
        terms = Terms(
            selection,
            wildcards,
            all_matches,
            recheck,
            attempts,
            retries,
            pause,
            pacing(rate or target.rate, between or target.between),
        )
        most = self.jobs if jobs is None else _checked_jobs(jobs)
        return self._perform_together(Fetching(self, rows, to, layout, terms, most, move, receiver))

    def _leave(self, kind: type[BaseException] | None) -> bool:
        """A block with the peer is left: whether what is open may be released, as nobody interrupts or cancels."""
        if kind is None:
            return True
        if not issubclass(kind, Exception):
            return False
        self._abort_retrievals()
        return True

    def _abort(self) -> list[AnyLink]:
        """End what is open at once: the associations, those too that are being released."""
        self._stop_stores()
        links = [*self._pool.ending, *self._pool.clear()]
        for link in links:
            link.abort()
        return links

    def _abort_retrievals(self) -> None:
        """End the queries and retrievals that go on: nobody takes what they still have to give."""
        for link in self._pool.busy:
            if link.is_retrieving:
                link.abort()

    def _stop_stores(self) -> None:
        """Send no further object."""
        for supply in list(self._supplies):
            supply.end(AssociationClosed())
        for lanes in list(self._lanes):
            lanes.end()
