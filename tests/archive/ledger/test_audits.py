"""The audit trail in the ledger: entered, brought up to date, found again and dropped when it is old."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from dicomnet.archive.audit import AuditEntry, AuditEvent, EventAction, EventKind, EventOutcome
from dicomnet.archive.ledger.audits import AuditFilter
from dicomnet.archive.ledger.ledger import Ledger
from dicomnet.values import replace

_AT = datetime(2026, 5, 4, 3, 2, 1, 987_654, UTC)


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    with Ledger(database_url) as opened:
        yield opened


def _entry(number: int, **fields: str) -> AuditEntry:
    event = AuditEvent(EventKind.QUERY, EventAction.NONE, EventOutcome.SUCCESS, **fields)
    at = _AT + timedelta(minutes=number)
    return AuditEntry(f"k{number}", event, 1, at, at)


def _found(ledger: Ledger, **wanted: object) -> list[AuditEntry]:
    return [entry for _, entry in ledger.audits.find(AuditFilter(**wanted))]  # type: ignore[arg-type]


def test_entries_are_found_again_the_newest_first(ledger: Ledger) -> None:
    entries = [_entry(number, user="ä' OR 1=1 --") for number in range(1100)]
    ledger.audits.write(entries)
    assert _found(ledger) == entries[::-1]


def test_an_entry_that_goes_on_is_one(ledger: Ledger) -> None:
    first = _entry(1, study="1.2")
    ledger.audits.write([first])
    event = replace(first.event, outcome=EventOutcome.MINOR_FAILURE, detail="why")
    later = replace(first, event=event, count=7, last_at=_AT + timedelta(hours=1))
    ledger.audits.write([later, _entry(2)])
    assert _found(ledger) == [_entry(2), later]


def test_what_is_looked_for(ledger: Ledger) -> None:
    entries = [
        _entry(1, user="alice", study="1.2"),
        _entry(2, ae_title="alice", patient="P%"),
        _entry(3, user="alic_", patient="PX"),
    ]
    ledger.audits.write(entries)
    assert _found(ledger, user="alice") == [entries[1], entries[0]]
    assert _found(ledger, user="alic_") == [entries[2]]
    assert _found(ledger, patient="P%") == [entries[1]]
    assert _found(ledger, study="1.2") == [entries[0]]
    middle = _AT + timedelta(minutes=2)
    assert _found(ledger, since=middle) == [entries[2], entries[1]]
    assert _found(ledger, until=middle) == [entries[0]]


def test_what_is_old_is_dropped(ledger: Ledger) -> None:
    ledger.audits.write([_entry(1), _entry(2)])
    assert ledger.audits.drop_before(_AT + timedelta(minutes=2)) == 1
    assert _found(ledger) == [_entry(2)]
