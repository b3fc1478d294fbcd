"""Who may do what on the pages: the one place where that is asked."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from starlette.requests import Request

from ... import users
from ..access.identity import identity_of


class Right(Enum):
    """What somebody may do; the value is said where he may not."""

    SEE = "see what is stored"
    ADD = "store objects"
    SEND = "send objects to others"
    DELETE = "delete objects"
    WATCH = "see how the archive is run"
    RELEASE = "release objects from quarantine"


_NEEDS: Mapping[Right, frozenset[users.Right]] = {
    Right.SEE: frozenset({users.Right.READ}),
    Right.ADD: frozenset({users.Right.WRITE}),
    Right.SEND: frozenset({users.Right.READ, users.Right.WRITE}),
    Right.DELETE: frozenset({users.Right.DELETE}),
    Right.WATCH: frozenset({users.Right.ADMIN}),
    Right.RELEASE: frozenset({users.Right.ADMIN, users.Right.WRITE}),
}


class Rights:
    """What the one may do who makes a request.

    Parameters
    ----------
    request
        The request.
    """

    def __init__(self, request: Request) -> None:
        self._request = request

    @property
    def name(self) -> str:
        """Who it is; empty where nobody has to say so."""
        return identity_of(self._request.scope).name

    def has(self, right: Right) -> bool:
        """Whether he has a right."""
        return _NEEDS[right] <= identity_of(self._request.scope).rights
