"""What the archive needs of a store of objects, whatever keeps them: a folder, or the buckets of an object store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BufferedReader
from typing import Protocol

from ...encoding.identity import is_uid
from ...values import Buffer, frozen


@frozen
class ObjectName:
    """The name of an object in the store: the UIDs that tell where it belongs.

    Parameters
    ----------
    study, series, instance
        Study, Series and SOP Instance UID.

    Raises
    ------
    ValueError
        If one of them is not a valid UID.
    """

    study: str
    series: str
    instance: str

    def __post_init__(self) -> None:
        if not (is_uid(self.study) and is_uid(self.series) and is_uid(self.instance)):
            raise ValueError("the name of an object must consist of valid UIDs")


@frozen
class SetAside:
    """A file that is kept beside the objects of the store: in quarantine, as a version, or in the trash.

    Parameters
    ----------
    instance
        SOP Instance UID of the object in it.
    location
        Where it is: a text that means something to this store only.
    digest
        SHA-256 of the file, as hexadecimal digits.
    size
        Its length in bytes.
    written_at
        When it was written, in seconds since 1970.
    """

    instance: str
    location: str
    digest: str
    size: int
    written_at: float


class Staged(Protocol):
    """An object that is complete and durable on this machine, and is to have a name in the store.

    It has a name in the staging folder, by which it is found again after a kill, see `archive.storage.staging`.
    """

    @property
    def name(self) -> str:
        """Its name in the staging folder."""
        ...

    def open(self) -> BufferedReader:
        """The whole file, for reading.

        Raises
        ------
        OSError
            If it cannot be read; FileNotFoundError if it is gone.
        """
        ...

    def discard(self) -> None:
        """Remove it. A second call does nothing."""
        ...


Content = Staged | Sequence[Buffer]
"""A whole file, on its way into a store: staged, or in memory."""


class Storage(Protocol):
    """A store of objects, each a whole DICOM file under its name, and of files set aside. Threads may share it.

    An object is there as a whole or not at all, also where a process is killed meanwhile, and nothing takes its place
    but by `replace`. Until `make_durable`, a power cut may leave an object out, or only the beginning of its file.

    All operations raise OSError where the store cannot now do what it is asked.
    """

    @property
    def is_volatile(self) -> bool:
        """Whether nothing in it survives a power cut, so that nothing is gained by a journal."""
        ...

    def has(self, name: ObjectName) -> bool:
        """Whether the store has an object of that name."""
        ...

    def length(self, name: ObjectName) -> int | None:
        """How many bytes the file of an object has; None if the store has no object of that name."""
        ...

    def keep(self, name: ObjectName, content: Content) -> bool:
        """Give an object its name, unless the name is in use. It is durable after `make_durable`.

        Returns
        -------
        bool
            False where the name is in use. What is staged is left then, and where this raises; else it is no longer
            staged.

        Raises
        ------
        FileNotFoundError
            If what is staged is gone.
        """
        ...

    def replace(self, name: ObjectName, content: Content) -> None:
        """Put an object in the place of the one that is stored; it is then no longer staged.

        It is durable after `make_durable`. If it fails, what is stored and what is staged are as they were.
        """
        ...

    def remove(self, name: ObjectName) -> None:
        """Remove an object whose content is kept elsewhere, durably. Does nothing if there is none."""
        ...

    def place_in_trash(self, name: ObjectName, digest: str) -> str:
        """Where the file of an object would be in the trash, as of `SetAside`, by its SHA-256."""
        ...

    def delete(self, places: Mapping[ObjectName, str]) -> None:
        """Delete objects for good, or put their files into the trash; it is durable at the end, also where this raises.

        Whoever has opened a file can read it to its end. At any moment a file is under its name or in the trash; only
        where these are on different file systems it may be in both.

        Parameters
        ----------
        places
            Where in the trash each is put, see `place_in_trash`; empty where it is not kept. Objects that the store
            does not have are passed over.
        """
        ...

    def trash(self, instance: str = "") -> Iterator[SetAside]:
        """The files in the trash; only those of a SOP Instance UID, if one is given."""
        ...

    def open(self, name: ObjectName) -> BufferedReader:
        """An object's file, for reading from any place in it: no more is fetched than is read, but for a buffer.

        Raises
        ------
        FileNotFoundError
            If the store has no such object.
        """
        ...

    def read(self, name: ObjectName, length: int) -> bytes | None:
        """An object's whole file if it is of this length, in bytes; None if it is of another. Raises as `open`."""
        ...

    def digest(self, name: ObjectName) -> str:
        """The SHA-256 of an object's file, as hexadecimal digits; empty if the store has no such object."""
        ...

    def written_at(self, name: ObjectName) -> float:
        """When an object's file was written, in seconds since 1970.

        Raises
        ------
        FileNotFoundError
            If the store has no such object.
        """
        ...

    def series(
        self, cannot_read: Callable[[OSError], None] | None = None, *, study: str = ""
    ) -> Iterator[tuple[str, str]]:
        """The Study and Series Instance UIDs of all series in the store.

        Parameters
        ----------
        cannot_read
            Called for a part of the store that cannot be read, which is passed over then; None to raise instead.
        study
            Only those of this study, if one is given.
        """
        ...

    def instances(self, study: str, series: str) -> Iterator[str]:
        """The SOP Instance UIDs of the objects in a series; none, or FileNotFoundError, if there is no such series."""
        ...

    def make_durable(self) -> None:
        """Return when all that was kept so far is on the medium, names and contents."""
        ...

    def quarantine_content(self, instance: str, content: Content) -> SetAside:
        """Keep an object in quarantine, durably; it is then no longer staged.

        Parameters
        ----------
        instance
            Its SOP Instance UID.
        content
            The whole file; what is in quarantine already is there once.
        """
        ...

    def quarantine(self, name: ObjectName) -> SetAside | None:
        """Move an object to quarantine, for instance because another study already has its SOP Instance UID.

        Returns
        -------
        SetAside
            None if the store has no such object.
        """
        ...

    def quarantined(self, instance: str = "") -> Iterator[SetAside]:
        """The files in quarantine; only those of a SOP Instance UID, if one is given."""
        ...

    def keep_version(self, name: ObjectName) -> SetAside:
        """Keep the file of an object among the versions, durably, so that another may take its place.

        Raises
        ------
        FileNotFoundError
            If the store has no such object.
        """
        ...

    def has_version(self, instance: str, digest: str) -> bool:
        """Whether a file with this digest is among the versions of an object."""
        ...

    def versions(self) -> Iterator[SetAside]:
        """The files among the versions."""
        ...

    def open_aside(self, location: str) -> BufferedReader:
        """A file that was set aside, by its location; for reading as by `open`.

        Raises
        ------
        FileNotFoundError
            If it is not there any more.
        """
        ...

    def where_aside(self, location: str) -> str | None:
        """Where people find a file that was set aside, such as a path or a URL; None if it is not there any more."""
        ...

    def drop_aside(self, location: str) -> None:
        """Delete a file that was set aside, durably. Does nothing if it is not there any more."""
        ...

    def put_aside_again(self, location: str, content: Content) -> None:
        """Keep a file where it was set aside, durably; what is there already is left. It is then no longer staged.

        Raises
        ------
        ValueError
            If this store never sets a file aside there.
        """
        ...

    def location(self, name: ObjectName) -> str:
        """Where an object is, as of `SetAside`, whether or not the store has it."""
        ...

    def strays(self, cannot_read: Callable[[OSError], None]) -> Iterator[str]:
        """Where files are that lie in the store and are not part of it, such as what a kill has left of a copy.

        Parameters
        ----------
        cannot_read
            Called for a part of the store that cannot be read, which is passed over then.
        """
        ...

    def put_in_place(self, location: str, name: ObjectName) -> bool:
        """Give a file that lies in the store the name of the object in it, durably; False if the name is in use."""
        ...

    def set_stray_aside(self, location: str) -> str:
        """Move a stray file out of the store, to where nothing looks for objects; returns where it is then."""
        ...
