from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnet.archive.storage import folder as module
from dicomnet.archive.storage import staging
from dicomnet.archive.storage.comparison import Comparison
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.archive.storage.store import ObjectName
from dicomnet.encoding.file_header import encode_file_header
from dicomnet.encoding.identity import is_uid
from dicomnet.errors import StoreInUse

NAME = ObjectName("1.2.3", "1.2.3.4", "1.2.3.4.5")
CLASS, SYNTAX = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


def _file(content: bytes, name: ObjectName = NAME, sender: str = "A") -> list[bytes]:
    return [encode_file_header(CLASS, name.instance, SYNTAX, sender), b"a data set of ", content]


def _staged(storage: FolderStorage, content: bytes) -> str:
    staged = storage.stage()
    staged.write(_file(content))
    staged.finish(sync=storage.sync)
    return staged.path


def _compared(storage: FolderStorage, content: list[bytes], name: ObjectName = NAME) -> Comparison:
    return storage.compare(BytesIO(b"".join(content)), name)


@pytest.mark.parametrize(
    "text",
    [
        "../../x",
        "/etc/passwd",
        "",
        "1" * 65,
        "1.2\0",
        "1.2\n",
        "１.２",
        "1..2",
        ".1",
        "1.",
        "1.2/3",
        "a.b",
        " 1",
        "1.2 ",
        "..",
    ],
)
def test_what_is_no_uid_names_nothing(text: str) -> None:
    assert not is_uid(text)
    for names in ((text, "1.2", "1.3"), ("1.2", text, "1.3"), ("1.2", "1.3", text)):
        with pytest.raises(ValueError):
            ObjectName(*names)


@given(st.text(alphabet="0123456789./\\~\0 aä%", max_size=70))
def test_a_uid_cannot_leave_its_folder(text: str) -> None:
    if is_uid(text):
        assert text not in (".", "..", "")
        assert set(text) <= set("0123456789.")
        assert len(text) <= 64


@pytest.mark.parametrize("text", ["1.2.840.10008.1.2", "0.01.002", "1" * 64, "7"])
def test_uids_of_real_devices(text: str) -> None:
    assert is_uid(text)


@pytest.mark.parametrize("is_staged", [False, True])
def test_a_name_is_given_once(tmp_path: Path, files: Callable[[Path], list[str]], is_staged: bool) -> None:
    """Nothing is overwritten, and what is refused leaves nothing."""
    with FolderStorage(tmp_path / "store") as storage:

        def keep(content: bytes) -> bool:
            if not is_staged:
                return storage.keep(NAME, _file(content))
            path = _staged(storage, content)
            is_kept = storage.keep_staged(NAME, path)
            assert os.path.exists(path) is not is_kept
            storage.discard_staged(path)
            return is_kept

        assert not storage.has(NAME)
        assert keep(b"one")
        assert storage.has(NAME)
        for content in (b"one", b"two", b"on"):
            assert not keep(content)
        assert Path(storage.path(NAME)).read_bytes() == b"".join(_file(b"one"))
        assert list(storage.objects()) == [(("1.2.3", "1.2.3.4"), ["1.2.3.4.5"])]
        assert _compared(storage, _file(b"one", sender="B")) is Comparison.SAME
        assert [_compared(storage, _file(content)) for content in (b"two", b"on")] == [Comparison.OTHER] * 2
    assert [path.rpartition("/")[2] for path in files(tmp_path)] == ["lock", "1.2.3.4.5.dcm"]


