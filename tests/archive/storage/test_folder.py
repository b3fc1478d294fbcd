from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import pytest
from tests.archive.archives import objects_of

from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage import staging
from dicomnet.archive.storage.comparison import Comparison, compare
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.archive.storage.staging import StagedFile
from dicomnet.archive.storage.store import ObjectName
from dicomnet.drivers import medium
from dicomnet.encoding.file_header import encode_file_header

NAME = ObjectName("1.2.3", "1.2.3.4", "1.2.3.4.5")
CLASS, SYNTAX = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
_OLD = ".part"


def _file(content: bytes, name: ObjectName = NAME, sender: str = "A") -> list[bytes]:
    return [encode_file_header(CLASS, name.instance, SYNTAX, sender), b"a data set of ", content]


def _staged(local: LocalFolder, content: bytes) -> StagedFile:
    staged = local.staging.stage()
    staged.write(_file(content))
    staged.finish(sync=local.sync)
    return staged


def _path(local: LocalFolder, staged: StagedFile) -> str:
    return local.staging.path(staged.name)


def _compared(storage: FolderStorage, content: list[bytes], name: ObjectName = NAME) -> Comparison:
    return compare(storage, BytesIO(b"".join(content)), name)


def test_more_buffers_than_one_system_call_takes(tmp_path: Path) -> None:
    """And empty ones among them, so that a call ends at each kind of boundary."""
    buffers = [bytes([number % 251]) * (number % 3) for number in range(3_000)]
    with LocalFolder(tmp_path / "store") as local:
        staged = local.staging.stage()
        staged.write(buffers)
        staged.write([b"", b"the end"])
        staged.write([])
        assert Path(_path(local, staged)).read_bytes() == b"".join(buffers) + b"the end"
        staged.discard()


def test_a_part_of_the_store_may_be_on_another_file_system(tmp_path: Path) -> None:
    """By symbolic links, as administrators do it; files cannot be linked or renamed across."""
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere,
        LocalFolder(tmp_path / "store") as local,
    ):
        storage = FolderStorage.of(local)
        assert os.stat(elsewhere).st_dev != os.stat(tmp_path).st_dev
        storage.keep(NAME, _file(b"first"))
        study = Path(storage.path(NAME)).parent.parent
        shutil.move(study, elsewhere)
        study.symlink_to(Path(elsewhere) / study.name)
        other = ObjectName(NAME.study, NAME.series, "1.2.3.4.6")
        assert storage.keep(other, _file(b"kept", other))
        assert not storage.keep(other, _file(b"too late", other))
        staged = _staged(local, b"staged")
        third = ObjectName(NAME.study, "1.2.3.5", "1.2.3.4.7")
        assert storage.keep(third, staged)
        assert not os.path.exists(_path(local, staged))
        version = storage.keep_version(NAME)
        storage.replace(NAME, _file(b"second"))
        aside = storage.quarantine(other)
        assert aside is not None
        contents = {
            storage.path(NAME): _file(b"second"),
            storage.path(third): _file(b"staged"),
            str(storage.root / version.location): _file(b"first"),
            str(storage.root / aside.location): _file(b"kept", other),
        }
        for path, content in contents.items():
            assert Path(path).read_bytes() == b"".join(content)
        assert len([path for path in Path(elsewhere).rglob("*") if path.is_file()]) == 2
        storage.make_durable()
        assert [path for path in (storage.root / "staging").iterdir() if path.stat().st_size] == []


def test_what_is_not_ours_in_the_store_is_passed_over(tmp_path: Path) -> None:
    with LocalFolder(tmp_path) as local:
        storage = FolderStorage.of(local)
        storage.keep(NAME, _file(b"one"))
        folder = Path(storage.path(NAME)).parent
        (folder / "notes.txt").write_text("x")
        (folder / "x.dcm").write_text("x")
        (folder / "1.2.9.dcm").symlink_to("/etc/hostname")
        (folder.parent / "other").mkdir()
        assert objects_of(storage) == [(("1.2.3", "1.2.3.4"), ["1.2.3.4.5"])]


