"""Errors in words."""

from __future__ import annotations

import os

from ..errors import DicomnetError, NoAcceptedContext, ServiceRefusal


def reason(error: DicomnetError | OSError) -> str:
    """Why something failed, in words."""
    if isinstance(error, ServiceRefusal):
        return f"the peer answered with {error}"
    if isinstance(error, NoAcceptedContext):
        from ..services.sop_classes import SOP_CLASSES

        row = SOP_CLASSES.get(error.abstract_syntax)
        return str(error) if row is None else f"{error} ({row.keyword})"
    if isinstance(error, DicomnetError) or error.strerror is None:
        return str(error)
    words = error.strerror[:1].lower() + error.strerror[1:]
    return words if error.filename is None else f"{os.fsdecode(error.filename)}: {words}"
