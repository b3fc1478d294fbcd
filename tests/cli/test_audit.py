"""`dicomnet audit` lists what the ledger says of who did what."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from pydicom.data import get_testdata_file
from tests.cli.command import run
from tests.settings.nodes import configured
from tests.support import wait_until

from dicomnet import Peer

CT, MR = (str(get_testdata_file(name)) for name in ("CT_small.dcm", "MR_small.dcm"))


def test_what_a_killed_node_has_recorded_is_listed(tmp_path: Path) -> None:
    data = str(tmp_path / "dicomnet-data")

    def listed(*words: str) -> list[dict[str, object]]:
        result = run("audit", "--data", data, "--json", *words)
        assert result.returncode == 0, result.stderr
        found = [json.loads(line) for line in result.stdout.splitlines()]
        # That the trail is turned on, and that it is read, is recorded, too.
        return [each for each in found if each["kind"] not in ("security alert", "audit log used")]

    with configured(tmp_path, "audit.enabled = true") as node:
        with Peer(node.address, calling="CT1") as peer:
            assert all(each.is_stored for each in peer.store([CT, MR]))
        # While it runs.
        wait_until(lambda: len(listed("--user", "CT1")) == 2, what="the stores are recorded")
        node.process.send_signal(signal.SIGKILL)
        node.process.wait(10)
    found = listed()
    assert [each["kind"] for each in found] == ["instances transferred"] * 2 + ["application activity"]
    assert listed("--patient", "1CT1") == [found[1]]
    assert listed("--study", str(found[0]["study_instance_uid"])) == [found[0]]
    assert listed("--user", "CT1", "--limit", "1") == found[:1]
    assert listed("--day", str(found[0]["begun_at"])[:10], "--user", "CT1") == found[:2]
    assert listed("--day", "2001-01-01") == []
    read = run("audit", "--data", data, "--json", "--limit", "1").stdout
    assert [json.loads(read)[each] for each in ("kind", "way", "detail")] == [
        "audit log used",
        "command",
        "dicomnet audit",
    ]
    text = run("audit", "--data", data, "--patient", "1CT1").stdout
    assert "instances transferred in, CT1 127.0.0.1, study 1.3.6.1.4" in text
    assert ", patient 1CT1, 1 times, C-STORE" in text


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    result = run("audit", "--data", str(tmp_path))
    assert result.returncode == 1
    assert "is not the folder of an archive" in result.stderr
    assert list(tmp_path.iterdir()) == []
    assert run("audit", "--day", "yesterday").returncode == 2
