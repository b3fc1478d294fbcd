"""What OHIF and both dicomweb-clients were recorded to ask, asked again: the answers are what the files say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.archive.web.agents.holding import Holding, holding
from tests.archive.web.agents.judging import JSON
from tests.archive.web.agents.recording import Request, answered, kept

AGENTS = ("ohif", "python", "npm")
REQUESTS = [(agent, request) for agent in AGENTS for request in kept(agent)]
QUESTIONS = [
    pytest.param(request, id=f"{agent} {request.method} {request.target}"[:100])
    for agent, request in REQUESTS
    if request.method == "GET"
]
CHANGES = [request for _, request in REQUESTS if request.method != "GET"]


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Holding]:
    with holding(tmp_path_factory.mktemp("recorded") / "node") as made:
        yield made


@pytest.mark.parametrize("request_", QUESTIONS)
def test_a_request(held: Holding, request_: Request) -> None:
    response, body = answered(held.node.address, request_, held.files)
    held.judge.judge(request_, response, body)


def test_requests_that_store_and_delete(tmp_path: Path) -> None:
    """In their order, as what is deleted was stored before; at a node of their own, as not all of it is deleted."""
    with holding(tmp_path / "node") as own:
        for request in CHANGES:
            response, body = answered(own.node.address, request, own.files)
            own.judge.judge(request, response, body)


_SLICE = "/studies/1.2.600/series/1.2.600.1/instances/1.2.600.1.3"


@pytest.mark.parametrize(
    ("target", "accept", "before", "after"),
    [
        ("/studies?StudyInstanceUID=1.2.600", JSON, b"OHIF", b"OTHR"),
        ("/studies?PatientID=OHIF", JSON, b"1.2.600", b"1.2.601"),
        (f"{_SLICE}/metadata", JSON, b"GE MEDICAL", b"GE RADICAL"),
        (
            f"{_SLICE}/frames/1",
            'multipart/related; type="application/octet-stream"',
            b"\xdd\x03",
            b"\xdc\x03",
        ),
        (_SLICE, "application/dicom", b"Ohif^Test", b"Othr^Test"),
    ],
)
def test_an_answer_that_is_wrong_is_seen(
    held: Holding, target: str, accept: str, before: bytes, after: bytes
) -> None:
    request = Request("GET", target, {"accept": accept, "host": "HOST:PORT"})
    response, body = answered(held.node.address, request, held.files)
    held.judge.judge(request, response, body)
    assert before in body
    with pytest.raises(AssertionError):
        held.judge.judge(request, response, body.replace(before, after, 1))
