"""What `/health` finds of an archive: disk, folder, intake, index, ledger and certificate."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from tests.postgresql import PostgreSQL
from tests.support import wait_until

from dicomnet import Peer
from dicomnet.archive.audit import AuditEntry, AuditEvent, AuditPolicy, EventKind
from dicomnet.archive.holdings import Holdings
from dicomnet.archive.node import Node
from dicomnet.archive.watch import probing, series
from dicomnet.archive.watch.certificate import Validity
from dicomnet.archive.watch.checks import Checks, Circumstances
from dicomnet.archive.watch.counts import Counts
from dicomnet.archive.watch.policy import WatchPolicy
from dicomnet.archive.watch.probing import PATIENCE, Finding, Level, Probe

CT = str(get_testdata_file("CT_small.dcm"))
DAY = 86_400.0


def found(probes: Sequence[Probe], name: str) -> Finding:
    """What a check finds now."""
    (probe,) = [each for each in probes if each.name == name]
    running = probe.begin()
    assert running is not None
    running.result(10)
    return probe.result().finding


@contextmanager
def checks(folder: Path, **policy: int) -> Iterator[tuple[Holdings, Circumstances, Callable[[str], Finding]]]:
    """An archive, what is said to its checks, and what they find; each anew, since they keep what they found."""
    now = Circumstances(WatchPolicy(**policy))
    with Holdings(folder) as holdings:
        made = Checks(holdings, Counts(1), now)
        yield holdings, now, lambda name: found(made.probes(), name)


def test_a_full_disk(tmp_path: Path) -> None:
    with checks(tmp_path, disk_reserve=1 << 60) as (_, now, look):
        full = look("disk")
        assert full.level is Level.FAILED
        statistics = os.statvfs(tmp_path)
        assert full.values[series.DISK_SIZE.name]["archive"] == statistics.f_blocks * statistics.f_frsize
        free = full.values[series.DISK_FREE.name]["archive"]
        assert free == pytest.approx(statistics.f_bavail * statistics.f_frsize, abs=1 << 30)
        assert str(tmp_path) not in full.message
        now.policy = WatchPolicy(disk_reserve=0)
        assert look("disk").level is Level.OK


def test_a_part_of_the_archive_on_another_file_system(tmp_path: Path) -> None:
    """Of all of them, the fullest counts."""
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "objects").symlink_to("/proc")
    with checks(tmp_path / "archive", disk_reserve=1) as (_, _now, look):
        result = look("disk")
    assert result.level is Level.FAILED
    assert result.message == "0 MiB are free for objects, 0 are the reserve"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with checks(tmp_path) as (_, _now, look):
        assert look("folder") == Finding(Level.OK, "it can be written")
        assert not (tmp_path / "health").exists()
        # What stands in the way of root, too.
        (tmp_path / "health").mkdir()
        result = look("folder")
    assert result.level is Level.FAILED
    assert str(tmp_path) not in result.message


def test_the_index_while_it_is_made(tmp_path: Path) -> None:
    with checks(tmp_path) as (holdings, _, look):
        assert holdings.index is not None
        being_made = look("index")
        assert being_made.level is Level.WARNING
        assert being_made.message.startswith("it is being made from the files, 0 objects up to now")
        assert being_made.values == {series.INDEX.name: {"": 0.0}}
        holdings.index.complete()
        assert look("index") == Finding(Level.OK, "it is complete", {series.INDEX.name: {"": 1.0}})


def test_a_ledger_that_cannot_be_used(tmp_path: Path) -> None:
    with checks(tmp_path) as (_, _now, look):
        assert look("ledger").values[series.QUARANTINE.name] == {"": 0.0}
        (tmp_path / "ledger.sqlite").write_bytes(b"no database" * 1000)
        result = look("ledger")
    assert result == Finding(Level.FAILED, "it cannot be used now; the log says why")


def test_who_lacks_entries_of_the_audit_trail(tmp_path: Path) -> None:
    with checks(tmp_path) as (holdings, _, look):
        assert look("audit") == Finding(Level.OK, "nothing is recorded")
        assert holdings.ledger is not None
        audits, now = holdings.ledger.opened.audits, datetime.now(UTC)
        holdings.audit.policy = AuditPolicy(enabled=True)
        assert look("audit") == Finding(
            Level.OK, "all is recorded", {series.AUDIT_LAG.name: {}, series.AUDIT_LAG_SECONDS.name: {}}
        )
        holdings.audit.policy = AuditPolicy(enabled=True, file="/x")
        audits.set_mark("file", 1)
        for number, minutes in ((1, 90), (2, 60), (3, 0)):
            at = now - timedelta(minutes=minutes)
            audits.write([AuditEntry(f"k{number}", AuditEvent(EventKind.QUERY), 1, at, at)])
        late = look("audit")
        assert (late.level, late.message) == (Level.WARNING, "file lacks 2 entries since 60 min")
        assert late.values[series.AUDIT_LAG.name] == {"file": 2.0}
        assert late.values[series.AUDIT_LAG_SECONDS.name]["file"] == pytest.approx(3600, abs=30)
        audits.set_mark("file", 2)
        assert look("audit").level is Level.OK
        holdings.audit.lost = 1
        assert look("audit").message == "the ledger did not take 1 event"


@pytest.mark.parametrize(
    ("begin", "end", "level", "words"),
    [
        (-DAY, 60 * DAY, Level.OK, "it expires in 60 days"),
        (-DAY, 31 * DAY, Level.OK, "it expires in 31 days"),
        (-DAY, 29 * DAY, Level.WARNING, "it expires in 29 days"),
        (-DAY, 0.0, Level.FAILED, "it has expired"),
        (DAY, 60 * DAY, Level.FAILED, "it is not valid yet"),
    ],
)
def test_a_certificate(tmp_path: Path, begin: float, end: float, level: Level, words: str) -> None:
    with checks(tmp_path) as (_, now, look):
        at = time.time()
        now.certificate = Validity(at + begin, at + end)
        result = look("certificate")
    assert (result.level, result.message) == (level, words)
    assert result.values[series.CERTIFICATE.name][""] == pytest.approx(end, abs=60)


def test_an_archive_without_an_index_and_without_tls(tmp_path: Path) -> None:
    with Holdings(tmp_path, has_index=False) as holdings:
        names = [each.name for each in Checks(holdings, Counts(1), Circumstances(WatchPolicy())).probes()]
    assert names == ["accepting", "disk", "folder", "intake"]


def test_what_waits_to_be_filed(tmp_path: Path) -> None:
    """The store cannot be written; what was acknowledged is counted until it can be, and has been, filed."""
    node = Node(tmp_path, address=("127.0.0.1", 0), has_index=False)
    node.start()
    look = Checks(node.holdings, Counts(1), Circumstances(WatchPolicy())).probes

    def unfiled() -> tuple[float, float]:
        values = found(look(), "intake").values
        return values[series.UNFILED.name][""], values[series.STUCK.name][""]

    try:
        assert unfiled() == (0, 0)
        (tmp_path / "objects").rmdir()
        (tmp_path / "objects").write_bytes(b"in the way")
        with Peer(f"127.0.0.1:{node.address[1]}") as peer:
            assert [each.status for each in peer.store(CT)] == [0]
        wait_until(lambda: unfiled() == (1, 1), what="it is stuck")
        waiting = found(look(), "intake")
        assert waiting.level is Level.WARNING
        assert waiting.values[series.JOURNAL.name][""] >= Path(CT).stat().st_size
        (tmp_path / "objects").unlink()
        wait_until(lambda: unfiled() == (0, 0), what="it is filed")
    finally:
        node.shutdown()


@contextmanager
def halted(server: PostgreSQL) -> Iterator[None]:
    """A server that accepts and answers nothing, as behind a network that is gone."""
    first = server.pid
    processes = [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]
    for each in processes:
        os.kill(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in processes:
            os.kill(each, signal.SIGCONT)


def test_a_database_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of it fails in the end, and no page waits for that."""
    monkeypatch.setattr(probing, "OVERDUE", 2 * PATIENCE)
    with PostgreSQL() as server, Holdings(tmp_path, database=server.new_database()) as holdings:
        assert holdings.index is not None
        holdings.index.complete()
        probes = Checks(holdings, Counts(1), Circumstances(WatchPolicy())).probes()
        (index,) = [each for each in probes if each.name == "index"]
        assert found(probes, "index").level is Level.OK
        assert found(probes, "ledger").level is Level.OK
        with halted(server):
            wait_until(lambda: index.begin() is not None, what="it is looked at again")
            begun = time.monotonic()
            wait_until(lambda: index.result().finding.level is Level.FAILED, 20, "it has failed")
            assert time.monotonic() - begun > PATIENCE
            assert index.begin() is None
        wait_until(
            lambda: index.begin() is None and index.result().finding.level is Level.OK, 20, "it is well again"
        )
