"""The object-writer: a session of `Intake` writes each object that enters the archive, however it was received.

It checks an object against its command and parses it to its end, and answers once the object is durable in the intake
journal. `archive.filing` gives it its file and its row in the catalogue, behind the answer.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import BinaryIO, Self

from ..dimse.datasets import OUT_OF_RESOURCES
from ..drivers.scanning import scan_file
from ..encoding.file_header import encode_file_header
from ..encoding.identity import is_uid
from ..encoding.scan import Header, HeaderScanner
from ..errors import ServiceRefusal
from ..services.registry import DUPLICATE_SOP_INSTANCE, INVALID_SOP_INSTANCE, SUCCESS
from .claims import Claims
from .conflicts import Conflicts, OtherContent
from .conflicts import Record as Ledger
from .entries import (
    DATA_SET_DOES_NOT_MATCH,
    IDENTIFYING,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    UNKNOWN,
    Accepted,
    Catalogue,
    Entry,
    Replaced,
    Source,
    encode_description,
    object_name,
    read_entry,
)
from .filing import OTHER_CONTENT, Filing, Progress
from .journal import Journal, Position, read
from .local import LocalFolder
from .replay import Replay, is_left
from .storage.comparison import Comparison, compare, read_file_header
from .storage.staging import StagedFile
from .storage.store import ObjectName, Storage

_log = logging.getLogger(__name__)

# Of the warnings of the Storage service (PS3.4 section B.2.3) the one that says that something is not as it was sent.
KEPT_IN_QUARANTINE = 0xB000
QUARANTINE_COMMENT = "another object has this UID; kept in quarantine"

# A data set of up to this many bytes is kept in memory, written with one system call, and not written if refused.
SPILL_LENGTH = 64 << 10
# How much of what is acknowledged may wait in memory to be filed, in bytes, and how long intake waits for that to
# become less, or for another object with the same UID to be filed, in seconds.
WAITING_LIMIT = 32 << 20
PATIENCE = 10.0
# How long a commit waits for others with its UIDs where something cannot be filed, which may take until there is room.
_STUCK_PATIENCE = 0.5

_BLOCK = 1 << 20
_OUT_OF_SPACE = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class Session:
    """The writer of one object into the store, made by `Intake.open`. It must not be shared between threads.

    After `commit` or `abort` the session is over, and has left nothing behind but the object, if it was stored.

    Attributes
    ----------
    name
        The UIDs by which the store names the object; None before it is placed, and where it is refused for them.
    placed
        The outcome of `place`: the object as it is accepted, or its refusal. None before `place`, and when the session
        is over.
    is_adopted
        Whether the object is a file that lies there already, see `adopt`.
    is_flushed_together
        Whether the commit flushes its file with all others on the file system, where it is a large one; else it is
        flushed by itself when it is placed. Of many that takes longer.
    was_there
        Whether the commit found that the store had the same object already.
    other_content
        What becomes of the object if one with other content has its SOP Instance UID; None for what the intake says.
    """

    __slots__ = (
        "_data_at",
        "_file_header",
        "_head",
        "_intake",
        "_is_over",
        "_staged",
        "is_adopted",
        "is_flushed_together",
        "name",
        "other_content",
        "placed",
        "sop_class",
        "sop_instance",
        "source",
        "transfer_syntax",
        "was_there",
    )

    def __init__(
        self, intake: Intake, sop_class: str, sop_instance: str, transfer_syntax: str, source: Source
    ) -> None:
        self._intake = intake
        self.source = source
        self.sop_class = sop_class
        self.sop_instance = sop_instance
        self.transfer_syntax = transfer_syntax
        self._file_header = encode_file_header(sop_class, sop_instance, transfer_syntax, source.ae_title)
        # Where the data set begins in the staged file.
        self._data_at = len(self._file_header)
        self._head = bytearray()
        self._staged: StagedFile | None = None
        self._is_over = False
        self.is_adopted = self.is_flushed_together = self.was_there = False
        self.name: ObjectName | None = None
        self.placed: Accepted | ServiceRefusal | None = None
        self.other_content: OtherContent | None = None

    def write(self, data: memoryview) -> None:
        """Append bytes of the encoded data set, which need to be valid only during the call.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if they cannot be written. The session is then over.
        ValueError
            If the session is over.
        """
        if self._is_over:
            raise ValueError("the session is over")
        try:
            if self._staged is not None:
                self._staged.write((data,))
            elif len(self._head) + len(data) <= SPILL_LENGTH:
                self._head += data
            else:
                self._staged = self._intake.local.staging.stage()
                self._staged.write((self._file_header, self._head, data))
                self._head = bytearray()
        except OSError as error:
            self.abort()
            raise _refusal(error, self.sop_instance) from error

    def adopt(self, staged: StagedFile, data_at: int) -> None:
        """Take a complete file as it lies, with its own file meta information, in the place of what would be written.

        Parameters
        ----------
        staged
            The file, made by `Staging.link` or complete; from now on the session's.
        data_at
            Where its data set begins, in bytes.
        """
        self._staged, self._data_at = staged, data_at
        self.is_adopted = self.is_flushed_together = True

    def commit(self) -> int:
        """Check the object and store it, as `Intake.commit` does for several objects.

        Returns
        -------
        int
            The status of the response: 0x0000, also if the store has the same object already; 0xB000 if another object
            has its SOP Instance UID, and this one is kept in quarantine.

        Raises
        ------
        ServiceRefusal
            If `Intake.commit` refuses it.
        ValueError
            If the session is over.
        """
        outcome = self._intake.commit((self,))[0]
        if isinstance(outcome, ServiceRefusal):
            raise outcome
        return outcome

    def place(self) -> None:
        """First half of a commit: check the object; a large one is written to the medium.

        A failure is kept in `placed` and reported by the commit. A second call does nothing.

        Raises
        ------
        ValueError
            If the session is over.
        """
        if self._is_over:
            raise ValueError("the session is over")
        if self.placed is not None:
            return
        try:
            self.placed = self._place()
        except ServiceRefusal as refusal:
            self.placed = refusal
        except OSError as error:
            self.placed = _refusal(error, self.sop_instance)
            self.placed.__cause__ = error
        finally:
            if not isinstance(self.placed, Accepted):
                self._discard_content()

    def abort(self) -> None:
        """Drop the object. May be called at any time and more than once."""
        self.finish()

    def finish(self) -> None:
        """End the session, after its object was committed or dropped."""
        self._is_over = True
        self.placed = None
        self._discard_content()

    @property
    def accepted(self) -> Accepted:
        """The object, once it has been placed."""
        assert isinstance(self.placed, Accepted)
        return self.placed

    def is_stored(self, entry: Entry) -> None:
        """The store has the object already, so that its content is of no more use."""
        self.placed = Accepted(entry)
        self._discard_content()

    def release_staged(self) -> None:
        """The staged file is no longer the session's."""
        self._staged = None

    def _discard_content(self) -> None:
        self._head = bytearray()
        if self._staged is not None:
            self._staged.discard()
            self._staged = None

    def _place(self) -> Accepted:
        header = self._scan()
        name = self.name = self._name(header)
        if header.irregular:
            _log.warning(
                "object %s from %s is kept as it was received, though %s",
                name.instance,
                self.source.ae_title or "?",
                ", and ".join(header.irregular),
                extra=self.source.about(name.instance),
            )
        entry = Entry(name, header, self.sop_class, self.transfer_syntax, self.source)
        if self._staged is None:
            return Accepted(entry, (self._file_header, self._head))
        self._staged.finish(sync=self._intake.local.sync and not self.is_flushed_together)
        return Accepted(entry, staged=self._staged)

    def _scan(self) -> Header:
        if self._staged is None:
            return self._intake.scanner.scan(self._head, self.transfer_syntax)
        descriptor = self._staged.descriptor
        return scan_file(self._intake.scanner, descriptor, self._data_at, self.transfer_syntax)

    def _name(self, header: Header) -> ObjectName:
        if not header.uid(SOP_CLASS_UID) and not header.uid(SOP_INSTANCE_UID):
            raise ServiceRefusal(
                DATA_SET_DOES_NOT_MATCH,
                "the data set is empty or has no SOP Instance UID",
                (SOP_INSTANCE_UID,),
            )
        if header.uid(SOP_CLASS_UID) != self.sop_class:
            raise ServiceRefusal(
                DATA_SET_DOES_NOT_MATCH,
                "the data set's SOP Class UID is not that of the command",
                (SOP_CLASS_UID,),
            )
        name = object_name(header)
        if name.instance != self.sop_instance:
            raise ServiceRefusal(
                DATA_SET_DOES_NOT_MATCH,
                "the data set's SOP Instance UID is not that of the command",
                (SOP_INSTANCE_UID,),
            )
        return name


