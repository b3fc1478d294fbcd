"""The tasks of deleting objects by a query or by UIDs, and of bringing back what is in the trash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from secrets import token_hex
from sys import intern
from typing import Any

from ...values import mutable
from ..audit import COMMAND
from ..catalogue.inspection import Inspection, StudyRow
from ..catalogue.query import StoredInstance
from ..deleting import IS_BEING_STORED, Deleted, Patients
from ..deletion import Deletion, Order, Protection
from ..holdings import Holdings
from .findings import unbroken
from .locating import selected
from .task import Reporter, TaskRefused

# What became of a study, or of an object.
FOUND, DELETED, PROTECTED, FAILED, MISSING = "found", "deleted", "protected", "failed", "missing"
IN_TRASH, UNDELETED, DROPPED = "in_trash", "undeleted", "dropped"
_STUDY_DATE = "00080020"
# How many objects are brought back together.
_TOGETHER = 100


@mutable
class _Chosen:
    """The objects of a study that are meant: SOP Instance UID, Series Instance UID and size."""

    instances: list[tuple[str, str, int]]

    @property
    def series(self) -> int:
        """How many series they are in."""
        return len({series for _, series, _ in self.instances})

    @property
    def size(self) -> int:
        """How many bytes they have, as far as that is known."""
        return sum(size for _, _, size in self.instances)


def delete_objects(
    holdings: Holdings,
    reporter: Reporter,
    *,
    keys: Mapping[str, Any] | None = None,
    level: str | None = None,
    uids: Sequence[str] = (),
    actor: str,
    reason: str = "",
    keep: float = 0.0,
    dry_run: bool = False,
    expected: str = "",
) -> Mapping[str, Any]:
    """Delete objects: those of what matches keys, those with UIDs, or all.

    Parameters
    ----------
    holdings
        The archive.
    reporter
        Told each study with what became of it, and each object or UID with which something is wrong.
    keys, level, uids
        As of `find_objects`.
    actor, reason, keep
        As of `deletion.Order`.
    dry_run
        Whether nothing is changed.
    expected
        The ``fingerprint`` of a dry run that somebody has seen: if other objects match now, nothing is done. Empty
        where nobody has.

    Returns
    -------
    mapping
        ``studies``, ``series``, ``objects``, ``bytes``: how much was deleted, or would be; ``protected``, ``failed``:
        how many objects were not; ``missing``: how many UIDs nothing has; ``run``: what the ledger calls it;
        ``fingerprint``: a digest of all UIDs that were meant.

    Raises
    ------
    TaskRefused
        If other objects match than those of the dry run.
    TaskFailed, ServiceRefusal, DatabaseFailure, OSError
        As of `find_objects` and `Deleting.delete`. What was deleted before stays deleted.
    """
    missing: list[str] = []
    index = holdings.index_to_search()
    chosen = _by_study(selected(index, reporter, keys, level, uids, missing))
    fingerprint = _fingerprint(chosen)
    if expected and expected != fingerprint:
        raise TaskRefused(
            "other objects match by now than were shown; nothing was deleted; have a look once more"
        )
    order = Order(f"delete-{token_hex(6)}", actor, reason=reason, keep=keep, user=actor, way=COMMAND)
    deleting, ledger = holdings.deleting(), holdings.ledger
    assert ledger is not None
    inspection = Inspection(index)
    sums = dict.fromkeys(("studies", "series", "objects", "bytes", PROTECTED, FAILED), 0)
    for number, (study, those) in enumerate(chosen.items()):
        reporter.progress(number, len(chosen))
        row = inspection.study(study)
        instances = [instance for instance, _, _ in those.instances]
        done = Deleted(len(instances), those.size)
        if not dry_run:
            with unbroken():
                done = deleting.delete(study, instances, order)
        elif row is not None:
            done.protection = Patients.of(row).protection(ledger.opened)
        _tell(reporter, study, row, those, done, dry_run=dry_run)
        if done.protection is not None:
            sums[PROTECTED] += len(instances)
            continue
        sums[FAILED] += len(done.failed)
        if done.count:
            sums["studies"] += 1
            left = [each for each in those.instances if each[0] not in done.failed]
            sums["series"] += _Chosen(left).series
            sums["objects"] += done.count
            sums["bytes"] += done.size
    for uid in missing:
        reporter.item(uid=uid, outcome=MISSING, reason="the archive does not have it")
    return {
        **sums,
        MISSING: len(missing),
        "run": "" if dry_run else order.run,
        "fingerprint": fingerprint,
        "dry_run": dry_run,
    }


def undelete_objects(
    holdings: Holdings,
    reporter: Reporter,
    *,
    uids: Sequence[str] = (),
    run: str = "",
    last: bool = False,
    drop: bool = False,
    actor: str = "",
    dry_run: bool = False,
) -> Mapping[str, Any]:
    """Bring back what is in the trash, or remove it for good: what has UIDs, what one deletion put there, or all.

    Parameters
    ----------
    holdings
        The archive.
    reporter
        Told each study with what became of it, and each object that cannot be brought back.
    uids
        Study, Series or SOP Instance UIDs.
    run
        What the ledger calls the deletion; empty for all.
    last
        Whether the last deletion by hand is meant.
    drop
        Whether it is removed for good.
    actor
        Who wants it.
    dry_run
        Whether it is only said what is there.

    Returns
    -------
    mapping
        ``studies``, ``objects``, ``bytes``: how much was brought back, or is there; ``failed``: how many objects could
        not be.

    Raises
    ------
    DatabaseFailure, OSError
        If something cannot be read or written. What was brought back before stays.
    """
    assert holdings.ledger is not None
    deletions = holdings.ledger.opened.deletions
    trash = holdings.trash()
    sums = dict.fromkeys(("studies", "objects", "bytes", FAILED), 0)
    wanted = (deletions.last_run() or "none") if last else run
    # Those of a study and a deletion are together.
    found = list(deletions.trash(uids, run=wanted))
    found.sort(key=lambda each: (each.run, each.name.study))
    done = 0
    for (_, study), group in groupby(found, key=lambda each: (each.run, each.name.study)):
        those = list(group)
        failed: dict[str, str] = {}
        for at in range(0, len(those), _TOGETHER):
            reporter.progress(done, len(found))
            part = those[at : at + _TOGETHER]
            done += len(part)
            if drop:
                failed |= {each.location: IS_BEING_STORED for each in part if not trash.drop(each, actor)}
            elif not dry_run:
                with unbroken():
                    failed |= trash.bring_back(part, actor)
        back = [each for each in those if each.location not in failed]
        sums["studies"] += bool(back)
        sums["objects"] += len(back)
        sums["bytes"] += sum(each.size for each in back)
        sums[FAILED] += len(failed)
        outcome = IN_TRASH if dry_run else FAILED if not back else DROPPED if drop else UNDELETED
        _tell_of_trash(reporter, study, those, back, outcome)
        for each in those:
            if each.location in failed:
                reason = failed[each.location]
                reporter.item(sop_instance_uid=each.name.instance, outcome=FAILED, reason=reason)
    if done and not (dry_run or drop):
        trash.wait_for_all()
    return {**sums, "dry_run": dry_run, "drop": drop}


def _by_study(found: Iterable[StoredInstance]) -> dict[str, _Chosen]:
    """Objects by study, in the order in which these were found."""
    chosen: dict[str, _Chosen] = {}
    for each in found:
        of_study = chosen.setdefault(intern(each.name.study), _Chosen([]))
        of_study.instances.append((each.name.instance, intern(each.name.series), each.size or 0))
    return chosen


def _fingerprint(chosen: Mapping[str, _Chosen]) -> str:
    digest = hashlib.sha256()
    for instance in sorted(instance for each in chosen.values() for instance, _, _ in each.instances):
        digest.update(instance.encode() + b"\n")
    return digest.hexdigest()


def _tell(
    reporter: Reporter, study: str, row: StudyRow | None, those: _Chosen, done: Deleted, *, dry_run: bool
) -> None:
    """Report a study, and the objects of it that are not deleted."""
    protection = done.protection
    outcome = FOUND if dry_run else DELETED
    if protection is not None:
        outcome = PROTECTED
    elif not done.count:
        outcome = FAILED
    patients = Patients.of(row) if row is not None else Patients((), ())
    reporter.item(
        study_instance_uid=study,
        patient_id=next(iter(patients.ids), ""),
        study_date="" if row is None else row.attributes.get(_STUDY_DATE, ""),
        series=those.series,
        objects=len(those.instances) if protection is not None else done.count,
        of=len(those.instances) if row is None else row.instance_count,
        bytes=those.size if protection is not None else done.size,
        outcome=outcome,
        **({} if protection is None else {"reason": _words_of(protection)}),
    )
    for instance, reason in sorted(done.failed.items()):
        reporter.item(sop_instance_uid=instance, outcome=FAILED, reason=reason)


def _words_of(protection: Protection) -> str:
    whose = f"patient {protection.patient}" + (f" of {protection.issuer}" if protection.issuer else "")
    return f"{whose} is protected" + (f": {protection.reason}" if protection.reason else "")


def _tell_of_trash(
    reporter: Reporter, study: str, those: Sequence[Deletion], back: Sequence[Deletion], outcome: str
) -> None:
    first = those[0]
    reporter.item(
        study_instance_uid=study,
        patient_id=first.patient,
        objects=len(back),
        bytes=sum(each.size for each in back),
        run=first.run,
        actor=first.actor or None,
        rule=first.rule or None,
        reason=first.reason or None,
        deleted_at=first.begun_at.isoformat(timespec="seconds"),
        kept_until=None if first.kept_until is None else first.kept_until.isoformat(timespec="seconds"),
        outcome=outcome,
    )
