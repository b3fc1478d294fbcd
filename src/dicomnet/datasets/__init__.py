"""Data sets by pydicom: encoding, decoding and converting them, the text in them, queries built of keywords."""
