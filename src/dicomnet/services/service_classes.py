"""The service classes of PS3.4 as their provider sees them: the operations that each uses."""

from __future__ import annotations

from ..values import frozen
from .service_names import ServiceName
from .sop_classes import SOP_CLASSES


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
