"""Who is admitted by HTTP: users, tokens, sessions, and what happens to those who guess."""

from __future__ import annotations

import http.client
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from tests.archive.web.clients import Answer, WebNode

from dicomnet.archive.terms import Terms
from dicomnet.archive.users import Right, User, UsersFile, new_token, new_user, today
from dicomnet.archive.web.policy import WebPolicy

PASSWORD = "a long password"
FORM = "application/x-www-form-urlencoded"
Ask = Callable[..., Answer]


@pytest.fixture(scope="module")
def everybody() -> list[User]:
    """A user of each role; a hash takes its time."""
    return [new_user(role, role, PASSWORD) for role in ("viewer", "sender", "manager", "admin")]


@pytest.fixture
def users(tmp_path: Path, everybody: list[User]) -> UsersFile:
    file = UsersFile(tmp_path / "users.toml")
    with file.changing() as (known, _):
        known.update((each.name, each) for each in everybody)
    return file


@pytest.fixture
def node(web_node: Callable[..., WebNode], users: UsersFile) -> WebNode:
    return web_node(Terms(web=WebPolicy(users=users, proxies=(ip_network("127.0.0.2/32"),))))


@pytest.fixture
def ask(node: WebNode) -> Ask:
    address = node.node.web_address
    assert address is not None

    def send(method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection(*address, timeout=20)
        connection.request(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        found = Answer(answer.status, answer.headers, answer.read())
        connection.close()
        return found

    return send


def basic(name: str, password: str = PASSWORD) -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


def cookie_of(answer: Answer) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


def log_in(ask: Ask, name: str = "viewer", path: str = "/login") -> Answer:
    return ask("POST", path, f"name={name}&password={PASSWORD.replace(' ', '+')}".encode(), Content_Type=FORM)


@pytest.mark.parametrize(
    "path", ["/", "/dicom-web/studies", "/dicom-web/studies/1.2/rendered", "/nothing", "/upload"]
)
def test_nothing_is_answered_to_a_stranger(ask: Ask, path: str) -> None:
    answer = ask("GET", path)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")
    person = ask("GET", path, Accept="text/html,*/*")
    assert person.status == 303
    assert person.headers["location"] == f"/login?next={path}"
    for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
        assert ask(method, path).status == 401


def test_each_role_may_what_it_may(ask: Ask) -> None:
    for name, allowed in (
        ("viewer", {"GET"}),
        ("sender", {"POST"}),
        ("manager", {"GET", "POST", "DELETE"}),
        ("admin", {"GET", "POST", "DELETE"}),
    ):
        for method, path in (
            ("GET", "/dicom-web/studies"),
            ("POST", "/dicom-web/studies"),
            ("DELETE", "/dicom-web/x"),
        ):
            status = ask(method, path, Authorization=basic(name)).status
            assert (status != 403) is (method in allowed), (name, method, status)
            assert status != 401


def test_a_token_is_for_its_rights(ask: Ask, users: UsersFile) -> None:
    token, text = new_token("export", frozenset({Right.READ}), today())
    past, old = new_token("old", frozenset(Right), today() - timedelta(days=1))
    with users.changing() as (_, tokens):
        tokens[token.number], tokens[past.number] = token, past
    assert ask("GET", "/dicom-web/studies", Authorization=f"Bearer {text}").status == 204
    assert ask("POST", "/dicom-web/studies", Authorization=f"Bearer {text}").status == 403
    assert ask("GET", "/dicom-web/studies", Authorization=f"Bearer {old}").status == 401
    with users.changing() as (_, tokens):
        del tokens[token.number]
    assert ask("GET", "/dicom-web/studies", Authorization=f"Bearer {text}").status == 401


@pytest.mark.parametrize(
    "given", ["Basic", "Basic x", "Basic /////w==", "Digest x", "Bearer", "Bearer x", "x", "Basic Og=="]
)
def test_credentials_that_are_none_let_nobody_in(ask: Ask, given: str) -> None:
    assert ask("GET", "/dicom-web/studies", Authorization=given).status in (400, 401)


def test_a_session_is_begun_used_and_ended(ask: Ask) -> None:
    answer = log_in(ask, path="/login?next=/dicom-web/studies%3Flimit=1")
    assert (answer.status, answer.headers["location"]) == (303, "/dicom-web/studies?limit=1")
    said = answer.headers["set-cookie"].lower()
    assert "httponly" in said
    assert "samesite=strict" in said
    cookie = cookie_of(answer)
    assert ask("GET", "/dicom-web/studies", Cookie=cookie).status == 204
    assert ask("POST", "/dicom-web/studies", Cookie=cookie).status == 403
    assert ask("POST", "/logout", Cookie=cookie, Origin="https://evil.example").status == 403
    assert ask("GET", "/dicom-web/studies", Cookie=cookie).status == 204
    assert (
        ask("POST", "/logout", Cookie=log_in(ask, "admin").headers["set-cookie"].partition(";")[0]).status
        == 303
    )
    assert ask("POST", "/logout", b"", Cookie=cookie).status == 303
    assert ask("GET", "/dicom-web/studies", Cookie=cookie).status == 401


def test_a_session_ends_with_the_password_that_began_it(ask: Ask, users: UsersFile) -> None:
    cookie = cookie_of(log_in(ask))
    with users.changing() as (known, _):
        known["viewer"] = new_user("viewer", "viewer", PASSWORD)
    assert ask("GET", "/dicom-web/studies", Cookie=cookie).status == 401
    cookie = cookie_of(log_in(ask))
    assert ask("GET", "/dicom-web/studies", Cookie=cookie).status == 204
    with users.changing() as (known, _):
        del known["viewer"]
    assert ask("GET", "/dicom-web/studies", Cookie=cookie).status in (401, 403)
    assert ask("GET", "/dicom-web/studies", Authorization=basic("viewer")).status == 401


@pytest.mark.parametrize("value", ["", "x", "%00", "a" * 4000, "../../x"])
def test_a_cookie_that_was_made_up_is_no_session(ask: Ask, value: str) -> None:
    assert ask("GET", "/dicom-web/studies", Cookie=f"dicomnet-session={value}").status == 401


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "evil",
        "/x%0d%0aSet-Cookie:a=b",
        "/login",
    ],
)
def test_one_is_sent_nowhere_else_after_that(ask: Ask, wanted: str) -> None:
    answer = log_in(ask, path=f"/login?next={wanted}")
    assert (answer.status, answer.headers["location"]) == (303, "/")


