"""Constants under the names that programs know from pynetdicom; their values are this package's own."""

from __future__ import annotations

from pydicom.uid import UID

from .._version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

PYNETDICOM_IMPLEMENTATION_UID = UID(IMPLEMENTATION_CLASS_UID)
PYNETDICOM_IMPLEMENTATION_VERSION = IMPLEMENTATION_VERSION_NAME
# UIDs below it belong to the holder of the UUID that it names (PS3.5 section B.2).
PYNETDICOM_UID_PREFIX = IMPLEMENTATION_CLASS_UID + "."