SCRIPT = """
import sys
from dicomnet.drivers import medium
from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.archive.storage.store import ObjectName
def done(what):
    sys.stderr.write(f"done {what}.")
    sys.stderr.flush()
local = LocalFolder(sys.argv[1])
storage = FolderStorage.of(local)
done("opened")
staged = local.staging.stage()
staged.write([b"staged"])
staged.finish(sync=True)
done("staged")
name = ObjectName("1.2.3", "1.2.4", "1.2.5")
storage.keep(name, staged)
storage.keep(ObjectName("1.2.3", "1.2.4", "1.2.6"), [b"content"])
done("kept")
storage.make_durable()
done("durable")
storage.quarantine_content("1.2.7", [b"other content"])
done("quarantined")
storage.keep_version(name)
done("version")
storage.remove(name)
done("removed")
"""


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The system calls of each part of the script, as strace writes them."""
    folder = tmp_path_factory.mktemp("traced")
    names = "trace=fdatasync,fsync,syncfs,sync,link,linkat,unlink,unlinkat,mkdir,writev,write,openat"
    subprocess.run(
        [
            "strace",
            "-fy",
            "-e",
            names,
            "-o",
            folder / "trace",
            sys.executable,
            "-c",
            SCRIPT,
            folder / "store",
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    parts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in (folder / "trace").read_text().splitlines():
        lines.append(line.split(maxsplit=1)[1])
        if "done " in line:
            parts[line.partition("done ")[2].partition(".")[0]] = lines
            lines = []
    return parts


def _at(lines: list[str], call: str, *words: str) -> int:
    """Where the first call with these words in it is."""
    return next(
        number
        for number, line in enumerate(lines)
        if line.startswith(f"{call}(") and all(word in line for word in words)
    )


def test_a_staged_file_is_on_the_medium_under_its_name(calls: dict[str, list[str]]) -> None:
    staged = calls["staged"]
    path = staged[_at(staged, "writev", "staged")].partition("<")[2].partition(">")[0]
    made = _at(staged, "openat", path, "O_CREAT", "O_EXCL")
    assert made < _at(staged, "fsync", "/staging>") < _at(staged, "writev", "staged")
    assert _at(staged, "writev", "staged") < _at(staged, "fdatasync", path)


def test_keeping_waits_for_nothing_and_all_of_it_is_durable_by_one_call(calls: dict[str, list[str]]) -> None:
    assert not [line for line in calls["kept"] if "sync" in line.partition("(")[0]]
    assert len([line for line in calls["kept"] if line.startswith("link")]) == 2
    flushes = [line for line in calls["durable"] if "sync" in line.partition("(")[0]]
    # One for the folder of the objects, and one for what of it may be on another file system.
    assert [line.partition("(")[0] for line in flushes] == ["syncfs"] * 2
    assert "/objects>" in flushes[0]


@pytest.mark.parametrize("part", ["quarantined", "version"])
def test_what_is_set_aside_is_durable_at_once(calls: dict[str, list[str]], part: str) -> None:
    """The content before the name, and then every folder in which there is a new name."""
    lines = calls[part]
    linked = _at(lines, "link", "/1.2.")
    source, target = lines[linked].split('"')[1:4:2]
    assert _at(lines, "fsync", f"<{source}>") < linked
    folder, _, _ = target.rpartition("/")
    above = folder.rpartition("/")[0]
    for changed in (folder, above, above.rpartition("/")[0]):
        assert _at(lines[linked:], "fsync", f"<{changed}>")


def test_what_is_removed_is_removed_durably(calls: dict[str, list[str]]) -> None:
    lines = calls["removed"]
    assert _at(lines, "unlink", "1.2.5.dcm") < _at(lines, "fsync", "/1.2.4>")


def test_without_sync_nothing_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError(arguments)

    for where, call in ((os, "fsync"), (os, "sync"), (staging, "_FLUSH_DATA"), (medium, "_SYNCFS")):
        monkeypatch.setattr(where, call, refuse)
    with LocalFolder(tmp_path, sync=False) as local:
        storage = FolderStorage.of(local)
        assert storage.keep(NAME, _file(b"one"))
        assert not storage.keep(NAME, _staged(local, b"two"))
        storage.keep_version(NAME)
        storage.quarantine(NAME)
        storage.quarantine_content(NAME.instance, _file(b"three"))
        storage.make_durable()
        local.needs_recovery = True


def test_a_file_system_that_cannot_be_flushed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalFolder(tmp_path) as local:
        storage = FolderStorage.of(local)
        storage.keep(NAME, _file(b"one"))

        def fail(descriptor: int) -> int:
            ctypes.set_errno(errno.EIO)
            return -1

        with monkeypatch.context() as patch:
            patch.setattr(medium, "_SYNCFS", fail)
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                storage.make_durable()
        storage.make_durable()


def test_a_staged_file_that_cannot_be_closed_is_not_closed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number may belong to another file by then."""
    with LocalFolder(tmp_path) as local:
        staged = local.staging.stage()
        descriptor = staged.descriptor
        calls: list[int] = []
        real = os.close

        def fail(what: int) -> None:
            real(what)
            if what == descriptor:
                calls.append(what)
                raise OSError(errno.EIO, "it fails")

        with monkeypatch.context() as patch:
            patch.setattr(os, "close", fail)
            with pytest.raises(OSError, match="it fails"):
                staged.finish(sync=True)
            staged.discard()
            staged.discard()
        assert len(calls) == 1
        assert not os.path.exists(_path(local, staged))


