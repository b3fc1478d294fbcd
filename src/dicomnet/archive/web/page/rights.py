"""Who may do what on the pages: the one place where that is asked."""

from __future__ import annotations

from enum import Enum

from starlette.requests import Request


class Right(Enum):
    """What somebody may do; the value is said where he may not."""

    SEE = "see what is stored"
    ADD = "store objects"
    SEND = "send objects to others"
    DELETE = "delete objects"
    WATCH = "see how the archive is run"


class Rights:
    """What the one may do who makes a request.

    Parameters
    ----------
    request
        The request.
    """

    def __init__(self, request: Request) -> None:
        self._request = request

    def has(self, right: Right) -> bool:
        """Whether he has a right. Whoever can reach the node has all of them."""
        return True
