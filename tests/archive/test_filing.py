"""The thread behind the journal: in order, found by whoever asks, through any trouble, and with a bound."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest
from tests.archive.archives import (
    Archive,
    Encode,
    Make,
    Send,
    Sent,
    archive_in,
    files_of,
    indexed_in,
    new_archive,
    staged_in,
    status_of,
    statuses_of,
)
from tests.support import wait_until

from dicomnet.archive import filing, intake, journal
from dicomnet.archive.entries import Catalogue, Entry
from dicomnet.archive.filing import Progress
from dicomnet.archive.intake import Intake
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.archive.storage.store import Content, ObjectName
from dicomnet.archive.upkeep import bring_in_line
from dicomnet.errors import UnusableObject


@contextmanager
def _locked(archive: Archive) -> Iterator[None]:
    """Within the block, nobody can write the index."""
    other = sqlite3.connect(archive.root / "index.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def _put(archive: Archive, sent: Sent, make: Make, encode: Encode, send: Send) -> int:
    return status_of(sent.session(archive.intake, make, encode, send).commit)


def test_objects_are_filed_in_the_order_in_which_they_were_acknowledged(
    make: Make, encode: Encode, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone and in groups, also when a part of them had to be filed again."""
    with new_archive() as archive:
        filed: list[str] = []
        add = archive.index.add

        def added(entries: Sequence[Entry]) -> list[bool]:
            outcome = add(entries)
            filed.extend(entry.name.instance for entry in entries)
            return outcome

        monkeypatch.setattr(archive.index, "add", added)
        order = [Sent(number, is_large=number % 4 == 0) for number in (9, 2, 7, 4, 11, 1, 8, 3, 30, 20, 10)]
        for at, sent in enumerate(order[:4]):
            assert _put(archive, sent, make, encode, send) == 0
            if at == 1:
                assert archive.intake.wait_for_all()
        with _locked(archive):
            sessions = [sent.session(archive.intake, make, encode, send) for sent in order[4:]]
            assert statuses_of(archive.intake.commit(sessions)) == [0] * len(sessions)
            assert not archive.intake.wait_for_all()
        wait_until(archive.intake.wait_for_all, 10, "all is filed")
        assert filed == [sent.uid for sent in order]


