"""PDUs and items from and to bytes (PS3.8 section 9.3, PS3.7 Annex D). No state, no I/O."""
