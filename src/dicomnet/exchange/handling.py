"""Calling the user's handlers: a failure becomes a status, and the end of what one yields a value."""

from __future__ import annotations

import logging

from ..errors import ServiceRefusal
from ..services.registry import OPERATIONS

_log = logging.getLogger(__name__)

END = object()
"""Stands for the end of what a handler yields."""


class answering:
    """Context manager that turns a handler's failure into the failure status of its service."""

    __slots__ = ("_service",)

    def __init__(self, service: str) -> None:
        self._service = service

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, ServiceRefusal):
            _log.error("the handler for %s failed", self._service, exc_info=error)
            raise ServiceRefusal(OPERATIONS[self._service].handler_failed) from error
