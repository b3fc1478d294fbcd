"""What both faces do around a handler of the user's: its failure becomes a status, and its end a value."""

from __future__ import annotations

import logging

from ..errors import ServiceRefusal
from ..services.registry import OPERATIONS

_log = logging.getLogger(__name__)

END = object()
"""Stands for the end of what a handler yields."""


class answering:
    """A handler's failure becomes the status of its service, and the association goes on."""

    __slots__ = ("_service",)

    def __init__(self, service: str) -> None:
        self._service = service

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, ServiceRefusal):
            _log.error("the handler for %s failed", self._service, exc_info=error)
            raise ServiceRefusal(OPERATIONS[self._service].handler_failed) from error
