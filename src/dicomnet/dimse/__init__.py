"""DIMSE messages as tables, the codec of command sets, and the assembler of fragments (PS3.7). No I/O."""
