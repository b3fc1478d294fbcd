"""Archives in which damage is planted: by plain operations on their files and databases, without the archive's code."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from pydicom import dcmread
from pydicom.dataset import Dataset
from tests.archive.tasks.kept import Kept

from dicomnet.archive.conflicts import OtherContent
from dicomnet.archive.holdings import Holdings
from dicomnet.archive.tasks.performing import perform
from dicomnet.archive.upkeep import bring_in_line

# Studies, each with its series, each with so many objects.
SERIES = {("1.3.1", "1.4.1"): 3, ("1.3.1", "1.4.2"): 3, ("1.3.2", "1.4.3"): 2}
# An object of which another content is in quarantine, and one that has replaced a version.
REPEATED, REPLACED = "1.2.3.1", "1.2.3.2"


@dataclass(frozen=True)
class Planted:
    """An archive that nobody has open."""

    root: Path
    url: str | None = None

    def path(self, instance: int) -> Path:
        """The file of an object, by the last number of its UID."""
        (found,) = (self.root / "objects").rglob(f"1.2.3.{instance}.dcm")
        return found

    def aside(self, folder: str) -> Path:
        """The one file in quarantine or among the versions."""
        (found,) = (self.root / folder).rglob("*.dcm")
        return found

    def index(self, statement: str) -> list[Any]:
        """Do something to the database of the index."""
        return self._execute("index.sqlite", statement)

    def ledger(self, statement: str) -> list[Any]:
        """Do something to the database of the ledger."""
        return self._execute("ledger.sqlite", statement)

    def _execute(self, file: str, statement: str) -> list[Any]:
        if self.url is not None:
            with psycopg.connect(self.url) as connection:
                found = connection.execute(statement)
                return found.fetchall() if found.description else []
        with contextlib.closing(sqlite3.connect(self.root / file)) as database, database:
            return database.execute(statement).fetchall()

    def damage(self, file: str, table: str) -> None:
        """Overwrite the page of a SQLite file in which a table begins."""
        with contextlib.closing(sqlite3.connect(self.root / file)) as database:
            (size,) = database.execute("PRAGMA page_size").fetchone()
            (page,) = database.execute(
                "SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)
            ).fetchone()
        with (self.root / file).open("r+b") as opened:
            opened.seek((page - 1) * size)
            opened.write(b"\xa5" * 64)

    def objects(self) -> dict[str, str]:
        """The digests of the objects, by where their names say that they are."""
        files = (self.root / "objects").rglob("*.dcm")
        return {
            "/".join(path.parts[-3:]): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)
        }

    def rows(self) -> dict[str, str | None]:
        """The digests of the objects that are indexed, by where their rows say that they are."""
        found = self.index(
            "SELECT study.uid, series.uid, instance.uid, instance.digest FROM instance"
            " JOIN series ON series.id = instance.parent JOIN study ON study.id = series.parent"
        )
        return {f"{row[0]}/{row[1]}/{row[2]}.dcm": row[3] for row in found}

    def perform(self, task: str = "check", **parameters: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Perform a task; its summary, and what it reports."""
        reporter = Kept()
        summary = perform(self.root, task, parameters, reporter, database=self.url)
        return dict(summary), reporter.items

    def found(self, **parameters: Any) -> list[tuple[str, str]]:
        """What a check finds: kinds, each with what became of it."""
        summary, items = self.perform("check", **parameters)
        found = [(item["finding"], item["outcome"]) for item in items]
        assert sum(summary["found"].values()) == len(found)
        return sorted(found)


def make_archive(
    root: Path,
    make: Callable[..., Dataset],
    encode: Callable[..., bytes],
    put: Callable[..., int],
    **how: Any,
) -> Planted:
    """An archive with some objects, one in quarantine and one version."""

    def data(instance: int, study: str, series: str, **more: Any) -> bytes:
        return encode(
            make(
                SOPInstanceUID=f"1.2.3.{instance}",
                StudyInstanceUID=study,
                SeriesInstanceUID=series,
                InstanceNumber=str(instance),
                PatientID=f"P{study}",
                PixelData=bytes([instance]) * 3000,
                **more,
            )
        )

    with Holdings(root, **how) as holdings:
        names = [name for name, count in SERIES.items() for _ in range(count)]
        for number, (study, series) in enumerate(names, 1):
            assert put(holdings.intake, data(number, study, series), instance=f"1.2.3.{number}") == 0
        first = next(iter(SERIES))
        assert put(holdings.intake, data(1, *first, PatientComments="x"), instance=REPEATED) == 0xB000
        holdings.other_content = OtherContent.REPLACE
        assert put(holdings.intake, data(2, *first, PatientComments="y"), instance=REPLACED) == 0
        assert holdings.intake.wait_for_all()
        assert holdings.index is not None
        bring_in_line(holdings.index, holdings.intake)
    return Planted(root, how.get("database"))


