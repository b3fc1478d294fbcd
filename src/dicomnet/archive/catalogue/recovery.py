"""Recovery of the index: it is brought in line with the files of the store, also while the store is in use."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from time import monotonic

from ...encoding.scan import HeaderScanner
from ...errors import ServiceRefusal, UnusableObject
from ...plurals import counted
from ...values import frozen, replace
from ..conflicts import Conflicts
from ..entries import Entry, read_entry
from ..storage.store import ObjectName, Storage
from .index import Index

_log = logging.getLogger(__name__)

_BATCH = 500
# How often progress is logged, in seconds.
_REPORT = 10.0
# Why files are put in quarantine.
_OTHER_IS_OLDER = "an older object has this SOP Instance UID"


@frozen
class Findings:
    """The differences between index and store that were found and corrected.

    Parameters
    ----------
    added
        Number of objects that were in the store but not in the index.
    removed
        Number of objects that were in the index but not in the store.
    quarantined
        Number of files that were moved to quarantine: damaged, not named after their object, or with the SOP Instance
        UID of another object.
    unreadable
        Number of files and folders that could not be read; nothing was changed because of them.
    """

    added: int = 0
    removed: int = 0
    quarantined: int = 0
    unreadable: int = 0

    def __str__(self) -> str:
        return (
            f"{counted(self.added, 'object')} added, {self.removed} removed, {counted(self.quarantined, 'file')} put in"
            f" quarantine, {self.unreadable} that cannot be read"
        )


class Recovery:
    """One pass over a store.

    Parameters
    ----------
    index, storage
        What is compared.
    conflicts
        Keeps files that cannot be indexed.
    is_stopped
        Asked now and then whether to stop.
    """

    def __init__(
        self,
        index: Index,
        storage: Storage,
        conflicts: Conflicts,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._index = index
        self._storage = storage
        self._conflicts = conflicts
        self._is_stopped = is_stopped
        self._scanner = HeaderScanner(index.wanted)
        self._added = self._removed = self._quarantined = self._unreadable = 0
        self._missing: list[ObjectName] = []
        self._begun = self._reported = monotonic()

    @property
    def findings(self) -> Findings:
        """What has been found so far."""
        return Findings(self._added, self._removed, self._quarantined, self._unreadable)

    def run(self) -> bool:
        """Compare all of it; False if it was stopped.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if the index cannot be read or written now.
        """
        seen: set[int] = set()
        for study, series in self._storage.series(self._cannot_read):
            if self._is_stopped():
                return False
            self._report()
            # First the rows: what is stored meanwhile is in the folder by then, and no row is taken for a wrong one.
            known = self._index.instances(study, series)
            seen.add(hash((study, series)))
            try:
                there = set(self._storage.instances(study, series))
            except OSError as error:
                self._cannot_read(error)
                continue
            self._missing += [ObjectName(study, series, instance) for instance in sorted(there - known)]
            self._forget(study, series, known - there)
            if len(self._missing) >= _BATCH:
                self._add_missing()
        self._add_missing()
        for study, series in self._index.series():
            if self._is_stopped():
                return False
            if hash((study, series)) not in seen:
                self._forget_folder(study, series)
        return True

    def _report(self) -> None:
        now = monotonic()
        if now - self._reported >= _REPORT:
            self._reported = now
            _log.warning(
                "the index is being brought in line with the files for %.0f s: %s",
                now - self._begun,
                self.findings,
            )

    def _cannot_read(self, error: OSError) -> None:
        self._unreadable += 1
        _log.error("a part of the store cannot be read, and is left as it is: %s", error)

    def _forget(self, study: str, series: str, instances: set[str]) -> None:
        if instances:
            _log.warning("lost files of series %s: %s", series, counted(len(instances), "object"))
            self._index.forget_all(study, series, instances)
            self._removed += len(instances)

    def _forget_folder(self, study: str, series: str) -> None:
        """Forget a series without a folder."""
        known = self._index.instances(study, series)
        try:
            there = set(self._storage.instances(study, series))
        except FileNotFoundError:
            there = set()
        except OSError as error:
            self._cannot_read(error)
            return
        self._forget(study, series, known - there)

    def _add_missing(self) -> None:
        missing, self._missing = self._missing, []
        entries = list(self._entries(missing))
        for entry, outcome in zip(entries, self._add(entries), strict=True):
            self._added += outcome or self._keep_older(entry)

    def _entries(self, names: list[ObjectName]) -> Iterator[Entry]:
        for name in names:
            try:
                entry = read_entry(self._storage, name, self._scanner)
                # It was not received now.
                yield replace(entry, stored_at=self._storage.written_at(name))
            except FileNotFoundError:
                # It was removed meanwhile.
                continue
            except (UnusableObject, ServiceRefusal) as error:
                self._set_aside(name, str(error))
            except OSError as error:
                self._cannot_read(error)

    def _add(self, entries: list[Entry]) -> list[bool]:
        try:
            return self._index.add(entries) if entries else []
        except UnusableObject as error:
            if len(entries) > 1:
                return [outcome for entry in entries for outcome in self._add([entry])]
            instance = entries[0].name.instance
            about = entries[0].source.about(instance)
            _log.error("object %s is stored, and no query finds it: %s", instance, error, extra=about)
            self._unreadable += 1
            return [True]

    def _keep_older(self, entry: Entry) -> bool:
        """Put the newer of two files with one SOP Instance UID in quarantine; whether that of the entry is kept."""
        other = self._index.names_of([entry.name.instance]).get(entry.name.instance)
        if other is not None and _age(self._storage, other) <= _age(self._storage, entry.name):
            self._set_aside(entry.name, _OTHER_IS_OLDER)
            return False
        if other is not None:
            self._set_aside(other, _OTHER_IS_OLDER)
            self._index.forget(other)
        return all(self._index.add([entry]))

    def _set_aside(self, name: ObjectName, reason: str) -> None:
        try:
            self._conflicts.set_stored_aside(name, reason)
        except OSError as error:
            self._cannot_read(error)
        else:
            self._quarantined += 1


def _age(storage: Storage, name: ObjectName) -> float:
    try:
        return storage.written_at(name)
    except FileNotFoundError:
        return float("inf")
