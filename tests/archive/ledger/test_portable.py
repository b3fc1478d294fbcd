"""The ledger as lines: what any ledger reads again, whatever database it was in."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.postgresql import PostgreSQL

from dicomnet.archive.entries import Outcome, Quarantined, Source, Version
from dicomnet.archive.ledger import portable, schema
from dicomnet.archive.ledger.ledger import Ledger, ledger_url, quarantine_row
from dicomnet.errors import LedgerUnusable

_WHEN = datetime(2026, 5, 4, 3, 2, 1, 987_654, UTC)
_SOURCE = Source("SENDER ä", "192.0.2.1", "C-STORE")
_FOUND = [
    Quarantined(
        f"1.2.{number}",
        f"quarantine/1.2.{number}/{number}.dcm",
        f"{number:064x}",
        5_000_000_000 + number,
        "1.3",
        "1.4",
        "a reason,\nin two lines",
        0xB000 if number % 2 else None,
        _SOURCE,
        _WHEN,
        number + 1,
        _WHEN,
    )
    for number in range(1200)
]
_VERSION = Version("1.2.7", "1.3", "1.4", "versions/1.2.7/x.dcm", "f" * 64, 9, _SOURCE, None, _WHEN)


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """The URL of a new ledger by its name, in either kind of database."""

    def url(name: str) -> str:
        if request.param == "sqlite":
            (tmp_path / name).mkdir()
            return str(ledger_url(tmp_path / name))
        server: PostgreSQL = request.getfixturevalue("postgresql")
        return server.new_database()

    return url


def _fill(ledger: Ledger) -> None:
    with ledger.database.writing() as connection:
        connection.execute(schema.quarantine.insert(), [quarantine_row(found) for found in _FOUND])
    ledger.ended(_FOUND[3].location, Outcome.DROPPED)
    ledger.lost(_FOUND[0])
    ledger.kept_version(_VERSION)


def test_what_one_ledger_has_another_one_takes(tmp_path: Path, new_url: Callable[[str], str]) -> None:
    with Ledger(ledger_url(tmp_path)) as first, Ledger(new_url("second")) as second:
        _fill(first)
        lines = list(portable.dump(first))
        assert len(lines) == 1203
        assert portable.load(second, lines) == 1202
        assert list(second.quarantine(ended=True)) == list(first.quarantine(ended=True))
        assert list(second.versions()) == [_VERSION]
        assert list(portable.dump(second)) == lines
        # It goes on from there.
        second.quarantined(_FOUND[5])
        assert next(iter(second.quarantine(_FOUND[5].instance))).arrivals == 7
        second.kept_version(_VERSION)
        assert len(list(second.versions())) == 2


def test_text_that_a_server_does_not_keep_is_kept_without_it(tmp_path: Path, postgresql: PostgreSQL) -> None:
    with Ledger(ledger_url(tmp_path)) as first, Ledger(postgresql.new_database()) as second:
        first.quarantined(Quarantined("1.2", "quarantine/1.2/x.dcm", "0", 1, source=Source("A\0B")))
        portable.load(second, portable.dump(first))
        (found,) = second.quarantine()
        assert found.source.ae_title == "A\ufffdB"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda lines: ['{"revision": "9999"}\n', *lines[1:]], "of a newer dicomnet"),
        (lambda lines: [*lines[:2], "nonsense\n"], "cannot be read"),
        (lambda lines: [*lines[:2], '{"table": "instance", "uid": "1.2"}\n'], "cannot be read"),
        (lambda lines: [*lines[:2], '{"table": "quarantine", "other": 1}\n'], "cannot be read"),
    ],
)
def test_lines_that_cannot_be_taken_leave_nothing(
    tmp_path: Path,
    new_url: Callable[[str], str],
    spoil: Callable[[list[str]], list[str]],
    said: str,
) -> None:
    with Ledger(ledger_url(tmp_path)) as first, Ledger(new_url("second")) as second:
        _fill(first)
        with pytest.raises(LedgerUnusable, match=said):
            portable.load(second, spoil(list(portable.dump(first))))
        assert portable.is_empty(second)
        second.quarantined(_FOUND[1])
        with pytest.raises(LedgerUnusable, match="it has entries"):
            portable.load(second, portable.dump(first))
        assert len(list(second.quarantine())) == 1


def test_where_entries_have_their_files(tmp_path: Path) -> None:
    with Ledger(ledger_url(tmp_path)) as ledger:
        ledger.quarantined(_FOUND[1])
        ledger.quarantined(_FOUND[2])
        ledger.ended(_FOUND[1].location, Outcome.RELEASED)
        ledger.kept_version(_VERSION)
        lines = list(portable.dump(ledger))
    assert [portable.set_aside(line) for line in lines] == [None, None, _FOUND[2].location, _VERSION.location]
    assert json.loads(portable.entry_of(_FOUND[2])) == {
        name: value for name, value in json.loads(lines[2]).items() if not name.startswith("outcome")
    }
