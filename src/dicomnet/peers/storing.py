"""`StoringPeer`: what a `Peer` is asked to keep, and whether it has committed itself to that."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Generic, TypeVar

from ..exchange.contexts import NATIVE, STORAGE_COMMITMENT
from ..values import replace
from .base import AnyLanes, AnyLink, PeerBase, checked_jobs

if TYPE_CHECKING:
    from ..exchange.storing import Supply
    from .commitment import Inbox, Reference

# What hands out the results of `store` and of `commit`, one at a time.
Results = TypeVar("Results")
Commitments = TypeVar("Commitments")


class StoringPeer(PeerBase[AnyLink, AnyLanes], Generic[AnyLink, AnyLanes, Results, Commitments]):
    """A peer to store to."""

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
        most = self.jobs if jobs is None else checked_jobs(jobs)
        self._supplies.add(supply)
        results: Results = self._perform(self._service.store(supply, most))
        return results

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

        request = self._request(((STORAGE_COMMITMENT, NATIVE),), 1)
        # An association that waits for its report is not idle.
        timeouts = replace(self.timeouts, idle=None)
        found: Commitments = self._perform(commit(request, objects, wait, timeouts, listen, inbox))
        return found
