"""Programs written for pynetdicom run unchanged on dicomnet, and say what they say on pynetdicom."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.scenarios.runner import compare
from tests.sockets import make_certificates

SCENARIOS = {
    "echo": ("echo_scp", "echo_scu"),
    "store": ("store_scp", "store_scu"),
    "chunked": ("chunked_scp", "chunked_scu"),
    "find": ("find_scp", "find_scu"),
    "worklist": ("worklist_scp", "worklist_scu"),
    "events": ("events_scp", "events_scu"),
    "negotiation": ("negotiation_scp", "negotiation_scu"),
    "rejection": ("rejection_scp", "rejection_scu"),
    "limit": ("limit_scp", "limit_scu"),
    "identity": ("identity_scp", "identity_scu"),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_it_says_the_same(name: str, tmp_path: Path) -> None:
    compare(SCENARIOS[name], tmp_path)


def test_it_says_the_same_over_tls(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    compare(("tls_scp", "tls_scu"), tmp_path, {"CERTIFICATES": str(tmp_path)})
