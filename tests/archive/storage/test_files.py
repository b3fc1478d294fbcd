from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnet.archive.storage.files import ObjectName, Placement, Storage, read_file_header
from dicomnet.encoding.file_header import encode_file_header
from dicomnet.encoding.identity import is_uid
from dicomnet.errors import StoreInUse, UnusableObject

NAME = ObjectName("1.2.3", "1.2.3.4", "1.2.3.4.5")
CLASS, SYNTAX = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


def _place(storage: Storage, content: bytes, name: ObjectName = NAME, sender: str = "A") -> Placement:
    staged = storage.stage()
    staged.write([encode_file_header(CLASS, name.instance, SYNTAX, sender), b"a data set of ", content])
    placement = storage.place(staged, name)
    storage.settle([name])
    return placement


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


def test_an_object_is_placed_once(tmp_path: Path, files: Callable[[Path], list[str]]) -> None:
    with Storage(tmp_path / "store") as storage:
        assert _place(storage, b"one") is Placement.NEW
        assert _place(storage, b"one", sender="B") is Placement.SAME
        assert _place(storage, b"two") is Placement.QUARANTINED
        assert _place(storage, b"two") is Placement.QUARANTINED
        assert _place(storage, b"on") is Placement.QUARANTINED
        assert Path(storage.path(NAME)).read_bytes().endswith(b"one")
        assert list(storage.objects()) == [(("1.2.3", "1.2.3.4"), ["1.2.3.4.5"])]
        assert sorted(Path(path).read_bytes()[-3:] for path in storage.quarantined()) == [b" on", b"two"]
    assert len(files(tmp_path)) == 4  # the lock, the object, two in quarantine


