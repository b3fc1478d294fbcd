"""The users of an archive by HTTP, and the tokens of scripts: a file that only its owner can read."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import cache
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..drivers.medium import flush_folder
from ..errors import UsersUnusable
from ..values import field, frozen
from .exclusion import alone_in

if TYPE_CHECKING:
    from argon2 import PasswordHasher

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
# How the text of a token begins, so that one that was published by mistake can be found.
_TOKEN = re.compile(r"dicomnet_([a-z0-9]{8})_([A-Za-z0-9_-]{43})")
_NUMBER, _DIGEST = re.compile(r"[a-z0-9]{8}"), re.compile(r"[0-9a-f]{64}")
# What stands for a password in the encoding of argon2, or that there is none.
_HASH = re.compile(r"(\$argon2id?[$A-Za-z0-9+/=,]+)?")
_HEADING = "# Users of an archive, and tokens of scripts. Changed by: dicomnet users\n"
# The shortest password that is taken.
SHORTEST = 8


class Right(StrEnum):
    """What somebody may do; also what a bearer token is for."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    ADMIN = "admin"


_R = Right
# What each kind of user may do.
ROLES: Mapping[str, frozenset[Right]] = {
    "viewer": frozenset({_R.READ}),
    "sender": frozenset({_R.WRITE}),
    "editor": frozenset({_R.READ, _R.WRITE}),
    "manager": frozenset({_R.READ, _R.WRITE, _R.DELETE}),
    "admin": frozenset(Right),
}


@frozen
class User:
    """Somebody who may use the archive.

    Parameters
    ----------
    name
        The name.
    role
        One of `ROLES`.
    password
        An argon2id hash in the usual encoding; empty for one whom only a proxy in front of the node can vouch for.
    """

    name: str
    role: str
    password: str = field(default="", repr=False)

    @property
    def stamp(self) -> str:
        """What changes with role and password, so that what was agreed with another one holds no longer."""
        return sha256(f"{self.role}\0{self.password}".encode()).hexdigest()


@frozen
class Token:
    """What a script shows instead of a password.

    Parameters
    ----------
    number
        By what it is named.
    name
        Whose or what it is, for the audit.
    rights
        What it is for.
    expires
        The last day on which it is taken.
    digest
        SHA-256 of its secret, which is as long as the digest.
    """

    number: str
    name: str
    rights: frozenset[Right]
    expires: date
    digest: str = field(repr=False)


@frozen
class Users:
    """What a file of users says.

    Parameters
    ----------
    users, tokens
        By name, and by number.
    """

    users: Mapping[str, User] = field(default_factory=dict)
    tokens: Mapping[str, Token] = field(default_factory=dict)

    def by_password(self, name: str, password: str) -> User | None:
        """The user who has a name and password; None if nobody has. It takes as long if there is none of that name."""
        from argon2.exceptions import InvalidHashError, VerificationError

        user = self.users.get(name)
        known = user.password if user is not None and user.password else _nobodys()
        try:
            _hasher().verify(known, password)
        except (VerificationError, InvalidHashError):
            return None
        return user if user is not None and user.password else None

    def by_token(self, text: str, today: date) -> Token | None:
        """The token of a text; None if there is none, or not any more."""
        found = _TOKEN.fullmatch(text)
        token = None if found is None else self.tokens.get(found[1])
        if found is None or token is None or today > token.expires:
            return None
        return token if compare_digest(token.digest, _digest(found[2])) else None


