"""The intake journal: what it gives back after a crash is what was flushed, in order, and nothing else."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnet.archive import journal as module
from dicomnet.archive.journal import SEGMENT_LENGTH, Journal, read, remove


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
        journal.filed([refused])
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
