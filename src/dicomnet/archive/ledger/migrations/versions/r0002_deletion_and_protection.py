"""Objects that were deleted, and patients whose objects are not."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, text

from dicomnet.archive.database import IDENTIFIER, INSTANT, SIZE, TEXT

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _texts(*names: str) -> list[Column[str]]:
    return [Column(name, TEXT, nullable=False) for name in names]


def _index(name: str, table: str, columns: list[str], condition: str, *, unique: bool = False) -> None:
    where = text(condition)
    op.create_index(name, table, columns, unique=unique, sqlite_where=where, postgresql_where=where)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "deletion",
        Column("id", IDENTIFIER, primary_key=True),
        *_texts("instance", "study", "series", "location", "digest"),
        Column("size", SIZE, nullable=False),
        *_texts("ae_title", "address", "way", "run", "actor", "rule", "reason", "patient", "issuer"),
        Column("begun_at", INSTANT, nullable=False),
        Column("kept_until", INSTANT),
        Column("fate", TEXT),
        Column("fate_at", INSTANT),
    )
    op.create_index("deletion_instance", "deletion", ["instance"])
    op.create_index("deletion_run", "deletion", ["run"])
    _index("deletion_to_end", "deletion", ["id"], "fate IS NULL")
    _index("deletion_in_trash", "deletion", ["kept_until"], "fate = 'in trash'")
    op.create_table(
        "protection",
        Column("id", IDENTIFIER, primary_key=True),
        *_texts("patient", "issuer", "reason", "actor"),
        Column("begun_at", INSTANT, nullable=False),
        Column("ended_at", INSTANT),
        *_texts("ended_by"),
    )
    _index("protection_holds", "protection", ["patient", "issuer"], "ended_at IS NULL", unique=True)
