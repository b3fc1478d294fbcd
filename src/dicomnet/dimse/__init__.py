"""DIMSE messages as tables, and what turns fragments into messages (PS3.7). No I/O."""
