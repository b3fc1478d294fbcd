"""The folder of an archive: its lock, how it was left, and what is staged in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dicomnet.archive.local import LocalFolder
from dicomnet.errors import StoreInUse


def test_a_second_process_is_refused_and_a_dead_one_leaves_no_lock(tmp_path: Path) -> None:
    script = (
        "import sys, os, signal; from dicomnet.archive.local import LocalFolder; f = LocalFolder(sys.argv[1]);"
        "f.staging.stage().write([b'half']); print('ready', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
        " if sys.stdin.readline() else None"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(StoreInUse):
            LocalFolder(tmp_path)
        left = [path.read_bytes() for path in (tmp_path / "staging").iterdir()]
        assert b"half" in left
        process.stdin.write("\n")
        process.stdin.flush()
        process.wait(10)
    with LocalFolder(tmp_path) as local:
        assert not local.was_unclean
        local.staging.clear()
        assert list((tmp_path / "staging").iterdir()) == []
        with pytest.raises(StoreInUse):
            LocalFolder(tmp_path)


def test_a_store_knows_that_an_index_may_lack_objects_until_that_is_mended(tmp_path: Path) -> None:
    """Also after a process that was killed, which is like one that never closes."""
    with LocalFolder(tmp_path) as local:
        assert not local.was_unclean
        assert (tmp_path / "lock").read_text() == "in use\n"
        local.needs_recovery = True
        assert (tmp_path / "lock").read_text() == "unindexed\n"
    for _ in range(2):
        with LocalFolder(tmp_path) as local:
            assert local.was_unclean
            assert local.needs_recovery
            assert (tmp_path / "lock").read_text() == "unindexed\n"
    with LocalFolder(tmp_path) as local:
        local.needs_recovery = False
        assert (tmp_path / "lock").read_text() == "in use\n"
    assert (tmp_path / "lock").read_text() == "at rest\n"
    with LocalFolder(tmp_path) as local:
        assert not local.was_unclean


def test_what_a_process_has_left_is_removed_but_for_what_is_needed(tmp_path: Path) -> None:
    names = ("12-0", "12-1-7", "12-2", "123-0", "1-2")
    with LocalFolder(tmp_path) as local:
        staging = tmp_path / "staging"

        def left() -> set[str]:
            return {path.name for path in staging.iterdir()}

        for name in names:
            (staging / name).write_bytes(b"half")
        local.staging.clear(12, keep={"12-2", "1-2"})
        assert left() == {"12-2", "123-0", "1-2"}
        local.staging.clear(keep=["1-2"])
        assert left() == {"1-2"}
        local.staging.clear()
        assert left() == set()
