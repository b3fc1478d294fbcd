"""The pages where users have to log in: each sees what he may do, and does no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from urllib.parse import urlencode

import pytest
from pydicom.dataset import Dataset
from tests.archive.web.page.visits import Visited, visited

from dicomnet.archive.terms import Terms
from dicomnet.archive.users import UsersFile, new_user
from dicomnet.archive.web.access.policy import WebPolicy

PASSWORD = "a long password"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, make: Callable[..., Dataset]) -> Iterator[Visited]:
    folder = tmp_path_factory.mktemp("archive")
    users = UsersFile(folder / "users.toml")
    with users.changing() as (known, _):
        known.update({role: new_user(role, role, PASSWORD) for role in ("viewer", "admin")})
    with visited(folder / "store", Terms(web=WebPolicy(users=users, may_delete=True))) as made:
        made.store([make()])
        yield made


def _cookie(node: Visited, name: str) -> str:
    """The session of a user who has logged in."""
    connection = HTTPConnection("127.0.0.1", node.port, timeout=30)
    connection.request(
        "POST", "/login", urlencode({"name": name, "password": PASSWORD}), {"Origin": node.url}
    )
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == 303
    return str(answer.getheader("Set-Cookie")).partition(";")[0]


def test_nobody_sees_anything_before(node: Visited) -> None:
    answer = node.visit("/studies/1.2.3", Accept="text/html")
    assert (answer.status, answer.headers["location"]) == (303, "/login?next=/studies/1.2.3")
    assert "DOE" not in answer.text


def test_a_viewer_sees_and_does_no_more(node: Visited) -> None:
    cookie = _cookie(node, "viewer")
    page = node.visit("/studies/1.2.3", Cookie=cookie)
    assert "DOE, Jane" in page.shown
    assert "viewer Log out" in page.shown
    links = page.links(".*")
    assert not {"/upload", "/quarantine", "/configuration", "/studies/1.2.3/delete"} & set(links)
    for address in ("/upload", "/quarantine", "/configuration", "/activity", "/studies/1.2.3/delete"):
        assert node.visit(address, Cookie=cookie).status == 403


def test_an_administrator_sees_how_it_is_run(node: Visited) -> None:
    cookie = _cookie(node, "admin")
    page = node.visit("/studies/1.2.3", Cookie=cookie)
    assert {"/upload", "/quarantine", "/configuration", "/studies/1.2.3/delete"} <= set(page.links(".*"))
    for address in ("/upload", "/quarantine", "/configuration", "/activity", "/studies/1.2.3/delete"):
        assert node.visit(address, Cookie=cookie).status == 200
