"""The services of the node, each in a module: what it accepts, and how it performs requests."""
