"""The blocking face: `Peer`, with plain calls. `dicomnet.aio` has the same names with await."""
