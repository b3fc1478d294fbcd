"""Who is admitted by HTTP: users, tokens, sessions, and what happens to those who guess."""

from __future__ import annotations

import asyncio
import http.client
import json
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from starlette.responses import Response
from starlette.types import Message
from tests.archive.web.clients import Answer, WebNode
from tests.archive.web.processes import connected_elsewhere, serving_web, worker_of
from tests.processes import workers_of

from dicomnet.archive.ledger.sessions import Session
from dicomnet.archive.terms import Terms
from dicomnet.archive.users import Right, User, UsersFile, new_token, new_user, today
from dicomnet.archive.web.access.admission import Admission
from dicomnet.archive.web.access.policy import WebPolicy

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


class Sessions:
    """Nobody has one."""

    def find(self, digest: str) -> Session | None:
        return None


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


@pytest.mark.parametrize("told", [{"Sec_Fetch_Mode": "cors"}, {"Cookie": "dicomnet-session=over"}])
def test_a_page_whose_session_is_over_is_not_asked_for_a_password_by_the_browser(
    ask: Ask, told: dict[str, str]
) -> None:
    """What is typed into a window of the browser's own is sent until that ends, and no logging out ends it."""
    answer = ask("GET", "/dicom-web/studies", **told)
    assert answer.status == 401
    assert "Basic" not in answer.headers["www-authenticate"]
    assert b"log in again" in answer.content


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


def test_guesses_that_come_all_at_once_are_no_more_than_one_by_one(ask: Ask) -> None:
    """Each was looked at before it was known what had become of the others."""
    with ThreadPoolExecutor(40) as pool:
        guesses = [basic("viewer", f"guess {number}") for number in range(40)]
        statuses = list(
            pool.map(lambda each: ask("GET", "/dicom-web/studies", Authorization=each).status, guesses)
        )
    assert statuses.count(401) <= 6
    assert statuses.count(429) >= 34


def test_requests_of_one_user_at_once_are_all_heard(ask: Ask) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = pool.map(
            lambda _: ask("GET", "/dicom-web/studies", Authorization=basic("viewer")).status, range(20)
        )
        assert set(answers) == {204}


def test_a_stranger_keeps_nobody_out(ask: Ask, users: UsersFile) -> None:
    """He had a user wait by his name, and everybody behind the same address."""
    token, text = new_token("export", frozenset({Right.READ}), today())
    with users.changing() as (_, tokens):
        tokens[token.number] = token
    cookie = cookie_of(log_in(ask))
    for number in range(8):
        ask(
            "GET", "/dicom-web/studies", Authorization=basic("viewer", f"guess {number}"), X_Forwarded_For="x"
        )
        ask("GET", "/dicom-web/studies", Authorization="Bearer dicomnet_aaaaaaaa_" + "a" * 43)
        ask("GET", "/dicom-web/studies", Authorization=basic("nobody", f"guess {number}"))
    assert ask("GET", "/dicom-web/studies", Authorization=basic("nobody")).status == 429
    assert ask("GET", "/dicom-web/studies", Authorization="Bearer x").status == 429
    # Whoever shows what cannot be guessed is heard.
    assert ask("GET", "/dicom-web/studies", Authorization=f"Bearer {text}").status == 204
    assert ask("GET", "/dicom-web/studies", Cookie=cookie).status == 204


def test_a_name_that_nobody_can_have_is_not_kept(ask: Ask, node: WebNode) -> None:
    """Names of 40 kB were kept, ten thousand of them."""
    ask("GET", "/dicom-web/studies", Authorization=basic("x" * 40_000, "guess"))
    ask("GET", "/dicom-web/studies", Authorization=basic("a\nb", "guess"))
    web = node.node._web
    assert web is not None
    find = web._application._admission.failures._rows.find
    row = find(("127.0.0.1", ""))
    assert row is not None
    assert row.count == 2
    assert find(("", "x" * 40_000)) is find(("", "a\nb")) is None


def test_logging_in_again_ends_the_session_before(ask: Ask) -> None:
    first = cookie_of(log_in(ask))
    second = ask(
        "POST", "/login", f"name=viewer&password={PASSWORD}".replace(" ", "+").encode(), Cookie=first
    )
    assert second.status == 303
    assert cookie_of(second) != first
    assert ask("GET", "/dicom-web/studies", Cookie=first).status == 401
    assert ask("GET", "/dicom-web/studies", Cookie=cookie_of(second)).status == 204


def test_a_session_that_somebody_else_has_chosen_is_not_begun(ask: Ask) -> None:
    chosen = "dicomnet-session=" + "a" * 43
    body = f"name=viewer&password={PASSWORD}".replace(" ", "+").encode()
    assert cookie_of(ask("POST", "/login", body, Cookie=chosen)) != chosen
    assert ask("GET", "/dicom-web/studies", Cookie=chosen).status == 401


