"""The names of the service classes of PS3.4, and `SOPClassRow`, a row of the table of SOP classes."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class ServiceName(StrEnum):
    """A service class; the value is its name in PS3.4."""

    VERIFICATION = "Verification"
    STORAGE = "Storage"
    QUERY_RETRIEVE = "Query/Retrieve"
    PROCEDURE_STEP = "Procedure Step"
    PRINT_MANAGEMENT = "Print Management"
    MEDIA_STORAGE = "Media Storage"
    STORAGE_COMMITMENT = "Storage Commitment"
    BASIC_WORKLIST_MANAGEMENT = "Basic Worklist Management"
    APPLICATION_EVENT_LOGGING = "Application Event Logging"
    RELEVANT_PATIENT_INFORMATION_QUERY = "Relevant Patient Information Query"
    INSTANCE_AVAILABILITY_NOTIFICATION = "Instance Availability Notification"
    MEDIA_CREATION_MANAGEMENT = "Media Creation Management"
    HANGING_PROTOCOL_QUERY_RETRIEVE = "Hanging Protocol Query/Retrieve"
    SUBSTANCE_ADMINISTRATION_QUERY = "Substance Administration Query"
    COLOR_PALETTE_QUERY_RETRIEVE = "Color Palette Query/Retrieve"
    IMPLANT_TEMPLATE_QUERY_RETRIEVE = "Implant Template Query/Retrieve"
    UNIFIED_PROCEDURE_STEP = "Unified Procedure Step"
    RT_MACHINE_VERIFICATION = "RT Machine Verification"
    DISPLAY_SYSTEM_MANAGEMENT = "Display System Management"
    NON_PATIENT_OBJECT_STORAGE = "Non-Patient Object Storage"
    DEFINED_PROCEDURE_PROTOCOL_QUERY_RETRIEVE = "Defined Procedure Protocol Query/Retrieve"
    PROTOCOL_APPROVAL_QUERY_RETRIEVE = "Protocol Approval Query/Retrieve"
    INVENTORY_QUERY_RETRIEVE = "Inventory Query/Retrieve"
    STORAGE_MANAGEMENT = "Storage Management"


class SOPClassRow(NamedTuple):
    """One SOP class.

    Parameters
    ----------
    uid
        SOP Class UID.
    keyword
        Its keyword in PS3.6 Table A-1.
    service
        The service class it belongs to.
    operation
        ``C-FIND``, ``C-MOVE`` or ``C-GET`` if the SOP class stands for a single one of them, otherwise empty.
    is_listed
        Whether the ready-made lists of presentation contexts contain it. They leave out retired SOP classes and those
        that DICOS and DICONDE define.
    """

    uid: str
    keyword: str
    service: ServiceName
    operation: str = ""
    is_listed: bool = False
