"""What identifies an object: its entry in the catalogue, made of its header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ..drivers.scanning import scan_file
from ..encoding.identity import is_uid
from ..encoding.scan import Header, HeaderScanner
from ..errors import ServiceRefusal, UnusableObject
from ..values import frozen
from .storage.files import ObjectName, Storage, read_file_header

DATA_SET_DOES_NOT_MATCH = 0xA900

SOP_CLASS_UID, SOP_INSTANCE_UID = 0x00080016, 0x00080018
STUDY_INSTANCE_UID, SERIES_INSTANCE_UID = 0x0020000D, 0x0020000E
IDENTIFYING = dict.fromkeys((SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID), "UI")


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
    """

    name: ObjectName
    header: Header
    sop_class_uid: str
    transfer_syntax_uid: str


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
    entry = entry_of(storage.path(name), scanner)
    if entry.name != name:
        raise UnusableObject("the file is not named after the object in it")
    return entry


def entry_of(path: str, scanner: HeaderScanner) -> Entry:
    """Read the header of the object in a file.

    Raises
    ------
    UnusableObject, ServiceRefusal
        If the file is damaged, or does not say which object it is.
    OSError
        If it cannot be read.
    """
    file_header = read_file_header(path)
    with open(path, "rb", buffering=0) as file:
        syntax = file_header.transfer_syntax_uid
        header = scan_file(scanner, file.fileno(), file_header.offset, syntax)
    return Entry(object_name(header), header, header.uid(SOP_CLASS_UID), syntax)
