"""The check of the objects of an archive: each file against its row in the index, and against its digest there.

The archive may be in use. What seems to be wrong is looked at once more while nobody stores an object with that UID,
and is set right in the same moment.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from io import SEEK_END

from ...encoding.identity import is_uid
from ...encoding.scan import HeaderScanner
from ...values import frozen
from ..catalogue.inspection import Inspection, Row
from ..entries import Entry, Quarantined
from ..holdings import Holdings
from ..storage.store import ObjectName
from .findings import KINDS, LEFT, LOST, QUARANTINED, REPAIRED, Findings, is_likely
from .reading import Examined, Pace, examine

_BATCH = 200
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NOT_MOUNTED = (
    "{missing} of {total} are missing: is a file system not mounted? --accept-loss has them forgotten"
)


@frozen
class How:
    """How a check is performed.

    Parameters
    ----------
    is_quick
        Whether names and sizes are compared alone; files that differ are read all the same.
    study
        The only study to be looked at, by its UID; empty for all of the archive.
    accepts_loss
        Whether it is for sure that what seems to be missing is lost, however much it is.
    adds_digests
        Whether the digests of objects of which the index has none are noted, where nothing is wrong with the file.
    shows_values
        Whether values that contradict each other are shown.
    """

    is_quick: bool = False
    study: str = ""
    accepts_loss: bool = False
    adds_digests: bool = False
    shows_values: bool = False


class ObjectCheck:
    """The check of the objects, which is done once.

    Parameters
    ----------
    holdings
        The archive.
    findings
        Where findings are reported.
    pace
        Of the reading.
    how
        What is looked at.

    Attributes
    ----------
    without_digest
        How many objects there are of which the index has no digest.
    elsewhere
        How many objects are kept elsewhere than in the store, and were not looked at.
    digests_added
        How many digests were noted.
    """

    def __init__(self, holdings: Holdings, findings: Findings, pace: Pace, how: How) -> None:
        assert holdings.index is not None
        self._holdings = holdings
        self._index = holdings.index
        self._storage = holdings.storage
        self._inspection = Inspection(holdings.index)
        self._scanner = HeaderScanner(holdings.index.wanted)
        self._findings = findings
        self._pace = pace
        self._how = how
        self._missing = 0
        self._is_forgetting = False
        self._unknown: list[tuple[Row, int, str]] = []
        self.without_digest = self.elsewhere = self.digests_added = 0

    def run(self) -> None:
        """Perform it."""
        self._pace.total = self._inspection.count(self._how.study)
        self._strays()
        seen: set[int] = set()
        for pair in self._storage.series(self._findings.cannot_read, study=self._how.study):
            seen.add(hash(pair))
            self._series(*pair)
        for pair in self._inspection.series(self._how.study):
            if not all(map(is_uid, pair)):
                self._nameless(pair, self._index.instances(*pair))
            elif hash(pair) not in seen:
                self._series(*pair)
        self._add_digests()
        if self._missing:
            self._forget_missing()

    def _strays(self) -> None:
        if self._how.study:
            return
        for location in self._storage.strays(self._findings.cannot_read):
            self._pace.tick()
            self._stray(location)

    def _series(self, study: str, series: str) -> None:
        there = self._instances(study, series)
        if there is None:
            return
        for row in self._inspection.rows(study, series):
            name = row.name
            if name is None:
                self._nameless((study, series), {row.uids[2]})
            elif row.location:
                self.elsewhere += 1
            else:
                is_there = name.instance in there
                there.discard(name.instance)
                if not is_there or self._is_suspect(row, name):
                    self._confirm(name)
            self._pace.step()
        for instance in sorted(there):
            self._confirm(ObjectName(study, series, instance))
            self._pace.step()

    def _instances(self, study: str, series: str) -> set[str] | None:
        """The objects of a series that have files; None if that cannot be seen."""
        try:
            return set(self._storage.instances(study, series))
        except FileNotFoundError:
            return set()
        except OSError as error:
            if not self._findings.is_below_unread(str(error.filename or "")):
                self._findings.cannot_read(error)
            return None

    def _is_suspect(self, row: Row, name: ObjectName) -> bool:
        """Whether a file has to be looked at once more, alone."""
        self.without_digest += row.digest is None
        needs_reading = row.digest is None and self._how.adds_digests
        try:
            if self._how.is_quick and not needs_reading:
                with self._storage.open(name) as file:
                    size = file.seek(0, SEEK_END)
                return size == 0 or row.size not in (None, size)
            examined = self._examined(name)
        except FileNotFoundError:
            return True
        except OSError as error:
            self._cannot_read(error, self._storage.location(name))
            return False
        if self._fault(name, row, examined) is not None:
            return True
        if needs_reading:
            self._unknown.append((row, examined.size, examined.digest))
            if len(self._unknown) >= _BATCH:
                self._add_digests()
        return False

    def _add_digests(self) -> None:
        known, self._unknown = self._unknown, []
        if known:
            self._inspection.add_digests(known)
            self.digests_added += len(known)

    def _cannot_read(self, error: OSError, location: str) -> None:
        # What is read of an open file does not say of which.
        error.filename = error.filename or location
        self._findings.cannot_read(error)

    def _examined(self, name: ObjectName) -> Examined:
        return examine(lambda: self._storage.open(name), self._scanner, self._pace)

    def _fault(self, name: ObjectName, row: Row | None, examined: Examined) -> tuple[str, str] | None:
        """What is wrong with a file, or with its row: a kind of findings, and what else is to be said."""
        size, entry = examined.size, examined.entry
        if size == 0:
            return "empty-file", ""
        is_as_received = row is not None and row.digest == examined.digest
        is_cut_off = row is not None and row.size is not None and size < row.size
        if entry is None:
            if is_as_received:
                return None
            if is_cut_off:
                assert row is not None
                return "cut-off", f"{size} of {row.size} bytes"
            return "not-readable-as-object", examined.cause
        if entry.name != name:
            return ("other-object" if entry.name.instance != name.instance else "other-folder"), ""
        if row is None:
            return None
        if row.digest is not None and _DIGEST.fullmatch(row.digest) is None:
            return "row-differs", "SHA-256"
        if row.digest is not None and not is_as_received:
            return ("cut-off", f"{size} of {row.size} bytes") if is_cut_off else ("changed", "")
        if row.size not in (None, size):
            return "row-size", f"{row.size} instead of {size} bytes"
        different = self._inspection.differences(row, entry)
        return ("row-differs", ", ".join(different)) if different else None

    def _confirm(self, name: ObjectName) -> None:
        """Look at an object alone, and report what is wrong with it, if it is."""
        with self._holdings.intake.claimed(name.instance) as is_claimed:
            # One that is being stored all the time will be as it should be.
            if is_claimed:
                self._look_at(name)

    def _look_at(self, name: ObjectName) -> None:
        row = self._inspection.row(name.instance)
        here = row if row is not None and row.name == name else None
        try:
            examined = self._examined(name)
        except FileNotFoundError:
            if here is not None:
                self._is_missing(name, here)
            return
        except OSError as error:
            self._cannot_read(error, self._storage.location(name))
            return
        fault = self._fault(name, here, examined)
        if fault is not None:
            self._report(name, here, examined, *fault)
        elif here is None:
            assert examined.entry is not None
            self._has_no_row(name, row, examined)

    def _report(self, name: ObjectName, row: Row | None, examined: Examined, kind: str, detail: str) -> None:
        def repair() -> str:
            if kind in ("row-size", "row-differs"):
                assert row is not None
                assert examined.entry is not None
                # A digest that says nothing is as none.
                digest = row.digest if row.digest == examined.digest else None
                self._inspection.correct(row, examined.entry, examined.size, digest)
                return REPAIRED
            if kind == "other-folder" and self._moved(name, row, examined):
                return REPAIRED
            return self._set_aside(name, row, kind)

        self._findings.found(kind, name=name, detail=detail, repair=repair)

    def _moved(self, name: ObjectName, row: Row | None, examined: Examined) -> bool:
        """Move a file to where the object in it belongs, unless that may not be."""
        if row is not None and row.digest not in (None, examined.digest):
            # Its UIDs may be what has changed.
            return False
        if not self._placed(self._storage.location(name), examined):
            return False
        if row is not None:
            self._index.forget(name)
        return True

    def _placed(self, location: str, examined: Examined) -> bool:
        """Give a file the name of the object in it, and the object a row, unless another one has either."""
        entry = examined.entry
        assert entry is not None
        row = self._inspection.row(entry.name.instance)
        is_expected = row is not None and row.name == entry.name
        if is_expected and row is not None and row.digest not in (None, examined.digest):
            return False
        if not self._storage.put_in_place(location, entry.name):
            return False
        if is_expected:
            return True
        if row is not None and not (row.name is not None and self._storage.has(row.name)):
            self._index.forget_all(*row.uids[:2], row.uids[2:])
        return self._add(entry, examined)

    def _set_aside(self, name: ObjectName, row: Row | None, kind: str) -> str:
        # The file goes first: if this is interrupted, the row tells of it.
        self._holdings.intake.conflicts.set_stored_aside(name, KINDS[kind].what)
        if row is not None:
            self._index.forget(name)
        return QUARANTINED

    def _has_no_row(self, name: ObjectName, other: Row | None, examined: Examined) -> None:
        entry = examined.entry
        assert entry is not None
        kind = "row-missing"
        if other is not None:
            has_file = other.name is not None and self._storage.has(other.name)
            kind = "second-file" if has_file else "row-elsewhere"

        def repair() -> str:
            if kind == "second-file":
                return self._set_aside(name, None, kind)
            if other is not None:
                self._index.forget_all(*other.uids[:2], other.uids[2:])
            return REPAIRED if self._add(entry, examined) else LEFT

        self._findings.found(kind, name=name, repair=repair)

    def _add(self, entry: Entry, examined: Examined) -> bool:
        is_known = self._how.adds_digests
        self.digests_added += is_known
        self.without_digest += not is_known
        size, digest = (examined.size, examined.digest) if is_known else (None, None)
        added = self._index.add(
            [
                Entry(
                    entry.name,
                    entry.header,
                    entry.sop_class_uid,
                    entry.transfer_syntax_uid,
                    size=size,
                    digest=digest,
                    stored_at=self._storage.written_at(entry.name),
                )
            ]
        )
        return all(added)

    def _is_missing(self, name: ObjectName, row: Row) -> None:
        if self._findings.is_repairing and not self._is_forgetting:
            # Its file may yet be found elsewhere.
            self._missing += 1
            return

        def repair() -> str:
            assert self._holdings.ledger is not None
            kind = KINDS["file-missing"]
            self._holdings.ledger.opened.lost(
                Quarantined(
                    name.instance,
                    self._storage.location(name),
                    row.digest or "",
                    row.size or 0,
                    name.study,
                    name.series,
                    kind.what,
                    source=row.source,
                )
            )
            self._index.forget(name)
            return LOST

        total = self._pace.total or 0
        is_unlikely = not (self._how.accepts_loss or is_likely(self._missing, total))
        self._findings.found(
            "file-missing",
            name=name,
            detail=_NOT_MOUNTED.format(missing=self._missing, total=total) if is_unlikely else "",
            repair=None if is_unlikely else repair,
        )

    def _forget_missing(self) -> None:
        """Go through the rows once more for those that have no files."""
        self._is_forgetting = True
        for study, series in self._inspection.series(self._how.study):
            there = self._instances(study, series)
            if there is None:
                continue
            for row in self._inspection.rows(study, series):
                self._pace.tick()
                name = row.name
                if name is not None and not row.location and name.instance not in there:
                    self._confirm(name)

    def _nameless(self, pair: tuple[str, str], instances: set[str]) -> None:
        def repair() -> str:
            self._index.forget_all(*pair, instances)
            return REPAIRED

        self._findings.found("rows-adrift", detail=f"{len(instances)} of instance", repair=repair)

    def _stray(self, location: str) -> None:
        try:
            examined = examine(lambda: self._storage.open_aside(location), self._scanner, self._pace)
        except FileNotFoundError:
            return
        except OSError as error:
            self._cannot_read(error, location)
            return
        entry = examined.entry
        if entry is None:
            self._report_stray("stray", location, self._away(location))
            return
        with self._holdings.intake.claimed(entry.name.instance) as is_claimed:
            if is_claimed and self._storage.where_aside(location) is not None:
                self._report_stray_object(location, examined, entry)

    def _report_stray_object(self, location: str, examined: Examined, entry: Entry) -> None:
        """Report an object that lies in the store under a name that is none."""
        row = self._inspection.row(entry.name.instance)
        has_its_name = location.endswith(self._storage.location(entry.name).rpartition("/")[2])
        is_wanted = not self._storage.has(entry.name) and (
            row.name == entry.name if row is not None else has_its_name
        )

        def repair() -> str:
            return REPAIRED if self._placed(location, examined) else self._away(location)()

        kind = "other-folder" if is_wanted else "stray"
        self._report_stray(
            kind, location, repair if is_wanted else self._away(location), entry.name if is_wanted else None
        )

    def _report_stray(
        self, kind: str, location: str, repair: Callable[[], str], name: ObjectName | None = None
    ) -> None:
        self._findings.found(kind, name=name, path=location, repair=repair)

    def _away(self, location: str) -> Callable[[], str]:
        def repair() -> str:
            self._storage.set_stray_aside(location)
            return REPAIRED

        return repair
