"""DELETE of what is stored: only where that is allowed, never of a protected patient, and by way of the trash."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset
from tests.archive.web.clients import WebNode, file_of

from dicomnet.archive.access import Access, Rule
from dicomnet.archive.deletion import Protection
from dicomnet.archive.terms import Terms
from dicomnet.archive.web.access.policy import WebPolicy

Make = Callable[..., Dataset]
Start = Callable[..., WebNode]
ALLOWED = Terms(web=WebPolicy(may_delete=True, keep=3600.0))
STUDY, SERIES = "/studies/1.2.3", "/studies/1.2.3/series/1.2.3.1"


def filled(start: Start, make: Make, terms: Terms = ALLOWED) -> WebNode:
    """A node that has two series of two objects each, and another study of the same patient."""
    node = start(terms)
    files = [
        file_of(
            make(
                SOPInstanceUID=f"{study}.{series}.{n}",
                SeriesInstanceUID=f"{study}.{series}",
                StudyInstanceUID=study,
            )
        )
        for study, series, n in (
            ("1.2.3", 1, 1),
            ("1.2.3", 1, 2),
            ("1.2.3", 2, 1),
            ("1.2.3", 2, 2),
            ("1.2.4", 1, 1),
        )
    ]
    assert node.store(files).status == 200
    assert len(node.objects) == 5
    return node


@pytest.mark.parametrize(
    ("path", "left"),
    [
        (STUDY, []),
        (SERIES, ["1.2.3.2.1", "1.2.3.2.2"]),
        (f"{SERIES}/instances/1.2.3.1.2", ["1.2.3.1.1", "1.2.3.2.1", "1.2.3.2.2"]),
    ],
)
def test_a_resource_is_deleted_and_is_in_the_trash(
    web_node: Start, make: Make, path: str, left: list[str]
) -> None:
    node = filled(web_node, make)
    answer = node.ask("DELETE", path)
    assert (answer.status, answer.content) == (204, b"")
    assert node.objects == [*left, "1.2.4.1.1"]
    assert len(list((node.folder / "trash").rglob("*.dcm"))) == 4 - len(left)
    assert node.ask("GET", f"{path}/metadata").status in (404, 410)
    assert node.ask("DELETE", path).status in (404, 410)
    # What is sent again is stored again.
    assert node.store([file_of(make(SOPInstanceUID="1.2.3.1.2", SeriesInstanceUID="1.2.3.1"))]).status == 200


def test_the_client_of_python_deletes(web_node: Start, make: Make) -> None:
    node = filled(web_node, make)
    client = DICOMwebClient(node.url)
    client.delete_instance("1.2.3", "1.2.3.1", "1.2.3.1.1")
    client.delete_series("1.2.3", "1.2.3.2")
    assert node.objects == ["1.2.3.1.2", "1.2.4.1.1"]
    client.delete_study("1.2.3")
    assert node.objects == ["1.2.4.1.1"]


@pytest.mark.parametrize(
    "terms",
    [
        Terms(),
        Terms(
            web=WebPolicy(may_delete=True),
            access=Access((Rule(None, None, None, frozenset(["C-FIND"])),)),
        ),
    ],
    ids=["by default", "by a rule of access"],
)
def test_nothing_is_deleted_where_that_is_not_allowed(web_node: Start, make: Make, terms: Terms) -> None:
    node = web_node(terms)
    assert node.ask("DELETE", STUDY).status == 403


def test_objects_of_a_protected_patient_stay(web_node: Start, make: Make) -> None:
    node = filled(web_node, make)
    assert node.node.holdings.ledger is not None
    assert node.node.holdings.ledger.opened.protections.begin(Protection("P1", ""))
    answer = node.ask("DELETE", STUDY)
    assert (answer.status, answer.content) == (409, b"the patient is protected; nothing was deleted\n")
    assert len(node.objects) == 5


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/studies/1.2.9", 404),
        ("/studies/1.2.4/series/1.2.3.1", 404),
        ("/studies/1.2.4/series/1.2.4.1/instances/1.2.3.1.1", 404),
        ("/studies/1.2.x", 400),
        ("/studies/*", 400),
        ("/studies/1.2.3%5C1.2.4", 400),
        ("/studies", 405),
    ],
)
def test_nothing_else_is_deleted_than_what_the_path_names(
    web_node: Start, make: Make, path: str, status: int
) -> None:
    node = filled(web_node, make)
    assert node.ask("DELETE", path).status == status
    assert len(node.objects) == 5
