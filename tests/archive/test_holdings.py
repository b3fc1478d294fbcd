"""What an archive has, opened together."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.archive.archives import Encode, Make, Put

from dicomnet.archive.holdings import Holdings
from dicomnet.archive.ledger.ledger import Ledger, ledger_url


@pytest.mark.parametrize("is_url", [False, True])
def test_a_file_that_is_put_aside_has_an_index_and_nothing_else(
    tmp_path: Path, make: Make, encode: Encode, put: Put, is_url: bool
) -> None:
    """The ledger, which is in no other place, would have gone with an index that is damaged."""
    path = tmp_path / "elsewhere.sqlite"
    database = f"sqlite:///{path}" if is_url else path
    store = tmp_path / "store"
    with Holdings(store, database=database) as holdings:
        assert put(holdings.intake, encode(make())) == 0
        assert put(holdings.intake, encode(make(PatientName="Other"))) == 0xB000
        assert holdings.intake.wait_for_all()
        assert holdings.index is not None
        holdings.index.renew()
    with Ledger(ledger_url(store)) as ledger:
        assert len(list(ledger.quarantine())) == 1
    assert (tmp_path / "elsewhere.sqlite.old").exists()


def test_a_file_of_another_program_is_put_aside_and_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "thesis.txt"
    path.write_text("years of work" * 1000)
    with Holdings(tmp_path / "store", database=path) as holdings:
        assert holdings.index is not None
    assert (tmp_path / "thesis.txt.old").read_text() == "years of work" * 1000
