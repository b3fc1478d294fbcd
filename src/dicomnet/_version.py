__version__ = "0.1.0"

# At most 16 characters (PS3.7 section D.3.3.2.3).
IMPLEMENTATION_VERSION_NAME = "DICOMNET_" + __version__.replace(".", "")


# Derived from a UUID (PS3.5 section B.2), so it needs no registered root.
IMPLEMENTATION_CLASS_UID = "2.25.51302997171187661841107037265785925148"
