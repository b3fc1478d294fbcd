__version__ = "0.1.0"

# At most 16 characters (PS3.7 section D.3.3.2.3).
IMPLEMENTATION_VERSION_NAME = "DICOMNET_" + __version__.replace(".", "")
