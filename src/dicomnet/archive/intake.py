"""The one object-writer: every object that enters the archive, by whatever way, is written by a session of `Intake`.

It checks an object against its command and to its end, and says Success only for what is durable and indexed.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from typing import Protocol

from ..encoding.file_header import encode_file_header
from ..encoding.identity import is_uid
from ..encoding.known_headers import Wanted
from ..encoding.scan import Header, scan, scan_file
from ..errors import ServiceRefusal, UnusableObject
from ..values import frozen
from .storage import ObjectName, Placement, StagedFile, Storage, read_file_header

SUCCESS = 0x0000
DUPLICATE_SOP_INSTANCE = 0x0111
INVALID_SOP_INSTANCE = 0x0117
OUT_OF_RESOURCES = 0xA700
DATA_SET_DOES_NOT_MATCH = 0xA900

SOP_CLASS_UID, SOP_INSTANCE_UID = 0x00080016, 0x00080018
STUDY_INSTANCE_UID, SERIES_INSTANCE_UID = 0x0020000D, 0x0020000E
IDENTIFYING = dict.fromkeys((SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID), "UI")

# What is smaller than this is written with one system call, and never written if it is refused.
SPILL_LENGTH = 64 << 10

_OUT_OF_SPACE = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


@frozen
class Entry:
    """An object of the store, as the index gets it.

    Parameters
    ----------
    name
        What names it in the store.
    header
        Its attributes.
    sop_class_uid, transfer_syntax_uid
        UIDs.
    """

    name: ObjectName
    header: Header
    sop_class_uid: str
    transfer_syntax_uid: str


class Catalogue(Protocol):
    """What an intake asks of an index."""

    @property
    def wanted(self) -> Mapping[int, str]:
        """The tags that the index keeps, each with its VR."""
        ...

    def add(self, entries: Sequence[Entry]) -> Sequence[bool | ServiceRefusal]:
        """Index objects, and return when that is committed. Does nothing for those that are indexed already.

        Returns
        -------
        sequence
            For each True, False if its SOP Instance UID is indexed under another study or series, or the refusal with
            status 0xA700 if it cannot be indexed now.
        """
        ...


class Session:
    """One object on its way into the store. Not to be shared between threads.

    Made by `Intake.open`. After `commit` or `abort` it is over, and nothing is left behind but what was stored.

    Attributes
    ----------
    placed
        What came of `place`: the object as the index gets it, or why it is refused; None before that and at the end.
    """

    __slots__ = (
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
        self.sop_class = sop_class
        self.sop_instance = sop_instance
        self.transfer_syntax = transfer_syntax
        self._file_header = encode_file_header(sop_class, sop_instance, transfer_syntax, calling_ae)
        self._head = bytearray()
        self._staged: StagedFile | None = None
        self._is_over = False
        self.placed: Entry | ServiceRefusal | None = None

    def write(self, data: memoryview) -> None:
        """Take the next bytes of the encoded data set; they are needed only during the call.

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
            raise _refusal(error) from error

    def commit(self) -> int:
        """Check the object, store it and index it, as `Intake.commit` does it for several.

        Returns
        -------
        int
            The status of the response: 0x0000, also where the store has the same object already.

        Raises
        ------
        ServiceRefusal
            Where `Intake.commit` refuses it.
        ValueError
            If the session is over.
        """
        outcome = self._intake.commit((self,))[0]
        if isinstance(outcome, ServiceRefusal):
            raise outcome
        return outcome

    def place(self) -> None:
        """Do of a commit what it shares with no other: check the object, write it and give it its name.

        What goes wrong is told by the commit. Does nothing the second time.

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
        except BaseException:
            # It may have its name, and nobody will index it.
            self._intake.storage.needs_recovery = True
            raise
        finally:
            self._let_go()

    def abort(self) -> None:
        """Forget the object. May be called at any time and more than once."""
        self._is_over = True
        self._let_go()
        if isinstance(self.placed, Entry):
            # It has its name, and nobody will index it.
            self._intake.storage.needs_recovery = True
        self.settled()

    def settled(self) -> None:
        """The session is over, and nothing of it is left to be done."""
        self._is_over = True
        self.placed = None
        self._intake.under_way.discard(self)

    def _let_go(self) -> None:
        self._head = bytearray()
        if self._staged is not None:
            self._staged.discard()
            self._staged = None

    def _place(self) -> Entry:
        header = self._scan()
        name = self._name(header)
        staged = self._whole()
        # It is the store's from here on, which discards it whatever happens.
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
            return read_entry(self._intake.storage, name, self._intake.wanted)
        except UnusableObject as error:
            raise ServiceRefusal(OUT_OF_RESOURCES, "the object that is kept cannot be read") from error

    def _scan(self) -> Header:
        if self._staged is None:
            return scan(self._head, self.transfer_syntax, self._intake.wanted)
        descriptor, offset = self._staged.descriptor, len(self._file_header)
        return scan_file(descriptor, offset, self.transfer_syntax, self._intake.wanted)

    def _whole(self) -> StagedFile:
        if self._staged is None:
            self._staged = self._intake.storage.stage()
            self._staged.write((self._file_header, self._head))
        return self._staged

    def _name(self, header: Header) -> ObjectName:
        if header.uid(SOP_CLASS_UID) != self.sop_class:
            raise ServiceRefusal(
                DATA_SET_DOES_NOT_MATCH, "the data set is not that of the command", (SOP_CLASS_UID,)
            )
        name = object_name(header)
        if name.instance != self.sop_instance:
            raise ServiceRefusal(
                DATA_SET_DOES_NOT_MATCH, "the data set is not that of the command", (SOP_INSTANCE_UID,)
            )
        return name


class Intake:
    """Where objects enter the archive. May be shared between threads.

    Parameters
    ----------
    storage
        The store.
    catalogue
        The index; None where objects are only received.
    """

    def __init__(self, storage: Storage, catalogue: Catalogue | None = None) -> None:
        self.storage = storage
        self.catalogue = catalogue
        # The sessions whose object may have its name already and is not indexed yet.
        self.under_way: set[Session] = set()
        self.wanted = Wanted({**(catalogue.wanted if catalogue else {}), **IDENTIFYING})

    def open(
        self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, *, calling_ae: str = ""
    ) -> Session:
        """Begin to take an object.

        Parameters
        ----------
        sop_class_uid, sop_instance_uid
            As the command says, of which the class must be the abstract syntax of the context.
        transfer_syntax_uid
            That of the presentation context.
        calling_ae
            AE title of the sender, for the file meta information.

        Raises
        ------
        ServiceRefusal
            With status 0x0117 or 0xA900, if a UID does not have the form of one.
        """
        if not is_uid(sop_instance_uid):
            raise ServiceRefusal(INVALID_SOP_INSTANCE, "the SOP Instance UID is no UID")
        if not is_uid(sop_class_uid) or not is_uid(transfer_syntax_uid):
            raise ServiceRefusal(DATA_SET_DOES_NOT_MATCH, "the SOP Class UID is no UID")
        return Session(self, sop_class_uid, sop_instance_uid, transfer_syntax_uid, calling_ae)

    def commit(self, sessions: Sequence[Session]) -> list[int | ServiceRefusal]:
        """Check objects, store them and index them. They are flushed and indexed together, which costs less.

        Parameters
        ----------
        sessions
            Some of them may be placed already.

        Returns
        -------
        list
            For each the status of the response, 0x0000 also where the store has the same object already, or why it is
            refused: 0xC000 where the data set does not parse to its end; 0xA900 where it does not match the command, or
            lacks its identifiers; 0x0111 where another object has its SOP Instance UID (it is then kept in quarantine);
            0xA700 where it cannot be written or indexed.

        Raises
        ------
        ValueError
            If one of the sessions is over.
        """
        try:
            # One after another, so that those that wait in memory hold no file open.
            for session in sessions:
                session.place()
            placed = [session.placed for session in sessions]
            registered = iter(self._register([each for each in placed if isinstance(each, Entry)]))
            outcomes = [each if isinstance(each, ServiceRefusal) else next(registered) for each in placed]
        except BaseException:
            for session in sessions:
                session.abort()
            raise
        for session in sessions:
            session.settled()
        return outcomes

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
        return ServiceRefusal(DUPLICATE_SOP_INSTANCE, "another study has an object of this SOP Instance UID")


def object_name(header: Header) -> ObjectName:
    """What names an object, from its attributes.

    Raises
    ------
    ServiceRefusal
        With status 0xA900, if a UID is missing or does not have the form of one.
    """
    uid = header.uid
    try:
        return ObjectName(uid(STUDY_INSTANCE_UID), uid(SERIES_INSTANCE_UID), uid(SOP_INSTANCE_UID))
    except ValueError:
        tags = (STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID)
        bad = next(tag for tag in tags if not is_uid(uid(tag)))
        raise ServiceRefusal(
            DATA_SET_DOES_NOT_MATCH, "a UID that identifies the object is missing or bad", (bad,)
        ) from None


def read_entry(storage: Storage, name: ObjectName, wanted: Mapping[int, str]) -> Entry:
    """Read what the index needs to know of an object of the store.

    Parameters
    ----------
    storage, name
        Where it is.
    wanted
        The tags that the index keeps, each with its VR.

    Raises
    ------
    UnusableObject, ServiceRefusal
        If the file is damaged, or holds an object of another name.
    OSError
        If it cannot be read.
    """
    path = storage.path(name)
    file_header = read_file_header(path)
    with open(path, "rb", buffering=0) as file:
        syntax = file_header.transfer_syntax_uid
        header = scan_file(file.fileno(), file_header.offset, syntax, wanted)
    if object_name(header) != name:
        raise UnusableObject("the file does not have the name of its object")
    return Entry(name, header, header.uid(SOP_CLASS_UID), syntax)


def _refusal(error: OSError) -> ServiceRefusal:
    if error.errno in _OUT_OF_SPACE:
        return ServiceRefusal(OUT_OF_RESOURCES, "no space is left for the object")
    return ServiceRefusal(OUT_OF_RESOURCES, "the object cannot be written")
