"""How Alembic runs the migrations: in the transaction that whoever opens the ledger has begun."""

from __future__ import annotations

from alembic import context

from dicomnet.archive.ledger.schema import REVISION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=REVISION_TABLE,
    render_as_batch=True,
)
context.run_migrations()
