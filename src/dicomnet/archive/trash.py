"""The trash of an archive: what was deleted and is kept for a while, so that it can be brought back."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from ..dimse.datasets import OUT_OF_RESOURCES
from ..errors import ServiceRefusal, UnusableObject
from ..plurals import counted
from .audit import COMMAND, AuditEvent, EventAction, EventKind
from .auditing import AuditTrail
from .deletion import Deletion, Fate
from .intake import KEPT_IN_QUARANTINE, QUARANTINE_COMMENT, Intake, Session
from .ledger.ledger import Ledger
from .storage.store import Storage

_log = logging.getLogger(__name__)


class Trash:
    """The trash of an archive, which may be in use.

    Parameters
    ----------
    intake, storage, ledger
        The archive.
    audit
        The audit trail, which says what was brought back or removed for good.
    """

    def __init__(self, intake: Intake, storage: Storage, ledger: Ledger, audit: AuditTrail) -> None:
        self._audit = audit
        self._intake = intake
        self._storage = storage
        self._deletions = ledger.deletions

    def bring_back(self, deletions: Sequence[Deletion], actor: str = "") -> dict[str, str]:
        """Store objects again, by the intake, as if they had just been received. If interrupted, it can be done again.

        Parameters
        ----------
        deletions
            Entries of the ledger about files that are in the trash: not too many, as all of them are copied at once.
        actor
            Who wants it.

        Returns
        -------
        dict
            Why some could not be, by the location of the file: it is missing or has changed, the intake refuses it, or
            keeps it in quarantine since another object has its SOP Instance UID by now.

        Raises
        ------
        OSError, DatabaseFailure
            If something cannot be read or written.
        """
        failed: dict[str, str] = {}
        sessions: dict[str, Session] = {}
        try:
            for each in deletions:
                try:
                    sessions[each.location] = self._copied(each)
                except UnusableObject as error:
                    failed[each.location] = error.cause
                except ServiceRefusal as refusal:
                    failed[each.location] = refusal.comment
            outcomes = self._intake.commit(list(sessions.values()))
        finally:
            for session in sessions.values():
                session.abort()
        stored = []
        for location, outcome in zip(sessions, outcomes, strict=True):
            if isinstance(outcome, ServiceRefusal):
                failed[location] = outcome.comment
                continue
            stored.append(location)
            if outcome == KEPT_IN_QUARANTINE:
                failed[location] = QUARANTINE_COMMENT
        self._leave(stored, Fate.UNDELETED)
        for each in deletions:
            if each.location not in failed:
                self._record(EventAction.RESTORED, each, actor)
        return failed

    def empty(self, now: datetime, is_stopped: Callable[[], bool] = lambda: False) -> None:
        """Remove the files whose time is over.

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
            if self.drop(each):
                count, size = count + 1, size + each.size
        if count:
            _log.warning(
                "removed from the trash, as the time is over: %s, %d bytes", counted(count, "object"), size
            )

    def drop(self, deletion: Deletion, actor: str = "") -> bool:
        """Remove a file for good; False if its object is being deleted once more, which puts it there again.

        Parameters
        ----------
        deletion
            It.
        actor
            Who wants it; empty where its time is over.

        Raises
        ------
        OSError, DatabaseFailure
            If it cannot be removed, or that cannot be recorded.
        """
        with self._intake.claimed(deletion.name.instance, 0.0) as is_claimed:
            if is_claimed:
                self._leave([deletion.location], Fate.EMPTIED)
        if is_claimed:
            self._record(EventAction.FOR_GOOD, deletion, actor)
        return is_claimed

    def _record(self, action: EventAction, deletion: Deletion, actor: str) -> None:
        self._audit.record_together(
            AuditEvent(
                EventKind.INSTANCES_ACCESSED,
                action,
                user=actor,
                way=COMMAND if actor else "",
                study=deletion.name.study,
                patient=deletion.patient,
                detail=f"from the trash, {deletion.run}",
            )
        )

    def wait_for_all(self) -> None:
        """Wait until what was brought back can be found.

        Raises
        ------
        ServiceRefusal
            If it cannot in time; it is in the intake journal then.
        """
        if not self._intake.wait_for_all():
            raise ServiceRefusal(OUT_OF_RESOURCES, "it is in the intake journal, and cannot be filed now")

    def _copied(self, deletion: Deletion) -> Session:
        """A session with the content of a file in the trash."""
        try:
            file = self._storage.open_aside(deletion.location)
        except FileNotFoundError as error:
            raise UnusableObject("its file is not in the trash any more") from error
        with file:
            if hashlib.file_digest(file, "sha256").hexdigest() != deletion.digest:
                raise UnusableObject("its file in the trash is not what was deleted")
            file.seek(0)
            return self._intake.open_copy(file, deletion.source)

    def _leave(self, locations: Sequence[str], fate: Fate) -> None:
        for location in locations:
            self._storage.drop_aside(location)
        self._deletions.leave_trash(locations, fate)
