"""Files that are moved or deleted: only with the content that was known, and never over another one."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dicomnet.exchange.disposal import Changed, delete, move
from dicomnet.exchange.hot_folder import Identity, identity_of


def known(path: Path) -> Identity:
    found = identity_of(str(path))
    assert found is not None
    return found


def names(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def rewrite(path: Path) -> None:
    path.write_bytes(b"other")


def replace_under_the_same_size_and_time(path: Path) -> None:
    before = path.stat()
    other = path.with_name("new")
    other.write_bytes(b"OTHER"[: before.st_size])
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def rewrite_under_the_same_size_and_time(path: Path) -> None:
    before = path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        path.write_bytes(b"OTHER")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = [rewrite, replace_under_the_same_size_and_time, rewrite_under_the_same_size_and_time, Path.unlink]


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_stays(tmp_path: Path, change: Callable[[Path], None]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "a"
    path.write_bytes(b"image")
    identity = known(path)
    change(path)
    left = names(folder)
    with pytest.raises(Changed):
        delete(str(path), identity)
    with pytest.raises(Changed):
        move(str(path), identity, str(tmp_path / "done"), "a")
    assert names(folder) == left
    assert names(tmp_path / "done") == {}


def test_a_file_that_takes_the_place_at_the_last_moment_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes between the last look and the renaming."""
    path = tmp_path / "a"
    path.write_bytes(b"image")
    identity = known(path)
    rename = os.replace

    def come_between(source: str, target: str) -> None:
        monkeypatch.undo()
        (tmp_path / "new").write_bytes(b"fresh")
        rename(tmp_path / "new", path)
        rename(source, target)

    monkeypatch.setattr(os, "replace", come_between)
    with pytest.raises(Changed):
        delete(str(path), identity)
    assert names(tmp_path) == {"a": b"fresh"}


def test_a_file_that_is_open_for_writing_stays(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"image")
    with path.open("ab"):
        with pytest.raises(Changed):
            delete(str(path), known(path))
        assert names(tmp_path) == {"a": b"image"}
    delete(str(path), known(path))
    assert names(tmp_path) == {}


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    done = tmp_path / "done"
    for content in (b"1", b"2", b"3"):
        path = tmp_path / "a.dcm"
        path.write_bytes(content)
        move(str(path), known(path), str(done), "sub/a.dcm")
    assert names(tmp_path) == {"done/sub/a.dcm": b"1", "done/sub/a (2).dcm": b"2", "done/sub/a (3).dcm": b"3"}


def test_a_name_of_odd_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\n\x80.dcm")
    path = tmp_path / name
    path.write_bytes(b"image")
    assert move(str(path), known(path), str(tmp_path / "done"), name) == str(tmp_path / "done" / name)
    assert names(tmp_path) == {f"done/{name}": b"image"}


def test_another_file_system(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.fail("the test needs two file systems")
    path = tmp_path / "a"
    path.write_bytes(b"image")
    folder = other / f"dicomnet-{os.getpid()}"
    try:
        target = Path(move(str(path), known(path), str(folder), "a"))
        assert target.read_bytes() == b"image"
        assert names(tmp_path) == {}
    finally:
        for each in folder.iterdir():
            each.unlink()
        folder.rmdir()


def test_a_file_that_cannot_be_moved_is_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"image")
    (tmp_path / "done").write_bytes(b"a file, and no folder")
    with pytest.raises(OSError, match="done"):
        move(str(path), known(path), str(tmp_path / "done"), "a")
    assert names(tmp_path) == {"a": b"image", "done": b"a file, and no folder"}


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_an_interrupt_behind_the_end_of_a_move_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_elsewhere: bool
) -> None:
    """The file was there no longer, and what had been moved was taken away again."""
    path = tmp_path / "a.dcm"
    path.write_bytes(b"object")
    identity = identity_of(str(path))
    assert identity is not None
    replace, unlink = os.replace, os.unlink

    def replaced(source: str, target: str) -> None:
        if source.endswith(".claimed"):
            if is_elsewhere:
                raise OSError(errno.EXDEV, "another file system")
            replace(source, target)
            raise KeyboardInterrupt
        replace(source, target)

    def unlinked(name: str) -> None:
        unlink(name)
        if is_elsewhere and name.endswith(".claimed"):
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(os, "unlink", unlinked)
    with pytest.raises(KeyboardInterrupt):
        move(str(path), identity, str(tmp_path / "done"), "a.dcm")
    assert (tmp_path / "done" / "a.dcm").read_bytes() == b"object"
    assert not path.exists()
