"""The first tables: objects in quarantine, and objects that another one has replaced."""

from __future__ import annotations

from typing import Any

from alembic import op
from sqlalchemy import Column, Integer, text

from dicomnet.archive.database import IDENTIFIER, INSTANT, SIZE, TEXT

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _object() -> list[Column[Any]]:
    texts = ("instance", "study", "series", "location", "digest", "ae_title", "address", "way")
    return [
        Column("id", IDENTIFIER, primary_key=True),
        *(Column(name, TEXT, nullable=False) for name in texts),
        Column("size", SIZE, nullable=False),
    ]


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "quarantine",
        *_object(),
        Column("reason", TEXT, nullable=False),
        Column("status", Integer),
        Column("arrived_at", INSTANT, nullable=False),
        Column("arrivals", Integer, nullable=False),
        Column("last_at", INSTANT, nullable=False),
        Column("outcome", TEXT),
        Column("outcome_at", INSTANT),
    )
    op.create_index("quarantine_instance", "quarantine", ["instance"])
    is_open = text("outcome IS NULL")
    op.create_index(
        "quarantine_open_location",
        "quarantine",
        ["location"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_table(
        "version",
        *_object(),
        Column("stored_at", INSTANT),
        Column("replaced_at", INSTANT, nullable=False),
    )
    op.create_index("version_instance", "version", ["instance"])
