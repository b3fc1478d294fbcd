"""The table of the DIMSE operations (event, kind of answer, status when the handler fails, performing role), and the
statuses that they have in common."""

from __future__ import annotations

from enum import Enum, auto

from ..values import frozen


class Shape(Enum):
    """How an operation is answered."""

    ONE_REPLY = auto()
    MANY_REPLIES = auto()
    SUB_OPERATIONS = auto()


class Performer(Enum):
    """In which role of a presentation context an operation is performed (PS3.7 section 7.1, PS3.4)."""

    SCP = auto()
    # A notification goes from the SCP to the SCU. Many SCPs open an association for it without proposing the SCP role;
    # refusing the notification there would lose a report that the SCU waits for.
    EITHER = auto()


@frozen
class Operation:
    """A DIMSE operation as its performer sees it.

    Parameters
    ----------
    service
        The DIMSE service, for instance ``C-STORE``.
    event
        Name of the event whose handler performs the operation.
    shape
        How it is answered.
    handler_failed
        The status of the response if the handler raises; for the composite services the one that pynetdicom sends.
    performer
        The role in which it is performed.
    """

    service: str
    event: str
    shape: Shape
    handler_failed: int
    performer: Performer = Performer.SCP


PROCESSING_FAILURE = 0x0110

OPERATIONS: dict[str, Operation] = {
    row.service: row
    for row in (
        Operation("C-ECHO", "EVT_C_ECHO", Shape.ONE_REPLY, 0x0000),
        Operation("C-STORE", "EVT_C_STORE", Shape.ONE_REPLY, 0xC211),
        Operation("C-FIND", "EVT_C_FIND", Shape.MANY_REPLIES, 0xC311),
        Operation("C-GET", "EVT_C_GET", Shape.SUB_OPERATIONS, 0xC411),
        Operation("C-MOVE", "EVT_C_MOVE", Shape.SUB_OPERATIONS, 0xC511),
        Operation(
            "N-EVENT-REPORT",
            "EVT_N_EVENT_REPORT",
            Shape.ONE_REPLY,
            PROCESSING_FAILURE,
            Performer.EITHER,
        ),
        Operation("N-GET", "EVT_N_GET", Shape.ONE_REPLY, PROCESSING_FAILURE),
        Operation("N-SET", "EVT_N_SET", Shape.ONE_REPLY, PROCESSING_FAILURE),
        Operation("N-ACTION", "EVT_N_ACTION", Shape.ONE_REPLY, PROCESSING_FAILURE),
        Operation("N-CREATE", "EVT_N_CREATE", Shape.ONE_REPLY, PROCESSING_FAILURE),
        Operation("N-DELETE", "EVT_N_DELETE", Shape.ONE_REPLY, PROCESSING_FAILURE),
    )
}


DUPLICATE_SOP_INSTANCE = 0x0111
INVALID_SOP_INSTANCE = 0x0117
NO_SUCH_SOP_CLASS = 0x0118
SOP_CLASS_NOT_SUPPORTED = 0x0122
DUPLICATE_INVOCATION = 0x0210
UNRECOGNISED_OPERATION = 0x0211
MISTYPED_ARGUMENT = 0x0212
SUCCESS = 0x0000
# Statuses of a C-GET or C-MOVE (PS3.4 Tables C.4-2 and C.4-3).
NO_SUB_OPERATION_PERFORMED = 0xA702
MOVE_DESTINATION_UNKNOWN = 0xA801
SOME_SUB_OPERATIONS_FAILED = 0xB000
CANCELLED = 0xFE00
PENDING = 0xFF00
# Pending, but an optional key was not supported (PS3.4 Table C.4-1).
PENDING_UNSUPPORTED_KEYS = 0xFF01
# More than one match where at most one is allowed (PS3.4 Annex Q).
MORE_THAN_ONE_MATCH = 0xC100


def is_pending(status: int) -> bool:
    """Whether more responses follow a response with this status (PS3.7 Annex C.1.2)."""
    return status in (PENDING, PENDING_UNSUPPORTED_KEYS)
