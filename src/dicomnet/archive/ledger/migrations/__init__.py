"""The changes of the ledger's tables, run by Alembic when a ledger is opened that lacks some of them."""
