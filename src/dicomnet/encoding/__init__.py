"""An encoded data set as bytes: VRs, elements, file headers, transfer syntaxes (PS3.5, PS3.10). No pydicom, no I/O."""
