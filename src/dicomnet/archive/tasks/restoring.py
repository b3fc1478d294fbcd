"""The task of restoring an archive from a backup, into a folder and a database that have none.

Each file is compared with the digest in the manifest while it is copied. The index is made on the way, of the files and
of what the manifest says besides. It can be interrupted at any moment, and goes on when it is performed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from ...drivers.medium import flush_folder
from ...encoding.scan import HeaderScanner
from ...errors import LedgerUnusable, ServiceRefusal, UnusableObject
from ...values import mutable
from ..catalogue.index import Index
from ..entries import Entry, entry_of
from ..holdings import Holdings
from ..ledger import portable
from ..ledger.ledger import Ledger
from ..storage.staging import StagedFile
from ..storage.store import ObjectName
from ..upkeep import bring_in_line
from .checking import check
from .findings import LEFT, LOST, Findings
from .manifest import NAME as MANIFEST
from .manifest import Line, Totals, lines, verified
from .reading import CannotRead, Pace, Watch
from .task import Reporter, TaskRefused, in_words

# What says in the folder of an archive that it is being restored, and how far that is.
_STATE = "restore.json"
_BATCH = 200
# So much has to be free besides what is restored, for the index.
_SPARE = 64 << 20


def restore(
    holdings: Holdings,
    reporter: Reporter,
    *,
    folder: str,
    only_ledger: bool = False,
    rate: float | None = None,
) -> Mapping[str, Any]:
    """Restore an archive from a backup.

    Parameters
    ----------
    holdings
        The archive, which has nothing yet, but for what this restored before it was interrupted.
    reporter
        Told each finding, as `Findings.found` says.
    folder
        The folder of the backup, an absolute path.
    only_ledger
        Whether the entries of the ledger are restored alone, into an archive whose ledger has none.
    rate
        The most bytes to read in a second; None for as many as there are.

    Returns
    -------
    mapping
        ``objects``, ``files``, ``bytes``: how many were restored, before it was interrupted, too; ``failed``: how many
        files could not be, each of which was reported in its run; ``entries``: how many the ledger has got; ``found``,
        ``outcomes``, ``is_damaged``: as of a check, which is done at the end.

    Raises
    ------
    TaskRefused
        If the backup is not complete, or the archive is not empty.
    OSError
        If the archive cannot be written.
    """
    if holdings.is_kept_up:
        raise TaskRefused("a node has the archive that is to be restored; end it first")
    source = Path(folder)
    totals = verified(source)
    pace = Pace(reporter, rate)
    findings = Findings(reporter, is_repairing=False)
    run = _Restore(holdings, findings, pace, source, totals)
    if only_ledger:
        entries = run.ledger()
        return {"objects": 0, "files": 1, "bytes": 0, "failed": 0, "entries": entries, **_found(findings)}
    run.begin()
    entries = run.ledger()
    run.files()
    summary = check(holdings, reporter, quick=True)
    found = _found(findings)
    for kind, count in summary["found"].items():
        found["found"][kind] = found["found"].get(kind, 0) + count
    run.end()
    return {
        "objects": run.state.objects,
        "files": run.state.done - run.state.failed,
        "bytes": run.state.size,
        "failed": run.state.failed,
        "entries": entries,
        **found,
        "is_damaged": found["is_damaged"] or summary["is_damaged"] or run.state.failed > 0,
    }


def _found(findings: Findings) -> dict[str, Any]:
    return {
        "found": dict(findings.counts),
        "outcomes": dict(findings.outcomes),
        "is_damaged": findings.is_damaged,
    }


@mutable
class _State:
    """How far a restore is, as its file says it."""

    manifest: str
    done: int = 0
    failed: int = 0
    objects: int = 0
    size: int = 0


class _Restore:
    """One run.

    Parameters
    ----------
    holdings, findings, pace
        The archive, and where the run reports.
    source
        The folder of the backup.
    totals
        What its manifest says of all of it.
    """

    def __init__(
        self, holdings: Holdings, findings: Findings, pace: Pace, source: Path, totals: Totals
    ) -> None:
        assert holdings.index is not None
        assert holdings.ledger is not None
        self._holdings = holdings
        self._index: Index = holdings.index
        self._ledger = holdings.ledger
        self._storage = holdings.storage
        self._staging = holdings.local.staging
        self._scanner = HeaderScanner(holdings.index.wanted)
        self._findings = findings
        self._pace = pace
        self._source = source
        self._totals = totals
        self._path = holdings.local.root / _STATE
        self.state = self._said() or _State(totals.sha256)

    def begin(self) -> None:
        """Begin, or go on."""
        if self._path.exists():
            if self.state.manifest != self._totals.sha256:
                raise TaskRefused(
                    f"{self._holdings.local.root} is half restored from another backup, or from an earlier state of"
                    " this one; remove what is there, and begin anew"
                )
        elif not self._is_empty():
            raise TaskRefused(
                f"the archive in {self._holdings.local.root} is not empty: a backup is restored into a new folder, and"
                " with --database into a new database"
            )
        left = self._totals.files - self.state.done
        free = shutil.disk_usage(self._holdings.local.root).free
        needed = self._totals.size * left // max(1, self._totals.files) + _SPARE
        if free < needed:
            raise TaskRefused(
                f"the backup needs {needed >> 20} MiB, and {free >> 20} MiB are free for the archive"
            )
        self._note()

    def end(self) -> None:
        """All is restored."""
        self._path.unlink()
        flush_folder(str(self._holdings.local.root))

    def ledger(self) -> int:
        """Restore the ledger, unless that was done; how many entries it has got."""
        line = next((line for line in lines(self._source / MANIFEST) if line.is_ledger), None)
        if line is None:
            self._findings.tell(
                "ledger-damaged", LOST, path=str(self._source), detail="the manifest has none"
            )
            return 0
        path = self._source / line.path
        try:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != line.sha256:
                    self._findings.tell("changed", LOST, path=line.path, detail="the entries of the ledger")
                    return 0
        except OSError as error:
            self._findings.tell("file-missing", LOST, path=line.path, detail=error.strerror or str(error))
            return 0
        with path.open(encoding="utf-8") as text:
            entries = list(islice(text, 2))
            text.seek(0)
            # Nothing is recorded in a ledger that has nothing to keep.
            if len(entries) == 1:
                return 0
            return self._load(self._ledger.opened, text)

    def _load(self, ledger: Ledger, text: Iterator[str]) -> int:
        if self._path.exists() and not portable.is_empty(ledger):
            return 0
        try:
            return portable.load(ledger, text)
        except LedgerUnusable as error:
            raise TaskRefused(str(error)) from error

    def files(self) -> None:
        """Restore the objects, and what is set aside."""
        self._pace.total = self._totals.files
        self._pace.done = self.state.done
        every = islice(lines(self._source / MANIFEST), self.state.done, None)
        while batch := list(islice(every, _BATCH)):
            self._batch(batch)
            self._note()
        watch = Watch(self._pace)
        bring_in_line(self._index, self._holdings.intake, watch)
        watch.pass_on()

    def _batch(self, batch: list[Line]) -> None:
        entries: list[Entry] = []
        for line in batch:
            if self._file(line, entries):
                self.state.objects += line.name is not None
                self.state.size += line.size
            else:
                self.state.failed += 1
            self._pace.step()
        self._index.add(entries)
        self._storage.make_durable()
        self._index.make_durable()
        self.state.done += len(batch)

    def _file(self, line: Line, entries: list[Entry]) -> bool:
        """Restore a file, and note what is to be indexed of it; False if the backup does not have it as it was."""
        name = line.name
        if line.is_ledger:
            return True
        if name is None and not line.is_aside:
            self._findings.tell("stray", LEFT, path=line.path, detail="no archive has a file there")
            return False
        staged = self._copied(line)
        if staged is None:
            return False
        try:
            if name is None:
                self._storage.put_aside_again(line.path, staged)
            elif not self._storage.keep(name, staged) and self._storage.digest(name) != line.sha256:
                # A power cut has left it there by half.
                self._storage.replace(name, staged)
        finally:
            staged.discard()
        if name is not None:
            self._index_later(name, line, entries)
        return True

    def _index_later(self, name: ObjectName, line: Line, entries: list[Entry]) -> None:
        with self._storage.open(name) as file:
            try:
                entry = entry_of(file, self._scanner, line.source)
            except (UnusableObject, ServiceRefusal) as error:
                self._findings.tell("not-readable-as-object", LEFT, name=name, detail=in_words(error))
                return
        if entry.name != name:
            self._findings.tell("other-object", LEFT, name=name)
            return
        stored_at = line.written_at if line.stored_at is None else line.stored_at / 1000
        said = (name, entry.header, entry.sop_class_uid, entry.transfer_syntax_uid, line.source)
        entries.append(Entry(*said, line.size, line.sha256, stored_at))

    def _copied(self, line: Line) -> StagedFile | None:
        """A file of the backup, staged; None if the backup does not have it as it was."""
        kind, detail = "file-missing", ""
        for path in self._places(line):
            try:
                file = path.open("rb", buffering=0)
            except FileNotFoundError:
                continue
            except OSError as error:
                kind, detail = "unreadable", error.strerror or str(error)
                continue
            try:
                staged = self._stage(file, line)
            except CannotRead as error:
                kind, detail = "unreadable", error.strerror or str(error)
                continue
            if staged is not None:
                return staged
            kind, detail = "changed", "the file in the backup is not what was copied into it"
        self._findings.tell(kind, LOST, name=line.name, path=line.path, detail=detail)
        return None

    def _places(self, line: Line) -> Iterator[Path]:
        yield self._source / line.path
        if line.name is not None:
            # A later run, which was not completed, has put it there.
            yield self._source / "versions" / line.name.instance / f"{line.sha256}.dcm"

    def _stage(self, file: BinaryIO, line: Line) -> StagedFile | None:
        digest = hashlib.sha256()
        staged = self._staging.stage()
        try:
            with file:
                for block in self._pace.blocks(file):
                    digest.update(block)
                    staged.write((block,))
            staged.finish(sync=False)
            if digest.hexdigest() == line.sha256:
                path = self._staging.path(staged.name)
                if line.written_at:
                    os.utime(path, (line.written_at, line.written_at))
                return staged
        except BaseException:
            staged.discard()
            raise
        staged.discard()
        return None

    def _is_empty(self) -> bool:
        storage, ledger = self._storage, self._ledger.if_there()
        if self._index.count() or (ledger is not None and not portable.is_empty(ledger)):
            return False
        for there in (storage.series(), storage.quarantined(), storage.versions(), storage.trash()):
            if next(iter(there), None) is not None:
                return False
        return True

    def _said(self) -> _State | None:
        """How far a restore before is; None if there was none."""
        try:
            return _State(**json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return None

    def _note(self) -> None:
        new, state = self._path.with_suffix(".new"), self.state
        with new.open("w", encoding="utf-8") as file:
            said = {name: getattr(state, name) for name in ("manifest", "done", "failed", "objects", "size")}
            json.dump(said, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        flush_folder(str(self._holdings.local.root))
