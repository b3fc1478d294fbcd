"""Rules remove whole studies, the oldest first, and nothing that they do not speak of."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import Any, NamedTuple

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import update
from tests.archive.archives import Encode, Make, Put, indexed_in
from tests.archive.conftest import SENDER
from tests.archive.tasks.kept import Kept

from dicomnet.archive.catalogue import schema
from dicomnet.archive.deletion import Fate, Protection
from dicomnet.archive.entries import Source
from dicomnet.archive.holdings import Holdings
from dicomnet.archive.retaining import Retention
from dicomnet.archive.retention import RetentionPolicy, RetentionRule
from dicomnet.archive.tasks.checking import check
from dicomnet.archive.upkeep import bring_in_line
from dicomnet.settings.kinds import Space

DAY = 86_400.0
WEEK_OLD = RetentionRule("old", after=7 * DAY)


class Archive:
    """An archive with studies of some age, and a rule that is applied to it."""

    def __init__(self, holdings: Holdings, make: Make, encode: Encode, put: Put) -> None:
        self.holdings = holdings
        self._make, self._encode, self._put = make, encode, put
        self._number = 0

    def store(self, study: int, days: float = 0, *, source: Source = SENDER, **attributes: Any) -> None:
        """Store an object of a study so many days ago."""
        self._number += 1
        instance = f"1.5.{self._number}"
        values = {
            "SeriesInstanceUID": f"1.4.{study}.{attributes.get('Modality', 'CT') == 'CT':d}"
        } | attributes
        data_set: Dataset = self._make(SOPInstanceUID=instance, StudyInstanceUID=f"1.3.{study}", **values)
        intake = self.holdings.intake
        assert self._put(intake, self._encode(data_set), instance=instance, source=source) == 0
        assert intake.wait_for_all()
        assert self.holdings.index is not None
        with self.holdings.index.writing() as connection:
            stored_at = round(1000 * (time() - days * DAY))
            connection.execute(
                update(schema.instance).where(schema.instance.c.uid == instance).values(stored_at=stored_at)
            )

    def apply(self, *rules: RetentionRule, **more: Any) -> list[int]:
        """Apply rules; returns the studies that are left."""
        self.retention().run(RetentionPolicy(rules, **more))
        return self.studies

    def retention(self) -> Retention:
        """What applies them."""
        holdings = self.holdings
        assert holdings.index is not None
        assert holdings.ledger is not None
        return Retention(
            holdings.local.root, holdings.index, holdings.ledger.opened, holdings.deleting(), holdings.uses
        )

    @property
    def studies(self) -> list[int]:
        """The studies that are there, each with all its objects or none."""
        assert self.holdings.index is not None
        found = indexed_in(self.holdings.index)
        assert all(self.holdings.storage.has(name) for name in found)
        assert check(self.holdings, Kept())["found"].keys() <= {"contradiction"}
        return sorted({int(name.study.rpartition(".")[2]) for name in found})


@pytest.fixture
def archive(tmp_path: Path, database_url: str, make: Make, encode: Encode, put: Put) -> Iterator[Archive]:
    with Holdings(tmp_path / "store", database=database_url, sync=False) as holdings:
        assert holdings.index is not None
        bring_in_line(holdings.index, holdings.intake)
        yield Archive(holdings, make, encode, put)


def test_by_age_since_the_last_object_came(archive: Archive) -> None:
    for study, days in enumerate((30, 8, 6, 0)):
        archive.store(study, days)
    # Its first objects are old, and its last one is not.
    archive.store(4, 30)
    archive.store(4, 6)
    assert archive.apply(WEEK_OLD) == [2, 3, 4]
    assert archive.holdings.ledger is not None
    first, second = archive.holdings.ledger.opened.deletions.all()
    assert [each.name.study for each in (first, second)] == ["1.3.0", "1.3.1"]
    assert (first.rule, first.actor, first.fate) == ("old", "", Fate.GONE)
    assert first.reason == "older than 7 days since received"
    assert not (archive.holdings.local.root / "trash").exists()


def test_by_age_since_the_study_date(archive: Archive) -> None:
    """Studies stay that say none, one that is none, or a later one elsewhere."""
    for study, date in enumerate(("20000101", None, "20000230", "29990101", "20000101")):
        archive.store(study, 1, StudyDate=date)
    archive.store(4, 1, StudyDate="29990101")
    assert archive.apply(RetentionRule("old", after=7 * DAY, since="study-date")) == [1, 2, 3, 4]


@pytest.mark.filterwarnings("ignore:Invalid value for VR DA")
@pytest.mark.parametrize("date", ["99991231", "2000111", "200011", "2000", "20001301", "00000101"])
def test_a_study_date_that_is_none_kept_all_studies_or_removed_its_own(archive: Archive, date: str) -> None:
    """The day after the last one that there is ended each run of the rules; of fewer digits, a month was made up."""
    archive.store(1, 1, StudyDate=date)
    archive.store(2, 1, StudyDate="20000101")
    assert archive.apply(RetentionRule("old", after=7 * DAY, since="study-date")) == [1]


def test_what_was_received_or_given_out_lately_stays(archive: Archive) -> None:
    for study, days in enumerate((1, 0.5, 0.01)):
        archive.store(study, days)
    archive.holdings.uses.note("1.3.0")
    assert archive.apply(RetentionRule("all", after=0.0)) == [0, 2]
    assert archive.apply(RetentionRule("all", after=0.0), quiet=-1.0) == []


def test_protected_patients_stay(archive: Archive) -> None:
    for study in range(3):
        archive.store(study, 30, PatientID=f"P{study}")
    assert archive.holdings.ledger is not None
    assert archive.holdings.ledger.opened.protections.begin(Protection("P1"))
    assert archive.apply(WEEK_OLD) == [1]


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ({"titles": ("CT1",)}, [1, 2, 3, 4]),
        ({"titles": ("CT1", "SENDER")}, []),
        ({"modalities": ("CT",)}, [3, 4]),
        ({"modalities": ("CT", "SR")}, [3]),
        ({"institutions": ("North",)}, [0, 1, 3, 4]),
        ({"institutions": ("North",), "modalities": ("MR",)}, [0, 1, 2, 3, 4]),
    ],
)
def test_only_what_lies_in_all_that_a_rule_names(
    archive: Archive, rule: dict[str, Any], left: list[int]
) -> None:
    other = Source("CT1", "192.0.2.7", "C-STORE")
    archive.store(0, 30, source=other)
    archive.store(1, 30, source=other)
    archive.store(1, 30)
    archive.store(2, 30, InstitutionName="North")
    archive.store(3, 30, Modality="MR", InstitutionName="South")
    archive.store(4, 30, InstitutionName="North")
    archive.store(4, 30, Modality="SR")
    assert archive.apply(RetentionRule("some", after=7 * DAY, **rule)) == left


class Usage(NamedTuple):
    """What is known of a volume, in bytes."""

    total: int
    free: int


class Volume:
    """A volume of 1,000,000 bytes, whose free space is what the files of an archive leave of a part of it."""

    def __init__(self, root: Path, part: int, *, frees: bool = True) -> None:
        self._root, self._part, self._frees = root, part, frees
        self._used = self._size()

    def usage(self, folder: Path) -> Usage:
        """As `shutil.disk_usage` says it."""
        used = self._size() if self._frees else self._used
        return Usage(1_000_000, self._part - used)

    def _size(self) -> int:
        return sum(path.stat().st_size for path in self._root.rglob("*.dcm"))


@pytest.mark.parametrize(("amount", "left"), [("10 %", 3), ("0.1 MB", 3), ("0.07 MB", 4), ("0.01 MB", 6)])
def test_by_space_the_oldest_goes_until_there_is_enough(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, amount: str, left: int
) -> None:
    for study in range(6):
        archive.store(study, 30 - study, PixelData=bytes(30_000))
    # Each takes a bit more than that; first, some 20,000 bytes are free.
    volume = Volume(archive.holdings.local.root, 205_000)
    monkeypatch.setattr("dicomnet.archive.retaining.shutil.disk_usage", volume.usage)
    number, unit = amount.split()
    rule = RetentionRule("space", free=Space(float(number), unit))
    assert archive.apply(rule) == list(range(6 - left, 6))
    assert archive.apply(rule) == list(range(6 - left, 6))


def test_where_nothing_becomes_free_not_everything_goes(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Files that have other names elsewhere make no room."""
    for study in range(6):
        archive.store(study, 30 - study, PixelData=bytes(30_000))
    volume = Volume(archive.holdings.local.root, 205_000, frees=False)
    monkeypatch.setattr("dicomnet.archive.retaining.shutil.disk_usage", volume.usage)
    assert archive.apply(RetentionRule("space", free=Space(0.05, "MB"))) == [2, 3, 4, 5]
    assert "and there is less space than it wants" in caplog.text


