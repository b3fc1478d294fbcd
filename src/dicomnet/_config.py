"""The flags that pynetdicom documents, with its names and defaults; set one as ``_config.NAME = value``.

Each is looked up where it is used, so that a change takes effect at once; some are accepted without effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

LOG_HANDLER_LEVEL: str = "standard"
"""Accepted for compatibility: what is logged depends on the levels of the loggers only."""

ENFORCE_UID_CONFORMANCE: bool = False
"""Refuse a UID that breaks PS3.5 chapter 9, not only one longer than 64 characters."""

USE_SHORT_DIMSE_AET: bool = True
"""Pad AE titles in command sets to an even length only; False pads them with spaces to 16 bytes."""

LOG_RESPONSE_IDENTIFIERS: bool = True
"""Accepted for compatibility: Identifiers of responses are not logged."""

LOG_REQUEST_IDENTIFIERS: bool = True
"""Accepted for compatibility: Identifiers of requests are not logged."""

STORE_SEND_CHUNKED_DATASET: bool = False
"""Accepted for compatibility: a file is always sent piecewise."""

STORE_RECV_CHUNKED_DATASET: bool = False
"""Write the data set of a C-STORE request to a temporary file, which ``Event.dataset_path`` then names."""

PASS_CONTEXTVARS: bool = False
"""Run what starts in another thread in a copy of the `contextvars` context that started it."""

WINDOWS_TIMER_RESOLUTION: float | None = 1
"""Accepted for compatibility: the timers of the operating system are left as they are. In ms, None for no change."""

CODECS: tuple[str, ...] = ("ascii",)
"""Names of the codecs that decode UIDs in PDUs and given as bytes, tried in order after ASCII.

What is not ASCII is then left out of them. Where none can, a UID in a PDU is kept as Latin-1, and refused by itself.
AE titles in PDUs need none: they are read as Latin-1.
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
"""What checks AE titles (`str`) and UIDs (`pydicom.uid.UID`): each tells whether the value is good, and if not, why."""

UNRESTRICTED_STORAGE_SERVICE: bool = False
"""As an SCP, take every private or unknown abstract syntax for a storage SOP class, and accept it."""
