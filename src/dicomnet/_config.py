"""The configuration flags that pynetdicom documents, with its names and defaults. Set one by ``_config.NAME = value``.

Each flag is read at the moment it is used, so a change takes effect at once. Some are accepted but have no effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

LOG_HANDLER_LEVEL: str = "standard"
"""Accepted for compatibility: only the levels of the loggers decide what is logged."""

ENFORCE_UID_CONFORMANCE: bool = False
"""Whether a UID that breaks PS3.5 chapter 9 is refused; if False, only one longer than 64 characters is."""

USE_SHORT_DIMSE_AET: bool = True
"""Whether AE titles in command sets are padded just to an even length; if False, to 16 bytes with spaces."""

LOG_IDENTIFIERS: bool = False
"""Whether Identifiers of queries and retrievals, which are patients' data, are logged at debug level at all.

pynetdicom has no such flag; with it, the two below say which are. Values of other data sets are never logged.
"""

LOG_RESPONSE_IDENTIFIERS: bool = True
"""Whether `LOG_IDENTIFIERS` holds for the Identifiers of responses."""

LOG_REQUEST_IDENTIFIERS: bool = True
"""Whether `LOG_IDENTIFIERS` holds for the Identifiers of requests."""

STORE_SEND_CHUNKED_DATASET: bool = False
"""Accepted for compatibility: a file is always sent in pieces, never read as a whole."""

STORE_RECV_CHUNKED_DATASET: bool = False
"""Whether the data set of a C-STORE request is written to a temporary file, whose path is ``Event.dataset_path``."""

PASS_CONTEXTVARS: bool = False
"""Whether a new thread runs in a copy of the `contextvars` context of the thread that started it."""

WINDOWS_TIMER_RESOLUTION: float | None = 1
"""Accepted for compatibility: the timer resolution of the operating system is never changed. In ms, or None."""

CODECS: tuple[str, ...] = ("ascii",)
"""Names of the codecs that decode UIDs received in PDUs or given as bytes; tried in this order, after ASCII.

Characters outside ASCII are then removed from the UID. A UID in a PDU that none of them can decode is kept as Latin-1,
and only its own item is refused. AE titles in PDUs are always read as Latin-1.
"""


def validate_ae(value: str) -> tuple[bool, str]:
    """Whether `value` can be an AE title (PS3.5 section 6.2), and if not, why."""
    if len(value) > 16:
        return False, "it is longer than 16 characters"
    if not value.isascii():
        return False, "it has a character outside ASCII"
    if "\\" in value or not value.isprintable():
        return False, "it has a backslash or a control character"
    return True, ""


def validate_ui(value: Any) -> tuple[bool, str]:
    """Whether `value`, a `pydicom.uid.UID`, can be a UID under `ENFORCE_UID_CONFORMANCE`, and if not, why."""
    if ENFORCE_UID_CONFORMANCE:
        return (True, "") if value.is_valid else (False, "it does not conform to PS3.5 chapter 9")
    return (True, "") if 0 < len(value) <= 64 else (False, "its length is not 1 to 64 characters")


VALIDATORS: dict[str, Callable[[Any], tuple[bool, str]]] = {"AE": validate_ae, "UI": validate_ui}
"""Validators of AE titles (`str`) and UIDs (`pydicom.uid.UID`); each returns whether the value is valid, or why not."""

UNRESTRICTED_STORAGE_SERVICE: bool = False
"""Whether an SCP accepts every private or unknown abstract syntax and treats it as a storage SOP class."""
