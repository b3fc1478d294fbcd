"""Who may ask for what: each route of the application has a row here, and is asked for with all kinds of rights."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPConnection
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pytest
from pydicom.dataset import Dataset
from starlette.routing import BaseRoute, Mount, Route
from tests.archive.web.page.visits import Visited, visited

from dicomnet.archive.terms import Terms
from dicomnet.archive.users import Right, UsersFile, new_token, today
from dicomnet.archive.web.access.policy import WebPolicy

READ, WRITE, DELETE, ADMIN = ({each} for each in Right)
# What a request takes, by method and path. One that nobody has to have a right for is one of those that are needed
# to log in. Whoever adds a route of another kind says here what it takes.
NEEDS: Sequence[tuple[str, str, set[Right] | None]] = [
    ("GET|HEAD|OPTIONS", r"/dicom-web/.*", READ),
    ("POST", r"/dicom-web/studies(/\{study\})?", WRITE),
    ("DELETE", r"/dicom-web/studies/\{study\}(/series/\{series\}(/instances/\{instance\})?)?", DELETE),
    ("GET|HEAD", r"/ohif(/\{path:path\})?", READ),
    ("GET|HEAD", r"/|/studies/\{study\}(/series/\{series\}(/instances/\{instance\})?)?", READ),
    ("GET|HEAD", r"/upload", READ | WRITE),
    ("GET|HEAD", r"/studies/\{study\}/delete", READ | DELETE),
    ("POST", r"/studies/\{study\}/delete", WRITE | DELETE),
    ("POST", r"/studies/\{study\}/send", READ | WRITE),
    ("GET|HEAD", r"/(quarantine|remotes|activity|storage|configuration|audit)", READ | ADMIN),
    ("GET|HEAD", r"/quarantine/\{digest\}", READ | ADMIN),
    ("POST", r"/quarantine/\{digest\}/release", WRITE | ADMIN),
    ("POST", r"/remotes/(echo|diagnose)", WRITE | ADMIN),
    ("GET|HEAD", r"/api/openapi\.json", READ),
    ("GET|HEAD", r"/static/\{name\}", None),
    ("GET|HEAD|POST", r"/login", None),
    ("POST", r"/logout", None),
]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
VALUES = {"study": "1.2.3", "series": "1.2.3.4", "instance": "1.2.3.4.5", "frames": "1", "name": "page.css"}
REFUSALS = ("which takes the right to", "You may not ")


class Asked(NamedTuple):
    """A route, and a request to it."""

    method: str
    pattern: str

    @property
    def path(self) -> str:
        return re.sub(r"\{(\w+)[^}]*\}", lambda found: VALUES.get(found[1], "x"), self.pattern)

    @property
    def needs(self) -> list[set[Right] | None]:
        """The rows that it is in."""
        return [
            rights
            for methods, pattern, rights in NEEDS
            if re.fullmatch(methods, self.method) and re.fullmatch(pattern, self.pattern)
        ]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> tuple[UsersFile, dict[frozenset[Right], str]]:
    """A file of users with a token for each set of rights."""
    users, texts = UsersFile(tmp_path_factory.mktemp("users") / "users.toml"), {}
    with users.changing() as (_, known):
        for count in range(len(Right) + 1):
            for rights in map(frozenset, combinations(Right, count)):
                token, texts[rights] = new_token("script", rights, today())
                known[token.number] = token
    return users, texts


@pytest.fixture(scope="module")
def node(
    tmp_path_factory: pytest.TempPathFactory,
    tokens: tuple[UsersFile, dict[frozenset[Right], str]],
    make: Callable[..., Dataset],
) -> Iterator[Visited]:
    policy = WebPolicy(users=tokens[0], may_delete=True, viewer=Path("nowhere"))
    with visited(tmp_path_factory.mktemp("archive"), Terms(web=policy)) as made:
        made.store([make()])
        yield made


@pytest.fixture(scope="module")
def routes(node: Visited) -> list[Asked]:
    web = node.node._web
    assert web is not None
    return list(routes_of(web._application._router.routes, ""))


def routes_of(routes: Sequence[BaseRoute], before: str) -> Iterator[Asked]:
    for each in routes:
        if isinstance(each, Mount):
            yield from routes_of(each.routes, before + each.path)
        else:
            assert isinstance(each, Route), each
            for method in sorted(each.methods or METHODS):
                yield Asked(method, before + each.path)


def test_it_is_said_of_each_route_what_it_takes(routes: list[Asked]) -> None:
    assert len(routes) > 80
    assert [each for each in routes if len(each.needs) != 1] == []
    # And of none that is not there.
    for methods, pattern, _ in NEEDS:
        for method in methods.split("|"):
            assert any(each.method == method and re.fullmatch(pattern, each.pattern) for each in routes)


def test_a_stranger_is_answered_nothing_but_how_to_log_in(node: Visited, routes: list[Asked]) -> None:
    is_open = {each.path for each in routes if each.needs == [None]}
    assert is_open == {"/login", "/logout", "/static/page.css"}
    paths = {each.path for each in routes} | {
        "/nothing",
        "/dicom-web",
        "/login/",
        "/loginx",
        "/static",
        "//login",
    }
    connection = HTTPConnection("127.0.0.1", node.port, timeout=30)
    for path in sorted(paths - is_open):
        for method in METHODS:
            assert _status(connection, method, path) == 401, (method, path)
    for path in ("/login/../studies/1.2.3", "/static/../studies/1.2.3", "/static/..%2fstudies/1.2.3"):
        assert _status(connection, "GET", path) in (401, 404), path
    connection.close()


def test_each_route_takes_the_rights_that_are_said_of_it(
    node: Visited, routes: list[Asked], tokens: tuple[UsersFile, dict[frozenset[Right], str]]
) -> None:
    connection = HTTPConnection("127.0.0.1", node.port, timeout=30)
    for rights, text in tokens[1].items():
        for each in routes:
            # Deleting is last, so that all others have something to ask for; HEAD is as GET.
            if (each.method == "DELETE" and rights >= DELETE) or (each.method == "HEAD" and rights):
                continue
            _check(connection, each, rights, text)
    for each in routes:
        if each.method == "DELETE":
            _check(connection, each, frozenset(DELETE), tokens[1][frozenset(DELETE)])
    connection.close()


def _check(connection: HTTPConnection, asked: Asked, rights: frozenset[Right], token: str) -> None:
    (needs,) = asked.needs
    connection.request(asked.method, asked.path, headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    text = answer.read().decode("latin-1")
    is_refused = answer.status == 403 and (asked.method == "HEAD" or any(words in text for words in REFUSALS))
    assert is_refused is not (needs is None or needs <= rights), (asked, rights, answer.status)
    assert answer.status != 401


def _status(connection: HTTPConnection, method: str, path: str) -> int:
    connection.request(method, path)
    answer = connection.getresponse()
    answer.read()
    return answer.status
