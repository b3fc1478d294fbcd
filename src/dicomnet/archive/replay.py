"""Replay of the intake journals of processes that ended: what they acknowledged is filed.

What a journal has was acknowledged, or was about to be: it counts more than a file that a power cut has left.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import count, islice
from pathlib import Path

from ..encoding.file_header import decode_file_header
from ..encoding.scan import HeaderScanner
from ..errors import DatabaseFailure, LedgerUnusable, ServiceRefusal, UnusableObject
from ..plurals import counted
from .conflicts import Conflicts
from .conflicts import Record as Ledger
from .entries import Accepted, Catalogue, Entry, decode_description, entry_of, read_entry
from .filing import Filing
from .journal import Journal, Record, read, remove
from .local import LocalFolder
from .storage.comparison import Comparison, compare, is_cut_off
from .storage.store import ObjectName, Storage

_log = logging.getLogger(__name__)

# How many records are filed together.
_BATCH = 200
_FAILURES = (OSError, ServiceRefusal, UnusableObject, DatabaseFailure, LedgerUnusable)
_LEFT = ".left"
# Why a file is put in quarantine.
NOT_AS_RECEIVED = "it differs from the object that was received, which has its place"


class Replay:
    """The reader of journals that nobody writes any more.

    Parameters
    ----------
    local
        Where what is staged is.
    storage, catalogue, filing, conflicts
        Where their objects go.
    scanner
        Finds what the catalogue keeps.
    ledger
        Knows what was deleted; None if nothing ever is.

    Attributes
    ----------
    staged
        Names of the staged files that journals still need, since they could not be filed now; None if that is not
        known, as a journal cannot be read now.
    """

    def __init__(
        self,
        local: LocalFolder,
        storage: Storage,
        catalogue: Catalogue | None,
        filing: Filing,
        conflicts: Conflicts,
        scanner: HeaderScanner,
        ledger: Ledger | None = None,
    ) -> None:
        self._local = local
        self._storage = storage
        self._catalogue = catalogue
        self._filing = filing
        self._conflicts = conflicts
        self._scanner = scanner
        self._ledger = ledger
        self.staged: set[str] | None = set()

    def spare(self, folder: Path) -> None:
        """Leave a journal for later, with the staged files that it needs."""
        try:
            self._need(read(folder))
        except FileNotFoundError:
            # Another process is filing it, and may have put what is left elsewhere.
            self.staged = None
        except OSError as error:
            self._cannot_file(folder, error)

    def folder(self, folder: Path) -> int:
        """File the objects of one journal, which is removed if that succeeds; how many had not been filed."""
        filed = 0
        left: list[Record] = []
        try:
            replaced = _replaced(folder)
            records = (record for record in read(folder) if not self._is_replaced(record, replaced))
            while batch := list(islice(records, _BATCH)):
                filed += self._file(batch, left)
            self._storage.make_durable()
            if self._catalogue is not None:
                self._catalogue.make_durable()
            if left:
                self._keep(folder, left)
            else:
                remove(folder)
        except OSError as error:
            self._cannot_file(folder, error)
            if not is_left(folder):
                folder.rename(_next_left(folder))
        return filed

    def _keep(self, folder: Path, left: Sequence[Record]) -> None:
        """Keep what could not be filed for the next time, and only that: the rest may have been replaced by then."""
        _log.error(
            "%s cannot be filed now, but kept in the intake journal",
            counted(len(left), "acknowledged object"),
        )
        self._need(left)
        if is_left(folder) and sum(1 for _ in read(folder)) == len(left):
            return
        journal = Journal(_next_left(folder), sync=self._local.sync)
        try:
            for record in left:
                position = journal.append(record.description, (record.content,))
            journal.flush(position.number)
        finally:
            journal.close(is_filed=False)
        remove(folder)

    def _need(self, records: Iterable[Record]) -> None:
        names = {decode_description(record.description).staged for record in records}
        if self.staged is not None:
            self.staged |= names

    def _cannot_file(self, folder: Path, error: OSError) -> None:
        _log.error("what the intake journal %s has cannot be filed now: %s", folder, error)
        self.staged = None

    def _file(self, records: Sequence[Record], left: list[Record]) -> int:
        try:
            objects = [found for record in records if (found := self._missing(record)) is not None]
            if objects and self._catalogue is None:
                # An index that is made later has to be compared with all files.
                self._local.needs_recovery = True
            self._filing.file_now(objects)
        except Exception as error:  # noqa: BLE001
            if len(records) > 1:
                return sum(self._file([record], left) for record in records)
            # A defect costs one object, too, and not the start of the archive.
            is_defect = not isinstance(error, _FAILURES)
            about = {"object": _instance_of(records[0])}
            _log.error(
                "an acknowledged object cannot be filed now: %s", error, exc_info=is_defect, extra=about
            )
            left.extend(records)
            return 0
        return len(objects)

    def _missing(self, record: Record) -> Accepted | None:
        """The object of a record as it is to be filed; None if that was done."""
        accepted = self._read(record)
        if accepted is None:
            return None
        name, replaces = accepted.entry.name, accepted.replaces
        if accepted.has_content:
            if replaces is not None and replaces.is_in(self._storage):
                return accepted
            if self._storage.has(name):
                accepted = self._compared(accepted)
        return None if not accepted.has_content and self._is_indexed(name) else accepted

    def _compared(self, accepted: Accepted) -> Accepted:
        """An object for which the store has a file: without content, if it is that object."""
        name, storage = accepted.entry.name, self._storage
        with accepted.opened() as content:
            comparison = compare(storage, content, name)
            if comparison is Comparison.OTHER and is_cut_off(storage, content, name):
                storage.remove(name)
                return accepted
        if comparison is Comparison.OTHER:
            self._conflicts.set_stored_aside(name, NOT_AS_RECEIVED)
            return accepted
        if accepted.staged:
            accepted.staged.discard()
        entry = read_entry(storage, name, self._scanner, accepted.entry.source)
        return Accepted(entry, replaces=accepted.replaces)

    def _is_indexed(self, name: ObjectName) -> bool:
        if self._catalogue is None:
            return True
        return self._catalogue.names_of([name.instance]).get(name.instance) == name

    def _read(self, record: Record) -> Accepted | None:
        """The object of a record; None if it was removed since."""
        said = decode_description(record.description)
        name, source, replaces = said.name, said.source, said.replaces
        if self._was_deleted(name.instance, said.deletion):
            return None
        staged = self._local.staging.find(said.staged) if said.staged else None
        if staged is not None:
            with staged.open() as file:
                entry = entry_of(file, self._scanner, source)
            return Accepted(entry, staged=staged, replaces=replaces)
        if not record.content:
            # It has its file already, but perhaps no row.
            if not self._storage.has(name):
                return None
            return Accepted(read_entry(self._storage, name, self._scanner, source), replaces=replaces)
        header = decode_file_header(record.content)
        data = memoryview(record.content)[header.offset :]
        found = self._scanner.scan(data, header.transfer_syntax_uid)
        entry = Entry(name, found, header.sop_class_uid, header.transfer_syntax_uid, source)
        return Accepted(entry, (record.content,), replaces=replaces)

    def _was_deleted(self, instance: str, deletion: int | None) -> bool:
        """Whether an object was deleted since it was received; what was filed stays in the journal for a while."""
        if self._ledger is None or deletion is None:
            return False
        return self._ledger.was_deleted(instance, deletion)

    def _is_replaced(self, record: Record, replaced: Mapping[tuple[str, str], int]) -> bool:
        """Whether the object of a record has become a version since; its place is another object's then."""
        if not replaced or not record.content:
            return False
        instance = decode_description(record.description).name.instance
        digest = hashlib.sha256(record.content).hexdigest()
        # The same content may have come back after that.
        is_earlier = record.number < replaced.get((instance, digest), 0)
        return is_earlier and self._storage.has_version(instance, digest)


def _instance_of(record: Record) -> str:
    """The SOP Instance UID of the object of a record, which may be what is wrong with it."""
    try:
        return decode_description(record.description).name.instance
    except ValueError:
        return "?"


def _next_left(folder: Path) -> Path:
    """A folder for what is left of a journal."""
    journal = folder.name.partition(_LEFT)[0]
    names = (folder.with_name(f"{journal}{_LEFT}{number}") for number in count())
    return next(path for path in names if not path.exists())


def is_left(folder: Path) -> bool:
    """Whether a folder is a journal that was read, and of which something could not be filed."""
    return _LEFT in folder.name


def _replaced(folder: Path) -> dict[tuple[str, str], int]:
    """The objects that others in a journal replace: SOP Instance UIDs and digests, with the last record that does."""
    found = {}
    for record in read(folder):
        said = decode_description(record.description)
        if said.replaces is not None:
            found[said.name.instance, said.replaces.digest] = record.number
    return found
