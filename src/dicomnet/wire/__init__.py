"""The PDUs and their items: decoded from bytes and encoded to bytes (PS3.8 section 9.3, PS3.7 Annex D). No I/O."""
