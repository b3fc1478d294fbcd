"""Archives for the tests of intake: a store, its index, its ledger and the intake, in one folder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydicom.dataset import Dataset
from sqlalchemy import select
from tests.archive.stores import MemoryStorage
from tests.objects import CT_IMAGE_STORAGE

from dicomnet.archive.catalogue import schema
from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.conflicts import OtherContent
from dicomnet.archive.entries import Quarantined, Version
from dicomnet.archive.intake import SPILL_LENGTH, Intake, Session
from dicomnet.archive.ledger.ledger import FILE_NAME, Ledger, ledger_url
from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.archive.storage.store import ObjectName, Storage
from dicomnet.errors import ServiceRefusal

Make = Callable[..., Dataset]
Encode = Callable[..., bytes]
Put = Callable[..., int]
Send = Callable[..., Session]

# The object that `make` makes by default.
NAME = ObjectName("1.2.3", "1.2.3.4", "1.2.3.4.5")


def status_of(call: Callable[[], int]) -> int:
    """The status of what was stored or refused."""
    try:
        return call()
    except ServiceRefusal as refusal:
        return refusal.status


def statuses_of(outcomes: Sequence[int | ServiceRefusal]) -> list[int]:
    """The statuses of several that were committed together."""
    return [each.status if isinstance(each, ServiceRefusal) else each for each in outcomes]


@dataclass(frozen=True, slots=True)
class Sent:
    """An object that is sent: what it says it is, and what is wrong with it."""

    instance: int = 1
    study: int = 1
    series: int = 1
    patient: str = "A"
    is_large: bool = False
    fault: str = ""

    @property
    def uid(self) -> str:
        """Its SOP Instance UID."""
        return f"1.2.3.{self.instance}"

    @property
    def name(self) -> ObjectName:
        """Its name in the store."""
        return ObjectName(f"1.3.{self.study}", f"1.4.{self.series}", self.uid)

    def data(self, make: Make, encode: Encode) -> bytes:
        """Its data set."""
        data = encode(
            make(
                SOPInstanceUID=f"{self.uid}.1" if self.fault == "instance" else self.uid,
                SOPClassUID="1.2.840.10008.5.1.4.1.1.4" if self.fault == "class" else CT_IMAGE_STORAGE,
                StudyInstanceUID=None if self.fault == "study" else self.name.study,
                SeriesInstanceUID=self.name.series,
                PatientID=self.patient,
                PixelData=bytes(2 * SPILL_LENGTH if self.is_large else 16),
            )
        )
        return data[:-1] if self.fault == "cut" else data

    def session(self, intake: Intake, make: Make, encode: Encode, send: Send) -> Session:
        """It on its way into a store, complete."""
        return send(intake, self.data(make, encode), instance=self.uid)


S = TypeVar("S", bound=Storage)


@dataclass(frozen=True, slots=True)
class ArchiveOn(Generic[S]):
    """An archive on a store of some kind: the store with an index and a ledger, and a folder of its own."""

    root: Path
    local: LocalFolder
    storage: S
    index: Index
    ledger: Ledger
    intake: Intake

    def contents(self) -> dict[str, Any]:
        """All of it that is not an accident of its making, as soon as all is filed."""
        assert self.intake.wait_for_all()
        return {
            "rows": rows_of(self.index),
            "files": self.files(),
            "staged": staged_in(self.root),
            "needs recovery": self.local.needs_recovery,
        }

    def files(self) -> dict[str, bytes]:
        """All files of the store, by where they are."""
        return (
            self.storage.bucket.contents() if isinstance(self.storage, MemoryStorage) else files_of(self.root)
        )

    def quarantine(self) -> list[Quarantined]:
        """What the ledger says of the quarantine, the oldest first."""
        return list(self.ledger.quarantine())[::-1]

    def versions(self) -> list[Version]:
        """What the ledger says of objects that were replaced, the oldest first."""
        return list(self.ledger.versions())[::-1]


Archive = ArchiveOn[FolderStorage]


def archive_in(
    root: Path, *, sync: bool = False, other_content: OtherContent = OtherContent.KEEP_FIRST
) -> AbstractContextManager[Archive]:
    """The archive in a folder, as `archive_on`."""
    return archive_on(FolderStorage.of, root, sync=sync, other_content=other_content)


@contextmanager
def archive_on(
    open_store: Callable[[LocalFolder], S],
    root: Path,
    *,
    sync: bool = False,
    other_content: OtherContent = OtherContent.KEEP_FIRST,
) -> Iterator[ArchiveOn[S]]:
    """The archive on a store, open; what an earlier process left is as it was."""
    with ExitStack() as stack:
        local = stack.enter_context(LocalFolder(root, sync=sync))
        storage = open_store(local)
        index = stack.enter_context(Index(root / "index.sqlite", wait_seconds=0.2))
        if not (root / FILE_NAME).exists():
            (root / FILE_NAME).write_bytes(_empty_ledger())
        ledger = stack.enter_context(Ledger(ledger_url(root), wait_seconds=0.2))
        intake = stack.enter_context(
            Intake(local, storage, index, other_content=other_content, ledger=ledger)
        )
        yield ArchiveOn(root, local, storage, index, ledger, intake)


def new_archive(
    *, sync: bool = False, other_content: OtherContent = OtherContent.KEEP_FIRST
) -> AbstractContextManager[Archive]:
    """An empty archive in a folder, which is removed at the end."""
    return new_archive_on(FolderStorage.of, sync=sync, other_content=other_content)


@contextmanager
def new_archive_on(
    open_store: Callable[[LocalFolder], S],
    *,
    sync: bool = False,
    other_content: OtherContent = OtherContent.KEEP_FIRST,
) -> Iterator[ArchiveOn[S]]:
    """An empty archive on an empty store, which is removed at the end."""
    with (
        tempfile.TemporaryDirectory() as folder,
        archive_on(open_store, Path(folder), sync=sync, other_content=other_content) as archive,
    ):
        yield archive


@cache
def _empty_ledger() -> bytes:
    """To make one takes longer than all else that an archive needs."""
    with tempfile.TemporaryDirectory() as folder:
        Ledger(ledger_url(folder)).close()
        return (Path(folder) / FILE_NAME).read_bytes()


def rows_of(index: Index) -> list[str]:
    """The objects that are indexed, with all attributes that are kept of them.

    Left out are the numbers of the rows, and what a row that is made from the file does not have.
    """
    of = schema
    with index.reading() as connection:
        rows = connection.execute(
            select(of.patient, of.study, of.series, of.instance)
            .join(of.study, of.study.c.parent == of.patient.c.id)
            .join(of.series, of.series.c.parent == of.study.c.id)
            .join(of.instance, of.instance.c.parent == of.series.c.id)
        ).all()
    numbers = ("id", "id_1", "id_2", "id_3", "parent", "parent_1", "parent_2")
    left_out = (*numbers, "size", "digest", "stored_at", "source")
    return sorted(str([each for key, each in row._mapping.items() if key not in left_out]) for row in rows)


def indexed_in(index: Index) -> list[ObjectName]:
    """The names of the objects that are indexed."""
    of = schema
    with index.reading() as connection:
        rows = connection.execute(
            select(of.study.c.uid, of.series.c.uid, of.instance.c.uid)
            .join(of.series, of.series.c.parent == of.study.c.id)
            .join(of.instance, of.instance.c.parent == of.series.c.id)
        ).all()
    return sorted((ObjectName(*row) for row in rows), key=lambda name: name.instance)


def objects_of(storage: Storage) -> list[tuple[tuple[str, str], list[str]]]:
    """All series of a store, each as (Study and Series Instance UID) and the SOP Instance UIDs in it."""
    return [(series, list(storage.instances(*series))) for series in storage.series()]


def files_of(root: Path) -> dict[str, bytes]:
    """The files of the objects, and of those in quarantine and among the versions, by their path."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for folder in ("objects", "quarantine", "versions")
        for path in (root / folder).rglob("*")
        if path.is_file()
    }


def staged_in(root: Path) -> list[str]:
    """The staged files that have a content; the others are names that were made ahead."""
    return sorted(path.name for path in (root / "staging").iterdir() if path.stat().st_size)
