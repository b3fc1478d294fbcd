"""`dicomnet store --commit` and `watch --commit`: what a pynetdicom SCP is asked for, and what is said of it."""

from __future__ import annotations

import csv
import json
import sqlite3
from pathlib import Path

from tests.cli.command import complaint, run
from tests.cli.conftest import CT, MR
from tests.cli.test_commit import CT_UID, MR_UID, SCP, all_kept, ct_missing
from tests.support import free_port


def asked_for(scp: SCP) -> list[set[str]]:
    return [{str(item.ReferencedSOPInstanceUID) for item in each.ReferencedSOPSequence} for each in scp.asked]


def test_what_was_stored_is_committed(study: Path, tmp_path: Path) -> None:
    scp = SCP(all_kept)
    with scp.running() as address:
        arguments = ("store", "--commit", "--journal", tmp_path / "j", address, study)
        done = run(*arguments, "--report", tmp_path / "r.csv")
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("; committed 2, not committed 0\n")
        assert asked_for(scp) == [{CT_UID, MR_UID}]
        with (tmp_path / "r.csv").open(newline="") as file:
            rows = [(row["outcome"], row["sop_instance_uid"]) for row in csv.DictReader(file)]
        assert sorted(rows) == sorted(
            [
                ("stored", CT_UID),
                ("stored", MR_UID),
                ("committed", CT_UID),
                ("committed", MR_UID),
                ("skipped", ""),
                ("skipped", ""),
            ]
        )
        with sqlite3.connect(tmp_path / "j") as journal:
            found = journal.execute("SELECT count(*) FROM objects WHERE committed > 1e9").fetchone()
        journal.close()
        assert found == (2,)
        # Nothing is left to send, and nothing to ask for.
        again = run(*arguments)
        assert (again.returncode, len(scp.asked), len(scp.stored)) == (0, 1, 2)


def test_what_is_not_committed_is_asked_for_again_by_the_next_run(study: Path, tmp_path: Path) -> None:
    scp = SCP(ct_missing)
    arguments = ("store", "--commit", "--journal", str(tmp_path / "j"), "--json")
    with scp.running() as address:
        done = run(*arguments, address, study)
        assert done.returncode == 1
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        (wrong,) = [each for each in lines if each["outcome"] == "not committed"]
        assert wrong["sop_instance_uid"] == CT_UID
        assert wrong["comment"] == "the peer does not have the object (0x0112)"
        scp._answer = all_kept
        assert run(*arguments, address, study).returncode == 0
        assert asked_for(scp) == [{CT_UID, MR_UID}, {CT_UID}]
        assert len(scp.stored) == 2


def test_no_report_comes(study: Path) -> None:
    with SCP(None).running() as address:
        done = run("store", "-q", "--commit", "--commit-wait", "0.2", address, study / "ct.dcm")
    assert done.returncode == 1
    said = "no report came within 0.2 s; many peers report on another association: use --listen"
    assert done.stderr.startswith(f"dicomnet store: {said}")
    assert f"not committed: {study}/ct.dcm: no report came" in done.stderr


def test_the_report_comes_on_another_association(study: Path) -> None:
    here = free_port()
    scp = SCP(all_kept, here=here, ends=True)
    with scp.running() as address:
        done = run("store", "--commit", "--listen", str(here), address, study)
    assert (done.returncode, scp.statuses) == (0, [0])
    assert "committed 2, not committed 0" in done.stdout


def test_a_peer_that_does_not_commit_itself(study: Path) -> None:
    with SCP(None, status=0x0122).running() as address:
        done = run("store", "-q", "--commit", address, CT, MR)
    assert done.returncode == 1
    assert "0x0122" in done.stderr
    assert done.stderr.count("not committed: ") == 2


def test_options_that_do_not_fit() -> None:
    assert "--listen is for --commit" in complaint(run("store", "127.0.0.1:1", "--listen", "0", CT), 2)
    assert "--dry-run does not go with --commit" in complaint(
        run("store", "127.0.0.1:1", "--dry-run", "--commit", CT), 2
    )
    public = ("--commit", "--listen", "0", "--bind", "0.0.0.0")
    assert "--allow-public" in complaint(run("store", "127.0.0.1:1", *public, CT), 2)


def test_watch_deletes_what_is_committed_only(study: Path) -> None:
    scp = SCP(ct_missing)
    arguments = ("watch", "--once", "--settle", "0.1", "--delete", "--commit", study)
    with scp.running() as address:
        assert run(*arguments, address).returncode == 1
        assert (study / "ct.dcm").exists()
        assert not (study / "series" / "mr").exists()
        scp._answer = all_kept
        assert run(*arguments, address).returncode == 0
        assert not (study / "ct.dcm").exists()
        assert asked_for(scp) == [{CT_UID, MR_UID}, {CT_UID}]
        assert len(scp.stored) == 2
