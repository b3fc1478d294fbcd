"""dicomweb-client for Python: each of its calls, beside what the files say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dicomweb_client import DICOMwebClient
from tests.archive.web.agents.holding import Holding, holding
from tests.archive.web.agents.python_calls import CALLS, CHANGES, Call, called, client_of


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Holding]:
    with holding(tmp_path_factory.mktemp("python") / "node") as made:
        yield made


def test_each_call_has_a_row() -> None:
    methods = {name for name in dir(DICOMwebClient) if callable(getattr(DICOMwebClient, name))}
    assert {call.name for call in (*CALLS, *CHANGES)} == {
        name for name in methods if not name.startswith("_")
    }


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_a_call(held: Holding, call: Call) -> None:
    call.check(held, called(call, client_of(held.node.url), held))


def test_calls_that_store_and_delete(held: Holding) -> None:
    for call in CHANGES:
        call.check(held, called(call, client_of(held.node.url), held))