def test_a_second_process_is_refused_and_a_dead_one_leaves_no_lock(tmp_path: Path) -> None:
    script = (
        "import sys, os, signal; from dicomnet.archive.storage.files import Storage; s = Storage(sys.argv[1]);"
        "s.stage().write([b'half']); print('ready', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
        " if sys.stdin.readline() else None"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(StoreInUse):
            Storage(tmp_path)
        assert len(list((tmp_path / "staging").iterdir())) == 1
        process.stdin.write("\n")
        process.stdin.flush()
        process.wait(10)
    with Storage(tmp_path) as storage:
        assert storage.was_unclean
        assert list((tmp_path / "staging").iterdir()) == []
        with pytest.raises(StoreInUse):
            Storage(tmp_path)
    with Storage(tmp_path) as storage:
        assert storage.was_unclean  # as nobody recovered it yet
        storage.needs_recovery = False
    with Storage(tmp_path) as storage:
        assert not storage.was_unclean
        storage.needs_recovery = True
    with Storage(tmp_path) as storage:
        assert storage.was_unclean


def test_what_a_process_has_left_is_forgotten(tmp_path: Path) -> None:
    with Storage(tmp_path) as storage:
        staging = tmp_path / "staging"
        for name in ("12-0", "12-7", "123-0"):
            (staging / name).write_bytes(b"half")
        storage.forget_staged(12)
        assert [path.name for path in staging.iterdir()] == ["123-0"]


@pytest.mark.parametrize("contents", [[b"same"] * 16, [bytes([number]) for number in range(16)]])
def test_sixteen_at_once(tmp_path: Path, contents: list[bytes]) -> None:
    with Storage(tmp_path) as storage:
        found: list[tuple[Placement, bytes]] = []
        start = threading.Barrier(len(contents))

        def run(content: bytes) -> None:
            start.wait()
            found.append((_place(storage, content), content))

        threads = [threading.Thread(target=run, args=(content,)) for content in contents]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        placements = [placement for placement, _ in found]
        assert placements.count(Placement.NEW) == 1
        winner = next(content for placement, content in found if placement is Placement.NEW)
        assert Path(storage.path(NAME)).read_bytes().endswith(winner)
        other = Placement.SAME if len(set(contents)) == 1 else Placement.QUARANTINED
        assert placements.count(other) == 15
        assert len(list(storage.quarantined())) == len(set(contents)) - 1
        assert list((tmp_path / "staging").iterdir()) == []


def test_more_buffers_than_one_system_call_takes(tmp_path: Path) -> None:
    """And empty ones among them, so that a call ends at each kind of boundary."""
    buffers = [bytes([number % 251]) * (number % 3) for number in range(3_000)]
    with Storage(tmp_path / "store") as storage:
        staged = storage.stage()
        staged.write(buffers)
        staged.write([b"", b"the end"])
        staged.write([])
        assert Path(staged.path).read_bytes() == b"".join(buffers) + b"the end"
        staged.discard()


def test_moving_into_quarantine(tmp_path: Path) -> None:
    with Storage(tmp_path) as storage:
        _place(storage, b"one")
        storage.quarantine(NAME)
        storage.quarantine(NAME)
        assert not os.path.exists(storage.path(NAME))
        assert len(list(storage.quarantined())) == 1
        assert list(storage.objects()) == [(("1.2.3", "1.2.3.4"), [])]


def test_what_is_not_ours_in_the_store_is_passed_over(tmp_path: Path) -> None:
    with Storage(tmp_path) as storage:
        _place(storage, b"one")
        folder = Path(storage.path(NAME)).parent
        (folder / "notes.txt").write_text("x")
        (folder / "x.dcm").write_text("x")
        (folder / "1.2.9.dcm").symlink_to("/etc/hostname")
        (folder.parent / "other").mkdir()
        assert list(storage.objects()) == [(("1.2.3", "1.2.3.4"), ["1.2.3.4.5"])]


@pytest.mark.parametrize("content", [b"", b"\0" * 132, encode_file_header(CLASS, "1.2", SYNTAX)[:150]])
def test_a_damaged_file_header(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(content)
    with pytest.raises(UnusableObject):
        read_file_header(path)


SCRIPT = """
import sys
from dicomnet.archive.storage.files import ObjectName, Storage
from dicomnet.encoding.file_header import encode_file_header
from dicomnet.encoding.identity import is_uid
storage = Storage(sys.argv[1])
for number in (5, 6):
    staged = storage.stage()
    staged.write([encode_file_header("1.2.3", f"1.2.{number}", "1.2"), b"data"])
    name = ObjectName("1.2.3", "1.2.4", f"1.2.{number}")
    storage.place(staged, name)
    storage.settle([name])
    sys.stderr.write(f"acknowledged {number}")
    sys.stderr.flush()
"""


def test_an_object_is_on_the_medium_before_it_is_acknowledged(tmp_path: Path) -> None:
    """By the system calls: the data, the name, and every folder that is new; only then the caller goes on."""
    trace = tmp_path / "trace"
    calls = "fdatasync,fsync,link,linkat,mkdir,openat,writev,write"
    subprocess.run(
        [
            "strace",
            "-f",
            "-y",
            "-e",
            f"trace={calls}",
            "-o",
            trace,
            sys.executable,
            "-c",
            SCRIPT,
            tmp_path / "store",
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    lines = [line.split(maxsplit=1)[1] for line in trace.read_text().splitlines()]
    first = next(number for number, line in enumerate(lines) if "acknowledged 5" in line)
    second = next(number for number, line in enumerate(lines) if "acknowledged 6" in line)
    begin = next(number for number, line in enumerate(lines) if line.startswith("writev"))
    for part in (lines[begin:first], lines[first:second]):
        data = next(number for number, line in enumerate(part) if line.startswith("writev"))
        flushed = next(number for number, line in enumerate(part) if line.startswith("fdatasync"))
        linked = next(number for number, line in enumerate(part) if line.startswith("link"))
        assert data < flushed < linked
        assert "/staging/" in part[flushed]
        folder = part[linked].split('"')[3].rsplit("/", 1)[0]
        assert any(line.startswith("fsync") and f"<{folder}>" in line for line in part[linked:])
    made = [
        line.split('"')[1] for line in lines[begin:first] if line.startswith("mkdir") and line.endswith("= 0")
    ]
    assert len(made) == 4
    for folder in made:
        at = next(
            number for number, line in enumerate(lines) if line.startswith("mkdir") and f'"{folder}"' in line
        )
        parent = folder.rsplit("/", 1)[0]
        assert any(line.startswith("fsync") and f"<{parent}>" in line for line in lines[at:first])


def test_without_sync_nothing_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise AssertionError(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    with Storage(tmp_path, sync=False) as storage:
        assert _place(storage, b"one") is Placement.NEW


@pytest.mark.parametrize("call", ["close", "unlink"])
def test_a_file_that_has_its_name_and_is_refused_is_looked_for_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Its staged file could not be let go of; nothing of that is done twice."""
    with Storage(tmp_path) as storage:
        staged = storage.stage()
        descriptor = staged.descriptor
        calls: list[object] = []
        real = getattr(os, call)

        def fail(what: object) -> None:
            if what not in (descriptor, staged.path):
                real(what)
                return
            calls.append(what)
            raise OSError(errno.EIO, "it fails")

        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(OSError, match="it fails"):
                storage.place(staged, NAME)
        staged.discard()
        assert len(calls) == 1
        assert storage.needs_recovery
        if call == "close":
            os.close(descriptor)
    with Storage(tmp_path) as storage:
        assert storage.was_unclean
        assert list(storage.objects()) == [((NAME.study, NAME.series), [NAME.instance])]
        assert not list((tmp_path / "staging").iterdir())
