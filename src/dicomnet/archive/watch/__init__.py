"""What a node shows of itself: what it counts, whether it is well, and two pages that say so over HTTP."""
