"""The check of an archive: each kind of planted damage is found, and only that; what can be is set right."""

from __future__ import annotations

import errno
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from time import monotonic

import pytest
from pydicom.dataset import Dataset
from tests.archive.tasks import planted
from tests.archive.tasks.kept import Kept
from tests.archive.tasks.planted import SERIES, Planted, make_archive
from tests.postgresql import PostgreSQL
from tests.support import wait_until

from dicomnet.archive.entries import Entry
from dicomnet.archive.holdings import Holdings
from dicomnet.archive.storage.store import Content, ObjectName
from dicomnet.archive.tasks.checking import check
from dicomnet.archive.tasks.findings import KINDS, Findings
from dicomnet.errors import LedgerUnusable

Make = Callable[..., Dataset]
Encode = Callable[..., bytes]
Put = Callable[..., int]


@dataclass(frozen=True)
class Case:
    """Damage: how it is planted, what a check finds, and what became of that where it is repaired.

    Parameters
    ----------
    remains
        What is found after that, too.
    keeps
        Whether all objects are there as before then.
    """

    plant: Callable[[Planted], None]
    found: tuple[str, ...]
    repaired: tuple[tuple[str, str], ...]
    quick: tuple[str, ...] = ()
    remains: tuple[str, ...] = ()
    keeps: bool = True


def _case(
    plant: Callable[[Planted], None],
    kind: str,
    outcome: str,
    *,
    is_seen_quickly: bool = True,
    remains: bool = False,
    keeps: bool = True,
) -> Case:
    return Case(
        plant,
        (kind,),
        ((kind, outcome),),
        (kind,) if is_seen_quickly else (),
        (kind,) if remains else (),
        keeps,
    )


_ELSEWHERE = ("file-missing", "other-folder")
CASES = {
    "a file is missing": _case(planted.unlink, "file-missing", "lost", keeps=False),
    "a file is cut off": _case(planted.cut, "cut-off", "quarantined", keeps=False),
    "a bit of the pixels is another": _case(
        planted.flip, "changed", "quarantined", is_seen_quickly=False, keeps=False
    ),
    "a file is empty": _case(planted.empty, "empty-file", "quarantined", keeps=False),
    "a file has the name of another object": _case(
        planted.take_name, "other-object", "quarantined", is_seen_quickly=False, keeps=False
    ),
    "a file is in another series": Case(
        planted.move_to_series, _ELSEWHERE, (("other-folder", "repaired"),), _ELSEWHERE
    ),
    "a file is in another study": Case(
        planted.move_to_study, _ELSEWHERE, (("other-folder", "repaired"),), _ELSEWHERE
    ),
    "a study is in another folder": Case(
        planted.move_study,
        ("file-missing", "file-missing", "other-folder", "other-folder"),
        (("other-folder", "repaired"), ("other-folder", "repaired")),
        ("file-missing", "file-missing", "other-folder", "other-folder"),
    ),
    "a file has a name that says nothing": Case(
        planted.rename, _ELSEWHERE, (("other-folder", "repaired"),), _ELSEWHERE
    ),
    "an object has no row": _case(planted.drop_row, "row-missing", "repaired"),
    "an object has no row, and the study counts it": Case(
        planted.drop_rows,
        ("row-missing", "study-counts"),
        (("row-missing", "repaired"), ("study-counts", "repaired")),
        ("row-missing", "study-counts"),
    ),
    "a row is in another series": Case(
        planted.move_row,
        ("file-missing", "row-elsewhere"),
        (("row-elsewhere", "repaired"),),
        ("file-missing", "row-elsewhere"),
    ),
    "a row has another size": _case(planted.size_row, "row-size", "repaired"),
    "a row has another SOP class": _case(planted.class_row, "row-differs", "repaired", is_seen_quickly=False),
    "a row has another attribute": _case(
        planted.attribute_row, "row-differs", "repaired", is_seen_quickly=False
    ),
    "a row has a digest that is none": _case(
        planted.digest_row, "row-differs", "repaired", is_seen_quickly=False
    ),
    "a row names nothing": Case(
        planted.name_row,
        ("row-missing", "rows-adrift"),
        (("row-missing", "repaired"), ("rows-adrift", "repaired")),
        ("row-missing", "rows-adrift"),
    ),
    "a row of a series names nothing": Case(
        planted.name_series_row,
        ("row-elsewhere", "row-elsewhere", "row-elsewhere", "rows-adrift"),
        (("row-elsewhere", "repaired"),) * 3,
        ("row-elsewhere", "row-elsewhere", "row-elsewhere", "rows-adrift"),
    ),
    "the rows of a series have lost it": Case(
        planted.drop_series_row,
        ("row-missing", "row-missing", "row-missing", "rows-adrift", "study-counts"),
        (
            ("row-missing", "repaired"),
            ("row-missing", "repaired"),
            ("row-missing", "repaired"),
            ("rows-adrift", "repaired"),
            ("study-counts", "repaired"),
        ),
        ("row-missing", "row-missing", "row-missing", "rows-adrift", "study-counts"),
    ),
    "a study counts wrongly": _case(planted.count, "study-counts", "repaired"),
    "an object is in two studies": _case(planted.second_file, "second-file", "quarantined"),
    "a file is not an object": _case(
        planted.scrawl, "not-readable-as-object", "quarantined", is_seen_quickly=False, keeps=False
    ),
    "pages of the ledger are damaged": _case(planted.damage_ledger, "ledger-damaged", "left", remains=True),
    "a file in quarantine has no entry": _case(
        planted.drop_quarantine_entry, "quarantine-unrecorded", "repaired"
    ),
    "an entry in quarantine has no file": _case(planted.unlink_quarantined, "quarantine-missing", "lost"),
    "a file in quarantine has changed": _case(
        planted.flip_quarantined, "set-aside-changed", "left", is_seen_quickly=False, remains=True
    ),
    "a version has no entry": _case(planted.drop_version_entry, "version-unrecorded", "repaired"),
    "a version has no file": _case(planted.unlink_version, "version-missing", "left", remains=True),
    "files lie about": Case(
        planted.leave_files, ("stray",) * 2, (("stray", "repaired"),) * 2, ("stray",) * 2
    ),
}
# Those that are in the files of SQLite alone, or that a server refuses.
_OF_SQLITE = (planted.damage_ledger, planted.drop_series_row)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, make: Make, encode: Encode, put: Put) -> Planted:
    return make_archive(tmp_path_factory.mktemp("archive"), make, encode, put)


