"""The asyncio driver; `drivers.blocking` has the same modules with plain calls."""
