"""The audit trail."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Integer

from dicomnet.archive.database import IDENTIFIER, INSTANT, TEXT

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    texts = ("user", "ae_title", "address", "way", "study", "patient", "detail")
    op.create_table(
        "audit",
        Column("id", IDENTIFIER, primary_key=True),
        *(Column(name, TEXT, nullable=False) for name in ("key", "kind", "action")),
        Column("outcome", Integer, nullable=False),
        *(Column(name, TEXT, nullable=False) for name in texts),
        Column("count", Integer, nullable=False),
        *(Column(name, INSTANT, nullable=False) for name in ("begun_at", "last_at")),
    )
    op.create_index("audit_key", "audit", ["key"], unique=True)
    op.create_index("audit_last_at", "audit", ["last_at"])
    op.create_index("audit_study", "audit", ["study"])
