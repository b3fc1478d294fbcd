"""Retention: whole studies are removed by rules, each of them as an administrator would delete it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from math import inf
from pathlib import Path
from secrets import token_hex
from time import monotonic, time

from ..plurals import counted
from ..values import frozen
from .catalogue.index import Index
from .catalogue.inspection import Inspection, StudyRow
from .deleting import Deleting, Patients
from .deletion import Order
from .ledger.ledger import Ledger
from .retention import STUDY_DATE, RetentionPolicy, RetentionRule
from .uses import Uses

_log = logging.getLogger(__name__)

_DAY = 86_400
_STUDY_DATE, _INSTITUTION = "00080020", "00080080"
# How long a rule is applied before others have their turn, and the rest its own the next time, in seconds.
_TURN = 20.0
# How many times as much as was lacking a rule removes at most until it is time for it again.
_TWICE = 2


@frozen
class _Candidate:
    """A study that a rule may remove: since when its age counts, in seconds since 1970, and its UID."""

    since: float
    study: str


class Retention:
    """The one that applies the rules, now and then.

    Parameters
    ----------
    folder
        Where objects are: of the space on its file system the rules speak.
    index, ledger, deleting, uses
        The archive.
    """

    def __init__(self, folder: Path, index: Index, ledger: Ledger, deleting: Deleting, uses: Uses) -> None:
        self._folder = folder
        self._index = index
        self._ledger = ledger
        self._inspection = Inspection(index)
        self._deleting = deleting
        self._uses = uses
        self._policy = RetentionPolicy()
        self._next = 0.0

    def run(self, policy: RetentionPolicy, is_stopped: Callable[[], bool] = lambda: False) -> None:
        """Apply the rules if it is time for it: the first time, when they are others, and then at their interval.

        Parameters
        ----------
        policy
            The rules.
        is_stopped
            Asked now and then whether to stop.

        Raises
        ------
        ServiceRefusal, DatabaseFailure, OSError
            If the archive cannot be read or written now.
        """
        if policy != self._policy:
            self._policy, self._next = policy, 0.0
            for rule in policy.rules:
                if rule.require:
                    _log.warning(
                        "the retention rule %s removes nothing: it requires that objects are %s, and of no object this"
                        " archive knows that yet",
                        rule.name,
                        " and ".join(rule.require),
                    )
        if not policy.rules or monotonic() < self._next or not self._index.is_complete:
            return
        # Where all rules have had their turn and nothing is left, it is time again after the interval.
        begun = monotonic()
        turns = [self._apply(rule, is_stopped) for rule in policy.rules]
        self._next = begun + policy.interval if all(turns) else 0.0

    def _apply(self, rule: RetentionRule, is_stopped: Callable[[], bool]) -> bool:
        """Remove what a rule says; False if something may be left because its turn was over."""
        lacking = self._lacking(rule)
        if rule.require or lacking <= 0:
            return True
        order = Order(f"retention-{token_hex(6)}", rule=rule.name, reason=_words(rule), keep=rule.keep)
        end, removed = monotonic() + _TURN, 0
        for candidate in sorted(self._candidates(rule), key=lambda each: (each.since, each.study)):
            if is_stopped() or monotonic() >= end:
                return False
            if self._lacking(rule) <= 0:
                return True
            if removed > _TWICE * lacking:
                # Files with other names elsewhere, or in a snapshot, make no room, and all would go in vain.
                _log.error(
                    "the retention rule %s has removed %d bytes, and there is less space than it wants; it goes on in"
                    " %.0f s",
                    rule.name,
                    removed,
                    self._policy.interval,
                )
                return True
            if self._fits(rule, candidate.study):
                removed += self._remove(candidate.study, order)
        return True

    def _lacking(self, rule: RetentionRule) -> float:
        """How many bytes are to become free; more than there are where a rule does not speak of space."""
        if rule.free is None:
            return inf
        usage = shutil.disk_usage(self._folder)
        return rule.free.of(usage.total) - usage.free

    def _candidates(self, rule: RetentionRule) -> Iterator[_Candidate]:
        """The studies that are old enough, and of which nothing has come lately."""
        now = time()
        for study, last in self._inspection.received():
            if last > now - self._policy.quiet:
                continue
            since = last if rule.since != STUDY_DATE else _end_of_study_date(study)
            if since is not None and (rule.after is None or since <= now - rule.after):
                yield _Candidate(since, study.uid)

    def _fits(self, rule: RetentionRule, uid: str) -> bool:
        """Whether a study is what a rule speaks of, is not used, and is of no protected patient."""
        study = self._inspection.study(uid)
        if study is None or self._uses.is_used(uid, self._policy.quiet):
            return False
        if Patients.of(study).protection(self._ledger) is not None:
            return False
        if rule.titles and not self._inspection.senders(uid) <= set(rule.titles):
            return False
        if not (rule.modalities or rule.institutions):
            return True
        series = self._inspection.series_rows(uid)
        modalities = {each.modality for each in series}
        institutions = {each.attributes.get(_INSTITUTION) or "" for each in series}
        institutions |= {value for each in series for value in each.others.get(_INSTITUTION, ())}
        return (not rule.modalities or modalities <= set(rule.modalities)) and (
            not rule.institutions or institutions <= set(rule.institutions)
        )

    def _remove(self, study: str, order: Order) -> int:
        """Remove a study; returns how many bytes that were."""
        instances = [row.uids[2] for row in self._inspection.rows_of_study(study)]
        # What has come in this moment is not to be left alone, without the rest.
        last = self._inspection.received_last(study)
        if last is None or last > time() - self._policy.quiet:
            return 0
        deleted = self._deleting.delete(study, instances, order)
        if deleted.count:
            _log.warning(
                "the retention rule %s has removed %s of study %s (%s)",
                order.rule,
                counted(deleted.count, "object"),
                study,
                order.reason,
            )
        for instance, reason in deleted.failed.items():
            _log.error(
                "the retention rule %s could not remove %s: %s",
                order.rule,
                instance,
                reason,
                extra={"object": instance},
            )
        return deleted.size


def _words(rule: RetentionRule) -> str:
    """What a rule says of age and space, for the ledger."""
    said = [] if rule.after is None else [f"older than {rule.after / _DAY:g} days since {rule.since}"]
    said += [] if rule.free is None else [f"less than {rule.free} free"]
    return ", ".join(said)


def _end_of_study_date(study: StudyRow) -> float | None:
    """The end of the latest day that objects of a study say to be its date; None if one is none, or none says any."""
    dates = [study.attributes.get(_STUDY_DATE), *study.others.get(_STUDY_DATE, ())]
    found = []
    for date in map(str, filter(None, dates)):
        try:
            # Of fewer digits, the month or the day is what one likes.
            if len(date) != len("YYYYMMDD"):
                return None
            found.append((datetime.strptime(date, "%Y%m%d") + timedelta(days=1)).timestamp())
        except (ValueError, OverflowError):
            return None
    return max(found, default=None)
