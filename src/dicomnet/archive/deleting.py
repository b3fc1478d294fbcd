"""Deletion of objects: entered in the ledger, taken out of the store, then out of the index, and known to be done.

The moment of a deletion is that in which the file of an object loses its name. Whoever is killed before leaves the
object as it was, and whoever is killed afterwards leaves no more than rows that are set right when the next one comes.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic

from ..plurals import counted
from ..values import field, frozen, mutable
from .audit import AuditEvent, EventAction, EventKind, EventOutcome
from .auditing import AuditTrail
from .catalogue import levels
from .catalogue.index import Index
from .catalogue.inspection import Inspection, Row, StudyRow
from .catalogue.removal import Removal
from .deletion import Deletion, Fate, Order, Protection
from .intake import PATIENCE, Intake
from .ledger.ledger import Ledger
from .storage.store import ObjectName, Storage

_log = logging.getLogger(__name__)

IS_BEING_STORED = "another object with this SOP Instance UID is being stored all the time"
HAS_NO_FILE = "its file is missing; dicomnet check tells what is to be done"
IS_GONE = "it is not there any more"
_NOT_REMOVED = "its file could not be removed: {}"
_PATIENT_ID, _ISSUER = f"{levels.PATIENT_ID:08X}", f"{levels.ISSUER_OF_PATIENT_ID:08X}"


@mutable
class Deleted:
    """What became of the objects of a study.

    Parameters
    ----------
    count, size
        How many were deleted, and how many bytes they had.
    failed
        The reasons by the SOP Instance UIDs of those that were not.
    protection
        That of the patient, under which nothing was done; None if he has none.
    """

    count: int = 0
    size: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    protection: Protection | None = None


@frozen
class Patients:
    """Whom a study is of, according to its objects, which may contradict each other.

    Parameters
    ----------
    ids, issuers
        All Patient IDs, and all issuers of such, the one first that the study is shown with.
    """

    ids: tuple[str, ...]
    issuers: tuple[str, ...]

    @classmethod
    def of(cls, study: StudyRow) -> Patients:
        """Those of a study."""
        return cls(_said(study, _PATIENT_ID), _said(study, _ISSUER))

    def protection(self, ledger: Ledger) -> Protection | None:
        """The protection that one of them has; None if nobody has one."""
        return ledger.protections.of(self.ids, self.issuers) if self.ids else None


class Deleting:
    """The one that deletes objects of an archive, which may be in use.

    Parameters
    ----------
    intake, storage, index, ledger
        The archive.
    audit
        The audit trail, which says what was deleted.
    """

    def __init__(
        self, intake: Intake, storage: Storage, index: Index, ledger: Ledger, audit: AuditTrail
    ) -> None:
        self._audit = audit
        self._intake = intake
        self._storage = storage
        self._index = index
        self._ledger = ledger
        self._inspection = Inspection(index)

    def delete(self, study: str, instances: Collection[str], order: Order) -> Deleted:
        """Delete objects of a study, unless its patient is protected.

        Parameters
        ----------
        study
            Study Instance UID.
        instances
            SOP Instance UIDs.
        order
            Who wants it and why, and what becomes of the files.

        Raises
        ------
        DatabaseFailure, LedgerUnusable
            If ledger or index cannot be written. What is begun then is ended as soon as they can.
        ServiceRefusal
            With status 0xA700, if the index cannot be read or written.
        OSError
            If it cannot be seen what is in the store.
        """
        deleted = Deleted()
        with self._claimed(instances, PATIENCE) as claimed:
            deleted.failed = dict.fromkeys(set(instances) - claimed, IS_BEING_STORED)
            of_study = self._inspection.study(study)
            rows = {
                row.uids[2]: row for row in self._inspection.rows_of_study(study) if row.uids[2] in claimed
            }
            deleted.failed |= dict.fromkeys(claimed - rows.keys(), IS_GONE)
            if of_study is None or not rows:
                return deleted
            patients = Patients.of(of_study)
            deleted.protection = patients.protection(self._ledger)
            if deleted.protection is not None:
                self._record(of_study, patients, order, len(rows), is_failure=True)
                return deleted
            deletions = list(self._deletions(rows, patients, order, deleted))
            if deletions:
                self._perform(deletions, deleted)
            if deleted.count:
                self._record(of_study, patients, order, deleted.count)
            if deleted.failed:
                self._record(of_study, patients, order, len(deleted.failed), is_failure=True)
        return deleted

    def end_interrupted(self, left: Iterable[Deletion]) -> None:
        """Find out what became of deletions of processes that ended, or could not write, and enter that.

        Parameters
        ----------
        left
            Those that the ledger does not know the end of. Those that are under way are left to others.

        Raises
        ------
        DatabaseFailure, LedgerUnusable, ServiceRefusal, OSError
            As of `delete`.
        """
        by_study: dict[str, list[str]] = defaultdict(list)
        for each in left:
            by_study[each.name.study].append(each.name.instance)
        for instances in by_study.values():
            with self._claimed(instances, 0.0) as claimed:
                # Whoever had them may have come to an end before.
                open_still = [
                    each for each in self._ledger.deletions.to_end() if each.name.instance in claimed
                ]
                if open_still:
                    fates = self._end(open_still)
                    gone = sum(fate is not Fate.NOT_DELETED for fate in fates.values())
                    _log.warning(
                        "a deletion from study %s was interrupted: %s deleted, %d there as before",
                        open_still[0].name.study,
                        counted(gone, "object"),
                        len(fates) - gone,
                    )

    def _record(
        self, study: StudyRow, patients: Patients, order: Order, count: int, *, is_failure: bool = False
    ) -> None:
        """The audit trail says what was deleted, or was to be."""
        is_whole = count >= study.instance_count
        action = EventAction.NONE if is_whole else EventAction.DELETED
        why = [order.run, f"rule {order.rule}" if order.rule else "", order.reason]
        self._audit.record(
            AuditEvent(
                EventKind.STUDY_DELETED if is_whole else EventKind.INSTANCES_ACCESSED,
                action if order.keep else EventAction.FOR_GOOD,
                EventOutcome.SERIOUS_FAILURE if is_failure else EventOutcome.SUCCESS,
                user=order.user,
                address=order.address,
                way=order.way,
                study=study.uid,
                patient=patients.ids[0] if patients.ids else "",
                detail=", ".join(filter(None, why)),
            ),
            count,
        )

    @contextmanager
    def _claimed(self, instances: Iterable[str], seconds: float) -> Iterator[set[str]]:
        """Within the block, nobody stores objects with these UIDs; gives those of which that could be had in time."""
        end = monotonic() + seconds
        claimed = set()
        with ExitStack() as stack:
            # In one order everywhere, so that nobody waits for somebody who waits for him.
            for instance in sorted(set(instances)):
                left = max(0.0, end - monotonic())
                if stack.enter_context(self._intake.claimed(instance, left)):
                    claimed.add(instance)
            yield claimed

    def _deletions(
        self, rows: Mapping[str, Row], patients: Patients, order: Order, deleted: Deleted
    ) -> Iterator[Deletion]:
        """Objects as they are entered; those that cannot be deleted are noted with the reason."""
        there = self._there(row.name for row in rows.values() if row.name is not None)
        now = datetime.now(UTC)
        kept_until = now + timedelta(seconds=order.keep) if order.keep else None
        for instance, row in rows.items():
            name = row.name
            if name is None or name not in there:
                deleted.failed[instance] = HAS_NO_FILE
                continue
            digest = row.digest or self._storage.digest(name)
            yield Deletion(
                name,
                digest,
                row.size or 0,
                order.run,
                now,
                order.actor,
                order.rule,
                order.reason,
                patients.ids[0] if patients.ids else "",
                patients.issuers[0] if patients.issuers else "",
                self._storage.place_in_trash(name, digest) if order.keep else "",
                row.source,
                kept_until,
            )

    def _perform(self, deletions: Sequence[Deletion], deleted: Deleted) -> None:
        self._ledger.deletions.begin(deletions)
        # What a journal may still have of them is not filed once more after a kill.
        self._intake.will_delete(self._ledger.deletions.last())
        trouble = "it is there as before"
        try:
            self._storage.delete({each.name: each.location for each in deletions})
        except OSError as error:
            _log.error("objects cannot be deleted: %s", error)
            trouble = error.strerror or str(error)
        fates = self._end(deletions)
        for each in deletions:
            if fates[each.name.instance] is Fate.NOT_DELETED:
                deleted.failed[each.name.instance] = _NOT_REMOVED.format(trouble)
            else:
                deleted.count += 1
                deleted.size += each.size

    def _end(self, deletions: Sequence[Deletion]) -> dict[str, Fate]:
        """Find out what became of objects, while their UIDs are claimed; take their rows away, and enter it."""
        there = self._there(each.name for each in deletions)
        fates = {each.name.instance: self._fate(each, is_there=each.name in there) for each in deletions}
        gone: dict[str, set[str]] = defaultdict(set)
        for each in deletions:
            if each.name not in there:
                gone[each.name.study].add(each.name.instance)
        removal = Removal(self._index, self._storage)
        for study, instances in gone.items():
            removal.remove(study, instances)
        # What the ledger says to be done is so after a power cut, too.
        self._index.make_durable()
        entries: dict[tuple[str, Fate], list[str]] = defaultdict(list)
        for each in deletions:
            entries[each.run, fates[each.name.instance]].append(each.name.instance)
        for (run, fate), ended in entries.items():
            self._ledger.deletions.end(run, ended, fate)
        return fates

    def _fate(self, deletion: Deletion, *, is_there: bool) -> Fate:
        storage, name, location = self._storage, deletion.name, deletion.location
        is_in_trash = bool(location) and storage.where_aside(location) is not None
        if not is_there:
            if location and not is_in_trash:
                _log.error(
                    "object %s is neither in the store nor in the trash",
                    name.instance,
                    extra={"object": name.instance},
                )
                return Fate.LOST
            return Fate.IN_TRASH if location else Fate.GONE
        if not is_in_trash:
            return Fate.NOT_DELETED
        if storage.digest(name) != deletion.digest:
            # Another one was stored since.
            return Fate.IN_TRASH
        # A copy for the trash of another file system had been made, and the file was not removed yet.
        known = self._ledger.deletions.trash(instance=name.instance)
        if all(each.location != location for each in known):
            storage.drop_aside(location)
        return Fate.NOT_DELETED

    def _there(self, names: Iterable[ObjectName]) -> set[ObjectName]:
        """Those of them that the store has; raises OSError where that cannot be seen, as on a disk that is away."""
        there: set[ObjectName] = set()
        missing: dict[tuple[str, str], list[ObjectName]] = defaultdict(list)
        for name in names:
            if self._storage.has(name):
                there.add(name)
            else:
                missing[name.study, name.series].append(name)
        for series, those in missing.items():
            try:
                found = set(self._storage.instances(*series))
            except FileNotFoundError:
                continue
            there.update(name for name in those if name.instance in found)
        return there


def _said(study: StudyRow, key: str) -> tuple[str, ...]:
    """All values that objects of a study say of an attribute, the one first that the study is shown with."""
    values = (study.attributes.get(key), *study.others.get(key, ()))
    return tuple(dict.fromkeys(str(value) for value in values if value))
