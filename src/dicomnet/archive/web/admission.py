"""Who may have a request by HTTP answered: who makes it, and what that one may do."""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from ipaddress import ip_address
from time import monotonic
from typing import Protocol
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..ledger.sessions import Session, digest_of
from ..users import ROLES, Token, User, UsersFile, today
from .failures import Failures
from .identity import ANYBODY, NOBODY, Identity, enter, needed_for
from .policy import WebPolicy
from .problems import Problem, problem_response
from .threads import in_thread

# What anybody may ask for: how to log in and out, and how that page looks.
LOGIN, LOGOUT = "/login", "/logout"
_OPEN = (LOGIN, LOGOUT, "/static/")
COOKIE = "dicomnet-session"
# For how long what was found out of credentials holds, in seconds, and of how many it is known.
_FRESH, _KNOWN = 10.0, 1000


OnLogin = Callable[[str, str, bool], None]


class FindsSessions(Protocol):
    """What knows the sessions."""

    def find(self, digest: str) -> Session | None:
        """The session whose secret has this digest."""
        ...


class Admission:
    """An application whose requests are those of somebody who may make them.

    Without a file of users everybody may do everything who reaches the node.

    Parameters
    ----------
    application
        The application.
    sessions
        Gives those that know the sessions.
    on_login
        Told who has proved who he is, or could not, by name and address, and whether that failed.

    Attributes
    ----------
    policy
        What goes; may be replaced at any time.
    failures
        Of those who could not prove who they are.
    """

    def __init__(
        self, application: ASGIApp, sessions: Callable[[], FindsSessions], on_login: OnLogin
    ) -> None:
        self._on_login = on_login
        self._application = application
        self._sessions = sessions
        self.policy = WebPolicy()
        if find_spec("argon2") is not None:
            # When the first password comes, there may be no free file descriptor to import it with.
            import_module("argon2")
        self.failures = Failures()
        self._known: OrderedDict[str, tuple[float, User | Token | Session]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        headers = Headers(scope=scope)
        try:
            identity = await self._identify(scope, headers)
        except Exception as error:  # noqa: BLE001
            await problem_response(error)(scope, receive, send)
            return
        if identity is None and not _is_open(scope["path"]):
            await self._ask(scope, headers)(scope, receive, send)
            return
        identity = identity or NOBODY
        enter(scope, identity)
        needed = needed_for(scope["method"])
        if needed not in identity.rights and not _is_open(scope["path"]):
            problem = Problem(403, f"{identity.name} may not do this, which takes the right to {needed}")
            await problem_response(problem)(scope, receive, send)
            return
        await self._application(scope, receive, send)

    async def _identify(self, scope: Scope, headers: Headers) -> Identity | None:
        """Who makes a request, None if nobody says so."""
        users = self.policy.users
        if users is None:
            return ANYBODY
        if self.policy.user_header and _is_proxy(scope, self.policy):
            name = headers.get(self.policy.user_header, "")
            known = await in_thread(users.read)
            if name:
                return _of_user(known.users.get(name))
        way, _, given = headers.get("authorization", "").partition(" ")
        if way:
            return await self._by_credentials(scope, users, way.lower(), given.strip())
        secret = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return await self._by_session(users, secret) if secret else None

    async def _by_credentials(self, scope: Scope, users: UsersFile, way: str, given: str) -> Identity:
        if way == "bearer":
            return await self._by_token(scope, users, given)
        if way != "basic":
            raise Problem(401, "Authorization is by Basic or Bearer", _CHALLENGE)
        try:
            name, _, password = base64.b64decode(given, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise Problem(400, "the credentials cannot be read: Basic is name:password in Base64") from None
        user = await self.by_password(scope, users, name, password)
        if user is None:
            raise Problem(401, "there is no such user with this password", _CHALLENGE)
        return Identity(user.name, ROLES[user.role])

    async def by_password(self, scope: Scope, users: UsersFile, name: str, password: str) -> User | None:
        """The user who has a name and password, None for nobody.

        Raises
        ------
        Problem
            With status 429, if there were many failures before.
        """
        key = sha256(f"{name}\0{password}".encode()).hexdigest()
        known = (await in_thread(users.read)).users.get(name)
        found = self._remembered(key)
        if isinstance(found, User) and found == known:
            return found
        keys = self._heard(scope, name)
        user = await in_thread(lambda: users.read().by_password(name, password))
        self._on_login(name, address_of(scope, self.policy), user is None)
        return self._judged(keys, key, user)

    async def _by_token(self, scope: Scope, users: UsersFile, given: str) -> Identity:
        keys = self._heard(scope)
        token = await in_thread(lambda: users.read().by_token(given, today()))
        self._on_login("" if token is None else token.name, address_of(scope, self.policy), token is None)
        if token is None:
            self.failures.failed(*keys)
            raise Problem(401, "this token is none, or has expired", _CHALLENGE)
        return Identity(token.name, token.rights)

    async def _by_session(self, users: UsersFile, secret: str) -> Identity | None:
        digest = digest_of(secret)
        session = self._remembered(digest)
        if not isinstance(session, Session):
            session = await in_thread(self._sessions().find, digest)
            if session is None:
                return None
            self._remember(digest, session)
        user = (await in_thread(users.read)).users.get(session.name)
        return _of_user(user) if user is not None and user.stamp == session.stamp else None

    def forget(self, secret: str) -> None:
        """A session is over."""
        self._known.pop(digest_of(secret), None)

    def _heard(self, scope: Scope, name: str = "") -> tuple[str, ...]:
        """By what the failures of a client are counted; raises Problem if he is not heard now."""
        keys = (f"address {address_of(scope, self.policy)}", *([f"name {name}"] if name else ()))
        wait = self.failures.wait(*keys)
        if wait > 0:
            # One who guesses gives many names.
            self._on_login("", address_of(scope, self.policy), True)
            after = {"retry-after": str(int(wait) + 1)}
            raise Problem(429, f"there were too many failures; try again in {int(wait) + 1} s", after)
        return keys

    def _judged(self, keys: tuple[str, ...], key: str, user: User | None) -> User | None:
        if user is None:
            self.failures.failed(*keys)
        else:
            self.failures.succeeded(*keys)
            self._remember(key, user)
        return user

    def _remembered(self, key: str) -> User | Token | Session | None:
        found = self._known.get(key)
        return found[1] if found is not None and monotonic() < found[0] else None

    def _remember(self, key: str, found: User | Session) -> None:
        self._known[key] = monotonic() + _FRESH, found
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    def _ask(self, scope: Scope, headers: Headers) -> Response:
        """Ask who it is: a person by the page for that, a program by a challenge."""
        is_person = scope["method"] == "GET" and "text/html" in headers.get("accept", "")
        if is_person:
            query = scope["query_string"].decode("latin-1")
            path = scope["path"] + (f"?{query}" if query else "")
            return RedirectResponse(f"{LOGIN}?next={quote(path, safe='/')}", 303)
        return problem_response(Problem(401, "say who you are, by Authorization", _CHALLENGE))


_CHALLENGE = {"www-authenticate": 'Basic realm="dicomnet", charset="UTF-8"'}


def address_of(scope: Scope, policy: WebPolicy) -> str:
    """The address of a client; behind a proxy that is trusted, what that says."""
    if _is_proxy(scope, policy):
        said = Headers(scope=scope).get("x-forwarded-for", "").rpartition(",")[2].strip()
        if said:
            return said
    client = scope.get("client")
    return str(client[0]) if client else ""


def is_secure(scope: Scope, policy: WebPolicy) -> bool:
    """Whether a client uses TLS, with us or with a proxy that is trusted."""
    said = Headers(scope=scope).get("x-forwarded-proto", "") if _is_proxy(scope, policy) else ""
    return "https" in (scope["scheme"], said)


def _is_proxy(scope: Scope, policy: WebPolicy) -> bool:
    client = scope.get("client")
    if client is None or not policy.proxies:
        return False
    try:
        address = ip_address(client[0])
    except ValueError:
        return False
    return any(address.version == each.version and address in each for each in policy.proxies)


def _of_user(user: User | None) -> Identity:
    if user is None:
        raise Problem(403, "this user is not known here")
    return Identity(user.name, ROLES[user.role])


def _is_open(path: str) -> bool:
    return any(path == each or (each.endswith("/") and path.startswith(each)) for each in _OPEN)
