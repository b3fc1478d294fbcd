"""The ledger: what the archive knows and no file says. It is durable, migrated, never rebuilt and never deleted."""
