"""The blocking driver: plain calls in the thread of the caller; `drivers.aio` has the same modules with await."""
