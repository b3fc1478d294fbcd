"""`dicomnet fetch` of a list from Orthanc, by C-GET and by C-MOVE, with Orthanc killed in between."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from tests.cli.command import run
from tests.cli.test_fetch import STUDIES, mixed_list, report
from tests.fetching.corpus import fill, objects_below, pixels, write_studies
from tests.support import dicomnet, free_port, is_listening, running_process, tool, wait_until

from .test_orthanc import orthanc


@pytest.mark.parametrize("way", ["get", "move"])
def test_a_list_of_300_rows(way: str, tmp_path: Path) -> None:
    text, outcomes, wanted = mixed_list(11)
    (tmp_path / "list.csv").write_text(text, newline="")
    write_studies(tmp_path / "files", STUDIES)
    port, here = free_port(), free_port()
    options = ["--move", "HERE", "--receive-port", str(here), "--wait", "1"] if way == "move" else []
    where = ("--list", str(tmp_path / "list.csv"), "--to", str(tmp_path / "in"), "--retry", "10", *options)
    command = dicomnet("fetch", f"NODE@127.0.0.1:{port}", *where)
    choice = random.Random(way)
    settings = {"DicomPort": port, "DicomModalities": {"here": ["HERE", "127.0.0.1", here]}}
    with orthanc(tmp_path / "orthanc", **settings):
        fill(f"NODE@127.0.0.1:{port}", tmp_path / "files")
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert running.stdout is not None
        assert running.stderr is not None
        for _ in range(choice.randrange(5, 60)):
            assert running.stdout.readline()
    with running:
        again = [tool("Orthanc"), str(tmp_path / "orthanc" / "orthanc.json")]
        with running_process(again, tmp_path / "orthanc"):
            wait_until(lambda: is_listening(port), 30, "Orthanc listens")
            _, said = running.communicate(timeout=300)
            assert running.returncode == 1, said
            assert report(tmp_path / "in") == outcomes, said
            assert objects_below(tmp_path / "in") == pixels(wanted)
            assert run(*command[3:]).returncode == 1
            assert report(tmp_path / "in") == outcomes