class UsersFile:
    """A file of users.

    Parameters
    ----------
    path
        Where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # What it said, and when: together, as several threads read it.
        self._known: tuple[tuple[int, ...], Users] | None = None

    def read(self) -> Users:
        """What it says now; it is read again where it has changed.

        Raises
        ------
        UsersUnusable
            If somebody else can read or change it, or it makes no sense.
        OSError
            If it cannot be read.
        """
        found, known = os.stat(self.path), self._known
        stamp = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode)
        if known is None or stamp != known[0]:
            if os.name == "posix" and found.st_mode & 0o077:
                raise UsersUnusable(str(self.path), f"others can read or change it; chmod 600 {self.path}")
            known = self._known = stamp, _parsed(self.path, self.path.read_bytes())
        return known[1]

    @contextlib.contextmanager
    def changing(self) -> Iterator[tuple[dict[str, User], dict[str, Token]]]:
        """Its users and tokens to be changed; at the end they are written, all or nothing.

        A file that is not there is made. Two who change it at once do so one after the other.

        Raises
        ------
        UsersUnusable, OSError
            As `read`, and if it cannot be written.
        """
        # Where it is a link, what it leads to is written.
        path = self.path.resolve()
        with alone_in(path.parent):
            known = self.read() if path.exists() else Users()
            users, tokens = dict(known.users), dict(known.tokens)
            yield users, tokens
            _write(path, _HEADING + "".join(_lines(users, tokens)))


def new_user(name: str, role: str, password: str | None) -> User:
    """A user with this password; None for one without.

    Raises
    ------
    ValueError
        If name or password cannot be taken, in words.
    """
    check_name(name)
    if password is None:
        return User(name, role)
    if len(password) < SHORTEST:
        raise ValueError(f"a password has at least {SHORTEST} characters")
    return User(name, role, _hasher().hash(password))


def new_token(name: str, rights: frozenset[Right], expires: date) -> tuple[Token, str]:
    """A token, and its text, which cannot be had again.

    Raises
    ------
    ValueError
        If the name cannot be taken, in words.
    """
    check_name(name)
    number = "".join(secrets.choice("abcdefghijkmnpqrstuvwxyz23456789") for _ in range(8))
    secret = secrets.token_urlsafe(32)
    return Token(number, name, rights, expires, _digest(secret)), f"dicomnet_{number}_{secret}"


def may_be_name(text: str) -> bool:
    """Whether somebody can be called so."""
    return _NAME.fullmatch(text) is not None


def check_name(name: str) -> None:
    """Raise ValueError, in words, for a text that cannot be the name of a user."""
    if not may_be_name(name):
        raise ValueError(f"{name!r} cannot be a name: it is up to 64 letters, digits, dots, hyphens, _ and @")


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


@cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher()


@cache
def _nobodys() -> str:
    """The hash of a password that nobody has."""
    return _hasher().hash(secrets.token_urlsafe(32))


def _parsed(path: Path, content: bytes) -> Users:
    try:
        found = tomllib.loads(content.decode())
        return Users(
            {name: _user(name, row) for name, row in _rows(found, "user")},
            {number: _token(number, row) for number, row in _rows(found, "token")},
        )
    except (ValueError, TypeError, KeyError) as error:
        raise UsersUnusable(str(path), f"this is no file of users: {error}") from None


def _rows(found: Mapping[str, Any], table: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if unknown := set(found) - {"user", "token"}:
        raise ValueError(f"there is no table {min(unknown)!r} in one")
    rows = found.get(table, {})
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        raise ValueError(f"{table} is no table of tables")
    yield from rows.items()


def _texts(row: Mapping[str, Any], *names: str) -> dict[str, str]:
    if wrong := [name for name in names if not isinstance(row.get(name), str)]:
        raise ValueError(f"{wrong[0]!r} is missing, or is no text")
    return {name: row[name] for name in names}


def _user(name: str, row: Mapping[str, Any]) -> User:
    check_name(name)
    user = User(name, **_texts(row, "role", "password"))
    if user.role not in ROLES:
        raise ValueError(f"there is no role {user.role!r}")
    if _HASH.fullmatch(user.password) is None:
        raise ValueError(f"the password of {name} is no hash of argon2; dicomnet users add {name} makes one")
    return user


def _token(number: str, row: Mapping[str, Any]) -> Token:
    texts = _texts(row, "name", "digest")
    expires, rights = row.get("expires"), row.get("rights")
    if not isinstance(expires, date) or isinstance(expires, datetime) or not isinstance(rights, list):
        raise ValueError("a token has a date and a list of rights")
    check_name(texts["name"])
    if _NUMBER.fullmatch(number) is None or _DIGEST.fullmatch(texts["digest"]) is None:
        raise ValueError(f"the token {number!r} has another form than those that dicomnet users makes")
    return Token(number, texts["name"], frozenset(map(Right, rights)), expires, texts["digest"])


def _lines(users: Mapping[str, User], tokens: Mapping[str, Token]) -> Iterator[str]:
    # All texts are of characters that TOML takes as they are; those that are read are checked for that.
    for user in users.values():
        yield f'\n[user."{user.name}"]\nrole = "{user.role}"\npassword = "{user.password}"\n'
    for token in tokens.values():
        rights = ", ".join(f'"{each}"' for each in Right if each in token.rights)
        yield f'\n[token.{token.number}]\nname = "{token.name}"\nrights = [{rights}]\n'
        yield f'expires = {token.expires.isoformat()}\ndigest = "{token.digest}"\n'


def _write(path: Path, content: str) -> None:
    """Write a file that only we can read, durably, all or nothing; its owner stays the same where that can be."""
    descriptor, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content.encode())
            stream.flush()
            if os.name == "posix" and path.exists():
                before = path.stat()
                if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(stream.fileno(), before.st_uid, before.st_gid)
            os.fsync(stream.fileno())
        os.replace(part, path)
        flush_folder(str(path.parent))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def today() -> date:
    """The date by which tokens expire, which is that of UTC."""
    return datetime.now(UTC).date()
