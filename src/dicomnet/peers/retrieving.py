"""`RetrievingPeer`: the objects that a `Peer` is asked for, one request at a time or a whole list."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..exchange.contexts import GET_MODELS, MOVE_MODELS, find_model
from ..wire.fields import ae_title_bytes
from .base import AnyLanes, AnyLink, PeerBase, checked_jobs

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from ..exchange.pacing import Rate
    from ..exchange.receiving import ReceivedObject, ReceiverHooks
    from ..exchange.results import Receipt
    from .fetching import Fetching, Listed

# What hands out the progress of a retrieval, and what happens while a list is worked through, one at a time.
Progress = TypeVar("Progress")
Events = TypeVar("Events")


class RetrievingPeer(PeerBase[AnyLink, AnyLanes], Generic[AnyLink, AnyLanes, Progress, Events]):
    """A peer to retrieve from."""

    def _receiver_hooks(
        self, to: str | os.PathLike[str] | None, on_object: Callable[[ReceivedObject], Any] | None
    ) -> ReceiverHooks:
        """What takes the objects of a C-GET: a folder or a function."""
        from ..exchange.receiving import ReceiverHooks

        return ReceiverHooks(self.address.ae_title, to, on_object)

    def _perform_together(self, fetching: Fetching) -> Events:
        """What hands out the results of operations side by side."""
        raise NotImplementedError

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
        if model in GET_MODELS.values():
            from ..exchange.receiving import asked_for

            hooks.expect(asked_for(identifier))
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
        most = self.jobs if jobs is None else checked_jobs(jobs)
        return self._perform_together(Fetching(self, rows, to, layout, terms, most, move, receiver))