def study_of(session: Session) -> str:
    """The study of an object that was placed and is accepted; empty for another one."""
    return session.placed.entry.name.study if isinstance(session.placed, Accepted) else ""


class Intake:
    """The entry of the archive: opens a session for each object. It may be shared between threads. Close it at the end.

    Parameters
    ----------
    local
        The folder of the archive on this machine.
    storage
        The store.
    catalogue
        The index; None if objects are stored without being indexed.
    is_strict
        Whether objects in an irregular form are refused, see `encoding.walk.Walk`; else they are kept as they are, and
        the log says so.
    other_content
        What becomes of an object whose SOP Instance UID an object with other content has.
    ledger
        Where objects that lose their place to another one are recorded; None if nowhere.
    progress, process
        What several processes of one archive share, and which of them this one is.

    Attributes
    ----------
    other_content
        As above; may be changed at any time.
    conflicts
        The keeper of objects that cannot be stored.
    progress
        How many objects wait to be filed, in all processes that share it.
    """

    def __init__(
        self,
        local: LocalFolder,
        storage: Storage,
        catalogue: Catalogue | None = None,
        *,
        is_strict: bool = False,
        other_content: OtherContent = OtherContent.KEEP_FIRST,
        ledger: Ledger | None = None,
        progress: Progress | None = None,
        process: int = 0,
    ) -> None:
        self.local = local
        self.storage = storage
        self.catalogue = catalogue
        self.other_content = other_content
        wanted = {**(catalogue.wanted if catalogue else {}), **IDENTIFYING}
        self.scanner = HeaderScanner(wanted, is_strict=is_strict)
        self._reader = HeaderScanner(wanted)
        self._folder = local.journals / str(process)
        self._journal = Journal(self._folder, sync=local.sync)
        # It saves flushes, and knows after a kill which rows are missing.
        self._needs_journal = catalogue is not None or not storage.is_volatile
        self.progress = progress or Progress(1)
        self._process = process
        self._ledger = ledger
        self.conflicts = Conflicts(storage, ledger)
        self._filing = Filing(
            local,
            self._journal,
            storage,
            catalogue,
            self.conflicts,
            self._reader,
            self._release,
            self.progress,
            process,
        )
        self._claims = Claims(local.claims if progress is not None else None, self._filing.hurrying)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        source: Source = UNKNOWN,
    ) -> Session:
        """Begin a session for one object.

        Parameters
        ----------
        sop_class_uid, sop_instance_uid
            UIDs of the command. The SOP class must be the abstract syntax of the presentation context.
        transfer_syntax_uid
            Transfer syntax of the presentation context.
        source
            Who sends it; the AE title is written into the file meta information.

        Raises
        ------
        ServiceRefusal
            With status 0x0117 or 0xA900, if a UID is not valid.
        """
        if not is_uid(sop_instance_uid):
            raise ServiceRefusal(INVALID_SOP_INSTANCE, "the SOP Instance UID is not a valid UID")
        if not is_uid(sop_class_uid) or not is_uid(transfer_syntax_uid):
            raise ServiceRefusal(
                DATA_SET_DOES_NOT_MATCH, "the SOP class or transfer syntax is not a valid UID"
            )
        return Session(self, sop_class_uid, sop_instance_uid, transfer_syntax_uid, source)

    def open_copy(self, file: BinaryIO, source: Source = UNKNOWN) -> Session:
        """Begin a session for the object in a file, which is copied as it lies, byte for byte.

        Parameters
        ----------
        file
            The file, open at its beginning.
        source
            Who had sent it.

        Raises
        ------
        UnusableObject
            If it has no file meta information.
        ServiceRefusal
            As `open`.
        OSError
            If it cannot be read, or the copy cannot be written.
        """
        header = read_file_header(file)
        session = self.open(header.sop_class_uid, header.sop_instance_uid, header.transfer_syntax_uid, source)
        staged = self.local.staging.stage()
        try:
            file.seek(0)
            while block := file.read(_BLOCK):
                staged.write((block,))
        except BaseException:
            staged.discard()
            raise
        session.adopt(staged, header.offset)
        return session

    def commit(self, sessions: Sequence[Session]) -> list[int | ServiceRefusal]:
        """Check objects and store them. Flushing them together costs less than one by one.

        Parameters
        ----------
        sessions
            The objects. `Session.place` may have been called for some of them.

        Returns
        -------
        list
            For each object the status of the response, or its refusal: 0x0000, also if the store has the same object
            already, or this one takes the place of one with other content; 0xB000 if an object with other content has
            its SOP Instance UID, and this one is kept in quarantine, or 0x0111 where such are refused; 0xC000 if the
            data set does not parse to its end; 0xA900 if it does not match the command, or lacks its identifiers;
            0xA700 if it cannot be written now.

        Raises
        ------
        ValueError
            If one of the sessions is over.
        """
        try:
            for session in sessions:
                session.place()
            outcomes: list[int | ServiceRefusal] = []
            for run in _without_doubles(sessions):
                outcomes += self._commit(run)
        except BaseException:
            for session in sessions:
                session.abort()
            raise
        for session in sessions:
            session.finish()
        return outcomes

    def wait_for_all(self, seconds: float = PATIENCE) -> bool:
        """Wait until all that was acknowledged by now can be found in the catalogue; False if it cannot in time."""
        return self._filing.wait_for_all(seconds)

    def will_delete(self, number: int) -> None:
        """Objects whose UIDs are claimed are about to be deleted, by entries of the ledger up to this number."""
        self.progress.deleted(self._process, number)

    @contextmanager
    def claimed(self, instance: str, seconds: float = PATIENCE) -> Iterator[bool]:
        """Within the block, nobody stores an object with this SOP Instance UID, and none that was received waits.

        Gives False if that cannot be had, since one is being stored all the time.

        Raises
        ------
        OSError
            If it cannot be seen what other processes do.
        """
        is_claimed = self._claims.take(instance, seconds)
        try:
            yield is_claimed
        finally:
            if is_claimed:
                self._claims.release([instance])

    def lacks(self, study: str | None = None) -> bool:
        """Whether queries lack an object of a study, or of any, which was acknowledged and cannot be filed now."""
        return self._filing.lacks(study)

    def count_stuck(self) -> int:
        """How many acknowledged objects cannot be filed now: those of all processes, also of such that have ended.

        Raises
        ------
        OSError
            If a journal cannot be read.
        """
        count = self.progress.stuck
        for folder in filter(is_left, _folders(self.local.journals)):
            # It is gone where it has just been filed.
            with suppress(FileNotFoundError):
                count += sum(1 for _ in read(folder))
        return count

    def recover(self) -> int:
        """File what processes that have ended acknowledged and did not file; how many objects these were.

        Called before anything is received, by a process that is the only one, or by one in the place of another. What
        cannot be filed now stays in its journal, and is tried again at the next call.
        """
        replay = self._new_replay()
        count = 0
        for folder in _folders(self.local.journals):
            if not self._process or folder == self._folder:
                count += replay.folder(folder)
            elif is_left(folder):
                replay.spare(folder)
        if replay.staged is not None:
            self.local.staging.clear(self._process or None, keep=replay.staged)
        self.progress.begin_anew(self._process)
        return count

    def recover_rest(self) -> None:
        """Try again to file what could not be filed when it was found in the journals of processes that ended."""
        left = [folder for folder in _folders(self.local.journals) if is_left(folder)]
        if left:
            replay = self._new_replay()
            for folder in left:
                replay.folder(folder)

    def close(self) -> bool:
        """File what was acknowledged; whether all is filed. What is not will be by the next process."""
        is_filed = self._filing.close()
        self._journal.close(is_filed=is_filed)
        self._claims.close()
        return is_filed

    @property
    def is_in_trouble(self) -> bool:
        """Whether something cannot be filed now; the log says what."""
        return self._filing.trouble is not None

    @property
    def unfiled(self) -> list[tuple[str, Exception]]:
        """After `close`: the SOP Instance UIDs of objects that only the journal has, each with the reason."""
        return self._filing.unfiled

    def _new_replay(self) -> Replay:
        parts = (self.local, self.storage, self.catalogue, self._filing, self.conflicts, self._reader)
        return Replay(*parts, self._ledger)

    def _release(self, instances: Sequence[str]) -> None:
        self._claims.release(instances)

    def _commit(self, sessions: Sequence[Session]) -> list[int | ServiceRefusal]:
        """Store objects that have different SOP Instance UIDs."""
        outcomes: dict[str, int | ServiceRefusal] = {}
        claimed: list[Session] = []
        kept: list[Session] = []
        # All of them together wait no longer than one: who sends again what is stuck sends many of them.
        end = monotonic() + (_STUCK_PATIENCE if self.progress.stuck else PATIENCE)
        try:
            # In one order everywhere, so that nobody waits for somebody who waits for him.
            for session in sorted(sessions, key=lambda each: each.sop_instance):
                placed = session.placed
                if isinstance(placed, ServiceRefusal):
                    outcomes[session.sop_instance] = placed
                elif self._claims.take(session.sop_instance, max(0.0, end - monotonic())):
                    claimed.append(session)
                else:
                    outcomes[session.sop_instance] = ServiceRefusal(
                        OUT_OF_RESOURCES, "an object with this UID waits"
                    )
            known = self._known([session.sop_instance for session in claimed])
            new = []
            # They are kept in the order in which they came: the first one of a study says whose it is.
            for session in sessions:
                if session.sop_instance in outcomes:
                    continue
                outcome = self._compared(session, known.get(session.sop_instance))
                if outcome is None:
                    new.append(session)
                else:
                    outcomes[session.sop_instance] = outcome
            if new and self.catalogue is None:
                # An index that is made later has to be compared with all files.
                self.local.needs_recovery = True
            if any(session.is_flushed_together and session.accepted.staged for session in new):
                self.local.staging.make_durable()
            if self._needs_journal:
                self._keep(new)
                kept = new
            else:
                outcomes.update(self._store(new))
        except (OSError, ServiceRefusal) as error:
            refusal = error if isinstance(error, ServiceRefusal) else _refusal(error)
            for session in sessions:
                outcomes.setdefault(session.sop_instance, refusal)
        finally:
            # The UIDs of those that are kept are released when they are filed.
            self._claims.release([session.sop_instance for session in claimed if session not in kept])
        return [outcomes.get(session.sop_instance, SUCCESS) for session in sessions]

    def _known(self, instances: Sequence[str]) -> Mapping[str, ObjectName]:
        """The objects that are indexed already, by their SOP Instance UIDs."""
        return self.catalogue.names_of(instances) if self.catalogue is not None and instances else {}

    def _compared(self, session: Session, known: ObjectName | None) -> int | ServiceRefusal | None:
        """What becomes of an object because of one that is stored; None if it is to be kept, or to be indexed."""
        accepted = session.accepted
        name, storage = accepted.entry.name, self.storage
        if known is None and not storage.has(name):
            return None
        if known in (None, name):
            try:
                with accepted.opened() as content:
                    comparison = compare(storage, content, name)
            except FileNotFoundError:
                # The row has lost its file, which gets one again.
                return None
            if comparison is not Comparison.OTHER:
                if known is None and self.catalogue is not None:
                    # The file has lost its row, or had none yet.
                    session.is_stored(read_entry(storage, name, self._reader, session.source))
                    return None
                session.was_there = True
                return SUCCESS
        policy = session.other_content or self.other_content
        if policy is OtherContent.REFUSE:
            return ServiceRefusal(DUPLICATE_SOP_INSTANCE, "another object has this SOP Instance UID")
        if policy is OtherContent.REPLACE:
            other = known or name
            accepted.replaces = Replaced(other, storage.digest(other))
            return None
        self.conflicts.set_aside(accepted, OTHER_CONTENT, KEPT_IN_QUARANTINE)
        return KEPT_IN_QUARANTINE

    def _store(self, sessions: Sequence[Session]) -> dict[str, ServiceRefusal]:
        """Give objects their files at once; those that cannot be written are refused."""
        refusals = {}
        for session in sessions:
            try:
                self._filing.file_now([session.accepted])
            except OSError as error:
                refusals[session.sop_instance] = _refusal(error, session.sop_instance)
        # A part of the store may be on another medium than the rest.
        self.storage.make_durable()
        return refusals

    def _keep(self, sessions: Sequence[Session]) -> None:
        """Return when objects are durable in the journal, and have them filed."""
        if not sessions:
            return
        if not self._filing.wait_for_room(WAITING_LIMIT, PATIENCE):
            raise ServiceRefusal(OUT_OF_RESOURCES, "what was received before cannot be filed now")
        objects = [session.accepted for session in sessions]
        positions: list[Position] = []
        deletion = self.progress.last_deletion
        try:
            for each in objects:
                each.position = self._journal.append(encode_description(each, deletion), each.content)
                positions.append(each.position)
            self._journal.flush(positions[-1].number)
        except OSError:
            self._journal.refused(positions)
            raise
        for session in sessions:
            session.release_staged()
        self._filing.accept(objects)


def _without_doubles(sessions: Sequence[Session]) -> Iterator[list[Session]]:
    """The sessions in runs, in each of which every SOP Instance UID is there once."""
    run: list[Session] = []
    seen: set[str] = set()
    for session in sessions:
        if session.sop_instance in seen:
            yield run
            run, seen = [], set()
        run.append(session)
        seen.add(session.sop_instance)
    yield run


def _folders(path: Path) -> list[Path]:
    return sorted(path.iterdir()) if path.exists() else []


def _refusal(error: OSError, instance: str = "") -> ServiceRefusal:
    _log.warning("an object cannot be stored: %s", error, extra={"object": instance} if instance else None)
    if error.errno in _OUT_OF_SPACE:
        return ServiceRefusal(OUT_OF_RESOURCES, "there is no space left for the object")
    return ServiceRefusal(OUT_OF_RESOURCES, "the object cannot be written")
