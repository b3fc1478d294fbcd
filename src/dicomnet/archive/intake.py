"""The object-writer: a session of `Intake` writes each object that enters the archive, however it was received.

It checks an object against its command and parses it to its end, and answers Success only once the object is durable
and indexed.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from ..dimse.datasets import OUT_OF_RESOURCES
from ..drivers.scanning import scan_file
from ..encoding.file_header import encode_file_header
from ..encoding.identity import is_uid
from ..encoding.scan import Header, HeaderScanner
from ..errors import ServiceRefusal, UnusableObject
from ..services.registry import DUPLICATE_SOP_INSTANCE, INVALID_SOP_INSTANCE, SUCCESS
from ..values import frozen
from .storage.files import ObjectName, Placement, StagedFile, Storage, read_file_header

_log = logging.getLogger(__name__)

DATA_SET_DOES_NOT_MATCH = 0xA900

SOP_CLASS_UID, SOP_INSTANCE_UID = 0x00080016, 0x00080018
STUDY_INSTANCE_UID, SERIES_INSTANCE_UID = 0x0020000D, 0x0020000E
IDENTIFYING = dict.fromkeys((SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID), "UI")

# A data set of up to this many bytes is kept in memory, written with one system call, and not written if refused.
SPILL_LENGTH = 64 << 10

_OUT_OF_SPACE = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


@frozen
class Entry:
    """A stored object, as the index receives it.

    Parameters
    ----------
    name
        Its name in the store.
    header
        Its attributes, as far as the index keeps them.
    sop_class_uid, transfer_syntax_uid
        UIDs.
    """

    name: ObjectName
    header: Header
    sop_class_uid: str
    transfer_syntax_uid: str


class Catalogue(Protocol):
    """The index, as an intake uses it."""

    @property
    def wanted(self) -> Mapping[int, str]:
        """The tags that the index keeps, each with its VR."""
        ...

    def add(self, entries: Sequence[Entry]) -> Sequence[bool | ServiceRefusal]:
        """Index objects, and return when they are committed. Objects that are indexed already are left as they are.

        Returns
        -------
        sequence
            For each object: True if it is indexed; False if its SOP Instance UID is indexed under another study or
            series; a refusal with status 0xA700 if it cannot be indexed now.
        """
        ...


class Session:
    """The writer of one object into the store, made by `Intake.open`. It must not be shared between threads.

    After `commit` or `abort` the session is over, and has left nothing behind but the object, if it was stored.

    Attributes
    ----------
    placed
        The outcome of `place`: the object as the index receives it, or its refusal. None before `place`, and when the
        session is over.
    """

    __slots__ = (
        "_calling_ae",
        "_file_header",
        "_head",
        "_intake",
        "_is_over",
        "_staged",
        "placed",
        "sop_class",
        "sop_instance",
        "transfer_syntax",
    )

    def __init__(
        self, intake: Intake, sop_class: str, sop_instance: str, transfer_syntax: str, calling_ae: str
    ) -> None:
        self._intake = intake
        self._calling_ae = calling_ae
        self.sop_class = sop_class
        self.sop_instance = sop_instance
        self.transfer_syntax = transfer_syntax
        self._file_header = encode_file_header(sop_class, sop_instance, transfer_syntax, calling_ae)
        self._head = bytearray()
        self._staged: StagedFile | None = None
        self._is_over = False
        self.placed: Entry | ServiceRefusal | None = None

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
                self._staged = self._intake.storage.stage()
                self._staged.write((self._file_header, self._head, data))
                self._head = bytearray()
        except OSError as error:
            self.abort()
            refusal = _refusal(error)
            refusal.__cause__ = error
            self._intake.refused(self.sop_instance, refusal)
            raise refusal from error

    def commit(self) -> int:
        """Check the object, store it and index it, as `Intake.commit` does for several objects.

        Returns
        -------
        int
            The status of the response: 0x0000, also if the store has the same object already.

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
        """First half of a commit: check the object, write it to the medium and give it its name in the store.

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
        self._intake.under_way.add(self)
        try:
            self.placed = self._place()
        except ServiceRefusal as refusal:
            self.placed = refusal
        except OSError as error:
            self.placed = _refusal(error)
            self.placed.__cause__ = error
        except BaseException:
            # The object may have its name already, and will not be indexed.
            self._intake.storage.needs_recovery = True
            raise
        finally:
            self._discard_content()

    def abort(self) -> None:
        """Drop the object. May be called at any time and more than once."""
        self._is_over = True
        self._discard_content()
        if isinstance(self.placed, Entry):
            # The object has its name already, and will not be indexed.
            self._intake.storage.needs_recovery = True
        self.finish()

    def finish(self) -> None:
        """End the session, after its object was committed or dropped."""
        self._is_over = True
        self.placed = None
        self._intake.under_way.discard(self)

    def _discard_content(self) -> None:
        self._head = bytearray()
        if self._staged is not None:
            self._staged.discard()
            self._staged = None

    def _place(self) -> Entry:
        header = self._scan()
        name = self._name(header)
        if header.irregular:
            _log.warning(
                "object %s from %s is kept as it was received, though %s",
                name.instance,
                self._calling_ae or "?",
                ", and ".join(header.irregular),
            )
        staged = self._complete_file()
        # From here on the store owns the staged file, and discards it whatever happens.
        self._staged = None
        storage = self._intake.storage
        placement = storage.place(staged, name)
        if placement is Placement.QUARANTINED:
            raise ServiceRefusal(DUPLICATE_SOP_INSTANCE, "another object has this SOP Instance UID")
        if placement is Placement.SAME_IN_ANOTHER_FORM:
            # What is kept is what is indexed, whoever comes first.
            return self._read_kept(name)
        return Entry(name, header, self.sop_class, self.transfer_syntax)

    def _read_kept(self, name: ObjectName) -> Entry:
        try:
            return read_entry(self._intake.storage, name, self._intake.scanner)
        except UnusableObject as error:
            raise ServiceRefusal(OUT_OF_RESOURCES, "the object that is kept cannot be read") from error

    def _scan(self) -> Header:
        if self._staged is None:
            return self._intake.scanner.scan(self._head, self.transfer_syntax)
        descriptor, offset = self._staged.descriptor, len(self._file_header)
        return scan_file(self._intake.scanner, descriptor, offset, self.transfer_syntax)

    def _complete_file(self) -> StagedFile:
        if self._staged is None:
            self._staged = self._intake.storage.stage()
            self._staged.write((self._file_header, self._head))
        return self._staged

    def _name(self, header: Header) -> ObjectName:
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


class Intake:
    """The entry of the archive: opens a session for each object. It may be shared between threads.

    Parameters
    ----------
    storage
        The store.
    catalogue
        The index; None if objects are stored without being indexed.
    on_refused
        Called with the SOP Instance UID of an object that is refused, and with the refusal; where an association hands
        the object over, again when it answers with the same refusal.
    is_strict
        Whether objects in an irregular form are refused, see `encoding.walk.Walk`; else they are kept as they are, and
        the log says so.
    """

    def __init__(
        self,
        storage: Storage,
        catalogue: Catalogue | None = None,
        on_refused: Callable[[str, ServiceRefusal], None] | None = None,
        *,
        is_strict: bool = False,
    ) -> None:
        self.storage = storage
        self.catalogue = catalogue
        self._on_refused = on_refused
        # The sessions whose object may already have its name in the store, and is not indexed yet.
        self.under_way: set[Session] = set()
        wanted = {**(catalogue.wanted if catalogue else {}), **IDENTIFYING}
        self.scanner = HeaderScanner(wanted, is_strict=is_strict)

    def open(
        self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, *, calling_ae: str = ""
    ) -> Session:
        """Begin a session for one object.

        Parameters
        ----------
        sop_class_uid, sop_instance_uid
            UIDs of the command. The SOP class must be the abstract syntax of the presentation context.
        transfer_syntax_uid
            Transfer syntax of the presentation context.
        calling_ae
            AE title of the sender, for the file meta information.

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
        return Session(self, sop_class_uid, sop_instance_uid, transfer_syntax_uid, calling_ae)

    def commit(self, sessions: Sequence[Session]) -> list[int | ServiceRefusal]:
        """Check objects, store them and index them. Flushing and indexing them together costs less than one by one.

        Parameters
        ----------
        sessions
            The objects. `Session.place` may have been called for some of them.

        Returns
        -------
        list
            For each object the status of the response, which is 0x0000 also if the store has the same object already,
            or its refusal: 0xC000 if the data set does not parse to its end; 0xA900 if it does not match the command,
            or lacks its identifiers; 0x0111 if another object has its SOP Instance UID (it is then kept in
            quarantine); 0xA700 if it cannot be written or indexed.

        Raises
        ------
        ValueError
            If one of the sessions is over.
        """
        try:
            # One after another, so that no more than one of those that are still in memory has a file open.
            for session in sessions:
                session.place()
            placed = [session.placed for session in sessions]
            registered = iter(self._register([each for each in placed if isinstance(each, Entry)]))
            outcomes = [each if isinstance(each, ServiceRefusal) else next(registered) for each in placed]
        except BaseException:
            for session in sessions:
                session.abort()
            raise
        for session, outcome in zip(sessions, outcomes, strict=True):
            session.finish()
            if isinstance(outcome, ServiceRefusal):
                self.refused(session.sop_instance, outcome)
        return outcomes

    def refused(self, sop_instance_uid: str, refusal: ServiceRefusal) -> None:
        """Tell of an object that is refused."""
        if self._on_refused is not None:
            self._on_refused(sop_instance_uid, refusal)

    def _register(self, entries: Sequence[Entry]) -> list[int | ServiceRefusal]:
        try:
            self.storage.settle([entry.name for entry in entries])
        except OSError as error:
            return [_refusal(error) for _ in entries]
        if self.catalogue is None or not entries:
            return [SUCCESS] * len(entries)
        outcomes = self.catalogue.add(entries)
        return [self._registered(*each) for each in zip(entries, outcomes, strict=True)]

    def _registered(self, entry: Entry, outcome: bool | ServiceRefusal) -> int | ServiceRefusal:
        if isinstance(outcome, ServiceRefusal):
            self.storage.needs_recovery = True
            return outcome
        if outcome:
            return SUCCESS
        try:
            self.storage.quarantine(entry.name)
        except OSError as error:
            self.storage.needs_recovery = True
            return _refusal(error)
        return ServiceRefusal(DUPLICATE_SOP_INSTANCE, "another study or series has this SOP Instance UID")


