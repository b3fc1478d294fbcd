"""The task of backing an archive up into a folder, while it is in use: objects, what is set aside, and the ledger.

All that was acknowledged before it began is in it: that has its files by then, and no file leaves its place but for one
that is read later. The index is derived from the files; what it knows beyond them is in the manifest.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from io import SEEK_END
from pathlib import Path
from typing import Any

from ...errors import DatabaseFailure, LedgerUnusable, ServiceRefusal
from ...plurals import counted
from ..catalogue.inspection import Inspection, Row
from ..entries import UNKNOWN, Quarantined
from ..holdings import Holdings
from ..ledger import portable
from ..storage.folder import is_location_aside, location_of
from ..storage.store import ObjectName
from .findings import KEPT, KINDS, LEFT, LOST, QUARANTINED, REPAIRED, Findings, is_likely
from .manifest import Line, key_of, ledger_path
from .reading import CannotRead, Pace
from .target import Copy, Target
from .task import Reporter, TaskRefused

# How often it is waited that what was acknowledged is filed, each time for as long as the intake waits for anything.
_WAITS = 6
_QUARANTINE, _VERSIONS, _TRASH = "quarantine", "versions", "trash"


def back_up(
    holdings: Holdings,
    reporter: Reporter,
    *,
    folder: str,
    prune: bool = False,
    accept_loss: bool = False,
    verify: bool = False,
    rate: float | None = None,
) -> Mapping[str, Any]:
    """Back an archive up. What the folder has from an earlier run, and is as it was, is not copied again.

    Parameters
    ----------
    holdings
        The archive.
    reporter
        Told each finding, as `Findings.found` says.
    folder
        The folder of the backup, an absolute path.
    prune
        Whether files of earlier runs are removed that are not in the archive any more.
    accept_loss
        Whether they are also where they are very many.
    verify
        Whether files of earlier runs are read, and copied again if they have changed.
    rate
        The most bytes to read in a second; None for as many as there are.

    Returns
    -------
    mapping
        ``objects``, ``files``, ``bytes``: how many the backup has; ``copied``, ``bytes_copied``: how much was new;
        ``gone``: how many files of earlier runs are not in the archive any more; ``pruned``: how many of them were
        removed; ``found``, ``outcomes``, ``is_damaged``: as of a check.

    Raises
    ------
    TaskRefused
        If the folder cannot be that of a backup.
    OSError
        If it cannot be written.
    """
    pace = Pace(reporter, rate)
    findings = Findings(reporter, is_repairing=False)
    with Target(Path(folder), holdings.local.root, pace) as target:
        _wait_for_all(holdings, findings, pace)
        backup = _Backup(holdings, findings, pace, target, is_verifying=verify)
        backup.run()
        pruned = _prune(target, backup, findings, accepts_loss=accept_loss) if prune else 0
        files, size = target.totals
        return {
            "objects": backup.objects,
            "files": files,
            "bytes": size,
            "copied": backup.copied,
            "bytes_copied": backup.bytes_copied,
            "gone": backup.gone,
            "pruned": pruned,
            "found": dict(findings.counts),
            "outcomes": dict(findings.outcomes),
            "is_damaged": findings.is_damaged,
        }


def _wait_for_all(holdings: Holdings, findings: Findings, pace: Pace) -> None:
    """Wait until all that was acknowledged has its files; say so if it cannot be had."""
    intake = holdings.intake
    is_filed = False
    for _ in range(_WAITS):
        is_filed = intake.wait_for_all()
        pace.tick()
        if is_filed or intake.is_in_trouble:
            break
    stuck = intake.count_stuck()
    if stuck:
        findings.tell("unfiled", LEFT, detail=f"NOT in this backup: {counted(stuck, 'object')}")
    elif not is_filed:
        findings.tell(
            "unfiled", LEFT, detail="what was received last is NOT in this backup; the log says why"
        )


class _Backup:
    """One run.

    Parameters
    ----------
    holdings, findings, pace
        The archive, and where the run reports.
    target
        The folder of the backup.
    is_verifying
        As of `back_up`.
    """

    def __init__(
        self, holdings: Holdings, findings: Findings, pace: Pace, target: Target, *, is_verifying: bool
    ) -> None:
        assert holdings.index is not None
        assert holdings.ledger is not None
        self._holdings = holdings
        self._ledger = holdings.ledger
        self._storage = holdings.storage
        self._index = holdings.index
        self._inspection = Inspection(holdings.index)
        self._findings = findings
        self._pace = pace
        self._target = target
        self._is_verifying = is_verifying
        self._earlier = target.earlier()
        # Damaged objects, which are in the quarantine of the backup: where, and their copies.
        self._damaged: dict[str, tuple[Line, Copy, str]] = {}
        # Where files are set aside that cannot be listed.
        self._unlisted: list[str] = []
        self._has_all_entries = True
        self.objects = self.copied = self.bytes_copied = self.gone = 0

    def run(self) -> None:
        """Copy all that is new, and complete the backup."""
        self._pace.total = self._count()
        for study, series in self._storage.series(self._findings.cannot_read):
            self._series(study, series)
        self._set_aside()

    def _count(self) -> int | None:
        try:
            return self._inspection.count()
        except ServiceRefusal:
            # The index is being made anew; the files are there all the same.
            return None

    def _rows(self, study: str, series: str) -> dict[str, Row]:
        try:
            return {row.uids[2]: row for row in self._inspection.rows(study, series)}
        except ServiceRefusal:
            return {}

    def _row(self, instance: str) -> Row | None:
        try:
            return self._inspection.row(instance)
        except ServiceRefusal:
            return None

    def _series(self, study: str, series: str) -> None:
        try:
            instances = sorted(self._storage.instances(study, series))
        except FileNotFoundError:
            return
        except OSError as error:
            self._findings.cannot_read(error)
            return
        rows = self._rows(study, series)
        for instance in instances:
            name = ObjectName(study, series, instance)
            path = location_of(name)
            for line in self._earlier.up_to(key_of(path)):
                self._not_there(line)
            self._object(name, path, rows.get(instance), self._earlier.of(key_of(path)))
            self._pace.step()

    def _object(self, name: ObjectName, path: str, row: Row | None, before: Line | None) -> None:
        has_copy = before is not None and self._is_there(before)
        try:
            if before is not None and has_copy and self._is_as_before(name, row, before):
                self._add(name, before, row)
                return
            written_at = self._storage.written_at(name)
            file = self._storage.open(name)
        except FileNotFoundError:
            # It has been removed meanwhile, or is among what is set aside.
            if before is not None:
                self._not_there(before)
            return
        except OSError as error:
            self._cannot_read(error, path)
            if before is not None and has_copy:
                self._add(name, before, row)
            return
        try:
            copy = self._target.copy(file, written_at)
        except CannotRead as error:
            self._cannot_read(error, path)
            if before is not None and has_copy:
                self._add(name, before, row)
            return
        line = Line(path, copy.size, copy.sha256, written_at)
        # Another object may have taken its place since its row was read.
        if not _is_received(row, copy) and not _is_received(row := self._row(name.instance), copy):
            self._is_damaged(name, line, copy, row)
            return
        self._add(name, line, row, copy, before)

    def _cannot_read(self, error: OSError, path: str) -> None:
        error.filename = error.filename or path
        self._findings.cannot_read(error)

    def _is_there(self, line: Line) -> bool:
        """Whether the backup still has a file of an earlier run."""
        if self._target.has(line, is_verified=self._is_verifying):
            return True
        if self._is_verifying:
            self._findings.tell(
                "changed", REPAIRED, name=line.name, path=line.path, detail="of the copy in the backup"
            )
        return False

    def _is_as_before(self, name: ObjectName, row: Row | None, before: Line) -> bool:
        """Whether an object is the one that the backup has, as far as is known without reading it."""
        if row is not None and row.name == name and row.digest is not None:
            return row.digest == before.sha256
        if self._storage.written_at(name) != before.written_at:
            return False
        with self._storage.open(name) as file:
            return file.seek(0, SEEK_END) == before.size

    def _add(
        self,
        name: ObjectName,
        line: Line,
        row: Row | None,
        copy: Copy | None = None,
        before: Line | None = None,
    ) -> None:
        """Add an object, with what the index knows of it beyond the file."""
        if row is not None and row.name == name:
            line = Line(line.path, line.size, line.sha256, line.written_at, row.stored_at, row.source)
        self._put(line, copy, before)
        self.objects += 1

    def _put(self, line: Line, copy: Copy | None = None, before: Line | None = None) -> None:
        self._target.add(line, copy, replaced=before)
        if copy is not None:
            self.copied += 1
            self.bytes_copied += copy.size

    def _is_damaged(self, name: ObjectName, line: Line, copy: Copy, row: Row | None) -> None:
        """Keep a damaged object in the quarantine of the backup: it is better than nothing."""
        kind = "empty-file" if copy.size == 0 else "changed"
        path = f"{_QUARANTINE}/{name.instance}/{copy.sha256}.dcm"
        aside = Line(path, line.size, line.sha256, line.written_at)
        entry = portable.entry_of(
            Quarantined(
                name.instance,
                path,
                copy.sha256,
                copy.size,
                name.study,
                name.series,
                KINDS[kind].what,
                source=UNKNOWN if row is None else row.source,
            )
        )
        self._damaged[path] = aside, copy, entry
        self._findings.tell(kind, QUARANTINED, name=name)

    def _set_aside(self) -> None:
        """Add the files in quarantine, in the trash and among the versions, and the entries of the ledger.

        The files are listed before the ledger is read, and what has come between is found in it.
        """
        places: dict[str, float] = {}
        storage = self._storage
        every = (_QUARANTINE, storage.quarantined), (_TRASH, storage.trash), (_VERSIONS, storage.versions)
        for top, listed in every:
            try:
                places |= {each.location: each.written_at for each in listed()}
            except OSError as error:
                self._unlisted.append(f"{top}/")
                self._cannot_read(error, top)
        with closing(self._entries(places)) as lines:
            entries = self._target.write(lines)
        places |= dict.fromkeys(self._damaged, 0.0)
        for path in sorted(filter(is_location_aside, places), key=key_of):
            for line in self._earlier.up_to(key_of(path)):
                self._not_there(line)
            before = self._earlier.of(key_of(path))
            damaged = self._damaged.get(path)
            if damaged is not None:
                self._put(damaged[0], damaged[1])
            elif before is not None and self._is_there(before):
                self._put(before)
            else:
                self._aside(path, places[path])
            self._pace.tick()
        self._finish(entries)

    def _finish(self, entries: Copy) -> None:
        """Add the entries of the ledger, or those of before where not all of them can be read; complete the backup."""
        before = None
        for line in self._earlier.up_to(None):
            if line.is_ledger:
                before = line
            else:
                self._not_there(line)
        ledger = Line(ledger_path(entries.sha256), entries.size, entries.sha256)
        is_kept = before is not None and (not self._has_all_entries or before == ledger)
        if before is not None and is_kept and self._target.has(before, is_verified=True):
            self._target.drop(entries)
            ledger = before
            self._put(ledger)
        else:
            self._put(ledger, entries)
        self._target.finish(ledger)

    def _entries(self, places: dict[str, float]) -> Generator[str, None, None]:
        """The entries of the ledger; where they say that files are is noted."""
        yield portable.nothing()
        try:
            ledger = self._ledger.if_there()
            if ledger is not None:
                with closing(portable.entries(ledger)) as lines:
                    for line in lines:
                        place = portable.set_aside(line)
                        if place is not None:
                            places.setdefault(place, 0.0)
                        yield line
        except (DatabaseFailure, LedgerUnusable) as failure:
            # The objects are worth more.
            self._has_all_entries = False
            self._findings.tell("ledger-damaged", LEFT, detail=str(failure))
        for _, _, entry in self._damaged.values():
            yield entry

    def _aside(self, path: str, written_at: float) -> None:
        try:
            file = self._storage.open_aside(path)
        except FileNotFoundError:
            # It was dropped, or is missing, which a check tells.
            return
        except OSError as error:
            self._cannot_read(error, path)
            return
        try:
            copy = self._target.copy(file, written_at)
        except CannotRead as error:
            self._cannot_read(error, path)
            return
        if not path.endswith(f"/{copy.sha256}.dcm"):
            self._findings.tell("set-aside-changed", LEFT, path=path)
        self._put(Line(path, copy.size, copy.sha256, written_at), copy)

    def _not_there(self, line: Line) -> None:
        """What becomes of a file of an earlier run that is not in the archive now."""
        name = line.name
        if name is None:
            if line.path.startswith(tuple(self._unlisted)) and self._target.has(line, is_verified=False):
                self._put(line)
            elif not line.is_ledger:
                self.gone += 1
            return
        # One that moves to another place is in neither for a moment, while its UID is claimed.
        with self._holdings.intake.claimed(name.instance):
            is_expected = self._row_or_unknown(name) is not None and not self._has_file(name)
        if not is_expected:
            self.gone += 1
            return
        # It is lost, or cannot be read, and the backup has it.
        is_there = self._target.has(line, is_verified=False)
        if is_there:
            self._put(line)
            self.objects += 1
        where = str(self._holdings.local.root / line.path)
        if not self._findings.is_below_unread(where):
            self._findings.tell("file-missing", KEPT if is_there else LOST, name=name)

    def _has_file(self, name: ObjectName) -> bool:
        try:
            return self._storage.has(name)
        except OSError:
            return False

    def _row_or_unknown(self, name: ObjectName) -> object:
        """The row of an object; something else where the index cannot say whether there is one."""
        try:
            row = self._inspection.row(name.instance)
            if row is None and not self._index.is_complete:
                return name
        except ServiceRefusal:
            return name
        return row if row is not None and row.name == name else None


def _is_received(row: Row | None, copy: Copy) -> bool:
    """Whether a copy is what the index says that was received, as far as it says anything."""
    return copy.size > 0 and (row is None or row.digest in (None, copy.sha256))


def _prune(target: Target, backup: _Backup, findings: Findings, *, accepts_loss: bool) -> int:
    """Remove what lies in the backup and is not in its manifest; how many files that were."""
    count = sum(1 for _ in target.left_over())
    if not (accepts_loss or is_likely(count, target.totals[0])):
        raise TaskRefused(
            f"the backup is complete, but what is not in the archive any more ({counted(count, 'file')}) is not"
            " removed, as it is more than a tenth of all; --accept-loss has it removed"
        )
    if "unreadable" in findings.counts:
        raise TaskRefused(
            f"the backup is complete, but what is not in the archive any more ({counted(count, 'file')}) is not"
            " removed, as a part of the archive cannot be read"
        )
    for path in target.left_over():
        path.unlink()
    return count
