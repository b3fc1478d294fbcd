"""Sessions by HTTP: what is over is forgotten, and nobody makes the ledger grow by logging in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select
from tests.support import wait_until

from dicomnet.archive.holdings import Holdings
from dicomnet.archive.ledger import schema, sessions
from dicomnet.archive.ledger.ledger import Ledger
from dicomnet.archive.ledger.sessions import Sessions, digest_of

HOUR = timedelta(hours=1)


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    with Ledger(database_url) as opened:
        yield opened


def _begin(of: Sessions, name: str = "somebody", lifetime: timedelta = HOUR) -> str:
    """The digest of a new session."""
    return digest_of(of.begin(name, "stamp", "10.0.0.7", lifetime))


def _count(ledger: Ledger) -> int:
    with ledger.database.reading() as connection:
        return int(connection.scalar(select(func.count()).select_from(schema.session)) or 0)


def test_sessions_that_are_over_are_removed_and_others_hold(ledger: Ledger) -> None:
    of = ledger.sessions
    _begin(of, lifetime=-HOUR)
    ended, holds = _begin(of), _begin(of)
    of.end(ended)
    assert of.drop_over(datetime.now(UTC)) == 2
    assert (_count(ledger), of.find(holds) is not None, of.find(ended)) == (1, True, None)
    assert of.drop_over(datetime.now(UTC)) == 0


def test_one_who_logs_in_all_the_time_ends_only_his_own_oldest_sessions(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_MOST", 5)
    other = _begin(ledger.sessions, "another one")
    his = [_begin(ledger.sessions) for _ in range(12)]
    assert [ledger.sessions.find(each) is not None for each in his] == [False] * 7 + [True] * 5
    assert ledger.sessions.find(other) is not None
    assert _count(ledger) == 6


def test_a_node_removes_sessions_that_are_over_by_itself(tmp_path: Path) -> None:
    with Holdings(tmp_path, sync=False) as holdings:
        assert holdings.ledger is not None
        ledger = holdings.ledger.opened
        _begin(ledger.sessions, lifetime=-HOUR)
        holds = _begin(ledger.sessions)
        holdings.begin_upkeep()
        wait_until(lambda: _count(ledger) == 1, what="the upkeep has removed it")
        assert ledger.sessions.find(holds) is not None
