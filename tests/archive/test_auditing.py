"""The audit trail of a process writes what it is told, and nobody waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep

import pytest
from tests.support import wait_until

from dicomnet.archive.audit import AuditEntry, AuditEvent, AuditPolicy, EventAction, EventKind
from dicomnet.archive.auditing import AuditTrail
from dicomnet.archive.ledger.audits import AuditFilter, Audits
from dicomnet.archive.ledger.ledger import Ledger, ledger_url
from dicomnet.errors import DatabaseFailure, Trouble

_QUERY = AuditEvent(EventKind.QUERY, user="alice")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(ledger_url(tmp_path)) as opened:
        yield opened


def _found(ledger: Ledger) -> list[AuditEntry]:
    return [entry for _, entry in ledger.audits.find(AuditFilter())]


def _trail(ledger: Ledger) -> AuditTrail:
    trail = AuditTrail(lambda: ledger.audits)
    trail.policy = AuditPolicy(enabled=True)
    return trail


def test_what_is_recorded_is_in_the_ledger_soon(ledger: Ledger) -> None:
    trail = _trail(ledger)
    try:
        entry = trail.begin(_QUERY)
        wait_until(lambda: len(_found(ledger)) == 1, what="the entry is written")
        trail.again(entry, 4)
        wait_until(lambda: _found(ledger)[0].count == 5, what="the entry is brought up to date")
        assert len(_found(ledger)) == 1
    finally:
        trail.close()


def test_a_clean_end_loses_nothing(ledger: Ledger) -> None:
    trail = _trail(ledger)
    for _ in range(1234):
        trail.record(_QUERY)
    trail.close()
    assert len(_found(ledger)) == 1234
    assert trail.lost == 0


def test_those_that_are_alike_are_one(ledger: Ledger) -> None:
    trail = _trail(ledger)
    other = AuditEvent(EventKind.QUERY, user="bob")
    for _ in range(400):
        trail.record_together(_QUERY)
        trail.record_together(other, 2)
    trail.close()
    assert {(each.event.user, each.count) for each in _found(ledger)} == {("alice", 400), ("bob", 800)}


def test_nothing_is_recorded_where_it_is_off(ledger: Ledger) -> None:
    trail = AuditTrail(lambda: ledger.audits)
    trail.record_together(_QUERY)
    trail.record(_QUERY)
    trail.close()
    assert _found(ledger) == []


def test_a_ledger_that_takes_nothing_holds_nobody_up(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """What it does not take is kept up to the limit, and the rest is counted."""

    def broken() -> Audits:
        raise DatabaseFailure("ledger", Trouble.FULL, "the disk is full")

    trail = AuditTrail(broken, limit=10)
    trail.policy = AuditPolicy(enabled=True)
    for _ in range(25):
        trail.record(_QUERY)
    trail.close()
    assert trail.lost == 25
    assert "events missing in the audit trail" in caplog.text


def test_what_is_old_is_dropped(ledger: Ledger) -> None:
    trail = _trail(ledger)
    trail.record(_QUERY)
    trail.close()
    trail.policy = AuditPolicy(enabled=True, keep=3600.0)
    trail.drop_old(datetime.now(UTC) + timedelta(minutes=59))
    assert len(_found(ledger)) == 1
    trail.drop_old(datetime.now(UTC) + timedelta(minutes=61))
    assert _found(ledger) == []


def test_a_gap_is_in_the_trail_as_soon_as_the_ledger_takes_entries_again(ledger: Ledger) -> None:
    is_broken = True

    def audits() -> Audits:
        if is_broken:
            raise DatabaseFailure("ledger", Trouble.FULL, "the disk is full")
        return ledger.audits

    trail = AuditTrail(audits, limit=10)
    trail.policy = AuditPolicy(enabled=True)
    for _ in range(25):
        trail.record(_QUERY)
    assert (trail.lost, trail.waiting) == (15, 10)
    is_broken = False
    try:
        wait_until(lambda: len(_found(ledger)) == 11, 20, "it is written")
    finally:
        trail.close()
    gap = _found(ledger)[0]
    assert gap.event.action is EventAction.RECORDING_STOPPED
    assert (gap.count, gap.event.detail[:9]) == (15, "15 events")


def test_the_trail_says_when_it_is_turned_on_and_off(ledger: Ledger) -> None:
    trail = _trail(ledger)
    for is_on in (True, True, False, False, True):
        trail.policy = AuditPolicy(enabled=is_on)
        trail.tell_recording()
        assert ledger.audits.is_recording is is_on
    trail.close()
    started, stopped = EventAction.RECORDING_STARTED, EventAction.RECORDING_STOPPED
    assert [each.event.action for each in _found(ledger)] == [started, stopped, started]


def test_what_goes_on_for_long_is_over_some_time_and_another_one_begins(ledger: Ledger) -> None:
    trail = _trail(ledger)
    entry = trail.begin(_QUERY)
    trail.end(entry)
    again = trail.again(entry, 4)
    assert again is not entry
    trail.close()
    assert [(each.count, each.is_over) for each in _found(ledger)] == [(4, True), (1, True)]


def test_the_ledger_was_written_for_each_entry_as_long_as_others_came(ledger: Ledger) -> None:
    """Whoever asks all the time had the thread that writes begin one transaction after another."""
    transactions = 0

    def audits() -> Audits:
        nonlocal transactions
        transactions += 1
        return ledger.audits

    trail = AuditTrail(audits)
    trail.policy = AuditPolicy(enabled=True)
    count, end = 0, monotonic() + 2.5
    try:
        while monotonic() < end:
            trail.record(_QUERY)
            count += 1
            sleep(0.001)
        assert transactions <= 4
    finally:
        trail.close()
    assert len(_found(ledger)) == count
