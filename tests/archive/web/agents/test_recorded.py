"""What OHIF and both dicomweb-clients were recorded to ask, asked again: the answers are what the files say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.archive.web.agents.holding import Holding, holding
from tests.archive.web.agents.recording import Request, answered, kept

AGENTS = ("ohif", "python", "npm")
REQUESTS = [
    pytest.param(request, id=f"{agent} {request.method} {request.target}"[:100])
    for agent in AGENTS
    for request in kept(agent)
]


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Holding]:
    with holding(tmp_path_factory.mktemp("recorded") / "node") as made:
        yield made


# In their order: what is deleted was stored before.
@pytest.mark.parametrize("request_", REQUESTS)
def test_a_request(held: Holding, request_: Request) -> None:
    response, body = answered(held.node.address, request_, held.files)
    held.judge.judge(request_, response, body)
