"""Sessions of users by HTTP."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column

from dicomnet.archive.database import IDENTIFIER, INSTANT, TEXT

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "session",
        Column("id", IDENTIFIER, primary_key=True),
        *(Column(name, TEXT, nullable=False) for name in ("digest", "name", "stamp", "address")),
        Column("begun_at", INSTANT, nullable=False),
        Column("until", INSTANT, nullable=False),
        Column("ended_at", INSTANT),
    )
    op.create_index("session_digest", "session", ["digest"], unique=True)
