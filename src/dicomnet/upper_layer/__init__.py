"""The association: its state machine and its negotiation (PS3.8 sections 9.1 and 9.2, PS3.7 Annex D). No I/O."""
