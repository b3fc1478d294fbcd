"""A `Peer`, as both faces have it: its options, its operations, the name that a configuration gives it."""