def test_quarantine_keeps_each_content_once(tmp_path: Path) -> None:
    with FolderStorage(tmp_path) as storage:
        kept = [
            storage.quarantine_content("1.2", _file(b"one")),
            storage.quarantine_staged("1.2", _staged(storage, b"one")),
            storage.quarantine_staged("1.2", _staged(storage, b"two")),
            storage.quarantine_content("1.2", _file(b"two")),
            storage.quarantine_content("1.3", _file(b"two")),
        ]
        assert [each.location for each in kept] == [
            f"quarantine/{instance}/{sha256(b''.join(_file(content))).hexdigest()}.dcm"
            for instance, content in (
                ("1.2", b"one"),
                ("1.2", b"one"),
                ("1.2", b"two"),
                ("1.2", b"two"),
                ("1.3", b"two"),
            )
        ]
        for each in kept:
            content = (tmp_path / each.location).read_bytes()
            assert (len(content), sha256(content).hexdigest()) == (each.size, each.digest)
        assert len(list(storage.quarantined())) == 3
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_second_process_is_refused_and_a_dead_one_leaves_no_lock(tmp_path: Path) -> None:
    script = (
        "import sys, os, signal; from dicomnet.archive.storage.folder import FolderStorage;"
        "s = FolderStorage(sys.argv[1]); s.stage().write([b'half']); print('ready', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
        " if sys.stdin.readline() else None"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(StoreInUse):
            FolderStorage(tmp_path)
        left = [path.read_bytes() for path in (tmp_path / "staging").iterdir()]
        assert b"half" in left
        process.stdin.write("\n")
        process.stdin.flush()
        process.wait(10)
    with FolderStorage(tmp_path) as storage:
        assert not storage.was_unclean
        storage.clear_staging()
        assert list((tmp_path / "staging").iterdir()) == []
        with pytest.raises(StoreInUse):
            FolderStorage(tmp_path)


def test_a_store_knows_that_an_index_may_lack_objects_until_that_is_mended(tmp_path: Path) -> None:
    """Also after a process that was killed, which is like one that never closes."""
    with FolderStorage(tmp_path) as storage:
        assert not storage.was_unclean
        assert (tmp_path / "lock").read_text() == "in use\n"
        storage.needs_recovery = True
        assert (tmp_path / "lock").read_text() == "unindexed\n"
    for _ in range(2):
        with FolderStorage(tmp_path) as storage:
            assert storage.was_unclean
            assert storage.needs_recovery
            assert (tmp_path / "lock").read_text() == "unindexed\n"
    with FolderStorage(tmp_path) as storage:
        storage.needs_recovery = False
        assert (tmp_path / "lock").read_text() == "in use\n"
    assert (tmp_path / "lock").read_text() == "at rest\n"
    with FolderStorage(tmp_path) as storage:
        assert not storage.was_unclean


def test_what_a_process_has_left_is_removed_but_for_what_is_needed(tmp_path: Path) -> None:
    names = ("12-0", "12-1-7", "12-2", "123-0", "1-2")
    with FolderStorage(tmp_path) as storage:
        staging = tmp_path / "staging"

        def left() -> set[str]:
            return {path.name for path in staging.iterdir()}

        for name in names:
            (staging / name).write_bytes(b"half")
        storage.clear_staging(12, keep={"12-2", "1-2"})
        assert left() == {"12-2", "123-0", "1-2"}
        storage.clear_staging(keep=["1-2"])
        assert left() == {"1-2"}
        storage.clear_staging()
        assert left() == set()


@pytest.mark.parametrize("contents", [[b"same"] * 16, [bytes([number]) for number in range(16)]])
@pytest.mark.parametrize("is_staged", [False, True])
def test_sixteen_at_once(tmp_path: Path, contents: list[bytes], is_staged: bool) -> None:
    with FolderStorage(tmp_path, sync=False) as storage:
        found: list[tuple[bool, bytes]] = []
        start = threading.Barrier(len(contents))

        def run(content: bytes) -> None:
            path = _staged(storage, content) if is_staged else ""
            start.wait()
            kept = storage.keep_staged(NAME, path) if path else storage.keep(NAME, _file(content))
            found.append((kept, content))

        threads = [threading.Thread(target=run, args=(content,)) for content in contents]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        [winner] = [content for is_kept, content in found if is_kept]
        assert len(found) == 16
        assert Path(storage.path(NAME)).read_bytes() == b"".join(_file(winner))
        # Of the losers, only those that were staged are there, for whoever decides what becomes of them.
        left = [path for path in (tmp_path / "staging").iterdir() if path.stat().st_size]
        assert len(left) == (15 if is_staged else 0)


def test_more_buffers_than_one_system_call_takes(tmp_path: Path) -> None:
    """And empty ones among them, so that a call ends at each kind of boundary."""
    buffers = [bytes([number % 251]) * (number % 3) for number in range(3_000)]
    with FolderStorage(tmp_path / "store") as storage:
        staged = storage.stage()
        staged.write(buffers)
        staged.write([b"", b"the end"])
        staged.write([])
        assert Path(staged.path).read_bytes() == b"".join(buffers) + b"the end"
        staged.discard()


def test_moving_into_quarantine(tmp_path: Path) -> None:
    with FolderStorage(tmp_path) as storage:
        storage.keep(NAME, _file(b"one"))
        kept = storage.quarantine(NAME)
        assert kept is not None
        assert (tmp_path / kept.location).read_bytes() == b"".join(_file(b"one"))
        assert storage.quarantine(NAME) is None
        assert not os.path.exists(storage.path(NAME))
        assert len(list(storage.quarantined())) == 1
        assert list(storage.objects()) == [(("1.2.3", "1.2.3.4"), [])]


def test_an_object_that_is_replaced_is_kept_as_a_version(tmp_path: Path) -> None:
    with FolderStorage(tmp_path) as storage:
        storage.keep(NAME, _file(b"one"))
        os.utime(storage.path(NAME), (1_000, 2_000))
        digest = sha256(b"".join(_file(b"one"))).hexdigest()
        assert storage.digest(NAME) == digest
        assert not storage.has_version(NAME.instance, digest)
        for _ in range(2):
            kept = storage.keep_version(NAME)
            assert kept.location == f"versions/{NAME.instance}/{digest}.dcm"
            assert (kept.digest, kept.written_at) == (digest, 2_000)
        storage.replace(NAME, storage.write_staged(_file(b"two")))
        assert (tmp_path / kept.location).read_bytes() == b"".join(_file(b"one"))
        assert Path(storage.path(NAME)).read_bytes() == b"".join(_file(b"two"))
        assert storage.has_version(NAME.instance, digest)
        assert storage.digest(NAME) == sha256(b"".join(_file(b"two"))).hexdigest()
        storage.remove(NAME)
        storage.remove(NAME)
        assert storage.digest(NAME) == ""
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_part_of_the_store_may_be_on_another_file_system(tmp_path: Path) -> None:
    """By symbolic links, as administrators do it; files cannot be linked or renamed across."""
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere,
        FolderStorage(tmp_path / "store") as storage,
    ):
        assert os.stat(elsewhere).st_dev != os.stat(tmp_path).st_dev
        storage.keep(NAME, _file(b"first"))
        study = Path(storage.path(NAME)).parent.parent
        shutil.move(study, elsewhere)
        study.symlink_to(Path(elsewhere) / study.name)
        other = ObjectName(NAME.study, NAME.series, "1.2.3.4.6")
        assert storage.keep(other, _file(b"kept", other))
        assert not storage.keep(other, _file(b"too late", other))
        staged = _staged(storage, b"staged")
        third = ObjectName(NAME.study, "1.2.3.5", "1.2.3.4.7")
        assert storage.keep_staged(third, staged)
        assert not os.path.exists(staged)
        version = storage.keep_version(NAME)
        storage.replace(NAME, storage.write_staged(_file(b"second")))
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
    with FolderStorage(tmp_path) as storage:
        storage.keep(NAME, _file(b"one"))
        folder = Path(storage.path(NAME)).parent
        (folder / "notes.txt").write_text("x")
        (folder / "x.dcm").write_text("x")
        (folder / "1.2.9.dcm").symlink_to("/etc/hostname")
        (folder.parent / "other").mkdir()
        assert list(storage.objects()) == [(("1.2.3", "1.2.3.4"), ["1.2.3.4.5"])]


