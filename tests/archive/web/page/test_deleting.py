"""Deleting a study by a form, where the configuration allows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from tests.archive.web.page.visits import Visited, visited

from dicomnet.archive.terms import Terms
from dicomnet.archive.web.access.policy import WebPolicy

STUDY = "/studies/1.2.3"
DELETE = f"{STUDY}/delete"


def _node(folder: Path, make: Callable[..., Dataset], policy: WebPolicy) -> Iterator[Visited]:
    with visited(folder, Terms(web=policy)) as node:
        node.store(make(SOPInstanceUID=f"1.2.3.4.{number}") for number in range(3))
        node.store([make(SOPInstanceUID="1.2.9.1", SeriesInstanceUID="1.2.9.0", StudyInstanceUID="1.2.9")])
        yield node


@pytest.fixture
def node(tmp_path: Path, make: Callable[..., Dataset]) -> Iterator[Visited]:
    """A node on which may be deleted, with two studies."""
    yield from _node(tmp_path, make, WebPolicy(may_delete=True, keep=3 * 86_400.0))


@pytest.fixture
def strict(tmp_path: Path, make: Callable[..., Dataset]) -> Iterator[Visited]:
    """A node on which may not be deleted."""
    yield from _node(tmp_path, make, WebPolicy())


def test_a_study_is_deleted_after_a_question(node: Visited) -> None:
    assert DELETE in node.visit(STUDY).links(".*")
    asked = node.visit(DELETE)
    assert "Delete 3 objects" in asked.shown
    assert "3 days" in asked.shown
    assert node.visit(STUDY).status == 200
    answer = node.send_form(DELETE, DELETE, {"objects": "3", "reason": "a test"})
    assert "3 objects were deleted" in answer.shown
    assert node.visit(STUDY).status == 404
    assert node.visit("/studies/1.2.9").status == 200
    ledger = node.node.holdings.ledger
    assert ledger is not None
    entries = list(ledger.opened.deletions.all())
    assert {(each.actor, each.reason) for each in entries} == {("the pages from 127.0.0.1", "a test")}
    assert f"--run {entries[0].run}" in answer.shown


def test_what_has_come_since_somebody_looked_is_not_deleted(
    node: Visited, make: Callable[..., Dataset]
) -> None:
    node.store([make(SOPInstanceUID="1.2.3.4.99")])
    answer = node.send_form(DELETE, DELETE, {"objects": "3", "reason": "a test"})
    assert answer.status == 409
    assert "4 objects" in node.visit(STUDY).shown


def test_no_other_way_deletes(node: Visited) -> None:
    fields = {"objects": "3", "reason": "a test"}
    answers = [
        node.visit(f"{DELETE}?objects=3&reason=x"),
        node.visit(DELETE, "POST", b"objects=3&reason=x"),
        node.send_form(DELETE, DELETE, fields, Origin="https://foreign.example"),
        node.send_form(DELETE, DELETE, fields | {"token": "0"}),
        node.send_form(DELETE, "/studies/1.2.*/delete", fields),
        node.send_form(DELETE, "/studies/1.2/delete", fields),
    ]
    assert [answer.status for answer in answers] == [200, 403, 403, 403, 400, 404]
    assert "3 objects" in node.visit(STUDY).shown


def test_where_it_is_not_allowed_nothing_leads_there_and_nothing_is_deleted(strict: Visited) -> None:
    assert DELETE not in strict.visit(STUDY).links(".*")
    assert strict.visit(DELETE).status == 403
    assert strict.send_form(STUDY, DELETE, {"objects": "3", "reason": "x"}).status == 403
    assert "3 objects" in strict.visit(STUDY).shown