def unlink(archive: Planted) -> None:
    archive.path(5).unlink()


def cut(archive: Planted) -> None:
    os.truncate(archive.path(5), archive.path(5).stat().st_size // 2)


def flip(archive: Planted) -> None:
    content = bytearray(archive.path(5).read_bytes())
    content[-100] ^= 4
    archive.path(5).write_bytes(content)


def empty(archive: Planted) -> None:
    archive.path(5).write_bytes(b"")


def take_name(archive: Planted) -> None:
    shutil.copy(archive.path(4), archive.path(5))


def move_to_series(archive: Planted) -> None:
    archive.path(5).rename(archive.path(1).with_name(archive.path(5).name))


def move_to_study(archive: Planted) -> None:
    archive.path(5).rename(archive.path(8).with_name(archive.path(5).name))


def move_study(archive: Planted) -> None:
    study = archive.path(8).parents[1]
    elsewhere = archive.root / "objects" / "00"
    elsewhere.mkdir()
    study.rename(elsewhere / study.name)


def rename(archive: Planted) -> None:
    archive.path(5).rename(archive.path(5).with_name("image.dcm"))


def drop_row(archive: Planted) -> None:
    archive.index("DELETE FROM instance WHERE uid = '1.2.3.5'")
    archive.index("UPDATE study SET instance_count = instance_count - 1 WHERE uid = '1.3.1'")


def drop_rows(archive: Planted) -> None:
    archive.index("DELETE FROM instance WHERE uid = '1.2.3.5'")


def move_row(archive: Planted) -> None:
    archive.index(
        "UPDATE instance SET parent = (SELECT id FROM series WHERE uid = '1.4.1') WHERE uid = '1.2.3.5'"
    )


def size_row(archive: Planted) -> None:
    archive.index("UPDATE instance SET size = size + 1 WHERE uid = '1.2.3.5'")


def class_row(archive: Planted) -> None:
    archive.index("UPDATE instance SET sop_class = '1.2.840.10008.5.1.4.1.1.4' WHERE uid = '1.2.3.5'")


def attribute_row(archive: Planted) -> None:
    archive.index(
        'UPDATE instance SET attributes = replace(attributes, \'"00200013":"5"\', \'"00200013":"6"\')'
    )


def digest_row(archive: Planted) -> None:
    archive.index("UPDATE instance SET digest = 'x' || substr(digest, 2) WHERE uid = '1.2.3.5'")


def name_row(archive: Planted) -> None:
    archive.index("UPDATE instance SET uid = '1.2.3,5' WHERE uid = '1.2.3.5'")


def name_series_row(archive: Planted) -> None:
    archive.index("UPDATE series SET uid = '../../x' WHERE uid = '1.4.2'")


def count(archive: Planted) -> None:
    archive.index("UPDATE study SET instance_count = 99, series_count = 1 WHERE uid = '1.3.1'")


def drop_series_row(archive: Planted) -> None:
    archive.index("DELETE FROM series WHERE uid = '1.4.2'")


def damage_index(archive: Planted) -> None:
    archive.damage("index.sqlite", "instance")


def damage_header_of_index(archive: Planted) -> None:
    content = (archive.root / "index.sqlite").read_bytes()
    (archive.root / "index.sqlite").write_bytes(b"x" * 100 + content[100:])


def damage_ledger(archive: Planted) -> None:
    archive.damage("ledger.sqlite", "version")


def drop_quarantine_entry(archive: Planted) -> None:
    archive.ledger("DELETE FROM quarantine")


def drop_version_entry(archive: Planted) -> None:
    archive.ledger("DELETE FROM version")


def unlink_quarantined(archive: Planted) -> None:
    archive.aside("quarantine").unlink()


def unlink_version(archive: Planted) -> None:
    archive.aside("versions").unlink()


def flip_quarantined(archive: Planted) -> None:
    path = archive.aside("quarantine")
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def leave_files(archive: Planted) -> None:
    series = archive.path(5).parent
    (series / "1.2.3.5.dcm.4711.part").write_bytes(archive.path(5).read_bytes()[:99])
    os.utime(series / "1.2.3.5.dcm.4711.part", (0, 0))
    (archive.root / "objects" / "notes.txt").write_text("x")


def second_file(archive: Planted) -> None:
    """The same object in another study, and the file is where such an object belongs."""
    data_set = dcmread(archive.path(5))
    data_set.StudyInstanceUID = "1.3.2"
    data_set.SeriesInstanceUID = "1.4.3"
    data_set.save_as(archive.path(8).with_name(archive.path(5).name))


def scrawl(archive: Planted) -> None:
    """In a file that is not known by size and digest."""
    archive.index("UPDATE instance SET size = NULL, digest = NULL WHERE uid = '1.2.3.5'")
    archive.path(5).write_bytes(archive.path(5).read_bytes()[:200] + b"x" * 2000)
