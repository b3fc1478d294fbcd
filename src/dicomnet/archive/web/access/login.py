"""How a person logs in and out: a form, and a cookie that names a session of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from ...ledger.sessions import Sessions, digest_of
from ...terms import Terms
from ..http.problems import Problem
from ..http.threads import in_thread
from .admission import COOKIE, LOGIN, LOGOUT, Admission
from .policy import WebPolicy
from .proxies import address_of

# The longest form that is read, in bytes.
_FORM = 4096


class Shows(Protocol):
    """What makes a page."""

    def __call__(
        self,
        request: Request,
        template: str,
        *,
        status: int = ...,
        headers: Mapping[str, str] | None = ...,
        **values: Any,
    ) -> Response:
        """A page; the parameters are those of `Site.page`."""
        ...


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
    show
        Makes a page.
    on_logout
        Told who has logged out, by name and address.
    """

    def __init__(
        self,
        admission: Admission,
        sessions: KnowsSessions,
        show: Shows,
        on_logout: Callable[[str, str], None],
    ) -> None:
        self._on_logout = on_logout
        self._admission = admission
        self._sessions = sessions
        self._show_page = show
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
        return self._form(request, "")

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
            words = problem.sentence
            return self._form(request, f"{words[0].upper()}{words[1:]}.", 429, problem.headers)
        if user is None:
            return self._form(request, "There is no such user with this password.", 403)
        address, lifetime = address_of(request.scope, policy), timedelta(seconds=policy.lifetime)
        await self._end_session(request)
        secret = await in_thread(lambda: self._sessions().begin(user.name, user.stamp, address, lifetime))
        answer = RedirectResponse(_target(request), 303)
        answer.set_cookie(
            COOKIE,
            secret,
            max_age=int(policy.lifetime),
            secure=request.scope["scheme"] == "https",
            httponly=True,
            samesite="strict",
        )
        return answer

    async def _log_out(self, request: Request) -> Response:
        await self._end_session(request)
        answer = RedirectResponse(LOGIN, 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    async def _end_session(self, request: Request) -> None:
        """End that of a browser, where it has one."""
        secret = request.cookies.get(COOKIE)
        if secret:
            self._admission.forget(secret)
            digest = digest_of(secret)
            session = await in_thread(lambda: self._sessions().find(digest))
            await in_thread(lambda: self._sessions().end(digest))
            if session is not None:
                self._on_logout(session.name, address_of(request.scope, self._policy))

    def _form(
        self, request: Request, why: str, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Response:
        action = f"{LOGIN}?next={quote(_target(request), safe='/')}"
        return self._show_page(request, "login.html", status=status, headers=headers, why=why, action=action)


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
