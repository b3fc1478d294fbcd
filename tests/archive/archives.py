"""Archives for the tests of intake: a store, its index, its ledger and the intake, in one folder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from sqlalchemy import select
from tests.objects import CT_IMAGE_STORAGE

from dicomnet.archive.catalogue import schema
from dicomnet.archive.catalogue.index import Index
from dicomnet.archive.conflicts import OtherContent
from dicomnet.archive.entries import Quarantined, Version
from dicomnet.archive.intake import SPILL_LENGTH, Intake, Session
from dicomnet.archive.ledger.ledger import FILE_NAME, Ledger, ledger_url
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.archive.storage.store import ObjectName
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


@dataclass(frozen=True, slots=True)
class Archive:
    """A store with an index and a ledger, in a folder of its own."""

    root: Path
    storage: FolderStorage
    index: Index
    ledger: Ledger
    intake: Intake

    def contents(self) -> dict[str, Any]:
        """All of it that is not an accident of its making, as soon as all is filed."""
        assert self.intake.wait_for_all()
        return {
            "rows": rows_of(self.index),
            "files": files_of(self.root),
            "staged": staged_in(self.root),
            "needs recovery": self.storage.needs_recovery,
        }

    def quarantine(self) -> list[Quarantined]:
        """What the ledger says of the quarantine, the oldest first."""
        return list(self.ledger.quarantine())[::-1]

    def versions(self) -> list[Version]:
        """What the ledger says of objects that were replaced, the oldest first."""
        return list(self.ledger.versions())[::-1]


@contextmanager
def archive_in(
    root: Path, *, sync: bool = False, other_content: OtherContent = OtherContent.KEEP_FIRST
) -> Iterator[Archive]:
    """The archive in a folder, open; what an earlier process left there is as it was."""
    with ExitStack() as stack:
        storage = stack.enter_context(FolderStorage(root, sync=sync))
        index = stack.enter_context(Index(root / "index.sqlite", wait_seconds=0.2))
        if not (root / FILE_NAME).exists():
            (root / FILE_NAME).write_bytes(_empty_ledger())
        ledger = stack.enter_context(Ledger(ledger_url(root), wait_seconds=0.2))
        intake = stack.enter_context(Intake(storage, index, other_content=other_content, ledger=ledger))
        yield Archive(root, storage, index, ledger, intake)


@contextmanager
def new_archive(
    *, sync: bool = False, other_content: OtherContent = OtherContent.KEEP_FIRST
) -> Iterator[Archive]:
    """An empty archive, which is removed at the end."""
    with (
        tempfile.TemporaryDirectory() as folder,
        archive_in(Path(folder), sync=sync, other_content=other_content) as archive,
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