def test_what_the_form_repeats_is_text(ask: Ask) -> None:
    answer = ask("GET", '/login?next=/"><script>alert(1)</script>'.replace(" ", "%20").replace('"', "%22"))
    assert b"<script>" not in answer.content
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_who_guesses_is_not_heard_for_a_while(ask: Ask) -> None:
    statuses = [
        ask("GET", "/dicom-web/studies", Authorization=basic("viewer", f"guess {n}")).status for n in range(7)
    ]
    assert statuses[:5] == [401] * 5
    assert statuses[-1] == 429
    # Neither is he who has the right password then; that could be the next guess.
    answer = ask("GET", "/dicom-web/studies", Authorization=basic("viewer"))
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) >= 1
    form = log_in(ask)
    assert form.status == 429
    assert b"try again in" in form.content


def test_a_body_that_is_no_form_logs_nobody_in(ask: Ask) -> None:
    for body in (b"\xff\xfe", b"x" * 5000, b"&".join([b"a=b"] * 100), b"name=viewer", b""):
        assert ask("POST", "/login", body, Content_Type=FORM).status in (400, 403, 413)


def test_an_address_is_believed_of_nobody_but_a_proxy(ask: Ask) -> None:
    """Else each guess would come from another one."""
    for number in range(7):
        headers = {"X_Forwarded_For": f"10.0.0.{number}", "Authorization": basic(f"u{number}", "guess")}
        status = ask("GET", "/dicom-web/studies", **headers).status
    assert status == 429


def test_without_users_whoever_reaches_the_node_may_do_everything(web_node: Callable[..., WebNode]) -> None:
    address = web_node().node.web_address
    assert address is not None
    connection = http.client.HTTPConnection(*address, timeout=20)
    connection.request("GET", "/dicom-web/studies")
    assert connection.getresponse().status == 204
    connection.close()
