"""How a person logs in and out: a form, and a cookie that names a session of the ledger."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from html import escape
from typing import Protocol
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from ..ledger.sessions import Sessions, digest_of
from ..terms import Terms
from .admission import COOKIE, LOGIN, LOGOUT, Admission, address_of, is_secure
from .policy import WebPolicy
from .problems import Problem
from .threads import in_thread

# The longest form that is read, in bytes.
_FORM = 4096
_PAGE = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Log in</title></head>
<body><main>
<h1>Log in</h1>
<p role="alert">{why}</p>
<form method="post" action="{action}">
<p><label for="name">Name</label><br>
<input id="name" name="name" autocomplete="username" required autofocus></p>
<p><label for="password">Password</label><br>
<input id="password" name="password" type="password" autocomplete="current-password" required></p>
<p><button>Log in</button></p>
</form>
</main></body>
</html>
"""
_HEADERS = {"content-security-policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'"}


class KnowsSessions(Protocol):
    """What opens the ledger's sessions; it blocks."""

    def __call__(self) -> Sessions:
        """The sessions."""
        ...


class LoginPage:
    """The page where one logs in, and the way out.

    Parameters
    ----------
    admission
        Knows who may come in.
    sessions
        Gives those of the ledger; called in threads.
    on_logout
        Told who has logged out, by name and address.
    """

    def __init__(
        self, admission: Admission, sessions: KnowsSessions, on_logout: Callable[[str, str], None]
    ) -> None:
        self._on_logout = on_logout
        self._admission = admission
        self._sessions = sessions
        self._policy = WebPolicy()
        self.routes: list[BaseRoute] = [
            Route(LOGIN, self._show, methods=["GET"]),
            Route(LOGIN, self._log_in, methods=["POST"]),
            Route(LOGOUT, self._log_out, methods=["POST"]),
        ]

    def adopt(self, terms: Terms) -> None:
        """Go by other terms from now on."""
        self._policy = terms.web

    async def _show(self, request: Request) -> Response:
        return _form(request, "")

    async def _log_in(self, request: Request) -> Response:
        policy, form = self._policy, await _fields(request)
        name, password = form.get("name", ""), form.get("password", "")
        if policy.users is None:
            return RedirectResponse(_target(request), 303)
        try:
            user = await self._admission.by_password(request.scope, policy.users, name, password)
        except Problem as problem:
            if problem.status != 429:
                raise
            return _form(request, problem.sentence, problem)
        if user is None:
            return _form(request, "There is no such user with this password.", Problem(403, ""))
        address, lifetime = address_of(request.scope, policy), timedelta(seconds=policy.lifetime)
        secret = await in_thread(lambda: self._sessions().begin(user.name, user.stamp, address, lifetime))
        answer = RedirectResponse(_target(request), 303)
        answer.set_cookie(
            COOKIE,
            secret,
            max_age=int(policy.lifetime),
            secure=is_secure(request.scope, policy),
            httponly=True,
            samesite="strict",
        )
        return answer

    async def _log_out(self, request: Request) -> Response:
        secret = request.cookies.get(COOKIE)
        if secret:
            self._admission.forget(secret)
            digest = digest_of(secret)
            session = await in_thread(lambda: self._sessions().find(digest))
            await in_thread(lambda: self._sessions().end(digest))
            if session is not None:
                self._on_logout(session.name, address_of(request.scope, self._policy))
        answer = RedirectResponse(LOGIN, 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer


def _form(request: Request, why: str, problem: Problem | None = None) -> Response:
    action = f"{LOGIN}?next={quote(_target(request), safe='/')}"
    page = _PAGE.format(why=escape(why), action=escape(action))
    more = {} if problem is None else dict(problem.headers or {})
    return HTMLResponse(page, 200 if problem is None else problem.status, headers=_HEADERS | more)


async def _fields(request: Request) -> dict[str, str]:
    """The fields of a form."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _FORM:
            raise Problem(413, "this form is too long")
    try:
        found = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=16)
    except ValueError:
        raise Problem(400, "this form cannot be read") from None
    return {name: values[0] for name, values in found.items()}


def _target(request: Request) -> str:
    """Where one wanted to go: a path of this node, and never another address."""
    wanted = request.query_params.get("next", "/")
    is_path = wanted.startswith("/") and not wanted.startswith(("//", "/\\", LOGIN))
    return wanted if is_path and wanted.isprintable() and wanted.isascii() else "/"