def test_a_staged_file_that_has_its_name_and_cannot_be_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever tries again finds the object under its name."""
    with LocalFolder(tmp_path) as local:
        storage = FolderStorage.of(local)
        staged = _staged(local, b"one")
        path = _path(local, staged)
        unlink = os.unlink

        def fail(what: object) -> None:
            if what == path:
                raise OSError(errno.EIO, "it fails")
            unlink(what)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", fail)
            with pytest.raises(OSError, match="it fails"):
                storage.keep(NAME, staged)
        assert not storage.keep(NAME, staged)
        assert _compared(storage, _file(b"one")) is Comparison.SAME
        staged.discard()
        staged.discard()


@pytest.mark.parametrize("is_staged", [False, True])
def test_folders_that_were_removed_from_outside_are_made_anew(tmp_path: Path, is_staged: bool) -> None:
    with LocalFolder(tmp_path) as local:
        storage = FolderStorage.of(local)
        for content in (b"one", b"two"):
            assert storage.keep(NAME, _staged(local, content) if is_staged else _file(content))
            assert Path(storage.path(NAME)).read_bytes() == b"".join(_file(content))
            for path in (tmp_path / "objects").iterdir():
                shutil.rmtree(path)


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR])
def test_a_file_system_that_has_no_files_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Such are those of networks; an object is staged there, and linked."""
    opened = os.open

    def refuse(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(number, os.strerror(number), path)
        return opened(path, flags, mode)

    with LocalFolder(tmp_path) as local:
        storage = FolderStorage.of(local)
        monkeypatch.setattr(os, "open", refuse)
        assert storage.keep(NAME, _file(b"first"))
        assert not storage.keep(NAME, _file(b"second"))
        assert Path(storage.path(NAME)).read_bytes() == b"".join(_file(b"first"))
        assert not list((tmp_path / "staging").iterdir())


def test_a_ram_disk_keeps_nothing(tmp_path: Path) -> None:
    with LocalFolder(tmp_path / "a") as flushed, LocalFolder(tmp_path / "b", sync=False) as not_flushed:
        assert FolderStorage.of(not_flushed).is_volatile
        device = os.stat(tmp_path).st_dev
        is_memory = device == os.stat("/dev/shm").st_dev
        assert FolderStorage.of(flushed).is_volatile is is_memory
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory, LocalFolder(memory) as local:
        assert FolderStorage.of(local).is_volatile


def test_what_does_not_belong_to_the_store_is_found_and_set_aside(tmp_path: Path) -> None:
    with LocalFolder(tmp_path) as local:
        storage = FolderStorage.of(local)
        storage.keep(NAME, _file(b"first"))
        storage.keep_version(NAME)
        path = Path(storage.path(NAME))
        series, study = path.parent, path.parent.parent
        elsewhere = tmp_path / "objects" / "zz"
        planted = [
            tmp_path / "objects" / "notes.txt",
            study / "1.2.dcm",
            series / "image.dcm",
            series / "1.2.3",
            series / f"1.2.dcm.77{_OLD}",
            elsewhere / study.name / series.name / path.name,
            tmp_path / "quarantine" / "1.2.3" / "1.dcm",
            tmp_path / "versions" / "x" / f"{'0' * 64}.dcm",
        ]
        for each in planted:
            each.parent.mkdir(parents=True, exist_ok=True)
            each.write_text("stray")
        os.utime(planted[4], (0, 0))
        # Such a copy is being made, and what the file system puts at its top belongs there.
        (series / f"1.3.dcm.78{_OLD}").touch()
        (tmp_path / "objects" / "lost+found").mkdir()
        unread: list[OSError] = []
        found = [tmp_path / location for location in storage.strays(unread.append)]
        assert sorted(found) == sorted(planted)
        assert unread == []
        for each in planted:
            moved = storage.set_stray_aside(each.relative_to(tmp_path).as_posix())
            assert (tmp_path / moved).read_text() == "stray"
        assert list(storage.strays(unread.append)) == []
        assert objects_of(storage) == [((NAME.study, NAME.series), [NAME.instance])]


def test_a_link_to_a_file_system_that_is_not_mounted_is_not_an_empty_folder(tmp_path: Path) -> None:
    with LocalFolder(tmp_path / "store") as local:
        storage = FolderStorage.of(local)
        storage.keep(NAME, _file(b"first"))
        study = Path(storage.path(NAME)).parent.parent
        shutil.move(study, tmp_path / "mounted")
        study.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OSError, match="link to what is not there") as refused:
            list(storage.instances(NAME.study, NAME.series))
        assert not isinstance(refused.value, FileNotFoundError)
        unread: list[OSError] = []
        assert list(storage.strays(unread.append)) == []
        assert [each.filename for each in unread] == [str(study)]
