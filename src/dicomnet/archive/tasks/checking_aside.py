"""The check of what an archive has besides its objects: what is set aside, ledger, journals, and what is stray."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from time import sleep

from ...encoding.scan import HeaderScanner
from ...errors import ServiceRefusal, UnusableObject
from ...plurals import counted
from ...values import frozen
from ..deletion import Deletion, Fate
from ..entries import IDENTIFYING, Outcome, Quarantined, Version, entry_of
from ..holdings import Holdings
from ..ledger.ledger import Ledger
from ..local import set_stray_aside
from ..storage.store import ObjectName, SetAside
from .findings import LOST, REPAIRED, Findings
from .reading import Pace
from .task import TaskFailed

_UNKNOWN_REASON = "a check has found it in quarantine; why it is there is not known"
_UNKNOWN_IN_TRASH = "a check has found it in the trash; who deleted it is not known"
# Who deletes a file in quarantine records it a moment later.
_LOOKS, _PAUSE = 5, 0.1
_IDENTIFYING = HeaderScanner(IDENTIFYING)


@frozen
class _Place:
    """A place where files are set aside.

    Parameters
    ----------
    unrecorded, missing
        The kinds of findings for a file without an entry, and for an entry without a file.
    files
        The files.
    entries
        Where those are that are in the ledger: all, or those of a SOP Instance UID.
    enter
        Enters a file in the ledger.
    end
        Records that a file is lost; None where that cannot be recorded.
    """

    unrecorded: str
    missing: str
    files: Callable[[], Iterable[SetAside]]
    entries: Callable[[Ledger, str], Iterable[Quarantined | Version]]
    enter: Callable[[Ledger, SetAside, ObjectName | None], None]
    end: Callable[[Ledger, str], object] | None


class AsideCheck:
    """The check of quarantine, versions, trash, journals and staged files, which is done once.

    Parameters
    ----------
    holdings
        The archive.
    findings
        Where findings are reported.
    pace
        Of the reading.
    is_quick
        Whether files are not read.
    """

    def __init__(self, holdings: Holdings, findings: Findings, pace: Pace, *, is_quick: bool) -> None:
        self._holdings = holdings
        self._storage = holdings.storage
        self._findings = findings
        self._pace = pace
        self._is_quick = is_quick

    def run(self, ledger: Ledger | None) -> None:
        """Perform it.

        Parameters
        ----------
        ledger
            The ledger; None if it cannot be used, so that files are not compared with it.
        """
        for place in self._places():
            try:
                self._place(place, ledger)
            except OSError as error:
                self._findings.cannot_read(error)
        self._journals()

    def _places(self) -> Iterator[_Place]:
        yield _Place(
            "quarantine-unrecorded",
            "quarantine-missing",
            self._storage.quarantined,
            lambda ledger, instance: ledger.quarantine(instance),
            _enter_quarantined,
            lambda ledger, location: ledger.ended(location, Outcome.LOST),
        )
        yield _Place(
            "version-unrecorded",
            "version-missing",
            self._storage.versions,
            lambda ledger, instance: ledger.versions(instance),
            _enter_version,
            None,
        )
        yield _Place(
            "trash-unrecorded",
            "trash-missing",
            self._storage.trash,
            lambda ledger, instance: map(_in_trash, ledger.deletions.trash(instance=instance)),
            _enter_in_trash,
            lambda ledger, location: ledger.deletions.leave_trash([location], Fate.LOST),
        )

    def _place(self, place: _Place, ledger: Ledger | None) -> None:
        known = {} if ledger is None else {each.location: each.instance for each in place.entries(ledger, "")}
        for file in place.files():
            self._pace.tick()
            if not self._is_quick:
                self._content(file)
            if known.pop(file.location, None) is None and ledger is not None:
                self._unrecorded(place, ledger, file)
        if ledger is not None:
            for location, instance in known.items():
                self._pace.tick()
                self._missing(place, ledger, location, instance)

    def _content(self, file: SetAside) -> None:
        digest = hashlib.sha256()
        try:
            with self._storage.open_aside(file.location) as opened:
                for block in self._pace.blocks(opened):
                    digest.update(block)
        except FileNotFoundError:
            return
        except OSError as error:
            error.filename = error.filename or file.location
            self._findings.cannot_read(error)
            return
        if digest.hexdigest() != file.digest:
            self._findings.found("set-aside-changed", path=file.location, sop_instance_uid=file.instance)

    def _unrecorded(self, place: _Place, ledger: Ledger, file: SetAside) -> None:
        with self._holdings.intake.claimed(file.instance) as is_claimed:
            # A file is there a moment before its entry, while its UID is claimed.
            entries = place.entries(ledger, file.instance)
            if (
                not is_claimed
                or self._storage.where_aside(file.location) is None
                or any(each.location == file.location for each in entries)
            ):
                return

            def repair() -> str:
                place.enter(ledger, file, self._name(file))
                return REPAIRED

            self._findings.found(
                place.unrecorded, path=file.location, sop_instance_uid=file.instance, repair=repair
            )

    def _missing(self, place: _Place, ledger: Ledger, location: str, instance: str) -> None:
        for _ in range(_LOOKS):
            entries = place.entries(ledger, instance)
            if self._storage.where_aside(location) is not None or all(
                each.location != location for each in entries
            ):
                return
            sleep(_PAUSE)
        end = place.end

        def repair() -> str:
            assert end is not None
            end(ledger, location)
            return LOST

        self._findings.found(
            place.missing, path=location, sop_instance_uid=instance, repair=None if end is None else repair
        )

    def _name(self, file: SetAside) -> ObjectName | None:
        """The name of the object in a file, if it has one."""
        with self._storage.open_aside(file.location) as opened:
            try:
                return entry_of(opened, _IDENTIFYING).name
            except (UnusableObject, ServiceRefusal):
                return None

    def _journals(self) -> None:
        local = self._holdings.local
        try:
            stuck = self._holdings.intake.count_stuck()
            strays = local.strays()
        except OSError as error:
            self._findings.cannot_read(error)
            return
        if stuck:
            self._findings.found("unfiled", detail=counted(stuck, "object"))
        for location in strays:

            def repair(location: str = location) -> str:
                set_stray_aside(local.root, location)
                return REPAIRED

            self._findings.found("stray", path=location, repair=repair)


def _enter_quarantined(ledger: Ledger, file: SetAside, name: ObjectName | None) -> None:
    study, series = ("", "") if name is None else (name.study, name.series)
    ledger.quarantined(
        Quarantined(
            file.instance,
            file.location,
            file.digest,
            file.size,
            study,
            series,
            _UNKNOWN_REASON,
            arrived_at=_moment(file),
        )
    )


def _enter_version(ledger: Ledger, file: SetAside, name: ObjectName | None) -> None:
    study, series = ("", "") if name is None else (name.study, name.series)
    ledger.kept_version(
        Version(file.instance, study, series, file.location, file.digest, file.size, stored_at=_moment(file))
    )


def _in_trash(deletion: Deletion) -> Version:
    """A file in the trash, as far as a check looks at it."""
    name = deletion.name
    return Version(name.instance, name.study, name.series, deletion.location, deletion.digest, deletion.size)


def _enter_in_trash(ledger: Ledger, file: SetAside, name: ObjectName | None) -> None:
    """Enter a file in the trash, which then is kept there until somebody has looked at it."""
    if name is None:
        raise TaskFailed("it is no object, so that it cannot be entered")
    run = f"check-{file.digest[:12]}"
    found = Deletion(
        name, file.digest, file.size, run, _moment(file), reason=_UNKNOWN_IN_TRASH, location=file.location
    )
    ledger.deletions.begin([found])
    ledger.deletions.end(run, [name.instance], Fate.IN_TRASH)


def _moment(file: SetAside) -> datetime:
    return datetime.fromtimestamp(file.written_at, UTC)
