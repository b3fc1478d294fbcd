"""Programs of pynetdicom that use the normalized services: performed procedure steps, print, UPS, commitment."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.scenarios.runner import compare

SCENARIOS = {
    "performed procedure step": ("mpps_scp", "mpps_scu"),
    "print": ("print_scp", "print_scu"),
    "unified procedure step": ("ups_scp", "ups_scu"),
    "storage commitment": ("commitment_scp", "commitment_scu"),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_it_says_the_same(name: str, tmp_path: Path) -> None:
    compare(SCENARIOS[name], tmp_path)
