"""The intake journal: what it gives back after a crash is what was flushed, in order, and nothing else."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.sockets import descriptors

from dicomnet.archive import journal as module
from dicomnet.archive.journal import SEGMENT_LENGTH, Journal, Position, Segment, read, remove


def kept(folder: Path) -> list[tuple[bytes, bytes]]:
    return [(record.description, record.content) for record in read(folder)]


def test_what_was_appended_is_read_again_in_its_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal" / "0")
    for number in range(5):
        position = journal.append(b"%d" % number, (b"con", b"tent %d" % number))
        journal.flush(position.number)
    assert kept(tmp_path / "journal" / "0") == [(b"%d" % n, b"content %d" % n) for n in range(5)]


@settings(max_examples=30)
@given(st.lists(st.integers(0, SEGMENT_LENGTH // 3), min_size=1, max_size=8))
def test_records_of_any_length_fill_segment_after_segment(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder / "0", sync=False)
    contents = [bytes([number % 251]) * length for number, length in enumerate(lengths)]
    for number, content in enumerate(contents):
        journal.append(b"%d" % number, (content,))
    assert kept(folder / "0") == [(b"%d" % number, content) for number, content in enumerate(contents)]
    journal.close(is_filed=True)
    assert kept(folder / "0") == []
    assert not (folder / "0").exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "zeros"])
def test_a_record_that_is_half_there_ends_the_journal(tmp_path: Path, damage: str) -> None:
    """It cannot have been acknowledged; those before it were."""
    journal = Journal(tmp_path / "0")
    first = journal.append(b"first", (b"whole",))
    second = journal.append(b"second", (bytes(range(256)) * 40,))
    journal.flush(second.number)
    path = Path(first.segment.path)
    content = bytearray(path.read_bytes())
    at = content.index(b"second") + 5_000
    if damage == "cut":
        del content[at:]
    elif damage == "flipped":
        content[at] ^= 1
    else:
        content[at:] = bytes(len(content) - at)
    path.write_bytes(content)
    assert kept(tmp_path / "0") == [(b"first", b"whole")]


def test_a_segment_is_used_again_and_what_it_held_is_gone(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "0")
    third = bytes(SEGMENT_LENGTH // 3)
    old = [journal.append(b"old %d" % number, (third,)) for number in range(4)]
    done = journal.filed(old)
    assert len(done) == 1
    journal.recycle(done)
    assert [record.description for record in read(tmp_path / "0")] == [b"old 2", b"old 3"]
    for number in range(3):
        journal.append(b"new %d" % number, (b"short",))
    journal.append(b"new 3", (third + third,))
    names = [record.description for record in read(tmp_path / "0")]
    assert names[:2] == [b"old 2", b"old 3"]
    assert names[2:] == [b"new 0", b"new 1", b"new 2", b"new 3"]
    assert len(list((tmp_path / "0").iterdir())) <= 3


def test_one_flush_serves_all_who_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "0")
    journal.flush(journal.append(b"made", ()).number)
    flushes: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def flush(descriptor: int) -> None:
        flushes.append(descriptor)
        begun.set()
        assert go_on.wait(10)

    monkeypatch.setattr(module, "_flush_data", flush)
    leader = threading.Thread(target=journal.flush, args=(journal.append(b"0", ()).number,))
    leader.start()
    assert begun.wait(10)
    others = [journal.append(b"%d" % number, ()).number for number in range(1, 9)]
    threads = [threading.Thread(target=journal.flush, args=(number,)) for number in others]
    for thread in threads:
        thread.start()
    go_on.set()
    for thread in [leader, *threads]:
        thread.join(10)
    assert len(flushes) == 2


def failing(what: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(what, os.strerror(what))

    return fail


def test_what_cannot_be_written_leaves_no_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "0")
    journal.append(b"first", (b"1",))
    with monkeypatch.context() as patch:
        patch.setattr(module, "_write", failing(errno.EIO))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            journal.append(b"lost", (b"2",))
    journal.flush(journal.append(b"second", (b"3",)).number)
    assert kept(tmp_path / "0") == [(b"first", b"1"), (b"second", b"3")]


def test_what_could_not_be_flushed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sender was refused, and may send something else under the same UID."""
    journal = Journal(tmp_path / "0")
    journal.flush(journal.append(b"kept", (b"1",)).number)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_flush_data", failing(errno.EIO))
        refused = journal.append(b"refused", (b"2",))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            journal.flush(refused.number)
        journal.refused([refused])
    journal.flush(journal.append(b"later", (b"3",)).number)
    assert kept(tmp_path / "0") == [(b"kept", b"1"), (b"later", b"3")]


