"""dicomweb-client of npm: each of its calls, beside what the files say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.archive.web.agents.holding import Holding, holding
from tests.archive.web.agents.npm_calls import CALLS, called, installed


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Holding]:
    with holding(tmp_path_factory.mktemp("npm") / "node") as made:
        yield made


def test_each_call(held: Holding, tmp_path: Path) -> None:
    methods, results = called(installed(tmp_path), held.node.url, held, tmp_path)
    assert set(methods) == {call.name for call in CALLS}
    wrong = []
    for call, result in zip(CALLS, results, strict=True):
        try:
            assert "error" not in result, result["error"]
            call.check(held, result["value"])
        except Exception as error:  # noqa: BLE001
            wrong.append(f"{call.name} {dict(call.options)}: {error!r}"[:600])
    assert not wrong, "\n".join(wrong)
