"""The conformance statement says what the source says, and names tests that exist."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pynetdicom
import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
INTEROP = Path(__file__).parent / "interop"
PAIRS = re.findall(r"^\| (.*?) \| (.*?) \| (.*?) \| (.*?) \| `(\w+\.py)::(\w+)` \|$", TEXT, re.MULTILINE)


def test_its_tables_are_those_of_the_source() -> None:
    """If not, run tools/conformance_tables.py."""
    tool: dict[str, Any] = runpy.run_path(str(ROOT / "tools" / "conformance_tables.py"))
    assert tool["written"](TEXT) == TEXT
    assert all(f"<!-- table: {name} -->" in TEXT for name in tool["TABLES"])


@pytest.mark.parametrize(("file", "name"), sorted({pair[4:] for pair in PAIRS}))
def test_the_pairs_it_tells_of_are_tested(file: str, name: str) -> None:
    assert f"def {name}(" in (INTEROP / file).read_text(encoding="utf-8")


def test_each_service_is_tried_in_both_roles_and_drivers() -> None:
    tried = {
        (service, role, driver)
        for service, roles, drivers, *_ in PAIRS
        for role in roles.split(", ")
        for driver in drivers.split(", ")
    }
    for service in {service for service, *_ in tried}:
        if "report on" not in service and "FIND and" not in service and "GET and" not in service:
            for role in ("SCU", "SCP"):
                assert {(service, role, "blocking"), (service, role, "asyncio")} <= tried, service


def test_the_version_that_is_named_is_the_one_that_is_tried() -> None:
    assert f"pynetdicom {pynetdicom.__version__}" in TEXT