def test_what_must_be_known_and_is_not_keeps_all(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    archive.store(0, 30)
    rule = RetentionRule("safe", after=7 * DAY, require=("committed", "forwarded"))
    assert archive.apply(rule) == [0]
    (line,) = [
        each for each in caplog.records if each.levelno == logging.WARNING and "safe" in each.getMessage()
    ]
    assert "removes nothing: it requires that objects are committed and forwarded" in line.getMessage()


def test_rules_are_applied_at_an_interval_and_at_once_when_they_are_others(archive: Archive) -> None:
    retention = archive.retention()
    archive.store(0, 30)
    retention.run(RetentionPolicy((WEEK_OLD,)))
    assert archive.studies == []
    archive.store(1, 30)
    retention.run(RetentionPolicy((WEEK_OLD,)))
    assert archive.studies == [1]
    retention.run(RetentionPolicy((WEEK_OLD,), interval=0.0))
    assert archive.studies == []


def test_a_rule_may_keep_files_in_the_trash(archive: Archive) -> None:
    archive.store(0, 30)
    assert archive.apply(RetentionRule("old", after=7 * DAY, keep=DAY)) == []
    assert archive.holdings.ledger is not None
    (entry,) = archive.holdings.ledger.opened.deletions.trash()
    assert archive.holdings.trash().bring_back([entry]) == {}
    # It has come anew, so that its age begins anew.
    assert archive.holdings.intake.wait_for_all()
    assert archive.apply(WEEK_OLD) == [0]


def test_an_index_made_anew_knows_when_objects_came(archive: Archive) -> None:
    """After reindexing, everything seemed to have been received just then."""
    archive.store(0)
    (path,) = (archive.holdings.local.root / "objects").rglob("*.dcm")
    os.utime(path, (time() - 30 * DAY,) * 2)
    index = archive.holdings.index
    assert index is not None
    index.renew()
    bring_in_line(index, archive.holdings.intake)
    assert archive.apply(WEEK_OLD) == []


def test_x19_a_clock_that_jumps_ahead_removes_nothing(archive: Archive) -> None:
    """Ten years ahead, all was old; without a trash it was gone."""
    archive.store(1, 8)
    archive.store(2)
    holdings = archive.holdings
    holdings.retention = RetentionPolicy((WEEK_OLD,), interval=0)
    ahead = time() + 3650 * DAY
    holdings.date._now = lambda: ahead
    holdings._retain(lambda: False)
    assert archive.studies == [1, 2]
    holdings.date._now = time
    holdings._retain(lambda: False)
    assert archive.studies == [2]