@pytest.fixture
def archive(template: Planted, tmp_path: Path) -> Planted:
    shutil.copytree(template.root, tmp_path / "store")
    return Planted(tmp_path / "store")


def _check(archive: Planted, case: Case) -> None:
    before = archive.objects()
    case.plant(archive)
    assert archive.found(quick=True) == [(kind, "found") for kind in sorted(case.quick)]
    assert archive.found() == [(kind, "found") for kind in sorted(case.found)]
    assert archive.found(repair=True) == sorted(case.repaired)
    assert archive.found() == [(kind, "found") for kind in sorted(case.remains)]
    after = archive.objects()
    assert archive.rows().keys() == after.keys()
    assert after.items() <= before.items()
    assert (after == before) is case.keeps
    # All that was taken away is kept, but what had been gone or overwritten before.
    assert archive.found(repair=True) == [(kind, "left") for kind in sorted(case.remains)]


def test_nothing_is_found_where_nothing_is_wrong(archive: Planted) -> None:
    for parameters in ({}, {"quick": True}, {"repair": True}, {"add_digests": True}, {"study": "1.3.1"}):
        summary, items = archive.perform("check", **parameters)
        assert items == []
        assert summary["checked"] == (6 if "study" in parameters else sum(SERIES.values()))
        assert (summary["is_damaged"], summary["is_complete"], summary["without_digest"]) == (False, True, 0)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_planted_damage_is_found_and_set_right(archive: Planted, case: Case) -> None:
    _check(archive, case)


@pytest.mark.parametrize(
    "case",
    [each for each in CASES.values() if each.plant not in _OF_SQLITE],
    ids=[name for name, each in CASES.items() if each.plant not in _OF_SQLITE],
)
def test_planted_damage_is_found_with_a_server(
    case: Case, tmp_path: Path, make: Make, encode: Encode, put: Put, postgresql: PostgreSQL
) -> None:
    _check(make_archive(tmp_path, make, encode, put, database=postgresql.new_database()), case)


def test_an_index_that_is_made_anew_has_no_digests_until_they_are_added(archive: Planted) -> None:
    planted.damage_index(archive)
    assert archive.found(repair=True) == [("index-damaged", "repaired")]
    summary, items = archive.perform("check")
    assert (items, summary["without_digest"]) == ([], 8)
    summary, items = archive.perform("check", add_digests=True)
    assert (items, summary["digests_added"], summary["without_digest"]) == ([], 8, 0)
    assert archive.rows() == archive.objects()
    planted.flip(archive)
    assert archive.found() == [("changed", "found")]


def test_an_index_that_cannot_even_be_opened_is_told_of(archive: Planted) -> None:
    planted.damage_header_of_index(archive)
    assert archive.found() == [("index-damaged", "repaired")]
    assert archive.found() == []


