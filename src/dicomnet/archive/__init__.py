"""The archive node: intake, storage, index and query."""
