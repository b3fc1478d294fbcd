"""Who makes a request by HTTP, and what that one may do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from starlette.types import Scope

from ....values import frozen
from ...users import Right
from ..http.problems import Problem

# What a request needs by its method, unless its handler demands more.
_BY_METHOD: Mapping[str, Right] = {
    "GET": Right.READ,
    "HEAD": Right.READ,
    "OPTIONS": Right.READ,
    "DELETE": Right.DELETE,
}
_KEY = "dicomnet.identity"


@frozen
class Identity:
    """Who makes a request.

    Parameters
    ----------
    name
        The name of the user; empty where nobody has to say who he is.
    rights
        What he may do.
    """

    name: str
    rights: frozenset[Right]


ANYBODY = Identity("", frozenset(Right))
NOBODY = Identity("", frozenset())


def enter(scope: Scope, identity: Identity) -> None:
    """Note who makes a request."""
    scope[_KEY] = identity


def identity_of(scope: Scope) -> Identity:
    """Who makes a request, as `Admission` has found out; nobody before that."""
    return cast(Identity, scope.get(_KEY, NOBODY))


def needed_for(method: str) -> Right:
    """What a request needs at least, by its method."""
    return _BY_METHOD.get(method, Right.WRITE)


def demand(scope: Scope, right: Right) -> None:
    """See that whoever makes a request may do something.

    Raises
    ------
    Problem
        With status 403 if he may not.
    """
    identity = identity_of(scope)
    if right not in identity.rights:
        raise Problem(
            403, f"{identity.name or 'this user'} may not do this, which takes the right to {right}"
        )
