"""What the ledger says of the sessions of users by HTTP."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from sqlalchemy import delete, or_, select, update

from ...values import frozen
from ..database import Database
from . import schema

_of = schema.session.c

# How many sessions of one user hold at once: of more, the oldest end. A name may be shared by many workstations.
_MOST = 1000


@frozen
class Session:
    """A session that holds.

    Parameters
    ----------
    name, stamp
        Of the user, see `archive.users.User`.
    until
        When it ends.
    """

    name: str
    stamp: str
    until: datetime


class Sessions:
    """The sessions in a ledger. All methods raise DatabaseFailure if it cannot be read or written.

    Parameters
    ----------
    database
        That of the ledger.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, name: str, stamp: str, address: str, lifetime: timedelta) -> str:
        """Begin a session; what the browser has to show from now on, which is kept nowhere. It is durable at the end.

        Parameters
        ----------
        name, stamp
            Of the user.
        address
            From where.
        lifetime
            How long it holds.
        """
        secret, now = secrets.token_urlsafe(32), datetime.now(UTC)
        row = {
            "digest": digest_of(secret),
            "name": name,
            "stamp": stamp,
            "address": address,
            "begun_at": now,
            "until": now + lifetime,
        }
        oldest = select(_of.id).where(_of.name == name).order_by(_of.id.desc()).offset(_MOST)
        with self._database.writing() as connection:
            connection.execute(self._database.insert(schema.session).values(row))
            connection.execute(delete(schema.session).where(_of.id.in_(oldest)))
        return secret

    def find(self, digest: str) -> Session | None:
        """The session of a secret with this digest, None if there is none that holds."""
        statement = select(_of.name, _of.stamp, _of.until).where(_of.digest == digest, _of.ended_at.is_(None))
        with self._database.reading() as connection:
            row = connection.execute(statement).first()
        if row is None or row.until <= datetime.now(UTC):
            return None
        return Session(row.name, row.stamp, row.until)

    def end(self, digest: str) -> None:
        """End a session; it is durable at the end."""
        statement = update(schema.session).where(_of.digest == digest, _of.ended_at.is_(None))
        with self._database.writing() as connection:
            connection.execute(statement.values(ended_at=datetime.now(UTC)))

    def drop_over(self, now: datetime) -> int:
        """Remove those that hold no longer; how many these were."""
        is_over = or_(_of.until <= now, _of.ended_at.is_not(None))
        with self._database.reading() as connection:
            if connection.execute(select(_of.id).where(is_over).limit(1)).first() is None:
                return 0
        with self._database.writing() as connection:
            return connection.execute(delete(schema.session).where(is_over)).rowcount


def digest_of(secret: str) -> str:
    """By what a session is known here."""
    return sha256(secret.encode()).hexdigest()
