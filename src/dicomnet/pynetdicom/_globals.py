"""Constants under the names that programs import from pynetdicom's module of this name."""

from __future__ import annotations

from pydicom.uid import UID

from ..encoding.transfer_syntaxes import ALL_TRANSFER_SYNTAXES as ALL_TRANSFER_SYNTAXES
from ..encoding.transfer_syntaxes import DEFAULT_TRANSFER_SYNTAXES as DEFAULT_TRANSFER_SYNTAXES
from ..wire.pdu import DICOM_APPLICATION_CONTEXT

APPLICATION_CONTEXT_NAME = UID(DICOM_APPLICATION_CONTEXT)
DEFAULT_MAX_LENGTH = 16382
MODE_ACCEPTOR = "acceptor"
MODE_REQUESTOR = "requestor"
STATUS_CANCEL = "Cancel"
STATUS_FAILURE = "Failure"
STATUS_PENDING = "Pending"
STATUS_SUCCESS = "Success"
STATUS_UNKNOWN = "Unknown"
STATUS_WARNING = "Warning"
