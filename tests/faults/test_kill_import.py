"""kill -9 of an import: however often it is killed, the same command ends with all objects in the archive, once."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from time import sleep

import pytest
from tests.support import data_set_of, dicomnet, digest, quarantined, run_tool, serving, stored, wait_until

from .objects import uid, write_objects

COUNT, OF_EACH, KILLS = 20_000, 500, 5


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with 20,000 files, and the digests of their data sets by SOP Instance UID."""
    folder = tmp_path_factory.mktemp("sources")
    paths = [
        path
        for study in range(COUNT // OF_EACH)
        for path in write_objects(folder / str(study), study, OF_EACH, 4096)
    ]
    return folder, {uid(int(path.parent.name), int(path.stem)): digest(data_set_of(path)) for path in paths}


def _count(store: Path) -> int:
    return sum(1 for _ in (store / "objects").rglob("*.dcm"))


@pytest.mark.parametrize("way", [(), ("--link",)], ids=["copied", "linked"])
def test_20000_files(tmp_path: Path, sources: tuple[Path, dict[str, str]], way: tuple[str, ...]) -> None:
    folder, expected = sources
    store = tmp_path / "store"
    chance = random.Random(20_000)
    command = dicomnet("import", "--data", store, *way, "--json", folder)
    for part in range(KILLS):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            wait_until(lambda: _count(store) > part * COUNT // 8, 120)  # noqa: B023
            sleep(chance.uniform(0, 0.3))
            process.kill()
    _check(store, command, expected)


def test_20000_files_by_a_node_that_is_killed(tmp_path: Path, sources: tuple[Path, dict[str, str]]) -> None:
    folder, expected = sources
    chance = random.Random(20_001)
    for part in range(KILLS):
        with serving(tmp_path, *(("--workers", "2") if part % 2 else ())) as node:
            command = dicomnet("import", "--data", node.store, "--json", folder)
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
                wait_until(lambda: _count(node.store) > part * COUNT // 8, 120)  # noqa: B023
                sleep(chance.uniform(0, 0.3))
                node.process.kill()
                assert b"has ended before the task was done" in process.communicate(timeout=60)[1]
    with serving(tmp_path) as node:
        _check(node.store, command, expected)
        node.end()


def _check(store: Path, command: list[str], expected: dict[str, str]) -> None:
    done = run_tool(command, seconds=300)
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads(done.stdout.splitlines()[-1])["summary"]
    assert summary["stored"] + summary["already_there"] == COUNT
    assert 4 * COUNT // 8 <= summary["already_there"] < COUNT
    assert stored(store) == expected
    assert not quarantined(store)
