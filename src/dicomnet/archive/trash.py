"""The trash of an archive: what was deleted and is kept for a while, so that it can be brought back."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from datetime import datetime

from ..dimse.datasets import OUT_OF_RESOURCES
from ..errors import ServiceRefusal, UnusableObject
from .deletion import Deletion, Fate
from .intake import KEPT_IN_QUARANTINE, QUARANTINE_COMMENT, Intake
from .ledger.ledger import Ledger
from .storage.store import Storage

_log = logging.getLogger(__name__)


class Trash:
    """The trash of an archive, which may be in use.

    Parameters
    ----------
    intake, storage, ledger
        The archive.
    """

    def __init__(self, intake: Intake, storage: Storage, ledger: Ledger) -> None:
        self._intake = intake
        self._storage = storage
        self._deletions = ledger.deletions

    def bring_back(self, deletion: Deletion) -> None:
        """Store an object again, by the intake, as if it had just been received. If interrupted, it can be done again.

        Parameters
        ----------
        deletion
            An entry of the ledger about a file that is in the trash.

        Raises
        ------
        UnusableObject
            If its file is missing, or is not what it was when the object was deleted.
        ServiceRefusal
            If the intake refuses it, or keeps it in quarantine as another object has its SOP Instance UID by now.
        OSError, DatabaseFailure
            If something cannot be read or written.
        """
        try:
            file = self._storage.open_aside(deletion.location)
        except FileNotFoundError as error:
            raise UnusableObject("its file is not in the trash any more") from error
        with file:
            if hashlib.file_digest(file, "sha256").hexdigest() != deletion.digest:
                raise UnusableObject("its file in the trash is not what was deleted")
            file.seek(0)
            session = self._intake.open_copy(file, deletion.source)
        try:
            status = session.commit()
        finally:
            session.abort()
        self._leave(deletion, Fate.UNDELETED)
        if status == KEPT_IN_QUARANTINE:
            raise ServiceRefusal(KEPT_IN_QUARANTINE, QUARANTINE_COMMENT)

    def empty(self, now: datetime, is_stopped: Callable[[], bool] = lambda: False) -> int:
        """Remove the files whose time is over; how many these were.

        Parameters
        ----------
        now
            The time.
        is_stopped
            Asked now and then whether to stop.

        Raises
        ------
        OSError, DatabaseFailure
            If a file cannot be removed, or that cannot be recorded.
        """
        count = size = 0
        for each in self._deletions.trash(until=now):
            if is_stopped():
                break
            # Who deletes the same object once more puts it there again.
            with self._intake.claimed(each.name.instance, 0.0) as is_claimed:
                if is_claimed:
                    self._leave(each, Fate.EMPTIED)
                    count, size = count + 1, size + each.size
        if count:
            _log.warning(
                "%d objects were removed from the trash, as their time is over: %d bytes", count, size
            )
        return count

    def wait_for_all(self) -> None:
        """Wait until what was brought back can be found.

        Raises
        ------
        ServiceRefusal
            If it cannot in time; it is in the intake journal then.
        """
        if not self._intake.wait_for_all():
            raise ServiceRefusal(OUT_OF_RESOURCES, "it is in the intake journal, and cannot be filed now")

    def _leave(self, deletion: Deletion, fate: Fate) -> None:
        self._storage.drop_aside(deletion.location)
        self._deletions.leave_trash(deletion.location, fate)
