"""Two tables: the DIMSE operations (event, kind of answer, status when the handler fails, performing role), and the
service classes of PS3.4 (the operations that each uses)."""

from __future__ import annotations

from enum import Enum, auto

from ..values import frozen
from .service_names import ServiceName
from .sop_classes import SOP_CLASSES


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


@frozen
class ServiceClassRow:
    """A service class as its provider sees it; its statuses are in `statuses`.

    Parameters
    ----------
    service
        The service class.
    operations
        The DIMSE services that it uses.
    is_single
        Whether a query may have at most one match.
    """

    service: ServiceName
    operations: frozenset[str]
    is_single: bool = False


def _service_class(service: ServiceName, operations: str, *, is_single: bool = False) -> ServiceClassRow:
    return ServiceClassRow(service, frozenset(operations.split()), is_single)


_QUERY_RETRIEVE = "C-FIND C-GET C-MOVE"
_NORMALIZED = "N-CREATE N-SET N-GET N-ACTION N-DELETE N-EVENT-REPORT"

SERVICE_CLASSES: dict[ServiceName, ServiceClassRow] = {
    row.service: row
    for row in (
        _service_class(ServiceName.VERIFICATION, "C-ECHO"),
        _service_class(ServiceName.STORAGE, "C-STORE"),
        _service_class(ServiceName.QUERY_RETRIEVE, _QUERY_RETRIEVE),
        _service_class(ServiceName.PROCEDURE_STEP, "N-CREATE N-SET N-GET N-EVENT-REPORT"),
        _service_class(ServiceName.PRINT_MANAGEMENT, _NORMALIZED),
        # Files on media; it has no messages.
        _service_class(ServiceName.MEDIA_STORAGE, ""),
        _service_class(ServiceName.STORAGE_COMMITMENT, "N-ACTION N-EVENT-REPORT"),
        _service_class(ServiceName.BASIC_WORKLIST_MANAGEMENT, "C-FIND"),
        _service_class(ServiceName.APPLICATION_EVENT_LOGGING, "N-ACTION"),
        _service_class(ServiceName.RELEVANT_PATIENT_INFORMATION_QUERY, "C-FIND", is_single=True),
        _service_class(ServiceName.INSTANCE_AVAILABILITY_NOTIFICATION, "N-CREATE"),
        _service_class(ServiceName.MEDIA_CREATION_MANAGEMENT, "N-CREATE N-ACTION N-GET"),
        _service_class(ServiceName.HANGING_PROTOCOL_QUERY_RETRIEVE, _QUERY_RETRIEVE),
        _service_class(ServiceName.SUBSTANCE_ADMINISTRATION_QUERY, "C-FIND"),
        _service_class(ServiceName.COLOR_PALETTE_QUERY_RETRIEVE, _QUERY_RETRIEVE),
        _service_class(ServiceName.IMPLANT_TEMPLATE_QUERY_RETRIEVE, _QUERY_RETRIEVE),
        _service_class(
            ServiceName.UNIFIED_PROCEDURE_STEP, "C-FIND N-CREATE N-SET N-GET N-ACTION N-EVENT-REPORT"
        ),
        _service_class(ServiceName.RT_MACHINE_VERIFICATION, _NORMALIZED),
        _service_class(ServiceName.DISPLAY_SYSTEM_MANAGEMENT, "N-GET"),
        _service_class(ServiceName.NON_PATIENT_OBJECT_STORAGE, "C-STORE"),
        _service_class(ServiceName.DEFINED_PROCEDURE_PROTOCOL_QUERY_RETRIEVE, _QUERY_RETRIEVE),
        _service_class(ServiceName.PROTOCOL_APPROVAL_QUERY_RETRIEVE, _QUERY_RETRIEVE),
        _service_class(ServiceName.INVENTORY_QUERY_RETRIEVE, _QUERY_RETRIEVE),
        _service_class(ServiceName.STORAGE_MANAGEMENT, "N-ACTION N-EVENT-REPORT"),
    )
}  # PS3.4, one row for each Annex

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


def may_be_storage(abstract_syntax: str) -> bool:
    """Whether an abstract syntax is a storage SOP class, or may be one because it is unknown, such as a private one."""
    row = SOP_CLASSES.get(abstract_syntax)
    return row is None or row.service is ServiceName.STORAGE


def offers(abstract_syntax: str, operation: str) -> bool:
    """Whether the service class of an abstract syntax has an operation; an unknown abstract syntax may have any."""
    row = SOP_CLASSES.get(abstract_syntax)
    if row is None:
        return True
    if operation not in SERVICE_CLASSES[row.service].operations:
        return False
    # Some SOP classes stand for a single composite operation.
    return not row.operation or row.operation == operation or operation.startswith("N-")


def finds_one_match(abstract_syntax: str) -> bool:
    """Whether a query of this abstract syntax has at most one match."""
    row = SOP_CLASSES.get(abstract_syntax)
    return row is not None and SERVICE_CLASSES[row.service].is_single


def is_pending(status: int) -> bool:
    """Whether more responses follow a response with this status (PS3.7 Annex C.1.2)."""
    return status in (PENDING, PENDING_UNSUPPORTED_KEYS)
