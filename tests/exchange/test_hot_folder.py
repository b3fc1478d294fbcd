"""A hot folder: which files are complete, and when they are sent again."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from dicomnet.exchange.hot_folder import HotFolder, objects_in
from dicomnet.exchange.results import StoreResult


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def folder_of(path: Path, clock: Clock, *without: Path) -> HotFolder:
    return HotFolder(str(path), 2.0, [str(each) for each in without], clock)


def test_a_file_is_ready_when_it_has_not_changed_for_a_while(tmp_path: Path) -> None:
    clock = Clock()
    folder = folder_of(tmp_path, clock)
    path = tmp_path / "sub" / "a"
    path.parent.mkdir()
    path.write_bytes(b"1")
    folder.look()
    clock.now += 1.9
    folder.look()
    assert not folder.ready()
    path.write_bytes(b"12")
    folder.look()
    clock.now += 1.9
    folder.look()
    assert not folder.ready()
    clock.now += 0.1
    folder.look()
    assert list(folder.ready()) == [str(path)]
    folder.finish(str(path))
    folder.look()
    assert not folder.ready()
    path.write_bytes(b"123")
    folder.look()
    clock.now += 2
    assert list(folder.ready()) == [str(path)]
    path.unlink()
    assert folder.look() == [str(path)]


def test_a_file_that_is_old_by_its_time_waits_as_well(tmp_path: Path) -> None:
    """A copy that keeps the time, or a share whose clock is behind."""
    path = tmp_path / "a"
    path.write_bytes(b"1")
    os.utime(path, (0, 0))
    folder = folder_of(tmp_path, Clock())
    folder.look()
    assert folder.is_waiting
    assert not folder.ready()


def test_names_of_what_is_not_finished_and_other_folders_are_left_alone(tmp_path: Path) -> None:
    clock = Clock()
    done = tmp_path / "done"
    done.mkdir()
    for name in (".a.dcm.Xy12", "a.part", "b.TMP", "c.filepart", "d.partial", "done/e", "f"):
        (tmp_path / name).write_bytes(b"1")
    os.mkfifo(tmp_path / "pipe")
    folder = folder_of(tmp_path, clock, done, tmp_path / "not-there")
    folder.look()
    clock.now += 2
    assert list(folder.ready()) == [str(tmp_path / "f")]


def test_the_wait_for_the_next_try_grows_up_to_a_minute(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "a"
    path.write_bytes(b"1")
    folder = folder_of(tmp_path, clock)
    folder.look()
    clock.now += 2
    for number in range(2000):
        wait = 2.0**number if number < 6 else 60.0
        assert folder.postpone(str(path)) is (number == 0)
        clock.now += wait - 0.5
        assert not folder.ready()
        clock.now += 0.5
        assert folder.ready()


def test_a_file_that_is_open_for_writing_is_not_ready(tmp_path: Path) -> None:
    """Its writer pauses for longer than any time that one would wait."""
    clock = Clock()
    path = tmp_path / "a"
    folder = folder_of(tmp_path, clock)
    with path.open("wb") as file:
        file.write(b"1")
        file.flush()
        for _ in range(5):
            folder.look()
            assert not folder.ready()
            clock.now += 100
    with path.open("rb"):
        clock.now += 100
        folder.look()
        clock.now += 2
        assert list(folder.ready()) == [str(path)]


def test_an_archive_with_nothing_in_it_is_told_of(tmp_path: Path) -> None:
    """It had no result, and was looked into without end."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.mkdir("folder")
    (found,) = objects_in([str(path)])
    assert isinstance(found, StoreResult)
    assert (found.is_skipped, found.comment) == (True, "nothing is in it")


def test_files_that_are_left_out(tmp_path: Path) -> None:
    """Such as a journal in the folder, whatever its name."""
    clock = Clock()
    for name in ("journal", "a"):
        (tmp_path / name).write_bytes(b"1")
    folder = folder_of(tmp_path, clock, tmp_path / "journal", tmp_path / "journal-wal")
    folder.look()
    clock.now += 2
    assert list(folder.ready()) == [str(tmp_path / "a")]
