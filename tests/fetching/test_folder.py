"""The folder: what arrives gets its name once, and nothing else is touched."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fetching.corpus import Study, make_object

from dicomnet.errors import JournalUnusable
from dicomnet.fetching.folder import Folder, KeptOut
from dicomnet.fetching.journal import Journal, Placed, Series
from dicomnet.fetching.names import DEFAULT_LAYOUT, Layout

STUDY = Study(1, "P1", "A1")
ONE, TWO, THREE = sorted(STUDY.objects(1))
SERIES = Series(STUDY.uid, STUDY.series(1), True, 3, frozenset({ONE, TWO, THREE}))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with Folder(tmp_path / "in", Layout.parse("{PatientID}/{SeriesDescription}.dcm")) as folder:
        folder.journal.ask("row", [SERIES])
        yield folder


def arrive(folder: Folder, *uids: str, **changes: object) -> list[Placed | KeptOut]:
    for uid in uids:
        found = make_object(STUDY, uid)
        for keyword, value in changes.items():
            setattr(found, keyword, value)
        found.save_as(folder.incoming / f"{uid}.dcm", enforce_file_format=True)
    taken = list(folder.take())
    assert list(folder.incoming.iterdir()) == []
    return taken


def files(folder: Folder) -> list[str]:
    found = (path.relative_to(folder.root).as_posix() for path in folder.root.rglob("*.dcm"))
    return sorted(each for each in found if not each.startswith("."))


def test_objects_of_one_name_have_a_number(folder: Folder) -> None:
    arrive(folder, ONE, TWO)
    arrive(folder, THREE, SeriesDescription="THORAX THIN 1.0")
    assert files(folder) == ["P1/THORAX THIN 1.0-3.dcm", "P1/Thorax thin 1.0-2.dcm", "P1/Thorax thin 1.0.dcm"]
    assert folder.has(SERIES) == {ONE, TWO, THREE}


def test_a_file_of_somebody_else_stays(folder: Folder) -> None:
    other = folder.root / "P1" / "Thorax thin 1.0.dcm"
    other.parent.mkdir()
    other.write_bytes(b"mine")
    (placed,) = arrive(folder, ONE)
    assert isinstance(placed, Placed)
    assert (placed.path, other.read_bytes()) == ("P1/Thorax thin 1.0-2.dcm", b"mine")


def test_an_object_that_comes_again_has_one_file(folder: Folder) -> None:
    arrive(folder, ONE)
    assert arrive(folder, ONE) == []
    assert len(files(folder)) == 1


def test_another_object_with_the_same_uids_is_kept_out(folder: Folder) -> None:
    arrive(folder, ONE)
    before = (folder.root / files(folder)[0]).read_bytes()
    (kept_out,) = arrive(folder, ONE, PixelData=b"\xff" * 128)
    assert isinstance(kept_out, KeptOut)
    assert "another object" in kept_out.words
    assert (folder.root / files(folder)[0]).read_bytes() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"SeriesInstanceUID": "1.2.3"},
        {"StudyInstanceUID": "1.2.3"},
        {"StudyInstanceUID": ""},
        {"SOPInstanceUID": ""},
    ],
)
def test_what_was_not_asked_for_is_kept_out(folder: Folder, changes: dict[str, str]) -> None:
    (kept_out,) = arrive(folder, ONE, **changes)
    assert isinstance(kept_out, KeptOut)
    assert files(folder) == []


def test_of_a_series_that_is_not_whole_only_what_is_named(folder: Folder) -> None:
    part = Series(STUDY.uid, STUDY.series(1), False, 1, frozenset({TWO}))
    folder.journal.ask("row", [part])
    one, two = arrive(folder, ONE, TWO)
    assert isinstance(one, KeptOut)
    assert isinstance(two, Placed)
    assert folder.has(part) == {TWO}


def test_what_is_removed_is_not_here(folder: Folder) -> None:
    arrive(folder, ONE, TWO)
    (folder.root / files(folder)[0]).unlink()
    assert len(folder.has(SERIES)) == 1
    arrive(folder, ONE, TWO)
    assert folder.has(SERIES) == {ONE, TWO}


def test_files_without_their_journal_are_taken_for_what_they_are(folder: Folder) -> None:
    arrive(folder, ONE, TWO)
    before = files(folder)
    folder.close()
    shutil.rmtree(folder.root / ".dicomnet-fetch")
    with Folder(folder.root, Layout.parse("{PatientID}/{SeriesDescription}.dcm")) as again:
        again.journal.ask("row", [SERIES])
        arrive(again, ONE, TWO)
        assert files(again) == before


@pytest.mark.parametrize("is_named", [False, True])
def test_a_process_that_ended_between_the_intent_and_the_name(folder: Folder, is_named: bool) -> None:
    (placed,) = arrive(folder, ONE)
    assert isinstance(placed, Placed)
    folder.journal.intend([placed])
    if not is_named:
        (folder.root / placed.path).unlink()
    folder.close()
    with Folder(folder.root, Layout.parse(DEFAULT_LAYOUT)) as again:
        assert again.has(SERIES) == ({ONE} if is_named else set())
        assert again.journal.unsettled() == []


def test_an_object_with_a_damaged_name_has_its_file(folder: Folder) -> None:
    path = folder.incoming / f"{ONE}.dcm"
    make_object(STUDY, ONE).save_as(path, enforce_file_format=True)
    content = path.read_bytes()
    for text, damage in ((b"Thorax thin 1.0", b"\xff\xfe/../\x00x\x1b$)C\r\n."), (b"Doe^", b"\xc3\xff\x1b^")):
        assert len(text) == len(damage)
        content = content.replace(text, damage)
    path.write_bytes(content)
    (placed,) = folder.take()
    assert isinstance(placed, Placed)
    assert placed.path.startswith("P1/")
    assert len(files(folder)) == 1


def test_one_process_at_a_time(folder: Folder) -> None:
    with pytest.raises(JournalUnusable, match="another dicomnet fetch"):
        Folder(folder.root, Layout.parse(DEFAULT_LAYOUT))


def test_a_journal_that_is_none(tmp_path: Path) -> None:
    (tmp_path / ".dicomnet-fetch").mkdir()
    (tmp_path / ".dicomnet-fetch" / "journal.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(JournalUnusable, match="not a database"):
        Folder(tmp_path, Layout.parse(DEFAULT_LAYOUT))


def test_a_journal_closed_while_another_thread_wrote_to_it_ended_the_process(tmp_path: Path) -> None:
    """In asyncio a list was left while a thread was placing objects; SQLite does not survive that."""
    journal = Journal(tmp_path / "journal")
    closing = threading.Thread(target=journal.close)
    with journal._transaction() as database:
        closing.start()
        database.execute("INSERT INTO rows VALUES ('key', 'complete', '')")
        assert closing.is_alive()
    closing.join(10)
    assert not closing.is_alive()
    with pytest.raises(JournalUnusable):
        journal.settle("key", "complete", "")
    again = Journal(tmp_path / "journal")
    assert again.outcome("key") == ("complete", "")
    again.close()
