"""Files that are moved or deleted: only with the content that was known, and never over another one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

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


_ENDED = """
import os, sys
from itertools import count
from pathlib import Path
from dicomnet.exchange import disposal
from dicomnet.exchange.hot_folder import identity_of

folder, done, way, end = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
path = folder / "a.dcm"

def act():
    identity = identity_of(str(path))
    if way == "delete":
        disposal.delete(str(path), identity)
    else:
        disposal.move(str(path), identity, str(done), "a.dcm")

def trace(frame, event, value):
    global left
    if frame.f_code.co_filename != disposal.__file__:
        return None
    left -= 1
    if left < 0:
        sys.settrace(None)
        if end == "kill":
            os._exit(1)
        raise KeyboardInterrupt
    return trace

for turn in count():
    path.write_bytes(b"image")
    child = os.fork()
    if not child:
        left, status = turn, 0
        sys.settrace(trace)
        try:
            act()
        except KeyboardInterrupt:
            status = 1
        sys.settrace(None)
        os._exit(status)
    _, status = os.waitpid(child, 0)
    found = [each for where in (folder, done) for each in where.rglob("*") if each.is_file()]
    whole = [each for each in found if each.read_bytes() == b"image"]
    is_gone = way == "delete" and not whole
    assert whole or is_gone, (turn, found)
    # Nobody takes a part of it for it: what is not whole has a name that says so.
    assert all(each in whole or each.suffix == ".part" and end == "kill" for each in found), (turn, found)
    for each in found:
        each.unlink()
    if not status:
        break
print(turn)
"""


@pytest.mark.parametrize("end", ["kill", "interrupt"])
@pytest.mark.parametrize("way", ["delete", "move", "move elsewhere"])
def test_what_ends_it_at_any_line_loses_nothing(way: str, end: str, tmp_path: Path) -> None:
    folder, done = tmp_path / "in", tmp_path / "done"
    folder.mkdir()
    with TemporaryDirectory(dir="/dev/shm") as elsewhere:
        if way == "move elsewhere":
            done = Path(elsewhere)
            assert done.stat().st_dev != folder.stat().st_dev
        arguments = [sys.executable, "-c", _ENDED, str(folder), str(done), way, end]
        ended = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert int(ended.stdout) > 10