def test_without_repair_a_damaged_index_is_the_only_finding(archive: Planted) -> None:
    planted.damage_index(archive)
    summary, items = archive.perform("check")
    assert [item["finding"] for item in items] == ["index-damaged"]
    assert (summary["is_damaged"], summary["is_complete"], summary["checked"]) == (True, False, 0)


def test_a_ledger_that_cannot_be_opened_is_left_as_it_is(archive: Planted) -> None:
    path = archive.root / "ledger.sqlite"
    content = b"x" * 100 + path.read_bytes()[100:]
    path.write_bytes(content)
    with pytest.raises(LedgerUnusable, match="damaged"):
        archive.perform("check", repair=True)
    assert path.read_bytes() == content


def test_what_a_repair_takes_away_is_kept_and_recorded(archive: Planted) -> None:
    planted.flip(archive)
    damaged = archive.path(5).read_bytes()
    planted_lost = archive.path(7)
    planted_lost.unlink()
    assert archive.found(repair=True) == [("changed", "quarantined"), ("file-missing", "lost")]
    columns = "instance, study, series, location, reason, outcome"
    kept, lost = archive.ledger(f"SELECT {columns} FROM quarantine WHERE instance != '1.2.3.1' ORDER BY id")
    assert (archive.root / kept[3]).read_bytes() == damaged
    assert kept[:3] + kept[4:] == ("1.2.3.5", "1.3.1", "1.4.2", KINDS["changed"].what, None)
    assert lost[:3] + lost[5:] == ("1.2.3.7", "1.3.2", "1.4.3", "lost")
    assert archive.root / lost[3] == planted_lost


def test_one_study_alone(archive: Planted) -> None:
    planted.flip(archive)
    planted.leave_files(archive)
    planted.drop_quarantine_entry(archive)
    archive.path(8).unlink()
    assert archive.found(study="1.3.1", repair=True) == [("changed", "quarantined")]
    assert archive.found(study="1.3.2") == [("file-missing", "found")]
    assert archive.found(study="1.3.3") == []


