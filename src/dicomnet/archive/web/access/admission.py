"""Who may have a request by HTTP answered: who makes it, and what that one may do."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from time import monotonic
from typing import Protocol
from urllib.parse import quote
from weakref import WeakValueDictionary

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ...ledger.sessions import Session, digest_of
from ...users import ROLES, User, UsersFile, may_be_name, today
from ..http.problems import Problem, problem_response
from ..http.threads import in_thread
from .failures import Failures, client_of
from .identity import ANYBODY, NOBODY, Identity, enter, needed_for
from .policy import WebPolicy
from .proxies import address_of, is_of_proxy, is_of_this_machine, is_secure

# What anybody may ask for: how to log in and out, and how that page looks.
LOGIN, LOGOUT = "/login", "/logout"
_OPEN = (LOGIN, LOGOUT, "/static/")
COOKIE = "dicomnet-session"
# For how long what was found out of a password holds, and of a session, which another process may end, in seconds, and
# of how many it is known.
_FRESH, _SESSION_FRESH, _KNOWN = 10.0, 1.0, 1000
# How many passwords are looked at at once: each takes 64 MiB of memory and all that a processor can do.
_PASSWORDS = 2


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
    has_login
        Whether there is a page where people log in; without one, browsers ask them for name and password.

    Attributes
    ----------
    policy
        What goes; may be replaced at any time.
    failures
        Of those who could not prove who they are.
    """

    def __init__(
        self,
        application: ASGIApp,
        sessions: Callable[[], FindsSessions],
        on_login: OnLogin,
        *,
        has_login: bool,
    ) -> None:
        self._has_login = has_login
        self._on_login = on_login
        self._application = application
        self._sessions = sessions
        self.policy = WebPolicy()
        if find_spec("argon2") is not None:
            # When the first password comes, there may be no free file descriptor to import it with.
            import_module("argon2")
        self.failures = Failures()
        self._known: OrderedDict[str, tuple[float, User | Session]] = OrderedDict()
        # Whoever sends many passwords at once has each looked at when it is known what became of the one before.
        self._passwords = asyncio.Semaphore(_PASSWORDS)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        headers = Headers(scope=scope)
        if is_secure(scope, self.policy):
            # Behind a proxy with TLS, our own addresses are those that it has.
            scope["scheme"] = "https"
        try:
            self._check_way(scope)
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

    def _check_way(self, scope: Scope) -> None:
        """Refuse one whom third ones can hear."""
        if self.policy.is_behind_proxies and not (
            is_of_proxy(scope, self.policy) or is_of_this_machine(scope)
        ):
            raise Problem(
                403,
                "this node is reached through its proxy only, as it has no TLS here; see web.proxies, web.tls",
            )

    async def _identify(self, scope: Scope, headers: Headers) -> Identity | None:
        """Who makes a request, None if nobody says so."""
        users = self.policy.users
        if users is None:
            return ANYBODY
        if self.policy.user_header and is_of_proxy(scope, self.policy):
            names = headers.getlist(self.policy.user_header)
            if len(names) > 1:
                raise Problem(
                    400, "the proxy names more than one user; it has to take away what a client sends"
                )
            if names and names[0]:
                return _of_user((await in_thread(users.read)).users.get(names[0]))
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
        if known is not None and self._remembered(key) == known:
            return known
        address = address_of(scope, self.policy)
        turn = self._turns.setdefault(client_of(address), asyncio.Lock())
        async with turn, self._passwords:
            if known is not None and self._remembered(key) == known:
                # It came more than once at the same time.
                return known
            # Nobody can be called as this, and it would be kept.
            counted = name if may_be_name(name) else ""
            self._check_wait(address, counted)
            is_counted = self.failures.begins(address, counted)
            user = await in_thread(lambda: users.read().by_password(name, password))
            self._on_login(counted, address, user is None)
            if user is not None:
                self.failures.succeeded(address, name)
                self._remember(key, user, _FRESH)
            elif not is_counted:
                self.failures.failed(address, counted)
            return user

    async def _by_token(self, scope: Scope, users: UsersFile, given: str) -> Identity:
        address = address_of(scope, self.policy)
        token = await in_thread(lambda: users.read().by_token(given, today()))
        if token is None:
            # One that is right cannot have been guessed, and is heard whatever others did.
            self._check_wait(address)
            self.failures.failed(address)
        self._on_login("" if token is None else token.name, address, token is None)
        if token is None:
            raise Problem(401, "this token is none, or has expired", _CHALLENGE)
        return Identity(token.name, token.rights)

    async def _by_session(self, users: UsersFile, secret: str) -> Identity | None:
        digest = digest_of(secret)
        session = self._remembered(digest)
        if not isinstance(session, Session):
            session = await in_thread(self._sessions().find, digest)
            if session is None:
                return None
            self._remember(digest, session, _SESSION_FRESH)
        user = (await in_thread(users.read)).users.get(session.name)
        return _of_user(user) if user is not None and user.stamp == session.stamp else None

    def forget(self, secret: str) -> None:
        """A session is over."""
        self._known.pop(digest_of(secret), None)

    def _check_wait(self, address: str, name: str = "") -> None:
        """Raise Problem if a client is not heard now; parameters as of `Failures.wait`."""
        wait = self.failures.wait(address, name)
        if wait > 0:
            # One who guesses gives many names.
            self._on_login("", address, True)
            after = {"retry-after": str(int(wait) + 1)}
            raise Problem(429, f"there were too many failures; try again in {int(wait) + 1} s", after)

    def _remembered(self, key: str) -> User | Session | None:
        found = self._known.get(key)
        return found[1] if found is not None and monotonic() < found[0] else None

    def _remember(self, key: str, found: User | Session, seconds: float) -> None:
        self._known[key] = monotonic() + seconds, found
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    def _ask(self, scope: Scope, headers: Headers) -> Response:
        """Ask who it is: a person by the page for that, a program by a challenge."""
        is_person = scope["method"] == "GET" and "text/html" in headers.get("accept", "")
        if is_person and self._has_login:
            query = scope["query_string"].decode("latin-1")
            path = scope["path"] + (f"?{query}" if query else "")
            return RedirectResponse(f"{LOGIN}?next={quote(path, safe='/')}", 303)
        if self._has_login and is_browser(headers):
            return problem_response(Problem(401, "you are not logged in any more; log in again", _NO_DIALOG))
        return problem_response(Problem(401, "say who you are, by Authorization", _CHALLENGE))


def is_browser(headers: Headers) -> bool:
    """Whether a request is one of a browser's, for a page that it shows."""
    return "sec-fetch-mode" in headers or "cookie" in headers


_CHALLENGE = {"www-authenticate": 'Basic realm="dicomnet", charset="UTF-8"'}
# Asked for Basic by what a page fetches, a browser asks the person in a window of its own, holds the request back until
# then, and sends what is typed with each request from then on, also when the session is over.
_NO_DIALOG = {"www-authenticate": 'Bearer realm="dicomnet"'}


def _of_user(user: User | None) -> Identity:
    if user is None:
        raise Problem(403, "this user is not known here")
    return Identity(user.name, ROLES[user.role])


def _is_open(path: str) -> bool:
    return any(path == each or (each.endswith("/") and path.startswith(each)) for each in _OPEN)
