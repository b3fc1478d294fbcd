"""Which layer fails between us and a peer: what is found of each, and what to do."""
