"""Tokens against forms that a foreign page has a browser send (CSRF): a form has one that belongs to the browser."""

from __future__ import annotations

import hmac
import re
from secrets import token_bytes, token_urlsafe

from starlette.requests import Request
from starlette.responses import Response

from ..access.guard import is_same_origin
from ..access.identity import identity_of
from ..http.problems import Problem

COOKIE = "dicomnet_page"
FIELD = "token"
_NONCE = re.compile(r"[A-Za-z0-9_-]{43}")


class Tokens:
    """Makes and checks tokens. It is made before worker processes are forked, so that each knows those of all."""

    def __init__(self) -> None:
        self._secret = token_bytes(32)

    def nonce(self, request: Request) -> str:
        """What tells the browser of a request from others; a new one where it has none yet."""
        known = request.cookies.get(COOKIE, "")
        return known if _NONCE.fullmatch(known) else token_urlsafe(32)

    def token(self, request: Request, nonce: str) -> str:
        """The token of a browser and of who uses it: another user cannot have it made for him."""
        text = f"{nonce} {identity_of(request.scope).name}"
        return hmac.digest(self._secret, text.encode(), "sha256").hex()

    def remember(self, request: Request, response: Response, nonce: str) -> None:
        """Have the browser keep what tells it from others."""
        is_secure = request.scope["scheme"] == "https"
        response.set_cookie(COOKIE, nonce, secure=is_secure, httponly=True, samesite="strict", path="/")

    def check(self, request: Request, given: str) -> None:
        """Check a request that changes something.

        Raises
        ------
        Problem
            With status 403 if it may come from another page than ours.
        """
        nonce = request.cookies.get(COOKIE, "")
        is_ours = is_same_origin(request.headers) and _NONCE.fullmatch(nonce)
        if not is_ours or not hmac.compare_digest(self.token(request, nonce).encode(), given.encode()):
            raise Problem(
                403, "this form is too old, or of another page; nothing was done; load the page again"
            )