@pytest.mark.parametrize("where", ["open", "read", "list"])
def test_what_cannot_be_read_is_not_taken_for_damage(
    archive: Planted, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """As a disk with bad blocks, or a folder whose access rights are wrong."""
    path, before = archive.path(5), archive.objects()
    error = OSError(
        errno.EIO if where == "read" else errno.EACCES, "no", None if where == "read" else str(path)
    )

    class Unreadable(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise error

    with Holdings(archive.root) as holdings:
        storage = holdings.storage
        opened, listed = storage.open, storage.instances

        def open_file(name: ObjectName) -> object:
            if name.instance != "1.2.3.5" or where == "list":
                return opened(name)
            if where == "read":
                return Unreadable()
            raise error

        def list_files(study: str, series: str) -> Iterator[str]:
            if (study, series) == ("1.3.1", "1.4.2") and where == "list":
                raise error
            return listed(study, series)

        monkeypatch.setattr(storage, "open", open_file)
        monkeypatch.setattr(storage, "instances", list_files)
        kept = Kept()
        summary = check(holdings, kept, repair=True, accept_loss=True)
    assert [(item["finding"], item["outcome"]) for item in kept.items] == [("unreadable", "left")]
    assert kept.items[0]["path"].endswith("1.2.3.5.dcm")
    assert summary["is_damaged"]
    assert archive.objects() == archive.rows() == before


def test_a_file_system_that_is_not_mounted_costs_no_row(archive: Planted, tmp_path: Path) -> None:
    before = archive.rows()
    study = archive.path(5).parents[1]
    study.rename(tmp_path / "mounted")
    study.symlink_to(tmp_path / "elsewhere")
    assert archive.found(repair=True, accept_loss=True) == [("unreadable", "left")]
    assert archive.rows() == before
    (tmp_path / "mounted").rename(tmp_path / "elsewhere")
    assert archive.found(repair=True) == []


def test_very_many_missing_files_are_not_forgotten_without_a_word(archive: Planted) -> None:
    """As where the folder is there on which a file system would be mounted."""
    archive.index(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 150)"
        " INSERT INTO instance SELECT 1000 + n, parent, uid || '.' || n, sop_class, transfer_syntax, attributes,"
        " size, digest, stored_at, source, location FROM instance, n WHERE uid = '1.2.3.8'"
    )
    archive.index("UPDATE study SET instance_count = instance_count + 150 WHERE uid = '1.3.2'")
    assert archive.found(repair=True) == [("file-missing", "left")] * 150
    assert len(archive.rows()) == 158
    assert archive.found(repair=True, accept_loss=True) == [("file-missing", "lost")] * 150
    assert archive.found() == []
    assert archive.ledger("SELECT count(*) FROM quarantine WHERE outcome = 'lost'") == [(150,)]


def test_contradictions_are_told_without_values_unless_asked_for(
    archive: Planted, make: Make, encode: Encode, put: Put
) -> None:
    with Holdings(archive.root) as holdings:
        data_set = make(
            SOPInstanceUID="1.2.3.9",
            StudyInstanceUID="1.3.2",
            SeriesInstanceUID="1.4.3",
            PatientID="OTHER",
            PatientName="Roe^Richard",
        )
        assert put(holdings.intake, encode(data_set), instance="1.2.3.9") == 0
    summary, items = archive.perform("check")
    assert not summary["is_damaged"]
    (item,) = items
    assert (item["finding"], item["study_instance_uid"]) == ("contradiction", "1.3.2")
    assert item["attributes"] == ["PatientName", "PatientID"]
    assert "Roe" not in str(item)
    _, items = archive.perform("check", show_values=True)
    assert items[0]["values"] == {
        "PatientName": ["Doe^Jane", "Roe^Richard"],
        "PatientID": ["P1.3.2", "OTHER"],
    }


def test_strays_beside_a_journal_and_what_cannot_be_filed(
    archive: Planted, make: Make, encode: Encode, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Holdings(archive.root) as holdings:

        def fail(name: ObjectName, content: Content) -> bool:
            raise OSError(errno.ENOSPC, "no space left")

        with monkeypatch.context() as patch:
            patch.setattr(holdings.storage, "keep", fail)
            data = encode(make(SOPInstanceUID="1.2.3.9", StudyInstanceUID="1.3.9"))
            assert put(holdings.intake, data, instance="1.2.3.9") == 0
            wait_until(lambda: holdings.intake.count_stuck() == 1)
            (archive.root / "staging" / "half").write_text("x")
            (archive.root / "journal" / "old").mkdir()
            kept = Kept()
            check(holdings, kept, repair=True)
        found = [(item["finding"], item["outcome"], item.get("path")) for item in kept.items]
        assert sorted(found) == [
            ("stray", "repaired", "journal/old"),
            ("stray", "repaired", "staging/half"),
            ("unfiled", "left", None),
        ]
    assert archive.found() == []
    assert len(archive.objects()) == 9


def test_an_object_that_is_being_stored_is_no_finding(
    archive: Planted, make: Make, encode: Encode, put: Put
) -> None:
    """It has its file, and its row comes a moment later; so has one whose row is gone, but for its file."""
    with Holdings(archive.root) as holdings:
        index = holdings.index
        assert index is not None
        added, checked = threading.Event(), threading.Event()
        add = index.add

        def add_later(entries: Sequence[Entry]) -> list[bool]:
            added.set()
            assert checked.wait(20)
            return add(entries)

        index.add = add_later  # type: ignore[method-assign]
        data = encode(make(SOPInstanceUID="1.2.3.9", StudyInstanceUID="1.3.9"))
        assert put(holdings.intake, data, instance="1.2.3.9") == 0
        assert added.wait(20)
        assert archive.path(9).exists()
        kept = Kept()
        checking = threading.Thread(target=check, args=(holdings, kept), kwargs={"repair": True})
        claims = holdings.intake._claims
        take = claims.take
        waits = threading.Event()

        def take_and_tell(instance: str, seconds: float) -> bool:
            waits.set()
            return take(instance, seconds)

        claims.take = take_and_tell  # type: ignore[method-assign]
        checking.start()
        assert waits.wait(20)
        checked.set()
        checking.join(20)
        assert kept.items == []


def test_ctrl_c_leaves_nothing_half_done() -> None:
    findings = Findings(Kept(), is_repairing=True)
    done = []

    def repair() -> str:
        signal.raise_signal(signal.SIGINT)
        done.append(1)
        return "repaired"

    with pytest.raises(KeyboardInterrupt):
        findings.found("stray", path="x", repair=repair)
    assert done == [1]


def test_no_more_is_read_than_is_allowed(archive: Planted) -> None:
    begun = monotonic()
    summary, _ = archive.perform("check", rate=200_000.0)
    assert monotonic() - begun > (summary["bytes"] - 30_000) / 200_000 > 0


def test_the_manual_has_all_kinds_of_findings() -> None:
    manual = (Path(__file__).parents[3] / "docs" / "archive.md").read_text()
    rows = re.findall(r"^\| (`[^|]*`) \|", manual, re.MULTILINE)
    named = [kind for row in rows for kind in re.findall(r"`([a-z-]+)`", row)]
    assert sorted(kind for kind in named if kind in KINDS) == sorted(KINDS)
