"""The order in which entries of the audit trail are told to others, and what else messages say."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, String, text

from dicomnet.archive.database import TEXT

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table; what is there already is over."""
    op.add_column("audit", Column("number", BigInteger))
    for name in ("other", "query", "syntax", "sop_class"):
        op.add_column("audit", Column(name, TEXT, nullable=False, server_default=""))
    op.execute(text("UPDATE audit SET number = id"))
    op.create_index("audit_number", "audit", ["number"], unique=True)
    op.create_table(
        "audit_mark",
        Column("name", String(32), primary_key=True),
        Column("number", BigInteger, nullable=False),
    )
