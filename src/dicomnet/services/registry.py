"""The DIMSE operations as rows: their event, their shape, and what is answered when a handler fails."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from .service_names import ServiceName
from .sop_classes import SOP_CLASSES


class Shape(Enum):
    """How an operation is answered."""

    ONE_REPLY = auto()
    MANY_REPLIES = auto()
    SUB_OPERATIONS = auto()


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation as its performer sees it.

    Parameters
    ----------
    service
        The DIMSE service, for instance ``C-STORE``.
    event
        The event that asks the user for the answer.
    shape
        How it is answered.
    handler_failed
        The status where the user's handler raises; for the composite services the one that pynetdicom's users know.
    """

    service: str
    event: str
    shape: Shape
    handler_failed: int


OPERATIONS: dict[str, Operation] = {
    row.service: row
    for row in (
        Operation("C-ECHO", "EVT_C_ECHO", Shape.ONE_REPLY, 0x0000),
        Operation("C-STORE", "EVT_C_STORE", Shape.ONE_REPLY, 0xC211),
        Operation("C-FIND", "EVT_C_FIND", Shape.MANY_REPLIES, 0xC311),
        Operation("C-GET", "EVT_C_GET", Shape.SUB_OPERATIONS, 0xC411),
        Operation("C-MOVE", "EVT_C_MOVE", Shape.SUB_OPERATIONS, 0xC511),
    )
}

SOP_CLASS_NOT_SUPPORTED = 0x0122
UNRECOGNISED_OPERATION = 0x0211
MISTYPED_ARGUMENT = 0x0212
SUCCESS = 0x0000
# Of a C-GET or C-MOVE (PS3.4 Tables C.4-2 and C.4-3).
NO_SUB_OPERATION_PERFORMED = 0xA702
MOVE_DESTINATION_UNKNOWN = 0xA801
SOME_SUB_OPERATIONS_FAILED = 0xB000
CANCELLED = 0xFE00
PENDING = 0xFF00
# Pending, but an optional key was not supported (PS3.4 Table C.4-1).
PENDING_UNSUPPORTED_KEYS = 0xFF01


def may_be_storage(abstract_syntax: str) -> bool:
    """Whether an abstract syntax is a storage SOP class, or none that is known, such as a private one."""
    row = SOP_CLASSES.get(abstract_syntax)
    return row is None or row.service is ServiceName.STORAGE


def is_pending(status: int) -> bool:
    """Whether more responses follow one with this status (PS3.7 Annex C.1.2)."""
    return status in (PENDING, PENDING_UNSUPPORTED_KEYS)