def test_whoever_asks_finds_what_was_acknowledged_before(make: Make, encode: Encode, send: Send) -> None:
    """Each of several threads at once, and nobody waits until something else is due."""
    with new_archive() as archive:
        missed: list[str] = []

        def run(thread: int) -> None:
            for number in range(20):
                sent = Sent(100 * thread + number, is_large=number % 5 == 0)
                assert _put(archive, sent, make, encode, send) == 0
                if not archive.intake.wait_for_all() or sent.name not in indexed_in(archive.index):
                    missed.append(sent.uid)

        threads = [threading.Thread(target=run, args=(thread,)) for thread in range(1, 7)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert missed == []
        assert len(indexed_in(archive.index)) == 120


def test_nobody_is_waited_for_when_nothing_was_acknowledged() -> None:
    with new_archive() as archive:
        assert archive.intake.wait_for_all(0)


def test_what_other_processes_acknowledged_is_waited_for() -> None:
    """They share their counts; one that took the place of another has filed what that had acknowledged."""
    progress = Progress(3)
    progress.acknowledged(2, 5)
    progress.filed(2, 3)
    assert progress.missing() == {2: 5}
    with new_archive() as archive:
        own = Intake(archive.local, archive.storage, archive.index, progress=progress, process=1)
        with own:
            assert not own.wait_for_all(0.05)
            threads = [threading.Timer(0.05, progress.filed, (2, 2))]
            threads[0].start()
            assert own.wait_for_all()
            threads[0].join()
            progress.acknowledged(2, 4)
            # Of what is acknowledged later, nobody has to wait for the end.
            wanted = progress.missing()
            progress.acknowledged(2, 4)
            progress.filed(2, 4)
            assert progress.has_reached(wanted)
            assert not own.wait_for_all(0.02)
            progress.begin_anew(2)
            assert own.wait_for_all()


@pytest.mark.parametrize("is_large", [False, True])
def test_trouble_is_told_once_when_it_begins_and_when_it_ends(
    make: Make, encode: Encode, send: Send, is_large: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with new_archive() as archive:
        for _ in range(2):
            caplog.clear()
            before = len(indexed_in(archive.index))
            with _locked(archive):
                for number in range(3):
                    sent = Sent(before + number, is_large=is_large)
                    assert _put(archive, sent, make, encode, send) == 0
                    assert not archive.intake.wait_for_all()
                # A query must not wait in vain again and again.
                assert not archive.intake.wait_for_all(60)
            wait_until(archive.intake.wait_for_all, 10, "all is filed")

            def levels() -> list[str]:
                return [each.levelname for each in caplog.records if each.name == filing.__name__]

            wait_until(lambda: len(levels()) > 1, 10, "its end is told")
            assert levels() == ["ERROR", "WARNING"]
            assert len(indexed_in(archive.index)) == before + 3
        assert staged_in(archive.root) == []


def test_an_object_whose_file_cannot_be_written_keeps_no_other_waiting(
    make: Make, encode: Encode, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One folder in which nothing can be made held up all that came after, and with it queries and intake."""
    monkeypatch.setattr(journal, "SEGMENT_LENGTH", 64 << 10)
    with new_archive() as archive:
        bad = [Sent(1, study=1), Sent(2, study=1, is_large=True)]
        folder = Path(archive.storage.path(bad[0].name)).parent.parent
        folder.parent.mkdir(parents=True)
        folder.write_text("in the way")
        for sent in bad:
            assert _put(archive, sent, make, encode, send) == 0
        others = [Sent(number, study=2) for number in range(10, 400)]
        for at in range(0, len(others), 13):
            sessions = [sent.session(archive.intake, make, encode, send) for sent in others[at : at + 13]]
            assert set(statuses_of(archive.intake.commit(sessions))) == {0}
        names = {sent.name for sent in others}
        wait_until(lambda: names == set(indexed_in(archive.index)), 10, "the others are filed")
        # Something is not there that was acknowledged; whoever asks is told, and does not wait for it.
        assert not archive.intake.wait_for_all()
        # Neither does the journal grow for its sake.
        wait_until(lambda: len(list((archive.root / "journal" / "0").iterdir())) < 8, 10, "parts are free")
        folder.unlink()
        wait_until(archive.intake.wait_for_all, 10, "it is filed after all")
        assert set(indexed_in(archive.index)) == names | {sent.name for sent in bad}
    assert not (archive.root / "journal" / "0").exists()


def test_one_bad_object_among_many_costs_each_of_them_one_more_attempt(
    make: Make, encode: Encode, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that waited were tried together again after each one alone."""
    count = 60
    with new_archive() as archive:
        bad = Sent(30, study=30)
        folder = Path(archive.storage.path(bad.name)).parent.parent
        folder.parent.mkdir(parents=True)
        folder.write_text("in the way")
        sessions = [
            Sent(number, study=number).session(archive.intake, make, encode, send) for number in range(count)
        ]
        kept: list[ObjectName] = []
        keep = archive.storage.keep

        def counted(name: ObjectName, content: Content) -> bool:
            kept.append(name)
            return keep(name, content)

        monkeypatch.setattr(archive.storage, "keep", counted)
        assert set(statuses_of(archive.intake.commit(sessions))) == {0}
        wait_until(lambda: len(indexed_in(archive.index)) == count - 1, 10, "the others are filed")
        assert max(kept.count(name) for name in set(kept) - {bad.name}) <= 2
        folder.unlink()
        wait_until(archive.intake.wait_for_all, 10, "it is filed after all")


def test_what_is_stuck_at_the_end_is_named_and_filed_by_the_next_process(
    tmp_path: Path, make: Make, encode: Encode, send: Send
) -> None:
    sent = [Sent(1, study=1), Sent(2, study=1, is_large=True), Sent(3, study=2)]
    with archive_in(tmp_path) as archive:
        folder = Path(archive.storage.path(sent[0].name)).parent.parent
        folder.parent.mkdir(parents=True)
        folder.write_text("in the way")
        for each in sent:
            assert _put(archive, each, make, encode, send) == 0
        assert not archive.intake.close()
        assert {uid for uid, _ in archive.intake.unfiled} == {sent[0].uid, sent[1].uid}
        assert all(isinstance(error, OSError) for _, error in archive.intake.unfiled)
    folder.unlink()
    with archive_in(tmp_path) as archive:
        assert archive.intake.recover() == 2
        assert set(indexed_in(archive.index)) == {each.name for each in sent}


def test_objects_that_are_stuck_and_come_again_are_refused_at_once_and_not_one_by_one(
    make: Make, encode: Encode, send: Send
) -> None:
    """Who sends a study again that could not be filed is not held up for each of its objects."""
    with new_archive() as archive:
        sent = [Sent(number, study=1) for number in range(5)]
        folder = Path(archive.storage.path(sent[0].name)).parent.parent
        folder.parent.mkdir(parents=True)
        folder.write_text("in the way")
        assert {_put(archive, each, make, encode, send) for each in sent} == {0}
        wait_until(lambda: archive.intake.count_stuck() == 5, what="they are stuck")
        begun = monotonic()
        sessions = [each.session(archive.intake, make, encode, send) for each in sent]
        assert statuses_of(archive.intake.commit(sessions)) == [0xA700] * 5
        assert monotonic() - begun < 3
        folder.unlink()
        wait_until(archive.intake.wait_for_all, 10, "they are filed after all")


@pytest.mark.parametrize("is_large", [False, True])
def test_what_waits_has_a_bound(
    make: Make, encode: Encode, send: Send, is_large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond it objects are refused, nothing of them is kept, and it is as before when there is room again."""
    monkeypatch.setattr(intake, "PATIENCE", 0.1)
    monkeypatch.setattr(intake, "WAITING_LIMIT", 3_000)
    with new_archive() as archive:
        with _locked(archive):
            statuses = [_put(archive, Sent(number), make, encode, send) for number in range(1, 30)]
            taken = statuses.count(0)
            assert statuses == [0] * taken + [0xA700] * (29 - taken)
            assert 3 < taken < 15
            assert _put(archive, Sent(99, is_large=is_large), make, encode, send) == 0xA700
        wait_until(archive.intake.wait_for_all, 10, "all is filed")
        assert len(archive.contents()["files"]) == taken
        assert archive.contents()["staged"] == []
        for number in range(1, 30):
            assert _put(archive, Sent(number), make, encode, send) == 0
            assert archive.intake.wait_for_all()
        assert len(indexed_in(archive.index)) == 29


def test_closing_while_in_trouble_leaves_all_in_the_journal(
    make: Make, encode: Encode, send: Send, tmp_path: Path
) -> None:
    """And what was filed before is not filed again."""
    with archive_in(tmp_path) as archive:
        assert _put(archive, Sent(1), make, encode, send) == 0
        assert archive.intake.wait_for_all()
        with _locked(archive):
            for sent in (Sent(2), Sent(3, is_large=True)):
                assert _put(archive, sent, make, encode, send) == 0
            assert not archive.intake.close()
            assert not archive.intake.close()
        assert len(indexed_in(archive.index)) == 1
        assert not archive.local.needs_recovery
    with archive_in(tmp_path) as archive:
        assert archive.intake.recover() == 2
        assert [name.instance for name in indexed_in(archive.index)] == [f"1.2.3.{n}" for n in (1, 2, 3)]
        assert len(files_of(tmp_path)) == 3


def test_closing_files_what_waits_and_removes_the_journal(
    make: Make, encode: Encode, send: Send, tmp_path: Path
) -> None:
    with archive_in(tmp_path) as archive:
        group = [Sent(number, is_large=number == 2) for number in range(1, 4)]
        sessions = [sent.session(archive.intake, make, encode, send) for sent in group]
        assert statuses_of(archive.intake.commit(sessions)) == [0] * 3
        assert archive.intake.close()
        assert len(indexed_in(archive.index)) == len(files_of(tmp_path)) == 3
        assert list(archive.local.journals.iterdir()) == []


def test_a_store_that_cannot_be_made_durable_keeps_its_journal(
    make: Make, encode: Encode, send: Send, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments are not used again, and the next start reads them: the content is there although a file lost it."""

    def fail(_: FolderStorage) -> None:
        raise OSError("the medium is broken")

    monkeypatch.setattr(journal, "SEGMENT_LENGTH", 1 << 11)
    with archive_in(tmp_path) as archive, monkeypatch.context() as patch:
        patch.setattr(FolderStorage, "make_durable", fail)
        for number in range(1, 10):
            assert _put(archive, Sent(number), make, encode, send) == 0
            assert archive.intake.wait_for_all()
        assert not archive.intake.close()
        assert len(list((tmp_path / "journal" / "0").iterdir())) > 2
        before = files_of(tmp_path)
    for path in before:
        (tmp_path / path).write_bytes(b"")
    with archive_in(tmp_path) as archive:
        archive.intake.recover()
        assert files_of(tmp_path) == before
        assert len(indexed_in(archive.index)) == 9
        assert list(archive.local.journals.iterdir()) == []


def test_an_object_that_the_index_refuses_does_not_stop_the_others(
    make: Make, encode: Encode, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stored, and an index that is made later is compared with it."""
    with new_archive() as archive:
        add = archive.index.add

        def added(entries: Sequence[Entry]) -> list[bool]:
            if any(entry.name.instance == "1.2.3.3" for entry in entries):
                raise UnusableObject("the index refuses it")
            return add(entries)

        monkeypatch.setattr(archive.index, "add", added)
        sessions = [Sent(number).session(archive.intake, make, encode, send) for number in range(1, 6)]
        assert statuses_of(archive.intake.commit(sessions)) == [0] * 5
        assert archive.intake.wait_for_all()
        assert [name.instance for name in indexed_in(archive.index)] == [f"1.2.3.{n}" for n in (1, 2, 4, 5)]
        assert len(files_of(archive.root)) == 5
        assert archive.local.needs_recovery


def test_a_defect_costs_one_object_and_the_thread_goes_on(
    make: Make,
    encode: Encode,
    send: Send,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken_index: Catalogue,
) -> None:
    """The journal keeps that one, and the next start files it."""
    group = [Sent(number, is_large=number == 3) for number in range(1, 6)]
    with archive_in(tmp_path) as archive:
        add = archive.index.add

        def added(entries: Sequence[Entry]) -> Sequence[bool]:
            if any(entry.name.instance in ("1.2.3.2", "1.2.3.3") for entry in entries):
                return broken_index.add(entries)
            return add(entries)

        with monkeypatch.context() as patch:
            patch.setattr(archive.index, "add", added)
            sessions = [sent.session(archive.intake, make, encode, send) for sent in group]
            assert statuses_of(archive.intake.commit(sessions)) == [0] * 5
            assert archive.intake.wait_for_all()
            found = [name.instance for name in indexed_in(archive.index)]
            assert found == [f"1.2.3.{number}" for number in (1, 4, 5)]
            assert _put(archive, Sent(6), make, encode, send) == 0
            assert archive.intake.wait_for_all()
            assert archive.local.needs_recovery
            archive.intake.close()
    with archive_in(tmp_path) as archive:
        archive.intake.recover()
        assert archive.local.was_unclean
        bring_in_line(archive.index, archive.intake)
        assert len(indexed_in(archive.index)) == len(files_of(tmp_path)) == 6
        assert staged_in(tmp_path) == []


@pytest.mark.parametrize("is_large", [False, True])
def test_a_defect_before_an_object_has_its_file_does_not_lose_it(
    make: Make, encode: Encode, send: Send, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_large: bool
) -> None:
    """Also when the archive is closed in order after that."""
    bad = Sent(2, is_large=is_large)
    with archive_in(tmp_path) as archive:
        real = FolderStorage.keep

        def keep(storage: FolderStorage, name: ObjectName, content: Content) -> bool:
            if name == bad.name:
                raise LookupError("a defect")
            return real(storage, name, content)

        with monkeypatch.context() as patch:
            patch.setattr(FolderStorage, "keep", keep)
            for sent in (Sent(1), bad, Sent(3)):
                assert _put(archive, sent, make, encode, send) == 0
            assert archive.intake.wait_for_all()
            assert [name.instance for name in indexed_in(archive.index)] == ["1.2.3.1", "1.2.3.3"]
            assert not archive.intake.close()
    with archive_in(tmp_path) as archive:
        # Nor does it keep the archive from its next start.
        with monkeypatch.context() as patch:
            patch.setattr(FolderStorage, "keep", keep)
            assert archive.intake.recover() == 0
        assert archive.intake.recover() == 1
        assert Path(archive.storage.path(bad.name)).read_bytes().endswith(bad.data(make, encode))
        assert len(indexed_in(archive.index)) == len(files_of(tmp_path)) == 3
        assert staged_in(tmp_path) == []


def test_what_another_process_cannot_file_is_counted_and_so_is_what_one_that_ended_has_left(
    tmp_path: Path, make: Make, encode: Encode, send: Send
) -> None:
    progress, sent = Progress(2), Sent(1)
    with archive_in(tmp_path) as archive:
        study = Path(archive.storage.path(sent.name)).parent.parent
        study.parent.mkdir(parents=True)
        study.write_text("in the way")
        storage = archive.storage
        first = Intake(archive.local, storage, archive.index, progress=progress, process=0)
        second = Intake(archive.local, storage, archive.index, progress=progress, process=1)
        with first, second:
            assert status_of(sent.session(second, make, encode, send).commit) == 0
            wait_until(lambda: first.count_stuck() == 1, what="it is stuck")
            # Nobody waits for it.
            assert first.wait_for_all()
    with archive_in(tmp_path) as archive:
        # It stays in a journal that no process writes any more.
        assert archive.intake.recover() == 0
        assert archive.intake.count_stuck() == 1
        study.unlink()
        archive.intake.recover_rest()
        assert archive.intake.count_stuck() == 0
        assert indexed_in(archive.index) == [sent.name]
