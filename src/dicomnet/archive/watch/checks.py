"""What `/health` checks of a node: a row for each, and what it finds."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ...plurals import counted
from ...values import mutable
from ..holdings import Holdings
from ..reporting.delivery import lags, targets_of
from . import series
from .certificate import Validity
from .counts import Counts
from .policy import WatchPolicy
from .probing import Finding, Level, Probe

_MIB = 1 << 20
_DAY = 86_400
# How old the answers of checks that write, or count much, may be, in seconds.
_SELDOM = 5.0
# For how long those who are told of the audit trail may lack an entry, in seconds, before there is a warning.
_LATE = 120.0
_MARK = "health"


@mutable
class Circumstances:
    """What a node tells its checks, and may change while it runs.

    Parameters
    ----------
    policy
        What they go by.
    certificate
        When the certificate is valid that it shows; None without TLS.
    is_stopping
        Whether it accepts no associations any more.
    """

    policy: WatchPolicy
    certificate: Validity | None = None
    is_stopping: bool = False


class Checks:
    """The checks of a node.

    Parameters
    ----------
    holdings
        What it has.
    counts
        What it counts.
    circumstances
        What it tells.
    """

    def __init__(self, holdings: Holdings, counts: Counts, circumstances: Circumstances) -> None:
        self._holdings = holdings
        self._counts = counts
        self._now = circumstances
        root = holdings.local.root
        # A part of the archive may be on another file system than the rest, by a symbolic link.
        self._folders = {
            "archive": root,
            "objects": root / "objects",
            "journal": root / "journal",
            "staging": root / "staging",
        }
        if holdings.index is not None and holdings.index.database.is_file:
            self._folders["database"] = Path(holdings.index.database.name).parent

    def probes(self) -> list[Probe]:
        """They, those only that there is something for."""
        has_index = self._holdings.index is not None
        rows: list[tuple[str, Callable[[], Finding], float, bool]] = [
            ("accepting", self._accepting, 0.0, True),
            ("workers", self._workers, 0.0, bool(self._counts.workers)),
            ("disk", self._disk, 1.0, True),
            ("folder", self._folder, _SELDOM, True),
            ("intake", self._intake, _SELDOM, True),
            ("index", self._index, 1.0, has_index),
            ("ledger", self._ledger, _SELDOM, has_index),
            ("audit", self._audit, _SELDOM, has_index),
            ("certificate", self._certificate, 0.0, self._now.certificate is not None),
        ]
        return [Probe(name, check, fresh=fresh) for name, check, fresh, is_there in rows if is_there]

    def _accepting(self) -> Finding:
        if self._now.is_stopping:
            return Finding(Level.FAILED, "it is stopping")
        return Finding(Level.OK, "it accepts associations")

    def _workers(self) -> Finding:
        workers = self._counts.workers
        running = sum(map(_is_running, workers.values()))
        level = Level.OK if running == len(workers) else Level.WARNING if running else Level.FAILED
        values = {"running": running, "missing": len(workers) - running}
        return Finding(level, f"{running} of {len(workers)} run", {series.WORKERS.name: values})

    def _disk(self) -> Finding:
        reserve = self._now.policy.disk_reserve
        free, size = {}, {}
        for name, folder in self._folders.items():
            # Those that are not there yet will be in the first.
            with contextlib.suppress(FileNotFoundError):
                found = shutil.disk_usage(folder)
                free[name], size[name] = found.free, found.total
        least = min(free, key=lambda name: free[name])
        words = f"{free[least] // _MIB} MiB are free for {least}, {reserve // _MIB} are the reserve"
        level = Level.FAILED if free[least] < reserve else Level.OK
        return Finding(level, words, {series.DISK_FREE.name: free, series.DISK_SIZE.name: size})

    def _folder(self) -> Finding:
        """A file is written and removed: a file system may have become read-only, or be gone."""
        path = self._holdings.local.root / _MARK
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, b"1")
        finally:
            os.close(descriptor)
            os.unlink(path)
        return Finding(Level.OK, "it can be written")

    def _intake(self) -> Finding:
        intake = self._holdings.intake
        # Also what processes that have ended could not file.
        stuck = intake.count_stuck()
        unfiled = intake.progress.unfiled + stuck
        journal = sum(_lengths(self._holdings.local.journals))
        values = {
            series.UNFILED.name: {"": float(unfiled)},
            series.STUCK.name: {"": float(stuck)},
            series.JOURNAL.name: {"": float(journal)},
        }
        words = f"{counted(unfiled, 'acknowledged object')} to be filed"
        if stuck:
            return Finding(Level.WARNING, f"{words}, {stuck} of them cannot be now", values)
        return Finding(Level.OK, words, values)

    def _index(self) -> Finding:
        index = self._holdings.index
        assert index is not None
        is_complete = not index.is_damaged and index.look()
        values = {series.INDEX.name: {"": float(is_complete)}}
        if is_complete:
            return Finding(Level.OK, "it is complete", values)
        if index.is_damaged:
            return Finding(Level.WARNING, "it is damaged, and will be made from the files", values)
        words = f"it is being made from the files, {counted(index.count(), 'object')} up to now; queries are refused"
        return Finding(Level.WARNING, words, values)

    def _ledger(self) -> Finding:
        assert self._holdings.ledger is not None
        ledger = self._holdings.ledger.if_there()
        quarantined = 0 if ledger is None else ledger.quarantine_count()
        trashed, size = (0, 0) if ledger is None else ledger.deletions.size_of_trash()
        names = series.QUARANTINE.name, series.TRASH.name, series.TRASH_BYTES.name
        counts = zip(names, (quarantined, trashed, size), strict=True)
        words = f"{counted(quarantined, 'object')} in quarantine" + (
            f", {trashed} in the trash" if trashed else ""
        )
        return Finding(
            Level.OK,
            "there is nothing in it yet" if ledger is None else words,
            {name: {"": float(count)} for name, count in counts},
        )

    def _audit(self) -> Finding:
        assert self._holdings.ledger is not None
        trail = self._holdings.audit
        is_wanted = trail.is_on or targets_of(trail.policy)
        ledger = self._holdings.ledger.if_there() if is_wanted else None
        if ledger is None:
            return Finding(Level.OK, "nothing is recorded")
        found = lags(ledger.audits, trail.policy)
        values = {
            series.AUDIT_LAG.name: {name: float(lag.count) for name, lag in found.items()},
            series.AUDIT_LAG_SECONDS.name: {name: lag.seconds for name, lag in found.items()},
        }
        late = [
            f"{name} lacks {counted(lag.count, 'entry', 'entries')} since {lag.seconds / 60:.0f} min"
            for name, lag in found.items()
            if lag.seconds > _LATE
        ]
        if trail.lost:
            late.append(f"the ledger did not take {counted(trail.lost, 'event')}")
        if late:
            return Finding(Level.WARNING, ", ".join(late), values)
        return Finding(Level.OK, "all is recorded, and told" if found else "all is recorded", values)

    def _certificate(self) -> Finding:
        validity = self._now.certificate
        assert validity is not None
        now = time.time()
        left = validity.end - now
        values: Mapping[str, Mapping[str, float]] = {series.CERTIFICATE.name: {"": left}}
        if left <= 0:
            return Finding(Level.FAILED, "it has expired", values)
        if now < validity.begin:
            return Finding(Level.FAILED, "it is not valid yet", values)
        words = f"it expires in {left / _DAY:.0f} days"
        is_soon = left < self._now.policy.certificate_days * _DAY
        return Finding(Level.WARNING if is_soon else Level.OK, words, values)


def _is_running(process: int) -> bool:
    if not process:
        return False
    try:
        os.kill(process, 0)
    except OSError:
        # There is none, or it is another user's by now.
        return False
    try:
        state = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        # Other systems than Linux have no such file.
        return True
    # One that has ended is there until its parent has noticed.
    return state not in (b"Z", b"X")


def _lengths(folder: Path) -> Iterator[int]:
    """The lengths of the files in the folders of a folder, of which any may go meanwhile."""
    gone = contextlib.suppress(FileNotFoundError, NotADirectoryError)
    with gone:
        for each in os.scandir(folder):
            with gone:
                for file in os.scandir(each.path):
                    with gone:
                        yield file.stat().st_size
