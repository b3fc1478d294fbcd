"""What programs do though pynetdicom does not document it, or otherwise than its documentation says."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.scenarios.runner import compare

SCENARIOS = {
    "spellings of titles, names and contexts": ("spelling_scp", "spelling_scu"),
    "the attribute list of an N-SET": ("modification_scp", "modification_scu"),
    "a status behind the last sub-operation": ("counts_scp", "counts_scu"),
    "the data set that came into a file": ("decoded_scp", "chunked_scu"),
    "a server class of its own": ("filtering_scp", "filtering_scu"),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_it_says_the_same(name: str, tmp_path: Path) -> None:
    compare(SCENARIOS[name], tmp_path)