def object_name(header: Header) -> ObjectName:
    """The name of an object in the store, from its attributes.

    Raises
    ------
    ServiceRefusal
        With status 0xA900, if one of its UIDs is missing or not valid.
    """
    uid = header.uid
    try:
        return ObjectName(uid(STUDY_INSTANCE_UID), uid(SERIES_INSTANCE_UID), uid(SOP_INSTANCE_UID))
    except ValueError:
        tags = (STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID)
        bad = next(tag for tag in tags if not is_uid(uid(tag)))
        raise ServiceRefusal(
            DATA_SET_DOES_NOT_MATCH, "a UID that identifies the object is missing or not valid", (bad,)
        ) from None


def read_entry(storage: Storage, name: ObjectName, scanner: HeaderScanner) -> Entry:
    """Read a stored object's header for the index.

    Parameters
    ----------
    storage, name
        Where it is.
    scanner
        Finds the attributes that the index keeps.

    Raises
    ------
    UnusableObject, ServiceRefusal
        If the file is damaged, or is not named after the object in it.
    OSError
        If it cannot be read.
    """
    path = storage.path(name)
    file_header = read_file_header(path)
    with open(path, "rb", buffering=0) as file:
        syntax = file_header.transfer_syntax_uid
        header = scan_file(scanner, file.fileno(), file_header.offset, syntax)
    if object_name(header) != name:
        raise UnusableObject("the file is not named after the object in it")
    return Entry(name, header, header.uid(SOP_CLASS_UID), syntax)


def _refusal(error: OSError) -> ServiceRefusal:
    _log.warning("an object cannot be stored: %s", error)
    if error.errno in _OUT_OF_SPACE:
        return ServiceRefusal(OUT_OF_RESOURCES, "there is no space left for the object")
    return ServiceRefusal(OUT_OF_RESOURCES, "the object cannot be written")
