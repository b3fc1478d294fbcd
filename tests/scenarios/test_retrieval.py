"""Programs of pynetdicom that retrieve (C-GET, C-MOVE), and nodes that they retrieve from."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.scenarios.runner import compare

SCENARIOS = {
    "node": ("destination_scp", "instances_scp", "retrieve_scu"),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_it_says_the_same(name: str, tmp_path: Path) -> None:
    compare(SCENARIOS[name], tmp_path)
