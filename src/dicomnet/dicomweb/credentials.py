"""What tells a DICOMweb service who asks: a token, or a user and a password. Neither is ever shown."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Callable
from typing import Protocol

Secret = str | Callable[[], str]
"""A secret, or what gives it when it is needed, and once more where a peer does not take it any longer."""


class Credentials(Protocol):
    """What a request shows."""

    def header(self) -> str:
        """The value of Authorization. It may take long, where a command gives the secret.

        Raises
        ------
        ValueError
            If the secret cannot be one.
        """
        ...

    def renew(self) -> bool:
        """A peer has not taken it: whether there may be another one now."""
        ...


class _Kept:
    """A secret that is kept once it was given. May be shared between threads, of which one asks for it."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._lock = threading.Lock()
        self._value: str | None = secret if isinstance(secret, str) else None

    def get(self) -> str:
        with self._lock:
            if self._value is None:
                assert not isinstance(self._secret, str)
                self._value = self._secret()
            return self._value

    def renew(self) -> bool:
        if isinstance(self._secret, str):
            return False
        with self._lock:
            self._value = None
        return True


class Bearer:
    """A bearer token (RFC 6750).

    Parameters
    ----------
    token
        The token; or a function that gives it, which is called again when the peer takes the last one no longer.
    """

    def __init__(self, token: Secret) -> None:
        self._token = _Kept(token)

    def header(self) -> str:
        """The value of Authorization."""
        token = self._token.get().strip()
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError("what is given as token is none: it is empty, or has blanks or other characters")
        return f"Bearer {token}"

    def renew(self) -> bool:
        """Whether there may be another token now."""
        return self._token.renew()

    def __repr__(self) -> str:
        return "Bearer(...)"


class Basic:
    """A user and a password (RFC 7617).

    Parameters
    ----------
    user
        The name, without a colon.
    password
        The password; or a function that gives it.

    Raises
    ------
    ValueError
        If the name has a colon.
    """

    def __init__(self, user: str, password: Secret) -> None:
        if ":" in user or not user.isprintable():
            raise ValueError("the name of a user has no colon and no control characters")
        self._user = user
        self._password = _Kept(password)

    def header(self) -> str:
        """The value of Authorization."""
        text = f"{self._user}:{self._password.get()}"
        return f"Basic {b64encode(text.encode()).decode('ascii')}"

    def renew(self) -> bool:
        """Whether there may be another password now."""
        return self._password.renew()

    def __repr__(self) -> str:
        return f"Basic({self._user!r}, ...)"
