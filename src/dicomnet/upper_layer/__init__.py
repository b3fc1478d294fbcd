"""The DICOM upper layer: the state machine of an association and its negotiation (PS3.8, PS3.7 Annex D). No I/O."""