SCRIPT = """
import sys
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.archive.storage.store import ObjectName
def done(what):
    sys.stderr.write(f"done {what}.")
    sys.stderr.flush()
storage = FolderStorage(sys.argv[1])
done("opened")
staged = storage.stage()
staged.write([b"staged"])
staged.finish(sync=True)
done("staged")
name = ObjectName("1.2.3", "1.2.4", "1.2.5")
storage.keep_staged(name, staged.path)
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

    for where, call in ((os, "fsync"), (os, "sync"), (staging, "_FLUSH_DATA"), (module, "_SYNCFS")):
        monkeypatch.setattr(where, call, refuse)
    with FolderStorage(tmp_path, sync=False) as storage:
        assert storage.keep(NAME, _file(b"one"))
        assert not storage.keep_staged(NAME, _staged(storage, b"two"))
        storage.keep_version(NAME)
        storage.quarantine(NAME)
        storage.quarantine_content(NAME.instance, _file(b"three"))
        storage.make_durable()
        storage.needs_recovery = True


def test_a_file_system_that_cannot_be_flushed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FolderStorage(tmp_path) as storage:
        storage.keep(NAME, _file(b"one"))

        def fail(descriptor: int) -> int:
            ctypes.set_errno(errno.EIO)
            return -1

        with monkeypatch.context() as patch:
            patch.setattr(module, "_SYNCFS", fail)
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                storage.make_durable()
        storage.make_durable()


def test_a_staged_file_that_cannot_be_closed_is_not_closed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number may belong to another file by then."""
    with FolderStorage(tmp_path) as storage:
        staged = storage.stage()
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
        assert not os.path.exists(staged.path)


def test_a_staged_file_that_has_its_name_and_cannot_be_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever tries again finds the object under its name."""
    with FolderStorage(tmp_path) as storage:
        path = _staged(storage, b"one")
        unlink = os.unlink

        def fail(what: object) -> None:
            if what == path:
                raise OSError(errno.EIO, "it fails")
            unlink(what)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", fail)
            with pytest.raises(OSError, match="it fails"):
                storage.keep_staged(NAME, path)
        assert not storage.keep_staged(NAME, path)
        assert _compared(storage, _file(b"one")) is Comparison.SAME
        storage.discard_staged(path)
        storage.discard_staged(path)


@pytest.mark.parametrize("is_staged", [False, True])
def test_folders_that_were_removed_from_outside_are_made_anew(tmp_path: Path, is_staged: bool) -> None:
    with FolderStorage(tmp_path) as storage:
        for content in (b"one", b"two"):
            if is_staged:
                assert storage.keep_staged(NAME, _staged(storage, content))
            else:
                assert storage.keep(NAME, _file(content))
            assert Path(storage.path(NAME)).read_bytes() == b"".join(_file(content))
            for path in (tmp_path / "objects").iterdir():
                shutil.rmtree(path)


def test_a_staged_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with FolderStorage(tmp_path) as storage:
        with pytest.raises(FileNotFoundError):
            storage.keep_staged(NAME, storage.staged("0-1-2"))
        assert not storage.has(NAME)