@pytest.mark.parametrize(("proxy", "is_believed"), [("127.0.0.1/32", True), ("127.0.0.2/32", False)])
def test_behind_a_proxy_with_tls_cookies_go_nowhere_else_and_addresses_are_its(
    web_node: Callable[..., WebNode], users: UsersFile, proxy: str, is_believed: bool
) -> None:
    """The cookie of the forms went over plain HTTP, too, and URLs in answers led there."""
    policy = WebPolicy(users=users, proxies=(ip_network(proxy),), hosts=("pacs.example",))
    node = web_node(Terms(web=policy))
    headers = {"X-Forwarded-Proto": "https", "Host": "pacs.example", "Authorization": basic("viewer")}
    connection = http.client.HTTPConnection(*node.address, timeout=20)
    for path in ("/", "/login"):
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        assert (b"Log in" in answer.read()) is (path == "/login")
        assert ("; Secure" in str(answer.getheader("Set-Cookie"))) is is_believed
    connection.request("GET", "/dicom-web/capabilities", headers={**headers, "Accept": "application/json"})
    scheme = "https" if is_believed else "http"
    assert json.loads(connection.getresponse().read())["base"].startswith(f"{scheme}://pacs.example")
    connection.close()


def test_where_a_proxy_has_the_tls_nobody_else_is_answered() -> None:
    """Passwords of those who came past it could be heard."""
    policy = WebPolicy(proxies=(ip_network("10.0.0.1/32"),), is_behind_proxies=True)

    async def answered(peer: str) -> int:
        found: list[Message] = []

        async def send(message: Message) -> None:
            found.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        admission = Admission(Response(status_code=204), Sessions, lambda *_: None, has_login=True)
        admission.policy = policy
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/",
            "scheme": "http",
            "query_string": b"",
            "headers": [(b"x-forwarded-for", b"10.0.0.1")],
            "client": (peer, 4711),
        }
        await admission(scope, receive, send)
        return int(found[0]["status"])

    peers = ("192.0.2.1", "10.0.0.1", "127.0.0.1", "::1", "::ffff:10.0.0.1", "10.0.0.2")
    assert [asyncio.run(answered(each)) for each in peers] == [403, 204, 204, 204, 204, 403]


def test_the_header_of_a_user_is_believed_once(web_node: Callable[..., WebNode], users: UsersFile) -> None:
    """Of a proxy that appends its own to the one which a client has sent, the first was taken."""
    policy = WebPolicy(users=users, proxies=(ip_network("127.0.0.1"),), user_header="X-Forwarded-User")
    node = web_node(Terms(web=policy))
    for names, status in (
        (["viewer"], 204),
        (["nobody"], 403),
        (["admin", "viewer"], 400),
        ([""], 401),
        ([], 401),
    ):
        head = "".join(f"X-Forwarded-User: {each}\r\n" for each in names)
        with node.connection() as connection:
            connection.sendall(
                f"GET /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\n{head}Connection: close\r\n\r\n".encode()
            )
            assert connection.recv(4096).startswith(f"HTTP/1.1 {status} ".encode()), names


def test_without_users_whoever_reaches_the_node_may_do_everything(web_node: Callable[..., WebNode]) -> None:
    address = web_node().node.web_address
    assert address is not None
    connection = http.client.HTTPConnection(*address, timeout=20)
    connection.request("GET", "/dicom-web/studies")
    assert connection.getresponse().status == 204
    connection.close()


def test_guesses_are_counted_for_all_workers_together(tmp_path: Path, users: UsersFile) -> None:
    """With each worker, somebody had as many guesses more."""

    def guess(connection: http.client.HTTPConnection) -> int:
        connection.request("GET", "/dicom-web/studies", headers={"Authorization": basic("viewer", "wrong")})
        answer = connection.getresponse()
        answer.read()
        return answer.status

    variables = {"DICOMNET_WEB_USERS": str(tmp_path / "users.toml")}
    with serving_web(tmp_path, "--workers", "2", **variables) as (node, address):
        _, workers = workers_of(node.process.pid)
        one, other = (http.client.HTTPConnection(*address, timeout=20) for _ in range(2))
        one.connect()
        assert one.sock is not None
        other.sock = connected_elsewhere(address, worker_of(one.sock, workers), workers)
        assert [guess(each) for each in (one, other, one, other, one)] == [401] * 5
        assert [guess(each) for each in (one, other)] == [429] * 2
        for each in (one, other):
            each.close()
        node.end()
