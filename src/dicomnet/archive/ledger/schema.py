"""The tables of the ledger, as the newest migration leaves them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table

from ..database import IDENTIFIER, INSTANT, SIZE, TEXT

# The migrations in `migrations/versions`, oldest first. A ledger of any other revision is of a newer program.
REVISIONS = ("0001", "0002", "0003", "0004", "0005")

metadata = MetaData()

# The revision that a ledger has, in a table of Alembic's.
REVISION_TABLE = "ledger_revision"
revision = Table(REVISION_TABLE, MetaData(), Column("version_num", String(32), primary_key=True))


def _object() -> list[Column[Any]]:
    """What is known of the file of an object, and who sent it."""
    return [
        Column("instance", TEXT, nullable=False),
        # Empty where they are not known.
        Column("study", TEXT, nullable=False),
        Column("series", TEXT, nullable=False),
        # Where the file is, below the folder of the store.
        Column("location", TEXT, nullable=False),
        Column("digest", TEXT, nullable=False),
        Column("size", SIZE, nullable=False),
        Column("ae_title", TEXT, nullable=False),
        Column("address", TEXT, nullable=False),
        Column("way", TEXT, nullable=False),
    ]


quarantine = Table(
    "quarantine",
    metadata,
    Column("id", IDENTIFIER, primary_key=True),
    *_object(),
    Column("reason", TEXT, nullable=False),
    Column("status", Integer),
    Column("arrived_at", INSTANT, nullable=False),
    # How often the same file has come, and when it last did.
    Column("arrivals", Integer, nullable=False),
    Column("last_at", INSTANT, nullable=False),
    Column("outcome", TEXT),
    Column("outcome_at", INSTANT),
)
OPEN = quarantine.c.outcome.is_(None)
Index("quarantine_instance", quarantine.c.instance)
# A file is in quarantine once, however often it comes.
Index(
    "quarantine_open_location",
    quarantine.c.location,
    unique=True,
    sqlite_where=OPEN,
    postgresql_where=OPEN,
)

version = Table(
    "version",
    metadata,
    Column("id", IDENTIFIER, primary_key=True),
    *_object(),
    Column("stored_at", INSTANT),
    Column("replaced_at", INSTANT, nullable=False),
)
Index("version_instance", version.c.instance)

# An object is entered before its file is touched, and has a fate as soon as it is known; see `archive.deletion`.
deletion = Table(
    "deletion",
    metadata,
    Column("id", IDENTIFIER, primary_key=True),
    *_object(),
    Column("run", TEXT, nullable=False),
    Column("actor", TEXT, nullable=False),
    Column("rule", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("patient", TEXT, nullable=False),
    Column("issuer", TEXT, nullable=False),
    Column("begun_at", INSTANT, nullable=False),
    Column("kept_until", INSTANT),
    Column("fate", TEXT),
    Column("fate_at", INSTANT),
)
Index("deletion_instance", deletion.c.instance)
Index("deletion_run", deletion.c.run)
# What is to be done yet: to end it, or to empty the trash.
TO_END, IN_TRASH = deletion.c.fate.is_(None), deletion.c.fate == "in trash"
Index("deletion_to_end", deletion.c.id, sqlite_where=TO_END, postgresql_where=TO_END)
Index("deletion_in_trash", deletion.c.kept_until, sqlite_where=IN_TRASH, postgresql_where=IN_TRASH)

protection = Table(
    "protection",
    metadata,
    Column("id", IDENTIFIER, primary_key=True),
    Column("patient", TEXT, nullable=False),
    # Empty for any.
    Column("issuer", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("actor", TEXT, nullable=False),
    Column("begun_at", INSTANT, nullable=False),
    Column("ended_at", INSTANT),
    Column("ended_by", TEXT, nullable=False),
)
HOLDS = protection.c.ended_at.is_(None)
# A patient is protected once.
Index(
    "protection_holds",
    protection.c.patient,
    protection.c.issuer,
    unique=True,
    sqlite_where=HOLDS,
    postgresql_where=HOLDS,
)

# A session of a user by HTTP; what his browser has of it is known here by its digest only.
session = Table(
    "session",
    metadata,
    Column("id", IDENTIFIER, primary_key=True),
    Column("digest", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    # Of role and password; with others it holds no longer.
    Column("stamp", TEXT, nullable=False),
    Column("address", TEXT, nullable=False),
    Column("begun_at", INSTANT, nullable=False),
    Column("until", INSTANT, nullable=False),
    Column("ended_at", INSTANT),
)
Index("session_digest", session.c.digest, unique=True)

# Who did what, see `archive.audit`. An entry is brought up to date as long as what it tells of goes on.
audit = Table(
    "audit",
    metadata,
    Column("id", IDENTIFIER, primary_key=True),
    Column("key", TEXT, nullable=False),
    Column("kind", TEXT, nullable=False),
    Column("action", TEXT, nullable=False),
    Column("outcome", Integer, nullable=False),
    Column("user", TEXT, nullable=False),
    Column("ae_title", TEXT, nullable=False),
    Column("address", TEXT, nullable=False),
    Column("way", TEXT, nullable=False),
    Column("study", TEXT, nullable=False),
    Column("patient", TEXT, nullable=False),
    Column("detail", TEXT, nullable=False),
    Column("count", Integer, nullable=False),
    Column("begun_at", INSTANT, nullable=False),
    Column("last_at", INSTANT, nullable=False),
    # In the order in which entries were over; NULL for one that may still be changed.
    Column("number", BigInteger),
    *(
        Column(name, TEXT, nullable=False, server_default="")
        for name in ("other", "query", "syntax", "sop_class")
    ),
)
Index("audit_key", audit.c.key, unique=True)
Index("audit_last_at", audit.c.last_at)
Index("audit_study", audit.c.study)
Index("audit_number", audit.c.number, unique=True)

# How far something is with the numbers of the audit trail, by its name.
audit_mark = Table(
    "audit_mark",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("number", BigInteger, nullable=False),
)