def test_a_disk_without_room_for_a_segment_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "0")
    with monkeypatch.context() as patch:
        patch.setattr(module, "_write", failing(errno.ENOSPC))
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            journal.append(b"x", (b"1",))
    assert list((tmp_path / "0").iterdir()) == []
    journal.flush(journal.append(b"y", (b"2",)).number)
    assert kept(tmp_path / "0") == [(b"y", b"2")]
    journal.close(is_filed=False)
    remove(tmp_path / "0")
    assert not (tmp_path / "0").exists()


def test_whoever_waited_for_a_flush_that_failed_is_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that one flush was to serve; those before and after are not."""
    journal = Journal(tmp_path / "0")
    before = journal.append(b"before", ())
    journal.flush(before.number)
    positions = [journal.append(b"%d" % number, ()) for number in range(4)]
    with monkeypatch.context() as patch:
        patch.setattr(module, "_flush_data", failing(errno.EIO))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            journal.flush(positions[1].number)
    for position in positions:
        with pytest.raises(OSError, match="flushed"):
            journal.flush(position.number)
    journal.refused(positions)
    after = journal.append(b"after", ())
    journal.flush(after.number)
    journal.flush(before.number)
    for position in positions:
        with pytest.raises(OSError, match="flushed"):
            journal.flush(position.number)
    assert [each.description for each in read(tmp_path / "0")] == [b"before", b"after"]


def test_a_full_segment_that_cannot_be_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later flush would succeed, as the system tells of an error once; the record is not acknowledged by it."""
    journal = Journal(tmp_path / "0")
    half = bytes(SEGMENT_LENGTH // 2)
    waiting = journal.append(b"waits", (half,))
    with monkeypatch.context() as patch:
        patch.setattr(module, "_flush_data", failing(errno.EIO))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            journal.append(b"no room", (half,))
    with pytest.raises(OSError, match="flushed"):
        journal.flush(waiting.number)
    journal.refused([waiting])
    journal.flush(journal.append(b"later", (half,)).number)
    assert [each.description for each in read(tmp_path / "0")] == [b"later"]


def test_what_is_refused_again_and_again_fills_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written behind what could not be flushed, so that each further record is in a segment of its own."""
    before = descriptors()
    journal = Journal(tmp_path / "0")
    first = journal.append(b"first", ())
    journal.flush(first.number)
    for _ in range(5):
        with monkeypatch.context() as patch:
            patch.setattr(module, "_flush_data", failing(errno.EIO))
            refused = journal.append(b"refused", ())
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                journal.flush(refused.number)
            journal.refused([refused])
        assert len(list((tmp_path / "0").iterdir())) == 1
        assert descriptors() <= before + 1
    done = journal.filed([first])
    journal.recycle(done)
    half = bytes(SEGMENT_LENGTH // 2)
    for number in range(2):
        journal.flush(journal.append(b"%d" % number, (half,)).number)
    assert len(list((tmp_path / "0").iterdir())) == 2
    assert [each.description for each in read(tmp_path / "0")] == [b"0", b"1"]
    journal.close(is_filed=True)
    assert not (tmp_path / "0").exists()
    assert descriptors() <= before


def test_a_segment_that_cannot_be_made_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when the first segment is."""
    journal = Journal(tmp_path / "0")
    half = bytes(SEGMENT_LENGTH // 2)
    journal.flush(journal.append(b"first", (half,)).number)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_write", failing(errno.ENOSPC))
        for _ in range(2):
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                journal.append(b"refused", (half,))
    journal.flush(journal.append(b"second", (half,)).number)
    assert [each.description for each in read(tmp_path / "0")] == [b"first", b"second"]


def test_a_mark_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The segment is not used again until it has one."""
    journal = Journal(tmp_path / "0")
    half = bytes(SEGMENT_LENGTH // 2)
    old = [journal.append(b"old %d" % number, (half,)) for number in range(3)]
    done = journal.filed(old[:2])
    with monkeypatch.context() as patch:
        patch.setattr(module, "_flush_data", failing(errno.EIO))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            journal.recycle(done)
    again = journal.filed([])
    assert again == done
    journal.recycle(again)
    assert [each.description for each in read(tmp_path / "0")] == [b"old 2"]


def test_a_closed_journal_takes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "0")
    journal.close(is_filed=True)
    journal.close(is_filed=False)
    with pytest.raises(ValueError):
        journal.append(b"late", ())


STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 1_500)),
    st.tuples(st.just("flush"), st.booleans()),
    st.tuples(st.just("file"), st.integers(1, 6)),
    st.tuples(st.just("recycle"), st.booleans()),
)


@settings(max_examples=60)
@example(steps=[("append", 1_010), ("append", 1_500), ("append", 1_500), ("flush", False)])
@given(steps=st.lists(STEPS, min_size=1, max_size=60))
def test_after_a_crash_at_any_moment_there_is_what_was_acknowledged(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    """Of a killed process, and after a power cut, when only what was flushed is there. Nothing that was refused is."""
    root = tmp_path_factory.mktemp("journal")
    medium = root / "medium"
    medium.mkdir()
    is_broken = False

    def flush(descriptor: int) -> None:
        if is_broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.suffix == ".segment":
            (medium / path.name).write_bytes(path.read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SEGMENT_LENGTH", 4_096)
        patch.setattr(module, "_BLOCK", bytes(4_096))
        patch.setattr(module, "_flush_data", flush)
        patch.setattr(os, "fsync", flush)
        journal = Journal(root / "0")
        appended: dict[int, bytes] = {}
        waiting: dict[int, Position] = {}
        acknowledged: dict[int, Position] = {}
        refused: set[int] = set()
        done: list[Segment] = []
        for what, how in steps:
            if what == "append":
                content = bytes([len(appended) % 251]) * how
                position = journal.append(b"%d" % len(appended), (content,))
                appended[position.number] = b"%d %b" % (len(appended), content)
                waiting[position.number] = position
            elif what == "flush" and waiting:
                is_broken = not how
                for number, position in waiting.items():
                    try:
                        journal.flush(number)
                        acknowledged[number] = position
                    except OSError:
                        refused.add(number)
                        journal.refused([position])
                waiting = {}
                is_broken = False
            elif what == "file":
                numbers = sorted(acknowledged)[:how]
                done += journal.filed([acknowledged.pop(number) for number in numbers])
            elif what == "recycle" and done:
                is_broken = not how
                try:
                    journal.recycle(done)
                except OSError:
                    # They are given again.
                    pass
                is_broken = False
                done = []
            killed, cut = ({each.number: each for each in read(folder)} for folder in (root / "0", medium))
            for number in acknowledged:
                assert number in killed
                assert number in cut
            for found in (killed, cut):
                for number, record in found.items():
                    assert b"%b %b" % (record.description, record.content) == appended[number]
                assert list(found) == sorted(found)
                assert not refused & found.keys()
            # Nothing older than what is gone.
            begin = min(killed, default=len(appended) + 1)
            assert killed.keys() == {n for n in appended if n >= begin} - refused
        journal.close(is_filed=False)
