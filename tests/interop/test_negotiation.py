"""Damaged A-ASSOCIATE requests, byte for byte the same to DCMTK and to Orthanc: what they serve, we serve."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.damaged import DAMAGED, answer_of
from tests.sockets import RELEASE_RQ, RawPeer
from tests.support import free_port, is_listening, running_process, tool, wait_until

from .test_orthanc import orthanc

Answer = dict[int, int] | tuple[int, int, int]

# Where they serve what the standard forbids: even IDs (PS3.8 section 9.3.2.2), and two abstract syntaxes in one context
# (section 9.3.2.2), of which only one could be meant.
FORBIDDEN = (
    "even ID",
    "ID 0",
    "nothing but an even ID",
    "200 contexts with IDs in a row",
    "two abstract syntaxes",
)


def answers(port: int) -> dict[str, Answer]:
    """What a peer answers to each request that it answers at all."""
    found = {}
    for name, case in DAMAGED.items():
        if case.dcmtk is not None:
            with RawPeer.connect(port) as peer:
                peer.send(case.pdu)
                answer = peer.read_pdu()
                found[name] = answer_of(answer)
                if answer[0] == 2:
                    peer.send(RELEASE_RQ)
                    peer.read_pdu()
    return found


def served(answer: Answer) -> set[int]:
    return {n for n, code in answer.items() if code == 0} if isinstance(answer, dict) else set()


def test_dcmtk_answers_damaged_requests_as_the_table_says(tmp_path: Path) -> None:
    port = free_port()
    with running_process([tool("storescp"), "-od", str(tmp_path), str(port)], tmp_path):
        wait_until(lambda: is_listening(port), what="storescp listens")
        found = answers(port)
    assert found == {name: case.dcmtk for name, case in DAMAGED.items() if case.dcmtk is not None}


@pytest.mark.slow
def test_orthanc_serves_of_damaged_requests_what_dcmtk_serves(tmp_path: Path) -> None:
    with orthanc(tmp_path / "orthanc") as port:
        found = answers(port)
    assert {name: served(answer) for name, answer in found.items()} == {
        name: served(case.dcmtk) for name, case in DAMAGED.items() if case.dcmtk is not None
    }


@pytest.mark.parametrize("name", [name for name, case in DAMAGED.items() if case.dcmtk is not None])
def test_we_serve_what_they_serve(name: str) -> None:
    """The table itself: nothing is refused here that they take, except for what the standard forbids."""
    case = DAMAGED[name]
    assert case.dcmtk is not None
    missing = served(case.dcmtk) - served(case.ours)
    assert not missing or name in FORBIDDEN
