"""Objects as the parts of the archive hand them to each other: accepted, catalogued, in quarantine, replaced."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from io import SEEK_END, BytesIO
from typing import BinaryIO, Protocol

from ..drivers.scanning import scan_stream
from ..encoding.identity import is_uid
from ..encoding.scan import Header, HeaderScanner
from ..errors import ServiceRefusal, UnusableObject
from ..values import Buffer, frozen, mutable
from .journal import Position
from .storage.comparison import read_file_header
from .storage.store import Content, ObjectName, Staged, Storage

DATA_SET_DOES_NOT_MATCH = 0xA900

SOP_CLASS_UID, SOP_INSTANCE_UID = 0x00080016, 0x00080018
STUDY_INSTANCE_UID, SERIES_INSTANCE_UID = 0x0020000D, 0x0020000E
IDENTIFYING = dict.fromkeys((SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID), "UI")


@frozen
class Source:
    """Who gave an object to the archive.

    Parameters
    ----------
    ae_title
        AE title of the sender; empty where there is none.
    address
        Its host; empty where it is not known.
    way
        By what it came, such as ``C-STORE``; empty where it is not known.
    """

    ae_title: str = ""
    address: str = ""
    way: str = ""

    def about(self, instance: str) -> dict[str, str]:
        """What a record of the log has that is about an object from it, by the SOP Instance UID."""
        return {"object": instance, **({"peer": self.address} if self.address else {})}


UNKNOWN = Source()
C_STORE_WAY = "C-STORE"
STOW_WAY = "STOW-RS"


@frozen
class Entry:
    """A stored object, as the catalogue receives it.

    Parameters
    ----------
    name
        Its name in the store.
    header
        Its attributes, as far as the catalogue keeps them.
    sop_class_uid, transfer_syntax_uid
        UIDs.
    source
        Who sent it.
    size, digest
        Length of the file as it was received in bytes, and its SHA-256 as hexadecimal digits; None if not known.
    stored_at
        When it was stored, in seconds since 1970; None if that is now.
    """

    name: ObjectName
    header: Header
    sop_class_uid: str
    transfer_syntax_uid: str
    source: Source = UNKNOWN
    size: int | None = None
    digest: str | None = None
    stored_at: float | None = None


@frozen
class Replaced:
    """A stored object whose place another one with the same SOP Instance UID takes.

    Parameters
    ----------
    name
        Its name in the store.
    digest
        SHA-256 of its file, as hexadecimal digits: if the store has another file by then, nothing is replaced. Empty if
        there is a row of it alone.
    """

    name: ObjectName
    digest: str

    def is_in(self, storage: Storage) -> bool:
        """Whether the store still has the object, and the same file of it.

        Raises
        ------
        OSError
            If it cannot be read.
        """
        return self.digest != "" and storage.digest(self.name) == self.digest


@mutable
class Accepted:
    """An object that intake has accepted.

    Parameters
    ----------
    entry
        What it is.
    content
        The whole file in memory; empty if it is staged, or has its name already.
    staged
        The staged file; None if there is none.
    position
        Where it is in the journal; None if it is not in it.
    replaces
        The stored object whose place it takes; None if it takes none.
    """

    entry: Entry
    content: Sequence[Buffer] = ()
    staged: Staged | None = None
    position: Position | None = None
    replaces: Replaced | None = None

    @property
    def has_content(self) -> bool:
        """Whether it is to be written; else the store has it already."""
        return self.staged is not None or bool(self.content)

    @property
    def whole(self) -> Content:
        """Its file as a store takes it."""
        return self.staged or self.content

    @property
    def length(self) -> int:
        """How much memory its content takes, in bytes."""
        return sum(map(len, self.content))

    def opened(self) -> BinaryIO:
        """Its file, for reading."""
        return self.staged.open() if self.staged else BytesIO(b"".join(self.content))

    def measure(self) -> None:
        """Take size and digest of the file into the entry, unless the file has its name already.

        Raises
        ------
        OSError
            If it cannot be read.
        """
        if self.staged:
            with self.staged.open() as file:
                digest, size = hashlib.file_digest(file, "sha256"), file.seek(0, SEEK_END)
        elif self.content:
            digest, size = hashlib.sha256(), self.length
            for part in self.content:
                digest.update(part)
        else:
            return
        entry = self.entry
        self.entry = Entry(
            entry.name,
            entry.header,
            entry.sop_class_uid,
            entry.transfer_syntax_uid,
            entry.source,
            size,
            digest.hexdigest(),
        )


@frozen
class Description:
    """What the journal says of an object besides its content.

    Parameters
    ----------
    name
        Its name in the store.
    staged
        The name of its staged file; empty if the journal has its content, or it has its name already.
    source
        Who sent it.
    replaces
        The stored object whose place it takes; None if it takes none.
    deletion
        The number of the last deletion before it was accepted; None where that was not noted, as nothing had been.
    """

    name: ObjectName
    staged: str
    source: Source
    replaces: Replaced | None
    deletion: int | None = None


def encode_description(accepted: Accepted, deletion: int) -> bytes:
    """The description of an object, as it stands in a record: texts with a NUL between them, which none of them has.

    Parameters
    ----------
    accepted
        The object.
    deletion
        As of `Description`.
    """
    name, source, replaces = accepted.entry.name, accepted.entry.source, accepted.replaces
    texts = [
        name.study,
        name.series,
        name.instance,
        accepted.staged.name if accepted.staged else "",
        source.ae_title,
        source.address,
        source.way,
        str(deletion),
    ]
    if replaces is not None:
        texts += [replaces.name.study, replaces.name.series, replaces.digest]
    return "\0".join(texts).encode()


def decode_description(description: bytes) -> Description:
    """A description, from its record."""
    study, series, instance, staged, ae_title, address, way, *replaced = description.decode().split("\0")
    # Earlier versions did not note it.
    deletion = int(replaced.pop(0)) if len(replaced) % 3 else None
    replaces = replaced and Replaced(ObjectName(replaced[0], replaced[1], instance), replaced[2])
    return Description(
        ObjectName(study, series, instance),
        staged,
        Source(ae_title, address, way),
        replaces or None,
        deletion,
    )


class Outcome(Enum):
    """What became of an object in quarantine."""

    RELEASED = "released"
    DROPPED = "dropped"
    # Its file was found to be missing.
    LOST = "lost"


@frozen
class Quarantined:
    """An object that is kept, but not as the object of its SOP Instance UID.

    Parameters
    ----------
    instance, study, series
        SOP, Study and Series Instance UID; the latter two empty where they are not known.
    location
        Where its file is, as of `SetAside`.
    digest
        SHA-256 of the file, as hexadecimal digits.
    size
        Length of the file in bytes.
    reason
        Why it was not stored, without any of its values; empty where it is not known.
    status
        The status with which the sender was answered; None where it is not known.
    source
        Who sent it, the first time.
    arrived_at
        When it came the first time.
    arrivals, last_at
        How often it has come, and when it last did.
    outcome, outcome_at
        What became of it, and when; None while it is in quarantine.
    """

    instance: str
    location: str
    digest: str
    size: int
    study: str = ""
    series: str = ""
    reason: str = ""
    status: int | None = None
    source: Source = UNKNOWN
    arrived_at: datetime | None = None
    arrivals: int = 1
    last_at: datetime | None = None
    outcome: Outcome | None = None
    outcome_at: datetime | None = None


@frozen
class Version:
    """An object that was stored under its SOP Instance UID until another one took its place.

    Parameters
    ----------
    instance, study, series
        SOP, Study and Series Instance UID.
    location, digest, size
        Its file, as of `Quarantined`.
    source
        Who had sent it.
    stored_at
        When it was stored; None where it is not known.
    replaced_at
        When it was put aside; by default when that is recorded.
    """

    instance: str
    study: str
    series: str
    location: str
    digest: str
    size: int
    source: Source = UNKNOWN
    stored_at: datetime | None = None
    replaced_at: datetime | None = None


class Catalogue(Protocol):
    """The index, as intake uses it."""

    @property
    def wanted(self) -> Mapping[int, str]:
        """The tags that the index keeps, each with its VR."""
        ...

    def names_of(self, instances: Sequence[str]) -> Mapping[str, ObjectName]:
        """The objects that are indexed, of those with these SOP Instance UIDs.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if the index cannot be read now.
        """
        ...

    def add(self, entries: Sequence[Entry]) -> Sequence[bool]:
        """Index objects in one transaction. Objects that are indexed already are left as they are.

        Returns
        -------
        sequence
            For each object: True if it is indexed; False if its SOP Instance UID is indexed under another study or
            series.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if the index cannot be written now.
        UnusableObject
            If it refuses one of the objects.
        """
        ...

    def forget(self, name: ObjectName) -> None:
        """Remove an object, if it is indexed.

        Raises
        ------
        ServiceRefusal
            With status 0xA700, if the index cannot be written now.
        """
        ...

    def make_durable(self) -> None:
        """Return when all that was added is on the medium.

        Raises
        ------
        OSError
            If it may not be.
        """
        ...


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


def read_entry(storage: Storage, name: ObjectName, scanner: HeaderScanner, source: Source = UNKNOWN) -> Entry:
    """Read a stored object's header for the index.

    Parameters
    ----------
    storage, name
        Where it is.
    scanner
        Finds the attributes that the index keeps.
    source
        Who sent it.

    Raises
    ------
    UnusableObject, ServiceRefusal
        If the file is damaged, or is not named after the object in it.
    OSError
        If it cannot be read.
    """
    with storage.open(name) as file:
        entry = entry_of(file, scanner, source)
    if entry.name != name:
        raise UnusableObject("the file is not named after the object in it")
    return entry


def entry_of(file: BinaryIO, scanner: HeaderScanner, source: Source = UNKNOWN) -> Entry:
    """Read the header of the object in a file.

    Raises
    ------
    UnusableObject, ServiceRefusal
        If the file is damaged, or does not say which object it is.
    OSError
        If it cannot be read.
    """
    file_header = read_file_header(file)
    syntax = file_header.transfer_syntax_uid
    header = scan_stream(scanner, file, file_header.offset, syntax)
    return Entry(object_name(header), header, header.uid(SOP_CLASS_UID), syntax, source)
