"""An archive, and imports into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.archive.tasks.imports import Import, Imported
from tests.archive.tasks.kept import Kept

from dicomnet.archive.holdings import Holdings
from dicomnet.archive.tasks.importing import import_files
from dicomnet.archive.upkeep import bring_in_line


@pytest.fixture
def holdings(tmp_path: Path) -> Iterator[Holdings]:
    """An archive."""
    with Holdings(tmp_path / "store") as opened:
        assert opened.index is not None
        # As it is before a task is performed.
        bring_in_line(opened.index, opened.intake)
        yield opened


@pytest.fixture
def run(holdings: Holdings) -> Import:
    """Import what lies at paths."""

    def imported(*paths: Path | str, **how: Any) -> Imported:
        kept = Kept()
        summary = import_files(
            holdings, kept, paths=[os.fspath(each) for each in paths], tells_all=True, **how
        )
        assert summary["is_filed"]
        return Imported(summary, kept.items)

    return imported
